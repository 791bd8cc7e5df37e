# Activations: value and derivative, one pair each, and the loops that apply them.
#
# `<name>` takes pre-activations z. `<name>_slope` is the derivative with respect to z, computed from z or from
# y = <name>(z), whichever is cheaper. At 0, ReLU and its kin have the slope of the negative side.
# NaN stays NaN.
#
# An activation is declared once: its code in `Activation` and its two lines in `dispatch`. All else, here and in
# Python, asks `dispatch`. CONTRIBUTING.md has the recipe.

from libc.stdint cimport uint64_t

from .elementary cimport exp, expm1_negative, gelu, gelu_derivative, sigmoid, silu, silu_derivative, softplus, tanh
from .gemm cimport padded_row, vectors_of
from .simd cimport (LANES, doubles, fill, fill_doubles, first_lanes, fma, maximum, random_lanes, real, select_less,
                    to_doubles, vec)
from .types cimport ActivationFacts

cdef enum Activation:
    # In the order in which Python names them.
    IDENTITY, SIGMOID, TANH, RELU, LEAKY_RELU, ELU, SELU, SOFTPLUS, SILU, GELU, SOFTMAX, EXP

ctypedef vec (*Value)(vec z) noexcept nogil
ctypedef vec (*Slope)(vec z, vec y) noexcept nogil


cdef inline vec identity(vec z) noexcept nogil:
    """z"""
    return z

cdef inline vec identity_slope(vec z, vec y) noexcept nogil:
    return fill(1)


# sigmoid, tanh, softplus, silu, gelu and exp themselves are in elementary.pxd.

cdef inline vec sigmoid_slope(vec z, vec y) noexcept nogil:
    return y * (fill(1) - y)


cdef inline vec tanh_slope(vec z, vec y) noexcept nogil:
    return fma(-y, y, fill(1))


cdef inline vec relu(vec z) noexcept nogil:
    """max(z, 0)"""
    return maximum(fill(0), z)

cdef inline vec relu_slope(vec z, vec y) noexcept nogil:
    return select_less(fill(0), y, fill(1), fill(0))


cdef inline vec leaky_relu(vec z) noexcept nogil:
    """z for z > 0, 0.01 z elsewhere (Maas et al., 2013)"""
    return select_less(fill(0), z, z, z * fill(<real> 0.01))

cdef inline vec leaky_relu_slope(vec z, vec y) noexcept nogil:
    return select_less(fill(0), y, fill(1), fill(<real> 0.01))


cdef inline vec elu(vec z) noexcept nogil:
    """z for z > 0, exp(z) - 1 elsewhere (Clevert et al., 2015)"""
    return select_less(fill(0), z, z, expm1_negative(z))

cdef inline vec elu_slope(vec z, vec y) noexcept nogil:
    return select_less(fill(0), y, fill(1), y + fill(1))


# The two constants for which activations keep mean 0 and variance 1 (Klambauer et al., 2017).
cdef extern from *:
    """
    #define FASTNN_SELU_SCALE ((fastnn_real)1.0507009873554804934193349852946)
    #define FASTNN_SELU_SCALE_ALPHA ((fastnn_real)1.7580993408473768599402175208123)
    """
    const real SELU_SCALE "FASTNN_SELU_SCALE"
    const real SELU_SCALE_ALPHA "FASTNN_SELU_SCALE_ALPHA"

cdef inline vec selu(vec z) noexcept nogil:
    """scale * (z for z > 0, alpha (exp(z) - 1) elsewhere)"""
    return select_less(fill(0), z, z * fill(SELU_SCALE), expm1_negative(z) * fill(SELU_SCALE_ALPHA))

cdef inline vec selu_slope(vec z, vec y) noexcept nogil:
    return select_less(fill(0), y, fill(SELU_SCALE), y + fill(SELU_SCALE_ALPHA))


cdef inline vec softplus_slope(vec z, vec y) noexcept nogil:
    return sigmoid(z)


cdef inline vec silu_slope(vec z, vec y) noexcept nogil:
    return silu_derivative(z)


cdef inline vec gelu_slope(vec z, vec y) noexcept nogil:
    return gelu_derivative(z)


cdef inline vec exp_slope(vec z, vec y) noexcept nogil:
    return y


cdef inline void softmax_row(
        real *y, const real *z, Py_ssize_t n, real *largest, double *total) noexcept nogil:
    """y := exp(z - max z), zero beyond n; largest := max z; total := sum of y, in the order of the columns."""
    cdef Py_ssize_t j
    cdef real top = z[0] if n > 0 else 0
    for j in range(1, n):
        top = z[j] if z[j] > top else top
    for j in range(vectors_of(n)):          # whole vectors: a load after stores of parts waits for the cache
        (<vec *> y)[j] = first_lanes(n - j*LANES, exp((<const vec *> z)[j] - fill(top)))
    for j in range(vectors_of(n), padded_row(n) // LANES):
        (<vec *> y)[j] = fill(0)
    total[0] = 0
    for j in range(n):
        total[0] += y[j]
    largest[0] = top


cdef inline void softmax_lanes(vec *y, const vec *z, Py_ssize_t n, vec *largest, doubles *total) noexcept nogil:
    """softmax_row where each lane is a network: z and y are [n]."""
    cdef Py_ssize_t j
    cdef vec top = z[0]
    for j in range(1, n):
        top = select_less(top, z[j], z[j], top)
    total[0] = fill_doubles(0)
    for j in range(n):
        y[j] = exp(z[j] - top)
        total[0] = total[0] + to_doubles(y[j])
    largest[0] = top


cdef inline void softmax_forward(real *y, const real *z, Py_ssize_t m, Py_ssize_t n) noexcept nogil:
    """y := exp(z - max z) / sum of exp(z - max z), row by row"""
    cdef Py_ssize_t ld = padded_row(n)
    cdef Py_ssize_t i, j
    cdef real largest
    cdef double total
    cdef vec *row
    for i in range(m):
        softmax_row(y + i*ld, z + i*ld, n, &largest, &total)
        row = <vec *> (y + i*ld)
        for j in range(vectors_of(n)):
            row[j] = row[j] / fill(<real> total)


cdef inline void softmax_backward(
        real *dz, const real *dy, const real *y, Py_ssize_t m, Py_ssize_t n) noexcept nogil:
    """dz := y * (dy - sum of dy * y), row by row"""
    cdef Py_ssize_t ld = padded_row(n)
    cdef Py_ssize_t i, j
    cdef double total
    for i in range(m):
        total = 0
        for j in range(n):
            total += <double> dy[i*ld + j] * y[i*ld + j]
        for j in range(n):
            dz[i*ld + j] = y[i*ld + j] * <real> (dy[i*ld + j] - total)


cdef enum Task:
    # What `dispatch` is asked for.
    VALUE                   # y := activation(z), of one vector
    SLOPE                   # slope := activation'(z), where y is the value
    VALUE_AND_SLOPE         # both
    ALL_VALUES              # out := activation(z), of rows
    ALL_SLOPES              # out := dy * activation'(z), of rows where y is the value
    DESCRIBE                # facts := what is known of the activation

cdef struct Arguments:
    vec z, y, slope
    void *out               # out, dy, all_y, all_z: [m][padded n]
    const void *dy
    const void *all_y
    const void *all_z
    Py_ssize_t m, n
    ActivationFacts *facts


cdef inline void elementwise(
        int task, Arguments *args, const char *name, Value value, Slope slope, bint needs_z) noexcept nogil:
    """Does the task for an activation of single elements. Task and functions are literals, so all of it is inlined."""
    cdef Py_ssize_t i
    if task == VALUE or task == VALUE_AND_SLOPE:
        args.y = value(args.z)
    if task == SLOPE or task == VALUE_AND_SLOPE:
        args.slope = slope(args.z, args.y)
    if task == ALL_VALUES:
        for i in range(args.m * padded_row(args.n) // LANES):
            (<vec *> args.out)[i] = value((<const vec *> args.all_z)[i])
    if task == ALL_SLOPES:
        for i in range(args.m * padded_row(args.n) // LANES):
            (<vec *> args.out)[i] = (<const vec *> args.dy)[i] * slope(
                (<const vec *> args.all_z)[i], (<const vec *> args.all_y)[i])
    if task == DESCRIBE:
        args.facts.name, args.facts.needs_z, args.facts.takes_row = name, needs_z, False


cdef inline void softmax(int task, Arguments *args, const char *name) noexcept nogil:
    """Does the task for softmax, which takes a row and so knows no single vectors."""
    if task == ALL_VALUES:
        softmax_forward(<real *> args.out, <const real *> args.all_z, args.m, args.n)
    if task == ALL_SLOPES:
        softmax_backward(<real *> args.out, <const real *> args.dy, <const real *> args.all_y, args.m, args.n)
    if task == DESCRIBE:
        args.facts.name, args.facts.needs_z, args.facts.takes_row = name, False, True


cdef inline void dispatch(int activation, int task, Arguments *args) noexcept nogil:
    """Does a task, a literal, for an activation. Each is declared here: its name, its value, its slope, and whether
    the slope is computed from z, so that z must be kept beside y.

    Value and slope are one task where both are wanted: to choose the activation twice took 27 % more time, for mae
    with gelu.
    """
    if activation == IDENTITY:
        elementwise(task, args, b"identity", identity, identity_slope, False)
    elif activation == SIGMOID:
        elementwise(task, args, b"sigmoid", sigmoid, sigmoid_slope, False)
    elif activation == TANH:
        elementwise(task, args, b"tanh", tanh, tanh_slope, False)
    elif activation == RELU:
        elementwise(task, args, b"relu", relu, relu_slope, False)
    elif activation == LEAKY_RELU:
        elementwise(task, args, b"leaky_relu", leaky_relu, leaky_relu_slope, False)
    elif activation == ELU:
        elementwise(task, args, b"elu", elu, elu_slope, False)
    elif activation == SELU:
        elementwise(task, args, b"selu", selu, selu_slope, False)
    elif activation == SOFTPLUS:
        elementwise(task, args, b"softplus", softplus, softplus_slope, True)
    elif activation == SILU:
        elementwise(task, args, b"silu", silu, silu_slope, True)
    elif activation == GELU:
        elementwise(task, args, b"gelu", gelu, gelu_slope, True)
    elif activation == SOFTMAX:
        softmax(task, args, b"softmax")
    elif activation == EXP:
        elementwise(task, args, b"exp", exp, exp_slope, False)


cdef inline void describe_activation(int activation, ActivationFacts *facts) noexcept nogil:
    """facts := what is declared of an activation; its name is NULL where there is none of this code."""
    cdef Arguments args
    args.facts = facts
    facts.name = NULL
    dispatch(activation, DESCRIBE, &args)


cdef inline bint has_rows(int activation) noexcept nogil:
    """Whether an activation's values depend on whole rows."""
    cdef ActivationFacts facts
    describe_activation(activation, &facts)
    return facts.takes_row


cdef inline vec activated(vec z, int activation) noexcept nogil:
    """activation(z), where one vector is not worth a loop of its own. Not for softmax, which takes a row."""
    cdef Arguments args
    args.z = args.y = z
    dispatch(activation, VALUE, &args)
    return args.y


cdef inline vec slope_of(vec z, vec y, int activation) noexcept nogil:
    """The slope at z, where y = activation(z)."""
    cdef Arguments args
    args.z, args.y, args.slope = z, y, fill(1)
    dispatch(activation, SLOPE, &args)
    return args.slope


cdef inline vec activated_with_slope(vec z, int activation, vec *slope) noexcept nogil:
    """activation(z), and the slope there."""
    cdef Arguments args
    args.z, args.y, args.slope = z, z, fill(1)
    dispatch(activation, VALUE_AND_SLOPE, &args)
    slope[0] = args.slope
    return args.y


cdef inline void activation_forward(
        void *y, const void *z, int activation, Py_ssize_t m, Py_ssize_t n) noexcept nogil:
    """y := activation(z); y may be z. Padding of y is activation(0), except softmax's, which is zero."""
    cdef Arguments args
    if activation == IDENTITY and y == z:
        return
    args.out, args.all_z, args.m, args.n = y, z, m, n
    dispatch(activation, ALL_VALUES, &args)


cdef inline void activation_backward(
        void *dz, const void *dy, const void *y, const void *z, int activation,
        Py_ssize_t m, Py_ssize_t n) noexcept nogil:
    """dz := dy * activation'(z); dz may be dy, and z may be y unless needs_z. Zero padding stays zero."""
    cdef Arguments args
    if activation == IDENTITY and dz == dy:
        return
    args.out, args.dy, args.all_y, args.all_z, args.m, args.n = dz, dy, y, z, m, n
    dispatch(activation, ALL_SLOPES, &args)


cdef inline void drop_out(
        void *out, const void *values, double dropout, uint64_t key, Py_ssize_t first, Py_ssize_t count) noexcept nogil:
    """out := values / (1 - dropout), but zero for a random share `dropout` of them (Srivastava et al., 2014).

    Which ones is a function of the key and an element's number, first, first + 1, …: forward and
    backward pass, and any number of threads, draw the same, and nothing has to be stored.
    """
    cdef vec bound = fill(<real> (1 + dropout))
    cdef vec scale = fill(<real> (1 / (1 - dropout)))
    cdef Py_ssize_t i
    for i in range(count // LANES):
        (<vec *> out)[i] = dropped(random_lanes(key, first + i*LANES), bound, scale, (<const vec *> values)[i])


cdef inline vec dropped(vec random, vec bound, vec scale, vec value) noexcept nogil:
    """scale * value, or zero where the random number is below the bound."""
    return select_less(random, bound, fill(0), scale * value)
