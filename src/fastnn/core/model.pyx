"""A network as training sees it: its layers, its block of parameters, its loss, and who may change them.

`Model` is what rows, workspaces, optimizers and trainers know of a network; `Engine` in network.pyx adds what runs
without them. It trusts its caller, training/trainable.py, which has checked every argument.
"""

from time import sleep

import numpy as np

from .runtime import aligned_zeros

cimport cython
cimport numpy as cnp
from cpython.exc cimport PyErr_CheckSignals
from cpython.pythread cimport PyThread_get_thread_ident
from libc.math cimport sqrt
from libc.stdint cimport uint64_t, uintptr_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from ..kernels.types cimport ROW_BYTES, Layer, mean_elements, padded
from .ops cimport Kernels
from .runtime cimport Pool, forks, pointer, sum_in_order, threads_for

cnp.import_array()

cdef enum:
    # With more padding in all its weights, a network stores some layers without it.
    PADDING_BYTES = 1 << 22


cdef double sum_of_squares(const void *values, Py_ssize_t itemsize, Py_ssize_t count) noexcept nogil:
    """Their sum of squares in double, where the square of a float32 does not vanish. `count` is a multiple of 8."""
    cdef double sums[8]         # so that an addition need not wait for the one before
    cdef double value
    cdef Py_ssize_t i, j
    memset(sums, 0, sizeof(sums))
    for i in range(0, count, 8):
        for j in range(8):
            value = (<const float *> values)[i + j] if itemsize == 4 else (<const double *> values)[i + j]
            sums[j] += value * value
    return sum_in_order(sums, 8)


cdef class Model:
    """A network's layers, parameter block and loss; which thread may change them.

    The block holds w0, b0, w1, b1, … with padded rows, so an optimizer is one loop over it. Where padding would take
    more than PADDING_BYTES, layers of which it is more than a fifth are stored without it.
    """

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
        self.predicting, self.evaluating, self.learning = Pool(), Pool(), Pool()
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
            if self.trainings and self.training_thread != caller and self.training_forks != forks:
                self.trainings = 0          # of a thread that the parent process has, and this one has not
                self.stepping = False
            mine = self.trainings == 0 or (self.training_thread == caller and not self.stepping)
            if mine:
                self.training_thread, self.training_forks = caller, forks
                self.trainings += 1
        if not mine and self.training_thread == caller:
            raise RuntimeError("a Python loss cannot train the network that it belongs to" if self.python_loss
                               else "a signal handler cannot train a network in the middle of its training")
        if not mine:
            raise RuntimeError("this network is being trained by another thread; wait until that is done, or train a "
                               "copy of it: copy.copy(network)")
        return 0

    cpdef int release(self) except -1:
        """Ends the training that `acquire` began."""
        with cython.critical_section(self):
            self.trainings -= 1
        return 0

    cpdef int lock(self, bint stepping=False) except -1:
        """Keeps other threads from what a training step changes, until `unlock`: for a visit of steps, or for a copy.

        It waits until others have unlocked, some 10 ms or one step. A thread may lock several times. Steps and other
        calls take turns: a training (`stepping`) that finds others waiting lets them go first, once; after that its
        steps are the next to lock.
        """
        cdef unsigned long caller = PyThread_get_thread_ident()
        cdef bint held = False, waits = False, yields = stepping
        try:
            while True:
                with cython.critical_section(self):
                    if self.lock_depth:
                        held = self.lock_owner == caller
                    else:
                        held = not (yields and self.waiting) if stepping else not self.steps_come_next
                    if stepping:
                        self.steps_come_next = not (held or yields)
                    if held:
                        self.lock_owner, self.lock_forks = caller, forks
                        self.lock_depth += 1
                    if waits != (not held and not stepping):
                        waits = not waits
                        self.waiting += 1 if waits else -1
                if held:
                    return 0
                if self.lock_depth and self.lock_forks != forks:
                    raise RuntimeError("this process was forked in the middle of a training step of this network, so "
                                       "its parameters are of several steps; fork between fits, or load a saved one")
                sleep(2e-4 if yields else 1e-4)     # who yields sleeps twice as long, so that others see their turn
                yields = False
                PyErr_CheckSignals()
        finally:
            if waits or (stepping and not held):
                with cython.critical_section(self):
                    self.waiting -= waits
                    self.steps_come_next = self.steps_come_next and not stepping

    cpdef int unlock(self) except -1:
        """Takes one `lock` back."""
        with cython.critical_section(self):
            self.lock_depth -= 1
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
        """The inverse of `packed`: values (n_parameters,) into a block."""
        cdef Py_ssize_t start = 0
        for pair in zip(*self.views(block)):
            for view in pair:
                view[...] = values[start:start + view.size].reshape(view.shape)
                start += view.size

    cdef const void *matrix(self, str name, array, Py_ssize_t rows, Py_ssize_t columns) except? NULL:
        """The memory of an array (rows, columns) as kernels read it; ValueError for any other.

        The check is here, where the memory is used: attributes of a subclass of ndarray may say anything, and other
        code may have changed the array since a check in Python.
        """
        if not (cnp.PyArray_Check(array) and cnp.PyArray_ISCARRAY_RO(array) and cnp.PyArray_NDIM(array) == 2
                and cnp.PyArray_TYPE(array) == self.type_number and cnp.PyArray_DIM(array, 0) == rows
                and cnp.PyArray_DIM(array, 1) == columns):
            raise ValueError(f"{name} has changed while it was being read: it must stay a C-contiguous array of "
                             f"{self.dtype} of shape ({rows}, {columns})")
        return cnp.PyArray_DATA(array)

    cpdef double divisor(self, double weight) noexcept:
        """What turns a loss summed over rows of this total weight into the mean."""
        return weight * mean_elements(&self.loss_facts, self.layers[self.n_layers - 1].n_out)

    cdef int step_threads(self, Py_ssize_t rows) except -1:
        """How many threads share a step, or a gradient, of so many rows."""
        return 1 if self.python_loss else threads_for(
            <double> STEP_OPERATIONS * rows * self.multiply_adds, self.most_threads)
