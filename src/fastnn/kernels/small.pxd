# Layers of small networks: rows of at most 128 bytes, a few of them a batch.
#
# There a training step takes a tenth of a microsecond, and what the general path spends on
# finding tiles, packing and calls costs more than its arithmetic: 2,080 instructions a step
# of a 1-1-1 network. Here a layer is a handful of vectors in registers, and the engine
# inlines it. Sums run in the order of gemm.pxd, so the bits are the same.

from .gemm cimport padded_row, vectors_of
from .simd cimport LANES, VECTOR_BYTES, at_least, fill, fma, load_transposed, real, vec
from .types cimport IDENTITY, RELU, ROW_BYTES, Layer, Plan

cdef enum:
    BLOCK = ROW_BYTES // VECTOR_BYTES       # vectors in the narrowest padded row
    MOST_ROWS = 4


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
        int vectors, real *z, const real *x, Py_ssize_t ldx, const real *w, const real *b, bint rectify,
        Py_ssize_t m, Py_ssize_t k) noexcept nogil:
    """z := x @ w + b, or max(that, 0), in rows of `vectors` vectors, a literal."""
    cdef vec total[8]
    cdef const vec *weights
    cdef Py_ssize_t i, p
    cdef int v
    for i in range(m):
        weights = <const vec *> w
        for v in range(vectors):
            total[v] = (<const vec *> b)[v]
        for p in range(k):
            for v in range(vectors):
                total[v] = fma(fill(x[i*ldx + p]), weights[v], total[v])
            weights += vectors
        for v in range(vectors):
            (<vec *> z)[i*vectors + v] = at_least(fill(0), total[v]) if rectify else total[v]


cdef inline void small_forward(
        const Plan *plan, const Layer *layer, void *y, int activation, const real *x, Py_ssize_t ldx,
        Py_ssize_t m) noexcept nogil:
    """dense_forward for one layer: z := x @ w + b; y := activation(z)."""
    cdef real *z = <real *> layer.z
    cdef const real *w = <const real *> layer.w
    cdef const real *b = <const real *> layer.b
    cdef bint rectify = activation == RELU and layer.z == y
    if layer.stride == BLOCK * LANES:
        forward_rows(BLOCK, z, x, ldx, w, b, rectify, m, layer.n_in)
    else:
        forward_rows(2 * BLOCK, z, x, ldx, w, b, rectify, m, layer.n_in)
    if not rectify and activation != IDENTITY:
        plan.kernels.activation_forward(y, z, activation, m, layer.n_out)


cdef inline void small_input_gradient(real *dx, const Layer *layer, Py_ssize_t m) noexcept nogil:
    """dx := dz @ w.T, by squares of w transposed in registers; one output needs no square."""
    cdef const real *dz = <const real *> layer.dz
    cdef const real *w = <const real *> layer.w
    cdef Py_ssize_t ld = layer.stride, ldx = padded_row(layer.n_in)
    cdef vec total[MOST_ROWS]
    cdef vec columns[16]
    cdef Py_ssize_t i, p, j, block, square
    if layer.n_out == 1:
        for i in range(m):
            for p in range(layer.n_in):
                dx[i*ldx + p] = dz[i*ld] * w[p*ld] + 0      # as fma from 0: no negative zero
            for p in range(layer.n_in, ldx):
                dx[i*ldx + p] = 0
        return
    for block in range(ldx // LANES):
        p = block * LANES
        for i in range(m):
            total[i] = fill(0)
        for square in range(vectors_of(layer.n_out)):
            load_transposed(columns, w + p*ld + square*LANES, ld, layer.n_in - p)
            for j in range(min(LANES, layer.n_out - square*LANES)):
                for i in range(m):
                    total[i] = fma(fill(dz[i*ld + square*LANES + j]), columns[j], total[i])
        for i in range(m):
            (<vec *> (dx + i*ldx))[block] = total[i]


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
