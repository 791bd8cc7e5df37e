# Layers of small networks: rows of at most 128 bytes, a few of them a batch.
#
# There a training step takes a tenth of a microsecond, and what the general path spends on
# finding tiles, packing and calls costs more than its arithmetic. Here a layer is a handful of
# vectors in registers, and the engine inlines it. Sums run in the order of gemm.pxd, so the
# bits are the same.
#
# What counts is how long one result waits for the next: a step depends on the weights of the
# step before. So nothing is stored in parts that are then loaded as a whole, which waits until
# the parts have reached the cache.

from .activations cimport activation_backward, activation_forward
from .gemm cimport padded_row, vectors_of
from .simd cimport LANES, VECTOR_BYTES, at_least, column, fill, first_lanes, fma, load_transposed, real, vec
from .types cimport IDENTITY, RELU, ROW_BYTES, Layer, Plan

cdef enum:
    BLOCK = ROW_BYTES // VECTOR_BYTES       # vectors in the narrowest padded row
    MOST_ROWS = 4
    ROWS = 4                                # rows that are summed side by side
    FEW_COLUMNS = 4                         # of w that are gathered one by one, not by transposing a square


cdef inline bint is_small(const Plan *plan, Py_ssize_t m) noexcept nogil:
    """Whether the functions below take every layer of this network, for m rows."""
    cdef int index
    if m > MOST_ROWS:
        return False
    for index in range(plan.n_layers):
        if plan.layers[index].stride > 2 * BLOCK * LANES:
            return False
    return True


cdef inline void forward_rows(
        int rows, int vectors, real *z, const real *x, Py_ssize_t ldx, const vec *w, const vec *b, bint rectify,
        Py_ssize_t k) noexcept nogil:
    """z := x @ w + b, or max(that, 0): `rows` rows of `vectors` vectors, both literals."""
    cdef vec total[32]
    cdef vec left
    cdef Py_ssize_t p
    cdef int i, v
    for i in range(rows):
        for v in range(vectors):
            total[i*vectors + v] = b[v]
    for p in range(k):
        for i in range(rows):
            left = fill(x[i*ldx + p])
            for v in range(vectors):
                total[i*vectors + v] = fma(left, w[v], total[i*vectors + v])
        w += vectors
    for i in range(rows * vectors):
        (<vec *> z)[i] = at_least(fill(0), total[i]) if rectify else total[i]


cdef inline void forward_block(
        int vectors, real *z, const real *x, Py_ssize_t ldx, const Layer *layer, bint rectify,
        Py_ssize_t m) noexcept nogil:
    cdef const vec *w = <const vec *> layer.w
    cdef const vec *b = <const vec *> layer.b
    cdef Py_ssize_t i = 0
    while i + ROWS <= m:
        forward_rows(ROWS, vectors, z + i*layer.stride, x + i*ldx, ldx, w, b, rectify, layer.n_in)
        i += ROWS
    while i < m:
        forward_rows(1, vectors, z + i*layer.stride, x + i*ldx, ldx, w, b, rectify, layer.n_in)
        i += 1


cdef inline void small_forward(
        const Layer *layer, real *z, real *y, int activation, const real *x, Py_ssize_t ldx,
        Py_ssize_t m) noexcept nogil:
    """dense_forward for one layer: z := x @ w + b; y := activation(z)."""
    cdef bint rectify = activation == RELU and z == y
    if layer.stride == BLOCK * LANES:
        forward_block(BLOCK, z, x, ldx, layer, rectify, m)
    else:
        forward_block(2 * BLOCK, z, x, ldx, layer, rectify, m)
    if not rectify and activation != IDENTITY:
        activation_forward(y, z, activation, m, layer.n_out)


cdef inline void input_gradient_rows(
        int rows, real *dx, const real *dz, const Layer *layer) noexcept nogil:
    """dx := dz @ w.T for `rows` rows, a literal. w has room for a square below its last row."""
    cdef const real *w = <const real *> layer.w
    cdef Py_ssize_t ld = layer.stride, ldx = padded_row(layer.n_in)
    cdef vec total[ROWS]
    cdef vec columns[16]
    cdef vec weights
    cdef Py_ssize_t p, j, block, square
    cdef int i
    for block in range(ldx // LANES):
        p = block * LANES
        for i in range(rows):
            total[i] = fill(0)
        if layer.n_out <= FEW_COLUMNS:
            for j in range(layer.n_out):
                weights = first_lanes(layer.n_in - p, column(w + p*ld + j, ld))
                for i in range(rows):
                    total[i] = fma(fill(dz[i*ld + j]), weights, total[i])
        else:
            for square in range(vectors_of(layer.n_out)):
                load_transposed(columns, w + p*ld + square*LANES, ld, layer.n_in - p)
                for j in range(min(LANES, layer.n_out - square*LANES)):
                    for i in range(rows):
                        total[i] = fma(fill(dz[i*ld + square*LANES + j]), columns[j], total[i])
        for i in range(rows):
            (<vec *> (dx + i*ldx))[block] = total[i]


cdef inline void small_input_gradient(
        real *dx, const real *dz, const real *y, const real *z, const Layer *layer, int activation,
        Py_ssize_t m) noexcept nogil:
    """dx := (dz @ w.T) * activation'(z), where y = activation(z) was this layer's input."""
    cdef Py_ssize_t ldx = padded_row(layer.n_in)
    cdef Py_ssize_t i = 0
    while i + ROWS <= m:
        input_gradient_rows(ROWS, dx + i*ldx, dz + i*layer.stride, layer)
        i += ROWS
    while i < m:
        input_gradient_rows(1, dx + i*ldx, dz + i*layer.stride, layer)
        i += 1
    activation_backward(dx, dx, y, z, activation, m, layer.n_in)


cdef inline void gradient_rows(
        int vectors, real *dw, real *db, const real *x, Py_ssize_t ldx, const real *dz, bint descend, real rate,
        Py_ssize_t m, Py_ssize_t k) noexcept nogil:
    """dw := x.T @ dz, db := sum of dz; with descend, each is w - rate * that instead."""
    cdef const vec *delta = <const vec *> dz
    cdef vec *out = <vec *> dw
    cdef vec total[8]
    cdef Py_ssize_t i, p
    cdef int v
    for p in range(k):
        for v in range(vectors):
            total[v] = fill(0)
        for i in range(m):
            for v in range(vectors):
                total[v] = fma(fill(x[i*ldx + p]), delta[i*vectors + v], total[v])
        for v in range(vectors):
            out[v] = fma(fill(-rate), total[v], out[v]) if descend else total[v]
        out += vectors
    out = <vec *> db
    for v in range(vectors):
        total[v] = fill(0)
        for i in range(m):
            total[v] = total[v] + delta[i*vectors + v]
        out[v] = fma(fill(-rate), total[v], out[v]) if descend else total[v]


cdef inline void small_weight_gradient(
        const Layer *layer, const real *x, Py_ssize_t ldx, bint descend, real rate, Py_ssize_t m) noexcept nogil:
    """dense_backward's dw and db, or dense_descend, for one layer."""
    cdef const real *dz = <const real *> layer.dz
    cdef real *dw = <real *> (layer.w if descend else layer.dw)
    cdef real *db = <real *> (layer.b if descend else layer.db)
    if layer.stride == BLOCK * LANES:
        gradient_rows(BLOCK, dw, db, x, ldx, dz, descend, rate, m, layer.n_in)
    else:
        gradient_rows(2 * BLOCK, dw, db, x, ldx, dz, descend, rate, m, layer.n_in)
