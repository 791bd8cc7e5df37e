# Optimizers: one loop each over parameters laid out like the block, padding included (its
# gradient is zero, so it stays zero). Update rules are PyTorch's. `begin_step` is called once a
# step, `update_parameters` for as many parts of the block as suit the caller.

from libc.math cimport sqrt as square_root

from .simd cimport LANES, fill, fma, real, sqrt, vec
from .types cimport ADAM, Update


cdef inline double power(double base, long long exponent) noexcept nogil:
    """base ** exponent by squaring: the same bits on every platform, unlike libm's pow."""
    cdef double result = 1
    while exponent:
        if exponent & 1:
            result *= base
        base *= base
        exponent >>= 1
    return result


cdef inline void begin_step(Update *update) noexcept nogil:
    """Counts the step, and computes what all its parameters share."""
    update.step += 1
    update.rate = update.learning_rate
    if update.optimizer == ADAM:
        update.rate /= 1 - power(update.beta1, update.step)
        update.correction = 1 / square_root(1 - power(update.beta2, update.step))


cdef inline void sgd_update(
        vec *p, const vec *gradient, vec *v, const Update *update, Py_ssize_t vectors) noexcept nogil:
    """g := gradient + weight_decay * p
    v := momentum * v + g;  g := g + momentum * v with Nesterov, else v
    p := p - learning_rate * g

    Without velocity (NULL) there is no momentum.
    """
    cdef vec rate = fill(<real> -update.rate)
    cdef vec friction = fill(<real> update.momentum)
    cdef vec decay = fill(<real> update.weight_decay)
    cdef vec g
    cdef Py_ssize_t i
    if v == NULL and update.weight_decay == 0:
        for i in range(vectors):
            p[i] = fma(rate, gradient[i], p[i])
        return
    for i in range(vectors):
        g = fma(decay, p[i], gradient[i])
        if v != NULL:
            v[i] = fma(friction, v[i], g)
            g = fma(friction, v[i], g) if update.nesterov else v[i]
        p[i] = fma(rate, g, p[i])


cdef inline void adam_update(
        vec *p, const vec *gradient, vec *m, vec *v, const Update *update, Py_ssize_t vectors) noexcept nogil:
    """m := beta1 * m + (1 - beta1) * g;  v := beta2 * v + (1 - beta2) * g^2, step = 1 the first time,
    p := p - learning_rate * m' / (sqrt(v') + epsilon),
    m' = m / (1 - beta1^step), v' = v / (1 - beta2^step)        (Kingma and Ba, 2014)
    """
    cdef vec rate = fill(<real> -update.rate)
    cdef vec correction = fill(<real> update.correction)
    cdef vec gain1 = fill(<real> (1 - update.beta1))
    cdef vec gain2 = fill(<real> (1 - update.beta2))
    cdef vec keep2 = fill(<real> update.beta2)
    cdef vec offset = fill(<real> update.epsilon)
    cdef vec g
    cdef Py_ssize_t i
    for i in range(vectors):
        g = gradient[i]
        m[i] = fma(gain1, g - m[i], m[i])
        v[i] = fma(gain2 * g, g, keep2 * v[i])
        p[i] = fma(rate, m[i] / fma(sqrt(v[i]), correction, offset), p[i])


cdef inline void update_parameters(
        void *parameters, const void *gradients, void *first, void *second, const Update *update,
        Py_ssize_t count) noexcept nogil:
    """The optimizer's update of `count` parameters, a multiple of LANES; first and second are its state for them."""
    cdef vec *p = <vec *> parameters
    cdef const vec *gradient = <const vec *> gradients
    if update.optimizer == ADAM:
        adam_update(p, gradient, <vec *> first, <vec *> second, update, count // LANES)
    else:
        sgd_update(p, gradient, <vec *> first, update, count // LANES)
