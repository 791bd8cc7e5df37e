"""Populations: networks of one shape that train, predict and are evaluated in one call, by kernels/crowd.pxd.

`PopulationRows` are the rows of all members, as kernels read them. A `PopulationEngine` holds every member's
parameters, state and counts. Both trust their caller, population/, which has checked every argument.
"""

from time import perf_counter

import numpy as np

from .runtime import aligned_zeros

cimport numpy as cnp
from cpython.exc cimport PyErr_CheckSignals
from libc.math cimport INFINITY
from libc.stdint cimport uintptr_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memset

from ..kernels.types cimport ROW_BYTES, Crowd, Data, Group, Job, Member, Plan
from .batch cimport Workspace
from .model cimport STEP_OPERATIONS, Model
from .ops cimport weight_sum
from .runtime cimport Pool, column, float_state, pointer, run, sum_in_order, threads_for
from .trainer cimport CompiledOptimizer

cnp.import_array()

cdef enum:
    # Between two looks at signals each thread does so many operations, or one step of one group.
    OPERATIONS_PER_VISIT = 200_000_000
    # A member whose parameters, state and values of a batch are more numbers than this is trained alone: vectors of
    # lanes of it would leave the caches. Less where members do not fill the lanes.
    MOST_LANE_NUMBERS = 12_000
    LEAST_FILLED = 3            # with fewer members than a third of the lanes each alone is faster
    ROWS_AT_ONCE = 32           # of predictions and evaluations


cdef class PopulationRows:
    """The rows of every member, as kernels read them.

    Each array is shared, or has an axis of members before the others: x (rows, k), targets (rows, n_outputs) or labels
    (rows,), and weights (rows,) or None. `chosen` is None, or a list with the numbers of each member's rows.
    """

    cdef readonly tuple arrays
    cdef readonly list chosen
    cdef readonly Py_ssize_t most       # rows of any member
    cdef readonly bint same             # whether all members have the same rows, and x is shared
    cdef readonly object weights_of     # float64 (n,): the weight of all rows of each member
    cdef Data *data

    def __cinit__(self, PopulationEngine engine not None, x, targets, labels, weights, list chosen):
        cdef Model model = engine.model
        cdef Py_ssize_t n = engine.n, rows = x.shape[x.ndim - 2], i
        cdef Py_ssize_t k = model.layers[0].n_in, n_out = model.layers[model.n_layers - 1].n_out
        self.arrays, self.chosen = (x, targets, labels, weights), chosen
        self.data = <Data *> calloc(n, sizeof(Data))
        if self.data == NULL:
            raise MemoryError(f"no memory for the rows of {n} networks")
        self.most = 0
        self.same = x.ndim == 2 and chosen is None
        self.weights_of = np.empty(n)
        cdef Py_ssize_t sets = n if x.ndim == 3 else 1, size = rows * k * model.itemsize if x.ndim == 3 else 0
        cdef const char *inputs = <const char *> model.matrix("X", x.reshape(-1, k), sets * rows, k)
        for i in range(n):
            data = &self.data[i]
            data.x = inputs + i*size
            data.rows = rows
            if targets is not None:
                data.t = model.matrix("y", targets if targets.ndim == 2 else targets[i], rows, n_out)
            if labels is not None:
                data.labels = <const Py_ssize_t *> column(
                    "y", labels if labels.ndim == 1 else labels[i], rows, cnp.NPY_INTP)
            own = None if weights is None else weights if weights.ndim == 1 else weights[i]
            data.weights = <const double *> (NULL if own is None else column(
                "sample_weight", own, rows, cnp.NPY_DOUBLE))
            if chosen is not None:
                data.rows = len(chosen[i])
                data.order = <const Py_ssize_t *> column("rows", chosen[i], data.rows, cnp.NPY_INTP)
                own = None if own is None else own[chosen[i]]
            self.weights_of[i] = weight_sum(own, data.rows)
            self.most = max(self.most, data.rows)

    def __dealloc__(self):
        free(self.data)

    def count(self, Py_ssize_t member):
        """How many rows a member has."""
        return self.data[member].rows

    def counts(self):
        """intp (n,): how many rows each member has."""
        cdef Py_ssize_t i
        result = np.empty(len(self.weights_of), np.intp)
        cdef Py_ssize_t *values = <Py_ssize_t *> pointer(result)
        for i in range(len(self.weights_of)):
            values[i] = self.data[i].rows
        return result


cdef class CrowdMemory:
    """What workers need for their share of a Crowd: for lanes, or with a batch, for one member at a time of each."""

    cdef void *memory
    cdef Py_ssize_t size, batch
    cdef int threads
    cdef bint together
    cdef list workspaces, blocks
    cdef Plan *plans
    cdef void **states
    cdef void **passed

    def __cinit__(self, PopulationEngine engine, int threads, Py_ssize_t batch, bint together):
        cdef int worker
        self.threads, self.batch, self.together = threads, batch, together
        self.plans = <Plan *> calloc(threads, sizeof(Plan))
        self.states = <void **> calloc(2 * threads, sizeof(void *))
        self.passed = <void **> calloc(threads * engine.model.n_layers, sizeof(void *))
        if self.plans == NULL or self.states == NULL or self.passed == NULL:
            raise MemoryError("no memory for the plans of a population")
        self.workspaces, self.blocks = [], []
        if batch == 0:
            self.workspaces.append(Workspace(engine.model, 1, learning=True, threads=1))
            self.plans[0] = (<Workspace> self.workspaces[0]).plan
        else:
            for worker in range(1 if together else threads):
                self.add_worker(engine, worker, batch)

    def __dealloc__(self):
        free(self.memory)
        free(self.plans)
        free(self.states)
        free(self.passed)

    cdef int add_worker(self, PopulationEngine engine, int worker, Py_ssize_t batch) except -1:
        """A worker's memory for one member at a time."""
        cdef Model model = engine.new_model()
        cdef Workspace workspace = Workspace(model, batch, learning=True, gather=True,
                                             threads=self.threads if self.together else 1,
                                             gradients=aligned_zeros(model.size, model.dtype), dropping=True)
        cdef int index
        if model.python_loss:
            workspace.python_loss.float_state = float_state()
        self.workspaces.append(workspace)
        self.plans[worker] = workspace.plan
        for index in range(model.n_layers):
            self.passed[worker * model.n_layers + index] = workspace.plan.layers[index].passed
        for index in range(len(engine.states)):
            self.blocks.append(aligned_zeros(model.size, model.dtype))
            self.states[2 * worker + index] = pointer(self.blocks[len(self.blocks) - 1])
        return 0

    cdef bint suits(self, PopulationEngine engine, Py_ssize_t batch, bint together) noexcept:
        """Whether it is enough for batches of so many rows, and for the optimizers' state."""
        return self.batch >= batch and self.together == together and (
            batch == 0 or len(self.blocks) == len(self.workspaces) * len(engine.states))

    cdef int check(self) except -1:
        """Raises what a Python loss raised."""
        cdef Workspace workspace
        for workspace in self.workspaces:
            if workspace.python_loss is not None:
                workspace.python_loss.check()
        return 0

    cdef char *reserve(self, Py_ssize_t size) except NULL:
        """So many bytes, aligned."""
        if self.size < size:
            free(self.memory)
            self.size = 0
            self.memory = malloc(size + ROW_BYTES)
            if self.memory == NULL:
                raise MemoryError(f"no memory for a step of a population: it takes {size} bytes")
            self.size = size
        return <char *> self.memory + (-<uintptr_t> self.memory) % ROW_BYTES


cdef class PopulationEngine:
    """Every member's parameters and training state: row i of each array is member i's.

    `new_model` makes a Model of the members' shape. Of its numbers nothing is used but as memory for one member.
    """

    cdef object new_model
    cdef readonly Model model
    cdef readonly Py_ssize_t n, n_parameters
    cdef readonly object parameters         # (n, n_parameters)
    cdef readonly tuple states              # the optimizer's blocks, each (n, n_parameters)
    cdef readonly object dropout            # float64 (n, n_layers), the output's 0
    cdef Member *members
    cdef Pool lane_memory, member_memory    # a CrowdMemory each: the last call's
    cdef public int most_threads            # that share work; 0 is what set_num_threads allows
    cdef public double deadline             # in seconds of time.perf_counter

    def __cinit__(self, new_model, Py_ssize_t n, seeds, dropout):
        cdef Py_ssize_t i
        self.new_model, self.model, self.n, self.dropout = new_model, new_model(), n, dropout
        self.deadline = INFINITY
        self.lane_memory, self.member_memory = Pool(), Pool()
        self.n_parameters = sum((n_in + 1) * n_out for n_in, n_out in zip(
            self.model.layer_sizes, self.model.layer_sizes[1:]))
        self.parameters = self.block()
        self.states = ()
        self.members = <Member *> calloc(n, sizeof(Member))
        if self.members == NULL:
            raise MemoryError(f"no memory for {n} networks")
        for i in range(n):
            self.members[i].seed = seeds[i]
        self.point()

    def __dealloc__(self):
        free(self.members)

    @property
    def lanes(self):
        """How many members go through the layers together."""
        return self.model.table.lanes

    def block(self):
        """Zeros (n, n_parameters), with some room to read behind them."""
        return aligned_zeros(self.n * self.n_parameters, self.model.dtype).reshape(self.n, self.n_parameters)

    cdef int point(self) except -1:
        """Points every member to its rows of the blocks."""
        cdef Py_ssize_t i, size = self.n_parameters * self.model.itemsize
        cdef char *parameters = <char *> pointer(self.parameters)
        cdef char *first = <char *> pointer(self.states[0]) if len(self.states) > 0 else NULL
        cdef char *second = <char *> pointer(self.states[1]) if len(self.states) > 1 else NULL
        cdef const double *dropout = <const double *> pointer(self.dropout)
        cdef Member *member
        for i in range(self.n):
            member = &self.members[i]
            member.parameters = parameters + i*size
            member.first = first + i*size if first != NULL else NULL
            member.second = second + i*size if second != NULL else NULL
            member.update.first, member.update.second = member.first, member.second
            member.dropout = dropout + i*self.model.n_layers
        return 0

    def set_states(self, tuple states):
        """Gives the members these blocks of their optimizers' state."""
        self.states = states
        self.point()

    def set_optimizer(self, Py_ssize_t member, CompiledOptimizer optimizer not None):
        """Gives a member the constants of an optimizer, which is bound to a model of this shape."""
        cdef Member *of = &self.members[member]
        step = of.update.step
        of.update = optimizer.update
        of.update.step = step
        of.update.first, of.update.second = of.first, of.second

    def set_penalties(self, Py_ssize_t member, double l1, double l2):
        """A member's penalties."""
        self.members[member].update.l1, self.members[member].update.l2 = l1, l2

    def set_rate(self, Py_ssize_t member, double rate):
        """A member's learning rate."""
        self.members[member].update.learning_rate = rate

    def rates(self):
        """float64 (n,): the learning rate of each member's last step."""
        cdef Py_ssize_t i
        result = np.empty(self.n)
        cdef double *values = <double *> pointer(result)
        for i in range(self.n):
            values[i] = self.members[i].update.learning_rate
        return result

    def counts(self):
        """int64 (n, 3): of each member the steps and epochs since it was built, and the steps of its optimizer."""
        cdef Py_ssize_t i
        result = np.empty((self.n, 3), np.int64)
        cdef long long *values = <long long *> pointer(result)
        for i in range(self.n):
            values[3*i] = self.members[i].step
            values[3*i + 1] = self.members[i].epoch
            values[3*i + 2] = self.members[i].update.step
        return result

    def set_counts(self, counts):
        """The other way round."""
        cdef const long long *values = <const long long *> pointer(counts)
        cdef Py_ssize_t i
        for i in range(self.n):
            self.members[i].step = values[3*i]
            self.members[i].epoch = values[3*i + 1]
            self.members[i].update.step = values[3*i + 2]

    def count_epoch(self, members):
        """One more epoch of these members."""
        for i in members:
            self.members[i].epoch += 1

    def all_finite(self, members):
        """bool (len(members),): whether no parameter and no state of a member is NaN or infinite."""
        cdef Py_ssize_t index, size = self.n_parameters * self.model.itemsize, i
        cdef const char *values
        result = np.ones(len(members), bool)
        for block in (self.parameters, *self.states):
            values = <const char *> pointer(block)
            for index in range(len(members)):
                i = members[index]
                if not self.model.table.all_finite(values + i*size, self.n_parameters):
                    result[index] = False
        return result

    def fits_lanes(self, Py_ssize_t batch):
        """Whether members go through the layers as lanes, in batches of so many rows."""
        cdef Py_ssize_t inputs = self.model.layer_sizes[0], units = sum(self.model.layer_sizes[1:])
        cdef Py_ssize_t numbers = (1 + len(self.states)) * self.n_parameters + batch * (inputs + 2 * units)
        # Vectors that are half empty take as long as full ones.
        return (not self.model.python_loss and LEAST_FILLED * min(self.n, self.lanes) >= self.lanes
                and numbers * self.lanes <= MOST_LANE_NUMBERS * min(self.n, self.lanes))

    def train(self, PopulationRows rows not None, list members, cnp.ndarray groups not None, Py_ssize_t batch,
              bint shuffled, order, list rates):
        """An epoch of these members, in batches: each in a random order of its own if `shuffled`, or all in `order`
        (None: as they stand). `groups` (groups, 2) says which members go through together: the place of the first in
        `members`, and how many; the first group has most. `rates` are the learning rates of each member's steps, or
        None where they do not change.

        Returns float64 (len(members), 4): the sum of each member's losses, the rows and steps that it has done, and
        whether a step's loss was not finite. KeyboardInterrupt comes between two steps.
        """
        cdef Py_ssize_t count = len(members), i, steps
        cdef bint lanes = self.fits_lanes(batch)
        cdef Member *chosen = <Member *> malloc(max(count, 1) * sizeof(Member))
        cdef Crowd crowd
        result = np.zeros((count, 4))
        cdef double *told = <double *> pointer(result)
        if chosen == NULL:
            raise MemoryError(f"no memory for {count} networks")
        memset(&crowd, 0, sizeof(crowd))
        try:
            for i in range(count):
                chosen[i] = self.members[<Py_ssize_t> members[i]]
                chosen[i].data = rows.data[<Py_ssize_t> members[i]]
                chosen[i].data.smoothing = self.model.label_smoothing
                if order is not None and not rows.same:
                    chosen[i].data.order = <const Py_ssize_t *> pointer(order)
                if rates[i] is not None:
                    steps = (chosen[i].data.rows + batch - 1) // batch
                    chosen[i].update.rates = <const double *> column("rates", rates[i], steps, cnp.NPY_DOUBLE)
                chosen[i].total = chosen[i].seen = chosen[i].failed = 0
            crowd.members = chosen
            crowd.job.work = self.model.table.train_crowd
            crowd.job.batch = batch
            crowd.job.data.order = <const Py_ssize_t *> pointer(order)
            crowd.shared = rows.same and not shuffled
            crowd.shuffled = shuffled
            try:
                self.run_crowd(&crowd, rows.most, groups, lanes, <double> STEP_OPERATIONS * self.model.multiply_adds,
                               self.deadline, True)
            finally:
                for i in range(count):
                    told[4*i], told[4*i + 1] = chosen[i].total, chosen[i].seen
                    told[4*i + 2] = chosen[i].step - self.members[<Py_ssize_t> members[i]].step
                    told[4*i + 3] = chosen[i].failed
                    chosen[i].update.rates = NULL
                    self.members[<Py_ssize_t> members[i]].update = chosen[i].update
                    self.members[<Py_ssize_t> members[i]].step = chosen[i].step
        finally:
            free(chosen)
        return result

    cdef int run_crowd(self, Crowd *crowd, Py_ssize_t rows, cnp.ndarray groups, bint lanes, double row_operations,
                       double deadline, bint learning) except -1:
        """Does the crowd's job for that many rows of each member, in visits between which signals are handled."""
        cdef Py_ssize_t n_groups = cnp.PyArray_DIM(groups, 0), batch = crowd.job.batch
        cdef Py_ssize_t group, first, groups_a_visit, rows_a_visit
        if n_groups == 0:                   # as where all members have diverged
            return 0
        cdef const Group *listed = <const Group *> pointer(groups)
        cdef double group_operations = row_operations * listed[0].count       # no other group has more members
        cdef int threads = threads_for(group_operations * rows * n_groups, self.most_threads)
        cdef CrowdMemory memory
        cdef int sharing = threads_for(group_operations * min(batch, rows), self.most_threads)
        if self.model.python_loss:
            threads = 1
        elif learning and not lanes and n_groups < sharing:
            threads, crowd.together = sharing, True
        else:
            threads = max(1, min(threads, <int> min(n_groups, 1 << 20)))
        memory = (self.lane_memory if lanes else self.member_memory).take()
        if memory is None or memory.threads < threads or not memory.suits(
                self, 0 if lanes else min(batch, rows), crowd.together):
            memory = None           # its memory first
            memory = CrowdMemory(self, threads, 0 if lanes else min(batch, rows), crowd.together)
        crowd.plans, crowd.states, crowd.passed = memory.plans, memory.states, memory.passed
        crowd.in_lanes, crowd.most_rows = lanes, rows
        crowd.memory_size = (self.model.table.crowd_bytes(crowd) + ROW_BYTES - 1) // ROW_BYTES * ROW_BYTES
        crowd.memory = memory.reserve(crowd.memory_size * threads)
        groups_a_visit = n_groups
        if self.model.python_loss:          # after its error no other member trains
            groups_a_visit = 1
        elif deadline == INFINITY:       # else all members do as many rows before the time is up
            groups_a_visit = max(<Py_ssize_t> threads, <Py_ssize_t> (
                OPERATIONS_PER_VISIT * <double> threads / (group_operations * rows + 10_000)))
        rows_a_visit = batch * (1 + <Py_ssize_t> (OPERATIONS_PER_VISIT * <double> threads / (
            group_operations * batch * min(groups_a_visit, n_groups) + 10_000)))
        for group in range(0, n_groups, groups_a_visit):
            crowd.groups = listed + group
            crowd.n_groups = min(groups_a_visit, n_groups - group)
            for first in range(0, rows, rows_a_visit):
                crowd.job.first, crowd.job.last = first, min(rows, first + rows_a_visit)
                if learning:
                    self.run_steps(&crowd.job, threads)
                else:
                    run(&crowd.job, threads)
                memory.check()
                PyErr_CheckSignals()
                if deadline < INFINITY and perf_counter() >= deadline:
                    break
        (self.lane_memory if lanes else self.member_memory).give(memory)
        return 0

    cdef int run_steps(self, Job *job, int threads) except -1:
        """Does a job of steps, in which no other thread copies parameters and no Python loss may train."""
        cdef bint stepping = self.model.stepping
        self.model.stepping = True
        try:
            self.model.lock(stepping=True)
            try:
                run(job, threads)
            finally:
                self.model.unlock()
        finally:
            self.model.stepping = stepping
        return 0

    def predict(self, cnp.ndarray x not None, cnp.ndarray groups not None, cnp.ndarray out not None):
        """out (n, rows, n_outputs) := the outputs of all members, as lanes, for x (rows, k) or one x for each."""
        cdef Model model = self.model
        cdef Py_ssize_t rows = cnp.PyArray_DIM(out, 1), k = model.layers[0].n_in
        cdef bint shared = cnp.PyArray_NDIM(x) == 2
        cdef Crowd crowd
        memset(&crowd, 0, sizeof(crowd))
        crowd.job.work = model.table.predict_crowd
        crowd.job.data.x = model.matrix(
            "X", x if shared else x.reshape(self.n * rows, k), rows if shared else self.n * rows, k)
        if not (cnp.PyArray_ISCARRAY(out) and cnp.PyArray_TYPE(out) == model.type_number
                and cnp.PyArray_SIZE(out) == self.n * rows * model.layers[model.n_layers - 1].n_out):
            raise ValueError(f"out has changed while it was being read: it must have room for ({self.n}, {rows}) rows")
        crowd.job.data.rows = rows
        crowd.job.out = cnp.PyArray_DATA(out)
        crowd.x_stride = 0 if shared else rows * k
        crowd.members = self.members
        self.forward(&crowd, rows, groups, shared)

    def evaluate(self, PopulationRows rows not None, list members, cnp.ndarray groups not None):
        """float64 (len(members),): the mean loss of each member's rows, as lanes."""
        cdef Py_ssize_t count = len(members), i
        cdef Member *chosen = <Member *> calloc(max(count, 1), sizeof(Member))
        cdef double **written = <double **> calloc(max(count, 1), sizeof(double *))
        cdef Crowd crowd
        memset(&crowd, 0, sizeof(crowd))
        losses = [np.empty(rows.count(member)) for member in members]
        try:
            if chosen == NULL or written == NULL:
                raise MemoryError(f"no memory for {count} networks")
            for i in range(count):
                chosen[i] = self.members[<Py_ssize_t> members[i]]
                chosen[i].data = rows.data[<Py_ssize_t> members[i]]
                written[i] = <double *> pointer(losses[i])
            crowd.members, crowd.losses = chosen, written
            crowd.job.work = self.model.table.evaluate_crowd
            self.forward(&crowd, rows.most, groups, rows.same)
        finally:
            free(chosen)
            free(written)
        return np.array([sum_in_order(<const double *> pointer(own), rows.count(member)) / self.model.divisor(
            rows.weights_of[member]) for member, own in zip(members, losses)])

    cdef int forward(self, Crowd *crowd, Py_ssize_t rows, cnp.ndarray groups, bint shared) except -1:
        """Does a job that changes nothing, in lanes."""
        crowd.job.batch = min(<Py_ssize_t> ROWS_AT_ONCE, rows)
        crowd.shared = shared
        return self.run_crowd(crowd, rows, groups, True, 2.0 * self.model.multiply_adds, INFINITY, False)
