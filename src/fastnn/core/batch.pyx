"""What a batch is made of: the rows that are read, their order, and the memory that they pass through.

`Rows` are inputs, targets and weights as kernels read them; `random_order` and `spread_order` say which comes when. A
`Workspace` is the memory of a batch on its way through the layers; a `PythonLoss` is called from there.
"""

import numpy as np

from .._checks import number, real_array

cimport numpy as cnp
from libc.math cimport NAN
from libc.stdint cimport uint64_t, uintptr_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from ..kernels.random cimport INITIAL_WEIGHTS, SPREAD_ORDERS
from ..kernels.random cimport random_bits as counted_bits
from ..kernels.random cimport shuffle as shuffle_rows
from ..kernels.types cimport ROW_BYTES, Job, Layer, packed_bytes, padded, transposed_bytes
from .model cimport STEP_OPERATIONS, Model
from .ops cimport Kernels, weight_sum
from .runtime cimport (
    ThreadChoice, column, float_state, flush_subnormals, pointer, restore_float_state, run, sum_in_order,
)

cnp.import_array()

cdef extern from *:
    """
    #include <stdint.h>
    #include <sys/mman.h>

    /* Asks the system for large pages, where it has them: fewer page faults. Only pages that lie wholly in the
       memory are asked for. */
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


def random_bits(uint64_t seed, uint64_t stream, Py_ssize_t first, Py_ssize_t count):
    """Random 64-bit integers for initial weights: numbers first … first+count-1 of this seed and stream (the layer)."""
    bits = np.empty(count, np.uint64)
    cdef uint64_t *values = <uint64_t *> pointer(bits)
    cdef uint64_t key = counted_bits(counted_bits(seed, INITIAL_WEIGHTS), stream)
    cdef Py_ssize_t i
    for i in range(count):
        values[i] = counted_bits(key, <uint64_t> (first + i))
    return bits


cdef class Rows:
    """The rows of a fit or an evaluation, as kernels read them: x, targets (n, n_outputs) or labels, weights."""

    def __cinit__(self, Model model not None, cnp.ndarray x not None, targets, labels, weights):
        cdef Py_ssize_t rows = cnp.PyArray_DIM(x, 0) if cnp.PyArray_NDIM(x) else 0
        self.model = model
        self.arrays = (x, targets, labels, weights)
        self.data.rows = rows
        self.data.smoothing = model.label_smoothing
        self.data.x = model.matrix("X", x, rows, model.layers[0].n_in)
        if labels is None:
            self.data.t = model.matrix("y", targets, rows, model.layers[model.n_layers - 1].n_out)
        else:
            self.data.labels = <const Py_ssize_t *> column("y", labels, rows, cnp.NPY_INTP)
        if weights is not None:
            self.data.weights = <const double *> column("sample_weight", weights, rows, cnp.NPY_DOUBLE)
        self.weight = weight_sum(weights, rows)

    cdef int check(self, Model model) except -1:
        """Refuses rows of another network's sizes: kernels would read beyond them."""
        if self.model is not model:
            raise RuntimeError("the network's __init__ was called again while it was at work; build another Network")
        return 0

    def __dealloc__(self):
        free(self.order)
        free(self.losses)

    def __len__(self):
        return self.data.rows

    cdef double weight_of(self, Py_ssize_t count) noexcept:
        """The weight of the first `count` rows of the order."""
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
            shuffle_rows(self.order, self.data.rows, seed, epoch, NULL)
        return 0


def random_order(Py_ssize_t rows, uint64_t seed, uint64_t epoch):
    """The order in which an epoch takes its rows: a permutation of 0 … rows-1, of this seed and epoch alone."""
    order = np.empty(rows, np.intp)
    shuffle_rows(<Py_ssize_t *> pointer(order), rows, seed, epoch, NULL)
    return order


def spread_order(Py_ssize_t first, Py_ssize_t last, Py_ssize_t rows, Py_ssize_t batch, uint64_t seed, uint64_t epoch,
                 bint shuffled):
    """The order in which an epoch takes the part first … last-1 of all `rows`, where a batch is spread over all rows.

    All rows are cut into `batch` equal stretches, the strata. Each batch takes one row of each stratum, and each
    stratum gives its rows in a random order of its own. So batches do not depend on how the rows are divided into
    parts, and a part has nearly its share of each batch.

    Returns three arrays. The first is the order; row `first` has number 0 in it. The second says where each step
    begins in the order, and ends with its length. The third says how many rows of each step's batch come before
    those of this part.
    """
    cdef Py_ssize_t stratum, stop = (last * batch - 1) // rows + 1, begin = ((first + 1) * batch - 1) // rows
    cdef Py_ssize_t start, count, step, row, whole = rows // batch, steps = (rows + batch - 1) // batch
    order, starts, places = np.empty(last - first, np.intp), np.zeros(steps + 1, np.intp), np.empty(steps, np.intp)
    drawn = np.empty(steps * (stop - begin), np.intp)       # a row for each step, of one stratum after the other
    cdef Py_ssize_t *order_values = <Py_ssize_t *> pointer(order)
    cdef Py_ssize_t *start_of = <Py_ssize_t *> pointer(starts)
    cdef Py_ssize_t *place_of = <Py_ssize_t *> pointer(places)
    cdef Py_ssize_t *drawn_values = <Py_ssize_t *> pointer(drawn)
    cdef uint64_t key = counted_bits(seed, SPREAD_ORDERS)
    cdef Py_ssize_t *numbers
    for stratum in range(begin, stop):
        start = rows * stratum // batch
        count = rows * (stratum + 1) // batch - start
        numbers = drawn_values + (stratum - begin) * steps
        if shuffled:
            shuffle_rows(numbers, count, counted_bits(key, stratum), epoch, NULL)
        for step in range(steps):
            row = -1 if step >= count else start + (numbers[step] if shuffled else step)
            numbers[step] = row - first if first <= row < last else -1
            if stratum == begin:        # which may reach into the part before: then its row may come from there
                place_of[step] = (stratum if step < whole else start - stratum * whole) + (0 <= row < first)
            start_of[step + 1] += first <= row < last
    for step in range(steps):
        start_of[step + 1] += start_of[step]
    ends = starts.copy()
    cdef Py_ssize_t *end_of = <Py_ssize_t *> pointer(ends)
    for stratum in range(begin, stop):
        for step in range(steps):
            row = drawn_values[(stratum - begin) * steps + step]
            if row >= 0:
                order_values[end_of[step]] = row
                end_of[step] += 1
    return order, starts, places


cdef class PythonLoss:
    """A loss that is a function of the user's, `(outputs, targets) -> (value, gradient)`, as the engine calls it.

    Each Workspace has one of its own, so that a call raises what its function raised, and not another thread's.
    """

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
    """`Plan.python_loss`: lets a PythonLoss fill dz and losses. After an error the first loss is NaN, which ends the
    epoch."""
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


cdef class Workspace:
    """The memory of a batch on its way through an engine: layers' values, scratch, gathered rows.

    With `learning` each layer has buffers of its own, else layers take turns in two. With `gradients` the threads
    share one batch; without, each thread takes a batch of its own through the layers. `gather` is for rows in
    another order than they stand in, `dropping` for dropout.
    """

    def __cinit__(self, Model model, Py_ssize_t batch, *, bint learning, int threads, bint gather=False,
                  gradients=None, bint dropping=False):
        cdef size_t layers_size = model.n_layers * sizeof(Layer)
        cdef Py_ssize_t size
        cdef int index
        self.parameters = model.parameters
        self.gradients = gradients
        self.itemsize = model.itemsize
        self.batch = batch
        self.threads = threads
        self.thread_choice = ThreadChoice(threads, <double> STEP_OPERATIONS * batch * model.multiply_adds)
        self.rows = batch if gradients is not None else batch * threads
        self.plan.kernels = model.table
        self.plan.n_layers = model.n_layers
        self.plan.unpadded = model.unpadded
        self.plan.loss = model.loss_facts
        self.plan.loss_parameter = model.loss_parameter
        self.plan.python_loss = call_python_loss
        if model.python_loss:
            self.python_loss = PythonLoss(model.loss, model.kernels, model.dtype,
                                          model.activations[model.n_layers - 1])
            self.plan.function = <void *> self.python_loss
        self.plan.parameters = pointer(model.parameters)
        self.plan.layers = <Layer *> malloc(layers_size)
        if self.plan.layers == NULL:
            raise MemoryError("no memory for the list of layers")
        memcpy(self.plan.layers, model.layers, layers_size)
        for index in range(model.n_layers):
            if not dropping:
                self.plan.layers[index].dropout = 0
        size = self.lay_out(NULL, learning, gather)
        self.memory = malloc(size + ROW_BYTES)
        if self.memory == NULL:
            raise MemoryError(f"no memory for a batch of {batch} rows: it takes {size} bytes")
        ask_for_large_pages(self.memory, size)
        self.lay_out(<char *> self.memory + (-<uintptr_t> self.memory) % ROW_BYTES, learning, gather)
        if gradients is not None:
            self.set_gradients(gradients)

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
        if learning:        # row is the last layer's, as targets have its width
            self.plan.t_batch = take(memory, &used, self.rows * row)
            self.plan.weight_batch = <double *> take(memory, &used, self.rows * sizeof(double))
            self.plan.losses = <double *> take(memory, &used, self.rows * sizeof(double))
        if self.gradients is not None:
            self.plan.squares = take(memory, &used, parameter_rows * ROW_BYTES)
        if gather:
            self.plan.x_batch = take(memory, &used, self.rows * self.plan.layers[0].n_in * itemsize)
        return used

    cdef int set_gradients(self, gradients) except -1:
        """Makes this block, laid out like the parameters, the one that gradients are written to and read from.

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

    cdef int set_parameters(self, parameters) except -1:
        """Makes this block, laid out like the network's parameters, the one that its layers read and steps change."""
        cdef char *block = <char *> pointer(parameters)
        cdef Layer *layer
        cdef int index
        self.parameters = parameters
        self.plan.parameters = block
        for index in range(self.plan.n_layers):
            layer = &self.plan.layers[index]
            layer.w = block
            layer.b = block + layer.bias * self.itemsize
            block += (layer.bias + layer.stride) * self.itemsize
        return 0

    cdef double mean_gradients(self, Model model, Rows rows, int threads) except? -1:
        """The mean loss of the rows, in one batch; afterwards its gradient is in the block of gradients."""
        cdef Py_ssize_t count = rows.data.rows
        cdef double divisor = model.divisor(rows.weight)
        cdef Job job
        job.work = model.table.gradients
        job.plan = &self.plan
        job.data = rows.data
        job.data.smoothing = 0
        job.data.order = NULL
        job.scale = 1 / divisor
        job.first, job.last = 0, count
        job.seed = job.step = job.place = 0
        if model.python_loss:
            self.python_loss.float_state = float_state()
        run(&job, threads)
        if model.python_loss:
            self.python_loss.check()
        return sum_in_order(self.plan.losses, count) / divisor


cdef char *take(char *memory, Py_ssize_t *used, Py_ssize_t size) noexcept:
    """The next `size` bytes of the memory, which count as used then, rounded up to ROW_BYTES."""
    cdef char *taken = memory + used[0]
    used[0] += (size + ROW_BYTES - 1) // ROW_BYTES * ROW_BYTES
    return taken
