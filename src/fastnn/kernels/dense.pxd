# One layer: dense_forward and dense_backward are the matrix product with the strides and
# the finish that each direction needs. Called through the kernel table, by the engine and
# by `fastnn.ops`.

from .activations cimport activation_forward
from .gemm cimport DESCEND, RECTIFY, STORE, padded_row, product, transpose, vectors_of, worth_packing
from .simd cimport LANES, fill, fma, real, vec
from .types cimport IDENTITY, RELU, packed_bytes


cdef inline void dense_forward(
        void *z, void *y, const void *x, const void *w, const void *b, int activation,
        Py_ssize_t m, Py_ssize_t n, Py_ssize_t k, Py_ssize_t ldx, void *scratch) noexcept nogil:
    """z := x @ w + b;  y := activation(z).

    z may be y: then only y is kept. ReLU is taken while the sums are in registers.
    """
    cdef Py_ssize_t ld = padded_row(n)
    cdef real *z_rows = <real *> z
    cdef real *y_rows = <real *> y
    if activation == RELU and z == y:
        product(y_rows, ld, <const real *> b, <const real *> x, ldx, 1, <const real *> w, ld, False,
                m, k, n, RECTIFY, 0, <real *> scratch)
        return
    product(z_rows, ld, <const real *> b, <const real *> x, ldx, 1, <const real *> w, ld, False,
            m, k, n, STORE, 0, <real *> scratch)
    if activation != IDENTITY or z != y:
        activation_forward(y, z, activation, m, n)


cdef inline void bias_gradient(
        real *db, const real *dz, Py_ssize_t m, Py_ssize_t n, int finish, real rate) noexcept nogil:
    """db := finish(sum of dz over its rows)."""
    cdef const vec *row
    cdef vec *out = <vec *> db
    cdef Py_ssize_t ld = padded_row(n)
    cdef Py_ssize_t i, j
    cdef vec total
    for j in range(vectors_of(n)):
        total = fill(0)
        for i in range(m):
            row = <const vec *> (dz + i*ld)
            total = total + row[j]
        out[j] = total if finish == STORE else fma(fill(-rate), total, out[j])


cdef inline void weight_gradient(
        real *dw, const real *dz, const real *x, Py_ssize_t m, Py_ssize_t n, Py_ssize_t k, Py_ssize_t ldx,
        int finish, real rate, real *scratch) noexcept nogil:
    """dw := finish(x.T @ dz). Where dz is packed, x is transposed first.

    A tile reads columns of x. In a large x they are far apart, and often a multiple of 4096
    bytes: then a tile's rows push each other out of the caches.
    """
    cdef Py_ssize_t ld = padded_row(n), ldt = padded_row(m)
    cdef Py_ssize_t whole = k // LANES * LANES
    cdef Py_ssize_t i, p
    cdef real *transposed
    if not worth_packing(k, m, n):
        product(dw, ld, NULL, x, 1, ldx, dz, ld, False, k, m, n, finish, rate, scratch)
        return
    transposed = <real *> (<char *> scratch + packed_bytes(m, n, k, sizeof(real)))
    transpose(transposed, ldt, x, ldx, whole, ldt, m)
    for p in range(whole, k):           # x has no padding to read
        for i in range(m):
            transposed[p*ldt + i] = x[i*ldx + p]
    product(dw, ld, NULL, transposed, ldt, 1, dz, ld, False, k, m, n, finish, rate, scratch)


cdef inline void dense_backward(
        void *dx, void *dw, void *db, const void *dz, const void *x, const void *w,
        Py_ssize_t m, Py_ssize_t n, Py_ssize_t k, Py_ssize_t ldx, void *scratch) noexcept nogil:
    """dx := dz @ w.T;  dw := x.T @ dz;  db := sum of dz over its rows. NULL skips an output."""
    cdef Py_ssize_t ld = padded_row(n)
    if dx != NULL:
        product(<real *> dx, padded_row(k), NULL, <const real *> dz, ld, 1, <const real *> w, ld, True,
                m, n, k, STORE, 0, <real *> scratch)
    if dw != NULL:
        weight_gradient(<real *> dw, <const real *> dz, <const real *> x, m, n, k, ldx, STORE, 0, <real *> scratch)
    if db != NULL:
        bias_gradient(<real *> db, <const real *> dz, m, n, STORE, 0)


cdef inline void dense_descend(
        void *w, void *b, const void *dz, const void *x, double learning_rate,
        Py_ssize_t m, Py_ssize_t n, Py_ssize_t k, Py_ssize_t ldx, void *scratch) noexcept nogil:
    """w := w - learning_rate * x.T @ dz;  b := b - learning_rate * sum of dz, for m <= PACKED_ROWS. NULL skips b.

    The bits of dense_backward followed by sgd_update, without storing the gradient: 10 to
    12 % of a step.
    """
    weight_gradient(<real *> w, <const real *> dz, <const real *> x, m, n, k, ldx,
                    DESCEND, <real> learning_rate, <real *> scratch)
    if b != NULL:
        bias_gradient(<real *> b, <const real *> dz, m, n, DESCEND, <real> learning_rate)
