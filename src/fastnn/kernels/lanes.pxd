# Networks as lanes: up to LANES networks of one shape go through the layers together, each in a lane of its own.
#
# A small network alone waits for its own results, and fills no vectors. Here every number of a layer is a vec with that
# number of each network, so all arithmetic is whole vectors, and nothing is packed, transposed or padded. Every lane
# does the operations of gemm.pxd, losses.pxd and updates.pxd in their order: its bits are those of its network alone.
#
# Between calls each network's numbers stand for themselves (`Member`); a call loads a group's into lanes, and stores
# them when it is done. A lane that has no rows left in an epoch, or whose loss is not finite, is frozen: what a step
# changes in it is put back. In all arrays here lanes come last: [m][n] means vecs.

from libc.math cimport isfinite
from libc.stdint cimport uint64_t
from libc.string cimport memset

from .activations cimport dropped, has_rows
from .lane_products cimport input_gradient, weight_gradient
from .lane_rows cimport (Lanes, back_to_lane, begin_group, begin_learning, end_group, gather_inputs, gather_targets,
                         gather_weights, number_rows, one_lane, order_group)
from .random cimport dropout_key
from .simd cimport (LANES, add_as_doubles, doubles, fill, fma, random_of_keys, real, select_less, split_keys, vec,
                    vec_bits)
from .types cimport Group, Layer, Member, Plan, Update
from .updates cimport (ROW_LANES, adjusts, begin_alike, begin_step, factor_for_norm, is_plain, penalise_and_clip,
                       update_lanes)


cdef inline void activate(const Lanes *lanes, const Layer *layer, Py_ssize_t m) noexcept nogil:
    """y := activation(z); one that takes whole rows is given each network's."""
    cdef int lane
    if not has_rows(layer.activation):
        lanes.plan.kernels.activation_forward(layer.y, layer.z, layer.activation, 1, m * layer.n_out * LANES)
        return
    for lane in range(lanes.count):
        one_lane(lanes.row, layer.stride, <const vec *> layer.z, lane, m, layer.n_out)
        lanes.plan.kernels.activation_forward(lanes.row, lanes.row, layer.activation, m, layer.n_out)
        back_to_lane(<vec *> layer.y, lane, lanes.row, layer.stride, m, layer.n_out)


cdef inline bint drops(const Lanes *lanes, int index) noexcept nogil:
    """Whether training leaves out some of a layer's outputs."""
    return lanes.members.dropout != NULL and lanes.members.dropout[index] != 0


cdef inline void drop_out_lanes(
        vec *out, const vec *values, const Lanes *lanes, int index, Py_ssize_t m) noexcept nogil:
    """`drop_out` of a layer's rows, each lane with the share, the key and the counters of its network alone."""
    cdef const Layer *layer = &lanes.layers[index]
    cdef uint64_t keys[16]
    cdef vec bound, scale
    cdef vec_bits lower, upper
    cdef Py_ssize_t i, j
    cdef Member *member
    cdef int lane
    for lane in range(LANES):
        member = &lanes.members[min(<Py_ssize_t> lane, lanes.count - 1)]
        keys[lane] = dropout_key(member.seed, member.step, index)
        (<real *> &bound)[lane] = <real> (1 + member.dropout[index])
        (<real *> &scale)[lane] = <real> (1 / (1 - member.dropout[index]))
    split_keys(keys, &lower, &upper)
    for i in range(m):
        for j in range(layer.n_out):
            out[i*layer.n_out + j] = dropped(random_of_keys(lower, upper, i*layer.stride + j), bound, scale,
                                             values[i*layer.n_out + j])


cdef inline const vec *lanes_forward(
        const Lanes *lanes, const void *x, Py_ssize_t m, bint activate_output, bint dropping) noexcept nogil:
    """z and y of every layer; without activate_output the last one stops at z. Returns the last y or z."""
    cdef const Layer *layer
    cdef bint shared = lanes.crowd.shared
    cdef int index
    for index in range(lanes.plan.n_layers):
        layer = &lanes.layers[index]
        lanes.plan.kernels.lanes_layer_forward(layer.z, x, shared, layer, m)
        shared = False
        if index == lanes.plan.n_layers - 1 and not activate_output:
            return <const vec *> layer.z
        activate(lanes, layer, m)
        x = layer.y
        if dropping and drops(lanes, index):
            drop_out_lanes(<vec *> layer.passed, <const vec *> x, lanes, index, m)
            x = layer.passed
    return <const vec *> x


cdef inline void output_losses(
        const Lanes *lanes, const double *weights, const double *scales, Py_ssize_t m) noexcept nogil:
    """lanes.losses, and the last layer's dz."""
    cdef const Plan *plan = lanes.plan
    cdef const Layer *layer = &lanes.layers[plan.n_layers - 1]
    cdef Py_ssize_t stride = layer.stride, n = layer.n_out, i
    cdef real *z = lanes.row
    cdef real *t = z + lanes.crowd.job.batch * stride
    cdef real *dz = t + lanes.crowd.job.batch * stride
    cdef double *row_weights = <double *> (dz + lanes.crowd.job.batch * stride)
    cdef double *losses = row_weights + lanes.crowd.job.batch
    cdef int lane
    if plan.kernels.loss_lanes(layer.dz, lanes.losses, layer.z, lanes.t, weights, scales, plan, layer.activation, m, n):
        return
    for lane in range(LANES):
        one_lane(z, stride, <const vec *> layer.z, lane, m, n)
        one_lane(t, stride, lanes.t, lane, m, n)
        for i in range(m):
            row_weights[i] = weights[i*LANES + lane] if weights != NULL else 1
        plan.kernels.loss_forward_backward(dz, losses, z, t, row_weights if weights != NULL else NULL, scales[lane],
                                           plan.loss.code, plan.loss_parameter, layer.activation, m, n)
        back_to_lane(<vec *> layer.dz, lane, dz, stride, m, n)
        for i in range(m):
            lanes.losses[i*LANES + lane] = losses[i]


cdef inline bint count_losses(Lanes *lanes, Py_ssize_t m) noexcept nogil:
    """Adds a batch's losses to every lane's total; freezes lanes whose total is not finite. Returns whether any lane
    is frozen."""
    cdef doubles *totals = <doubles *> lanes.totals
    cdef bint finite = True
    cdef Py_ssize_t i
    cdef int lane
    if lanes.full:
        for i in range(m):
            totals[0] = totals[0] + (<const doubles *> (lanes.losses + i*LANES))[0]
        for lane in range(LANES):
            finite = finite and isfinite(lanes.totals[lane])
        if finite:
            return False
        lanes.full, lanes.whole = False, 0
    else:
        for lane in range(LANES):
            for i in range(lanes.rows[lane]):
                lanes.totals[lane] += lanes.losses[i*LANES + lane]
    return freeze_failed(lanes)


cdef inline bint freeze_failed(Lanes *lanes) noexcept nogil:
    """Freezes lanes whose total is not finite; returns whether any lane is frozen."""
    cdef bint frozen = False
    cdef int lane
    for lane in range(LANES):
        if lanes.rows[lane] > 0 and not isfinite(lanes.totals[lane]):
            lanes.rows[lane] = lanes.whole = 0
            if lane < lanes.count:
                lanes.members[lane].failed = True
        frozen = frozen or lanes.rows[lane] == 0
    return frozen


cdef inline bint next_rows(Lanes *lanes, Py_ssize_t position, Py_ssize_t *m) noexcept nogil:
    """How many rows each lane has in the batch that begins here; m := the most. Returns whether any has one."""
    cdef Py_ssize_t batch = lanes.crowd.job.batch
    cdef Member *member
    cdef int lane
    lanes.full = position + batch <= lanes.whole
    m[0] = batch if lanes.full else 0
    for lane in range(LANES):
        lanes.rows[lane] = batch
        if not lanes.full:
            member = &lanes.members[min(<Py_ssize_t> lane, lanes.count - 1)]
            lanes.rows[lane] = 0 if member.failed else max(
                <Py_ssize_t> 0, min(batch, lanes.data[lane].rows - position))
            m[0] = max(m[0], lanes.rows[lane])
    return m[0] > 0


cdef inline void begin_updates(Lanes *lanes) noexcept nogil:
    """Counts the step of every lane that is not frozen. What depends on the number of the step alone is computed once
    where all have the same."""
    cdef int lane
    lanes.alike = lanes.alike and lanes.full
    if lanes.alike:
        begin_step(lanes.updates)
        for lane in range(1, LANES):
            begin_alike(&lanes.updates[lane], lanes.updates)
        return
    for lane in range(LANES):
        if lanes.rows[lane] > 0:
            begin_step(&lanes.updates[lane])


cdef inline void keep_or_put_back(Lanes *lanes, bint back) noexcept nogil:
    """Copies parameters and state before a step; with `back` frozen lanes get theirs again."""
    cdef vec *blocks[3]
    cdef vec moves
    cdef Py_ssize_t q
    cdef int block, lane
    blocks[0], blocks[1], blocks[2] = lanes.parameters, lanes.first, lanes.second
    for lane in range(LANES):
        (<real *> &moves)[lane] = lanes.rows[lane] > 0
    for block in range(3):
        if blocks[block] == NULL:
            continue
        for q in range(lanes.n_parameters):
            if back:
                blocks[block][q] = select_less(fill(0), moves, blocks[block][q],
                                               lanes.kept[block*lanes.n_parameters + q])
            else:
                lanes.kept[block*lanes.n_parameters + q] = blocks[block][q]


cdef inline void learn_layers(Lanes *lanes, const void *x, Py_ssize_t m, bint descend, vec rate) noexcept nogil:
    """From the last layer's dz to every layer's gradient; with descend to its parameters after the step."""
    cdef const Plan *plan = lanes.plan
    cdef const Layer *layer
    cdef const Layer *below
    cdef const void *inputs
    cdef int index
    for index in range(plan.n_layers - 1, -1, -1):
        layer = &lanes.layers[index]
        inputs = x
        if index > 0:
            below = &lanes.layers[index - 1]
            inputs = below.passed if drops(lanes, index - 1) else below.y
            input_gradient(<vec *> below.dz, layer, m)
            if drops(lanes, index - 1):
                drop_out_lanes(<vec *> below.dz, <const vec *> below.dz, lanes, index - 1, m)
            plan.kernels.activation_backward(below.dz, below.dz, below.y, below.z, below.activation, 1,
                                             m * below.n_out * LANES)
        weight_gradient(<vec *> (layer.w if descend else layer.dw), <vec *> (layer.b if descend else layer.db), inputs,
                        index == 0 and lanes.crowd.shared, layer, m, descend, rate)


cdef inline void adjust_lanes(Lanes *lanes) noexcept nogil:
    """Penalties of weights, and the bound of each element."""
    cdef const Layer *layer
    cdef const Update *update = lanes.updates
    cdef int index
    for index in range(lanes.plan.n_layers):
        layer = &lanes.layers[index]
        penalise_and_clip(<vec *> layer.dw, <const vec *> layer.w, update, True, update.l1 != 0 or update.l2 != 0,
                          layer.n_in * layer.n_out)
        penalise_and_clip(<vec *> layer.db, <const vec *> layer.b, update, True, False, layer.n_out)


cdef inline void add_squares(double *sums, const vec *g, Py_ssize_t rows, Py_ssize_t n) noexcept nogil:
    """sums [ROW_LANES][LANES] := these and the squares of g [rows][n], added up in the order of sum_squares: a row's
    columns are dealt to ROW_LANES sums, those of even and of odd blocks apart."""
    cdef vec even, odd
    cdef Py_ssize_t first, j, _
    for _ in range(rows):
        for first in range(min(<Py_ssize_t> ROW_LANES, n)):
            even = odd = fill(0)
            j = first
            while j < n:
                even = fma(g[j], g[j], even)
                if j + ROW_LANES < n:
                    odd = fma(g[j + ROW_LANES], g[j + ROW_LANES], odd)
                j += 2 * ROW_LANES
            add_as_doubles(sums + first*LANES, even + odd)
        g += n


cdef inline void clip_norms(Lanes *lanes) noexcept nogil:
    """Holds each network's gradient to its clip_norm; see clipping_factor."""
    cdef double sums[16 * ROW_LANES]
    cdef const Layer *layer
    cdef vec factors
    cdef double total
    cdef Py_ssize_t i
    cdef int index, lane
    memset(sums, 0, sizeof(sums))
    for index in range(lanes.plan.n_layers):
        layer = &lanes.layers[index]
        add_squares(sums, <const vec *> layer.dw, layer.n_in, layer.n_out)
        add_squares(sums, <const vec *> layer.db, 1, layer.n_out)
    for lane in range(LANES):
        total = 0
        for i in range(ROW_LANES):
            total += sums[i*LANES + lane]
        (<real *> &factors)[lane] = <real> factor_for_norm(total, lanes.updates[lane].clip_norm)
    for i in range(lanes.n_parameters):
        lanes.gradients[i] = factors * lanes.gradients[i]


cdef inline void step_lanes(Lanes *lanes, Py_ssize_t position, Py_ssize_t m) noexcept nogil:
    """One training step of every lane that has rows in the batch which begins here."""
    cdef double scales[16]
    cdef vec rate
    cdef bint weighted, frozen, descend
    cdef const void *x
    cdef int lane
    number_rows(lanes, position, m)
    weighted = gather_weights(lanes, scales, m)
    x = gather_inputs(lanes, position, m)
    gather_targets(lanes, m)
    lanes_forward(lanes, x, m, False, True)
    output_losses(lanes, lanes.weights if weighted else NULL, scales, m)
    frozen = count_losses(lanes, m)
    if frozen:
        keep_or_put_back(lanes, False)
    begin_updates(lanes)
    descend = is_plain(lanes.updates)
    for lane in range(LANES):
        (<real *> &rate)[lane] = -<real> lanes.updates[lane].rate
    learn_layers(lanes, x, m, descend, rate)
    if not descend:
        if adjusts(lanes.updates):
            adjust_lanes(lanes)
            if lanes.updates.clip_norm != 0:
                clip_norms(lanes)
        update_lanes(lanes.parameters, lanes.gradients, lanes.first, lanes.second, lanes.updates, lanes.n_parameters)
    if frozen:
        keep_or_put_back(lanes, True)
    for lane in range(lanes.count):
        lanes.members[lane].seen += lanes.rows[lane]
        lanes.members[lane].step += lanes.rows[lane] > 0


cdef inline void train_group(Lanes *lanes, const Group *group) noexcept nogil:
    """The steps of a group for rows job.first … job.last-1 of each member's order."""
    cdef Py_ssize_t position = lanes.crowd.job.first, m
    begin_group(lanes, group)
    begin_learning(lanes)
    order_group(lanes, lanes.crowd.shuffled)
    while position < lanes.crowd.job.last and next_rows(lanes, position, &m):
        step_lanes(lanes, position, m)
        position += lanes.crowd.job.batch
    end_group(lanes)


cdef inline void evaluate_group(Lanes *lanes, const Group *group) noexcept nogil:
    """losses := those of each member's rows, in its order."""
    cdef double scales[16]
    cdef Py_ssize_t position = lanes.crowd.job.first, m, i
    cdef bint weighted
    cdef int lane
    begin_group(lanes, group)
    order_group(lanes, False)
    while position < lanes.crowd.job.last and next_rows(lanes, position, &m):
        number_rows(lanes, position, m)
        weighted = gather_weights(lanes, scales, m)
        for lane in range(LANES):
            scales[lane] = 0
        gather_targets(lanes, m)
        lanes_forward(lanes, gather_inputs(lanes, position, m), m, False, False)
        output_losses(lanes, lanes.weights if weighted else NULL, scales, m)
        for lane in range(lanes.count):
            for i in range(lanes.rows[lane]):
                lanes.crowd.losses[group.first + lane][position + i] = lanes.losses[i*LANES + lane]
        position += lanes.crowd.job.batch


cdef inline void predict_group(Lanes *lanes, const Group *group) noexcept nogil:
    """job.out := the outputs for each member's rows."""
    cdef Py_ssize_t position = lanes.crowd.job.first, m, n = lanes.plan.layers[lanes.plan.n_layers - 1].n_out
    cdef const vec *y
    cdef real *out
    cdef int lane
    begin_group(lanes, group)
    order_group(lanes, False)
    while position < lanes.crowd.job.last and next_rows(lanes, position, &m):
        number_rows(lanes, position, m)
        y = lanes_forward(lanes, gather_inputs(lanes, position, m), m, True, False)
        for lane in range(lanes.count):
            out = <real *> lanes.crowd.job.out + ((group.first + lane)*lanes.data[lane].rows + position)*n
            one_lane(out, n, y, lane, lanes.rows[lane], n)
        position += lanes.crowd.job.batch
