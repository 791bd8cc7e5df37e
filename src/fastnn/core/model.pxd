# What model.pyx offers to the modules above it.

from libc.stdint cimport uint64_t

from ..kernels.types cimport KernelTable, Layer, LossFacts
from .ops cimport Kernels
from .runtime cimport Pool

cdef enum:
    # Floating-point operations of a training step, for each row and each of its multiply-adds forward.
    STEP_OPERATIONS = 6


cdef class Model:
    cdef const KernelTable *table
    cdef readonly Kernels kernels
    cdef readonly str dtype
    cdef readonly tuple layer_sizes
    cdef readonly object parameters         # the block: 1-D, 64-byte aligned
    cdef Py_ssize_t size                    # its elements
    cdef Py_ssize_t multiply_adds           # of one row on its way through the layers, those of padding too
    cdef bint unpadded                      # whether there are layers without padding
    cdef Layer *layers
    cdef readonly int n_layers
    cdef readonly tuple activations
    cdef readonly object loss               # a losses.Loss, or a function of the user's
    cdef LossFacts loss_facts               # of a loss of ours
    cdef double loss_parameter
    cdef bint python_loss                   # whether it is a function
    cdef readonly tuple dropout             # one share for each layer, the output's (0) last
    cdef public int most_threads            # that share work; 0 is what set_num_threads allows
    cdef public double l1, l2               # read before each visit of training steps
    cdef readonly double label_smoothing
    cdef readonly uint64_t seed             # of the rows' order and of dropout
    cdef public long long steps             # training steps since the network was built
    cdef Py_ssize_t itemsize
    cdef int type_number                    # NumPy's, of the dtype
    cdef Pool predicting, evaluating        # a Workspace: the last prediction's, the last evaluation's
    cdef Pool learning                      # the last fit's: to have its pages cleared again takes long
    cdef unsigned long training_thread      # the thread that trains
    cdef int trainings                      # which are under way: a callback of a fit may train, too
    cdef unsigned long lock_owner           # the thread that keeps others from the parameters
    cdef int lock_depth, waiting            # how often it has locked; how many calls other than steps wait to lock
    cdef bint steps_come_next               # whether training steps wait, and are the next to lock
    cdef int lock_forks                     # `forks` when the lock was taken
    cdef bint stepping                      # whether the thread that trains is among its steps
    cdef int training_forks                 # `forks` when the training began
    cdef public tuple copies                # blocks that a fit goes back to, see training/divergence.py

    cdef void *block(self, array) except NULL
    cpdef int acquire(self) except -1
    cpdef int release(self) except -1
    cpdef int lock(self, bint stepping=*) except -1
    cpdef int unlock(self) except -1
    cdef const void *matrix(self, str name, array, Py_ssize_t rows, Py_ssize_t columns) except? NULL
    cpdef double divisor(self, double weight) noexcept
    cdef int step_threads(self, Py_ssize_t rows) except -1
