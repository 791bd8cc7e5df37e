"""Between Python and the kernels: the only file that knows both arrays and pointers.

`Kernels` holds the tables of one instruction set and offers each kernel as a method that
checks its arrays (`fastnn.ops` documents them). `Engine` holds one network's parameter
block and runs whole batches through it; `Rows` are what it reads; `Trainer` runs steps and
whole epochs with the constants and the state of an `Updating`. These trust their caller,
`network.py`, which has checked every argument and converted every array: dtype of the
network, C order. `Running` and `Updating` are the compiled halves of Network and Optimizer.

The GIL is released around kernels, and subnormals are zero there and nowhere else. Work that
is worth it is shared among threads (team.h).
"""

import os
from math import fsum
from time import perf_counter, sleep

import numpy as np

from ._checks import checked_integer, checked_weights, choose, number, real_array
from .core.thread_count import available_processors, get_num_threads

cimport cython
cimport numpy as cnp
from cpython.buffer cimport (
    PyBUF_FORMAT, PyBUF_STRIDES, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer,
)
from cpython.exc cimport PyErr_CheckSignals
from cpython.pycapsule cimport PyCapsule_GetPointer
from cpython.pythread cimport PyThread_get_thread_ident
from libc.math cimport INFINITY, NAN, isfinite, sqrt
from libc.stdint cimport uint64_t, uintptr_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

from .kernels.random cimport random_bits as counted_bits
from .kernels.random cimport shuffle as shuffle_rows
from .kernels.types cimport (
    ROW_BYTES, ActivationFacts, Constants, Data, Job, KernelTable, Layer, LossFacts, OptimizerFacts, Plan, Update,
    Worker, mean_elements, packed_bytes, padded, scratch_bytes, transposed_bytes,
)

cnp.import_array()

cdef extern from "Python.h":
    const Py_ssize_t PY_SSIZE_T_MAX

cdef extern from "float_state.h" nogil:
    uint64_t flush_subnormals "fastnn_flush_subnormals"()
    void restore_float_state "fastnn_restore_float_state"(uint64_t before)

cdef extern from *:
    """
    #include <stdint.h>
    #include <sys/mman.h>

    /* The whole large pages within it are asked for as such, where the system knows them: fewer faults. */
    static void fastnn_ask_for_large_pages(void *memory, size_t size)
    {
    #ifdef MADV_HUGEPAGE
        const uintptr_t page = 1 << 21, begin = (uintptr_t)memory;
        const uintptr_t start = (begin + page - 1) / page, stop = (begin + size) / page;
        if (start < stop)
            madvise((void *)(start * page), (stop - start) * page, MADV_HUGEPAGE);
    #endif
    }
    """
    void ask_for_large_pages "fastnn_ask_for_large_pages"(void *memory, size_t size)

cdef extern from "team.h" nogil:
    void team_run "fastnn_team_run"(
        int count, int crowded, void (*task)(void *argument, int index, int count) noexcept nogil, void *argument)
    void team_wait "fastnn_team_wait"()
    int fastnn_team_size()

cdef enum:
    # Rows that pass through the layers together where a batch has no meaning of its own: enough to
    # make packing the weights cheap where these leave the L2 cache.
    BLOCK_ROWS = 96
    BLOCK_ROWS_OF_LARGE = 480
    LARGE_BYTES = 1 << 20
    # Floating-point operations between two looks at pending signals: 2 to 10 ms.
    OPERATIONS_PER_VISIT = 200_000_000
    # One thread more must have as many to do at a stretch: with less, two are slower than one.
    OPERATIONS_PER_THREAD = 5_000_000
    # Of a training step, for each row and parameter.
    STEP_OPERATIONS = 6
    # A step of so many always gains from threads; whether a smaller one does, `Sharing` finds out.
    OPERATIONS_SURE_TO_GAIN = 100_000_000
    VISITS_BETWEEN_TRIALS = 64
    # Fewer are done before another thread could use the GIL.
    OPERATIONS_WORTH_RELEASING = 200_000
    # Padding of weights that a network may have beside rows that need it.
    PADDING_BYTES = 1 << 22
    # Squares of weights are read beyond the last row (kernels/small.pxd): room for 16 rows of 256 bytes.
    MARGIN_BYTES = 4096


def aligned_zeros(Py_ssize_t count, dtype):
    """A 1-D array of zeros that starts at a multiple of 64 bytes; beyond it MARGIN_BYTES may be read."""
    itemsize = np.dtype(dtype).itemsize
    memory = np.zeros(count * itemsize + ROW_BYTES + MARGIN_BYTES, np.uint8)
    cdef Py_ssize_t start = (-<uintptr_t> pointer(memory)) % ROW_BYTES
    return memory[start:start + count * itemsize].view(dtype)


def random_bits(uint64_t seed, uint64_t stream, Py_ssize_t first, Py_ssize_t count):
    """Numbers first … first + count - 1 of the random 64-bit integers of a seed and a stream (kernels/random.pxd)."""
    bits = np.empty(count, np.uint64)
    cdef uint64_t[::1] view = bits
    cdef uint64_t key = counted_bits(counted_bits(seed, 1), stream)
    cdef Py_ssize_t i
    for i in range(count):
        view[i] = counted_bits(key, <uint64_t> (first + i))
    return bits


cdef int forks = 0      # of this process, from its first ancestor on: threads of a parent are not here any more


def count_fork():
    global forks
    forks += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=count_fork)


def team_size():
    """Threads that exist: 1 until a job is shared."""
    return fastnn_team_size()


cdef int threads_for(double operations, int most) except -1:
    """How many threads share so many operations: at most `most`, or as set_num_threads allows for 0."""
    if operations < 2 * OPERATIONS_PER_THREAD or most == 1:
        return 1
    return min(most or get_num_threads(), <int> min(operations / OPERATIONS_PER_THREAD, 1e6))


cdef void do_job(void *argument, int index, int count) noexcept nogil:
    cdef Job *job = <Job *> argument
    cdef Worker worker
    worker.index = index
    worker.count = count
    worker.wait = team_wait
    state = flush_subnormals()
    job.work(job, &worker)
    restore_float_state(state)


cdef int run(Job *job, int threads) except -1:
    """Does a job, with this many threads if so many are to be had."""
    cdef bint crowded = threads > 1 and threads > available_processors()
    with nogil:
        team_run(threads, crowded, do_job, job)
    return 0


cdef class Sharing:
    """Whether all threads share the steps of a visit, or one does them alone: whichever was faster lately.

    How long processors take to hand data to each other differs by a factor of five from machine to
    machine, and on a virtual one from minute to minute: a step of 0.1 ms may be shared in 0.7 or in 1.8
    times its time. So both ways are timed, the slower one seldom. The bits are the same.
    """

    cdef int threads
    cdef bint sure
    cdef long long visits
    cdef double together, alone         # seconds a row

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


cdef double sum_in_order(const double *values, Py_ssize_t count, double total=0) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(count):
        total += values[i]
    return total


cdef double sum_of_squares(const void *values, Py_ssize_t itemsize, Py_ssize_t count) noexcept nogil:
    """In double, where the square of a float32 does not vanish. `count` is a multiple of 8."""
    cdef double sums[8]         # none waits for the one before
    cdef double value
    cdef Py_ssize_t i, j
    memset(sums, 0, sizeof(sums))
    for i in range(0, count, 8):
        for j in range(8):
            value = (<const float *> values)[i + j] if itemsize == 4 else (<const double *> values)[i + j]
            sums[j] += value * value
    return sum_in_order(sums, 8)


cdef class Operand:
    """One array argument of a kernel: its own memory where the layout fits, else a padded copy.

    Kernels want rows whose length is a multiple of 64 bytes, one after the other. An output
    that had to be copied is written back by `write_back`. Works on the buffer protocol, as
    typed memoryviews do, so that one text serves both dtypes and checks cost a tenth of a
    microsecond.
    """

    cdef Py_buffer view
    cdef bint held
    cdef void *copied
    cdef void *data
    cdef Py_ssize_t rows, columns, stride       # stride: elements from row to row of `data`
    cdef Py_ssize_t row_bytes, column_bytes     # strides of the caller's memory

    def __cinit__(self, array, str name, str dtype, int ndim, Py_ssize_t rows, Py_ssize_t columns,
                  bint writable=False, bint padded_rows=True):
        cdef Py_ssize_t itemsize = 4 if dtype == "float32" else 8
        cdef int flags = PyBUF_STRIDES | PyBUF_FORMAT | (PyBUF_WRITABLE if writable else 0)
        try:
            PyObject_GetBuffer(array, &self.view, flags)
        except (BufferError, TypeError, ValueError):
            if writable and isinstance(array, np.ndarray) and not array.flags.writeable:
                raise ValueError(
                    f"{name} is read-only, but the result goes there; pass a writable array") from None
            raise wrong_kind(name, array, dtype) from None
        self.held = True
        if float_code(&self.view) != (c"f" if itemsize == 4 else c"d"):
            raise wrong_kind(name, array, f"{dtype}, as the other arrays have")
        if self.view.ndim == ndim:
            self.rows = self.view.shape[0] if ndim == 2 else 1
            self.columns = self.view.shape[ndim - 1]
        if (self.view.ndim != ndim or (rows >= 0 and ndim == 2 and self.rows != rows)
                or (columns >= 0 and self.columns != columns)):
            expected = ", ".join([str(size) if size >= 0 else "any" for size in [rows, columns][2 - ndim:]])
            raise ValueError(
                f"{name} has shape {np.shape(array)}, but must have shape ({expected}{',' * (ndim == 1)})")
        self.row_bytes = self.view.strides[0] if ndim == 2 else 0
        self.column_bytes = self.view.strides[ndim - 1]
        self.stride = padded(self.columns, itemsize) if padded_rows else self.columns
        self.data = self.view.buf
        if (self.columns == self.stride
                and (self.columns <= 1 or self.column_bytes == itemsize)
                and (self.rows <= 1 or self.row_bytes == self.stride * itemsize)
                and <uintptr_t> self.data % itemsize == 0):
            return
        if self.stride and self.rows > PY_SSIZE_T_MAX // (self.stride * itemsize):
            raise MemoryError(f"no memory for a copy of {name}: its shape is {np.shape(array)}")
        self.copied = calloc(max(self.rows, 1) * max(self.stride, 1), itemsize)
        if self.copied == NULL:
            raise MemoryError(f"no memory for a copy of {name}")
        self.data = self.copied
        self.copy(False)

    cdef void copy(self, bint back) noexcept:
        cdef Py_ssize_t itemsize = self.view.itemsize
        cdef Py_ssize_t together = self.columns if self.column_bytes == itemsize else 1
        cdef char *theirs
        cdef char *ours
        cdef Py_ssize_t i, j
        if not self.columns:
            return
        for i in range(self.rows):
            theirs = <char *> self.view.buf + i*self.row_bytes
            ours = <char *> self.copied + i*self.stride*itemsize
            for j in range(self.columns // together):
                if back:
                    memcpy(theirs + j*self.column_bytes, ours + j*itemsize, together*itemsize)
                else:
                    memcpy(ours + j*itemsize, theirs + j*self.column_bytes, together*itemsize)

    cdef void span(self, uintptr_t *start, uintptr_t *end) noexcept:
        """From the first byte of the caller's memory to the one after the last; rows may run backwards."""
        cdef Py_ssize_t first = 0, last = 0, axis
        for axis in range(self.view.ndim):
            first += min(0, (self.view.shape[axis] - 1) * self.view.strides[axis])
            last += max(0, (self.view.shape[axis] - 1) * self.view.strides[axis])
        start[0] = <uintptr_t> self.view.buf + first
        end[0] = <uintptr_t> self.view.buf + last + self.view.itemsize

    cdef void write_back(self) noexcept:
        if self.copied != NULL:
            self.copy(True)

    def __dealloc__(self):
        free(self.copied)
        if self.held:
            PyBuffer_Release(&self.view)


cdef object MOST_COUNTED = 2**62 - 1     # steps or epochs: whatever is added to them stays a long long


cdef double real_in(str name, value, double low, double high, bint open_low=False) except? -1:
    """`number` of _checks.py, at once for a float that is in bounds: that call takes as long as an update of 500
    parameters."""
    cdef double result
    if type(value) is float:
        result = value
        if low <= result < high and not (open_low and result == low):
            return result
    return number(name, value, low, high, open_low)


cdef enum:
    ANY = -1        # a size that an Operand takes as it comes


cdef str dtype_of(array, str name):
    """The dtype that decides what the other arguments must be."""
    cdef Py_buffer view
    cdef char code = 0
    try:
        PyObject_GetBuffer(array, &view, PyBUF_STRIDES | PyBUF_FORMAT)
        code = float_code(&view)
        PyBuffer_Release(&view)
    except (BufferError, TypeError, ValueError):
        pass
    if code == 0:
        raise wrong_kind(name, array, "float32 or float64")
    return "float32" if code == c"f" else "float64"


cdef char float_code(Py_buffer *view) noexcept:
    """'f' or 'd' for floats in this machine's byte order (NumPy writes '=' before unaligned ones), else 0."""
    cdef const char *code = view.format + (view.format[0] == c"=")
    return code[0] if (code[0] == c"f" or code[0] == c"d") and code[1] == 0 else 0


cdef wrong_kind(str name, array, str wanted):
    """The error for an argument that is no array of floats, or of other floats."""
    if isinstance(array, np.ndarray):
        return TypeError(f"{name} has dtype {array.dtype}, but must have {wanted}")
    return TypeError(f"{name} is a {type(array).__name__}, but must be an array of {wanted}")


cdef check_apart(str name, Operand output, str other_name, Operand other, bint in_place=False):
    """Refuses an output that a kernel writes over an input that it still reads; `in_place` allows that very input."""
    if output is None or other is None or output.copied != NULL or other.copied != NULL:
        return
    if in_place and output.data == other.data:
        return
    if (<char *> output.data < <char *> other.data + other.view.len
            and <char *> other.data < <char *> output.data + output.view.len):
        raise ValueError(f"{name} shares memory with {other_name}, which is still read; pass another array")


cdef check_outputs_apart(str name, Operand output, str other_name, Operand other):
    """Refuses two outputs in the same memory, copied or not: copies are written back there."""
    cdef uintptr_t start, end, other_start, other_end
    if output is None or other is None:
        return
    output.span(&start, &end)
    other.span(&other_start, &other_end)
    if start < other_end and other_start < end and np.shares_memory(<object> output.view.obj, <object> other.view.obj):
        raise ValueError(f"{name} shares memory with {other_name}, which is written too; pass another array")


cdef void *data_of(Operand operand) noexcept:
    return operand.data if operand is not None else NULL


cdef class Scratch:
    """Memory for the operands that a product packs."""

    cdef void *data
    cdef Py_ssize_t size

    def __cinit__(self, Py_ssize_t size):
        self.size = size
        self.data = malloc(max(size, 1))
        if self.data == NULL:
            raise MemoryError("no memory for the workspace of a product")

    def __dealloc__(self):
        free(self.data)


cdef class Spare:
    """Memory that was used, for the next one who needs such: whoever takes it has it alone."""

    cdef object memory

    cdef object take(self):
        with cython.critical_section(self):
            memory, self.memory = self.memory, None
        return memory

    cdef int give(self, memory) except -1:
        with cython.critical_section(self):
            self.memory = memory
        return 0


cdef dict declared_activations(const KernelTable *table):
    """What activations there are, in the order of their codes."""
    cdef ActivationFacts facts
    cdef int code = 0
    declared = {}
    table.describe_activation(code, &facts)
    while facts.name != NULL:
        declared[facts.name.decode("ascii")] = {"code": code, "needs_z": facts.needs_z, "takes_row": facts.takes_row}
        code += 1
        table.describe_activation(code, &facts)
    return declared


cdef dict declared_losses(const KernelTable *table):
    """What losses there are, in the order of their codes."""
    cdef LossFacts facts
    declared = {}
    table.describe_loss(0, &facts)
    while facts.name != NULL:
        name, output = facts.name.decode("ascii"), facts.output.decode("ascii")
        declared[name, output] = {**facts, "name": name, "output": output}
        table.describe_loss(facts.code + 1, &facts)
    return declared


cdef dict declared_optimizers(const KernelTable *table):
    """What optimizers there are, in the order of their codes."""
    cdef OptimizerFacts facts
    cdef int code = 0
    declared = {}
    table.describe_optimizer(code, &facts)
    while facts.name != NULL:
        declared[facts.name.decode("ascii")] = {"code": code, "state_blocks": facts.state_blocks,
                                                "velocity": facts.velocity}
        code += 1
        table.describe_optimizer(code, &facts)
    return declared


cdef class Kernels:
    """The kernels of one instruction set, for float32 and float64. `fastnn.ops` documents the methods."""

    cdef const KernelTable *float32
    cdef const KernelTable *float64
    cdef readonly str instruction_set
    cdef readonly dict activations  # by name: what kernels/activations.pxd declares of each, as a dict with its code
    cdef readonly dict losses       # by name and output, "" for any: what kernels/losses.pxd declares, as a dict
    cdef readonly dict optimizers   # by name: what kernels/updates.pxd declares of each, as a dict with its code
    cdef Spare spare                # a Scratch: the last product's

    def __cinit__(self, float32, float64):
        self.float32 = <const KernelTable *> PyCapsule_GetPointer(float32, b"fastnn.KernelTable")
        self.float64 = <const KernelTable *> PyCapsule_GetPointer(float64, b"fastnn.KernelTable")
        self.instruction_set = self.float32.instruction_set.decode("ascii")
        self.activations = declared_activations(self.float32)
        self.losses = declared_losses(self.float32)
        self.optimizers = declared_optimizers(self.float32)
        self.spare = Spare()

    cdef const KernelTable *table(self, str dtype) noexcept:
        return self.float32 if dtype == "float32" else self.float64

    cdef int activation_code(self, activation) except -1:
        """The code of an activation that a user named."""
        return self.activations[choose("activation", activation, self.activations)]["code"]

    cdef LossFacts loss_facts(self, loss, str output) except *:
        """What is declared of a losses.Loss with this output activation: there may be several of one name."""
        cdef LossFacts facts
        known = self.losses.get((loss.name, output)) or self.losses[loss.name, ""]
        self.float32.describe_loss(known["code"], &facts)
        return facts

    cdef Scratch take_scratch(self, Py_ssize_t size):
        cdef Scratch scratch = self.spare.take()
        return Scratch(size) if scratch is None or scratch.size < size else scratch

    def dense_forward(self, y, x, w, b, activation="identity"):
        cdef int code = self.activation_code(activation)
        dtype = dtype_of(x, "x")
        cdef const KernelTable *table = self.table(dtype)
        cdef Operand x_ = Operand(x, "x", dtype, 2, ANY, ANY, padded_rows=False)
        cdef Operand w_ = Operand(w, "w", dtype, 2, x_.columns, ANY)
        cdef Operand b_ = Operand(b, "b", dtype, 1, ANY, w_.columns)
        cdef Operand y_ = Operand(y, "y", dtype, 2, x_.rows, w_.columns, writable=True)
        check_apart("y", y_, "x", x_)
        check_apart("y", y_, "w", w_)
        check_apart("y", y_, "b", b_)
        cdef Scratch scratch = self.take_scratch(
            scratch_bytes(x_.rows, w_.columns, x_.columns, table.real_size))
        with nogil:
            state = flush_subnormals()
            table.dense_forward(y_.data, y_.data, x_.data, w_.data, b_.data, code,
                                x_.rows, w_.columns, x_.columns, x_.columns, w_.stride, scratch.data)
            restore_float_state(state)
        self.spare.give(scratch)
        y_.write_back()

    def dense_backward(self, dx, dw, db, dz, x, w):
        dtype = dtype_of(dz, "dz")
        cdef const KernelTable *table = self.table(dtype)
        cdef Operand dz_ = Operand(dz, "dz", dtype, 2, ANY, ANY)
        cdef Operand x_ = None if x is None else Operand(x, "x", dtype, 2, dz_.rows, ANY, padded_rows=False)
        cdef Operand w_ = None if w is None else Operand(
            w, "w", dtype, 2, ANY if x is None else x_.columns, dz_.columns)
        if dx is not None and w is None:
            raise TypeError("w is None, but dx = dz @ w.T needs it")
        if dw is not None and x is None:
            raise TypeError("x is None, but dw = x.T @ dz needs it")
        cdef Py_ssize_t m = dz_.rows, n = dz_.columns
        cdef Py_ssize_t k = x_.columns if x_ is not None else w_.rows if w_ is not None else 0
        cdef Operand dx_ = None if dx is None else Operand(dx, "dx", dtype, 2, m, k, writable=True)
        cdef Operand dw_ = None if dw is None else Operand(dw, "dw", dtype, 2, k, n, writable=True)
        cdef Operand db_ = None if db is None else Operand(db, "db", dtype, 1, ANY, n, writable=True)
        check_apart("dx", dx_, "dz", dz_)
        check_apart("dx", dx_, "x", x_)
        check_apart("dx", dx_, "w", w_)
        check_apart("dw", dw_, "dz", dz_)
        check_apart("dw", dw_, "x", x_)
        check_apart("dw", dw_, "w", w_)
        check_apart("db", db_, "dz", dz_)
        check_apart("db", db_, "x", x_)
        check_apart("db", db_, "w", w_)
        check_outputs_apart("dw", dw_, "dx", dx_)
        check_outputs_apart("db", db_, "dx", dx_)
        check_outputs_apart("db", db_, "dw", dw_)
        cdef Scratch scratch = self.take_scratch(scratch_bytes(m, n, k, table.real_size))
        cdef void *dx_data = data_of(dx_)
        cdef void *dw_data = data_of(dw_)
        cdef void *db_data = data_of(db_)
        cdef void *x_data = data_of(x_)
        cdef void *w_data = data_of(w_)
        with nogil:
            state = flush_subnormals()
            table.dense_backward(dx_data, dw_data, db_data, dz_.data, x_data, w_data,
                                 m, n, k, k, dz_.stride, scratch.data)
            restore_float_state(state)
        self.spare.give(scratch)
        if dx_ is not None:
            dx_.write_back()
        if dw_ is not None:
            dw_.write_back()
        if db_ is not None:
            db_.write_back()

    def activation_forward(self, y, z, activation):
        cdef int code = self.activation_code(activation)
        dtype = dtype_of(z, "z")
        cdef const KernelTable *table = self.table(dtype)
        cdef Operand z_ = Operand(z, "z", dtype, 2, ANY, ANY)
        cdef Operand y_ = Operand(y, "y", dtype, 2, z_.rows, z_.columns, writable=True)
        check_apart("y", y_, "z", z_, in_place=True)
        with nogil:
            state = flush_subnormals()
            table.activation_forward(y_.data, z_.data, code, z_.rows, z_.columns)
            restore_float_state(state)
        y_.write_back()

    def activation_backward(self, dz, dy, y, z, activation):
        cdef int code = self.activation_code(activation)
        dtype = dtype_of(dy, "dy")
        cdef const KernelTable *table = self.table(dtype)
        cdef Operand dy_ = Operand(dy, "dy", dtype, 2, ANY, ANY)
        cdef Operand y_ = Operand(y, "y", dtype, 2, dy_.rows, dy_.columns)
        cdef Operand z_ = Operand(z, "z", dtype, 2, dy_.rows, dy_.columns)
        cdef Operand dz_ = Operand(dz, "dz", dtype, 2, dy_.rows, dy_.columns, writable=True)
        check_apart("dz", dz_, "dy", dy_, in_place=True)
        check_apart("dz", dz_, "y", y_, in_place=True)
        check_apart("dz", dz_, "z", z_, in_place=True)
        with nogil:
            state = flush_subnormals()
            table.activation_backward(dz_.data, dy_.data, y_.data, z_.data, code, dy_.rows, dy_.columns)
            restore_float_state(state)
        dz_.write_back()

    def loss_forward_backward(self, dz, z, t, loss, activation="identity", weights=None):
        cdef int code = self.activation_code(activation)
        cdef LossFacts facts = self.loss_facts(loss, activation)
        cdef double parameter = loss.parameter
        dtype = dtype_of(z, "z")
        cdef const KernelTable *table = self.table(dtype)
        cdef Operand z_ = Operand(z, "z", dtype, 2, ANY, ANY)
        cdef Operand t_ = Operand(t, "t", dtype, 2, z_.rows, z_.columns)
        dz = np.empty_like(z) if dz is None else dz
        cdef Operand dz_ = Operand(dz, "dz", dtype, 2, z_.rows, z_.columns, writable=True)
        check_apart("dz", dz_, "z", z_)
        check_apart("dz", dz_, "t", t_)
        weights = checked_weights("weights", weights, z_.rows)
        cdef Operand weights_ = None if weights is None else Operand(
            weights, "weights", "float64", 1, ANY, z_.rows, padded_rows=False)
        cdef const double *weight = <const double *> data_of(weights_)
        cdef double divisor = weight_sum(weights, z_.rows) * mean_elements(&facts, z_.columns)
        if divisor == 0:
            raise ValueError(f"z has shape {np.shape(z)}, but a mean needs at least one element")
        losses = np.empty(z_.rows)
        cdef double *loss_rows = <double *> pointer(losses)
        with nogil:
            state = flush_subnormals()
            table.loss_forward_backward(dz_.data, loss_rows, z_.data, t_.data, weight, 1 / divisor,
                                        facts.code, parameter, code, z_.rows, z_.columns)
            restore_float_state(state)
        dz_.write_back()
        return sum_in_order(loss_rows, z_.rows) / divisor

    def sgd_update(self, parameters, gradients, learning_rate, velocity=None, momentum=0.0,
                   weight_decay=0.0, nesterov=False):
        dtype = dtype_of(parameters, "parameters")
        cdef const KernelTable *table = self.table(dtype)
        cdef Operand p = Operand(parameters, "parameters", dtype, 1, ANY, ANY, writable=True)
        cdef Operand g = Operand(gradients, "gradients", dtype, 1, ANY, p.columns)
        cdef Operand v = None if velocity is None else Operand(
            velocity, "velocity", dtype, 1, ANY, p.columns, writable=True)
        check_apart("parameters", p, "gradients", g)
        check_apart("velocity", v, "gradients", g)
        check_outputs_apart("velocity", v, "parameters", p)
        cdef Update update
        memset(&update, 0, sizeof(update))
        update.optimizer = self.optimizers["sgd"]["code"]
        update.learning_rate = real_in("learning_rate", learning_rate, 0, INFINITY)
        update.constants.momentum = real_in("momentum", momentum, 0, 1)
        update.constants.weight_decay = real_in("weight_decay", weight_decay, 0, INFINITY)
        update.constants.nesterov = nesterov
        if v is None and (update.constants.momentum or update.constants.nesterov):
            raise ValueError("velocity is None, but momentum needs it: pass an array, zeros at first")
        self.update(table, &update, p, g, v, None)

    def adam_update(self, parameters, gradients, first, second, step, learning_rate=1e-3, beta1=0.9,
                    beta2=0.999, epsilon=1e-8):
        dtype = dtype_of(parameters, "parameters")
        cdef const KernelTable *table = self.table(dtype)
        cdef Operand p = Operand(parameters, "parameters", dtype, 1, ANY, ANY, writable=True)
        cdef Operand g = Operand(gradients, "gradients", dtype, 1, ANY, p.columns)
        cdef Operand m = Operand(first, "first", dtype, 1, ANY, p.columns, writable=True)
        cdef Operand v = Operand(second, "second", dtype, 1, ANY, p.columns, writable=True)
        check_apart("parameters", p, "gradients", g)
        check_apart("first", m, "gradients", g)
        check_apart("second", v, "gradients", g)
        check_outputs_apart("first", m, "parameters", p)
        check_outputs_apart("second", v, "parameters", p)
        check_outputs_apart("second", v, "first", m)
        cdef Update update
        memset(&update, 0, sizeof(update))
        update.optimizer = self.optimizers["adam"]["code"]
        update.step = checked_integer("step", step, 1) - 1
        update.learning_rate = real_in("learning_rate", learning_rate, 0, INFINITY)
        update.constants.beta1 = real_in("beta1", beta1, 0, 1)
        update.constants.beta2 = real_in("beta2", beta2, 0, 1)
        update.constants.epsilon = real_in("epsilon", epsilon, 0, INFINITY, open_low=True)
        self.update(table, &update, p, g, m, v)

    cdef update(self, const KernelTable *table, Update *update, Operand p, Operand g, Operand first, Operand second):
        """One step of an optimizer."""
        cdef void *first_data = data_of(first)
        cdef void *second_data = data_of(second)
        with nogil:
            before = flush_subnormals()
            table.begin_step(update)
            table.update_parameters(p.data, g.data, first_data, second_data, update, p.stride)
            restore_float_state(before)
        for output in (p, first, second):
            if output is not None:
                (<Operand> output).write_back()

    def all_finite(self, cnp.ndarray array not None):
        """Whether no element of a C-contiguous float array is NaN or infinite."""
        cdef const KernelTable *table = self.table(dtype_of(array, "array"))
        cdef const void *data = cnp.PyArray_DATA(array)
        cdef Py_ssize_t count = cnp.PyArray_SIZE(array)
        cdef bint answer
        with nogil:
            state = flush_subnormals()
            answer = table.all_finite(data, count)
            restore_float_state(state)
        return answer

    def multiply_add_chains(self, dtype, long long rounds):
        """Runs fused multiply-adds from registers alone and returns how many operations they were."""
        cdef const KernelTable *table = self.table(np.dtype(dtype).name)
        with nogil:
            table.multiply_add_chains(rounds)
        return 2 * table.chains * table.lanes * rounds


def weight_sum(weights, Py_ssize_t rows):
    """The sum of the weights, correctly rounded: the same on every machine."""
    return float(rows) if weights is None else fsum(weights)


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


cdef class Engine:
    """A network's parameter block, and whole batches through its layers.

    The block holds w0, b0, w1, b1, … with padded rows, so an optimizer is one loop over it. Where padding would take
    more than PADDING_BYTES, layers of which it is more than a fifth are stored without it.
    """

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
    cdef Spare predicting, evaluating       # a Workspace: the last prediction's, the last evaluation's
    cdef Spare learning                     # the last fit's: to have its pages cleared again takes long
    cdef unsigned long trainer              # the thread that trains
    cdef int trainings                      # which are under way: a callback of a fit may train, too
    cdef unsigned long holder               # the thread that keeps others from the parameters
    cdef int holds, waiting                 # how often it does; how many others wait for them
    cdef bint due                           # whether the next to have them does steps
    cdef int holder_forks                   # `forks` when it began
    cdef bint stepping                      # whether the thread that trains is among its steps
    cdef int training_forks                 # `forks` when it began
    cdef public tuple copies                # blocks that a fit goes back to, see training/fit.py

    def __cinit__(self, Kernels kernels, str dtype, tuple layer_sizes, tuple activations, loss,
                  tuple dropout, double l1, double l2, double label_smoothing, uint64_t seed):
        cdef int index
        cdef Py_ssize_t padding = 0
        cdef char *block
        self.kernels = kernels
        self.table = kernels.table(dtype)
        self.dtype = dtype
        self.itemsize = self.table.real_size
        self.type_number = cnp.NPY_FLOAT if self.itemsize == 4 else cnp.NPY_DOUBLE
        self.layer_sizes = layer_sizes
        self.n_layers = len(layer_sizes) - 1
        self.activations = activations
        self.loss = loss
        if callable(loss):
            self.python_loss = True
            self.loss_facts.per_row = True      # it is a mean already
        else:
            self.loss_facts = kernels.loss_facts(loss, activations[self.n_layers - 1])
            self.loss_parameter = loss.parameter
        self.dropout = dropout
        self.l1, self.l2, self.label_smoothing = l1, l2, label_smoothing
        self.seed = seed
        self.predicting, self.evaluating, self.learning = Spare(), Spare(), Spare()
        self.copies = [], [], []
        self.layers = <Layer *> calloc(self.n_layers, sizeof(Layer))
        if self.layers == NULL:
            raise MemoryError("no memory for the list of layers")
        for index in range(self.n_layers):
            layer = &self.layers[index]
            facts = kernels.activations[activations[index]]
            layer.activation, layer.needs_z = facts["code"], facts["needs_z"]
            layer.n_in = layer_sizes[index]
            layer.n_out = layer_sizes[index + 1]
            layer.stride = padded(layer.n_out, self.itemsize)
            layer.dropout = dropout[index]
            self.multiply_adds += (layer.n_in + 1) * layer.stride
            padding += layer.n_in * (layer.stride - layer.n_out)
        for index in range(self.n_layers):
            layer = &self.layers[index]
            layer.ldw = layer.stride
            if padding * self.itemsize > PADDING_BYTES and 5 * (layer.stride - layer.n_out) > layer.stride:
                layer.ldw = layer.n_out
                self.unpadded = True
            layer.bias = padded(layer.n_in * layer.ldw, self.itemsize)
            self.size += layer.bias + layer.stride
        self.parameters = aligned_zeros(self.size, dtype)
        block = <char *> pointer(self.parameters)
        for index in range(self.n_layers):
            layer = &self.layers[index]
            layer.w = block
            layer.b = block + layer.bias * self.itemsize
            block += (layer.bias + layer.stride) * self.itemsize

    def __dealloc__(self):
        free(self.layers)

    cdef void *block(self, array) except NULL:
        """The memory of an array that is laid out like the parameters; TypeError for any other."""
        if not (cnp.PyArray_Check(array) and cnp.PyArray_ISCARRAY(array) and cnp.PyArray_SIZE(array) == self.size
                and cnp.PyArray_TYPE(array) == self.type_number
                and <uintptr_t> cnp.PyArray_DATA(array) % ROW_BYTES == 0):
            raise TypeError(f"a block is {type(array).__name__} of shape {np.shape(array)}, but must be {self.size} "
                            f"elements of {self.dtype} as aligned_zeros gives")
        return cnp.PyArray_DATA(array)

    cpdef int acquire(self) except -1:
        """Begins a training, which belongs to one thread at a time. RuntimeError where another thread trains, or where
        this thread is among its training steps: in a Python loss, or in a signal handler."""
        cdef unsigned long caller = PyThread_get_thread_ident()
        cdef bint mine
        with cython.critical_section(self):
            if self.trainings and self.trainer != caller and self.training_forks != forks:
                self.trainings = 0          # a thread of the parent, which is not here
                self.stepping = False
            mine = self.trainings == 0 or (self.trainer == caller and not self.stepping)
            if mine:
                self.trainer, self.training_forks = caller, forks
                self.trainings += 1
        if not mine and self.trainer == caller:
            raise RuntimeError("a Python loss cannot train the network that it belongs to" if self.python_loss
                               else "a signal handler cannot train a network in the middle of its training")
        if not mine:
            raise RuntimeError("this network is being trained by another thread; wait until that is done, or train a "
                               "copy of it: copy.copy(network)")
        return 0

    cpdef int release(self) except -1:
        """Ends it."""
        with cython.critical_section(self):
            self.trainings -= 1
        return 0

    cpdef int hold(self, bint stepping=False) except -1:
        """Keeps other threads from what a training step changes, until `let_go`: for a visit of steps, or for a copy.

        It waits until others have let go, some 10 ms or one step. A thread may hold several times. Steps and others
        take turns: before its steps a training lets those who wait come first, once, and then it is due.
        """
        cdef unsigned long caller = PyThread_get_thread_ident()
        cdef bint held = False, waits = False, yields = stepping
        try:
            while True:
                with cython.critical_section(self):
                    if self.holds:
                        held = self.holder == caller
                    else:
                        held = not (yields and self.waiting) if stepping else not self.due
                    if stepping:
                        self.due = not (held or yields)
                    if held:
                        self.holder, self.holder_forks = caller, forks
                        self.holds += 1
                    if waits != (not held and not stepping):
                        waits = not waits
                        self.waiting += 1 if waits else -1
                if held:
                    return 0
                if self.holds and self.holder_forks != forks:
                    raise RuntimeError("this process was forked in the middle of a training step of this network, so "
                                       "its parameters are of several steps; fork between fits, or load a saved one")
                sleep(2e-4 if yields else 1e-4)     # twice as long as others sleep, so that they see their turn
                yields = False
                PyErr_CheckSignals()
        finally:
            if waits or (stepping and not held):
                with cython.critical_section(self):
                    self.waiting -= waits
                    self.due = self.due and not stepping

    cpdef int let_go(self) except -1:
        """Ends it."""
        with cython.critical_section(self):
            self.holds -= 1
        return 0

    def views(self, block):
        """The weights and the biases inside a block laid out like `parameters`: two tuples of arrays."""
        cdef Layer *layer
        cdef Py_ssize_t offset = 0
        weights, biases = [], []
        for index in range(self.n_layers):
            layer = &self.layers[index]
            weights.append(block[offset:offset + layer.n_in * layer.ldw].reshape(
                layer.n_in, layer.ldw)[:, :layer.n_out])
            offset += layer.bias
            biases.append(block[offset:offset + layer.n_out])
            offset += layer.stride
        return tuple(weights), tuple(biases)

    def norms(self, block):
        """The Euclidean norm of each layer's weights in a block laid out like `parameters`: float64 (n_layers,)."""
        cdef const char *values = <const char *> pointer(block)
        result = []
        for index in range(self.n_layers):
            result.append(sqrt(sum_of_squares(values, self.itemsize, self.layers[index].bias)))
            values += (self.layers[index].bias + self.layers[index].stride) * self.itemsize
        return np.array(result)

    def packed(self, block):
        """A block without its padding, (n_parameters,): W0, b0, W1, b1, … row by row."""
        cdef Py_ssize_t start = 0, count = 0
        for index in range(self.n_layers):
            count += (self.layers[index].n_in + 1) * self.layers[index].n_out
        values = np.empty(count, self.dtype)
        for pair in zip(*self.views(block)):
            for view in pair:
                values[start:start + view.size].reshape(view.shape)[...] = view
                start += view.size
        return values

    def unpack(self, values, block):
        """The way back: values (n_parameters,) into a block."""
        cdef Py_ssize_t start = 0
        for pair in zip(*self.views(block)):
            for view in pair:
                view[...] = values[start:start + view.size].reshape(view.shape)
                start += view.size

    cdef const void *matrix(self, str name, array, Py_ssize_t rows, Py_ssize_t columns) except? NULL:
        """The memory of an array (rows, columns) as kernels read it; ValueError for any other.

        It is asked here, where the memory is used: attributes of a subclass may say anything, and other code may have
        run since a check in Python.
        """
        if not (cnp.PyArray_Check(array) and cnp.PyArray_ISCARRAY_RO(array) and cnp.PyArray_NDIM(array) == 2
                and cnp.PyArray_TYPE(array) == self.type_number and cnp.PyArray_DIM(array, 0) == rows
                and cnp.PyArray_DIM(array, 1) == columns):
            raise ValueError(f"{name} has changed while it was being read: it must stay a C-contiguous array of "
                             f"{self.dtype} of shape ({rows}, {columns})")
        return cnp.PyArray_DATA(array)

    def predict(self, cnp.ndarray x not None, cnp.ndarray out not None):
        """out := the outputs for x, row by row the same bits in whatever company."""
        cdef Py_ssize_t rows = cnp.PyArray_DIM(x, 0) if cnp.PyArray_NDIM(x) else 0
        cdef Py_ssize_t n_out = self.layers[self.n_layers - 1].n_out
        cdef const void *inputs = self.matrix("X", x, rows, self.layers[0].n_in)
        if not (cnp.PyArray_ISCARRAY(out) and cnp.PyArray_TYPE(out) == self.type_number
                and cnp.PyArray_SIZE(out) == rows * n_out):
            raise ValueError(f"out has changed while it was being read: it must have room for ({rows}, {n_out})")
        self.predict_rows(inputs, cnp.PyArray_DATA(out), rows)

    cdef predict_unconverted(self, cnp.ndarray x, out):
        """The outputs for arrays that are just as kernels want them; None for any others.

        The short path of one sample: a look at the array, an array for the result.
        """
        cdef int ndim = cnp.PyArray_NDIM(x), type_number = self.type_number
        cdef Py_ssize_t n_in = self.layers[0].n_in
        cdef cnp.npy_intp shape[2]
        if (cnp.PyArray_TYPE(x) != type_number or not cnp.PyArray_ISCARRAY_RO(x) or not 1 <= ndim <= 2
                or cnp.PyArray_DIM(x, ndim - 1) != n_in):
            return None
        shape[0] = cnp.PyArray_DIM(x, 0) if ndim == 2 else 1
        shape[1] = self.layers[self.n_layers - 1].n_out
        if shape[0] == 0 or not self.table.all_finite(cnp.PyArray_DATA(x), shape[0] * n_in):
            return None
        if out is None:
            out = cnp.PyArray_EMPTY(ndim, shape + 2 - ndim, type_number, 0)
        elif not receives(out, x, ndim, shape + 2 - ndim, type_number):
            return None
        self.predict_rows(cnp.PyArray_DATA(x), cnp.PyArray_DATA(out), shape[0])
        return out

    cdef int predict_rows(self, const void *x, void *out, Py_ssize_t rows) except -1:
        cdef double row_operations = 2.0 * self.multiply_adds
        cdef int threads = threads_for(rows * row_operations, self.most_threads)
        cdef Py_ssize_t batch = self.block_rows(rows, threads)
        cdef Py_ssize_t visit = rows_per_visit(row_operations * batch, batch) * threads
        cdef Workspace workspace = self.predicting.take()
        cdef Job job
        if workspace is None or workspace.batch < batch or workspace.threads < threads:
            workspace = Workspace(self, batch, learning=False, threads=threads)
        job.work = self.table.predict
        job.plan = &workspace.plan
        job.data.x = x
        job.out = out
        job.batch = batch
        job.last = 0
        if rows * row_operations < OPERATIONS_WORTH_RELEASING:
            job.first, job.last = 0, rows
            do_job(&job, 0, 1)
        while job.last < rows:
            job.first, job.last = job.last, min(rows, job.last + visit)
            run(&job, threads)
            PyErr_CheckSignals()
        self.predicting.give(workspace)
        return 0

    cdef Py_ssize_t block_rows(self, Py_ssize_t rows, int threads) noexcept:
        """Rows that pass through the layers together, where each thread takes a share of them all."""
        cdef bint large = self.size * self.itemsize > LARGE_BYTES
        return min((rows + threads - 1) // threads, BLOCK_ROWS_OF_LARGE if large else BLOCK_ROWS)

    def evaluate(self, Rows rows):
        """The mean loss. A Python loss must be asked itself."""
        rows.check(self)
        cdef double row_operations = 2.0 * self.multiply_adds
        cdef int threads = threads_for(rows.data.rows * row_operations, self.most_threads)
        cdef Py_ssize_t batch = self.block_rows(rows.data.rows, threads)
        cdef Py_ssize_t visit = rows_per_visit(row_operations * batch, batch) * threads
        cdef Workspace workspace = self.evaluating.take()
        cdef Job job
        if workspace is None or workspace.batch < batch or workspace.threads < threads:
            workspace = Workspace(self, batch, learning=True, threads=threads)
        if rows.losses == NULL:
            rows.losses = <double *> malloc(rows.data.rows * sizeof(double))
            if rows.losses == NULL:
                raise MemoryError(f"no memory for the losses of {rows.data.rows} rows")
        job.work = self.table.evaluate
        job.plan = &workspace.plan
        job.data = rows.data
        job.data.smoothing = 0
        job.losses = rows.losses
        job.batch = batch
        job.last = 0
        while job.last < rows.data.rows:
            job.first, job.last = job.last, min(rows.data.rows, job.last + visit)
            run(&job, threads)
            PyErr_CheckSignals()
        self.evaluating.give(workspace)
        return sum_in_order(job.losses, rows.data.rows) / self.divisor(rows.weight)

    def gradients(self, Rows rows):
        """The mean loss and its gradient, as a block laid out like `parameters`."""
        rows.check(self)
        block = aligned_zeros(self.size, self.dtype)
        cdef Py_ssize_t count = rows.data.rows
        cdef int threads = 1 if self.python_loss else threads_for(
            <double> STEP_OPERATIONS * self.multiply_adds * count, self.most_threads)
        cdef Workspace workspace = Workspace(self, count, learning=True, gradients=block, threads=threads)
        cdef double divisor = self.divisor(rows.weight)
        cdef Job job
        job.work = self.table.gradients
        job.plan = &workspace.plan
        job.data = rows.data
        job.data.smoothing = 0
        job.data.order = NULL
        job.scale = 1 / divisor
        job.first, job.last = 0, count
        job.seed = job.step = job.place = 0
        if self.python_loss:
            workspace.python_loss.float_state = float_state()
        run(&job, threads)
        if self.python_loss:
            workspace.python_loss.check()
        return sum_in_order(workspace.plan.losses, count) / divisor, block

    def layer_outputs(self, cnp.ndarray x not None, bint slopes=False):
        """The outputs of every layer for x, or their slopes d y_i / d z_i: a list of arrays (n, n_out)."""
        cdef Py_ssize_t m = cnp.PyArray_DIM(x, 0) if cnp.PyArray_NDIM(x) else 0, ldx = self.layers[0].n_in
        cdef const void *inputs = self.matrix("X", x, m, ldx)
        cdef Layer *layer
        cdef char *y
        cdef char *z
        cdef char *slope
        cdef int index, slope_of
        result, kept = [], None     # kept: what the next layer reads
        for index in range(self.n_layers):
            layer = &self.layers[index]
            values = aligned_zeros(m * layer.stride, self.dtype)
            before = aligned_zeros(m * layer.stride, self.dtype) if layer.needs_z else values
            slope_values = aligned_zeros(m * layer.stride, self.dtype) if slopes else values
            if slopes:
                slope_values[...] = 1       # what is multiplied by the slope
            y, z, slope = <char *> pointer(values), <char *> pointer(before), <char *> pointer(slope_values)
            scratch = self.kernels.take_scratch(scratch_bytes(m, layer.n_out, layer.n_in, self.itemsize))
            # The diagonal of softmax's Jacobian is y (1 - y), as a sigmoid's slope is.
            name = self.activations[index]
            slope_of = self.kernels.activation_code("sigmoid" if name == "softmax" else name)
            with nogil:
                state = flush_subnormals()
                self.table.dense_forward(z, y, inputs, layer.w, layer.b, layer.activation, m, layer.n_out, layer.n_in,
                                         ldx, layer.ldw, scratch.data)
                if slopes:
                    self.table.activation_backward(slope, slope, y, z, slope_of, m, layer.n_out)
                restore_float_state(state)
            self.kernels.spare.give(scratch)
            result.append(slope_values.reshape(m, layer.stride)[:, :layer.n_out])
            kept = values
            inputs, ldx = y, layer.stride
        return result

    cpdef double divisor(self, double weight) noexcept:
        """What turns a loss summed over rows of this total weight into the mean."""
        return weight * mean_elements(&self.loss_facts, self.layers[self.n_layers - 1].n_out)


cdef bint receives(out, cnp.ndarray x, int ndim, cnp.npy_intp *shape, int type_number) noexcept:
    """Whether kernels can write this shape and type straight to `out`, and it lies apart from x."""
    cdef cnp.ndarray array
    cdef int axis
    if not cnp.PyArray_CheckExact(out):
        return False
    array = out
    if cnp.PyArray_TYPE(array) != type_number or not cnp.PyArray_ISCARRAY(array) or cnp.PyArray_NDIM(array) != ndim:
        return False
    for axis in range(ndim):
        if cnp.PyArray_DIM(array, axis) != shape[axis]:
            return False
    return (cnp.PyArray_BYTES(array) + cnp.PyArray_NBYTES(array) <= cnp.PyArray_BYTES(x)
            or cnp.PyArray_BYTES(x) + cnp.PyArray_NBYTES(x) <= cnp.PyArray_BYTES(array))


cdef class Running:
    """What a Network does in compiled code: a Python frame would take as long as a small network."""

    cdef Engine engine                  # None until __init__; a call keeps the one that it began with
    cdef public object _optimizer       # the last fit's
    cdef Trainer online                 # of the last train_on_batch

    @property
    def _engine(self):
        """The Engine; RuntimeError where __init__ has not been called."""
        return engine_of(self)

    @_engine.setter
    def _engine(self, Engine engine not None):
        self.engine = engine

    def predict(self, X, *, out=None):
        """The outputs for X, after the output activation.

        X is (n, n_inputs) and the result (n, n_outputs); a 1-D X is one sample and gives a 1-D
        result. `out`, of the network's dtype, receives the result. A row's outputs never
        depend on the other rows, bit for bit.

        For one output the result is (n, 1). Take `net.predict(X)[:, 0]` (or `.ravel()`) before you subtract y (n,):
        NumPy makes (n, n) of (n, 1) - (n,), every prediction minus every target.
        """
        cdef Engine engine = engine_of(self)
        if cnp.PyArray_CheckExact(X):
            result = engine.predict_unconverted(X, out)
            if result is not None:
                return result
        return self._predict_converted(X, out)

    def train_on_batch(self, X, y, *, sample_weight=None, optimizer=None):
        """One training step on these rows, for loops of your own; returns their mean loss before the step, a float.

        X is (n, n_inputs) and y as for `fit`; a 1-D X is one sample, and its y a number or (n_outputs,).
        `optimizer` is the one that the network has from now on; None is the last one, else Adam().
        DivergenceError where the loss is not finite: then nothing has changed. No copy is kept as
        `fit` does, so a step that makes parameters infinite shows in the next one's loss.
        `epochs_trained` stays.

        >>> import numpy as np, fastnn
        >>> net = fastnn.Network([2, 8, 1], output="identity")
        >>> for x in np.random.default_rng(0).normal(size=(2000, 2)).astype("float32"):
        ...     loss = net.train_on_batch(x, x[0] - x[1])
        >>> loss < 0.01
        True
        """
        cdef double loss
        cdef Engine engine = engine_of(self)
        cdef Trainer online
        engine.acquire()
        try:
            online = self.online
            if (online is not None and sample_weight is None and optimizer is None and cnp.PyArray_CheckExact(X)
                    and online.engine is engine and online.optimizer is self._optimizer):
                loss = online.step_unconverted(X, y)
                if isfinite(loss):
                    return loss
            return self._train_converted(engine, X, y, sample_weight, optimizer)
        finally:
            engine.release()

    def _online_trainer(self, Engine engine, optimizer):
        """A Trainer for single steps."""
        cdef Trainer online = self.online
        if online is None or online.engine is not engine or online.optimizer is not optimizer:
            self.online = online = Trainer(engine, optimizer, False, [])
        return online


cdef Engine engine_of(Running network):
    """Its engine, which the caller holds while it works: somebody may call __init__ again meanwhile."""
    if network.engine is None:
        raise RuntimeError(f"this {type(network).__name__} has no layers yet; call super().__init__(layer_sizes, …) in "
                           "its __init__ first")
    return network.engine


cdef Py_ssize_t rows_per_visit(double batch_operations, Py_ssize_t batch) noexcept:
    """Rows between two looks at pending signals: whole batches, for one thread."""
    return batch * (1 + <Py_ssize_t> (<double> OPERATIONS_PER_VISIT / (batch_operations + 10_000)))


cdef class Rows:
    """The rows of a fit or an evaluation, as kernels read them: x, targets (n, n_outputs) or labels, weights."""

    cdef Engine engine              # for whose network they are
    cdef readonly tuple arrays      # x, targets, labels, weights: the memory that `data` points to
    cdef object arranged            # the array that `arrange` was given
    cdef Data data
    cdef Py_ssize_t *order
    cdef double *losses
    cdef readonly double weight     # of all rows together

    def __cinit__(self, Engine engine not None, cnp.ndarray x not None, targets, labels, weights):
        cdef Py_ssize_t rows = cnp.PyArray_DIM(x, 0) if cnp.PyArray_NDIM(x) else 0
        self.engine = engine
        self.arrays = (x, targets, labels, weights)
        self.data.rows = rows
        self.data.smoothing = engine.label_smoothing
        self.data.x = engine.matrix("X", x, rows, engine.layers[0].n_in)
        if labels is None:
            self.data.t = engine.matrix("y", targets, rows, engine.layers[engine.n_layers - 1].n_out)
        else:
            self.data.labels = <const Py_ssize_t *> column("y", labels, rows, cnp.NPY_INTP)
        if weights is not None:
            self.data.weights = <const double *> column("sample_weight", weights, rows, cnp.NPY_DOUBLE)
        self.weight = weight_sum(weights, rows)

    cdef int check(self, Engine engine) except -1:
        """Refuses rows of another network's sizes: kernels would read beyond them."""
        if self.engine is not engine:
            raise RuntimeError("the network's __init__ was called again while it was at work; build another Network")
        return 0

    def __dealloc__(self):
        free(self.order)
        free(self.losses)

    def __len__(self):
        return self.data.rows

    cdef double weight_of(self, Py_ssize_t count) noexcept:
        """The weight of the first rows of the order."""
        cdef double weight = 0
        cdef Py_ssize_t i
        if self.data.weights == NULL:
            return count
        for i in range(count):
            weight += self.data.weights[i if self.data.order == NULL else self.data.order[i]]
        return weight

    def arrange(self, order):
        """Puts the rows in this order, an array of intp."""
        self.arranged = order
        self.data.order = <const Py_ssize_t *> pointer(order)

    cdef int shuffle(self, uint64_t seed, uint64_t epoch) except -1:
        """Puts the rows in the random order of this seed and epoch."""
        if self.order == NULL:
            self.order = <Py_ssize_t *> malloc(self.data.rows * sizeof(Py_ssize_t))
            if self.order == NULL:
                raise MemoryError(f"no memory for the order of {self.data.rows} rows")
            self.data.order = self.order
        with nogil:
            shuffle_rows(self.order, self.data.rows, seed, epoch)
        return 0


cdef const void *column(str name, array, Py_ssize_t rows, int type_number) except? NULL:
    """The memory of an array (rows,) as kernels read it; see Engine.matrix."""
    if not (cnp.PyArray_Check(array) and cnp.PyArray_ISCARRAY_RO(array) and cnp.PyArray_TYPE(array) == type_number
            and cnp.PyArray_NDIM(array) == 1 and cnp.PyArray_DIM(array, 0) == rows):
        raise ValueError(f"{name} is no array of {rows} elements of the right type in one piece, or has changed while "
                         "it was being read")
    return cnp.PyArray_DATA(array)


def random_order(Py_ssize_t rows, uint64_t seed, uint64_t epoch):
    """The order in which an epoch takes its rows: a permutation of 0 … rows-1, of this seed and epoch alone."""
    order = np.empty(rows, np.intp)
    shuffle_rows(<Py_ssize_t *> pointer(order), rows, seed, epoch)
    return order


def spread_order(Py_ssize_t first, Py_ssize_t last, Py_ssize_t rows, Py_ssize_t batch, uint64_t seed, uint64_t epoch,
                 bint shuffled):
    """The order in which an epoch takes rows first … last-1 of all `rows`, where every batch is spread over them all:
    row i of a batch is one of rows i … i+1 times rows / batch, each of which comes once, in random order.

    So batches do not depend on how the rows are divided, and a part of the rows is nearly that part of
    each batch. Returns three arrays: the order, of numbers from 0 for `first`; where each step begins in it,
    and its length; how many rows each step's batch has before its first.
    """
    cdef Py_ssize_t stratum, stop = (last * batch - 1) // rows + 1, begin = ((first + 1) * batch - 1) // rows
    cdef Py_ssize_t start, count, step, row, whole = rows // batch, steps = (rows + batch - 1) // batch
    order, starts, places = np.empty(last - first, np.intp), np.zeros(steps + 1, np.intp), np.empty(steps, np.intp)
    drawn = np.empty(steps * (stop - begin), np.intp)       # a row for each step, of one stratum after the other
    cdef Py_ssize_t[::1] order_view = order, starts_view = starts, places_view = places, drawn_view = drawn
    cdef uint64_t key = counted_bits(seed, 3)          # 0 is of whole orders, 1 of initial weights, 2 of dropout
    cdef Py_ssize_t *numbers
    for stratum in range(begin, stop):
        start = rows * stratum // batch
        count = rows * (stratum + 1) // batch - start
        numbers = &drawn_view[(stratum - begin) * steps]
        if shuffled:
            shuffle_rows(numbers, count, counted_bits(key, stratum), epoch)
        for step in range(steps):
            row = -1 if step >= count else start + (numbers[step] if shuffled else step)
            numbers[step] = row - first if first <= row < last else -1
            if stratum == begin:        # whose row may be that of whoever has the rows before
                places_view[step] = (stratum if step < whole else start - stratum * whole) + (0 <= row < first)
            starts_view[step + 1] += first <= row < last
    for step in range(steps):
        starts_view[step + 1] += starts_view[step]
    ends = starts.copy()
    cdef Py_ssize_t[::1] end = ends
    for stratum in range(begin, stop):
        for step in range(steps):
            row = drawn_view[(stratum - begin) * steps + step]
            if row >= 0:
                order_view[end[step]] = row
                end[step] += 1
    return order, starts, places


cdef class PythonLoss:
    """A loss that is a function of the user's, `(outputs, targets) -> (value, gradient)`, as the engine calls it.

    Each Workspace has one: what the function raised belongs to the call that works there, and to no other thread's.
    """

    cdef object function
    cdef Kernels kernels
    cdef str dtype, activation
    cdef object error               # what the function raised, for `check`
    cdef uint64_t float_state       # the caller's, for the time that the function runs

    def __cinit__(self, function, Kernels kernels, str dtype, str activation):
        self.function, self.kernels, self.dtype, self.activation = function, kernels, dtype, activation

    cdef object call(self, cnp.ndarray dz, double *losses, cnp.ndarray z, cnp.ndarray t):
        """dz := the gradient of the value with respect to z; losses[i] := value, a mean."""
        cdef Py_ssize_t i
        outputs = np.empty_like(z)
        self.kernels.activation_forward(outputs, z, self.activation)
        value, gradient = called(self.function, outputs.copy(), t.copy())
        self.kernels.activation_backward(dz, gradient.astype(self.dtype), outputs, z, self.activation)
        for i in range(z.shape[0]):
            losses[i] = value

    cdef int check(self) except -1:
        """Raises what the function raised."""
        error, self.error = self.error, None
        if error is not None:
            raise error
        return 0


def called(function, outputs, targets):
    """The value and the gradient that a Python loss returns, checked."""
    result = function(outputs, targets)
    try:
        value, gradient = result
    except (TypeError, ValueError):
        raise TypeError(
            f"the Python loss returned a {type(result).__name__}, but must return two things: (value, gradient)"
        ) from None
    value = number("the value of the Python loss", np.asarray(value).item() if np.size(value) == 1 else value,
                   finite=False)
    gradient = real_array("the gradient of the Python loss", gradient)
    if gradient.shape != outputs.shape:
        raise ValueError(f"the gradient of the Python loss has shape {gradient.shape}, "
                         f"but must have that of the outputs, {outputs.shape}")
    return value, gradient


cdef void call_python_loss(
        void *function, void *dz, double *losses, const void *z, const void *t, double scale, int activation,
        Py_ssize_t m, Py_ssize_t n) noexcept with gil:
    """The engine's way to a PythonLoss; after an error the losses are NaN, which ends the epoch."""
    cdef PythonLoss loss = <PythonLoss> function
    cdef int type_number = cnp.NPY_FLOAT if loss.dtype == "float32" else cnp.NPY_DOUBLE
    cdef cnp.npy_intp shape[2]
    shape[0], shape[1] = m, padded(n, 4 if loss.dtype == "float32" else 8)
    flushing = flush_subnormals()
    restore_float_state(loss.float_state)
    try:
        rows = cnp.PyArray_SimpleNewFromData(2, shape, type_number, dz)
        rows[:, n:] = 0                 # the padding
        loss.call(rows[:, :n], losses,
                  cnp.PyArray_SimpleNewFromData(2, shape, type_number, <void *> z)[:, :n],
                  cnp.PyArray_SimpleNewFromData(2, shape, type_number, <void *> t)[:, :n])
    except BaseException as error:      # also KeyboardInterrupt: `check` raises it
        loss.error = error
        losses[0] = NAN
    restore_float_state(flushing)


cdef class Updating:
    """The compiled half of an Optimizer: its constants and its state, as the update kernels read them."""

    cdef Update update
    cdef Engine engine              # of the network that it belongs to, or None yet
    cdef readonly tuple state       # its blocks, laid out like the parameters
    cdef long long epochs_done
    cdef public bint stale          # whether a constant was set since `prepare`
    cdef public bint scheduled      # whether the learning rate is a schedule, and not a number

    def __cinit__(self, *args, **kwargs):
        self.state = ()
        self.stale = True

    @property
    def steps(self):
        """Updates done with it."""
        return self.update.step

    @steps.setter
    def steps(self, steps):
        self.update.step = checked_integer("steps", steps, 0, MOST_COUNTED)

    @property
    def epochs(self):
        """Epochs done with it."""
        return self.epochs_done

    @epochs.setter
    def epochs(self, epochs):
        self.epochs_done = checked_integer("epochs", epochs, 0, MOST_COUNTED)

    def count_epoch(self):
        """One more is done."""
        self.epochs_done += 1

    @property
    def last_rate(self):
        """The learning rate of the last step."""
        return self.update.learning_rate

    @property
    def network_engine(self):
        """The engine of the network that it belongs to, or None."""
        return self.engine

    def belong(self, Engine engine, tuple state):
        """Makes it what it was: the optimizer of one network with these blocks of state, or nobody's (None, ())."""
        self.update.first = engine.block(state[0]) if len(state) > 0 else NULL
        self.update.second = engine.block(state[1]) if len(state) > 1 else NULL
        self.engine, self.state, self.stale = engine, state, True

    cdef bint claim(self, Engine engine) except -1:
        """Makes it the optimizer of one network; returns whether it was nobody's. ValueError where it is another's."""
        cdef bint fresh, mine
        with cython.critical_section(self):
            fresh = self.engine is None
            mine = fresh or self.engine is engine
            if mine:
                self.engine = engine
        if not mine:
            raise ValueError("optimizer holds the state of another network and cannot train this one too; create one "
                             "for each")
        return fresh

    def prepare(self, Engine engine not None, str kernel, learning_rate, *, clip_value=None, clip_norm=None,
                **constants):
        """Makes it the optimizer of this engine's network, with these constants, by the names in the struct Constants,
        and as many blocks of state as its kernel keeps. Blocks that it has already stay. ValueError where it belongs to
        another network."""
        cdef Update update = self.update
        cdef Constants zeros
        cdef bint fresh
        cdef int blocks
        memset(&zeros, 0, sizeof(zeros))
        every = {**zeros, **constants}
        if len(every) > len(<dict> zeros):
            raise TypeError(f"kernels have no constant {min(every.keys() - (<dict> zeros).keys())!r}")
        facts = engine.kernels.optimizers[choose("kernel", kernel, engine.kernels.optimizers)]
        update.optimizer, update.constants = facts["code"], every
        scheduled = not isinstance(learning_rate, float)
        update.learning_rate = 0 if scheduled else learning_rate
        update.clip_value = clip_value or 0
        update.clip_norm = clip_norm or 0
        blocks = facts["state_blocks"] + (facts["velocity"] and update.constants.momentum != 0)
        fresh = self.claim(engine)
        try:
            state = self.state[:blocks]         # fewer or more where momentum was set since
            if len(state) < blocks:
                state = (*state, *self.initial_state(blocks, engine.size, engine.dtype)[len(state):])
            if len(state) != blocks:
                raise TypeError(f"{type(self).__name__}.initial_state gave {len(state)} blocks, but the kernel "
                                f"{kernel!r} keeps {blocks}")
            update.first = engine.block(state[0]) if blocks > 0 else NULL
            update.second = engine.block(state[1]) if blocks > 1 else NULL
        except BaseException:
            if fresh:
                self.engine = None
            raise
        self.state, self.update, self.scheduled, self.stale = state, update, scheduled, False


cdef class Workspace:
    """The memory of a batch on its way through an engine: layers' values, scratch, gathered rows.

    For prediction, layers take turns in two buffers; for learning, each keeps its own. A batch
    that learns is shared by the threads; otherwise each takes its own through the layers.
    """

    cdef object parameters      # keeps the memory alive that the plan points to
    cdef object gradients       # a block laid out like them, or None
    cdef Py_ssize_t itemsize
    cdef Plan plan
    cdef Py_ssize_t batch, rows     # of one batch, of all that there is room for
    cdef int threads
    cdef Sharing sharing
    cdef PythonLoss python_loss     # or None
    cdef void *memory

    def __cinit__(self, Engine engine, Py_ssize_t batch, *, bint learning, int threads, bint gather=False,
                  gradients=None, bint dropping=False):
        cdef size_t layers_size = engine.n_layers * sizeof(Layer)
        cdef Py_ssize_t size
        cdef int index
        self.parameters = engine.parameters
        self.gradients = gradients
        self.itemsize = engine.itemsize
        self.batch = batch
        self.threads = threads
        self.sharing = Sharing(threads, <double> STEP_OPERATIONS * batch * engine.multiply_adds)
        self.rows = batch if gradients is not None else batch * threads
        self.plan.kernels = engine.table
        self.plan.n_layers = engine.n_layers
        self.plan.unpadded = engine.unpadded
        self.plan.loss = engine.loss_facts
        self.plan.loss_parameter = engine.loss_parameter
        self.plan.python_loss = call_python_loss
        if engine.python_loss:
            self.python_loss = PythonLoss(engine.loss, engine.kernels, engine.dtype,
                                          engine.activations[engine.n_layers - 1])
            self.plan.function = <void *> self.python_loss
        self.plan.parameters = pointer(engine.parameters)
        self.plan.layers = <Layer *> malloc(layers_size)
        if self.plan.layers == NULL:
            raise MemoryError("no memory for the list of layers")
        memcpy(self.plan.layers, engine.layers, layers_size)
        for index in range(engine.n_layers):
            if not dropping:
                self.plan.layers[index].dropout = 0
        size = self.lay_out(NULL, learning, gather)
        self.memory = malloc(size + ROW_BYTES)
        if self.memory == NULL:
            raise MemoryError(f"no memory for a batch of {batch} rows: it takes {size} bytes")
        ask_for_large_pages(self.memory, size)
        self.lay_out(<char *> self.memory + (-<uintptr_t> self.memory) % ROW_BYTES, learning, gather)
        if gradients is not None:
            self.aim(gradients)

    def __dealloc__(self):
        free(self.plan.layers)
        free(self.memory)

    cdef Py_ssize_t lay_out(self, char *memory, bint learning, bint gather) noexcept:
        """Points the plan into memory and returns how much it takes; with NULL it only counts."""
        cdef Py_ssize_t itemsize = self.itemsize
        cdef Py_ssize_t used = 0, scratch = 0, transposed = 0, widest = padded(self.plan.layers[0].n_in, itemsize)
        cdef char *turns[2]
        cdef Layer *layer = NULL
        cdef Py_ssize_t parameter_rows = 0
        cdef int index
        for index in range(self.plan.n_layers):
            layer = &self.plan.layers[index]
            parameter_rows += layer.n_in + 1
            widest = max(widest, layer.stride)
            scratch = max(scratch, packed_bytes(self.batch, layer.n_out, layer.n_in, itemsize))
            # The threads share its rows: one row more for each rounds them up.
            if self.gradients is not None and layer.ldw == layer.stride:
                transposed = max(transposed, transposed_bytes(self.batch, layer.n_in + self.threads, itemsize))
        cdef Py_ssize_t row = widest * itemsize
        self.plan.scratch_size = self.threads * (scratch + ROW_BYTES) + transposed
        self.plan.scratch = take(memory, &used, self.plan.scratch_size)
        self.plan.widest = 0 if learning else widest
        if not learning:
            turns[0] = take(memory, &used, self.rows * row)
            turns[1] = take(memory, &used, self.rows * row)
        for index in range(self.plan.n_layers):
            layer = &self.plan.layers[index]
            row = layer.stride * itemsize
            if learning:
                layer.y = take(memory, &used, self.rows * row)
                layer.dz = take(memory, &used, self.rows * row)
                layer.z = take(memory, &used, self.rows * row) if layer.needs_z else layer.y
            else:
                layer.y = layer.z = turns[index % 2]
            layer.passed = take(memory, &used, self.rows * row) if layer.dropout else layer.y
        if learning:
            self.plan.t_batch = take(memory, &used, self.rows * row)
            self.plan.weight_batch = <double *> take(memory, &used, self.rows * sizeof(double))
            self.plan.losses = <double *> take(memory, &used, self.rows * sizeof(double))
        if self.gradients is not None:
            self.plan.squares = take(memory, &used, parameter_rows * ROW_BYTES)
        if gather:
            self.plan.x_batch = take(memory, &used, self.rows * self.plan.layers[0].n_in * itemsize)
        return used

    cdef int aim(self, gradients) except -1:
        """Makes this block, laid out like the parameters, the one that gradients are written to and followed from.

        The caller keeps it as long as that is so.
        """
        cdef char *block = <char *> pointer(gradients)
        cdef Layer *layer
        cdef int index
        self.plan.gradients = block
        for index in range(self.plan.n_layers):
            layer = &self.plan.layers[index]
            layer.dw = block
            block += layer.bias * self.itemsize
            layer.db = block
            block += layer.stride * self.itemsize
        return 0


cdef char *take(char *memory, Py_ssize_t *used, Py_ssize_t size) noexcept:
    """The next `size` bytes, rounded up to ROW_BYTES."""
    cdef char *taken = memory + used[0]
    used[0] += (size + ROW_BYTES - 1) // ROW_BYTES * ROW_BYTES
    return taken


cdef class Trainer:
    """Steps of an optimizer, and epochs of such steps: one call of `fit`.

    `gather` says whether rows may come in another order than they stand in. `good` are blocks that `begin` copies
    the parameters and the optimizer's state to, and `restore` copies them back from: as many as there are of
    these, or none. After `deadline`, in seconds of time.perf_counter, an epoch ends with the visit under way.
    """

    cdef Engine engine
    cdef Updating optimizer
    cdef Workspace workspace
    cdef public list good
    cdef bint gather
    cdef int threads
    cdef public double total, weight        # of this epoch so far
    cdef public Py_ssize_t seen             # its rows so far
    cdef public double deadline
    cdef long long steps_before
    cdef public bint failed                 # whether a step's loss was not finite
    cdef bint under_way                     # whether an epoch has begun and not ended well

    def __cinit__(self, Engine engine, Updating optimizer, bint gather, list good):
        if optimizer.engine is not engine or optimizer.stale:
            raise ValueError("optimizer is not ready for this network; call its bind first")
        self.engine = engine
        self.optimizer = optimizer
        self.gather = gather
        self.good = good
        self.deadline = INFINITY
        self.workspace = engine.learning.take()

    cdef int reserve(self, Py_ssize_t batch) except -1:
        """Makes room for steps on so many rows."""
        cdef Engine engine = self.engine
        cdef Workspace workspace = self.workspace
        cdef int threads = 1 if engine.python_loss else threads_for(
            <double> STEP_OPERATIONS * batch * engine.multiply_adds, engine.most_threads)
        if (workspace is None or workspace.batch < batch or workspace.threads != threads
                or (self.gather and workspace.plan.x_batch == NULL)):
            self.workspace = None           # its memory first
            self.workspace = Workspace(engine, batch, learning=True, gather=self.gather, threads=threads,
                                       gradients=aligned_zeros(engine.size, engine.dtype), dropping=True)
        self.threads = threads
        return 0

    def release(self):
        """Leaves its memory to the network's next trainer: the last call."""
        if self.workspace is not None:
            self.workspace.aim(self.workspace.gradients)
        self.engine.learning.give(self.workspace)
        self.workspace = None

    @property
    def steps(self):
        """Those of this epoch, with one whose loss was not finite."""
        return self.optimizer.update.step - self.steps_before + self.failed

    cdef int copy_blocks(self, bint back) except -1:
        """The parameters and the optimizer's state to `good`, or back."""
        cdef int index
        cdef void *good
        cdef void *kept
        if self.good and len(self.good) != 1 + len(self.optimizer.state):
            raise ValueError("the optimizer's momentum was set while a fit was under way; set it between fits")
        self.engine.hold()
        try:
            for index in range(len(self.good)):
                block = self.engine.parameters if index == 0 else self.optimizer.state[index - 1]
                good = <void *> column("a copy", self.good[index], self.engine.size, self.engine.type_number)
                kept = self.engine.block(block)
                memcpy(kept if back else good, good if back else kept, self.engine.size * self.engine.itemsize)
        finally:
            self.engine.let_go()
        return 0

    cdef Update *penalised(self) noexcept:
        """The optimizer's constants and state, with the penalties that the network has now."""
        self.optimizer.update.l1, self.optimizer.update.l2 = self.engine.l1, self.engine.l2
        return &self.optimizer.update

    cdef double step_unconverted(self, cnp.ndarray x, y) except? -1:
        """The loss and a step for arrays and numbers that are just as kernels want them; NaN for any others.

        The short path of one sample, as `Engine.predict_unconverted`.
        """
        cdef Engine engine = self.engine
        cdef Updating optimizer = self.optimizer
        cdef int ndim = cnp.PyArray_NDIM(x), type_number = cnp.NPY_FLOAT if engine.itemsize == 4 else cnp.NPY_DOUBLE
        cdef Py_ssize_t n_in = engine.layers[0].n_in, rows, label
        cdef double value
        cdef float single
        cdef Job job
        if (self.workspace is None or self.threads > 1 or optimizer.stale or optimizer.scheduled
                or engine.python_loss
                or cnp.PyArray_TYPE(x) != type_number or not cnp.PyArray_ISCARRAY_RO(x) or not 1 <= ndim <= 2
                or cnp.PyArray_DIM(x, ndim - 1) != n_in):
            return NAN
        rows = cnp.PyArray_DIM(x, 0) if ndim == 2 else 1
        if not 1 <= rows <= self.workspace.batch or not engine.table.all_finite(cnp.PyArray_DATA(x), rows * n_in):
            return NAN
        memset(&job, 0, sizeof(job))
        job.data.x = cnp.PyArray_DATA(x)
        job.data.rows = rows
        job.data.smoothing = engine.label_smoothing
        if engine.loss_facts.per_row:                       # classes
            if type(y) is not int or rows != 1 or not 0 <= y < engine.layers[engine.n_layers - 1].n_out:
                return NAN
            label = y
            job.data.labels = &label
        else:
            if rows != 1 or engine.layers[engine.n_layers - 1].n_out != 1 or not is_number(y):
                return NAN
            single = value = y
            if not (isfinite(single if engine.itemsize == 4 else value)
                    and engine.loss_facts.lowest <= value <= engine.loss_facts.highest):
                return NAN
            job.data.t = <void *> &single if engine.itemsize == 4 else <void *> &value
        job.work = engine.table.train
        job.plan = &self.workspace.plan
        job.update = self.penalised()
        job.batch = job.last = rows
        job.seed = engine.seed
        job.step = engine.steps
        engine.stepping = True
        try:
            engine.hold(stepping=True)
        finally:
            engine.stepping = False
        do_job(&job, 0, 1)
        engine.steps += job.first == rows
        engine.let_go()
        if job.first < rows:
            return NAN
        return job.total / engine.divisor(rows)

    def begin(self):
        """An epoch starts: what there is now can be restored."""
        self.copy_blocks(False)
        self.steps_before = self.optimizer.update.step
        self.total = self.weight = self.seen = 0
        self.failed = False
        self.under_way = True

    def restore(self):
        """The parameters and the optimizer's state are those in `good` again."""
        self.copy_blocks(True)
        self.under_way = False

    @property
    def spoiled(self):
        """Whether an epoch is under way that has left something that is not finite."""
        return self.under_way and (self.failed or not self.all_finite())

    cdef int work(self, Job *job, int threads) except -1:
        """Does a job of steps, in which no other thread copies parameters and no Python loss may train."""
        cdef Engine engine = self.engine
        cdef bint stepping = engine.stepping
        engine.stepping = True          # also while it waits, when a signal may be handled
        try:
            engine.hold(stepping=True)
            try:
                run(job, threads)
            finally:
                engine.let_go()
        finally:
            engine.stepping = stepping
        return 0

    def advance(self, Rows rows, Py_ssize_t batch, rates):
        """One step for each `batch` of the rows, as they are ordered; False where a step's loss is not finite, or the
        time is over: it and the rest are not done, or the rest. `rates` is the learning rate, or an array with one
        for each step.

        KeyboardInterrupt comes between two steps.
        """
        rows.check(self.engine)
        self.reserve(batch)
        cdef Update *update = self.penalised()
        cdef Sharing sharing = self.workspace.sharing
        cdef Py_ssize_t visit = rows_per_visit(<double> STEP_OPERATIONS * batch * self.engine.multiply_adds, batch)
        cdef Py_ssize_t first
        cdef long long steps
        cdef int threads
        cdef double start
        cdef bint late = False
        cdef Job job
        if isinstance(rates, np.ndarray):
            update.rates = <const double *> column(
                "rates", rates, (rows.data.rows + batch - 1) // batch, cnp.NPY_DOUBLE)
        else:
            update.rates = NULL
            update.learning_rate = rates
        job.work = self.engine.table.train
        job.plan = &self.workspace.plan
        job.data = rows.data
        job.update = update
        job.batch = batch
        job.total = self.total
        job.seed = self.engine.seed
        job.first = job.place = 0
        if self.engine.python_loss:
            self.workspace.python_loss.float_state = float_state()
        self.engine.stepping = True         # also between two steps, where signals are handled
        try:
            while job.first < rows.data.rows:
                first, job.last = job.first, min(rows.data.rows, job.first + visit)
                job.step = self.engine.steps
                steps = update.step
                threads = sharing.next_threads()
                start = perf_counter()
                self.work(&job, threads)
                self.engine.steps += update.step - steps
                if job.first > first:
                    sharing.note(threads, (perf_counter() - start) / (job.first - first))
                if job.first < job.last:
                    if self.engine.python_loss:
                        self.workspace.python_loss.check()
                    self.failed = True
                    break
                PyErr_CheckSignals()
                if (self.deadline < INFINITY and perf_counter() >= self.deadline
                        and (self.weight > 0 or rows.weight_of(job.last) > 0)):     # no mean without a row that counts
                    late = True
                    break
        finally:
            update.rates = NULL
            self.engine.stepping = False
        self.total = job.total
        self.seen += job.first
        self.weight += rows.weight if job.first == rows.data.rows else rows.weight_of(job.first)
        return not (self.failed or late)

    def differentiate(self, Rows rows, Py_ssize_t first, Py_ssize_t last, Py_ssize_t batch, double divisor,
                      Py_ssize_t place, double total, block):
        """block := the gradient of the losses of rows first … last-1 of their order, summed and divided; returns
        total with these losses added.

        Half a step, which `follow` completes: in between, blocks of several parts of a batch may be added
        together. `batch` is the most rows that any part has, `place` how many the whole batch has before them.
        """
        cdef Engine engine = self.engine
        cdef Py_ssize_t count = last - first
        cdef double start
        cdef int threads
        cdef Job job
        self.reserve(batch)
        self.workspace.aim(block)
        if count == 0:
            block[:engine.size] = 0
            return total
        job.work = engine.table.gradients
        job.plan = &self.workspace.plan
        job.data = rows.data
        job.first, job.last = first, last
        job.scale = 1 / divisor if divisor > 0 else 0
        job.seed, job.step, job.place = engine.seed, engine.steps, place
        if engine.python_loss:
            self.workspace.python_loss.float_state = float_state()
        threads = self.workspace.sharing.next_threads()
        start = perf_counter()
        self.work(&job, threads)
        self.workspace.sharing.note(threads, (perf_counter() - start) / count)
        if engine.python_loss:
            self.workspace.python_loss.check()
            if divisor != count:
                block[:engine.size] *= count / divisor      # the function gave the gradient of its rows' mean
        return sum_in_order(self.workspace.plan.losses, count, total)

    def follow(self, block, double rate):
        """Completes a step: the optimizer follows the gradient in the block."""
        cdef Job job
        self.workspace.aim(block)
        self.optimizer.update.rates = NULL
        self.optimizer.update.learning_rate = rate
        job.work = self.engine.table.follow
        job.plan = &self.workspace.plan
        job.update = self.penalised()
        self.work(&job, self.threads)
        self.engine.steps += 1

    def finish(self):
        """The mean loss of the epoch, NaN if it or anything that was trained is not finite."""
        if self.failed or not self.all_finite():
            return NAN
        self.under_way = False
        return self.loss

    @property
    def loss(self):
        """The mean loss of the steps since `begin`."""
        return self.total / self.engine.divisor(self.weight)

    cdef int all_finite(self) except -1:
        cdef Py_ssize_t size = self.engine.size
        cdef bint finite
        before = flush_subnormals()
        finite = self.engine.table.all_finite(pointer(self.engine.parameters), size)
        for block in self.optimizer.state:
            finite = finite and self.engine.table.all_finite(pointer(block), size)
        restore_float_state(before)
        return finite

    def epoch(self, Rows rows, Py_ssize_t batch, rates, uint64_t epoch_number):
        """One pass over the rows, in the random order of the network's seed and this epoch if they may be gathered;
        the mean loss, or NaN."""
        self.begin()
        if self.gather:
            rows.shuffle(self.engine.seed, epoch_number)
        self.advance(rows, batch, rates)
        return self.finish()


cdef bint is_number(y) noexcept:
    """Whether this is a plain number: Python's or NumPy's."""
    return isinstance(y, (float, np.floating)) or (type(y) is int and abs(y) < 2**53)


cdef uint64_t float_state() noexcept:
    """The caller's floating-point state."""
    state = flush_subnormals()
    restore_float_state(state)
    return state
