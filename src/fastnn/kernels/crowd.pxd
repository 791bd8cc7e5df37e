# Populations: the members of a Crowd, which workers share without meeting. Small networks go through the layers as
# lanes (lanes.pxd), larger ones one after the other through the engine, in memory that a worker's members share.

from libc.string cimport memcpy

from .lane_rows cimport Lanes, lay_out, order_rows
from .lanes cimport evaluate_group, predict_group, train_group
from .simd cimport real, vec
from .types cimport Crowd, Group, Job, Layer, Member, Plan, Update, Worker


cdef inline Py_ssize_t crowd_bytes(const Crowd *crowd) noexcept nogil:
    """Of memory that each worker needs."""
    cdef Lanes lanes
    if not crowd.in_lanes:
        return crowd.most_rows * sizeof(Py_ssize_t)
    return lay_out(&lanes, crowd, crowd.plans, NULL)


cdef inline void copy_padded(real *block, real *numbers, const Plan *plan, bint back) noexcept nogil:
    """block := a member's numbers, row by row with padding; with `back` the other way round."""
    cdef const Layer *layer
    cdef real *row
    cdef Py_ssize_t i, offset = 0
    cdef int index
    for index in range(plan.n_layers):
        layer = &plan.layers[index]
        for i in range(layer.n_in + 1):
            row = block + offset + (i*layer.ldw if i < layer.n_in else layer.bias)
            memcpy(numbers if back else row, row if back else numbers, layer.n_out * sizeof(real))
            numbers += layer.n_out
        offset += layer.bias + layer.stride


cdef inline void copy_member(const Crowd *crowd, const Member *member, int worker, bint back) noexcept nogil:
    """A member's parameters and state to the memory of a worker, or back."""
    cdef const Plan *plan = &crowd.plans[worker]
    copy_padded(<real *> plan.parameters, <real *> member.parameters, plan, back)
    if member.first != NULL:
        copy_padded(<real *> crowd.states[2*worker], <real *> member.first, plan, back)
    if member.second != NULL:
        copy_padded(<real *> crowd.states[2*worker + 1], <real *> member.second, plan, back)


cdef inline void begin_member(Job *job, Update *update, const Crowd *crowd, const Member *member,
                              int worker) noexcept nogil:
    """Prepares the engine's job for one member, in the memory of a worker."""
    cdef Plan *plan = &crowd.plans[worker]
    cdef Py_ssize_t *order = <Py_ssize_t *> (crowd.memory + worker * crowd.memory_size)
    cdef int index
    for index in range(plan.n_layers):
        plan.layers[index].dropout = member.dropout[index] if member.dropout != NULL else 0
        plan.layers[index].passed = (crowd.passed[worker*plan.n_layers + index] if plan.layers[index].dropout != 0
                                     else plan.layers[index].y)
    copy_member(crowd, member, worker, False)
    update[0] = member.update
    update.first = crowd.states[2*worker] if member.first != NULL else NULL
    update.second = crowd.states[2*worker + 1] if member.second != NULL else NULL
    job[0] = crowd.job
    job.plan, job.data, job.update = plan, member.data, update
    if crowd.shared:
        job.data.order = crowd.job.data.order
    elif crowd.shuffled:
        order_rows(order, &member.data, member, True, NULL)
        job.data.order = order
    job.last = min(job.last, member.data.rows)
    job.seed, job.step, job.total = member.seed, member.step, member.total


cdef inline void end_member(const Job *job, const Crowd *crowd, Member *member, int worker) noexcept nogil:
    """Gives a member what the engine's job has changed."""
    cdef Update update = job.update[0]
    member.failed = job.first < job.last
    member.seen += job.first - crowd.job.first
    member.step += update.step - member.update.step
    member.total = job.total
    update.first, update.second = member.update.first, member.update.second
    member.update = update
    copy_member(crowd, member, worker, True)


cdef inline void train_member(Crowd *crowd, Member *member, const Worker *worker) noexcept nogil:
    """The steps of one member for rows job.first … job.last-1 of its order, by the engine: this worker alone takes
    them, or with crowd.together all workers share each step."""
    cdef Update update
    cdef Worker alone
    cdef Job job
    if member.failed or crowd.job.first >= member.data.rows:
        return
    if not crowd.together:
        alone.index, alone.count = 0, 1
        begin_member(&job, &update, crowd, member, worker.index)
        crowd.plans.kernels.train(&job, &alone)
        end_member(&job, crowd, member, worker.index)
        return
    if worker.index == 0:
        begin_member(&crowd.one, &crowd.one_update, crowd, member, 0)
    if worker.count > 1:
        worker.wait()
    crowd.plans.kernels.train(&crowd.one, worker)
    if worker.count > 1:
        worker.wait()
    if worker.index == 0:
        end_member(&crowd.one, crowd, member, 0)


cdef inline Py_ssize_t share_start(Py_ssize_t count, const Worker *worker, int next) noexcept nogil:
    """Where this worker's share of `count` groups starts, or the next worker's."""
    return count * (worker.index + next) // worker.count


cdef inline void do_groups(
        void (*work)(Lanes *lanes, const Group *group) noexcept nogil, Job *job, const Worker *worker) noexcept nogil:
    """This worker's share of the groups, as lanes. `work` is a literal."""
    cdef Crowd *crowd = <Crowd *> job
    cdef Lanes lanes
    cdef vec *first
    cdef vec *second
    cdef Py_ssize_t group
    lay_out(&lanes, crowd, crowd.plans, crowd.memory + worker.index * crowd.memory_size)
    first, second = lanes.first, lanes.second
    for group in range(share_start(crowd.n_groups, worker, 0), share_start(crowd.n_groups, worker, 1)):
        lanes.first, lanes.second = first, second
        work(&lanes, &crowd.groups[group])


cdef inline void train_crowd(Job *job, const Worker *worker) noexcept nogil:
    """Steps for rows job.first … job.last-1 of every member's order, by batches of job.batch; their losses are added to
    its total. A member whose loss is not finite stops before that step."""
    cdef Crowd *crowd = <Crowd *> job
    cdef Py_ssize_t first = 0, last = crowd.n_groups, group, i
    if crowd.in_lanes:
        do_groups(train_group, job, worker)
        return
    if not crowd.together:
        first, last = share_start(crowd.n_groups, worker, 0), share_start(crowd.n_groups, worker, 1)
    for group in range(first, last):
        for i in range(crowd.groups[group].count):
            train_member(crowd, &crowd.members[crowd.groups[group].first + i], worker)


cdef inline void evaluate_crowd(Job *job, const Worker *worker) noexcept nogil:
    """losses := those of rows job.first … job.last-1 of every member's order, in lanes."""
    do_groups(evaluate_group, job, worker)


cdef inline void predict_crowd(Job *job, const Worker *worker) noexcept nogil:
    """job.out [members][job.data.rows][n] := outputs for rows job.first … job.last-1 of every member's, in lanes."""
    do_groups(predict_group, job, worker)
