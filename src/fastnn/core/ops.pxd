# What ops.pyx offers to the modules above it.

from libc.stdint cimport uintptr_t

from ..kernels.types cimport KernelTable, LossFacts, Update
from .runtime cimport Pool, Scratch

cdef double weight_sum(weights, Py_ssize_t rows) except? -1


cdef class Operand:
    cdef str name
    cdef bint writable
    cdef Py_buffer view
    cdef bint held                              # whether `view` must be released
    cdef void *copied                           # [rows][stride]: the padded copy, or NULL
    cdef void *data                             # [rows][stride]: what kernels use, the copy or the caller's memory
    cdef Py_ssize_t rows, columns, stride       # stride: elements from row to row of `data`
    cdef Py_ssize_t row_bytes, column_bytes     # strides of the caller's memory

    cdef void copy(self, bint back) noexcept
    cdef void span(self, uintptr_t *start, uintptr_t *end) noexcept
    cdef bint overlaps(self, Operand other) noexcept


cdef class Operands:
    cdef str dtype
    cdef list operands

    cdef Operand input(self, str name, array, int ndim, Py_ssize_t rows, Py_ssize_t columns, bint padded_rows=*)
    cdef Operand output(self, str name, array, int ndim, Py_ssize_t rows, Py_ssize_t columns)
    cdef int check_apart(self, bint in_place=*) except -1
    cdef int write_back(self) except -1


cdef class Kernels:
    cdef const KernelTable *float32
    cdef const KernelTable *float64
    cdef readonly str instruction_set
    cdef readonly dict activations  # by name: what kernels/activations.pxd declares of each, as a dict with its code
    cdef readonly dict losses       # by name and output, "" for any: what kernels/losses.pxd declares, as a dict
    cdef readonly dict optimizers   # by name: what kernels/updates.pxd declares of each, as a dict with its code
    cdef Pool scratches             # the Scratch of the last product

    cdef const KernelTable *table(self, str dtype) noexcept
    cdef int activation_code(self, activation) except -1
    cdef LossFacts loss_facts(self, loss, str output) except *
    cdef Scratch take_scratch(self, Py_ssize_t size)
    cdef update(self, Operands arrays, Update *update, Operand p, Operand g, Operand first, Operand second)
