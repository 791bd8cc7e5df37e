# What trainer.pyx offers to the modules above it.

from ..kernels.types cimport Job, Update
from .batch cimport Workspace
from .model cimport Model


cdef class CompiledOptimizer:
    cdef Update update
    cdef Model model                # of the network that it belongs to, or None yet
    cdef readonly tuple state       # its blocks, laid out like the parameters
    cdef long long epochs_done      # with it
    cdef public bint stale          # whether a constant was set since `prepare`
    cdef public bint scheduled      # whether the learning rate is a schedule, and not a number

    cdef bint claim(self, Model model) except -1


cdef class Trainer:
    cdef Model model
    cdef CompiledOptimizer optimizer
    cdef Workspace workspace
    cdef public list good
    cdef bint gather
    cdef int threads
    cdef public double total, weight        # of this epoch so far
    cdef public Py_ssize_t seen             # its rows so far
    cdef public double deadline
    cdef long long steps_before             # steps done with the optimizer when the epoch began
    cdef public bint failed                 # whether a step's loss was not finite
    cdef bint under_way                     # whether an epoch has begun and not ended well

    cdef int reserve(self, Py_ssize_t batch) except -1
    cdef int copy_blocks(self, bint back) except -1
    cdef Update *penalised(self) noexcept
    cdef int run_steps(self, Job *job, int threads) except -1
    cdef int all_finite(self) except -1
