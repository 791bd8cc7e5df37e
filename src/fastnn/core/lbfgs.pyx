"""L-BFGS (Liu and Nocedal, 1989): iterations over all rows at once, each a direction and a line search along it.

`CompiledLBFGS` is what stays from fit to fit: pairs s = the step of an iteration, y = the change of the gradient, in
the network's dtype. A `Minimisation` is one fit. It computes losses and gradients at points of its own, so whatever
others predict, copy or save meanwhile is what the last iteration left. vectors.pxd has the arithmetic, line_search.pxd
says how long a step is.
"""

from time import perf_counter

import numpy as np

from .runtime import aligned_zeros

from cpython.exc cimport PyErr_CheckSignals
from libc.float cimport DBL_EPSILON
from libc.math cimport INFINITY, fabs, fmax, isfinite, sqrt
from libc.string cimport memcmp, memcpy, memmove, memset

from ..kernels.types cimport Layer
from .batch cimport Rows, Workspace
from .line_search cimport LineSearch, began, ended
from .model cimport Model
from .runtime cimport ThreadChoice, flush_subnormals, pointer, restore_float_state, sum_in_order
from .trainer cimport CompiledOptimizer
from .vectors cimport differences, largest, penalise, product, real, step_to, widen

cdef enum:
    MOST_TRIALS = 20            # of a line search

cdef enum Outcome:
    FOUND, LOST, DIVERGED


cdef double add_and_multiply(
        double *q, double factor, const real *a, double scale, const real *b, Py_ssize_t count) noexcept nogil:
    """q := scale * (q + factor * a); returns b'q. Not inline: gcc 12 makes vectors of it only where it stands alone."""
    cdef double sums[8]
    cdef double values[8]
    cdef Py_ssize_t i, j
    memset(sums, 0, sizeof(sums))
    for i in range(0, count, 8):
        for j in range(8):
            values[j] = scale * (q[i + j] + factor * a[i + j])
        for j in range(8):
            sums[j] += values[j] * b[i + j]
        for j in range(8):
            q[i + j] = values[j]
    return sum_in_order(sums, 8)


cdef void two_loops(
        double *d, double *shares, const real **blocks, const double *products, Py_ssize_t pairs, double scale,
        Py_ssize_t count) noexcept nogil:
    """d := -H d, where the pairs make H, an inverse of the curvature, of scale * I  (Nocedal, 1980):

        for s, y from the latest:  share = s'd / s'y;  d := d - share * y
        d := scale * d
        for s, y from the oldest:  d := d + (share - y'd / s'y) * s

    A pass adds one vector to d and multiplies d by the next. `blocks` are s, y of each pair, `products` s'y.
    """
    cdef bint last
    cdef Py_ssize_t i
    cdef double dot = product(blocks[2 * pairs - 2], d, count)
    for i in range(pairs - 1, -1, -1):
        shares[i] = dot / products[i]
        dot = add_and_multiply(d, -shares[i], blocks[2 * i + 1], 1 if i else scale, blocks[2 * i - 2 if i else 1],
                               count)
    for i in range(pairs):
        last = i == pairs - 1
        dot = add_and_multiply(d, shares[i] - dot / products[i], blocks[2 * i], -1 if last else 1,
                               blocks[0 if last else 2 * i + 3], count)


cdef bint all_finite(Model model, const void *block) noexcept:
    """Whether no element is NaN or infinite."""
    cdef bint finite
    state = flush_subnormals()
    finite = model.table.all_finite(block, model.size)
    restore_float_state(state)
    return finite


cdef class CompiledLBFGS(CompiledOptimizer):
    """The compiled half of an LBFGS. `state` is s, y of each pair, the oldest first; no pair in it is changed."""

    def keep(self, Model model not None, most):
        """Makes it the optimizer of this model's network, which keeps so many pairs at most, the latest."""
        self.claim(model)
        self.state = self.state[-2 * most:]
        self.most = min(most, 2**31)
        self.stale = False

    def count_epoch(self):
        """One more iteration is done."""
        self.update.step += 1
        self.epochs_done += 1


cdef class Minimisation:
    """The iterations of a fit of a model's network on these rows.

    `shared`, where several ranks have the rows, is a function of a block of parameters; it returns the mean loss over
    all rows and the block of its gradient. Then `rows` are not read. Every rank does the same with the same numbers.
    """

    def __cinit__(self, Model model not None, CompiledLBFGS optimizer not None, Rows rows not None, shared,
                  double tolerance_gradient, double tolerance_change, double most_evaluations):
        if optimizer.model is not model or optimizer.stale:
            raise ValueError("optimizer is not ready for this network; call its bind first")
        rows.check(model)
        self.model, self.optimizer, self.rows, self.shared = model, optimizer, rows, shared
        self.tolerance_gradient, self.tolerance_change = tolerance_gradient, tolerance_change
        self.most_evaluations = most_evaluations
        self.pairs = ()
        self.point_block = aligned_zeros(model.size, model.dtype)
        self.trial_block = aligned_zeros(model.size, model.dtype)
        self.point, self.trial = pointer(self.point_block), pointer(self.trial_block)
        self.vectors = aligned_zeros(3 * model.size, "float64")
        self.gradient = <double *> pointer(self.vectors)
        self.trial_gradient = self.gradient + model.size
        self.direction = self.trial_gradient + model.size
        if shared is None:
            self.reserve()

    cdef int reserve(self) except -1:
        """Makes room for all rows at once, and lets them pass through the trial's layers."""
        cdef Model model = self.model
        cdef Py_ssize_t count = self.rows.data.rows
        cdef int threads = model.step_threads(count)
        cdef Workspace workspace = model.learning.take()
        if workspace is None or workspace.batch < count or workspace.threads != threads:
            workspace = None            # its memory first
            workspace = Workspace(model, count, learning=True, threads=threads,
                                  gradients=aligned_zeros(model.size, model.dtype))
        workspace.set_parameters(self.trial_block)
        self.workspace = workspace
        return 0

    def release(self):
        """Leaves its memory to the network's next fit: the last call."""
        if self.workspace is not None:
            self.workspace.set_parameters(self.model.parameters)
            self.model.learning.give(self.workspace)
            self.workspace = None

    def iterate(self):
        """One iteration: the network's parameters become those of a point with a smaller objective. Returns whether
        there was one; `reason` says why there is no other iteration."""
        cdef int outcome
        cdef double change, size
        if not self.is_begun() and not self.begin():
            self.reason = "diverged"
            return False
        if self.steepest <= self.tolerance_gradient:
            self.reason = "converged"
            return False
        outcome = self.search()
        if outcome == LOST and self.pairs:      # once more, along the gradient
            self.set_pairs(())
            outcome = self.search()
        if outcome != FOUND:
            self.reason = "diverged" if outcome == DIVERGED else "line_search"
            return False
        change = self.value - self.trial_value
        size = fmax(1, fmax(fabs(self.value), fabs(self.trial_value)))
        self.accept()
        if self.evaluations > self.most_evaluations:
            self.reason = "evaluations"
        elif change <= self.tolerance_change * size or self.steepest <= self.tolerance_gradient:
            self.reason = "converged"
        return True

    cdef bint is_begun(self) except -1:
        """Whether the network is as the last iteration left it; a callback may have changed it."""
        return (self.begun and self.l1 == self.model.l1 and self.l2 == self.model.l2 and memcmp(
            self.point, pointer(self.model.parameters), self.model.size * self.model.itemsize) == 0)

    cdef bint begin(self) except -1:
        """Computes objective and gradient of the network's parameters; returns whether they are finite."""
        self.l1, self.l2 = self.model.l1, self.model.l2
        memcpy(self.trial, pointer(self.model.parameters), self.model.size * self.model.itemsize)
        self.begun = self.evaluate()
        self.advance()
        return self.begun

    cdef int advance(self) except -1:
        """The trial becomes the point."""
        memcpy(self.point, self.trial, self.model.size * self.model.itemsize)
        self.gradient, self.trial_gradient = self.trial_gradient, self.gradient
        self.value, self.loss, self.steepest = self.trial_value, self.trial_loss, self.trial_steepest
        return 0

    cdef bint evaluate(self) except -1:
        """Computes the trial's objective, gradient and slope; returns whether all of it is finite."""
        cdef Py_ssize_t size = self.model.size
        cdef const void *gradients
        if not all_finite(self.model, self.trial):
            return False
        self.evaluations += 1
        if self.shared is None:
            self.trial_loss = self.compute_gradients()
            gradients = self.workspace.plan.gradients
        else:
            self.trial_loss, block = self.shared(self.trial_block)
            gradients = self.model.block(block)
        with nogil:
            state = flush_subnormals()
            self.penalise_trial(gradients)
            self.trial_slope = product(self.trial_gradient, self.direction, size)
            self.trial_steepest = largest(self.trial_gradient, size)
            restore_float_state(state)
        return isfinite(self.trial_value) and isfinite(self.trial_steepest)

    cdef double compute_gradients(self) except? -1:
        """The trial's mean loss; the workspace has its gradient then. KeyboardInterrupt comes here."""
        cdef Model model = self.model
        cdef ThreadChoice choice = self.workspace.thread_choice
        cdef bint stepping = model.stepping
        cdef int threads = choice.next_threads()
        cdef double start = perf_counter(), loss
        model.stepping = True           # neither a Python loss nor a signal handler may train the network meanwhile
        try:
            loss = self.workspace.mean_gradients(model, self.rows, threads)
            PyErr_CheckSignals()
        finally:
            model.stepping = stepping
        choice.note(threads, (perf_counter() - start) / self.rows.data.rows)
        return loss

    cdef void penalise_trial(self, const void *gradients) noexcept nogil:
        """The trial's objective and gradient: those of its loss, and of the penalties of its weights."""
        cdef Layer *layer
        cdef double *gradient = self.trial_gradient
        cdef char *block = <char *> self.trial
        cdef bint single = self.model.itemsize == 4
        cdef int index
        if single:
            widen(gradient, <const float *> gradients, self.model.size)
        else:
            widen(gradient, <const double *> gradients, self.model.size)
        self.trial_value = self.trial_loss
        if self.l1 == 0 and self.l2 == 0:
            return
        for index in range(self.model.n_layers):
            layer = &self.model.layers[index]
            if single:
                self.trial_value += penalise(gradient, <const float *> block, self.l1, self.l2, layer.bias)
            else:
                self.trial_value += penalise(gradient, <const double *> block, self.l1, self.l2, layer.bias)
            gradient += layer.bias + layer.stride
            block += (layer.bias + layer.stride) * self.model.itemsize

    cdef int search(self) except -1:
        """Looks along the direction for a point with a smaller objective, the trial; returns an Outcome."""
        cdef LineSearch search
        cdef double slope, square, step = 1
        cdef int _
        self.find_direction(&slope, &square)
        if not self.pairs:
            if not isfinite(square):
                return DIVERGED
            step = 1 / sqrt(square)     # nothing is known of the curvature: a step of length 1
        if not (slope < 0 and isfinite(slope) and isfinite(step)):
            return LOST
        search = began(self.value, slope, step)
        for _ in range(MOST_TRIALS):
            self.try_step(search.step)
            if not self.evaluate():
                return DIVERGED
            if ended(&search, self.trial_value, self.trial_slope):
                self.decline = -slope * search.step
                return FOUND if search.step > 0 and self.trial_value <= self.value else LOST
        return LOST

    cdef int find_direction(self, double *slope, double *square) except -1:
        """direction := -H gradient; slope := gradient'direction, square := direction'direction"""
        cdef Py_ssize_t size = self.model.size, pairs, i
        cdef double *d = self.direction
        if self.pairs is not self.optimizer.state:      # of the first iteration, or a callback has trained
            self.read_pairs(0)
        pairs = len(self.pairs) // 2
        with nogil:
            state = flush_subnormals()
            memcpy(d, self.gradient, size * sizeof(double))
            if pairs == 0:
                for i in range(size):
                    d[i] = -d[i]
            elif self.model.itemsize == 4:
                two_loops(d, self.shares, <const float **> self.blocks, self.products, pairs, self.scale, size)
            else:
                two_loops(d, self.shares, <const double **> self.blocks, self.products, pairs, self.scale, size)
            slope[0], square[0] = product(self.gradient, d, size), product(d, d, size)
            restore_float_state(state)
        return 0

    cdef int try_step(self, double step) except -1:
        """trial := point + step * direction"""
        with nogil:
            state = flush_subnormals()
            if self.model.itemsize == 4:
                step_to(<float *> self.trial, <const float *> self.point, step, self.direction, self.model.size)
            else:
                step_to(<double *> self.trial, <const double *> self.point, step, self.direction, self.model.size)
            restore_float_state(state)
        return 0

    cdef int read_pairs(self, Py_ssize_t first) except -1:
        """Finds the blocks of the optimizer's pairs, and computes s'y of those from the first on."""
        cdef tuple pairs = self.optimizer.state
        cdef Py_ssize_t count = len(pairs) // 2, i
        if count > self.room:
            self.room = 2 * count
            self.table = np.zeros((4, self.room))
            self.products = <double *> pointer(self.table)
            self.shares, self.blocks = self.products + self.room, <void **> (self.products + 2 * self.room)
            first = 0
        for i in range(2 * count):
            self.blocks[i] = self.model.block(pairs[i])
        for i in range(first, count):
            self.products[i] = self.product_of(self.blocks[2 * i], self.blocks[2 * i + 1])
        if count:
            self.scale = self.products[count - 1] / self.product_of(
                self.blocks[2 * count - 1], self.blocks[2 * count - 1])
        self.pairs = pairs
        return 0

    cdef double product_of(self, const void *a, const void *b) noexcept:
        """a'b of two blocks"""
        cdef double result
        with nogil:
            state = flush_subnormals()
            if self.model.itemsize == 4:
                result = product(<const float *> a, <const float *> b, self.model.size)
            else:
                result = product(<const double *> a, <const double *> b, self.model.size)
            restore_float_state(state)
        return result

    cdef int accept(self) except -1:
        """The trial becomes the point, and the network's parameters; the way to it a pair, if the slope has grown."""
        cdef Model model = self.model
        cdef tuple pair = self.spare, pairs = self.pairs
        cdef bint full = len(pairs) >= 2 * self.optimizer.most
        if pair is None:
            pair = aligned_zeros(model.size, model.dtype), aligned_zeros(model.size, model.dtype)
        self.make_pair(model.block(pair[0]), model.block(pair[1]))
        growth = self.product_of(model.block(pair[0]), model.block(pair[1]))
        if not DBL_EPSILON * self.decline < growth < INFINITY:
            self.spare = pair
            self.set_pairs(pairs, self.trial)
        else:
            self.spare = pairs[:2] if full else None
            self.set_pairs((pairs[2:] if full else pairs) + pair, self.trial)
            if full:
                memmove(self.products, self.products + 1, (len(pairs) // 2 - 1) * sizeof(double))
            self.read_pairs(len(self.optimizer.state) // 2 - 1)
        self.advance()
        return 0

    cdef void make_pair(self, void *s, void *y) noexcept:
        """s := trial - point, y := the change of the gradient"""
        with nogil:
            state = flush_subnormals()
            if self.model.itemsize == 4:
                differences(<float *> s, <float *> y, <float *> self.trial, <float *> self.point, self.trial_gradient,
                            self.gradient, self.model.size)
            else:
                differences(<double *> s, <double *> y, <double *> self.trial, <double *> self.point,
                            self.trial_gradient, self.gradient, self.model.size)
            restore_float_state(state)

    cdef int set_pairs(self, tuple pairs, const void *parameters=NULL) except -1:
        """The optimizer has these pairs now; and the network these parameters, if there are any."""
        cdef Model model = self.model
        cdef bint stepping = model.stepping
        model.stepping = True           # also while it waits, when a signal may be handled
        try:
            model.lock(stepping=True)
            self.optimizer.state = pairs
            if parameters != NULL:
                memcpy(pointer(model.parameters), parameters, model.size * model.itemsize)
                model.steps += 1        # so it is known, whatever comes next, that something was learned
            model.unlock()
        finally:
            model.stepping = stepping
        return 0
