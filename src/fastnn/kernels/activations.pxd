# Activations: value and derivative, one pair each, and the loops that apply them.
#
# `<name>` takes pre-activations z; `<name>_slope` is the derivative with respect to z, from
# z and y = <name>(z), whichever is cheaper. Where a slope needs z, `needs_z` in types.pxd says so,
# and the engine keeps z. At 0, ReLU and its kin have the slope of the negative side. NaN stays NaN.
#
# CONTRIBUTING.md lists the places that a new activation takes.

from libc.stdint cimport uint64_t

from .elementary cimport exp, expm1_negative, gelu, gelu_derivative, sigmoid, silu, silu_derivative, softplus, tanh
from .gemm cimport padded_row, vectors_of
from .simd cimport LANES, at_least, fill, fma, if_less, random_lanes, real, vec
from .types cimport (
    ELU, EXP, GELU, IDENTITY, LEAKY_RELU, RELU, SELU, SIGMOID, SILU, SOFTMAX, SOFTPLUS, TANH,
)

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
    return at_least(fill(0), z)

cdef inline vec relu_slope(vec z, vec y) noexcept nogil:
    return if_less(fill(0), y, fill(1), fill(0))


cdef inline vec leaky_relu(vec z) noexcept nogil:
    """z for z > 0, 0.01 z elsewhere (Maas et al., 2013)"""
    return if_less(fill(0), z, z, z * fill(<real> 0.01))

cdef inline vec leaky_relu_slope(vec z, vec y) noexcept nogil:
    return if_less(fill(0), y, fill(1), fill(<real> 0.01))


cdef inline vec elu(vec z) noexcept nogil:
    """z for z > 0, exp(z) - 1 elsewhere (Clevert et al., 2015)"""
    return if_less(fill(0), z, z, expm1_negative(z))

cdef inline vec elu_slope(vec z, vec y) noexcept nogil:
    return if_less(fill(0), y, fill(1), y + fill(1))


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
    return if_less(fill(0), z, z * fill(SELU_SCALE), expm1_negative(z) * fill(SELU_SCALE_ALPHA))

cdef inline vec selu_slope(vec z, vec y) noexcept nogil:
    return if_less(fill(0), y, fill(SELU_SCALE), y + fill(SELU_SCALE_ALPHA))


cdef inline vec softplus_slope(vec z, vec y) noexcept nogil:
    return sigmoid(z)


cdef inline vec silu_slope(vec z, vec y) noexcept nogil:
    return silu_derivative(z)


cdef inline vec gelu_slope(vec z, vec y) noexcept nogil:
    return gelu_derivative(z)


cdef inline vec exp_slope(vec z, vec y) noexcept nogil:
    return y


cdef inline vec activated(vec z, int activation) noexcept nogil:
    """activation(z), where one vector is not worth a loop of its own. Not for softmax, which takes a row."""
    if activation == SIGMOID:
        return sigmoid(z)
    if activation == TANH:
        return tanh(z)
    if activation == RELU:
        return relu(z)
    if activation == LEAKY_RELU:
        return leaky_relu(z)
    if activation == ELU:
        return elu(z)
    if activation == SELU:
        return selu(z)
    if activation == SOFTPLUS:
        return softplus(z)
    if activation == SILU:
        return silu(z)
    if activation == GELU:
        return gelu(z)
    if activation == EXP:
        return exp(z)
    return z


cdef inline vec slope_of(vec z, vec y, int activation) noexcept nogil:
    """The slope at z, where y = activation(z)."""
    if activation == SIGMOID:
        return sigmoid_slope(z, y)
    if activation == TANH:
        return tanh_slope(z, y)
    if activation == RELU:
        return relu_slope(z, y)
    if activation == LEAKY_RELU:
        return leaky_relu_slope(z, y)
    if activation == ELU:
        return elu_slope(z, y)
    if activation == SELU:
        return selu_slope(z, y)
    if activation == SOFTPLUS:
        return softplus_slope(z, y)
    if activation == SILU:
        return silu_slope(z, y)
    if activation == GELU:
        return gelu_slope(z, y)
    if activation == EXP:
        return exp_slope(z, y)
    return fill(1)


cdef inline void softmax_row(
        real *y, const real *z, Py_ssize_t n, real *maximum, double *total) noexcept nogil:
    """y := exp(z - max z), zero beyond n; total := sum of y, in the order of the columns."""
    cdef Py_ssize_t j
    cdef real top = z[0] if n > 0 else 0
    for j in range(1, n):
        top = z[j] if z[j] > top else top
    for j in range(vectors_of(n)):
        (<vec *> y)[j] = exp((<const vec *> z)[j] - fill(top))
    for j in range(n, padded_row(n)):
        y[j] = 0
    total[0] = 0
    for j in range(n):
        total[0] += y[j]
    maximum[0] = top


cdef inline void softmax_forward(real *y, const real *z, Py_ssize_t m, Py_ssize_t n) noexcept nogil:
    """y := exp(z - max z) / sum of exp(z - max z), row by row"""
    cdef Py_ssize_t ld = padded_row(n)
    cdef Py_ssize_t i, j
    cdef real maximum
    cdef double total
    cdef vec *row
    for i in range(m):
        softmax_row(y + i*ld, z + i*ld, n, &maximum, &total)
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


cdef inline void apply(Value value, void *y, const void *z, Py_ssize_t count) noexcept nogil:
    """y := value(z), inlined for each activation"""
    cdef Py_ssize_t i
    for i in range(count // LANES):
        (<vec *> y)[i] = value((<const vec *> z)[i])


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
        (<vec *> out)[i] = if_less(
            random_lanes(key, first + i*LANES), bound, fill(0), scale * (<const vec *> values)[i])


cdef inline void activation_forward(
        void *y, const void *z, int activation, Py_ssize_t m, Py_ssize_t n) noexcept nogil:
    """y := activation(z); y may be z. Padding of y is activation(0), except softmax's, which is zero."""
    cdef Py_ssize_t count = m * padded_row(n)
    if activation == IDENTITY:
        if y != z:
            apply(identity, y, z, count)
    elif activation == SIGMOID:
        apply(sigmoid, y, z, count)
    elif activation == TANH:
        apply(tanh, y, z, count)
    elif activation == RELU:
        apply(relu, y, z, count)
    elif activation == LEAKY_RELU:
        apply(leaky_relu, y, z, count)
    elif activation == ELU:
        apply(elu, y, z, count)
    elif activation == SELU:
        apply(selu, y, z, count)
    elif activation == SOFTPLUS:
        apply(softplus, y, z, count)
    elif activation == SILU:
        apply(silu, y, z, count)
    elif activation == GELU:
        apply(gelu, y, z, count)
    elif activation == EXP:
        apply(exp, y, z, count)
    else:
        softmax_forward(<real *> y, <const real *> z, m, n)


cdef inline void apply_slope(
        Slope slope, void *dz, const void *dy, const void *y, const void *z, Py_ssize_t count) noexcept nogil:
    """dz := dy * slope(z, y), inlined for each activation"""
    cdef Py_ssize_t i
    for i in range(count // LANES):
        (<vec *> dz)[i] = (<const vec *> dy)[i] * slope((<const vec *> z)[i], (<const vec *> y)[i])


cdef inline void activation_backward(
        void *dz, const void *dy, const void *y, const void *z, int activation,
        Py_ssize_t m, Py_ssize_t n) noexcept nogil:
    """dz := dy * activation'(z); dz may be dy, and z may be y unless needs_z. Zero padding stays zero."""
    cdef Py_ssize_t count = m * padded_row(n)
    if activation == IDENTITY:
        if dz != dy:
            apply_slope(identity_slope, dz, dy, y, z, count)
    elif activation == SIGMOID:
        apply_slope(sigmoid_slope, dz, dy, y, z, count)
    elif activation == TANH:
        apply_slope(tanh_slope, dz, dy, y, z, count)
    elif activation == RELU:
        apply_slope(relu_slope, dz, dy, y, z, count)
    elif activation == LEAKY_RELU:
        apply_slope(leaky_relu_slope, dz, dy, y, z, count)
    elif activation == ELU:
        apply_slope(elu_slope, dz, dy, y, z, count)
    elif activation == SELU:
        apply_slope(selu_slope, dz, dy, y, z, count)
    elif activation == SOFTPLUS:
        apply_slope(softplus_slope, dz, dy, y, z, count)
    elif activation == SILU:
        apply_slope(silu_slope, dz, dy, y, z, count)
    elif activation == GELU:
        apply_slope(gelu_slope, dz, dy, y, z, count)
    elif activation == EXP:
        apply_slope(exp_slope, dz, dy, y, z, count)
    else:
        softmax_backward(<real *> dz, <const real *> dy, <const real *> y, m, n)
