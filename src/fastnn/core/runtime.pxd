# What runtime.pyx offers to the modules above it.

from libc.stdint cimport uint64_t

from ..kernels.types cimport Job

cdef extern from "float_state.h" nogil:
    uint64_t flush_subnormals "fastnn_flush_subnormals"()
    void restore_float_state "fastnn_restore_float_state"(uint64_t before)

cdef int forks          # that led to this process since fastnn was imported; a child has no threads of its parent

cdef void *pointer(array) except? NULL
cdef const void *column(str name, array, Py_ssize_t rows, int type_number) except? NULL
cdef uint64_t float_state() noexcept
cdef double sum_in_order(const double *values, Py_ssize_t count, double total=*) noexcept nogil
cdef int threads_for(double operations, int most) except -1
cdef Py_ssize_t rows_per_visit(double batch_operations, Py_ssize_t batch) noexcept
cdef void do_job(void *argument, int index, int count) noexcept nogil
cdef int run(Job *job, int threads) except -1


cdef class Scratch:
    cdef void *data
    cdef Py_ssize_t size


cdef class Pool:
    cdef object memory

    cdef object take(self)
    cdef int give(self, memory) except -1


cdef class ThreadChoice:
    cdef int threads
    cdef bint sure                      # whether there is nothing to find out
    cdef long long visits               # begun so far
    cdef double together, alone         # seconds a row

    cdef int next_threads(self) noexcept
    cdef void note(self, int threads, double seconds) noexcept
