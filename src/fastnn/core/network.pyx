"""The compiled half of a Network: whole batches through its layers, and the short ways of predict and train_on_batch.

An `Engine` predicts, and computes losses, gradients and what flows through the layers; it changes no parameter.
`CompiledNetwork` is the base of Network. Its short ways are compiled because a Python frame takes as long as a small
network.
"""

import numpy as np

from .runtime import aligned_zeros

cimport numpy as cnp
from cpython.exc cimport PyErr_CheckSignals
from libc.math cimport NAN, isfinite
from libc.stdlib cimport malloc
from libc.string cimport memset

from ..kernels.types cimport Job, Layer, scratch_bytes
from .batch cimport Rows, Workspace
from .model cimport Model
from .runtime cimport (
    do_job, flush_subnormals, pointer, restore_float_state, rows_per_visit, run, sum_in_order, threads_for,
)
from .trainer cimport CompiledOptimizer, Trainer

cnp.import_array()

cdef enum:
    # Rows that pass through the layers together where a batch has no meaning of its own: enough to
    # make packing the weights cheap where these leave the L2 cache.
    BLOCK_ROWS = 96
    BLOCK_ROWS_OF_LARGE = 480
    LARGE_BYTES = 1 << 20
    # With fewer operations the GIL is kept: they are done before another thread could use it.
    OPERATIONS_WORTH_RELEASING = 200_000


cdef class Engine(Model):
    """Whole batches through the layers of a network, whose parameters they leave as they are."""

    def predict(self, cnp.ndarray x not None, cnp.ndarray out not None):
        """out := the outputs for x. The bits of a row do not depend on the other rows."""
        cdef Py_ssize_t rows = cnp.PyArray_DIM(x, 0) if cnp.PyArray_NDIM(x) else 0
        cdef Py_ssize_t n_out = self.layers[self.n_layers - 1].n_out
        cdef const void *inputs = self.matrix("X", x, rows, self.layers[0].n_in)
        if not (cnp.PyArray_ISCARRAY(out) and cnp.PyArray_TYPE(out) == self.type_number
                and cnp.PyArray_SIZE(out) == rows * n_out):
            raise ValueError(f"out has changed while it was being read: it must have room for ({rows}, {n_out})")
        self.predict_rows(inputs, cnp.PyArray_DATA(out), rows, False)

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
        if shape[0] == 0:
            return None
        if out is None:
            out = cnp.PyArray_EMPTY(ndim, shape + 2 - ndim, type_number, 0)
            return out if self.predict_rows(cnp.PyArray_DATA(x), cnp.PyArray_DATA(out), shape[0], True) else None
        # The caller's array: nothing is written there before all rows were looked at.
        if (not self.table.all_finite(cnp.PyArray_DATA(x), shape[0] * n_in)
                or not receives(out, x, ndim, shape + 2 - ndim, type_number)):
            return None
        self.predict_rows(cnp.PyArray_DATA(x), cnp.PyArray_DATA(out), shape[0], False)
        return out

    cdef int predict_rows(self, const void *x, void *out, Py_ssize_t rows, bint check) except -1:
        """out := the outputs for x; returns whether it is written, which with `check` it is where x is finite."""
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
        job.check, job.refused = check, False
        job.batch = batch
        job.last = 0
        if rows * row_operations < OPERATIONS_WORTH_RELEASING:
            job.first, job.last = 0, rows
            do_job(&job, 0, 1)
        while job.last < rows and not job.refused:
            job.first, job.last = job.last, min(rows, job.last + visit)
            run(&job, threads)
            PyErr_CheckSignals()
        self.predicting.give(workspace)
        return not job.refused

    cdef Py_ssize_t block_rows(self, Py_ssize_t rows, int threads) noexcept:
        """Rows that pass through the layers together, where each thread takes a share of them all."""
        cdef bint large = self.size * self.itemsize > LARGE_BYTES
        return min((rows + threads - 1) // threads, BLOCK_ROWS_OF_LARGE if large else BLOCK_ROWS)

    def evaluate(self, Rows rows):
        """The mean loss of the rows. A network with a Python loss has none here: its caller calls that function."""
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
        job.data.order = NULL       # this workspace has no room for gathered rows
        job.losses = rows.losses
        job.batch = batch
        job.last = 0
        while job.last < rows.data.rows:
            job.first, job.last = job.last, min(rows.data.rows, job.last + visit)
            run(&job, threads)
            PyErr_CheckSignals()
        self.evaluating.give(workspace)
        return sum_in_order(job.losses, rows.data.rows) / self.divisor(rows.weight)

    def gradients(self, Rows rows, parameters=None):
        """The mean loss and its gradient, as a block laid out like `parameters`: another such block, or the network's
        own."""
        rows.check(self)
        block = aligned_zeros(self.size, self.dtype)
        cdef int threads = self.step_threads(rows.data.rows)
        cdef Workspace workspace = Workspace(self, rows.data.rows, learning=True, gradients=block, threads=threads)
        if parameters is not None:
            self.block(parameters)
            workspace.set_parameters(parameters)
        return workspace.mean_gradients(self, rows, threads), block

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
            self.kernels.scratches.give(scratch)
            result.append(slope_values.reshape(m, layer.stride)[:, :layer.n_out])
            kept = values
            inputs, ldx = y, layer.stride
        return result


cdef class CompiledNetwork:
    """What a Network does in compiled code, as a Python frame would take as long as a small network."""

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
        """The outputs for X, after the activation of the last layer.

        Parameters
        ----------
        X : array (n, n_inputs) or (n_inputs,)
            A 1-D array is one row, and gives a 1-D result.
        out : array (n, n_outputs) or (n_outputs,), or None
            An array of the network's dtype that receives the result.

        Returns
        -------
        array (n, n_outputs) or (n_outputs,)
            The outputs of a row have the same bits, whatever the other rows are. For one output the shape is (n, 1):
            write `net.predict(X)[:, 0] - y`, because NumPy makes (n, n) of (n, 1) - (n,).

        See Also
        --------
        Network.predict_classes : The most likely class of each row.
        Network.layer_outputs : The outputs of all layers.
        """
        cdef Engine engine = engine_of(self)
        if cnp.PyArray_CheckExact(X):
            result = engine.predict_unconverted(X, out)
            if result is not None:
                return result
        return self._predict_converted(X, out)

    def train_on_batch(self, X, y, *, sample_weight=None, optimizer=None):
        """One training step on these rows, for training loops of your own.

        Parameters
        ----------
        X : array (n, n_inputs) or (n_inputs,)
            A 1-D array is one row.
        y : array
            The targets, as for `fit`. For one row it is a number or an array (n_outputs,).
        sample_weight : array (n,) or None
            As for `fit`.
        optimizer : Optimizer or None
            The network keeps it for the following calls. None is the optimizer of the last call, or `Adam()`.

        Returns
        -------
        float
            The mean loss of these rows before the step.

        Raises
        ------
        DivergenceError
            If the loss is not finite. Then nothing has changed. A step that makes parameters infinite is noticed in
            the next call, because no copy is kept. `epochs_trained` does not change.

        See Also
        --------
        Network.fit : Whole epochs in one call.
        Network.gradients : The gradient without a step.

        Examples
        --------
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
                    and online.model is engine and online.optimizer is self._optimizer):
                loss = step_unconverted(online, X, y)
                if isfinite(loss):
                    return loss
            return self._train_converted(engine, X, y, sample_weight, optimizer)
        finally:
            engine.release()

    def _online_trainer(self, Engine engine, optimizer):
        """A Trainer for single steps."""
        cdef Trainer online = self.online
        if online is None or online.model is not engine or online.optimizer is not optimizer:
            self.online = online = Trainer(engine, optimizer, False, [])
        return online


cdef Engine engine_of(CompiledNetwork network):
    """A network's engine. The caller keeps it while it works, as __init__ may be called again meanwhile."""
    if network.engine is None:
        raise RuntimeError(f"this {type(network).__name__} has no layers yet; call super().__init__(layer_sizes, …) in "
                           "its __init__ first")
    return network.engine


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


cdef double step_unconverted(Trainer trainer, cnp.ndarray x, y) except? -1:
    """The loss and a step for arrays and numbers that are just as kernels want them; NaN for any others.

    The short path of one sample, as `Engine.predict_unconverted`.
    """
    cdef Model model = trainer.model
    cdef CompiledOptimizer optimizer = trainer.optimizer
    cdef int ndim = cnp.PyArray_NDIM(x), type_number = cnp.NPY_FLOAT if model.itemsize == 4 else cnp.NPY_DOUBLE
    cdef Py_ssize_t n_in = model.layers[0].n_in, rows, label
    cdef double value
    cdef float single
    cdef Job job
    if (trainer.workspace is None or trainer.threads > 1 or optimizer.stale or optimizer.scheduled
            or model.python_loss
            or cnp.PyArray_TYPE(x) != type_number or not cnp.PyArray_ISCARRAY_RO(x) or not 1 <= ndim <= 2
            or cnp.PyArray_DIM(x, ndim - 1) != n_in):
        return NAN
    rows = cnp.PyArray_DIM(x, 0) if ndim == 2 else 1
    if not 1 <= rows <= trainer.workspace.batch or not model.table.all_finite(cnp.PyArray_DATA(x), rows * n_in):
        return NAN
    memset(&job, 0, sizeof(job))
    job.data.x = cnp.PyArray_DATA(x)
    job.data.rows = rows
    job.data.smoothing = model.label_smoothing
    if model.loss_facts.per_row:        # classes
        if type(y) is not int or rows != 1 or not 0 <= y < model.layers[model.n_layers - 1].n_out:
            return NAN
        label = y
        job.data.labels = &label
    else:
        if rows != 1 or model.layers[model.n_layers - 1].n_out != 1 or not is_number(y):
            return NAN
        single = value = y
        if not (isfinite(single if model.itemsize == 4 else value)
                and model.loss_facts.lowest <= value <= model.loss_facts.highest):
            return NAN
        job.data.t = <void *> &single if model.itemsize == 4 else <void *> &value
    job.work = model.table.train
    job.plan = &trainer.workspace.plan
    job.update = trainer.penalised()
    job.batch = job.last = rows
    job.seed = model.seed
    job.step = model.steps
    model.stepping = True
    try:
        model.lock(stepping=True)
    finally:
        model.stepping = False
    do_job(&job, 0, 1)
    model.steps += job.first == rows
    model.unlock()
    if job.first < rows:
        return NAN
    return job.total / model.divisor(rows)


cdef bint is_number(y) noexcept:
    """Whether this is a plain number: Python's or NumPy's."""
    return isinstance(y, (float, np.floating)) or (type(y) is int and abs(y) < 2**53)
