# What lbfgs.pyx offers to the modules above it.

from .batch cimport Rows, Workspace
from .model cimport Model
from .trainer cimport CompiledOptimizer


cdef class CompiledLBFGS(CompiledOptimizer):
    cdef Py_ssize_t most            # pairs


cdef class Minimisation:
    cdef Model model
    cdef CompiledLBFGS optimizer
    cdef Rows rows
    cdef object shared              # the function that gives loss and gradient of several ranks, or None
    cdef Workspace workspace        # without such a function
    cdef double tolerance_gradient, tolerance_change, most_evaluations
    cdef double evaluations         # so far
    cdef readonly str reason        # why there is no other iteration; None while there may be one
    cdef readonly double loss       # the mean loss at the point
    # The point that the last iteration left: a block of parameters, its objective (loss and penalties) and gradient.
    cdef bint begun                 # whether there is one
    cdef object point_block
    cdef void *point
    cdef double value
    cdef double *gradient
    cdef double steepest            # the largest size of its elements
    cdef double l1, l2              # with which these were computed
    # The point that the line search tries.
    cdef object trial_block
    cdef void *trial
    cdef double trial_loss, trial_value, trial_slope
    cdef double *trial_gradient
    cdef double trial_steepest
    cdef double *direction          # of the line search
    cdef double decline             # how far the objective would have fallen on a line
    cdef object vectors             # the memory of gradients and direction
    # The optimizer's pairs, as they were when the rest was computed.
    cdef tuple pairs
    cdef tuple spare                # two blocks for the next pair, or None
    cdef Py_ssize_t room            # pairs that the table has room for
    cdef object table               # the memory of the next three
    cdef void **blocks              # s, y of each pair, the oldest first
    cdef double *products           # s'y of each
    cdef double *shares             # what two_loops remembers of each
    cdef double scale               # s'y / y'y of the latest

    cdef int reserve(self) except -1
    cdef bint is_begun(self) except -1
    cdef bint begin(self) except -1
    cdef int advance(self) except -1
    cdef bint evaluate(self) except -1
    cdef double compute_gradients(self) except? -1
    cdef void penalise_trial(self, const void *gradients) noexcept nogil
    cdef int search(self) except -1
    cdef int find_direction(self, double *slope, double *square) except -1
    cdef int try_step(self, double step) except -1
    cdef int read_pairs(self, Py_ssize_t first) except -1
    cdef double product_of(self, const void *a, const void *b) noexcept
    cdef int accept(self) except -1
    cdef void make_pair(self, void *s, void *y) noexcept
    cdef int set_pairs(self, tuple pairs, const void *parameters=*) except -1
