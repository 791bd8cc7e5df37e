# Vectors of float and double, laid out like the parameters, in the arithmetic of L-BFGS: all of it in double, and sums
# in one order, whatever the instruction set. lbfgs.pyx calls these, without the GIL and with subnormals as zero.
#
# The number of elements is `count`, a multiple of 8. A sum is eight partial sums, so that an addition need not wait for
# the one before; they are added up from the first to the last.

from libc.math cimport fabs
from libc.string cimport memset

from .runtime cimport sum_in_order

ctypedef fused real:
    float
    double

ctypedef fused other:
    float
    double


cdef inline double product(const real *a, const other *b, Py_ssize_t count) noexcept nogil:
    """a'b"""
    cdef double sums[8]
    cdef Py_ssize_t i, j
    memset(sums, 0, sizeof(sums))
    for i in range(0, count, 8):
        for j in range(8):
            sums[j] += <double> a[i + j] * b[i + j]
    return sum_in_order(sums, 8)


cdef inline void step_to(
        real *trial, const real *point, double step, const double *direction, Py_ssize_t count) noexcept nogil:
    """trial := point + step * direction, rounded"""
    cdef Py_ssize_t i
    for i in range(count):
        trial[i] = <real> (point[i] + step * direction[i])


cdef inline void differences(
        real *s, real *y, const real *after, const real *before, const double *gradient_after,
        const double *gradient_before, Py_ssize_t count) noexcept nogil:
    """s := after - before, y := gradient_after - gradient_before, rounded"""
    cdef Py_ssize_t i
    for i in range(count):
        s[i] = after[i] - before[i]
        y[i] = <real> (gradient_after[i] - gradient_before[i])


cdef inline void widen(double *wide, const real *values, Py_ssize_t count) noexcept nogil:
    """wide := values"""
    cdef Py_ssize_t i
    for i in range(count):
        wide[i] = values[i]


cdef inline double penalise(
        double *gradient, const real *weights, double l1, double l2, Py_ssize_t count) noexcept nogil:
    """gradient := gradient + l2 * w + l1 * sign(w); returns the sum of l1 * |w| + l2 / 2 * w^2"""
    cdef double sums[8]
    cdef double w
    cdef Py_ssize_t i, j
    memset(sums, 0, sizeof(sums))
    for i in range(0, count, 8):
        for j in range(8):
            w = weights[i + j]
            gradient[i + j] += l2 * w + l1 * ((w > 0) - (w < 0))
            sums[j] += l1 * fabs(w) + l2 / 2 * w * w        # from the left: 0 where l2 is, however large w is
    return sum_in_order(sums, 8)


cdef inline double largest(const double *values, Py_ssize_t count) noexcept nogil:
    """The largest size of an element; NaN where one is."""
    cdef double most = 0
    cdef Py_ssize_t i
    for i in range(count):
        if not fabs(values[i]) <= most:
            most = fabs(values[i])
            if most != most:
                break
    return most
