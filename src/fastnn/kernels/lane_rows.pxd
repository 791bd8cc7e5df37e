# The memory of a group of networks that are lanes: its layout, and the way of parameters, inputs, targets and weights
# into it and back. lanes.pxd computes with it.
#
# In all arrays here lanes come last: [m][n] means vecs.

from libc.stdint cimport uint64_t
from libc.string cimport memcmp, memcpy, memset

from .random cimport find_reciprocals, shuffle
from .simd cimport LANES, fill, load_first, real, transpose_square, vec
from .types cimport ROW_BYTES, Constants, Crowd, Data, Group, Layer, Member, Plan, Update, mean_elements


cdef enum:
    FEW_COLUMNS = 3             # that are gathered one by one, not by transposing a square


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
    uint64_t *reciprocals       # [most_rows], for shuffling
    Py_ssize_t *numbers         # [batch][LANES]: which row each lane takes
    Data data[16]               # each lane's rows
    Py_ssize_t rows[16]         # of the batch, for each lane; 0: it is frozen
    Py_ssize_t whole            # rows of an epoch that every lane has; 0 where one has failed
    bint full                   # whether every lane has all rows of the batch
    bint weighted               # whether any lane has weights
    bint alike                  # whether all updates have the same constants, and the number of the same step
    double totals[16]           # of the losses of each lane's epoch
    Update updates[16]


# The next two stand in a module once, and are called through the kernel table.

cdef inline void gather_lanes(void *lanes, const void *const *sources, Py_ssize_t n) noexcept nogil:
    """lanes[q] := sources[0][q], sources[1][q] …, for q < n. No more than n reals are read of each source."""
    cdef const real *const *rows = <const real *const *> sources
    cdef vec *columns = <vec *> lanes
    cdef vec square[16]
    cdef Py_ssize_t q = 0, left
    cdef int i
    while q < n:
        left = min(<Py_ssize_t> LANES, n - q)
        if left < LANES and left <= FEW_COLUMNS:
            for q in range(n - left, n):
                for i in range(LANES):
                    (<real *> lanes)[q*LANES + i] = rows[i][q]
            return
        for i in range(LANES):
            square[i] = (<const vec *> (rows[i] + q))[0] if left == LANES else load_first(rows[i] + q, left)
        transpose_square(square)
        for i in range(left):
            columns[q + i] = square[i]
        q += LANES


cdef inline void scatter_lanes(
        void *const *targets, const void *lanes, Py_ssize_t n, Py_ssize_t count) noexcept nogil:
    """The other way round, for the first `count` lanes; no more than n reals are written of each target."""
    cdef real *const *rows = <real *const *> targets
    cdef vec square[16]
    cdef Py_ssize_t q = 0
    cdef int i
    while q < n:
        for i in range(LANES):
            square[i] = (<const vec *> lanes)[q + i]
        transpose_square(square)
        if count == LANES and q + LANES <= n:
            for i in range(LANES):
                (<vec *> (rows[i] + q))[0] = square[i]
        else:
            for i in range(count):
                memcpy(rows[i] + q, &square[i], min(<Py_ssize_t> LANES, n - q) * sizeof(real))
        q += LANES


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
    rows = (lanes.n_parameters + LANES) * sizeof(vec)       # scatter_lanes reads whole squares
    lanes.parameters = <vec *> take(&memory, rows)
    lanes.first = <vec *> take(&memory, rows)
    lanes.second = <vec *> take(&memory, rows)
    lanes.gradients = <vec *> take(&memory, rows)
    lanes.kept = <vec *> take(&memory, 3 * rows)
    lanes.x = take(&memory, (batch * plan.layers[0].n_in + LANES) * sizeof(vec))
    lanes.t = <vec *> take(&memory, (batch * n_out + LANES) * sizeof(vec))
    lanes.weights = <double *> take(&memory, batch * LANES * sizeof(double))
    lanes.losses = <double *> take(&memory, batch * LANES * sizeof(double))
    lanes.row = <real *> take(&memory, 3 * batch * stride * sizeof(real) + 2 * batch * sizeof(double))
    lanes.orders = <Py_ssize_t *> take(&memory, LANES * crowd.most_rows * sizeof(Py_ssize_t))
    lanes.reciprocals = <uint64_t *> take(&memory, crowd.most_rows * sizeof(uint64_t))
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
    lanes.plan.kernels.gather_lanes(lanes.parameters, <const void *const *> pointers, lanes.n_parameters)
    for lane in range(LANES):
        i = min(<Py_ssize_t> lane, group.count - 1)
        if crowd.job.data.x == NULL:
            lanes.data[lane] = lanes.members[i].data
        else:
            lanes.data[lane] = crowd.job.data
            lanes.data[lane].x = <const real *> crowd.job.data.x + (group.first + i)*crowd.x_stride
        lanes.whole = lanes.data[lane].rows if lane == 0 else min(lanes.whole, lanes.data[lane].rows)
        lanes.weighted = lanes.data[lane].weights != NULL or (lane > 0 and lanes.weighted)
        if lanes.members[i].failed:
            lanes.whole = 0


cdef inline vec *gather_state(const Lanes *lanes, vec *block, bint kept, int which) noexcept nogil:
    """block := an optimizer's state, see member_pointers; NULL where it keeps none."""
    cdef void *pointers[16]
    if not kept:
        return NULL
    member_pointers(pointers, lanes, which)
    lanes.plan.kernels.gather_lanes(block, <const void *const *> pointers, lanes.n_parameters)
    return block


cdef inline void begin_learning(Lanes *lanes) noexcept nogil:
    """Loads what only training needs of a group."""
    cdef int lane
    lanes.alike = True
    for lane in range(LANES):
        lanes.updates[lane] = lanes.members[min(<Py_ssize_t> lane, lanes.count - 1)].update
        lanes.totals[lane] = lanes.members[min(<Py_ssize_t> lane, lanes.count - 1)].total
        lanes.alike = lanes.alike and lanes.updates[lane].step == lanes.updates[0].step and memcmp(
            &lanes.updates[lane].constants, &lanes.updates[0].constants, sizeof(Constants)) == 0
    lanes.first = gather_state(lanes, lanes.first, lanes.members.first != NULL, 1)
    lanes.second = gather_state(lanes, lanes.second, lanes.members.second != NULL, 2)


cdef inline void end_group(Lanes *lanes) noexcept nogil:
    """Stores what training changed."""
    cdef vec *blocks[3]
    cdef void *pointers[16]
    cdef int block, i
    blocks[0], blocks[1], blocks[2] = lanes.parameters, lanes.first, lanes.second
    for block in range(3):
        if blocks[block] != NULL:
            member_pointers(pointers, lanes, block)
            lanes.plan.kernels.scatter_lanes(pointers, blocks[block], lanes.n_parameters, lanes.count)
    for i in range(lanes.count):
        lanes.members[i].update = lanes.updates[i]
        lanes.members[i].total = lanes.totals[i]


cdef inline void order_rows(
        Py_ssize_t *order, const Data *data, const Member *member, bint shuffled,
        const uint64_t *reciprocals) noexcept nogil:
    """order := the numbers of a member's rows, as they come in this epoch."""
    cdef Py_ssize_t i
    if shuffled:
        shuffle(order, data.rows, member.seed, <uint64_t> member.epoch, reciprocals)
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
    if shuffled:
        find_reciprocals(lanes.reciprocals, most)
    for lane in range(LANES):
        if lane < lanes.count:
            order_rows(lanes.orders + lane*most, &lanes.data[lane], &lanes.members[lane], shuffled, lanes.reciprocals)
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
        if lanes.full and order != NULL:
            for i in range(m):
                lanes.numbers[i*LANES + lane] = order[position + i]
            continue
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
        lanes.plan.kernels.gather_lanes(<vec *> lanes.x + i*k, <const void *const *> sources, k)
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
            lanes.plan.kernels.gather_lanes(lanes.t + i*n, <const void *const *> sources, n)
        if smoothing != 0:
            for j in range(n):
                lanes.t[i*n + j] = kept * lanes.t[i*n + j] + spread


cdef inline bint gather_weights(const Lanes *lanes, double *scales, Py_ssize_t m) noexcept nogil:
    """The weights of a batch; scales[lane] := 1 / those of its mean. Returns whether any is not 1."""
    cdef Py_ssize_t elements = mean_elements(&lanes.plan.loss, lanes.layers[lanes.plan.n_layers - 1].n_out), i
    cdef const double *weights
    cdef double total
    cdef int lane
    if lanes.full and not lanes.weighted:
        for lane in range(LANES):
            scales[lane] = 1.0 / (m * elements)
        return False
    for lane in range(LANES):
        weights = lanes.data[lane].weights
        total = lanes.rows[lane]
        if weights != NULL:
            total = 0
            for i in range(lanes.rows[lane]):
                total += weights[lanes.numbers[i*LANES + lane]]
        scales[lane] = 1 / (total * elements) if total > 0 else 0
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
