# What batch.pyx offers to the modules above it.

cimport numpy as cnp
from libc.stdint cimport uint64_t

from ..kernels.types cimport Data, Plan
from .model cimport Model
from .ops cimport Kernels
from .runtime cimport ThreadChoice


cdef class Rows:
    cdef Model model                # for whose network they are
    cdef readonly tuple arrays      # x, targets, labels, weights: the memory that `data` points to
    cdef object arranged            # the array that `arrange` was given: keeps its memory alive
    cdef Data data
    cdef Py_ssize_t *order          # [rows]: what `shuffle` writes; NULL before
    cdef double *losses             # [rows]: what `Engine.evaluate` writes; NULL before
    cdef readonly double weight     # of all rows together

    cdef int check(self, Model model) except -1
    cdef double weight_of(self, Py_ssize_t count) noexcept
    cdef int shuffle(self, uint64_t seed, uint64_t epoch) except -1


cdef class PythonLoss:
    cdef object function
    cdef Kernels kernels
    cdef str dtype, activation
    cdef object error               # what the function raised, for `check`
    cdef uint64_t float_state       # the caller's, for the time that the function runs

    cdef object call(self, cnp.ndarray dz, double *losses, cnp.ndarray z, cnp.ndarray t)
    cdef int check(self) except -1


cdef class Workspace:
    cdef object parameters          # keeps the memory alive that the plan points to
    cdef object gradients           # a block laid out like them, or None
    cdef Py_ssize_t itemsize
    cdef Plan plan
    cdef Py_ssize_t batch, rows     # of one batch, of all that there is room for
    cdef int threads
    cdef ThreadChoice thread_choice
    cdef PythonLoss python_loss     # or None
    cdef void *memory

    cdef Py_ssize_t lay_out(self, char *memory, bint learning, bint gather) noexcept
    cdef int set_gradients(self, gradients) except -1
    cdef int set_parameters(self, parameters) except -1
    cdef double mean_gradients(self, Model model, Rows rows, int threads) except? -1
