# Layers of small networks: rows of at most 256 bytes, a few of them a batch.
#
# There a training step takes a tenth of a microsecond, and what the general path spends on
# finding tiles, packing and calls costs more than its arithmetic. Here a layer is a handful of
# vectors in registers, and the engine inlines it. Sums run in the order of gemm.pxd, so the
# bits are the same.
#
# What counts is how long one result waits for the next: a step depends on the weights of the
# step before. So nothing is stored in parts that are then loaded as a whole, which waits until
# the parts have reached the cache.

from libc.math cimport isfinite

from .activations cimport IDENTITY, RELU, SOFTMAX, activated, activation_backward, activation_forward, slope_of
from .gemm cimport padded_row, vectors_of
from .losses cimport element_of
from .simd cimport (LANES, TILE_ROWS, TILE_VECTORS, VECTOR_BYTES, column, fill, first_lane, first_lanes, fma, fma_one,
                    lane, load_transposed, maximum, real, store_column, vec)
from .types cimport (ROW_BYTES, Data, Job, Layer, Plan, Update, mean_elements)
from .updates cimport adjusts, begin_step, is_plain

cdef enum:
    BLOCK = ROW_BYTES // VECTOR_BYTES       # vectors in the narrowest padded row
    MOST_BLOCKS = 4
    MOST_ROWS = 8                           # of layers of one block; with wider ones the general path wins earlier:
    MOST_ROWS_OF_WIDE = 4
    ROWS = 4                                # rows that are summed side by side
    MOST_LINKS = 16                         # layers of a chain
    FEW_COLUMNS = 4                         # of w that are gathered one by one, not by transposing a square


cdef inline bint is_bare(const Plan *plan, const Data *data, const Update *update) noexcept nogil:
    """Whether a training step is one of those that `small_train` and `chain_train` know: rows of equal weight, nothing
    dropped, smoothed, penalised or clipped, a loss of our own."""
    cdef int index
    for index in range(plan.n_layers):
        if plan.layers[index].dropout != 0:
            return False
    return data.weights == NULL and data.smoothing == 0 and not adjusts(update) and plan.function == NULL


cdef inline bint is_small(const Plan *plan, Py_ssize_t m) noexcept nogil:
    """Whether the functions below take every layer of this network, for m rows."""
    cdef Py_ssize_t widest = 0
    cdef int index
    if plan.unpadded:
        return False
    for index in range(plan.n_layers):
        widest = max(widest, plan.layers[index].stride)
    return (m <= MOST_ROWS_OF_WIDE and widest <= MOST_BLOCKS * BLOCK * LANES) or (
        m <= MOST_ROWS and widest == BLOCK * LANES)


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
    for i in range(rows):
        for v in range(vectors):
            (<vec *> z)[i*vectors + v] = maximum(fill(0), total[i*vectors + v]) if rectify else total[i*vectors + v]


cdef inline void forward_block(
        int vectors, real *z, const real *x, Py_ssize_t ldx, const Layer *layer, bint rectify,
        Py_ssize_t m) noexcept nogil:
    cdef const vec *w = <const vec *> layer.w
    cdef const vec *b = <const vec *> layer.b
    cdef Py_ssize_t i = 0
    while ROWS * vectors <= TILE_ROWS * TILE_VECTORS and i + ROWS <= m:     # as many sums as there are registers
        forward_rows(ROWS, vectors, z + i*layer.stride, x + i*ldx, ldx, w, b, rectify, layer.n_in)
        i += ROWS
    if i + 2 <= m:
        forward_rows(2, vectors, z + i*layer.stride, x + i*ldx, ldx, w, b, rectify, layer.n_in)
        i += 2
    while i < m:
        forward_rows(1, vectors, z + i*layer.stride, x + i*ldx, ldx, w, b, rectify, layer.n_in)
        i += 1


cdef inline void finish_row(vec z, vec *z_row, vec *y_row, int activation) noexcept nogil:
    """Stores z where it is wanted, and y := activation(z), both in one vector."""
    if y_row != z_row:
        z_row[0] = z
    y_row[0] = activated(z, activation)


cdef inline void forward_single(
        vec *z, vec *y, int activation, const real *x, Py_ssize_t ldx, const Layer *layer, Py_ssize_t m) noexcept nogil:
    """y := activation(x @ w + b) for one output: a column of numbers."""
    cdef const real *w = <const real *> layer.w
    cdef Py_ssize_t i, v, p
    cdef real total
    for i in range(m):
        total = (<const real *> layer.b)[0]
        for p in range(layer.n_in):
            total = fma_one(x[i*ldx + p], w[p*layer.stride], total)
        finish_row(first_lane(total), z, y, activation)
        for v in range(1, BLOCK):       # a product may read no further than n_out, a slope reads rows
            z[v] = y[v] = fill(0)
        z += BLOCK
        y += BLOCK


cdef inline void forward_one_row(
        vec *z, vec *y, int activation, const real *x, const vec *w, const vec *b, Py_ssize_t k) noexcept nogil:
    """y := activation(x @ w + b) for one row of the narrowest kind: nothing waits in memory in between."""
    cdef vec total[BLOCK]
    cdef vec left
    cdef Py_ssize_t p
    cdef int v
    for v in range(BLOCK):
        total[v] = b[v]
    for p in range(k):
        left = fill(x[p])
        for v in range(BLOCK):
            total[v] = fma(left, w[v], total[v])
        w += BLOCK
    for v in range(BLOCK):
        finish_row(total[v], z + v, y + v, activation)


cdef inline void small_forward(
        const Layer *layer, real *z, real *y, int activation, const real *x, Py_ssize_t ldx,
        Py_ssize_t m) noexcept nogil:
    """dense_forward for one layer: z := x @ w + b; y := activation(z)."""
    cdef bint rectify = activation == RELU and z == y
    if activation != SOFTMAX and layer.n_out == 1:
        forward_single(<vec *> z, <vec *> y, activation, x, ldx, layer, m)
        return
    if activation != SOFTMAX and m == 1 and layer.stride == BLOCK * LANES:
        forward_one_row(<vec *> z, <vec *> y, activation, x, <const vec *> layer.w, <const vec *> layer.b, layer.n_in)
        return
    if layer.stride == BLOCK * LANES:
        forward_block(BLOCK, z, x, ldx, layer, rectify, m)
    elif layer.stride == 2 * BLOCK * LANES:
        forward_block(2 * BLOCK, z, x, ldx, layer, rectify, m)
    elif layer.stride == 3 * BLOCK * LANES:
        forward_block(3 * BLOCK, z, x, ldx, layer, rectify, m)
    else:
        forward_block(4 * BLOCK, z, x, ldx, layer, rectify, m)
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


cdef inline void weight_gradient_rows(
        int rows, int vectors, vec *dw, vec *db, const real *x, Py_ssize_t ldx, const vec *dz, bint descend,
        real rate, Py_ssize_t k) noexcept nogil:
    """dw := x.T @ dz, db := sum of dz; with descend, each is w - rate * that instead.

    rows of `vectors` vectors, both literals.
    """
    cdef vec total[16]
    cdef vec step = fill(-rate)
    cdef vec left
    cdef Py_ssize_t p
    cdef int i, v
    for p in range(k):
        for v in range(vectors):
            total[v] = fill(0)
        for i in range(rows):
            left = fill(x[i*ldx + p])
            for v in range(vectors):
                total[v] = fma(left, dz[i*vectors + v], total[v])
        for v in range(vectors):
            dw[v] = fma(step, total[v], dw[v]) if descend else total[v]
        dw += vectors
    for v in range(vectors):
        total[v] = fill(0)
        for i in range(rows):
            total[v] = total[v] + dz[i*vectors + v]
        db[v] = fma(step, total[v], db[v]) if descend else total[v]


cdef inline void weight_gradient_block(
        int vectors, vec *dw, vec *db, const real *x, Py_ssize_t ldx, const vec *dz, bint descend,
        real rate, Py_ssize_t m, Py_ssize_t k) noexcept nogil:
    if m == 1:
        weight_gradient_rows(1, vectors, dw, db, x, ldx, dz, descend, rate, k)
    elif m == 4:
        weight_gradient_rows(4, vectors, dw, db, x, ldx, dz, descend, rate, k)
    else:
        weight_gradient_rows(m, vectors, dw, db, x, ldx, dz, descend, rate, k)


cdef inline void small_weight_gradient(
        const Layer *layer, const real *x, Py_ssize_t ldx, bint descend, real rate, Py_ssize_t m) noexcept nogil:
    """dense_backward's dw and db, or dense_descend, for one layer."""
    cdef const vec *dz = <const vec *> layer.dz
    cdef vec *dw = <vec *> (layer.w if descend else layer.dw)
    cdef vec *db = <vec *> (layer.b if descend else layer.db)
    if layer.n_out == 1:
        single_output_gradients(layer, NULL, x, ldx, descend, rate, m)
    elif layer.stride == BLOCK * LANES:
        weight_gradient_block(BLOCK, dw, db, x, ldx, dz, descend, rate, m, layer.n_in)
    elif layer.stride == 2 * BLOCK * LANES:
        weight_gradient_block(2 * BLOCK, dw, db, x, ldx, dz, descend, rate, m, layer.n_in)
    elif layer.stride == 3 * BLOCK * LANES:
        weight_gradient_block(3 * BLOCK, dw, db, x, ldx, dz, descend, rate, m, layer.n_in)
    else:
        weight_gradient_block(4 * BLOCK, dw, db, x, ldx, dz, descend, rate, m, layer.n_in)


cdef inline void single_output_gradients(
        const Layer *layer, const Layer *below, const real *x, Py_ssize_t ldx, bint descend, real rate,
        Py_ssize_t m) noexcept nogil:
    """below.dz := (dz @ w.T) * activation'(z of below), and dw and db (or w and b less rate times these), for
    one output: w is a column. Without a layer below (NULL) x has no padding.
    """
    cdef real *w = <real *> layer.w
    cdef real *target = <real *> (layer.w if descend else layer.dw)
    cdef real *bias = <real *> (layer.b if descend else layer.db)
    cdef const real *dz = <const real *> layer.dz
    cdef Py_ssize_t ld = layer.stride
    cdef Py_ssize_t p, i, left, block
    cdef vec weights, gradient, delta, y
    cdef real total
    if below != NULL:
        for block in range(padded_row(layer.n_in) // LANES):
            p = block * LANES
            left = layer.n_in - p
            weights = first_lanes(left, column(w + p*ld, ld))
            gradient = fill(0)
            for i in range(m):
                y = (<const vec *> (x + i*ldx + p))[0]
                delta = fill(dz[i*ld])
                gradient = fma(y, delta, gradient)
                delta = fma(delta, weights, fill(0))
                if below.activation != IDENTITY:
                    delta = delta * slope_of((<const vec *> below.z)[i*ldx // LANES + block], y, below.activation)
                (<vec *> below.dz)[i*ldx // LANES + block] = delta
            if descend:
                gradient = fma(fill(-rate), gradient, weights)
            if left >= LANES:
                store_column(target + p*ld, ld, gradient)
            else:
                for i in range(left):
                    target[(p + i)*ld] = (<const real *> &gradient)[i]
    else:
        for p in range(layer.n_in):
            total = 0
            for i in range(m):
                total = fma_one(x[i*ldx + p], dz[i*ld], total)
            target[p*ld] = fma_one(-rate, total, target[p*ld]) if descend else total
    total = 0
    for i in range(m):
        total += dz[i*ld]
    bias[0] = fma_one(-rate, total, bias[0]) if descend else total


cdef inline void small_backward(
        const Layer *layer, const Layer *below, bint descend, real rate, Py_ssize_t m) noexcept nogil:
    """below.dz := (dz @ w.T) * activation'(z of below), and this layer's dw and db, or dense_descend."""
    cdef real *dx = <real *> below.dz
    cdef const real *dz = <const real *> layer.dz
    cdef const real *x = <const real *> below.y
    cdef Py_ssize_t i = 0
    if layer.n_out == 1:
        single_output_gradients(layer, below, x, below.stride, descend, rate, m)
        return
    while i + ROWS <= m:
        input_gradient_rows(ROWS, dx + i*below.stride, dz + i*layer.stride, layer)
        i += ROWS
    if i + 2 <= m:
        input_gradient_rows(2, dx + i*below.stride, dz + i*layer.stride, layer)
        i += 2
    if i < m:
        input_gradient_rows(1, dx + i*below.stride, dz + i*layer.stride, layer)
    small_weight_gradient(layer, x, below.stride, descend, rate, m)
    activation_backward(dx, dx, x, below.z, below.activation, m, layer.n_in)


cdef inline void target_row(vec *t, const Data *data, Py_ssize_t row, Py_ssize_t n, Py_ssize_t vectors) noexcept nogil:
    """t := the targets of one row, padded with zeros, and stored as whole vectors where that is possible."""
    cdef const real *source = <const real *> data.t
    cdef Py_ssize_t v
    if data.labels != NULL:
        for v in range(vectors):
            t[v] = (first_lanes(data.labels[row] + 1 - v*LANES, fill(1))
                    - first_lanes(data.labels[row] - v*LANES, fill(1)))
        return
    for v in range(vectors):
        t[v] = first_lane(source[row*n]) if v == 0 else fill(0)
    for v in range(1, n):
        (<real *> t)[v] = source[row*n + v]


cdef inline const real *small_gather(const Plan *plan, const Data *data, Py_ssize_t first, Py_ssize_t m) noexcept nogil:
    """Makes rows first … first+m-1 of the data's order the batch; returns its inputs."""
    cdef const Layer *output = &plan.layers[plan.n_layers - 1]
    cdef Py_ssize_t k = plan.layers[0].n_in, vectors = output.stride // LANES
    cdef const real *x = <const real *> data.x
    cdef real *x_batch = <real *> plan.x_batch
    cdef Py_ssize_t i, p, row
    for i in range(m):
        row = data.order[first + i] if data.order != NULL else first + i
        target_row(<vec *> plan.t_batch + i*vectors, data, row, output.n_out, vectors)
        if data.order != NULL:
            for p in range(k):
                x_batch[i*k + p] = x[row*k + p]
    return x_batch if data.order != NULL else x + first*k


cdef inline void small_train(Job *job) noexcept nogil:
    """The engine's `train`, for one worker."""
    cdef const Plan *plan = job.plan
    cdef Update *update = job.update
    cdef const Layer *layers = plan.layers
    cdef const Layer *output = &layers[plan.n_layers - 1]
    cdef Py_ssize_t elements = mean_elements(&plan.loss, output.n_out), block = 0
    cdef bint descend = is_plain(update)
    cdef const real *x
    cdef const real *batch
    cdef const Layer *layer
    cdef Py_ssize_t ldx, i, m
    cdef int index
    for index in range(plan.n_layers):
        block += (layers[index].n_in + 1) * layers[index].stride
    while job.first < job.last:
        m = min(job.batch, job.last - job.first)
        batch = x = small_gather(plan, &job.data, job.first, m)
        ldx = layers[0].n_in
        for index in range(plan.n_layers):
            layer = &layers[index]
            if index == plan.n_layers - 1:
                small_forward(layer, <real *> layer.z, <real *> layer.z, IDENTITY, x, ldx, m)
            else:
                small_forward(layer, <real *> layer.z, <real *> layer.y, layer.activation, x, ldx, m)
            x = <const real *> layer.y
            ldx = layer.stride
        plan.kernels.loss_forward_backward(
            output.dz, plan.losses, output.z, plan.t_batch, NULL, 1.0 / (m * elements),
            plan.loss.code, plan.loss_parameter, output.activation, m, output.n_out)
        for i in range(m):
            job.total += plan.losses[i]
        if not isfinite(job.total):
            return
        begin_step(update)
        for index in range(plan.n_layers - 1, 0, -1):
            small_backward(&layers[index], &layers[index - 1], descend, <real> update.rate, m)
        small_weight_gradient(layers, batch, layers[0].n_in, descend, <real> update.rate, m)
        if not descend:
            plan.kernels.update_parameters(
                plan.parameters, plan.gradients, update.first, update.second, update, block)
        job.first += m


cdef inline bint is_chain(const Plan *plan, const Update *update, Py_ssize_t m) noexcept nogil:
    """Whether `chain_train` takes this network: one neuron a layer, one row a batch, plain SGD."""
    cdef int index
    if m != 1 or plan.n_layers > MOST_LINKS or plan.loss.per_row or not is_plain(update):
        return False
    for index in range(plan.n_layers):
        if plan.layers[index].n_in != 1 or plan.layers[index].n_out != 1:
            return False
    return True


cdef inline void chain_train(Job *job) noexcept nogil:
    """The engine's `train` for a chain of neurons, w x + b each, as every lesson on backpropagation draws it.

    A step is some 25 operations, each waiting for the one before, and the next step waits for
    them all. So nothing on that way goes through memory: values pass from neuron to neuron in a
    register, and the first neuron's parameters, which the next step needs at once, stay in two.
    """
    cdef const Plan *plan = job.plan
    cdef const Data *data = &job.data
    cdef Update *update = job.update
    cdef const Layer *layer
    cdef int last = plan.n_layers - 1, index
    cdef real *w
    cdef real *b
    cdef vec first_w = first_lane((<real *> plan.layers[0].w)[0])
    cdef vec first_b = first_lane((<real *> plan.layers[0].b)[0])
    cdef vec inputs[MOST_LINKS]
    cdef vec sums[MOST_LINKS]
    cdef vec z, y, value, delta, rate, old
    cdef Py_ssize_t row, start = job.first
    rate = first_lane(-<real> update.learning_rate)     # of every step, unless each has its own
    while job.first < job.last:
        row = data.order[job.first] if data.order != NULL else job.first
        inputs[0] = y = first_lane((<const real *> data.x)[row])
        for index in range(last + 1):
            layer = &plan.layers[index]
            if index == 0:
                z = fma(y, first_w, first_b)
            else:
                z = fma(y, first_lane((<real *> layer.w)[0]), first_lane((<real *> layer.b)[0]))
            sums[index] = z
            if index < last:
                inputs[index + 1] = y = activated(z, layer.activation)
        value = element_of(plan, layer.activation, z, first_lane((<const real *> data.t)[row]), &delta)
        job.total += lane(value)
        if not isfinite(job.total):
            break
        if update.rates != NULL:
            begin_step(update)
            rate = first_lane(-<real> update.rate)
        for index in range(last, 0, -1):
            layer = &plan.layers[index]
            w = <real *> layer.w
            b = <real *> layer.b
            old = first_lane(w[0])
            z = inputs[index]
            w[0] = lane(fma(rate, fma(z, delta, fill(0)), old))
            b[0] = lane(fma(rate, delta, first_lane(b[0])))
            delta = fma(delta, old, fill(0))
            layer = &plan.layers[index - 1]
            if layer.activation != IDENTITY:
                delta = delta * slope_of(sums[index - 1], z, layer.activation)
        first_w = fma(rate, fma(inputs[0], delta, fill(0)), first_w)
        first_b = fma(rate, delta, first_b)
        job.first += 1
    (<real *> plan.layers[0].w)[0] = lane(first_w)
    (<real *> plan.layers[0].b)[0] = lane(first_b)
    if update.rates == NULL:
        update.step += job.first - start
