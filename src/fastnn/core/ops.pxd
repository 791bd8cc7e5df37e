# What ops.pyx offers to the modules above it.

from libc.stdint cimport uintptr_t

from ..kernels.types cimport KernelTable, Update
from .runtime cimport Pool, Scratch

cdef dict ACTIVATIONS, LOSSES, OPTIMIZERS      # {name: the kernels' code}

cdef int loss_code(str name, str output) except -1
cpdef double weight_sum(weights, Py_ssize_t rows) except? -1


cdef class Operand:
    cdef str name
    cdef bint writable
    cdef Py_buffer view
    cdef bint held
    cdef void *copied
    cdef void *data
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
    cdef Pool scratches             # of the last product

    cdef const KernelTable *table(self, str dtype) noexcept
    cdef Scratch take_scratch(self, Py_ssize_t size)
    cdef update(self, Operands arrays, Update *update, Operand p, Operand g, Operand first, Operand second)
