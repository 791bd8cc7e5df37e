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
from libc.string cimport memcmp, memcpy, memset

from .activations cimport IDENTITY, dropped, has_rows
from .gemm cimport DESCEND, STORE, share
from .losses cimport loss_lanes
from .random cimport dropout_key, shuffle
from .simd cimport (LANE_TILE, LANES, fill, fma, random_of_keys, real, select_less, split_keys, transpose_square,
                    vec, vec_bits)
from .types cimport (ROW_BYTES, Constants, Crowd, Data, Group, Job, Layer, Member, Plan, Update, mean_elements, padded)
from .updates cimport (adjusts, begin_alike, begin_step, is_plain, penalise_and_clip, update_lanes)

cdef struct Lanes:
    # The memory of a group on its way through the layers.
    const Crowd *crowd
    const Plan *plan
    Member *members
    Py_ssize_t count            # of members; the last stands in the other lanes, too
    Layer *layers               # the plan's; their pointers are to vecs without padding
    Py_ssize_t n_parameters
    vec *parameters             # [n_parameters]; first and second are NULL where the optimizer has no such state
    vec *first
    vec *second
    vec *gradients
    vec *kept                   # the three, before a step in which some lanes are frozen
    void *x                     # [batch][k]: vecs, or reals where the rows are shared
    vec *t                      # [batch][n]
    double *weights             # [batch][LANES]
    double *losses              # [batch][LANES]
    real *row                   # [batch][padded n], twice: one network's z and targets, where a loss takes whole rows
    Py_ssize_t *orders          # [LANES][most_rows]
    Py_ssize_t *numbers         # [batch][LANES]: which row each lane takes
    Data data[16]               # each lane's rows
    Py_ssize_t rows[16]         # of the batch, for each lane; 0: it is frozen
    Update updates[16]


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
    for i in range(rows):
        for j in range(columns):
            total[i*columns + j] = start[j] if start != NULL else fill(0)
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
    for i in range(rows):
        for j in range(columns):
            if product.descend:
                total[i*columns + j] = fma(product.rate, total[i*columns + j], c[i*product.c_row + j])
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


cdef inline void layer_forward(
        vec *z, const void *x, bint shared, const Layer *layer, Py_ssize_t m) noexcept nogil:
    """z := x @ w + b"""
    cdef Product product
    product.a_row, product.a_column = layer.n_in, 1
    product.b_row, product.b_column = layer.n_out, 1
    product.c_row, product.k, product.descend = layer.n_out, layer.n_in, False
    if shared:
        tiles(True, z, <const vec *> layer.b, x, <const vec *> layer.w, m, layer.n_out, &product)
    else:
        tiles(False, z, <const vec *> layer.b, x, <const vec *> layer.w, m, layer.n_out, &product)


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


cdef inline void load_lanes(vec *lanes, const real *const *sources, Py_ssize_t n) noexcept nogil:
    """lanes[q] := sources[0][q], sources[1][q] …, for q < n. Beyond the n numbers of each source ROW_BYTES are read."""
    cdef vec square[16]
    cdef Py_ssize_t q = 0
    cdef int i
    while q < n:
        for i in range(LANES):
            square[i] = (<const vec *> (sources[i] + q))[0]
        transpose_square(square)
        for i in range(min(<Py_ssize_t> LANES, n - q)):
            lanes[q + i] = square[i]
        q += LANES


cdef inline void store_lanes(real *const *targets, const vec *lanes, Py_ssize_t n, Py_ssize_t count) noexcept nogil:
    """The other way round, for the first `count` lanes."""
    cdef vec square[16]
    cdef Py_ssize_t q = 0
    cdef int i
    while q < n:
        for i in range(LANES):
            square[i] = lanes[q + i] if q + i < n else fill(0)
        transpose_square(square)
        for i in range(count):
            memcpy(targets[i] + q, &square[i], min(<Py_ssize_t> LANES, n - q) * sizeof(real))
        q += LANES


cdef inline void gather_columns(vec *lanes, const real *const *sources, Py_ssize_t n) noexcept nogil:
    """load_lanes for rows of other people's memory, beyond which nothing can be read."""
    cdef Py_ssize_t whole = n // LANES * LANES, q
    cdef int i
    load_lanes(lanes, sources, whole)
    for q in range(whole, n):
        for i in range(LANES):
            (<real *> lanes)[q*LANES + i] = sources[i][q]


cdef inline char *take(char **memory, Py_ssize_t size) noexcept nogil:
    """The next `size` bytes, rounded up to ROW_BYTES."""
    cdef char *taken = memory[0]
    memory[0] += (size + ROW_BYTES - 1) // ROW_BYTES * ROW_BYTES
    return taken


cdef inline Py_ssize_t lay_out(Lanes *lanes, const Crowd *crowd, const Plan *plan, char *memory) noexcept nogil:
    """Points into memory; returns how much it takes. With NULL it only counts."""
    cdef char *start = memory
    cdef Py_ssize_t batch = crowd.job.batch, rows, q = 0
    cdef Layer *layer
    cdef int index
    cdef Py_ssize_t n_out = plan.layers[plan.n_layers - 1].n_out, stride = plan.layers[plan.n_layers - 1].stride
    lanes.crowd, lanes.plan = crowd, plan
    lanes.layers = <Layer *> take(&memory, plan.n_layers * sizeof(Layer))
    lanes.n_parameters = 0
    for index in range(plan.n_layers):
        lanes.n_parameters += (plan.layers[index].n_in + 1) * plan.layers[index].n_out
    rows = lanes.n_parameters * sizeof(vec)
    lanes.parameters = <vec *> take(&memory, rows)
    lanes.first = <vec *> take(&memory, rows)
    lanes.second = <vec *> take(&memory, rows)
    lanes.gradients = <vec *> take(&memory, rows)
    lanes.kept = <vec *> take(&memory, 3 * rows)
    lanes.x = take(&memory, batch * plan.layers[0].n_in * sizeof(vec))
    lanes.t = <vec *> take(&memory, batch * n_out * sizeof(vec))
    lanes.weights = <double *> take(&memory, batch * LANES * sizeof(double))
    lanes.losses = <double *> take(&memory, batch * LANES * sizeof(double))
    lanes.row = <real *> take(&memory, 3 * batch * stride * sizeof(real) + 2 * batch * sizeof(double))
    lanes.orders = <Py_ssize_t *> take(&memory, LANES * crowd.most_rows * sizeof(Py_ssize_t))
    lanes.numbers = <Py_ssize_t *> take(&memory, LANES * batch * sizeof(Py_ssize_t))
    for index in range(plan.n_layers):
        rows = batch * plan.layers[index].n_out * sizeof(vec)
        if start == NULL:
            take(&memory, 4 * (rows + ROW_BYTES))
            continue
        layer = &lanes.layers[index]
        layer[0] = plan.layers[index]
        layer.w, layer.dw = lanes.parameters + q, lanes.gradients + q
        q += layer.n_in * layer.n_out
        layer.b, layer.db = lanes.parameters + q, lanes.gradients + q
        q += layer.n_out
        layer.y = take(&memory, rows)
        layer.z = take(&memory, rows) if layer.needs_z else layer.y
        layer.dz = take(&memory, rows)
        layer.passed = take(&memory, rows)
    return memory - start


cdef inline void member_pointers(void **pointers, const Lanes *lanes, int which) noexcept nogil:
    """Where each lane's parameters (0) stand, or its optimizer's first (1) or second (2) state."""
    cdef Member *member
    cdef int i
    for i in range(LANES):
        member = &lanes.members[min(<Py_ssize_t> i, lanes.count - 1)]
        pointers[i] = member.parameters if which == 0 else member.first if which == 1 else member.second


cdef inline void begin_group(Lanes *lanes, const Group *group) noexcept nogil:
    """Loads a group's parameters into lanes, and looks up its rows."""
    cdef const Crowd *crowd = lanes.crowd
    cdef void *pointers[16]
    cdef Py_ssize_t i
    cdef int lane
    lanes.members, lanes.count = crowd.members + group.first, group.count
    member_pointers(pointers, lanes, 0)
    load_lanes(lanes.parameters, <const real *const *> pointers, lanes.n_parameters)
    for lane in range(LANES):
        i = min(<Py_ssize_t> lane, group.count - 1)
        if crowd.job.data.x == NULL:
            lanes.data[lane] = lanes.members[i].data
        else:
            lanes.data[lane] = crowd.job.data
            lanes.data[lane].x = <const real *> crowd.job.data.x + (group.first + i)*crowd.x_stride


cdef inline void begin_learning(Lanes *lanes) noexcept nogil:
    """Loads what only training needs of a group."""
    cdef void *pointers[16]
    cdef int lane
    for lane in range(LANES):
        lanes.updates[lane] = lanes.members[min(<Py_ssize_t> lane, lanes.count - 1)].update
    if lanes.members.first == NULL:
        lanes.first = NULL
    else:
        member_pointers(pointers, lanes, 1)
        load_lanes(lanes.first, <const real *const *> pointers, lanes.n_parameters)
    if lanes.members.second == NULL:
        lanes.second = NULL
    else:
        member_pointers(pointers, lanes, 2)
        load_lanes(lanes.second, <const real *const *> pointers, lanes.n_parameters)


cdef inline void end_group(Lanes *lanes) noexcept nogil:
    """Stores what training changed."""
    cdef void *pointers[16]
    cdef int i
    member_pointers(pointers, lanes, 0)
    store_lanes(<real *const *> pointers, lanes.parameters, lanes.n_parameters, lanes.count)
    if lanes.first != NULL:
        member_pointers(pointers, lanes, 1)
        store_lanes(<real *const *> pointers, lanes.first, lanes.n_parameters, lanes.count)
    if lanes.second != NULL:
        member_pointers(pointers, lanes, 2)
        store_lanes(<real *const *> pointers, lanes.second, lanes.n_parameters, lanes.count)
    for i in range(lanes.count):
        lanes.members[i].update = lanes.updates[i]


cdef inline void order_rows(Py_ssize_t *order, const Data *data, const Member *member, bint shuffled) noexcept nogil:
    """order := the numbers of a member's rows, as they come in this epoch."""
    cdef Py_ssize_t i
    if shuffled:
        shuffle(order, data.rows, member.seed, <uint64_t> member.epoch)
    else:
        for i in range(data.rows):
            order[i] = i
    if data.order != NULL:
        for i in range(data.rows):
            order[i] = data.order[order[i]]


cdef inline void order_group(Lanes *lanes, bint shuffled) noexcept nogil:
    """The order of every lane's rows."""
    cdef Py_ssize_t most = lanes.crowd.most_rows
    cdef int lane
    if lanes.crowd.shared:
        return
    for lane in range(LANES):
        if lane < lanes.count:
            order_rows(lanes.orders + lane*most, &lanes.data[lane], &lanes.members[lane], shuffled)
        else:
            memcpy(lanes.orders + lane*most, lanes.orders + (lane - 1)*most, lanes.data[lane].rows * sizeof(Py_ssize_t))


cdef inline void number_rows(const Lanes *lanes, Py_ssize_t position, Py_ssize_t m) noexcept nogil:
    """lanes.numbers := which rows a batch takes. A lane that has fewer rows than others repeats its first: what has no
    weight must be finite where the rows that count are."""
    cdef const Py_ssize_t *order = lanes.crowd.job.data.order
    cdef Py_ssize_t rows, i
    cdef int lane
    for lane in range(LANES):
        rows = lanes.rows[lane]
        if not lanes.crowd.shared:
            order = lanes.orders + lane*lanes.crowd.most_rows
        for i in range(m):
            if order == NULL:
                lanes.numbers[i*LANES + lane] = position + i
            elif i < rows or lanes.crowd.shared:
                lanes.numbers[i*LANES + lane] = order[position + i]
            else:
                lanes.numbers[i*LANES + lane] = order[position if rows > 0 else 0]


cdef inline const void *gather_inputs(const Lanes *lanes, Py_ssize_t position, Py_ssize_t m) noexcept nogil:
    """The inputs of a batch: reals [m][k] where rows are shared, else vecs."""
    cdef const real *x = <const real *> lanes.data[0].x
    cdef const real *sources[16]
    cdef Py_ssize_t k = lanes.layers[0].n_in, i
    cdef int lane
    if lanes.crowd.shared:
        if lanes.crowd.job.data.order == NULL:
            return x + position*k
        for i in range(m):
            memcpy(<real *> lanes.x + i*k, x + lanes.numbers[i*LANES]*k, k*sizeof(real))
        return lanes.x
    for i in range(m):
        for lane in range(LANES):
            sources[lane] = <const real *> lanes.data[lane].x + lanes.numbers[i*LANES + lane]*k
        gather_columns(<vec *> lanes.x + i*k, sources, k)
    return lanes.x


cdef inline void gather_targets(const Lanes *lanes, Py_ssize_t m) noexcept nogil:
    """The targets of a batch, smoothed; labels become 0 and 1."""
    cdef Py_ssize_t n = lanes.layers[lanes.plan.n_layers - 1].n_out, i, j
    cdef const real *sources[16]
    cdef double smoothing = lanes.data[0].smoothing
    cdef vec kept = fill(<real> (1 - smoothing))
    cdef vec spread = fill(<real> (smoothing / (n if lanes.plan.loss.per_row else 2)))
    cdef int lane
    if lanes.data[0].labels != NULL:
        memset(lanes.t, 0, m * n * sizeof(vec))
    for i in range(m):
        if lanes.data[0].labels != NULL:
            for lane in range(LANES):
                j = i*n + lanes.data[lane].labels[lanes.numbers[i*LANES + lane]]
                (<real *> lanes.t)[j*LANES + lane] = 1
        else:
            for lane in range(LANES):
                sources[lane] = <const real *> lanes.data[lane].t + lanes.numbers[i*LANES + lane]*n
            gather_columns(lanes.t + i*n, sources, n)
        if smoothing != 0:
            for j in range(n):
                lanes.t[i*n + j] = kept * lanes.t[i*n + j] + spread


cdef inline bint gather_weights(const Lanes *lanes, double *scales, Py_ssize_t m) noexcept nogil:
    """The weights of a batch; scales[lane] := 1 / those of its mean. Returns whether any is not 1."""
    cdef Py_ssize_t elements = mean_elements(&lanes.plan.loss, lanes.layers[lanes.plan.n_layers - 1].n_out), i
    cdef const double *weights
    cdef bint weighted = False
    cdef double total
    cdef int lane
    for lane in range(LANES):
        weights = lanes.data[lane].weights
        weighted = weighted or weights != NULL or lanes.rows[lane] != m
        total = lanes.rows[lane]
        if weights != NULL:
            total = 0
            for i in range(lanes.rows[lane]):
                total += weights[lanes.numbers[i*LANES + lane]]
        scales[lane] = 1 / (total * elements) if total > 0 else 0
    if not weighted:
        return False
    for i in range(m):
        for lane in range(LANES):
            weights = lanes.data[lane].weights
            lanes.weights[i*LANES + lane] = 0 if i >= lanes.rows[lane] else (
                1 if weights == NULL else weights[lanes.numbers[i*LANES + lane]])
    return True


cdef inline void one_lane(real *rows, Py_ssize_t ld, const vec *lanes, int lane, Py_ssize_t m,
                          Py_ssize_t n) noexcept nogil:
    """rows [m][ld] := one lane's numbers, with zeros behind each row."""
    cdef Py_ssize_t i, j
    for i in range(m):
        for j in range(n):
            rows[i*ld + j] = (<const real *> lanes)[(i*n + j)*LANES + lane]
        for j in range(n, ld):
            rows[i*ld + j] = 0


cdef inline void back_to_lane(vec *lanes, int lane, const real *rows, Py_ssize_t ld, Py_ssize_t m,
                              Py_ssize_t n) noexcept nogil:
    """The other way round."""
    cdef Py_ssize_t i, j
    for i in range(m):
        for j in range(n):
            (<real *> lanes)[(i*n + j)*LANES + lane] = rows[i*ld + j]


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
        layer_forward(<vec *> layer.z, x, shared, layer, m)
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
    if not plan.loss.per_row:
        loss_lanes(<vec *> layer.dz, lanes.losses, <const vec *> layer.z, lanes.t, weights, scales, plan,
                   layer.activation, m, n)
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


cdef inline bint count_losses(Lanes *lanes) noexcept nogil:
    """Adds a batch's losses to every member's total; freezes lanes whose total is not finite. Returns whether any lane
    is frozen."""
    cdef bint frozen = False
    cdef Member *member
    cdef Py_ssize_t i
    cdef int lane
    for lane in range(LANES):
        member = &lanes.members[min(<Py_ssize_t> lane, lanes.count - 1)]
        if lane < lanes.count:
            for i in range(lanes.rows[lane]):
                member.total += lanes.losses[i*LANES + lane]
            if lanes.rows[lane] > 0 and not isfinite(member.total):
                member.failed = True
        if member.failed:
            lanes.rows[lane] = 0
        frozen = frozen or lanes.rows[lane] == 0
    return frozen


cdef inline bint next_rows(Lanes *lanes, Py_ssize_t position, Py_ssize_t *m) noexcept nogil:
    """How many rows each lane has in the batch that begins here; m := the most. Returns whether any has one."""
    cdef Member *member
    cdef int lane
    m[0] = 0
    for lane in range(LANES):
        member = &lanes.members[min(<Py_ssize_t> lane, lanes.count - 1)]
        lanes.rows[lane] = 0 if member.failed else max(
            <Py_ssize_t> 0, min(lanes.crowd.job.batch, lanes.data[lane].rows - position))
        m[0] = max(m[0], lanes.rows[lane])
    return m[0] > 0


cdef inline void begin_updates(Lanes *lanes) noexcept nogil:
    """Counts the step of every lane that is not frozen. What depends on the number of the step alone is computed once
    where all have the same."""
    cdef Update *leader = NULL
    cdef Update *update
    cdef int lane
    for lane in range(LANES):
        if lanes.rows[lane] == 0:
            continue
        update = &lanes.updates[lane]
        if leader != NULL and update.step == leader.step - 1 and memcmp(
                &update.constants, &leader.constants, sizeof(Constants)) == 0:
            begin_alike(update, leader)
        else:
            begin_step(update)
            leader = update


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
    frozen = count_losses(lanes)
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
