# Optimizers: one loop each over the parameter block, padding included (its gradient is
# zero, so it stays zero). Update rules are PyTorch's.

from libc.math cimport sqrt as square_root

from .simd cimport LANES, fill, fma, real, sqrt, vec


cdef inline void sgd_update(
        void *parameters, const void *gradients, void *velocity, double learning_rate,
        double momentum, double weight_decay, bint nesterov, Py_ssize_t count) noexcept nogil:
    """g := gradients + weight_decay * parameters
    v := momentum * v + g;  g := g + momentum * v with Nesterov, else v
    parameters := parameters - learning_rate * g

    Without velocity (NULL) there is no momentum. count is a multiple of LANES.
    """
    cdef vec *p = <vec *> parameters
    cdef const vec *gradient = <const vec *> gradients
    cdef vec *state = <vec *> velocity
    cdef vec rate = fill(<real> -learning_rate)
    cdef vec friction = fill(<real> momentum)
    cdef vec decay = fill(<real> weight_decay)
    cdef vec g
    cdef Py_ssize_t i
    if velocity == NULL and weight_decay == 0:
        for i in range(count // LANES):
            p[i] = fma(rate, gradient[i], p[i])
        return
    for i in range(count // LANES):
        g = fma(decay, p[i], gradient[i])
        if velocity != NULL:
            state[i] = fma(friction, state[i], g)
            g = fma(friction, state[i], g) if nesterov else state[i]
        p[i] = fma(rate, g, p[i])


cdef inline double power(double base, long long exponent) noexcept nogil:
    """base ** exponent by squaring: the same bits on every platform, unlike libm's pow."""
    cdef double result = 1
    while exponent:
        if exponent & 1:
            result *= base
        base *= base
        exponent >>= 1
    return result


cdef inline void adam_update(
        void *parameters, const void *gradients, void *first, void *second, double learning_rate,
        double beta1, double beta2, double epsilon, long long step, Py_ssize_t count) noexcept nogil:
    """m := beta1 * m + (1 - beta1) * g;  v := beta2 * v + (1 - beta2) * g^2, step = 1 the first time,
    parameters := parameters - learning_rate * m' / (sqrt(v') + epsilon),
    m' = m / (1 - beta1^step), v' = v / (1 - beta2^step)        (Kingma and Ba, 2014)

    count is a multiple of LANES.
    """
    cdef vec *p = <vec *> parameters
    cdef const vec *gradient = <const vec *> gradients
    cdef vec *m = <vec *> first
    cdef vec *v = <vec *> second
    cdef vec rate = fill(<real> (-learning_rate / (1 - power(beta1, step))))
    cdef vec correction = fill(<real> (1 / square_root(1 - power(beta2, step))))
    cdef vec gain1 = fill(<real> (1 - beta1))
    cdef vec gain2 = fill(<real> (1 - beta2))
    cdef vec keep2 = fill(<real> beta2)
    cdef vec offset = fill(<real> epsilon)
    cdef vec g
    cdef Py_ssize_t i
    for i in range(count // LANES):
        g = gradient[i]
        m[i] = fma(gain1, g - m[i], m[i])
        v[i] = fma(gain2 * g, g, keep2 * v[i])
        p[i] = fma(rate, m[i] / fma(sqrt(v[i]), correction, offset), p[i])
