# The products of a layer where each lane of a vector is a network: one tile for all three, with the strides that each
# needs. Nothing is packed, transposed or padded. Sums run in the order of gemm.pxd, so the bits are the same.
#
# In all arrays here lanes come last: [m][n] means vecs.

from .gemm cimport share
from .simd cimport LANE_TILE, fill, fma, real, vec
from .types cimport Layer


cdef struct Product:
    # What a tile needs to know of c := finish(start + a @ b) beside its place. Strides are in elements.
    Py_ssize_t a_row, a_column, b_row, b_column, c_row
    Py_ssize_t k
    bint descend                # c := c - rate * sum, else c := sum
    vec rate                    # with its sign


cdef inline void tile(
        int rows, int columns, bint shared, vec *c, const vec *start, const void *a, const vec *b,
        const Product *product) noexcept nogil:
    """c[i][j] := finish(start[j] + sum over p of a[i][p] * b[p][j]), all sums in registers; start may be NULL: zeros.

    rows, columns and shared are literals. With shared, a's elements are reals, the same for all networks.
    """
    cdef vec total[16]
    cdef vec row[4]
    cdef vec left
    cdef const real *numbers = <const real *> a
    cdef const vec *vectors = <const vec *> a
    cdef Py_ssize_t a_row = product.a_row, b_column = product.b_column, _
    cdef int i, j
    for j in range(columns):
        row[j] = start[j] if start != NULL else fill(0)
    for i in range(rows):
        for j in range(columns):
            total[i*columns + j] = row[j]
    for _ in range(product.k):
        for j in range(columns):
            row[j] = b[j*b_column]
        for i in range(rows):
            left = fill(numbers[i*a_row]) if shared else vectors[i*a_row]
            for j in range(columns):
                total[i*columns + j] = fma(left, row[j], total[i*columns + j])
        numbers += product.a_column
        vectors += product.a_column
        b += product.b_row
    if product.descend:
        for i in range(rows):
            for j in range(columns):
                total[i*columns + j] = fma(product.rate, total[i*columns + j], c[i*product.c_row + j])
    for i in range(rows):
        for j in range(columns):
            c[i*product.c_row + j] = total[i*columns + j]


cdef inline void column_of_tiles(
        int columns, bint shared, vec *c, const vec *start, const void *a, const vec *b, Py_ssize_t m,
        const Product *product) noexcept nogil:
    """m rows by `columns` columns, a literal: one tile below the other."""
    cdef Py_ssize_t rows, itemsize = sizeof(real) if shared else sizeof(vec)
    while m > 0:
        rows = share(m, LANE_TILE)
        if rows == 1:
            tile(1, columns, shared, c, start, a, b, product)
        elif rows == 2:
            tile(2, columns, shared, c, start, a, b, product)
        elif rows == 3:
            tile(3, columns, shared, c, start, a, b, product)
        elif LANE_TILE >= 4:
            tile(4, columns, shared, c, start, a, b, product)
        a = <const char *> a + rows * product.a_row * itemsize
        c += rows * product.c_row
        m -= rows


cdef inline void tiles(
        bint shared, vec *c, const vec *start, const void *a, const vec *b, Py_ssize_t m, Py_ssize_t n,
        const Product *product) noexcept nogil:
    """c [m][n] := finish(start + a @ b); start [n] or NULL. shared is a literal."""
    cdef Py_ssize_t columns
    while n > 0:
        columns = share(n, LANE_TILE)
        if columns == 1:
            column_of_tiles(1, shared, c, start, a, b, m, product)
        elif columns == 2:
            column_of_tiles(2, shared, c, start, a, b, m, product)
        elif columns == 3:
            column_of_tiles(3, shared, c, start, a, b, m, product)
        elif LANE_TILE >= 4:
            column_of_tiles(4, shared, c, start, a, b, m, product)
        c += columns
        start = start + columns if start != NULL else NULL
        b += columns * product.b_column
        n -= columns


cdef inline void lanes_layer_forward(
        void *z, const void *x, bint shared, const Layer *layer, Py_ssize_t m) noexcept nogil:
    """z := x @ w + b. It stands in a module once, and is called through the kernel table."""
    cdef Product product
    product.a_row, product.a_column = layer.n_in, 1
    product.b_row, product.b_column = layer.n_out, 1
    product.c_row, product.k, product.descend = layer.n_out, layer.n_in, False
    if shared:
        tiles(True, <vec *> z, <const vec *> layer.b, x, <const vec *> layer.w, m, layer.n_out, &product)
    else:
        tiles(False, <vec *> z, <const vec *> layer.b, x, <const vec *> layer.w, m, layer.n_out, &product)


cdef inline void input_gradient(vec *dx, const Layer *layer, Py_ssize_t m) noexcept nogil:
    """dx := dz @ w.T"""
    cdef Product product
    product.a_row, product.a_column = layer.n_out, 1
    product.b_row, product.b_column = 1, layer.n_out
    product.c_row, product.k, product.descend = layer.n_in, layer.n_out, False
    tiles(False, dx, NULL, layer.dz, <const vec *> layer.w, m, layer.n_in, &product)


cdef inline void weight_gradient(
        vec *dw, vec *db, const void *x, bint shared, const Layer *layer, Py_ssize_t m, bint descend,
        vec rate) noexcept nogil:
    """dw := x.T @ dz, db := sum of dz over its rows; with descend both are subtracted, times the rate."""
    cdef Product product
    cdef const vec *dz = <const vec *> layer.dz
    cdef vec total
    cdef Py_ssize_t i, j
    product.a_row, product.a_column = 1, layer.n_in
    product.b_row, product.b_column = layer.n_out, 1
    product.c_row, product.k, product.descend, product.rate = layer.n_out, m, descend, rate
    if shared:
        tiles(True, dw, NULL, x, dz, layer.n_in, layer.n_out, &product)
    else:
        tiles(False, dw, NULL, x, dz, layer.n_in, layer.n_out, &product)
    for j in range(layer.n_out):
        total = fill(0)
        for i in range(m):
            total = total + dz[i*layer.n_out + j]
        db[j] = fma(rate, total, db[j]) if descend else total
