# Losses: value and gradient of one output layer, with its activation.
#
# An element-wise loss is one function that returns the loss of outputs a against targets t
# and writes its gradient; the chain rule through the activation follows (`element`). The losses
# that belong to one activation are computed from the pre-activations z instead, so that
# large logits stay finite.
#
# A loss is declared once: its code in `Loss` and its two lines in `dispatch`. All else, here and in Python, asks
# `dispatch`. CONTRIBUTING.md has the recipe.

from libc.math cimport INFINITY, NAN, ldexp
from libc.string cimport memset

from .activations cimport IDENTITY, activated_with_slope, softmax_lanes, softmax_row
from .elementary cimport exp, exp_of_negative_size, log1p, sigmoid, softplus
from .gemm cimport padded_row, vectors_of
from .simd cimport (LANES, VECTOR_BYTES, absolute, add_as_doubles, copysign, doubles, fill, fill_doubles, first_lanes,
                    fma, from_doubles, maximum, real, select_less, select_less_doubles, split_exponent, to_doubles, vec)
from .types cimport ROW_BYTES, LossFacts, Plan

cdef enum Loss:
    # In the order in which Python names them. Losses of one name go with different outputs.
    MSE, HALF_MSE, MAE, HUBER, POISSON, BINARY_CROSS_ENTROPY, CROSS_ENTROPY, QUANTILE, SIGMOID_FOCAL, SOFTMAX_FOCAL

cdef enum:
    ROW_LANES = LANES * ROW_BYTES // VECTOR_BYTES       # reals in the narrowest padded row

ctypedef vec (*Element)(vec a, vec t, real parameter, vec *gradient) noexcept nogil
ctypedef void (*LaneRows)(
    vec *dz, double *losses, const vec *z, const vec *t, const double *weights, const double *scales,
    Py_ssize_t m, Py_ssize_t n) noexcept nogil
ctypedef void (*Rows)(
    real *dz, double *losses, const real *z, const real *t, const double *weights, double scale, double parameter,
    Py_ssize_t m, Py_ssize_t n) noexcept nogil


cdef inline vec mse(vec a, vec t, real _, vec *gradient) noexcept nogil:
    """(a - t)^2"""
    cdef vec d = a - t
    gradient[0] = d + d
    return d * d


cdef inline vec half_mse(vec a, vec t, real _, vec *gradient) noexcept nogil:
    """(a - t)^2 / 2"""
    cdef vec d = a - t
    gradient[0] = d
    return fill(<real> 0.5) * d * d


cdef inline vec mae(vec a, vec t, real _, vec *gradient) noexcept nogil:
    """|a - t|; its gradient at 0 is 0"""
    cdef vec d = a - t
    cdef vec size = absolute(d)
    gradient[0] = select_less(fill(0), size, copysign(fill(1), d), d)
    return size


cdef inline vec huber(vec a, vec t, real _, vec *gradient) noexcept nogil:
    """d^2 / 2 for |d| < 1, |d| - 1/2 elsewhere, d = a - t (Huber, 1964, delta = 1)"""
    cdef vec d = a - t
    cdef vec size = absolute(d)
    gradient[0] = select_less(fill(1), size, copysign(fill(1), d), d)
    return select_less(fill(1), size, size - fill(<real> 0.5), fill(<real> 0.5) * d * d)


cdef inline vec quantile(vec a, vec t, real q, vec *gradient) noexcept nogil:
    """q (t - a) for a < t, (1 - q) (a - t) elsewhere; its gradient at a = t is 0 (Koenker and Bassett, 1978)"""
    cdef vec d = a - t
    cdef vec slope = select_less(d, fill(0), fill(-q), fill(1 - q))
    gradient[0] = select_less(fill(0), absolute(d), slope, d)
    return slope * d


cdef inline vec sigmoid_focal(vec z, vec t, real gamma, vec *gradient) noexcept nogil:
    """-t (1 - a)^gamma log a - (1 - t) a^gamma log(1 - a), a = sigmoid(z) (Lin et al., 2017)

    With p = softplus(z) = -log(1 - a) and n = softplus(-z) = -log a:  t e^(-gamma p) n + (1 - t) e^(-gamma n) p.
    """
    cdef vec a = sigmoid(z), other = sigmoid(-z)
    cdef vec p = softplus(z), n = softplus(-z)
    cdef vec focus = fill(gamma)
    cdef vec positive = t * exp(-focus * p), negative = (fill(1) - t) * exp(-focus * n)
    gradient[0] = (negative * fma(focus * other, p, a)
                   - positive * fma(focus * a, n, other))
    return fma(positive, n, negative * p)


cdef inline vec sigmoid_cross_entropy(vec z, vec t, real _, vec *gradient) noexcept nogil:
    """-t log a - (1 - t) log(1 - a), a = sigmoid(z), as t max(-z, 0) + (1 - t) max(z, 0) + log(1 + exp(-|z|))

    Every term is positive for t in 0 … 1, so none cancels another.
    """
    cdef vec zero = fill(0)
    gradient[0] = sigmoid(z) - t
    return fma(t, maximum(zero, -z),
               fma(fill(1) - t, maximum(zero, z), log1p(exp_of_negative_size(z))))


cdef inline vec exp_poisson(vec z, vec t, real _, vec *gradient) noexcept nogil:
    """a - t log a, a = exp(z)"""
    cdef vec a = exp(z)
    gradient[0] = a - t
    return fma(-t, z, a)


cdef inline vec element(
        Element loss, bint of_output, real parameter, int activation, vec z, vec t, vec factor,
        vec *gradient) noexcept nogil:
    """loss(activation(z), t), or loss(z, t) unless of_output, and factor times its gradient with respect to z."""
    cdef vec a = z, slope = fill(1), value
    if of_output and activation != IDENTITY:
        a = activated_with_slope(z, activation, &slope)
    value = loss(a, t, parameter, gradient)
    gradient[0] = factor * gradient[0]
    if of_output and activation != IDENTITY:
        gradient[0] = gradient[0] * slope
    return value


cdef inline doubles log_lanes(doubles x) noexcept nogil:
    """log(x) for finite normal x > 0, the same bits on every platform, unlike libm's.

    x = f 2^e with f in sqrt(1/2) … sqrt(2); log f = 2 artanh(s) = 2 (s + s^3/3 + s^5/5 + …) with
    s = (f - 1)/(f + 1), |s| < 0.172, so eleven terms reach 1e-18.
    """
    cdef doubles e
    cdef doubles f = split_exponent(x, &e)
    cdef doubles root = fill_doubles(0.70710678118654752)
    cdef doubles s, square, series = fill_doubles(0)
    cdef int term
    e = select_less_doubles(f, root, e - 1.0, e)
    f = select_less_doubles(f, root, f * 2.0, f)
    s = (f - 1.0) / (f + 1.0)
    square = s * s
    for term in range(21, 0, -2):
        series = series * square + 1.0 / term
    return e * 0.69314718055994531 + s * 2.0 * series


cdef inline double natural_log(double x) noexcept nogil:
    """log_lanes of one number"""
    cdef doubles result = log_lanes(fill_doubles(x))
    return (<double *> &result)[0]


cdef inline double natural_exp(double x) noexcept nogil:
    """exp(x) for x <= 0, the same bits on every platform, unlike libm's.

    x = n log 2 + r with |r| <= 0.35; 13 terms of the series of exp(r) reach 1e-17.
    """
    cdef double n, r, series = 1
    cdef int term
    if not x > -700:
        return 0 if x < 0 else x        # NaN stays NaN
    n = <double> <long long> (x * 1.4426950408889634 - 0.5)
    r = (x - n * 0.693147180369123816490) - n * 1.90821492927058770002e-10
    for term in range(13, 0, -1):
        series = 1 + series * r / term
    return ldexp(series, <int> n)


cdef inline void each_element(
        Element loss, bint of_output, real parameter, int activation, real *d, double *losses, const real *z,
        const real *t, const double *weights, double scale, Py_ssize_t m, Py_ssize_t n) noexcept nogil:
    """losses[i] := weights[i] * sum of loss(activation(z), t), or of loss(z, t) unless of_output;
    d := scale * weights[i] * its gradient with respect to z, zero beyond n.

    A row is summed in double: its columns are dealt to as many sums as 64 bytes hold reals,
    and these are added in order. Activation, loss and slope follow each other in registers.
    """
    cdef Py_ssize_t ld = padded_row(n)
    cdef Py_ssize_t i, j, left
    cdef double weight = 1
    cdef double sums[ROW_LANES]
    cdef vec value, gradient, factor
    for i in range(m):
        if weights != NULL:
            weight = weights[i]
        factor = fill(<real> (scale * weight))
        for j in range(ROW_LANES):
            sums[j] = 0
        for j in range(vectors_of(n)):
            left = n - j*LANES
            value = element(loss, of_output, parameter, activation, (<const vec *> z)[j], (<const vec *> t)[j], factor,
                            &gradient)
            add_as_doubles(&sums[j % (ROW_LANES // LANES) * LANES], first_lanes(left, value))
            (<vec *> d)[j] = first_lanes(left, gradient)
        for j in range(vectors_of(n), ld // LANES):
            (<vec *> d)[j] = fill(0)
        losses[i] = sums[0]
        for j in range(1, min(<Py_ssize_t> ROW_LANES, n)):
            losses[i] += sums[j]
        losses[i] *= weight
        d += ld
        z += ld
        t += ld


cdef inline void each_lane(
        Element loss, bint of_output, real parameter, int activation, vec *d, double *losses, const vec *z,
        const vec *t, const double *weights, const double *scales, Py_ssize_t m, Py_ssize_t n) noexcept nogil:
    """each_element where each lane is a network: z, t and d are [m][n] without padding, weights (or NULL) and losses
    [m][LANES], scales [LANES]. Columns are dealt to as many sums, so that each lane has the bits of its network alone.
    """
    cdef double sums[ROW_LANES * LANES]
    cdef Py_ssize_t i, j, sums_of_row = min(<Py_ssize_t> ROW_LANES, n)
    cdef vec value, factor
    cdef int lane
    for lane in range(LANES):
        (<real *> &factor)[lane] = <real> scales[lane]
    for i in range(m):
        if weights != NULL:
            for lane in range(LANES):
                (<real *> &factor)[lane] = <real> (scales[lane] * weights[i*LANES + lane])
        memset(sums, 0, sums_of_row * LANES * sizeof(double))
        for j in range(n):
            value = element(loss, of_output, parameter, activation, z[i*n + j], t[i*n + j], factor, &d[i*n + j])
            add_as_doubles(&sums[j % ROW_LANES * LANES], value)
        for lane in range(LANES):
            losses[i*LANES + lane] = sums[lane]
            for j in range(1, sums_of_row):
                losses[i*LANES + lane] += sums[j*LANES + lane]
            if weights != NULL:
                losses[i*LANES + lane] *= weights[i*LANES + lane]


cdef inline void softmax_cross_entropy(
        real *dz, double *losses, const real *z, const real *t, const double *weights,
        double scale, double _, Py_ssize_t m, Py_ssize_t n) noexcept nogil:
    """-sum of t log a, a = softmax(z), as sum of t (log sum exp(z - max) - (z - max)); dz = a * sum t - t."""
    cdef Py_ssize_t ld = padded_row(n)
    cdef Py_ssize_t i, j
    cdef double weight = 1, row_total, sum_exp, log_sum, sum_t
    cdef real top
    cdef vec share, factor
    cdef vec *row
    for i in range(m):
        if weights != NULL:
            weight = weights[i]
        softmax_row(dz, z, n, &top, &sum_exp)
        log_sum = natural_log(sum_exp) if sum_exp > 0 else sum_exp     # NaN stays NaN
        row_total = 0
        sum_t = 0
        for j in range(n):
            row_total += t[j] * (log_sum - (<double> z[j] - top))
            sum_t += t[j]
        share = fill(<real> (sum_t / sum_exp))
        factor = fill(<real> (scale * weight))
        row = <vec *> dz
        for j in range(vectors_of(n)):
            row[j] = factor * fma(share, row[j], -(<const vec *> t)[j])
        losses[i] = weight * row_total
        dz += ld
        z += ld
        t += ld


cdef inline void cross_entropy_lanes(
        vec *dz, double *losses, const vec *z, const vec *t, const double *weights, const double *scales,
        Py_ssize_t m, Py_ssize_t n) noexcept nogil:
    """softmax_cross_entropy where each lane is a network; see each_lane for the shapes."""
    cdef Py_ssize_t i, j
    cdef doubles sum_exp, log_sum, row_total, sum_t, weight = fill_doubles(1)
    cdef doubles scale = (<const doubles *> scales)[0]
    cdef vec top, share, factor
    for i in range(m):
        if weights != NULL:
            weight = (<const doubles *> (weights + i*LANES))[0]
        softmax_lanes(dz, z, n, &top, &sum_exp)
        log_sum = select_less_doubles(fill_doubles(0), sum_exp, log_lanes(sum_exp), sum_exp)    # NaN stays NaN
        row_total = sum_t = fill_doubles(0)
        for j in range(n):
            row_total = row_total + to_doubles(t[j]) * (log_sum - (to_doubles(z[j]) - to_doubles(top)))
            sum_t = sum_t + to_doubles(t[j])
        share = from_doubles(sum_t / sum_exp)
        factor = from_doubles(scale * weight)
        for j in range(n):
            dz[j] = factor * fma(share, dz[j], -t[j])
        (<doubles *> (losses + i*LANES))[0] = weight * row_total
        dz += n
        z += n
        t += n


cdef inline double focal(double t, double a, double log_a, double gamma, double *h) noexcept nogil:
    """-t (1 - a)^gamma log a, and h := a times its derivative with respect to a."""
    cdef double rest = 1 - a, power
    h[0] = 0
    if t == 0 or rest <= 0:
        return 0
    power = natural_exp(gamma * natural_log(rest))
    h[0] = t * power * (gamma * a * log_a / rest - 1)
    return -t * power * log_a


cdef inline void softmax_focal(
        real *dz, double *losses, const real *z, const real *t, const double *weights,
        double scale, double gamma, Py_ssize_t m, Py_ssize_t n) noexcept nogil:
    """-sum of t (1 - a)^gamma log a, a = softmax(z) (Lin et al., 2017); dz_i = h_i - a_i * sum of h, see `focal`."""
    cdef Py_ssize_t ld = padded_row(n)
    cdef Py_ssize_t i, j
    cdef double weight = 1, row_total, sum_exp, log_sum, sum_h, a, h
    cdef real top
    for i in range(m):
        if weights != NULL:
            weight = weights[i]
        softmax_row(dz, z, n, &top, &sum_exp)
        log_sum = natural_log(sum_exp) if sum_exp > 0 else sum_exp     # NaN stays NaN
        row_total = sum_h = 0
        for j in range(n):
            row_total += focal(t[j], dz[j] / sum_exp, (<double> z[j] - top) - log_sum, gamma, &h)
            sum_h += h
        for j in range(n):
            a = dz[j] / sum_exp
            focal(t[j], a, (<double> z[j] - top) - log_sum, gamma, &h)
            dz[j] = <real> (scale * weight * (h - a * sum_h))
        losses[i] = weight * row_total + 0 * log_sum
        dz += ld
        z += ld
        t += ld


cdef enum Task:
    # What `dispatch` is asked for.
    ELEMENT                 # value and gradient of one vector of a and t
    ALL                     # losses and dz of rows
    ALL_LANES               # the same where each lane is a network
    DESCRIBE                # facts := what is known of the loss

cdef struct Arguments:
    double parameter
    vec a, t, value, gradient
    int activation
    real *dz                # dz, z, all_t: [m][padded n]; losses, weights: [m]
    double *losses
    const real *z
    const real *all_t
    const double *weights
    double scale
    const double *scales    # [LANES]
    Py_ssize_t m, n
    bint done               # whether ALL_LANES is something that the loss knows
    LossFacts *facts


cdef inline void declare(
        LossFacts *facts, const char *name, const char *output, bint per_row, double parameter, double lowest,
        double highest) noexcept nogil:
    """facts := what `dispatch` says of a loss."""
    facts.name, facts.output, facts.of_output, facts.per_row = name, output, output[0] == 0, per_row
    facts.parameter, facts.lowest, facts.highest = parameter, lowest, highest


cdef inline void of_elements(
        int task, Arguments *args, const char *name, const char *output, Element loss, double parameter,
        double lowest, double highest) noexcept nogil:
    """Does the task for a loss of single elements. Task and function are literals, so there is nothing to choose in
    its loop but the activation."""
    if task == ELEMENT:
        args.value = loss(args.a, args.t, <real> args.parameter, &args.gradient)
    if task == ALL:
        each_element(loss, output[0] == 0, <real> args.parameter, args.activation, args.dz, args.losses, args.z,
                     args.all_t, args.weights, args.scale, args.m, args.n)
    if task == ALL_LANES:
        args.done = True
        each_lane(loss, output[0] == 0, <real> args.parameter, args.activation, <vec *> args.dz, args.losses,
                  <const vec *> args.z, <const vec *> args.all_t, args.weights, args.scales, args.m, args.n)
    if task == DESCRIBE:
        declare(args.facts, name, output, False, parameter, lowest, highest)


cdef inline void of_rows(
        int task, Arguments *args, const char *name, const char *output, Rows loss, LaneRows lanes, double parameter,
        double lowest, double highest) noexcept nogil:
    """Does the task for a loss of whole rows, which knows no single elements; without `lanes` (NULL) no lanes
    either."""
    if task == ALL_LANES and lanes != NULL:
        args.done = True
        lanes(<vec *> args.dz, args.losses, <const vec *> args.z, <const vec *> args.all_t, args.weights, args.scales,
              args.m, args.n)
    if task == ALL:
        loss(args.dz, args.losses, args.z, args.all_t, args.weights, args.scale, args.parameter, args.m, args.n)
    if task == DESCRIBE:
        declare(args.facts, name, output, True, parameter, lowest, highest)


cdef inline void dispatch(int loss, int task, Arguments *args) noexcept nogil:
    """Does a task, a literal, for a loss. Each is declared here: whether it is a mean of elements or of rows; its name;
    the output activation from whose z it is computed, or "" where it takes the outputs of any; its function; the
    default of its parameter, or NAN where it has none; the lowest and the highest target."""
    if loss == MSE:
        of_elements(task, args, b"mse", b"", mse, NAN, -INFINITY, INFINITY)
    elif loss == HALF_MSE:
        of_elements(task, args, b"half_mse", b"", half_mse, NAN, -INFINITY, INFINITY)
    elif loss == MAE:
        of_elements(task, args, b"mae", b"", mae, NAN, -INFINITY, INFINITY)
    elif loss == HUBER:
        of_elements(task, args, b"huber", b"", huber, NAN, -INFINITY, INFINITY)
    elif loss == POISSON:
        of_elements(task, args, b"poisson", b"exp", exp_poisson, NAN, 0, INFINITY)
    elif loss == BINARY_CROSS_ENTROPY:
        of_elements(task, args, b"binary_cross_entropy", b"sigmoid", sigmoid_cross_entropy, NAN, 0, 1)
    elif loss == CROSS_ENTROPY:
        of_rows(task, args, b"cross_entropy", b"softmax", softmax_cross_entropy, cross_entropy_lanes, NAN, 0, 1)
    elif loss == QUANTILE:
        of_elements(task, args, b"quantile", b"", quantile, 0.5, -INFINITY, INFINITY)
    elif loss == SIGMOID_FOCAL:
        of_elements(task, args, b"focal", b"sigmoid", sigmoid_focal, 2, 0, 1)
    elif loss == SOFTMAX_FOCAL:
        of_rows(task, args, b"focal", b"softmax", softmax_focal, NULL, 2, 0, 1)


cdef inline void describe_loss(int loss, LossFacts *facts) noexcept nogil:
    """facts := what is declared of a loss; its name is NULL where there is none of this code."""
    cdef Arguments args
    args.facts = facts
    facts.code, facts.name = loss, NULL
    dispatch(loss, DESCRIBE, &args)


cdef inline vec element_of(const Plan *plan, int activation, vec z, vec t, vec *gradient) noexcept nogil:
    """`element` for the plan's loss, which is not one of rows, with factor 1."""
    cdef Arguments args
    cdef vec slope = fill(1)
    cdef bint chained = plan.loss.of_output and activation != IDENTITY
    args.parameter, args.a, args.t = plan.loss_parameter, z, t
    if chained:
        args.a = activated_with_slope(z, activation, &slope)
    dispatch(plan.loss.code, ELEMENT, &args)
    gradient[0] = args.gradient * slope if chained else args.gradient
    return args.value


cdef inline void loss_forward_backward(
        void *dz, double *losses, const void *z, const void *t, const double *weights, double scale,
        int loss, double parameter, int activation, Py_ssize_t m, Py_ssize_t n) noexcept nogil:
    """losses[i] := weights[i] * (sum over j of loss(activation(z), t)); dz := scale * the gradient of their sum.

    parameter is quantile's q or the focal losses' gamma. A row of weight 0 counts for nothing, even where its loss
    overflows: 0 times infinity would be NaN.
    """
    cdef Arguments args
    cdef Py_ssize_t i
    args.dz, args.losses, args.z, args.all_t = <real *> dz, losses, <const real *> z, <const real *> t
    args.weights, args.scale, args.parameter, args.activation = weights, scale, parameter, activation
    args.m, args.n = m, n
    dispatch(loss, ALL, &args)
    if weights == NULL:
        return
    for i in range(m):
        if weights[i] == 0:
            losses[i] = 0
            memset(args.dz + i*padded_row(n), 0, padded_row(n) * sizeof(real))


cdef inline bint loss_lanes(
        void *dz, double *losses, const void *z, const void *t, const double *weights, const double *scales,
        const Plan *plan, int activation, Py_ssize_t m, Py_ssize_t n) noexcept nogil:
    """loss_forward_backward of the plan's loss where each lane is a network, see each_lane; returns False, and does
    nothing, where the loss knows no lanes. It stands in a module once, and is called through the kernel table."""
    cdef Arguments args
    cdef Py_ssize_t i, j
    args.dz, args.losses, args.z, args.all_t = <real *> dz, losses, <const real *> z, <const real *> t
    args.weights, args.scales, args.parameter, args.activation = weights, scales, plan.loss_parameter, activation
    args.m, args.n, args.done = m, n, False
    dispatch(plan.loss.code, ALL_LANES, &args)
    if weights != NULL and args.done:
        for i in range(m * LANES):
            if weights[i] == 0:
                losses[i] = 0
                for j in range(n):
                    args.dz[(i // LANES * n + j) * LANES + i % LANES] = 0
    return args.done
