"""What runs around kernels: memory, threads, and the caller's floating-point state.

`aligned_zeros`, `Scratch` and `Pool` are memory; `pointer` and `column` find that of an array. `run` does a Job with
one thread or with several (team.h, which this module alone includes); `threads_for` and `ThreadChoice` say how many are
worth it. Subnormals are zero while a kernel runs and nowhere else. Nothing here knows networks.
"""

import os

import numpy as np

from .thread_count import available_processors, get_num_threads

cimport cython
cimport numpy as cnp
from cpython.buffer cimport PyBUF_STRIDES, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport uintptr_t
from libc.stdlib cimport free, malloc

from ..kernels.types cimport ROW_BYTES, Job, Worker

cnp.import_array()

cdef extern from "team.h" nogil:
    void team_run "fastnn_team_run"(
        int count, int crowded, void (*task)(void *argument, int index, int count) noexcept nogil, void *argument)
    void team_wait "fastnn_team_wait"()
    int fastnn_team_size()

cdef enum:
    # Floating-point operations between two looks at pending signals: 2 to 10 ms.
    OPERATIONS_PER_VISIT = 200_000_000
    # The least that each of several threads must have to do in one job: with less, two are slower than one.
    OPERATIONS_PER_THREAD = 5_000_000
    # A step of so many always gains from threads; whether a smaller one does, `ThreadChoice` finds out.
    OPERATIONS_SURE_TO_GAIN = 100_000_000
    VISITS_BETWEEN_TRIALS = 64
    # kernels/small.pxd reads weights in squares, which may reach beyond the last row: room for 16 rows of 256 bytes.
    MARGIN_BYTES = 4096


def aligned_zeros(Py_ssize_t count, dtype):
    """A 1-D array of zeros that starts at a multiple of 64 bytes; beyond it MARGIN_BYTES may be read."""
    itemsize = np.dtype(dtype).itemsize
    memory = np.zeros(count * itemsize + ROW_BYTES + MARGIN_BYTES, np.uint8)
    cdef Py_ssize_t start = (-<uintptr_t> pointer(memory)) % ROW_BYTES
    return memory[start:start + count * itemsize].view(dtype)


cdef void *pointer(array) except? NULL:
    """The memory of a C-contiguous array."""
    cdef Py_buffer view
    if array is None:
        return NULL
    if cnp.PyArray_Check(array):    # takes no memory, as NumPy's buffers do
        return cnp.PyArray_DATA(array)
    PyObject_GetBuffer(array, &view, PyBUF_STRIDES)
    PyBuffer_Release(&view)         # the caller keeps the array, and so its memory
    return view.buf


cdef const void *column(str name, array, Py_ssize_t rows, int type_number) except? NULL:
    """The memory of an array (rows,) as kernels read it; see Model.matrix."""
    if not (cnp.PyArray_Check(array) and cnp.PyArray_ISCARRAY_RO(array) and cnp.PyArray_TYPE(array) == type_number
            and cnp.PyArray_NDIM(array) == 1 and cnp.PyArray_DIM(array, 0) == rows):
        raise ValueError(f"{name} is no array of {rows} elements of the right type in one piece, or has changed while "
                         "it was being read")
    return cnp.PyArray_DATA(array)


cdef double sum_in_order(const double *values, Py_ssize_t count, double total=0) noexcept nogil:
    """total and the values, added one after the other."""
    cdef Py_ssize_t i
    for i in range(count):
        total += values[i]
    return total


cdef class Scratch:
    """Memory for the operands that a product packs."""

    def __cinit__(self, Py_ssize_t size):
        self.size = size
        self.data = malloc(max(size, 1))
        if self.data == NULL:
            raise MemoryError("no memory for the workspace of a product")

    def __dealloc__(self):
        free(self.data)


cdef class Pool:
    """Keeps one piece of memory for the next call that needs such. A call that takes it is its only user."""

    cdef object take(self):
        with cython.critical_section(self):
            memory, self.memory = self.memory, None
        return memory

    cdef int give(self, memory) except -1:
        with cython.critical_section(self):
            self.memory = memory
        return 0


cdef uint64_t float_state() noexcept:
    """The caller's floating-point state."""
    state = flush_subnormals()
    restore_float_state(state)
    return state


forks = 0


def count_fork():
    """Tells a forked child that the threads of its parent are not there."""
    global forks
    forks += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=count_fork)


def team_size():
    """Threads that exist: 1 until a job is shared."""
    return fastnn_team_size()


cdef int threads_for(double operations, int most) except -1:
    """How many threads share so many operations: at most `most`, or where that is 0, what set_num_threads allows."""
    if operations < 2 * OPERATIONS_PER_THREAD or most == 1:
        return 1
    return min(most or get_num_threads(), <int> min(operations / OPERATIONS_PER_THREAD, 1e6))


cdef Py_ssize_t rows_per_visit(double batch_operations, Py_ssize_t batch) noexcept:
    """Rows between two looks at pending signals: whole batches, for one thread."""
    return batch * (1 + <Py_ssize_t> (<double> OPERATIONS_PER_VISIT / (batch_operations + 10_000)))


cdef void do_job(void *argument, int index, int count) noexcept nogil:
    """The share of one of `count` workers in a Job, as a task of team.h."""
    cdef Job *job = <Job *> argument
    cdef Worker worker
    worker.index = index
    worker.count = count
    worker.wait = team_wait
    state = flush_subnormals()
    job.work(job, &worker)
    restore_float_state(state)


cdef int run(Job *job, int threads) except -1:
    """Does a job with this many threads, or with as many as there are."""
    cdef bint crowded = threads > 1 and threads > available_processors()
    with nogil:
        team_run(threads, crowded, do_job, job)
    return 0


cdef class ThreadChoice:
    """Whether all threads share the steps of a visit, or one does them alone: whichever was faster lately.

    How long processors take to hand data to each other differs by a factor of five from machine to
    machine, and on a virtual one from minute to minute: a step of 0.1 ms takes 0.7 or 1.8 times as long when it
    is shared. So both ways are timed, the slower one seldom. The bits are the same.
    """

    def __cinit__(self, int threads, double step_operations):
        self.threads = threads
        self.sure = threads == 1 or step_operations >= OPERATIONS_SURE_TO_GAIN
        self.together = self.alone = float("inf")

    cdef int next_threads(self) noexcept:
        """For the next visit: the faster way, after both were tried twice; now and then the slower one."""
        cdef bint together = self.together <= self.alone
        if self.sure:
            return self.threads
        self.visits += 1
        if self.visits <= 4:
            together = self.visits % 2 == 1
        elif self.visits % VISITS_BETWEEN_TRIALS == 0:
            together = not together
        return self.threads if together else 1

    cdef void note(self, int threads, double seconds) noexcept:
        """What a row took. One slow visit proves little, so an estimate falls at once and rises slowly."""
        if threads == 1:
            self.alone = min(seconds, 1.05 * self.alone)
        else:
            self.together = min(seconds, 1.05 * self.together)
