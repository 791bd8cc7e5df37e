# One layer: dense_forward, dense_backward and dense_descend are the matrix product of gemm.pxd with the
# strides and the finish that each needs. The engine and core/ops.pyx call them through the kernel table.
# Nothing here knows networks.

from .activations cimport IDENTITY, RELU, activation_forward
from .gemm cimport DESCEND, RECTIFY, STORE, padded_row, product, transpose, vectors_of, worth_packing
from .simd cimport LANES, fill, first_lane, first_lanes, fma, fma_one, real, vec
from .types cimport packed_bytes

cdef enum:
    PADDED_AT_ONCE = 48         # rows of an unpadded gradient that are computed in padded ones, and then copied
    MOST_REALS = 64             # of the longest row that may be unpadded: longer ones are less than a fifth padding


cdef inline void column_rows(
        int rows, real *z, const real *x, Py_ssize_t ldx, const real *w, real b, Py_ssize_t ld,
        Py_ssize_t k) noexcept nogil:
    """z := x @ w + b for one output without padding: `rows` rows, a literal, whose sums proceed side by side."""
    cdef real total[8]
    cdef Py_ssize_t p
    cdef int i, j
    for i in range(rows):
        total[i] = b
    for p in range(k):
        for i in range(rows):
            total[i] = fma_one(x[i*ldx + p], w[p], total[i])
    for i in range(rows):
        for j in range(ld // LANES):
            (<vec *> (z + i*ld))[j] = first_lane(total[i]) if j == 0 else fill(0)


cdef inline void column_forward(
        real *z, const real *x, Py_ssize_t ldx, const real *w, real b, Py_ssize_t m, Py_ssize_t k) noexcept nogil:
    """dense_forward without an activation, for one output whose weights have no padding to be multiplied by."""
    cdef Py_ssize_t ld = padded_row(1)
    while m >= 8:
        column_rows(8, z, x, ldx, w, b, ld, k)
        z, x, m = z + 8*ld, x + 8*ldx, m - 8
    if m >= 4:
        column_rows(4, z, x, ldx, w, b, ld, k)
        z, x, m = z + 4*ld, x + 4*ldx, m - 4
    if m >= 2:
        column_rows(2, z, x, ldx, w, b, ld, k)
        z, x, m = z + 2*ld, x + 2*ldx, m - 2
    if m:
        column_rows(1, z, x, ldx, w, b, ld, k)


cdef inline void dense_forward(
        void *z, void *y, const void *x, const void *w, const void *b, int activation,
        Py_ssize_t m, Py_ssize_t n, Py_ssize_t k, Py_ssize_t ldx, Py_ssize_t ldw, void *scratch) noexcept nogil:
    """z := x @ w + b;  y := activation(z).

    z may be y: then only y is kept. ReLU is taken while the sums are in registers.
    """
    cdef Py_ssize_t ld = padded_row(n)
    cdef real *z_rows = <real *> z
    cdef real *y_rows = <real *> y
    if ldw == 1:
        column_forward(z_rows, <const real *> x, ldx, <const real *> w, (<const real *> b)[0], m, k)
        if activation != IDENTITY or z != y:
            activation_forward(y, z, activation, m, n)
        return
    if activation == RELU and z == y:
        product(y_rows, ld, <const real *> b, <const real *> x, ldx, 1, <const real *> w, ldw, False,
                m, k, n, RECTIFY, 0, <real *> scratch)
        return
    product(z_rows, ld, <const real *> b, <const real *> x, ldx, 1, <const real *> w, ldw, False,
            m, k, n, STORE, 0, <real *> scratch)
    if activation != IDENTITY or z != y:
        activation_forward(y, z, activation, m, n)


cdef inline void bias_gradient(
        real *db, const real *dz, Py_ssize_t m, Py_ssize_t n, int finish, real rate) noexcept nogil:
    """db := sum of dz over its rows, or with DESCEND db - rate * that."""
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


cdef inline void pad(real *rows, const real *w, Py_ssize_t n, Py_ssize_t count) noexcept nogil:
    """rows := w, `count` rows of n reals, with zeros behind each. Another ROW_BYTES can be read behind them."""
    cdef Py_ssize_t i, j
    for i in range(count):
        for j in range(padded_row(n) // LANES):
            (<vec *> rows)[j] = first_lanes(n - j*LANES, (<const vec *> (w + i*n))[j])
        rows += padded_row(n)


cdef inline void unpad(real *w, const real *rows, Py_ssize_t n, Py_ssize_t count) noexcept nogil:
    """w := rows without what stands behind each."""
    cdef Py_ssize_t i, j
    for i in range(count):
        for j in range(n):
            w[i*n + j] = rows[i*padded_row(n) + j]


cdef inline void unpadded_weight_gradient(
        real *dw, const real *dz, const real *x, Py_ssize_t m, Py_ssize_t n, Py_ssize_t k, Py_ssize_t ldx,
        int finish, real rate, real *scratch) noexcept nogil:
    """weight_gradient for rows of w without padding: some rows at a time are computed in padded ones, and copied."""
    cdef real rows[PADDED_AT_ONCE * MOST_REALS]
    cdef Py_ssize_t p = 0, count
    while p < k:
        count = min(<Py_ssize_t> PADDED_AT_ONCE, k - p)
        if finish == DESCEND:
            pad(rows, dw + p*n, n, count)
        product(rows, padded_row(n), NULL, x + p, 1, ldx, dz, padded_row(n), False, count, m, n, finish, rate, scratch)
        unpad(dw + p*n, rows, n, count)
        p += count


cdef inline void weight_gradient(
        real *dw, const real *dz, const real *x, Py_ssize_t m, Py_ssize_t n, Py_ssize_t k, Py_ssize_t ldx,
        Py_ssize_t ldw, int finish, real rate, real *scratch) noexcept nogil:
    """dw := finish(x.T @ dz). Where dz is packed, x is transposed first.

    A tile reads columns of x. In a large x they are far apart, and often a multiple of 4096
    bytes: then a tile's rows push each other out of the caches.
    """
    cdef Py_ssize_t ld = padded_row(n), ldt = padded_row(m)
    cdef Py_ssize_t whole = k // LANES * LANES
    cdef Py_ssize_t i, p
    cdef real *transposed
    if ldw < ld:
        unpadded_weight_gradient(dw, dz, x, m, n, k, ldx, finish, rate, scratch)
        return
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
        Py_ssize_t m, Py_ssize_t n, Py_ssize_t k, Py_ssize_t ldx, Py_ssize_t ldw, void *scratch) noexcept nogil:
    """dx := dz @ w.T;  dw := x.T @ dz;  db := sum of dz over its rows. NULL skips an output."""
    cdef Py_ssize_t ld = padded_row(n)
    if dx != NULL:
        product(<real *> dx, padded_row(k), NULL, <const real *> dz, ld, 1, <const real *> w, ldw, True,
                m, n, k, STORE, 0, <real *> scratch)
    if dw != NULL:
        weight_gradient(<real *> dw, <const real *> dz, <const real *> x, m, n, k, ldx, ldw, STORE, 0,
                        <real *> scratch)
    if db != NULL:
        bias_gradient(<real *> db, <const real *> dz, m, n, STORE, 0)


cdef inline void dense_descend(
        void *w, void *b, const void *dz, const void *x, double learning_rate,
        Py_ssize_t m, Py_ssize_t n, Py_ssize_t k, Py_ssize_t ldx, Py_ssize_t ldw, void *scratch) noexcept nogil:
    """w := w - learning_rate * x.T @ dz;  b := b - learning_rate * sum of dz, for m <= PACKED_ROWS. NULL skips b.

    The bits of dense_backward followed by sgd_update. That the gradient is not stored saves 10 to
    12 % of a step.
    """
    weight_gradient(<real *> w, <const real *> dz, <const real *> x, m, n, k, ldx, ldw,
                    DESCEND, <real> learning_rate, <real *> scratch)
    if b != NULL:
        bias_gradient(<real *> b, <const real *> dz, m, n, DESCEND, <real> learning_rate)
