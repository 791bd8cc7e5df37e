"""Between Python and the kernels: the only file that knows both arrays and pointers.

`Kernels` holds the tables of one instruction set and offers each kernel as a method that
checks its arrays (`fastnn.ops` documents them). `Engine` holds one network's parameter
block and runs whole batches through it; `Trainer` runs whole epochs. These two trust their
caller, `network.py`, which has checked every argument and converted every array: dtype of
the network, C order.

The GIL is released around kernels, and subnormals are zero there and nowhere else. Work that
is worth it is shared among threads (team.h).
"""

from itertools import combinations
from math import fsum
from time import perf_counter

import numpy as np

from ._checks import checked_integer, checked_weights, choose, number
from ._threads import available_processors, get_num_threads
from .losses import check_pair

cimport numpy as cnp
from cpython.buffer cimport (
    PyBUF_FORMAT, PyBUF_STRIDES, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer,
)
from cpython.exc cimport PyErr_CheckSignals
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.stdint cimport uint64_t, uintptr_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy

from .kernels.random cimport random_bits as counted_bits
from .kernels.random cimport shuffle as shuffle_rows
from .kernels.types cimport (
    ADAM, BINARY_CROSS_ENTROPY, CROSS_ENTROPY, ELU, EXP, GELU, HALF_MSE, HUBER, IDENTITY,
    LEAKY_RELU, MAE, MSE, POISSON, RELU, ROW_BYTES, SELU, SGD,
    SIGMOID, SILU, SOFTMAX, SOFTPLUS, TANH,
    Data, Job, KernelTable, Layer, Plan, Update, Worker, mean_elements, needs_z, padded, scratch_bytes,
)

cnp.import_array()

cdef extern from "Python.h":
    const Py_ssize_t PY_SSIZE_T_MAX

cdef extern from "float_state.h" nogil:
    uint64_t flush_subnormals "fastnn_flush_subnormals"()
    void restore_float_state "fastnn_restore_float_state"(uint64_t before)

cdef extern from "team.h" nogil:
    void team_run "fastnn_team_run"(
        int count, int crowded, void (*task)(void *argument, int index, int count) noexcept nogil, void *argument)
    void team_wait "fastnn_team_wait"()
    int fastnn_team_size()

ACTIVATIONS = {
    "identity": IDENTITY, "sigmoid": SIGMOID, "tanh": TANH, "relu": RELU, "leaky_relu": LEAKY_RELU,
    "elu": ELU, "selu": SELU, "softplus": SOFTPLUS, "silu": SILU, "gelu": GELU,
    "softmax": SOFTMAX, "exp": EXP,
}
LOSSES = {
    "mse": MSE, "half_mse": HALF_MSE, "mae": MAE, "huber": HUBER, "poisson": POISSON,
    "binary_cross_entropy": BINARY_CROSS_ENTROPY, "cross_entropy": CROSS_ENTROPY,
}
OPTIMIZERS = {"sgd": SGD, "adam": ADAM}

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
    # Squares of weights are read beyond the last row (kernels/small.pxd): room for 16 rows of 256 bytes.
    MARGIN_BYTES = 4096


def aligned_zeros(Py_ssize_t count, dtype):
    """A 1-D array of zeros that starts at a multiple of 64 bytes; beyond it MARGIN_BYTES may be read."""
    itemsize = np.dtype(dtype).itemsize
    memory = np.zeros(count * itemsize + ROW_BYTES + MARGIN_BYTES, np.uint8)
    cdef Py_ssize_t start = (-<uintptr_t> pointer(memory)) % ROW_BYTES
    return memory[start:start + count * itemsize].view(dtype)


def random_bits(uint64_t seed, uint64_t stream, Py_ssize_t count):
    """`count` random 64-bit integers: a function of seed and stream alone (kernels/random.pxd)."""
    bits = np.empty(count, np.uint64)
    cdef uint64_t[::1] view = bits
    cdef uint64_t key = counted_bits(counted_bits(seed, 1), stream)
    cdef Py_ssize_t i
    for i in range(count):
        view[i] = counted_bits(key, i)
    return bits


def team_size():
    """Threads that exist: 1 until a job is shared."""
    return fastnn_team_size()


cdef int threads_for(double operations, most=None) except -1:
    """How many threads share so many operations: at most `most`, by default as set_num_threads allows."""
    if operations < 2 * OPERATIONS_PER_THREAD or most == 1:
        return 1
    return min(get_num_threads() if most is None else most, <int> min(operations / OPERATIONS_PER_THREAD, 1e6))


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


cdef double sum_in_order(const double *values, Py_ssize_t count) noexcept nogil:
    cdef double total = 0
    cdef Py_ssize_t i
    for i in range(count):
        total += values[i]
    return total


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
        cdef char *theirs
        cdef char *ours
        cdef Py_ssize_t i, j
        for i in range(self.rows):
            theirs = <char *> self.view.buf + i*self.row_bytes
            ours = <char *> self.copied + i*self.stride*itemsize
            for j in range(self.columns):
                if back:
                    memcpy(theirs + j*self.column_bytes, ours + j*itemsize, itemsize)
                else:
                    memcpy(ours + j*itemsize, theirs + j*self.column_bytes, itemsize)

    cdef void write_back(self) noexcept:
        if self.copied != NULL:
            self.copy(True)

    def __dealloc__(self):
        free(self.copied)
        if self.held:
            PyBuffer_Release(&self.view)


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


cdef check_apart(str name, Operand output, str other_name, Operand other):
    """Refuses an output that a kernel would write over an input that it still reads."""
    if output is None or other is None or output.copied != NULL or other.copied != NULL:
        return
    if (<char *> output.data < <char *> other.data + other.view.len
            and <char *> other.data < <char *> output.data + output.view.len):
        raise ValueError(f"{name} shares memory with {other_name}, which is still read; pass another array")


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


cdef class Kernels:
    """The kernels of one instruction set, for float32 and float64. `fastnn.ops` documents the methods."""

    cdef const KernelTable *float32
    cdef const KernelTable *float64
    cdef readonly str instruction_set
    cdef Scratch spare              # the last product's, for the next one

    def __cinit__(self, float32, float64):
        self.float32 = <const KernelTable *> PyCapsule_GetPointer(float32, b"fastnn.KernelTable")
        self.float64 = <const KernelTable *> PyCapsule_GetPointer(float64, b"fastnn.KernelTable")
        self.instruction_set = self.float32.instruction_set.decode("ascii")

    cdef const KernelTable *table(self, str dtype) noexcept:
        return self.float32 if dtype == "float32" else self.float64

    cdef Scratch take_scratch(self, Py_ssize_t size):
        cdef Scratch scratch = self.spare
        self.spare = None           # another thread makes its own
        return Scratch(size) if scratch is None or scratch.size < size else scratch

    def dense_forward(self, y, x, w, b, activation="identity"):
        cdef int code = ACTIVATIONS[choose("activation", activation, ACTIVATIONS)]
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
                                x_.rows, w_.columns, x_.columns, x_.columns, scratch.data)
            restore_float_state(state)
        self.spare = scratch
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
        cdef Scratch scratch = self.take_scratch(scratch_bytes(m, n, k, table.real_size))
        cdef void *dx_data = data_of(dx_)
        cdef void *dw_data = data_of(dw_)
        cdef void *db_data = data_of(db_)
        cdef void *x_data = data_of(x_)
        cdef void *w_data = data_of(w_)
        with nogil:
            state = flush_subnormals()
            table.dense_backward(dx_data, dw_data, db_data, dz_.data, x_data, w_data,
                                 m, n, k, k, scratch.data)
            restore_float_state(state)
        self.spare = scratch
        if dx_ is not None:
            dx_.write_back()
        if dw_ is not None:
            dw_.write_back()
        if db_ is not None:
            db_.write_back()

    def activation_forward(self, y, z, activation):
        cdef int code = ACTIVATIONS[choose("activation", activation, ACTIVATIONS)]
        dtype = dtype_of(z, "z")
        cdef const KernelTable *table = self.table(dtype)
        cdef Operand z_ = Operand(z, "z", dtype, 2, ANY, ANY)
        cdef Operand y_ = Operand(y, "y", dtype, 2, z_.rows, z_.columns, writable=True)
        with nogil:
            state = flush_subnormals()
            table.activation_forward(y_.data, z_.data, code, z_.rows, z_.columns)
            restore_float_state(state)
        y_.write_back()

    def activation_backward(self, dz, dy, y, z, activation):
        cdef int code = ACTIVATIONS[choose("activation", activation, ACTIVATIONS)]
        dtype = dtype_of(dy, "dy")
        cdef const KernelTable *table = self.table(dtype)
        cdef Operand dy_ = Operand(dy, "dy", dtype, 2, ANY, ANY)
        cdef Operand y_ = Operand(y, "y", dtype, 2, dy_.rows, dy_.columns)
        cdef Operand z_ = Operand(z, "z", dtype, 2, dy_.rows, dy_.columns)
        cdef Operand dz_ = Operand(dz, "dz", dtype, 2, dy_.rows, dy_.columns, writable=True)
        with nogil:
            state = flush_subnormals()
            table.activation_backward(dz_.data, dy_.data, y_.data, z_.data, code, dy_.rows, dy_.columns)
            restore_float_state(state)
        dz_.write_back()

    def loss_forward_backward(self, dz, z, t, loss, activation="identity", weights=None):
        cdef int loss_code = LOSSES[choose("loss", loss, LOSSES)]
        cdef int code = ACTIVATIONS[choose("activation", activation, ACTIVATIONS)]
        check_pair(loss, activation, "activation")
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
        cdef double divisor = weight_sum(weights, z_.rows) * mean_elements(loss_code, z_.columns)
        if divisor == 0:
            raise ValueError(f"z has shape {np.shape(z)}, but a mean needs at least one element")
        losses = np.empty(z_.rows)
        cdef double *loss_rows = <double *> pointer(losses)
        with nogil:
            state = flush_subnormals()
            table.loss_forward_backward(dz_.data, loss_rows, z_.data, t_.data, weight, 1 / divisor,
                                        loss_code, code, z_.rows, z_.columns)
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
        check_apart("parameters", p, "velocity", v)
        cdef Update update = Update(
            optimizer=SGD, step=0, learning_rate=number("learning_rate", learning_rate, low=0),
            momentum=number("momentum", momentum, low=0, high=1),
            weight_decay=number("weight_decay", weight_decay, low=0), nesterov=nesterov)
        if v is None and (update.momentum or update.nesterov):
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
        named = (("parameters", p), ("first", m), ("second", v), ("gradients", g))
        for (name, output), (other_name, other) in combinations(named, 2):
            check_apart(name, output, other_name, other)
        cdef Update update = Update(
            optimizer=ADAM, step=checked_integer("step", step, 1) - 1,
            learning_rate=number("learning_rate", learning_rate, low=0),
            beta1=number("beta1", beta1, low=0, high=1), beta2=number("beta2", beta2, low=0, high=1),
            epsilon=number("epsilon", epsilon, low=0, open_low=True))
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

    def all_finite(self, array):
        """Whether no element of a C-contiguous float array is NaN or infinite."""
        cdef const KernelTable *table = self.table(dtype_of(array, "array"))
        cdef const void *data = pointer(array)
        cdef Py_ssize_t count = array.size
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
    PyObject_GetBuffer(array, &view, PyBUF_STRIDES)
    PyBuffer_Release(&view)         # the caller keeps the array, and so its memory
    return view.buf


cdef class Engine:
    """A network's parameter block, and whole batches through its layers.

    The block holds w0, b0, w1, b1, … with padded rows, so an optimizer is one loop over it.
    """

    cdef const KernelTable *table
    cdef readonly Kernels kernels
    cdef readonly str dtype
    cdef readonly tuple layer_sizes
    cdef readonly object parameters         # the block: 1-D, 64-byte aligned
    cdef Py_ssize_t size                    # its elements
    cdef Layer *layers
    cdef readonly int n_layers
    cdef readonly tuple activations
    cdef readonly str loss
    cdef int loss_code
    cdef Py_ssize_t itemsize
    cdef Workspace spare                    # the last prediction's memory, for the next one
    cdef Workspace spare_learning           # and the last fit's: to have its pages cleared again takes long

    def __cinit__(self, Kernels kernels, str dtype, tuple layer_sizes, tuple activations, str loss):
        cdef int index
        cdef Py_ssize_t offset = 0
        cdef char *block
        self.kernels = kernels
        self.table = kernels.table(dtype)
        self.dtype = dtype
        self.itemsize = self.table.real_size
        self.layer_sizes = layer_sizes
        self.n_layers = len(layer_sizes) - 1
        self.activations = activations
        self.loss = loss
        self.loss_code = LOSSES[loss]
        self.layers = <Layer *> calloc(self.n_layers, sizeof(Layer))
        if self.layers == NULL:
            raise MemoryError("no memory for the list of layers")
        for index in range(self.n_layers):
            layer = &self.layers[index]
            layer.activation = ACTIVATIONS[activations[index]]
            layer.n_in = layer_sizes[index]
            layer.n_out = layer_sizes[index + 1]
            layer.stride = padded(layer.n_out, self.itemsize)
            offset += (layer.n_in + 1) * layer.stride
        self.size = offset
        self.parameters = aligned_zeros(offset, dtype)
        block = <char *> pointer(self.parameters)
        for index in range(self.n_layers):
            layer = &self.layers[index]
            layer.w = block
            layer.b = block + layer.n_in * layer.stride * self.itemsize
            block += (layer.n_in + 1) * layer.stride * self.itemsize

    def __dealloc__(self):
        free(self.layers)

    def views(self, block):
        """The weights and the biases inside a block laid out like `parameters`: two tuples of arrays."""
        cdef Layer *layer
        cdef Py_ssize_t offset = 0, size
        weights, biases = [], []
        for index in range(self.n_layers):
            layer = &self.layers[index]
            size = layer.n_in * layer.stride
            weights.append(block[offset:offset + size].reshape(layer.n_in, layer.stride)[:, :layer.n_out])
            biases.append(block[offset + size:offset + size + layer.n_out])
            offset += size + layer.stride
        return tuple(weights), tuple(biases)

    def predict(self, x, out):
        """out := the outputs for x, row by row the same bits in whatever company."""
        self.predict_rows(pointer(x), pointer(out), x.shape[0])

    cdef predict_unconverted(self, cnp.ndarray x, out):
        """The outputs for arrays that are just as kernels want them; None for any others.

        The short path of one sample: a look at the array, an array for the result.
        """
        cdef int ndim = cnp.PyArray_NDIM(x), type_number = cnp.NPY_FLOAT if self.itemsize == 4 else cnp.NPY_DOUBLE
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
        cdef double row_operations = 2.0 * self.size
        cdef int threads = threads_for(rows * row_operations)
        cdef Py_ssize_t batch = self.block_rows(rows, threads)
        cdef Py_ssize_t visit = rows_per_visit(row_operations * batch, batch) * threads
        cdef Workspace workspace = self.spare
        cdef Job job
        self.spare = None
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
        self.spare = workspace
        return 0

    cdef Py_ssize_t block_rows(self, Py_ssize_t rows, int threads) noexcept:
        """Rows that pass through the layers together, where each thread takes a share of them all."""
        cdef bint large = self.size * self.itemsize > LARGE_BYTES
        return min((rows + threads - 1) // threads, BLOCK_ROWS_OF_LARGE if large else BLOCK_ROWS)

    def evaluate(self, x, targets, labels, weights):
        """The mean loss."""
        cdef double row_operations = 2.0 * self.size
        cdef int threads = threads_for(x.shape[0] * row_operations)
        cdef Py_ssize_t rows = x.shape[0], batch = self.block_rows(rows, threads)
        cdef Py_ssize_t visit = rows_per_visit(row_operations * batch, batch) * threads
        cdef Workspace workspace = Workspace(self, batch, learning=True, threads=threads)
        losses = np.empty(rows)
        cdef Job job
        job.work = self.table.evaluate
        job.plan = &workspace.plan
        job.data = data_struct(x, targets, labels, weights)
        job.losses = <double *> pointer(losses)
        job.batch = batch
        job.last = 0
        while job.last < rows:
            job.first, job.last = job.last, min(rows, job.last + visit)
            run(&job, threads)
            PyErr_CheckSignals()
        return sum_in_order(job.losses, rows) / self.divisor(weights, rows)

    def gradients(self, x, targets, labels, weights):
        """The mean loss and its gradient, as a block laid out like `parameters`."""
        block = aligned_zeros(self.size, self.dtype)
        cdef Py_ssize_t rows = x.shape[0]
        cdef int threads = threads_for(<double> STEP_OPERATIONS * self.size * rows)
        cdef Workspace workspace = Workspace(self, rows, learning=True, gradients=block, threads=threads)
        cdef double divisor = self.divisor(weights, rows)
        cdef Job job
        job.work = self.table.gradients
        job.plan = &workspace.plan
        job.data = data_struct(x, targets, labels, weights)
        job.scale = 1 / divisor
        run(&job, threads)
        return sum_in_order(workspace.plan.losses, rows) / divisor, block

    cdef double divisor(self, weights, Py_ssize_t rows) except? -1:
        """What turns a summed loss into the mean."""
        return weight_sum(weights, rows) * mean_elements(
            self.loss_code, self.layers[self.n_layers - 1].n_out)


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


cdef class Predicting:
    """What a Network does in compiled code: a Python frame would take as long as a small prediction."""

    cdef public Engine _engine

    def predict(self, X, *, out=None):
        """The outputs for X, after the output activation.

        X is (n, n_inputs) and the result (n, n_outputs); a 1-D X is one sample and gives a 1-D
        result. `out`, of the network's dtype, receives the result. A row's outputs never
        depend on the other rows, bit for bit.
        """
        if cnp.PyArray_CheckExact(X):
            result = self._engine.predict_unconverted(X, out)
            if result is not None:
                return result
        return self._predict_converted(X, out)


cdef Py_ssize_t rows_per_visit(double batch_operations, Py_ssize_t batch) noexcept:
    """Rows between two looks at pending signals: whole batches, for one thread."""
    return batch * (1 + <Py_ssize_t> (<double> OPERATIONS_PER_VISIT / (batch_operations + 10_000)))


cdef Data data_struct(x, targets, labels, weights) except *:
    cdef Data data
    data.x = pointer(x)
    data.t = pointer(targets)
    data.labels = <const Py_ssize_t *> pointer(labels)
    data.weights = <const double *> pointer(weights)
    data.order = NULL
    data.rows = x.shape[0]
    return data


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
    cdef void *memory

    def __cinit__(self, Engine engine, Py_ssize_t batch, *, bint learning, int threads, bint gather=False,
                  gradients=None):
        cdef size_t layers_size = engine.n_layers * sizeof(Layer)
        cdef Py_ssize_t size
        self.parameters = engine.parameters
        self.gradients = gradients
        self.itemsize = engine.itemsize
        self.batch = batch
        self.threads = threads
        self.sharing = Sharing(threads, <double> STEP_OPERATIONS * batch * engine.size)
        self.rows = batch if gradients is not None else batch * threads
        self.plan.kernels = engine.table
        self.plan.n_layers = engine.n_layers
        self.plan.loss = engine.loss_code
        self.plan.parameters = pointer(engine.parameters)
        self.plan.gradients = pointer(gradients)
        self.plan.layers = <Layer *> malloc(layers_size)
        if self.plan.layers == NULL:
            raise MemoryError("no memory for the list of layers")
        memcpy(self.plan.layers, engine.layers, layers_size)
        size = self.lay_out(NULL, learning, gather)
        self.memory = malloc(size + ROW_BYTES)
        if self.memory == NULL:
            raise MemoryError(f"no memory for a batch of {batch} rows: it takes {size} bytes")
        self.lay_out(<char *> self.memory + (-<uintptr_t> self.memory) % ROW_BYTES, learning, gather)

    def __dealloc__(self):
        free(self.plan.layers)
        free(self.memory)

    cdef Py_ssize_t lay_out(self, char *memory, bint learning, bint gather) noexcept:
        """Points the plan into memory and returns how much it takes; with NULL it only counts."""
        cdef Py_ssize_t itemsize = self.itemsize
        cdef Py_ssize_t used = 0, scratch = 0, widest = padded(self.plan.layers[0].n_in, itemsize)
        cdef char *block = <char *> self.plan.gradients
        cdef char *turns[2]
        cdef Layer *layer = NULL
        cdef int index
        for index in range(self.plan.n_layers):
            layer = &self.plan.layers[index]
            widest = max(widest, layer.stride)
            scratch = max(scratch, scratch_bytes(self.batch, layer.n_out, layer.n_in, itemsize))
        cdef Py_ssize_t row = widest * itemsize
        self.plan.scratch_size = (scratch + ROW_BYTES - 1) // ROW_BYTES * ROW_BYTES
        self.plan.scratch = take(memory, &used, self.threads * self.plan.scratch_size)
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
                layer.z = take(memory, &used, self.rows * row) if needs_z(layer.activation) else layer.y
            else:
                layer.y = layer.z = turns[index % 2]
            if block != NULL:
                layer.dw = block
                layer.db = block + layer.n_in * row
                block += (layer.n_in + 1) * row
        if learning:
            self.plan.t_batch = take(memory, &used, self.rows * row)
            self.plan.weight_batch = <double *> take(memory, &used, self.rows * sizeof(double))
            self.plan.losses = <double *> take(memory, &used, self.rows * sizeof(double))
        if gather:
            self.plan.x_batch = take(memory, &used, self.rows * self.plan.layers[0].n_in * itemsize)
        return used


cdef char *take(char *memory, Py_ssize_t *used, Py_ssize_t size) noexcept:
    """The next `size` bytes, rounded up to ROW_BYTES."""
    cdef char *taken = memory + used[0]
    used[0] += (size + ROW_BYTES - 1) // ROW_BYTES * ROW_BYTES
    return taken


cdef class Trainer:
    """Epochs over the same rows with the same optimizer: one call of `fit`.

    `optimizer` names the update, `settings` its constants; `state` holds its blocks, laid
    out like the parameters.
    """

    cdef Engine engine
    cdef Workspace workspace
    cdef object arrays              # keeps the memory alive that `data` and `update` point to
    cdef Data data
    cdef Update update
    cdef Py_ssize_t *order
    cdef Py_ssize_t rows_per_visit
    cdef int threads
    cdef readonly Py_ssize_t failed_step    # of the last epoch, from 1; 0 if its loss was finite
    cdef readonly Py_ssize_t steps_an_epoch

    def __cinit__(self, Engine engine, x, targets, labels, Py_ssize_t batch, bint shuffle,
                  str optimizer, dict settings, tuple state, long long steps, most_threads):
        cdef double step_operations = <double> STEP_OPERATIONS * batch * engine.size
        self.arrays = (x, targets, labels, state)
        self.engine = engine
        self.threads = threads_for(step_operations, most_threads)
        self.workspace = engine.spare_learning
        engine.spare_learning = None
        if not self.workspace_fits(batch, shuffle):
            self.workspace = Workspace(engine, batch, learning=True, gather=shuffle, threads=self.threads,
                                       gradients=aligned_zeros(engine.size, engine.dtype))
        self.data = data_struct(x, targets, labels, None)
        self.steps_an_epoch = (self.data.rows + batch - 1) // batch
        if shuffle:
            self.order = <Py_ssize_t *> malloc(self.data.rows * sizeof(Py_ssize_t))
            if self.order == NULL:
                raise MemoryError(f"no memory for the order of {self.data.rows} rows")
            self.data.order = self.order
        self.update.optimizer = OPTIMIZERS[optimizer]
        self.update.step = steps
        self.update.momentum = settings.get("momentum", 0)
        self.update.nesterov = settings.get("nesterov", False)
        self.update.weight_decay = settings.get("weight_decay", 0)
        self.update.beta1 = settings.get("beta1", 0)
        self.update.beta2 = settings.get("beta2", 0)
        self.update.epsilon = settings.get("epsilon", 0)
        self.update.first = pointer(state[0]) if len(state) > 0 else NULL
        self.update.second = pointer(state[1]) if len(state) > 1 else NULL
        self.rows_per_visit = rows_per_visit(step_operations, batch)

    def __dealloc__(self):
        free(self.order)

    cdef bint workspace_fits(self, Py_ssize_t batch, bint gather) noexcept:
        cdef Workspace workspace = self.workspace
        return (workspace is not None and workspace.batch == batch and workspace.threads == self.threads
                and (workspace.plan.x_batch != NULL) == gather)

    def release(self):
        """Leaves its memory to the network's next trainer: the last call."""
        self.engine.spare_learning = self.workspace
        self.workspace = None

    @property
    def steps(self):
        """Updates done so far, by this trainer and those before it."""
        return self.update.step

    def epoch(self, double learning_rate, uint64_t seed, uint64_t epoch_number):
        """One pass over the rows, in the order of this seed and epoch number. Returns the mean loss.

        Ends early where a step's loss is not finite (see failed_step), and with
        KeyboardInterrupt between two steps.
        """
        cdef Py_ssize_t rows = self.data.rows, first
        cdef Sharing sharing = self.workspace.sharing
        cdef int threads
        cdef double start
        cdef Job job
        job.work = self.engine.table.train
        job.plan = &self.workspace.plan
        job.data = self.data
        job.update = &self.update
        job.batch = self.workspace.batch
        job.total = 0
        job.first = 0
        self.update.learning_rate = learning_rate
        self.failed_step = 0
        if self.order != NULL:
            with nogil:
                shuffle_rows(self.order, rows, seed, epoch_number)
        while job.first < rows:
            first, job.last = job.first, min(rows, job.first + self.rows_per_visit)
            threads = sharing.next_threads()
            start = perf_counter()
            run(&job, threads)
            if job.first > first:
                sharing.note(threads, (perf_counter() - start) / (job.first - first))
            if job.first < job.last:
                self.failed_step = job.first // job.batch + 1
                break
            PyErr_CheckSignals()
        return job.total / self.engine.divisor(None, rows)
