# The body of every kernel module: its table of functions, as a capsule for `core/ops.pyx`.

from cpython.pycapsule cimport PyCapsule_New

from .table cimport kernel_table
from .types cimport KernelTable

cdef KernelTable _table = kernel_table()

table = PyCapsule_New(&_table, b"fastnn.KernelTable", NULL)
