"""The kernels as methods that check their arrays: what `fastnn.ops` documents.

`Kernels` holds the tables of one instruction set. An `Operand` is one argument: its memory, or a copy of it as kernels
want it; `Operands` are those of a call. The GIL is released around kernels. `Kernels` also asks the kernels which
activations, losses and optimizers they declare, and finds the codes of these by their names.
"""

from math import fsum

import numpy as np

from .._checks import checked_integer, checked_weights, choose, number

cimport numpy as cnp
from cpython.buffer cimport PyBUF_FORMAT, PyBUF_STRIDES, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.math cimport INFINITY
from libc.stdint cimport uintptr_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from ..kernels.types cimport (
    ActivationFacts, KernelTable, LossFacts, OptimizerFacts, Update, mean_elements, padded, scratch_bytes,
)
from .runtime cimport Pool, Scratch, flush_subnormals, pointer, restore_float_state, sum_in_order

cnp.import_array()

cdef extern from "Python.h":
    const Py_ssize_t PY_SSIZE_T_MAX


cdef class Operand:
    """One array argument of a kernel: its own memory where the layout fits, else a padded copy.

    Kernels want rows whose length is a multiple of 64 bytes, one after the other. Works on the buffer protocol, as
    typed memoryviews do, so that one text serves both dtypes and checks cost a tenth of a microsecond.
    """

    def __cinit__(self, array, str name, str dtype, int ndim, Py_ssize_t rows, Py_ssize_t columns,
                  bint writable=False, bint padded_rows=True):
        cdef Py_ssize_t itemsize = 4 if dtype == "float32" else 8
        cdef int flags = PyBUF_STRIDES | PyBUF_FORMAT | (PyBUF_WRITABLE if writable else 0)
        self.name = name
        self.writable = writable
        try:
            PyObject_GetBuffer(array, &self.view, flags)
        except (BufferError, TypeError, ValueError):
            if writable and isinstance(array, np.ndarray) and not array.flags.writeable:
                raise ValueError(f"{name} is read-only, but the result goes there; pass a writable array") from None
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
        """Copies the caller's memory to our padded rows, or back."""
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
        """start := the first byte of the caller's memory, end := the one after the last. Strides may be negative."""
        cdef Py_ssize_t first = 0, last = 0, axis
        if self.view.len:
            last = self.view.itemsize
            for axis in range(self.view.ndim):
                first += min(0, (self.view.shape[axis] - 1) * self.view.strides[axis])
                last += max(0, (self.view.shape[axis] - 1) * self.view.strides[axis])
        start[0] = <uintptr_t> self.view.buf + first
        end[0] = <uintptr_t> self.view.buf + last

    cdef bint overlaps(self, Operand other) noexcept:
        """Whether the caller's memory of the two, from end to end, has a byte in common."""
        cdef uintptr_t start, end, other_start, other_end
        self.span(&start, &end)
        other.span(&other_start, &other_end)
        return start < other_end and other_start < end

    def __dealloc__(self):
        free(self.copied)
        if self.held:
            PyBuffer_Release(&self.view)


cdef double real_in(str name, value, double low, double high, bint open_low=False) except? -1:
    """`number` of _checks.py, but without that call, which takes as long as an update of 500 parameters, for a float
    that is in bounds."""
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


cdef class Operands:
    """The array arguments of one call. All must have the dtype of the array that this is made from."""

    def __cinit__(self, array, str name):
        self.dtype = dtype_of(array, name)
        self.operands = []

    cdef Operand input(self, str name, array, int ndim, Py_ssize_t rows, Py_ssize_t columns, bint padded_rows=True):
        """An array that the kernel reads."""
        operand = Operand(array, name, self.dtype, ndim, rows, columns, padded_rows=padded_rows)
        self.operands.append(operand)
        return operand

    cdef Operand output(self, str name, array, int ndim, Py_ssize_t rows, Py_ssize_t columns):
        """An array that the kernel writes."""
        operand = Operand(array, name, self.dtype, ndim, rows, columns, writable=True)
        self.operands.append(operand)
        return operand

    cdef int check_apart(self, bint in_place=False) except -1:
        """Refuses an output that a kernel writes over an input that it still reads, and two outputs in the same memory,
        copied or not, as copies are written back there. `in_place` allows an output to be an input."""
        cdef Operand output, other
        cdef Py_ssize_t i, j
        for i, output in enumerate(self.operands):
            for j, other in enumerate(self.operands):
                if not output.writable or (other.writable and j >= i) or not output.overlaps(other):
                    continue
                if other.writable:
                    if np.shares_memory(<object> output.view.obj, <object> other.view.obj):
                        raise ValueError(f"{output.name} shares memory with {other.name}, which is written too; "
                                         "pass another array")
                elif not (output.copied or other.copied or (in_place and output.data == other.data)):
                    raise ValueError(f"{output.name} shares memory with {other.name}, which is still read; "
                                     "pass another array")
        return 0

    cdef int write_back(self) except -1:
        """Outputs that were copied go back to the caller's memory."""
        cdef Operand operand
        for operand in self.operands:
            if operand.writable and operand.copied != NULL:
                operand.copy(True)
        return 0


cdef void *data_of(Operand operand) noexcept:
    """Its memory; NULL for None."""
    return operand.data if operand is not None else NULL


cdef dict declared_activations(const KernelTable *table):
    """What activations there are, in the order of their codes."""
    cdef ActivationFacts facts
    declared = {}
    while True:
        table.describe_activation(len(declared), &facts)
        if facts.name == NULL:
            return declared
        declared[facts.name.decode("ascii")] = {
            "code": len(declared), "needs_z": facts.needs_z, "takes_row": facts.takes_row}


cdef dict declared_losses(const KernelTable *table):
    """What losses there are, in the order of their codes."""
    cdef LossFacts facts
    declared = {}
    while True:
        table.describe_loss(len(declared), &facts)
        if facts.name == NULL:
            return declared
        name, output = facts.name.decode("ascii"), facts.output.decode("ascii")
        declared[name, output] = {**facts, "name": name, "output": output}


cdef dict declared_optimizers(const KernelTable *table):
    """What optimizers there are, in the order of their codes."""
    cdef OptimizerFacts facts
    declared = {}
    while True:
        table.describe_optimizer(len(declared), &facts)
        if facts.name == NULL:
            return declared
        declared[facts.name.decode("ascii")] = {
            "code": len(declared), "state_blocks": facts.state_blocks, "velocity": facts.velocity}


cdef class Kernels:
    """The kernels of one instruction set, for float32 and float64. `fastnn.ops` documents the methods."""

    def __cinit__(self, float32, float64):
        self.float32 = <const KernelTable *> PyCapsule_GetPointer(float32, b"fastnn.KernelTable")
        self.float64 = <const KernelTable *> PyCapsule_GetPointer(float64, b"fastnn.KernelTable")
        self.instruction_set = self.float32.instruction_set.decode("ascii")
        self.activations = declared_activations(self.float32)
        self.losses = declared_losses(self.float32)
        self.optimizers = declared_optimizers(self.float32)
        self.scratches = Pool()

    def choose_forms(self, bint intel, Kernels narrow):
        """Has kernels take their form for Intel's processors, in which `narrow` trains chains of neurons, or the other.

        The bits are the same, and must be with `narrow`, too. Not while a kernel runs.
        """
        self.float32.choose_forms(<KernelTable *> self.float32, intel, narrow.float32)
        self.float64.choose_forms(<KernelTable *> self.float64, intel, narrow.float64)

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
        """Scratch of at least this size: that of the last product, where it is large enough and free."""
        cdef Scratch scratch = self.scratches.take()
        return Scratch(size) if scratch is None or scratch.size < size else scratch

    def dense_forward(self, y, x, w, b, activation="identity"):
        cdef int code = self.activation_code(activation)
        cdef Operands arrays = Operands(x, "x")
        cdef const KernelTable *table = self.table(arrays.dtype)
        cdef Operand x_ = arrays.input("x", x, 2, ANY, ANY, padded_rows=False)
        cdef Operand w_ = arrays.input("w", w, 2, x_.columns, ANY)
        cdef Operand b_ = arrays.input("b", b, 1, ANY, w_.columns)
        cdef Operand y_ = arrays.output("y", y, 2, x_.rows, w_.columns)
        arrays.check_apart()
        cdef Scratch scratch = self.take_scratch(scratch_bytes(x_.rows, w_.columns, x_.columns, table.real_size))
        with nogil:
            state = flush_subnormals()
            table.dense_forward(y_.data, y_.data, x_.data, w_.data, b_.data, code,
                                x_.rows, w_.columns, x_.columns, x_.columns, w_.stride, scratch.data)
            restore_float_state(state)
        self.scratches.give(scratch)
        arrays.write_back()

    def dense_backward(self, dx, dw, db, dz, x, w):
        cdef Operands arrays = Operands(dz, "dz")
        cdef const KernelTable *table = self.table(arrays.dtype)
        cdef Operand dz_ = arrays.input("dz", dz, 2, ANY, ANY)
        cdef Operand x_ = None if x is None else arrays.input("x", x, 2, dz_.rows, ANY, padded_rows=False)
        cdef Operand w_ = None if w is None else arrays.input("w", w, 2, ANY if x is None else x_.columns, dz_.columns)
        if dx is not None and w is None:
            raise TypeError("w is None, but dx = dz @ w.T needs it")
        if dw is not None and x is None:
            raise TypeError("x is None, but dw = x.T @ dz needs it")
        cdef Py_ssize_t m = dz_.rows, n = dz_.columns
        cdef Py_ssize_t k = x_.columns if x_ is not None else w_.rows if w_ is not None else 0
        cdef Operand dx_ = None if dx is None else arrays.output("dx", dx, 2, m, k)
        cdef Operand dw_ = None if dw is None else arrays.output("dw", dw, 2, k, n)
        cdef Operand db_ = None if db is None else arrays.output("db", db, 1, ANY, n)
        arrays.check_apart()
        cdef Scratch scratch = self.take_scratch(scratch_bytes(m, n, k, table.real_size))
        cdef void *dx_data = data_of(dx_), *dw_data = data_of(dw_), *db_data = data_of(db_)
        cdef void *x_data = data_of(x_), *w_data = data_of(w_)
        with nogil:
            state = flush_subnormals()
            table.dense_backward(dx_data, dw_data, db_data, dz_.data, x_data, w_data,
                                 m, n, k, k, dz_.stride, scratch.data)
            restore_float_state(state)
        self.scratches.give(scratch)
        arrays.write_back()

    def activation_forward(self, y, z, activation):
        cdef int code = self.activation_code(activation)
        cdef Operands arrays = Operands(z, "z")
        cdef const KernelTable *table = self.table(arrays.dtype)
        cdef Operand z_ = arrays.input("z", z, 2, ANY, ANY)
        cdef Operand y_ = arrays.output("y", y, 2, z_.rows, z_.columns)
        arrays.check_apart(in_place=True)
        with nogil:
            state = flush_subnormals()
            table.activation_forward(y_.data, z_.data, code, z_.rows, z_.columns)
            restore_float_state(state)
        arrays.write_back()

    def activation_backward(self, dz, dy, y, z, activation):
        cdef int code = self.activation_code(activation)
        cdef Operands arrays = Operands(dy, "dy")
        cdef const KernelTable *table = self.table(arrays.dtype)
        cdef Operand dy_ = arrays.input("dy", dy, 2, ANY, ANY)
        cdef Operand y_ = arrays.input("y", y, 2, dy_.rows, dy_.columns)
        cdef Operand z_ = arrays.input("z", z, 2, dy_.rows, dy_.columns)
        cdef Operand dz_ = arrays.output("dz", dz, 2, dy_.rows, dy_.columns)
        arrays.check_apart(in_place=True)
        with nogil:
            state = flush_subnormals()
            table.activation_backward(dz_.data, dy_.data, y_.data, z_.data, code, dy_.rows, dy_.columns)
            restore_float_state(state)
        arrays.write_back()

    def loss_forward_backward(self, dz, z, t, loss, activation="identity", weights=None):
        cdef int code = self.activation_code(activation)
        cdef LossFacts facts = self.loss_facts(loss, activation)
        cdef double parameter = loss.parameter
        cdef Operands arrays = Operands(z, "z")
        cdef const KernelTable *table = self.table(arrays.dtype)
        cdef Operand z_ = arrays.input("z", z, 2, ANY, ANY)
        cdef Operand t_ = arrays.input("t", t, 2, z_.rows, z_.columns)
        dz = np.empty_like(z) if dz is None else dz
        cdef Operand dz_ = arrays.output("dz", dz, 2, z_.rows, z_.columns)
        arrays.check_apart()
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
        arrays.write_back()
        return sum_in_order(loss_rows, z_.rows) / divisor

    def sgd_update(self, parameters, gradients, learning_rate, velocity=None, momentum=0.0,
                   weight_decay=0.0, nesterov=False):
        cdef Operands arrays = Operands(parameters, "parameters")
        cdef Operand p = arrays.output("parameters", parameters, 1, ANY, ANY)
        cdef Operand g = arrays.input("gradients", gradients, 1, ANY, p.columns)
        cdef Operand v = None if velocity is None else arrays.output("velocity", velocity, 1, ANY, p.columns)
        arrays.check_apart()
        cdef Update update
        memset(&update, 0, sizeof(update))
        update.optimizer = self.optimizers["sgd"]["code"]
        update.learning_rate = real_in("learning_rate", learning_rate, 0, INFINITY)
        update.constants.momentum = real_in("momentum", momentum, 0, 1)
        update.constants.weight_decay = real_in("weight_decay", weight_decay, 0, INFINITY)
        update.constants.nesterov = nesterov
        if v is None and (update.constants.momentum or update.constants.nesterov):
            raise ValueError("velocity is None, but momentum needs it: pass an array, zeros at first")
        self.update(arrays, &update, p, g, v, None)

    def adam_update(self, parameters, gradients, first, second, step, learning_rate=1e-3, beta1=0.9,
                    beta2=0.999, epsilon=1e-8):
        cdef Operands arrays = Operands(parameters, "parameters")
        cdef Operand p = arrays.output("parameters", parameters, 1, ANY, ANY)
        cdef Operand g = arrays.input("gradients", gradients, 1, ANY, p.columns)
        cdef Operand m = arrays.output("first", first, 1, ANY, p.columns)
        cdef Operand v = arrays.output("second", second, 1, ANY, p.columns)
        arrays.check_apart()
        cdef Update update
        memset(&update, 0, sizeof(update))
        update.optimizer = self.optimizers["adam"]["code"]
        update.step = checked_integer("step", step, 1) - 1
        update.learning_rate = real_in("learning_rate", learning_rate, 0, INFINITY)
        update.constants.beta1 = real_in("beta1", beta1, 0, 1)
        update.constants.beta2 = real_in("beta2", beta2, 0, 1)
        update.constants.epsilon = real_in("epsilon", epsilon, 0, INFINITY, open_low=True)
        self.update(arrays, &update, p, g, m, v)

    cdef update(self, Operands arrays, Update *update, Operand p, Operand g, Operand first, Operand second):
        """One step of an optimizer."""
        cdef const KernelTable *table = self.table(arrays.dtype)
        cdef void *first_data = data_of(first), *second_data = data_of(second)
        with nogil:
            before = flush_subnormals()
            table.begin_step(update)
            table.update_parameters(p.data, g.data, first_data, second_data, update, p.stride)
            restore_float_state(before)
        arrays.write_back()

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


cdef double weight_sum(weights, Py_ssize_t rows) except? -1:
    """The sum of the weights, correctly rounded: the same on every machine."""
    return float(rows) if weights is None else fsum(weights)
