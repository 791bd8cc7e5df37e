# The training step and the loops around it: whole batches and epochs, without Python and
# without allocating. Kernels are called through the table, so that each stands once in a
# module; `_core.pyx` prepares the plan and calls `predict`, `evaluate`, `gradients`, `train`.

from libc.math cimport isfinite
from libc.string cimport memcpy, memset

from .activations cimport activation_backward, activation_forward
from .dense cimport dense_backward, dense_descend, dense_forward
from .gemm cimport padded_row
from .losses cimport loss_forward_backward
from .simd cimport INSTRUCTION_SET, LANES, TILE_ROWS, TILE_VECTORS, fill, fma, real, vec
from .small cimport is_small, small_forward, small_input_gradient, small_weight_gradient
from .types cimport ADAM, IDENTITY, PACKED_ROWS, Data, KernelTable, Layer, Plan, Update, mean_elements
from .updates cimport adam_update, sgd_update


cdef inline const real *gather_inputs(
        Plan *plan, const Data *data, Py_ssize_t first, Py_ssize_t m) noexcept nogil:
    """The inputs of rows first … first+m-1 in the data's order: where they stand, or copied together."""
    cdef Py_ssize_t k = plan.layers[0].n_in
    cdef const real *x = <const real *> data.x
    cdef real *batch = <real *> plan.x_batch
    cdef Py_ssize_t i
    if data.order == NULL:
        return x + first*k
    for i in range(m):
        memcpy(batch + i*k, x + data.order[first + i]*k, k * sizeof(real))
    return batch


cdef inline void gather_targets(Plan *plan, const Data *data, Py_ssize_t first, Py_ssize_t m) noexcept nogil:
    """t_batch := the targets of these rows, padded with zeros (labels become rows of 0 and 1); their weights."""
    cdef Py_ssize_t n = plan.layers[plan.n_layers - 1].n_out
    cdef Py_ssize_t ld = plan.layers[plan.n_layers - 1].stride
    cdef const real *t = <const real *> data.t
    cdef real *batch = <real *> plan.t_batch
    cdef Py_ssize_t i, row
    for i in range(m):
        row = data.order[first + i] if data.order != NULL else first + i
        memset(batch, 0, ld * sizeof(real))
        if data.labels != NULL:
            batch[data.labels[row]] = 1
        else:
            memcpy(batch, t + row*n, n * sizeof(real))
        if data.weights != NULL:
            plan.weight_batch[i] = data.weights[row]
        batch += ld


cdef inline const real *forward(
        Plan *plan, const real *x, Py_ssize_t m, bint activate_output, bint small) noexcept nogil:
    """z and y of every layer; without activate_output the last one stops at z. Returns the last y or z."""
    cdef Py_ssize_t ldx = plan.layers[0].n_in
    cdef Layer *layer
    cdef int index, activation
    cdef void *y
    for index in range(plan.n_layers):
        layer = &plan.layers[index]
        activation = layer.activation
        y = layer.y
        if index == plan.n_layers - 1 and not activate_output:
            activation = IDENTITY
            y = layer.z
        if small:
            small_forward(plan, layer, y, activation, x, ldx, m)
        else:
            plan.kernels.dense_forward(
                layer.z, y, x, layer.w, layer.b, activation, m, layer.n_out, layer.n_in, ldx, plan.scratch)
        x = <const real *> y
        ldx = layer.stride
    return x


cdef inline double output_loss(
        Plan *plan, const Data *data, Py_ssize_t first, Py_ssize_t m,
        double scale, double total) noexcept nogil:
    """total + the loss of the last layer, summed; its dz := scale * gradient."""
    cdef Layer *layer = &plan.layers[plan.n_layers - 1]
    gather_targets(plan, data, first, m)
    return plan.kernels.loss_forward_backward(
        layer.dz, layer.y, layer.z, plan.t_batch, plan.weight_batch if data.weights != NULL else NULL,
        scale, total, plan.loss, layer.activation, m, layer.n_out)


cdef inline void backward(
        Plan *plan, const real *x_batch, Py_ssize_t m, bint descend, double learning_rate,
        bint small) noexcept nogil:
    """From the last dz to every layer's gradient: stored in dw and db, or taken off w and b at once."""
    cdef Layer *layer
    cdef Layer *below
    cdef const void *x
    cdef Py_ssize_t ldx
    cdef int index
    for index in range(plan.n_layers - 1, -1, -1):
        layer = &plan.layers[index]
        if index == 0:
            x = x_batch
            ldx = layer.n_in
        else:
            below = &plan.layers[index - 1]
            x = below.y
            ldx = below.stride
            if small:                               # before w changes
                small_input_gradient(<real *> below.dz, layer, m)
            else:
                plan.kernels.dense_backward(
                    below.dz, NULL, NULL, layer.dz, NULL, layer.w, m, layer.n_out, layer.n_in, 0, plan.scratch)
            plan.kernels.activation_backward(
                below.dz, below.dz, below.y, below.z, below.activation, m, below.n_out)
        if small:
            small_weight_gradient(layer, <const real *> x, ldx, descend, <real> learning_rate, m)
        elif descend:
            plan.kernels.dense_descend(
                layer.w, layer.b, layer.dz, x, learning_rate, m, layer.n_out, layer.n_in, ldx, plan.scratch)
        else:
            plan.kernels.dense_backward(
                NULL, layer.dw, layer.db, layer.dz, x, NULL, m, layer.n_out, layer.n_in, ldx, plan.scratch)


cdef inline void predict(
        Plan *plan, void *out, const void *x, Py_ssize_t first_row, Py_ssize_t last_row,
        Py_ssize_t batch) noexcept nogil:
    """out [rows][n] := the outputs for x [rows][k] from first_row to last_row-1, `batch` rows at a time."""
    cdef Py_ssize_t k = plan.layers[0].n_in
    cdef Py_ssize_t n = plan.layers[plan.n_layers - 1].n_out
    cdef Py_ssize_t ld = plan.layers[plan.n_layers - 1].stride
    cdef real *destination = <real *> out
    cdef const real *y
    cdef Py_ssize_t first = first_row, i, m
    while first < last_row:
        m = min(batch, last_row - first)
        y = forward(plan, <const real *> x + first*k, m, True, is_small(plan, m))
        for i in range(m):
            memcpy(destination + (first + i)*n, y + i*ld, n * sizeof(real))
        first += m


cdef inline double evaluate(
        Plan *plan, const Data *data, Py_ssize_t first_row, Py_ssize_t last_row, Py_ssize_t batch,
        double total) noexcept nogil:
    """total + the loss summed over rows first_row … last_row-1, `batch` rows at a time."""
    cdef Py_ssize_t first = first_row, m
    while first < last_row:
        m = min(batch, last_row - first)
        forward(plan, gather_inputs(plan, data, first, m), m, False, False)
        total = output_loss(plan, data, first, m, 0, total)
        first += m
    return total


cdef inline double gradients(Plan *plan, const Data *data, double scale) noexcept nogil:
    """The loss summed over all rows; dw and db := scale * its gradient."""
    cdef const real *x = gather_inputs(plan, data, 0, data.rows)
    cdef double total
    forward(plan, x, data.rows, False, False)
    total = output_loss(plan, data, 0, data.rows, scale, 0)
    backward(plan, x, data.rows, False, 0, False)
    return total


cdef inline void update_block(Plan *plan, Update *update) noexcept nogil:
    """The optimizer's update of all parameters from the stored gradients."""
    if update.optimizer == ADAM:
        plan.kernels.adam_update(
            plan.parameters, plan.gradients, update.first, update.second, update.learning_rate,
            update.beta1, update.beta2, update.epsilon, update.step, plan.block_size)
    else:
        plan.kernels.sgd_update(
            plan.parameters, plan.gradients, update.first, update.learning_rate,
            update.momentum, update.weight_decay, update.nesterov, plan.block_size)


cdef inline Py_ssize_t train(
        Plan *plan, const Data *data, Update *update, Py_ssize_t batch,
        Py_ssize_t first_row, Py_ssize_t last_row, double *total) noexcept nogil:
    """One step for each batch in first_row … last_row-1; adds their losses to total.

    Returns last_row, or the first row of the batch whose loss was not finite: that step's
    update is not done.
    """
    cdef Py_ssize_t n = plan.layers[plan.n_layers - 1].n_out
    cdef bint plain = update.optimizer != ADAM and update.first == NULL and update.weight_decay == 0
    cdef bint descend
    cdef Py_ssize_t first = first_row, m
    cdef const real *x
    cdef bint small = is_small(plan, batch)
    cdef Py_ssize_t elements = mean_elements(plan.loss, n)
    while first < last_row:
        m = min(batch, last_row - first)
        x = gather_inputs(plan, data, first, m)
        forward(plan, x, m, False, small)
        total[0] = output_loss(plan, data, first, m, 1.0 / (m * elements), total[0])
        if not isfinite(total[0]):
            return first
        descend = plain and m <= PACKED_ROWS
        backward(plan, x, m, descend, update.learning_rate, small)
        update.step += 1
        if not descend:
            update_block(plan, update)
        first += m
    return last_row


cdef inline bint all_finite(const void *values, Py_ssize_t count) noexcept nogil:
    """Whether no value is NaN or infinite: 0 * value is 0 for the others."""
    cdef const real *value = <const real *> values
    cdef vec zeros = fill(0)
    cdef real zero = 0
    cdef Py_ssize_t i = 0
    cdef int lane
    while i + LANES <= count:
        zeros = fma(fill(0), (<const vec *> (value + i))[0], zeros)
        i += LANES
    while i < count:
        zero += 0 * value[i]
        i += 1
    for lane in range(LANES):
        zero += (<const real *> &zeros)[lane]
    return zero == 0


cdef inline double multiply_add_chains(long long rounds) noexcept nogil:
    """As many independent chains of `rounds` fused multiply-adds as a tile has sums, from registers alone.

    The benchmarks' ceiling: rounds * TILE_ROWS * TILE_VECTORS * LANES * 2 operations.
    """
    cdef vec chain[24]
    cdef vec factor = fill(<real> 0.999)
    cdef vec term = fill(<real> 0.001)
    cdef long long _
    cdef int i, j
    for i in range(TILE_ROWS):
        for j in range(TILE_VECTORS):
            chain[i*TILE_VECTORS + j] = fill(<real> (i*TILE_VECTORS + j))     # equal ones would be merged
    for _ in range(rounds):
        for i in range(TILE_ROWS):
            for j in range(TILE_VECTORS):
                chain[i*TILE_VECTORS + j] = fma(chain[i*TILE_VECTORS + j], factor, term)
    for i in range(TILE_ROWS):
        for j in range(TILE_VECTORS):
            term = term + chain[i*TILE_VECTORS + j]
    return (<real *> &term)[0]


cdef inline KernelTable kernel_table() noexcept nogil:
    cdef KernelTable table
    table.instruction_set = INSTRUCTION_SET
    table.lanes = LANES
    table.chains = TILE_ROWS * TILE_VECTORS
    table.real_size = sizeof(real)
    table.dense_forward = dense_forward
    table.dense_backward = dense_backward
    table.dense_descend = dense_descend
    table.activation_forward = activation_forward
    table.activation_backward = activation_backward
    table.loss_forward_backward = loss_forward_backward
    table.sgd_update = sgd_update
    table.adam_update = adam_update
    table.predict = predict
    table.evaluate = evaluate
    table.gradients = gradients
    table.train = train
    table.all_finite = all_finite
    table.multiply_add_chains = multiply_add_chains
    return table
