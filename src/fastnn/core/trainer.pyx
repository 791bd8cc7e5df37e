"""Steps of training: an optimizer's constants and state, and the steps and epochs that follow it.

`CompiledOptimizer` is the compiled half of an Optimizer; a `Trainer` runs steps and whole epochs with it. Both trust
their caller, which has checked every argument and converted every array.
"""

from time import perf_counter

import numpy as np

from .._checks import checked_count, choose
from .runtime import aligned_zeros

cimport cython
cimport numpy as cnp
from cpython.exc cimport PyErr_CheckSignals
from libc.math cimport INFINITY, NAN
from libc.stdint cimport uint64_t
from libc.string cimport memcpy, memset

from ..kernels.types cimport Constants, Job, Update
from .batch cimport Rows, Workspace
from .model cimport STEP_OPERATIONS, Model
from .runtime cimport (
    ThreadChoice, column, float_state, flush_subnormals, pointer, restore_float_state, rows_per_visit, run,
    sum_in_order,
)

cnp.import_array()


cdef class CompiledOptimizer:
    """The compiled half of an Optimizer: its constants and its state, as the update kernels read them."""

    def __cinit__(self, *args, **kwargs):
        self.state = ()
        self.stale = True

    @property
    def steps(self):
        """Updates done with it."""
        return self.update.step

    @steps.setter
    def steps(self, steps):
        self.update.step = checked_count("steps", steps)

    @property
    def epochs(self):
        """Epochs done with it."""
        return self.epochs_done

    @epochs.setter
    def epochs(self, epochs):
        self.epochs_done = checked_count("epochs", epochs)

    def count_epoch(self):
        """Adds one to `epochs`."""
        self.epochs_done += 1

    @property
    def last_rate(self):
        """The learning rate of the last step."""
        return self.update.learning_rate

    @property
    def network_engine(self):
        """The model of the network that it belongs to, or None."""
        return self.model

    def set_owner(self, Model model, tuple state):
        """Gives it back the owner and the blocks of state that it had; (None, ()) makes it nobody's."""
        self.update.first = model.block(state[0]) if len(state) > 0 else NULL
        self.update.second = model.block(state[1]) if len(state) > 1 else NULL
        self.model, self.state, self.stale = model, state, True

    cdef bint claim(self, Model model) except -1:
        """Makes it the optimizer of one network; returns whether it had none. ValueError where it has another."""
        cdef bint fresh, mine
        with cython.critical_section(self):
            fresh = self.model is None
            mine = fresh or self.model is model
            if mine:
                self.model = model
        if not mine:
            raise ValueError("optimizer holds the state of another network and cannot train this one too; create one "
                             "for each")
        return fresh

    def prepare(self, Model model not None, str kernel, learning_rate, *, clip_value=None, clip_norm=None,
                **constants):
        """Makes it the optimizer of this model's network, with these constants, by the names in the struct Constants,
        and as many blocks of state as its kernel keeps. Blocks that it has already stay. ValueError where it belongs to
        another network."""
        cdef Update update = self.update
        cdef Constants zeros
        cdef bint fresh
        cdef int blocks
        memset(&zeros, 0, sizeof(zeros))
        every = {**zeros, **constants}
        if len(every) > len(<dict> zeros):
            raise TypeError(f"kernels have no constant {min(every.keys() - (<dict> zeros).keys())!r}")
        facts = model.kernels.optimizers[choose("kernel", kernel, model.kernels.optimizers)]
        update.optimizer, update.constants = facts["code"], every
        scheduled = not isinstance(learning_rate, float)
        update.learning_rate = 0 if scheduled else learning_rate
        update.clip_value = clip_value or 0
        update.clip_norm = clip_norm or 0
        blocks = facts["state_blocks"] + (facts["velocity"] and update.constants.momentum != 0)
        fresh = self.claim(model)
        try:
            state = self.state[:blocks]         # fewer or more where momentum was set since
            if len(state) < blocks:
                state = (*state, *self.initial_state(blocks, model.size, model.dtype)[len(state):])
            if len(state) != blocks:
                raise TypeError(f"{type(self).__name__}.initial_state gave {len(state)} blocks, but the kernel "
                                f"{kernel!r} keeps {blocks}")
            update.first = model.block(state[0]) if blocks > 0 else NULL
            update.second = model.block(state[1]) if blocks > 1 else NULL
        except BaseException:
            if fresh:
                self.model = None
            raise
        self.state, self.update, self.scheduled, self.stale = state, update, scheduled, False


cdef class Trainer:
    """Steps of an optimizer, and epochs of such steps: one call of `fit`.

    `gather` says whether rows may come in another order than they stand in. `good` are blocks that `begin` copies
    the parameters and the optimizer's state to, and `restore` copies them back from: as many as there are of
    these, or none. After `deadline`, in seconds of time.perf_counter, an epoch ends with the visit under way.
    """

    def __cinit__(self, Model model, CompiledOptimizer optimizer, bint gather, list good):
        if optimizer.model is not model or optimizer.stale:
            raise ValueError("optimizer is not ready for this network; call its bind first")
        self.model = model
        self.optimizer = optimizer
        self.gather = gather
        self.good = good
        self.deadline = INFINITY
        self.workspace = model.learning.take()

    cdef int reserve(self, Py_ssize_t batch) except -1:
        """Makes room for steps on so many rows."""
        cdef Model model = self.model
        cdef Workspace workspace = self.workspace
        cdef int threads = model.step_threads(batch)
        if (workspace is None or workspace.batch < batch or workspace.threads != threads
                or (self.gather and workspace.plan.x_batch == NULL)):
            self.workspace = None           # its memory first
            self.workspace = Workspace(model, batch, learning=True, gather=self.gather, threads=threads,
                                       gradients=aligned_zeros(model.size, model.dtype), dropping=True)
        self.threads = threads
        return 0

    def release(self):
        """Leaves its memory to the network's next trainer: the last call."""
        if self.workspace is not None:
            self.workspace.set_gradients(self.workspace.gradients)
        self.model.learning.give(self.workspace)
        self.workspace = None

    @property
    def steps(self):
        """Steps of this epoch, and one more where a step's loss was not finite."""
        return self.optimizer.update.step - self.steps_before + self.failed

    cdef int copy_blocks(self, bint back) except -1:
        """The parameters and the optimizer's state to `good`, or back."""
        cdef int index
        cdef void *good
        cdef void *kept
        if self.good and len(self.good) != 1 + len(self.optimizer.state):
            raise ValueError("the optimizer's momentum was set while a fit was under way; set it between fits")
        self.model.lock()
        try:
            for index in range(len(self.good)):
                block = self.model.parameters if index == 0 else self.optimizer.state[index - 1]
                good = <void *> column("a copy", self.good[index], self.model.size, self.model.type_number)
                kept = self.model.block(block)
                memcpy(kept if back else good, good if back else kept, self.model.size * self.model.itemsize)
        finally:
            self.model.unlock()
        return 0

    cdef Update *penalised(self) noexcept:
        """The optimizer's constants and state, with the penalties that the network has now."""
        self.optimizer.update.l1, self.optimizer.update.l2 = self.model.l1, self.model.l2
        return &self.optimizer.update

    def begin(self):
        """Starts an epoch. `restore` brings back what there is now."""
        self.copy_blocks(False)
        self.steps_before = self.optimizer.update.step
        self.total = self.weight = self.seen = 0
        self.failed = False
        self.under_way = True

    def restore(self):
        """The parameters and the optimizer's state are those in `good` again."""
        self.copy_blocks(True)
        self.under_way = False

    @property
    def spoiled(self):
        """Whether an epoch is under way that has left something that is not finite."""
        return self.under_way and (self.failed or not self.all_finite())

    cdef int run_steps(self, Job *job, int threads) except -1:
        """Does a job of steps, in which no other thread copies parameters and no Python loss may train."""
        cdef Model model = self.model
        cdef bint stepping = model.stepping
        model.stepping = True          # also while it waits, when a signal may be handled
        try:
            model.lock(stepping=True)
            try:
                run(job, threads)
            finally:
                model.unlock()
        finally:
            model.stepping = stepping
        return 0

    def advance(self, Rows rows, Py_ssize_t batch, rates):
        """One step for each `batch` of the rows, in their order. `rates` is the learning rate, or an array with one for
        each step.

        Returns False where it ends early: before the update of a step whose loss is not finite, or between two steps
        after the deadline. KeyboardInterrupt comes between two steps.
        """
        rows.check(self.model)
        self.reserve(batch)
        cdef Update *update = self.penalised()
        cdef ThreadChoice choice = self.workspace.thread_choice
        cdef Py_ssize_t visit = rows_per_visit(<double> STEP_OPERATIONS * batch * self.model.multiply_adds, batch)
        cdef Py_ssize_t first
        cdef long long steps
        cdef int threads
        cdef double start
        cdef bint late = False
        cdef Job job
        if isinstance(rates, np.ndarray):
            update.rates = <const double *> column(
                "rates", rates, (rows.data.rows + batch - 1) // batch, cnp.NPY_DOUBLE)
        else:
            update.rates = NULL
            update.learning_rate = rates
        job.work = self.model.table.train
        job.plan = &self.workspace.plan
        job.data = rows.data
        job.update = update
        job.batch = batch
        job.total = self.total
        job.seed = self.model.seed
        job.first = job.place = 0
        if self.model.python_loss:
            self.workspace.python_loss.float_state = float_state()
        self.model.stepping = True         # also between two steps, where signals are handled
        try:
            while job.first < rows.data.rows:
                first, job.last = job.first, min(rows.data.rows, job.first + visit)
                job.step = self.model.steps
                steps = update.step
                threads = choice.next_threads()
                start = perf_counter()
                self.run_steps(&job, threads)
                self.model.steps += update.step - steps
                if job.first > first:
                    choice.note(threads, (perf_counter() - start) / (job.first - first))
                if job.first < job.last:
                    if self.model.python_loss:
                        self.workspace.python_loss.check()
                    self.failed = True
                    break
                PyErr_CheckSignals()
                if (self.deadline < INFINITY and perf_counter() >= self.deadline
                        and (self.weight > 0 or rows.weight_of(job.last) > 0)):     # no mean without a row that counts
                    late = True
                    break
        finally:
            update.rates = NULL
            self.model.stepping = False
        self.total = job.total
        self.seen += job.first
        self.weight += rows.weight if job.first == rows.data.rows else rows.weight_of(job.first)
        return not (self.failed or late)

    def compute_gradients(self, Rows rows, Py_ssize_t first, Py_ssize_t last, Py_ssize_t batch, double divisor,
                          Py_ssize_t place, double total, block):
        """block := the gradient of the losses of rows first … last-1 of their order, summed and divided; returns
        total with these losses added.

        Half a step, which `apply_gradients` completes: in between, blocks of several parts of a batch may be added
        together. `batch` is the most rows that any part has, `place` how many rows the whole batch has before this
        part. Without rows (None, first = last) the gradient is 0.
        """
        cdef Model model = self.model
        cdef Py_ssize_t count = last - first
        cdef double start
        cdef int threads
        cdef Job job
        if rows is not None:
            rows.check(model)
        self.reserve(batch)
        self.workspace.set_gradients(block)
        if count == 0:
            block[:model.size] = 0
            return total
        job.work = model.table.gradients
        job.plan = &self.workspace.plan
        job.data = rows.data
        job.first, job.last = first, last
        job.scale = 1 / divisor if divisor > 0 else 0
        job.seed, job.step, job.place = model.seed, model.steps, place
        if model.python_loss:
            self.workspace.python_loss.float_state = float_state()
        threads = self.workspace.thread_choice.next_threads()
        start = perf_counter()
        self.run_steps(&job, threads)
        self.workspace.thread_choice.note(threads, (perf_counter() - start) / count)
        if model.python_loss:
            self.workspace.python_loss.check()
            if divisor != count:
                block[:model.size] *= count / divisor      # the function gave the gradient of its rows' mean
        return sum_in_order(self.workspace.plan.losses, count, total)

    def apply_gradients(self, block, double rate):
        """Completes a step: the optimizer follows the gradient in the block."""
        cdef Job job
        self.workspace.set_gradients(block)
        self.optimizer.update.rates = NULL
        self.optimizer.update.learning_rate = rate
        job.work = self.model.table.follow
        job.plan = &self.workspace.plan
        job.update = self.penalised()
        self.run_steps(&job, self.threads)
        self.model.steps += 1

    def finish(self):
        """The mean loss of the epoch, NaN if it or anything that was trained is not finite."""
        if self.failed or not self.all_finite():
            return NAN
        self.under_way = False
        return self.loss

    @property
    def loss(self):
        """The mean loss of the steps since `begin`."""
        return self.total / self.model.divisor(self.weight)

    cdef int all_finite(self) except -1:
        """Whether no parameter and no number of the optimizer's state is NaN or infinite."""
        cdef Py_ssize_t size = self.model.size
        cdef bint finite
        before = flush_subnormals()
        finite = self.model.table.all_finite(pointer(self.model.parameters), size)
        for block in self.optimizer.state:
            finite = finite and self.model.table.all_finite(pointer(block), size)
        restore_float_state(before)
        return finite

    def epoch(self, Rows rows, Py_ssize_t batch, rates, uint64_t epoch_number):
        """One pass over the rows, in the random order of the network's seed and this epoch if they may be gathered;
        the mean loss, or NaN."""
        self.begin()
        if self.gather:
            rows.shuffle(self.model.seed, epoch_number)
        self.advance(rows, batch, rates)
        return self.finish()
