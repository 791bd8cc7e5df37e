# The training step and the loops around it: whole batches and epochs, without Python and
# without allocating. `core/` prepares a Job and lets one worker or several do it.
#
# A step has two halves. First each worker takes a share of the batch's rows from the input to
# every layer's dz; then, when all are done, a share of every layer's weights, with its gradient
# and its update. So each number is computed by one worker, in the order in which one worker
# alone computes it: the bits do not depend on how many there are.
#
# Kernels are called through the table, so that each stands once in a module.

from libc.math cimport isfinite
from libc.string cimport memcpy, memset

from .activations cimport IDENTITY
from .gemm cimport worth_packing
from .random cimport dropout_key
from .simd cimport LANES, TILE_ROWS, VECTOR_BYTES, fill, fma, for_intel, real, vec
from .small cimport chain_train, is_bare, is_chain, is_small, small_forward, small_train
from .types cimport (PACKED_ROWS, ROW_BYTES, UNPADDED_ROWS, Data, Job, Layer, Plan, Update, Worker, mean_elements,
                     row_offset)
from .updates cimport adjusts, begin_step, clipping_factor, is_plain, scale_gradients

cdef extern from * nogil:
    void store_atomically "__atomic_store_n"(bint *target, bint value, int order)
    enum:
        RELAXED "__ATOMIC_RELAXED"


cdef enum:
    NEAR_REALS = 2304       # so many of a gradient fit the nearest cache, beside the parameters that they change
    SUMS = LANES * ROW_BYTES // VECTOR_BYTES        # reals in 64 bytes


cdef inline Py_ssize_t share_start(Py_ssize_t count, const Worker *worker, int next) noexcept nogil:
    """Where this worker's share of `count` things starts, or the next worker's."""
    return count * (worker.index + next) // worker.count


cdef inline void wait(const Worker *worker) noexcept nogil:
    """Returns when all workers have called it."""
    if worker.count > 1:
        worker.wait()


cdef inline void *scratch_of(const Plan *plan, const Worker *worker) noexcept nogil:
    """This worker's share of the scratch memory: the fewer workers there are, the more rows and memory each has."""
    if worker.index == 0:
        return plan.scratch
    return plan.scratch + plan.scratch_size // worker.count // ROW_BYTES * ROW_BYTES * worker.index


cdef inline const real *gather(
        const Plan *plan, const Data *data, Py_ssize_t first, Py_ssize_t at, Py_ssize_t m) noexcept nogil:
    """Makes rows first … first+m-1 of the data's order the batch's rows at … at+m-1.

    Targets are padded with zeros (labels become rows of 0 and 1), and smoothed: t := (1 - s) t + s / classes.
    Returns the inputs: where they stand, or copied together if the order asks for it.
    """
    cdef const Layer *output = &plan.layers[plan.n_layers - 1]
    cdef Py_ssize_t k = plan.layers[0].n_in, n = output.n_out
    cdef const real *x = <const real *> data.x
    cdef const real *t = <const real *> data.t
    cdef real *x_batch = <real *> plan.x_batch + at*k
    cdef real *t_row = <real *> plan.t_batch + at*output.stride
    # Each output of a sigmoid is two classes of its own.
    cdef Py_ssize_t classes = n if plan.loss.per_row else 2
    cdef real kept = <real> (1 - data.smoothing), spread = <real> (data.smoothing / classes)
    cdef Py_ssize_t i, j, row
    for i in range(m):
        row = data.order[first + i] if data.order != NULL else first + i
        memset(t_row, 0, output.stride * sizeof(real))
        if data.labels != NULL:
            t_row[data.labels[row]] = 1
        else:
            memcpy(t_row, t + row*n, n * sizeof(real))
        if data.smoothing != 0:
            for j in range(n):
                t_row[j] = kept * t_row[j] + spread
        t_row += output.stride
        if data.weights != NULL:
            plan.weight_batch[at + i] = data.weights[row]
        if data.order != NULL:
            memcpy(x_batch + i*k, x + row*k, k * sizeof(real))
    return x_batch if data.order != NULL else x + first*k


cdef inline const real *forward(
        const Plan *plan, const real *x, Py_ssize_t at, Py_ssize_t m, bint activate_output, bint small,
        const Job *job, long long step, void *scratch) noexcept nogil:
    """z and y of every layer, in the batch's rows at … at+m-1; without activate_output the last one stops
    at z. Layers with dropout pass on what the job's seed and the step leave. Returns the last y or z."""
    cdef Py_ssize_t ldx = plan.layers[0].n_in
    cdef Py_ssize_t offset
    cdef const Layer *layer
    cdef int index, activation
    cdef real *z
    cdef real *y
    for index in range(plan.n_layers):
        layer = &plan.layers[index]
        activation = layer.activation
        offset = at * (plan.widest if plan.widest else layer.stride)
        z = <real *> layer.z + offset
        y = <real *> layer.y + offset
        if index == plan.n_layers - 1 and not activate_output:
            activation = IDENTITY
            y = z
        if small:
            small_forward(layer, z, y, activation, x, ldx, m)
        else:
            plan.kernels.dense_forward(
                z, y, x, layer.w, layer.b, activation, m, layer.n_out, layer.n_in, ldx, layer.ldw,
                scratch)
        if layer.dropout != 0:
            plan.kernels.drop_out(<real *> layer.passed + offset, y, layer.dropout,
                                  dropout_key(job.seed, step, index), offset + job.place * layer.stride,
                                  m * layer.stride)
            y = <real *> layer.passed + offset
        x = y
        ldx = layer.stride
    return x


cdef inline void output_loss(
        const Plan *plan, const Data *data, double *losses, double scale, Py_ssize_t at, Py_ssize_t m) noexcept nogil:
    """losses := the loss of each of the batch's rows at … at+m-1; the last layer's dz := scale * gradient."""
    cdef const Layer *layer = &plan.layers[plan.n_layers - 1]
    cdef Py_ssize_t offset = at*layer.stride
    cdef real *dz = <real *> layer.dz + offset
    cdef const real *z = <real *> layer.z + offset
    cdef const real *t = <real *> plan.t_batch + offset
    if plan.function != NULL:
        plan.python_loss(plan.function, dz, losses, z, t, scale, layer.activation, m, layer.n_out)
        return
    plan.kernels.loss_forward_backward(
        dz, losses, z, t, plan.weight_batch + at if data.weights != NULL else NULL,
        scale, plan.loss.code, plan.loss_parameter, layer.activation, m, layer.n_out)


cdef inline void learn_rows(
        const Job *job, long long step, Py_ssize_t first, double scale, Py_ssize_t at, Py_ssize_t m,
        void *scratch) noexcept nogil:
    """The first half of a step: from rows first … of the data to every layer's dz, in rows at … at+m-1."""
    cdef const Plan *plan = job.plan
    cdef const Data *data = &job.data
    cdef const real *x = gather(plan, data, first, at, m)
    cdef const Layer *layer
    cdef const Layer *below
    cdef Py_ssize_t offset
    cdef real *dx
    cdef const real *dz
    cdef const real *y
    cdef const real *z
    cdef int index
    forward(plan, x, at, m, False, False, job, step, scratch)
    output_loss(plan, data, plan.losses + at, scale, at, m)
    for index in range(plan.n_layers - 1, 0, -1):
        layer = &plan.layers[index]
        below = &plan.layers[index - 1]
        offset = at*below.stride
        dz = <const real *> layer.dz + at*layer.stride
        dx = <real *> below.dz + offset
        y = <const real *> below.y + offset
        z = <const real *> below.z + offset
        plan.kernels.dense_backward(dx, NULL, NULL, dz, NULL, layer.w, m, layer.n_out, layer.n_in, 0, layer.ldw,
                                    scratch)
        if below.dropout != 0:
            plan.kernels.drop_out(
                dx, dx, below.dropout, dropout_key(job.seed, step, index - 1), offset + job.place * below.stride,
                m * below.stride)
        plan.kernels.activation_backward(dx, dx, y, z, below.activation, m, below.n_out)


cdef inline void follow_rows(
        const Plan *plan, const Layer *layer, const Update *update, Py_ssize_t start, Py_ssize_t stop,
        bint adjust, double factor, bint follow) noexcept nogil:
    """What comes after the gradient of a layer's rows start … stop-1, the bias being the last row: with `adjust`
    penalties and clipping; its product with `factor`; with `follow` the optimizer's update."""
    cdef Py_ssize_t offset = <real *> layer.w - <real *> plan.parameters + row_offset(layer, start)
    cdef Py_ssize_t weights = min(stop, layer.n_in) - start
    cdef real *parameters = <real *> plan.parameters + offset
    cdef real *gradients = <real *> plan.gradients + offset
    cdef Py_ssize_t bias = layer.bias - row_offset(layer, start)
    cdef Py_ssize_t count = row_offset(layer, stop) - row_offset(layer, start)
    cdef real *squares = <real *> plan.squares + start*SUMS
    cdef const Layer *before = plan.layers
    if adjust:
        while before != layer:
            squares += (before.n_in + 1) * SUMS
            before += 1
        plan.kernels.adjust_gradients(gradients, squares, parameters, update, update.l1 != 0 or update.l2 != 0,
                                      weights, layer.n_out, layer.ldw)
        if start + weights < stop:
            plan.kernels.adjust_gradients(gradients + bias, squares + weights*SUMS,
                                          layer.b, update, False, 1, layer.n_out, layer.stride)
    if factor != 1:
        scale_gradients(gradients, factor, count)
    if follow:
        plan.kernels.update_parameters(
            parameters, gradients, <real *> update.first + offset if update.first != NULL else NULL,
            <real *> update.second + offset if update.second != NULL else NULL,
            update, count)


cdef inline Py_ssize_t rows_start(const Layer *layer, const Worker *worker, int next) noexcept nogil:
    """Where this worker's share of a layer's rows starts, the bias being the last one, or the next worker's."""
    return whole_rows(layer, share_start(layer.n_in + 1, worker, next))


cdef inline Py_ssize_t whole_rows(const Layer *layer, Py_ssize_t row) noexcept nogil:
    """The row, or one some rows before it where it would begin within a vector."""
    return row // UNPADDED_ROWS * UNPADDED_ROWS if layer.ldw < layer.stride and row <= layer.n_in else row


cdef inline Py_ssize_t near_rows(const Layer *layer) noexcept nogil:
    """As many of a layer's rows as stay in the nearest cache from one pass to the next: whole tiles of them."""
    if layer.ldw < layer.stride:
        return max(<Py_ssize_t> 1, NEAR_REALS // (UNPADDED_ROWS * layer.ldw)) * UNPADDED_ROWS
    return max(<Py_ssize_t> 1, NEAR_REALS // (TILE_ROWS * layer.stride)) * TILE_ROWS


cdef inline void learn_parameters(
        const Plan *plan, const real *x, Py_ssize_t m, const Update *update, bint descend,
        const Worker *worker) noexcept nogil:
    """The second half: this worker's share of every layer's rows of weights, the bias being the last row.

    Their gradient from a batch of m rows is stored, and then the optimizer's update follows (none where it is
    NULL, nor where it clips by the whole gradient's norm). With `descend` plain SGD's update is made at once,
    and no gradient stored. Where nothing has to be packed, the update follows some rows at a time, while
    their gradient is in the nearest cache.
    """
    cdef void *scratch = scratch_of(plan, worker)
    cdef Py_ssize_t ldx = plan.layers[0].n_in
    cdef Py_ssize_t start, stop, next, several, k, offset
    cdef const Layer *layer
    cdef bint bias
    cdef int index
    for index in range(plan.n_layers):
        layer = &plan.layers[index]
        start = rows_start(layer, worker, 0)
        stop = rows_start(layer, worker, 1)
        several = stop - start
        if not descend and update != NULL and not worth_packing(several, m, layer.n_out):
            several = near_rows(layer)
        while start < stop:
            next = min(stop, start + several)
            bias = next > layer.n_in
            k = next - start - bias
            offset = row_offset(layer, start)
            if descend:
                plan.kernels.dense_descend(
                    <real *> layer.w + offset, layer.b if bias else NULL, layer.dz, x + start, update.rate,
                    m, layer.n_out, k, ldx, layer.ldw, scratch)
            else:
                plan.kernels.dense_backward(
                    NULL, <real *> layer.dw + offset, layer.db if bias else NULL, layer.dz, x + start, NULL,
                    m, layer.n_out, k, ldx, layer.ldw, scratch)
                if update != NULL:
                    follow_rows(plan, layer, update, start, next, adjusts(update), 1, update.clip_norm == 0)
            start = next
        x = <const real *> layer.passed
        ldx = layer.stride


cdef inline void update_clipped(const Plan *plan, const Update *update, const Worker *worker) noexcept nogil:
    """The optimizer's update of this worker's share of every layer, after the whole gradient was clipped by its norm.

    From the last row to the first, as the gradient's last rows are those still in the caches.
    """
    cdef Py_ssize_t start, stop, next, rows = 0
    cdef const Layer *layer
    cdef double factor
    cdef int index
    for index in range(plan.n_layers):
        rows += plan.layers[index].n_in + 1
    factor = clipping_factor(plan.squares, rows, update.clip_norm)
    for index in range(plan.n_layers - 1, -1, -1):
        layer = &plan.layers[index]
        start = rows_start(layer, worker, 0)
        stop = rows_start(layer, worker, 1)
        while start < stop:
            next = max(start, whole_rows(layer, stop - near_rows(layer)))
            follow_rows(plan, layer, update, next, stop, False, factor, True)
            stop = next


cdef inline void predict(Job *job, const Worker *worker) noexcept nogil:
    """job.out := the outputs for the job's rows, `batch` rows at a time.

    With job.check it ends where rows are not finite. It looks when they come into the caches, and not before all of
    them, which reads a large x twice.
    """
    cdef const Plan *plan = job.plan
    cdef Py_ssize_t k = plan.layers[0].n_in
    cdef Py_ssize_t n = plan.layers[plan.n_layers - 1].n_out
    cdef Py_ssize_t ld = plan.layers[plan.n_layers - 1].stride
    cdef Py_ssize_t first = job.first + share_start(job.last - job.first, worker, 0)
    cdef Py_ssize_t last = job.first + share_start(job.last - job.first, worker, 1)
    cdef real *destination = <real *> job.out + first*n
    cdef const real *x = <const real *> job.data.x + first*k
    cdef const real *y
    cdef Py_ssize_t i, m
    while first < last:
        m = min(job.batch, last - first)
        if job.check and not all_finite(x, m*k):
            store_atomically(&job.refused, True, RELAXED)       # another worker may do so, too
            return
        y = forward(plan, x, worker.index * job.batch, m, True, is_small(plan, m), job, 0, scratch_of(plan, worker))
        for i in range(m):
            memcpy(destination, y + i*ld, n * sizeof(real))
            destination += n
        x += m*k
        first += m


cdef inline void evaluate(Job *job, const Worker *worker) noexcept nogil:
    """job.losses := the loss of each of the job's rows, `batch` rows at a time."""
    cdef const Plan *plan = job.plan
    cdef Py_ssize_t first = job.first + share_start(job.last - job.first, worker, 0)
    cdef Py_ssize_t last = job.first + share_start(job.last - job.first, worker, 1)
    cdef Py_ssize_t at = worker.index * job.batch
    cdef Py_ssize_t m
    while first < last:
        m = min(job.batch, last - first)
        forward(plan, gather(plan, &job.data, first, at, m), at, m, False, False, job, 0, scratch_of(plan, worker))
        output_loss(plan, &job.data, job.losses + first, 0, at, m)
        first += m


cdef inline const real *inputs_of(const Plan *plan, const Data *data, Py_ssize_t first) noexcept nogil:
    """The inputs of a batch that `gather` made of rows first … of the data's order."""
    return <const real *> plan.x_batch if data.order != NULL else <const real *> data.x + first*plan.layers[0].n_in


cdef inline void gradients(Job *job, const Worker *worker) noexcept nogil:
    """plan.losses := the loss of each of the job's rows; plan.gradients := job.scale * the gradient of their sum."""
    cdef const Plan *plan = job.plan
    cdef Py_ssize_t m = job.last - job.first
    cdef Py_ssize_t at = share_start(m, worker, 0)
    learn_rows(job, job.step, job.first + at, job.scale, at, share_start(m, worker, 1) - at, scratch_of(plan, worker))
    wait(worker)
    learn_parameters(plan, inputs_of(plan, &job.data, job.first), m, NULL, False, worker)


cdef inline void follow(Job *job, const Worker *worker) noexcept nogil:
    """A step's update for the gradients that the plan holds: what `train` does after it has computed them."""
    cdef const Plan *plan = job.plan
    cdef Update update = job.update[0]      # each worker counts the step for itself
    cdef const Layer *layer
    cdef Py_ssize_t start, stop, next
    cdef int index
    begin_step(&update)
    for index in range(plan.n_layers):
        layer = &plan.layers[index]
        start = rows_start(layer, worker, 0)
        stop = rows_start(layer, worker, 1)
        while start < stop:
            next = min(stop, start + near_rows(layer))
            follow_rows(plan, layer, &update, start, next, adjusts(&update), 1, update.clip_norm == 0)
            start = next
    wait(worker)
    if update.clip_norm != 0:
        update_clipped(plan, &update, worker)
        wait(worker)
    if worker.index == 0:
        job.update[0] = update


cdef inline double batch_weight(const Data *data, Py_ssize_t first, Py_ssize_t m) noexcept nogil:
    """The sum of the weights of rows first … first+m-1 of the data's order: what their mean loss is divided by."""
    cdef double total = 0
    cdef Py_ssize_t i
    if data.weights == NULL:
        return m
    for i in range(first, first + m):
        total += data.weights[data.order[i] if data.order != NULL else i]
    return total


cdef inline void train(Job *job, const Worker *worker) noexcept nogil:
    """One step for each batch in the job's rows; adds their losses to job.total.

    Stops before the update of a step after which the total is not finite: then job.first is that batch's
    first row, else job.last.
    """
    cdef const Plan *plan = job.plan
    cdef const Data *data = &job.data
    cdef Update update = job.update[0]      # each worker counts steps for itself
    cdef Py_ssize_t elements = mean_elements(&plan.loss, plan.layers[plan.n_layers - 1].n_out)
    cdef bint plain = is_plain(&update)
    cdef void *scratch = scratch_of(plan, worker)
    cdef double total = job.total, weight
    cdef Py_ssize_t first = job.first, last = job.last, at, i, m
    cdef long long step = job.step
    if worker.count == 1 and is_bare(plan, data, &update):
        if is_chain(plan, &update, job.batch):
            if for_intel and plan.kernels.narrow != plan.kernels:
                plan.kernels.narrow.train(job, worker)
            else:
                chain_train(job)
            return
        if is_small(plan, job.batch):
            small_train(job)
            return
    while first < last:
        m = min(job.batch, last - first)
        at = share_start(m, worker, 0)
        weight = batch_weight(data, first, m)
        learn_rows(job, step, first + at, 1 / (weight * elements) if weight > 0 else 0,
                   at, share_start(m, worker, 1) - at, scratch)
        wait(worker)
        for i in range(m):
            total += plan.losses[i]
        if not isfinite(total):
            break
        begin_step(&update)
        learn_parameters(plan, inputs_of(plan, data, first), m, &update, plain and m <= PACKED_ROWS, worker)
        wait(worker)
        if update.clip_norm != 0:
            update_clipped(plan, &update, worker)
            wait(worker)
        step += 1
        first += m
    if worker.index == 0:
        job.first = first
        job.total = total
        job.update[0] = update


cdef inline bint all_finite(const void *values, Py_ssize_t count) noexcept nogil:
    """Whether no value is NaN or infinite: 0 * value is 0 for the others. Four sums, as one waits for itself."""
    cdef const real *value = <const real *> values
    cdef vec zeros[4]
    cdef vec sum
    cdef real zero = 0
    cdef Py_ssize_t i = 0
    cdef int j
    for j in range(4):
        zeros[j] = fill(0)
    while i + 4*LANES <= count:
        for j in range(4):
            zeros[j] = fma(fill(0), (<const vec *> (value + i + j*LANES))[0], zeros[j])
        i += 4*LANES
    while i < count:
        zero += 0 * value[i]
        i += 1
    sum = (zeros[0] + zeros[1]) + (zeros[2] + zeros[3])
    for j in range(LANES):
        zero += (<const real *> &sum)[j]
    return zero == 0
