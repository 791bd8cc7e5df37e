from libc.math cimport exp as cexp, expm1 as cexpm1, tanh as ctanh, log1p as clog1p, erfc
from .simd cimport LANES, vec, real
cdef inline vec exp(vec x) noexcept nogil:
    cdef vec r = x
    cdef int i
    for i in range(LANES):
        (<real*>&r)[i] = <real> cexp((<real*>&x)[i])
    return r
cdef inline vec expm1_negative(vec x) noexcept nogil:
    cdef vec r = x
    cdef int i
    for i in range(LANES):
        (<real*>&r)[i] = <real> cexpm1((<real*>&x)[i])
    return r
cdef inline vec tanh(vec x) noexcept nogil:
    cdef vec r = x
    cdef int i
    for i in range(LANES):
        (<real*>&r)[i] = <real> ctanh((<real*>&x)[i])
    return r
cdef inline vec sigmoid(vec x) noexcept nogil:
    cdef vec r = x
    cdef int i
    for i in range(LANES):
        (<real*>&r)[i] = <real> (1/(1+cexp(-(<real*>&x)[i])))
    return r
cdef inline vec log1p(vec x) noexcept nogil:
    cdef vec r = x
    cdef int i
    for i in range(LANES):
        (<real*>&r)[i] = <real> clog1p((<real*>&x)[i])
    return r
cdef inline vec normal_cdf(vec x, vec *density) noexcept nogil:
    cdef vec r = x
    cdef int i
    cdef double v
    for i in range(LANES):
        v = (<real*>&x)[i]
        (<real*>&r)[i] = <real> (0.5*erfc(-v*0.70710678118654752440))
        (<real*>density)[i] = <real> (cexp(-v*v/2)*0.39894228040143267794)
    return r
