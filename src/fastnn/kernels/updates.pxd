# Optimizers: one loop each over parameters laid out like the block, padding included (its
# gradient is zero, so it stays zero). Update rules are PyTorch's. `begin_step` is called once a
# step; then, for as many parts of the block as suit the caller, `adjust_gradients` where there are
# penalties or clipping, and `update_parameters`.
#
# The state of each, `first` and `second` in Update: SGD v; Adam m, v; RMSprop v, velocity; Adagrad sum;
# Rprop the last gradient, the sizes of steps.
#
# An optimizer is declared once: its code in `Optimizer` and its two lines in `dispatch`. All else, here and in Python,
# asks `dispatch`. CONTRIBUTING.md has the recipe.

from libc.math cimport sqrt as square_root

from .gemm cimport padded_row, vectors_of
from .simd cimport (LANES, VECTOR_BYTES, absolute, add_as_doubles, copysign, fill, first_lanes, fma, for_intel,
                    maximum, minimum, real, select_less, sqrt, sqrt_estimated, vec)
from .types cimport ROW_BYTES, Constants, OptimizerFacts, Update

cdef enum Optimizer:
    SGD, ADAM, ADAMW, RMSPROP, ADAGRAD, RPROP

cdef enum:
    BLOCK = ROW_BYTES // VECTOR_BYTES       # vectors in the narrowest padded row
    ROW_LANES = BLOCK * LANES               # and reals


cdef inline double power(double base, long long exponent) noexcept nogil:
    """base ** exponent by squaring: the same bits on every platform, unlike libm's pow."""
    cdef double result = 1
    while exponent > 0:
        if exponent & 1:
            result *= base
        base *= base
        exponent >>= 1
    return result


cdef enum Factor:
    # What a step multiplies by; `scalar` says how each follows from an Update.
    RATE, FRICTION, DECAY, KEPT, CORRECTION, GAIN1, GAIN2, KEEP2, OFFSET, GAIN, KEEP, SHRINK, GROWTH, SMALLEST, LARGEST
    L1, L2, CLIP


cdef inline real scalar(const Update *update, int factor) noexcept nogil:
    """A factor, a literal, of one network's step."""
    cdef const Constants *constants = &update.constants
    if factor == RATE:
        return <real> -update.rate
    if factor == FRICTION:
        return <real> constants.momentum
    if factor == DECAY:
        return <real> constants.weight_decay
    if factor == KEPT:
        return <real> (1 - update.learning_rate * constants.weight_decay)
    if factor == CORRECTION:
        return <real> update.correction
    if factor == GAIN1:
        return <real> (1 - constants.beta1)
    if factor == GAIN2:
        return <real> (1 - constants.beta2)
    if factor == KEEP2:
        return <real> constants.beta2
    if factor == OFFSET:
        return <real> constants.epsilon
    if factor == GAIN:
        return <real> (1 - constants.alpha)
    if factor == KEEP:
        return <real> constants.alpha
    if factor == SHRINK:
        return <real> constants.etas[0]
    if factor == GROWTH:
        return <real> constants.etas[1]
    if factor == SMALLEST:
        return <real> constants.step_sizes[0]
    if factor == LARGEST:
        return <real> constants.step_sizes[1]
    if factor == L1:
        return <real> update.l1
    if factor == L2:
        return <real> update.l2
    return <real> update.clip_value


cdef inline vec of(const Update *update, bint lanes, int factor) noexcept nogil:
    """The factor in every lane; with `lanes`, a literal, that of each lane's own network: update[0 … LANES-1]."""
    cdef vec result
    cdef int i
    if not lanes:
        return fill(scalar(update, factor))
    for i in range(LANES):
        (<real *> &result)[i] = scalar(&update[i], factor)
    return result


cdef inline bint adjusts(const Update *update) noexcept nogil:
    """Whether gradients are changed before the optimizer sees them."""
    return update.l1 != 0 or update.l2 != 0 or update.clip_value != 0 or update.clip_norm != 0


cdef inline bint is_plain(const Update *update) noexcept nogil:
    """Whether an update is p := p - rate * gradient and nothing else: such can be made in the gradient's tile."""
    return (update.optimizer == SGD and update.first == NULL and update.constants.weight_decay == 0
            and not adjusts(update))


cdef inline void adjust_all(
        bint l1, bint l2, bint clip_value, vec *gradient, const vec *p, const Update *update, bint lanes,
        Py_ssize_t vectors) noexcept nogil:
    """adjust_gradients but for the norm; the first three, literals, say what there is to do. For `lanes` see `of`."""
    cdef vec sign_factor = of(update, lanes, L1), factor = of(update, lanes, L2), bound = of(update, lanes, CLIP)
    cdef vec g
    cdef Py_ssize_t i
    for i in range(vectors):
        g = gradient[i]
        if l2:
            g = fma(factor, p[i], g)
        if l1:
            g = g + select_less(fill(0), absolute(p[i]), copysign(sign_factor, p[i]), fill(0))
        if clip_value:
            g = maximum(-bound, minimum(bound, g))
        gradient[i] = g


cdef inline void penalise_and_clip(
        vec *g, const vec *p, const Update *update, bint lanes, bint penalised, Py_ssize_t vectors) noexcept nogil:
    """adjust_gradients but for the norm: a copy of its loop for each case, so that there is nothing to choose in it."""
    if penalised and update.l1 != 0 and update.clip_value != 0:
        adjust_all(True, True, True, g, p, update, lanes, vectors)
    elif penalised and update.l1 != 0:
        adjust_all(True, True, False, g, p, update, lanes, vectors)
    elif penalised and update.clip_value != 0:
        adjust_all(False, True, True, g, p, update, lanes, vectors)
    elif penalised:
        adjust_all(False, True, False, g, p, update, lanes, vectors)
    elif update.clip_value != 0:
        adjust_all(False, False, True, g, p, update, lanes, vectors)


cdef inline void sum_squares(vec *squares, const vec *g, Py_ssize_t rows, Py_ssize_t blocks) noexcept nogil:
    """adjust_gradients's sums: of even and of odd blocks apart, as an addition waits for the one before."""
    cdef vec even[BLOCK]
    cdef vec odd[BLOCK]
    cdef Py_ssize_t _, __
    cdef int i
    for _ in range(rows):
        for i in range(BLOCK):
            even[i] = odd[i] = fill(0)
        for __ in range(blocks // 2):
            for i in range(BLOCK):
                even[i] = fma(g[i], g[i], even[i])
                odd[i] = fma(g[BLOCK + i], g[BLOCK + i], odd[i])
            g += 2 * BLOCK
        if blocks % 2:
            for i in range(BLOCK):
                even[i] = fma(g[i], g[i], even[i])
            g += BLOCK
        for i in range(BLOCK):
            squares[i] = even[i] + odd[i]
        squares += BLOCK


cdef inline void sum_unpadded_squares(vec *squares, const real *g, Py_ssize_t rows, Py_ssize_t n) noexcept nogil:
    """sum_squares where the rows of g have no padding; another ROW_BYTES can be read behind them."""
    cdef vec padded[8 * BLOCK]
    cdef Py_ssize_t blocks = padded_row(n) // ROW_LANES
    cdef Py_ssize_t row, i
    for row in range(rows):
        for i in range(blocks * BLOCK):
            padded[i] = first_lanes(n - i*LANES, (<const vec *> (g + row*n))[i])
        sum_squares(squares + row*BLOCK, padded, 1, blocks)


cdef inline void adjust_gradients(
        void *gradients, void *squares, const void *parameters, const Update *update, bint penalised,
        Py_ssize_t rows, Py_ssize_t n, Py_ssize_t ldw) noexcept nogil:
    """g := g + l2 * p + l1 * sign(p) where penalised, held between -clip_value and clip_value where that is not 0;
    if clip_norm is not 0, squares := sums of g^2, for each row as many as 64 bytes hold, dealt its columns in turn.

    One order on every instruction set with fused multiply-add, for any number of threads.
    """
    cdef vec *g = <vec *> gradients
    penalise_and_clip(g, <const vec *> parameters, update, False, penalised, vectors_of(rows * ldw))
    if update.clip_norm != 0 and ldw < padded_row(n):
        sum_unpadded_squares(<vec *> squares, <const real *> gradients, rows, n)
    elif update.clip_norm != 0:
        sum_squares(<vec *> squares, g, rows, ldw // ROW_LANES)


cdef inline double clipping_factor(const void *squares, Py_ssize_t rows, double clip_norm) noexcept nogil:
    """What makes the norm of a gradient at most clip_norm: 1, or about clip_norm / norm, as PyTorch has it."""
    cdef double sums[ROW_LANES]
    cdef double total = 0
    cdef Py_ssize_t row
    cdef int i
    for i in range(ROW_LANES):
        sums[i] = 0
    for row in range(rows):
        for i in range(BLOCK):
            add_as_doubles(&sums[i*LANES], (<const vec *> squares)[row*BLOCK + i])
    for i in range(ROW_LANES):
        total += sums[i]
    return factor_for_norm(total, clip_norm)


cdef inline double factor_for_norm(double squares, double clip_norm) noexcept nogil:
    """clipping_factor of a gradient with this sum of squares."""
    cdef double factor = clip_norm / (square_root(squares) + 1e-6)
    return 1 if factor >= 1 else factor     # NaN stays


cdef inline void scale_gradients(void *gradients, double factor, Py_ssize_t count) noexcept nogil:
    """g := factor * g"""
    cdef vec *g = <vec *> gradients
    cdef vec scale = fill(<real> factor)
    cdef Py_ssize_t i
    for i in range(count // LANES):
        g[i] = scale * g[i]


cdef inline void sgd_update(
        vec *p, const vec *gradient, vec *v, vec *_, const Update *update, bint lanes,
        Py_ssize_t vectors) noexcept nogil:
    """g := gradient + weight_decay * p
    v := momentum * v + g;  g := g + momentum * v with Nesterov, else v
    p := p - learning_rate * g

    Without velocity (NULL) there is no momentum.
    """
    cdef vec rate = of(update, lanes, RATE)
    cdef vec friction = of(update, lanes, FRICTION)
    cdef vec decay = of(update, lanes, DECAY)
    cdef vec g
    cdef Py_ssize_t i
    if v == NULL and update.constants.weight_decay == 0:
        for i in range(vectors):
            p[i] = fma(rate, gradient[i], p[i])
        return
    for i in range(vectors):
        g = fma(decay, p[i], gradient[i])
        if v != NULL:
            v[i] = fma(friction, v[i], g)
            g = fma(friction, v[i], g) if update.constants.nesterov else v[i]
        p[i] = fma(rate, g, p[i])


cdef inline void adam_or_adamw_update(
        vec *p, const vec *gradient, vec *m, vec *v, const Update *update, bint lanes, bint decoupled, bint estimated,
        Py_ssize_t vectors) noexcept nogil:
    """m := beta1 * m + (1 - beta1) * g;  v := beta2 * v + (1 - beta2) * g^2, step = 1 the first time,
    p := p - learning_rate * m' / (sqrt(v') + epsilon),
    m' = m / (1 - beta1^step), v' = v / (1 - beta2^step)        (Kingma and Ba, 2014)

    decoupled, a literal: p := p - learning_rate * weight_decay * p before  (Loshchilov and Hutter, 2017)
    estimated, a literal: the root is found without the divider, which has a division to do; the bits are the same
    """
    cdef vec kept = of(update, lanes, KEPT)
    cdef vec rate = of(update, lanes, RATE)
    cdef vec correction = of(update, lanes, CORRECTION)
    cdef vec gain1 = of(update, lanes, GAIN1)
    cdef vec gain2 = of(update, lanes, GAIN2)
    cdef vec keep2 = of(update, lanes, KEEP2)
    cdef vec offset = of(update, lanes, OFFSET)
    cdef vec g, root
    cdef Py_ssize_t i
    for i in range(vectors):
        g = gradient[i]
        m[i] = fma(gain1, g - m[i], m[i])
        v[i] = fma(gain2 * g, g, keep2 * v[i])
        root = sqrt_estimated(v[i]) if estimated else sqrt(v[i])
        p[i] = fma(rate, m[i] / fma(root, correction, offset), kept * p[i] if decoupled else p[i])


cdef inline void adam_update(
        vec *p, const vec *gradient, vec *m, vec *v, const Update *update, bint lanes,
        Py_ssize_t vectors) noexcept nogil:
    """adam_or_adamw_update, not decoupled"""
    if for_intel:
        adam_or_adamw_update(p, gradient, m, v, update, lanes, False, True, vectors)
    else:
        adam_or_adamw_update(p, gradient, m, v, update, lanes, False, False, vectors)


cdef inline void adamw_update(
        vec *p, const vec *gradient, vec *m, vec *v, const Update *update, bint lanes,
        Py_ssize_t vectors) noexcept nogil:
    """adam_or_adamw_update, decoupled"""
    if for_intel:
        adam_or_adamw_update(p, gradient, m, v, update, lanes, True, True, vectors)
    else:
        adam_or_adamw_update(p, gradient, m, v, update, lanes, True, False, vectors)


cdef inline void rmsprop_update(
        vec *p, const vec *gradient, vec *v, vec *velocity, const Update *update, bint lanes,
        Py_ssize_t vectors) noexcept nogil:
    """g := gradient + weight_decay * p
    v := alpha * v + (1 - alpha) * g^2
    velocity := momentum * velocity + g / (sqrt(v) + epsilon)
    p := p - learning_rate * velocity                           (Hinton, 2012)

    Without velocity (NULL) there is no momentum.
    """
    cdef vec rate = of(update, lanes, RATE)
    cdef vec friction = of(update, lanes, FRICTION)
    cdef vec decay = of(update, lanes, DECAY)
    cdef vec gain = of(update, lanes, GAIN)
    cdef vec keep = of(update, lanes, KEEP)
    cdef vec offset = of(update, lanes, OFFSET)
    cdef vec g
    cdef Py_ssize_t i
    for i in range(vectors):
        g = fma(decay, p[i], gradient[i])
        v[i] = fma(gain * g, g, keep * v[i])
        g = g / (sqrt(v[i]) + offset)
        if velocity != NULL:
            g = velocity[i] = fma(friction, velocity[i], g)
        p[i] = fma(rate, g, p[i])


cdef inline void adagrad_update(
        vec *p, const vec *gradient, vec *total, vec *_, const Update *update, bint lanes,
        Py_ssize_t vectors) noexcept nogil:
    """g := gradient + weight_decay * p;  total := total + g^2
    p := p - rate * g / (sqrt(total) + epsilon), rate as in adagrad_rate
                                                                (Duchi, Hazan and Singer, 2011)
    """
    cdef vec rate = of(update, lanes, RATE)
    cdef vec decay = of(update, lanes, DECAY)
    cdef vec offset = of(update, lanes, OFFSET)
    cdef vec g
    cdef Py_ssize_t i
    for i in range(vectors):
        g = fma(decay, p[i], gradient[i])
        total[i] = fma(g, g, total[i])
        p[i] = fma(rate, g / (sqrt(total[i]) + offset), p[i])


cdef inline void rprop_update(
        vec *p, const vec *gradient, vec *last, vec *size, const Update *update, bint lanes,
        Py_ssize_t vectors) noexcept nogil:
    """size := size * etas[1] where gradient and last have one sign, * etas[0] where they have two, within step_sizes;
    g := gradient, 0 where they have two;  p := p - size * sign(g);  last := g  (Riedmiller and Braun, 1993)
    """
    cdef vec zero = fill(0)
    cdef vec shrink = of(update, lanes, SHRINK)
    cdef vec growth = of(update, lanes, GROWTH)
    cdef vec smallest = of(update, lanes, SMALLEST)
    cdef vec largest = of(update, lanes, LARGEST)
    cdef vec g, agreement
    cdef Py_ssize_t i
    for i in range(vectors):
        agreement = signed_one(gradient[i]) * signed_one(last[i])      # of signs: a product of gradients may vanish
        size[i] = size[i] * select_less(zero, agreement, growth, select_less(agreement, zero, shrink, fill(1)))
        size[i] = maximum(smallest, minimum(largest, size[i]))
        g = select_less(agreement, zero, zero, gradient[i])
        p[i] = fma(-size[i], signed_one(g), p[i])
        last[i] = g


cdef inline vec signed_one(vec x) noexcept nogil:
    """1, 0 or -1; NaN for NaN"""
    return select_less(fill(0), absolute(x), copysign(fill(1), x), x)


cdef inline void plain_rate(Update *update) noexcept nogil:
    """rate := learning_rate"""
    update.divisor = 1


cdef inline void adam_rate(Update *update) noexcept nogil:
    """rate := learning_rate / (1 - beta1^step);  correction := 1 / sqrt(1 - beta2^step)"""
    update.divisor = 1 - power(update.constants.beta1, update.step)
    update.correction = 1 / square_root(1 - power(update.constants.beta2, update.step))


cdef inline void adagrad_rate(Update *update) noexcept nogil:
    """rate := learning_rate / (1 + (step - 1) * learning_rate_decay)"""
    update.divisor = 1 + (update.step - 1) * update.constants.learning_rate_decay


ctypedef void (*Rate)(Update *update) noexcept nogil
ctypedef void (*Rule)(
    vec *p, const vec *gradient, vec *first, vec *second, const Update *update, bint lanes,
    Py_ssize_t vectors) noexcept nogil

cdef enum Task:
    # What `dispatch` is asked for.
    BEGIN                   # what all parameters of a step share
    UPDATE                  # p and its state := those after the step
    UPDATE_LANES            # the same where each lane is a network, with an Update of its own
    DESCRIBE                # facts := what is known of the optimizer

cdef struct Arguments:
    Update *begun
    const Update *update
    vec *p
    const vec *gradient
    vec *first
    vec *second
    Py_ssize_t vectors
    OptimizerFacts *facts


cdef inline void rule(
        int task, Arguments *args, const char *name, Rate rate, Rule update, int state_blocks,
        bint velocity) noexcept nogil:
    """Does the task for an optimizer. Task and functions are literals, so all of it is inlined."""
    if task == BEGIN:
        rate(args.begun)
    if task == UPDATE:
        update(args.p, args.gradient, args.first, args.second, args.update, False, args.vectors)
    if task == UPDATE_LANES:
        update(args.p, args.gradient, args.first, args.second, args.update, True, args.vectors)
    if task == DESCRIBE:
        args.facts.name, args.facts.state_blocks, args.facts.velocity = name, state_blocks, velocity


cdef inline void dispatch(int optimizer, int task, Arguments *args) noexcept nogil:
    """Does a task, a literal, for an optimizer. Each is declared here: its name, the rate of a step, its update, how
    many blocks of state it keeps, and whether it keeps one more where there is momentum."""
    if optimizer == SGD:
        rule(task, args, b"sgd", plain_rate, sgd_update, 0, True)
    elif optimizer == ADAM:
        rule(task, args, b"adam", adam_rate, adam_update, 2, False)
    elif optimizer == ADAMW:
        rule(task, args, b"adamw", adam_rate, adamw_update, 2, False)
    elif optimizer == RMSPROP:
        rule(task, args, b"rmsprop", plain_rate, rmsprop_update, 1, True)
    elif optimizer == ADAGRAD:
        rule(task, args, b"adagrad", adagrad_rate, adagrad_update, 1, False)
    elif optimizer == RPROP:
        rule(task, args, b"rprop", plain_rate, rprop_update, 2, False)


cdef inline void describe_optimizer(int optimizer, OptimizerFacts *facts) noexcept nogil:
    """facts := what is declared of an optimizer; its name is NULL where there is none of this code."""
    cdef Arguments args
    args.facts = facts
    facts.name = NULL
    dispatch(optimizer, DESCRIBE, &args)


cdef inline void begin_step(Update *update) noexcept nogil:
    """Counts the step, and computes what all its parameters share."""
    cdef Arguments args
    count_step(update)
    args.begun = update
    dispatch(update.optimizer, BEGIN, &args)
    set_rate(update)


cdef inline void begin_alike(Update *update, const Update *begun) noexcept nogil:
    """begin_step, where another step of the same number with the same constants has begun."""
    count_step(update)
    update.divisor, update.correction = begun.divisor, begun.correction
    set_rate(update)


cdef inline void count_step(Update *update) noexcept nogil:
    update.step += 1
    if update.rates != NULL:
        update.learning_rate = update.rates[0]
        update.rates += 1


cdef inline void set_rate(Update *update) noexcept nogil:
    update.rate = update.learning_rate
    if update.divisor != 1:
        update.rate /= update.divisor


cdef inline void update_parameters(
        void *parameters, const void *gradients, void *first, void *second, const Update *update,
        Py_ssize_t count) noexcept nogil:
    """The optimizer's update of `count` parameters, a multiple of LANES; first and second are its state for them."""
    cdef Arguments args
    args.p, args.gradient, args.first, args.second = (
        <vec *> parameters, <const vec *> gradients, <vec *> first, <vec *> second)
    args.update, args.vectors = update, count // LANES
    dispatch(update.optimizer, UPDATE, &args)


cdef inline void update_lanes(
        vec *parameters, const vec *gradients, vec *first, vec *second, const Update *updates,
        Py_ssize_t vectors) noexcept nogil:
    """update_parameters where each lane is a network: updates[0 … LANES-1], which agree in optimizer and momentum."""
    cdef Arguments args
    args.p, args.gradient, args.first, args.second, args.vectors = parameters, gradients, first, second, vectors
    args.update = updates
    dispatch(updates.optimizer, UPDATE_LANES, &args)
