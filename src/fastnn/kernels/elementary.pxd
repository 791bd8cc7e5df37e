# exp, log, tanh and their kin on vectors: our own, so that every machine gives the same bits.
#
# All lanes take one path; masks choose between results. NaN stays NaN. Subnormal numbers
# count as zero. docs/reliability.md has the largest error of each activation that is made of these.
#
# Notation: x = n ln 2 + r with |r| <= ln(2)/2, and Q with exp(r) = 1 + r + r^2 Q(r).

from .simd cimport (
    FUSED, absolute, copysign, fill, fma, from_bits, maximum, minimum, real, select_less, to_bits, vec, vec_bits,
)

cdef extern from "elementary.h" nogil:
    enum:
        MANTISSA_BITS "FASTNN_MANTISSA_BITS"
        EXPONENT_BIAS "FASTNN_EXPONENT_BIAS"
        SILU_SHIFT "FASTNN_SILU_SHIFT"
        EXP_Q_DEGREE "FASTNN_DEGREE(FASTNN_EXP_Q)"
        LOG1P_L_DEGREE "FASTNN_DEGREE(FASTNN_LOG1P_L)"
        GELU_P_DEGREE "FASTNN_DEGREE(FASTNN_GELU_P)"
        GELU_Q_DEGREE "FASTNN_DEGREE(FASTNN_GELU_Q)"
    const real *EXP_Q "FASTNN_EXP_Q"
    const real *LOG1P_L "FASTNN_LOG1P_L"
    const real *GELU_P "FASTNN_GELU_P"
    const real *GELU_Q "FASTNN_GELU_Q"
    const real ROUND_TO_INTEGER "FASTNN_ROUND_TO_INTEGER"
    const real LOG2_E "FASTNN_LOG2_E"
    const real LN2_HIGH "FASTNN_LN2_HIGH"
    const real LN2_LOW "FASTNN_LN2_LOW"
    const real EXP_LOWEST "FASTNN_EXP_LOWEST"
    const real EXP_HIGHEST "FASTNN_EXP_HIGHEST"
    const real EXP_ONE_FACTOR "FASTNN_EXP_ONE_FACTOR"
    const real TANH_ONE "FASTNN_TANH_ONE"
    const real SILU_ZERO "FASTNN_SILU_ZERO"
    const real GELU_ZERO "FASTNN_GELU_ZERO"
    const real ROOT_2_PI "FASTNN_ROOT_2_PI"
    const vec_bits UPPER_HALF "FASTNN_UPPER_HALF"


cdef inline vec horner(const real *c, int degree, vec x) noexcept nogil:
    """c[0] + c[1] x + … + c[degree] x^degree"""
    cdef vec sum = fill(c[degree])
    cdef int k
    for k in range(degree - 1, -1, -1):
        sum = fma(sum, x, fill(c[k]))
    return sum


cdef inline vec reduced(vec x, int bias, vec *high, vec_bits *bits) noexcept nogil:
    """Returns n; high := x - n LN2_HIGH, exactly, so that r = high - n LN2_LOW.

    Adding 1.5 * 2^MANTISSA_BITS + bias rounds to an integer and leaves n + bias in the low
    bits of the sum: shifted to the exponent's place they are the number 2^n, for bias =
    EXPONENT_BIAS.
    """
    cdef vec magic = fill(ROUND_TO_INTEGER + bias)
    cdef vec sum = fma(x, fill(LOG2_E), magic)
    cdef vec n = sum - magic
    bits[0] = to_bits(sum)
    high[0] = fma(n, fill(-LN2_HIGH), x)
    return n


cdef inline vec power_of_two(vec_bits bits) noexcept nogil:
    """2^n, from the bits that `reduced` gives for bias = EXPONENT_BIAS"""
    return from_bits(bits << MANTISSA_BITS)


cdef inline vec exp_reduced(vec r) noexcept nogil:
    """exp(r) = 1 + r (1 + r Q(r))"""
    return fma(r, fma(r, horner(EXP_Q, EXP_Q_DEGREE, r), fill(1)), fill(1))


cdef inline vec exp(vec x) noexcept nogil:
    """exp(r) * 2^floor(n/2) * 2^ceil(n/2): at both ends 2^n alone is no normal number.

    With twice the bias in the bits each half has it once; what the shift brings down from
    the upper bits is shifted out again.
    """
    cdef vec high, n
    cdef vec_bits bits, half
    x = maximum(fill(EXP_LOWEST), minimum(fill(EXP_HIGHEST), x))
    n = reduced(x, 2 * EXPONENT_BIAS, &high, &bits)
    half = bits >> 1
    return exp_reduced(fma(n, fill(-LN2_LOW), high)) * power_of_two(half) * power_of_two(bits - half)


cdef inline vec factors_of_exp(vec x, vec *scale) noexcept nogil:
    """p with exp(-|x|) = p * scale, exactly; scale = 2^n, which is 0 where the product is subnormal."""
    cdef vec high, n
    cdef vec_bits bits
    n = reduced(maximum(fill(EXP_ONE_FACTOR), copysign(x, fill(-1))), EXPONENT_BIAS, &high, &bits)
    scale[0] = power_of_two(bits)
    return exp_reduced(fma(n, fill(-LN2_LOW), high))


cdef inline vec exp_of_negative_size(vec x) noexcept nogil:
    """exp(-|x|)"""
    cdef vec scale
    cdef vec p = factors_of_exp(x, &scale)
    return p * scale


cdef inline vec expm1_negative(vec x) noexcept nogil:
    """exp(x) - 1 for x <= 0, as 2^n p + (2^n - 1) with p = exp(r) - 1: exact where it matters."""
    cdef vec high, n, r, p, scale
    cdef vec_bits bits
    n = reduced(maximum(fill(EXP_ONE_FACTOR), x), EXPONENT_BIAS, &high, &bits)
    r = fma(n, fill(-LN2_LOW), high)
    p = fma(r * r, horner(EXP_Q, EXP_Q_DEGREE, r), r)
    scale = power_of_two(bits)
    return fma(p, scale, scale - fill(1))


cdef inline vec log1p(vec e) noexcept nogil:
    """log(1 + e) for 0 <= e <= 1, as 2 artanh(s/2) = s + s^3 L(s^2) with s = e / (1 + e/2).

    e / (2 + e) would lose the smallest e to the flush to zero.
    """
    cdef vec s = e / fma(e, fill(<real> 0.5), fill(1))
    cdef vec square = s * s
    return fma(s * square, horner(LOG1P_L, LOG1P_L_DEGREE, square), s)


cdef inline vec softplus(vec z) noexcept nogil:
    """log(1 + exp(z)) = max(z, 0) + log(1 + exp(-|z|))"""
    return maximum(fill(0), z) + log1p(exp_of_negative_size(z))


cdef inline vec sigmoid(vec z) noexcept nogil:
    """1 / (1 + exp(-z)), from e = exp(-|z|) and q = e / (1 + e): 1 - q for z >= 0, e - e q for z < 0.

    The latter is q again, but with q's rounding errors multiplied by e.
    """
    cdef vec scale
    cdef vec p = factors_of_exp(z, &scale)
    cdef vec e = p * scale
    cdef vec q = e / fma(p, scale, fill(1))         # 1 + e, without waiting for e
    return select_less(z, fill(0), fma(-e, q, e), fill(1) - q)


cdef inline vec tanh(vec z) noexcept nogil:
    """h / (1 + h) with h = (exp(2|z|) - 1) / 2; then the sign of z.

    h = 2^(n-1) (r + r^2 Q) + (2^(n-1) - 1/2), so nothing cancels for small z, where n = 0 and the sum
    is r + r^2 Q alone, halved. There the quotient q is taken as h - h q, with its rounding errors multiplied by h.
    """
    cdef vec high, low, r, h, q, half
    cdef vec_bits bits
    low = reduced(fill(2) * minimum(fill(TANH_ONE), absolute(z)), EXPONENT_BIAS - 1, &high, &bits)
    low = low * fill(-LN2_LOW)
    r = high + low
    half = power_of_two(bits)
    h = fma(half, high, half - fill(<real> 0.5))
    h = fma(half, fma(r * r, horner(EXP_Q, EXP_Q_DEGREE, r), low), h)
    q = h / (h + fill(1))
    return copysign(select_less(h, fill(<real> 0.5), fma(-h, q, h), q), z)


cdef inline vec silu(vec z) noexcept nogil:
    """z sigmoid(z) = g - g q with sigmoid's q; g = z for z >= 0, z exp(-|z|) for z < 0.

    exp(-|z|) is computed 2^SILU_SHIFT times too large, as z exp(-|z|) is a normal number for
    some z whose exp(-|z|) is not. The bounds keep infinity times 0 away.
    """
    cdef vec high, n, large, e, g
    cdef vec_bits bits
    cdef vec unshift = power_of_two(to_bits(fill(ROUND_TO_INTEGER + EXPONENT_BIAS - SILU_SHIFT)))
    z = maximum(fill(-SILU_ZERO), z)
    n = reduced(maximum(fill(-SILU_ZERO), -absolute(z)), EXPONENT_BIAS + SILU_SHIFT, &high, &bits)
    large = exp_reduced(fma(n, fill(-LN2_LOW), high)) * power_of_two(bits)
    e = large * unshift
    g = select_less(z, fill(0), z * large * unshift, z)
    return fma(-minimum(fill(SILU_ZERO), g), e / (fill(1) + e), g)


cdef inline vec silu_derivative(vec z) noexcept nogil:
    """s (1 + z (1 - s)), s = sigmoid(z); the bounds keep infinity times 0 away."""
    cdef vec s = sigmoid(z)
    z = maximum(fill(-SILU_ZERO), minimum(fill(SILU_ZERO), z))
    return s * fma(z, fill(1) - s, fill(1))


cdef inline vec normal_density_less_one(vec a, vec *scale) noexcept nogil:
    """p with exp(-a^2/2) = scale (1 + p), for 0 <= a <= GELU_ZERO.

    The square's rounding error, which exp would multiply by up to a^2/2, is added to r.
    """
    cdef vec half = fill(<real> -0.5) * a
    cdef vec square = half * a
    cdef vec high, n, r, error, upper
    cdef vec_bits bits
    if FUSED:
        error = fma(half, a, -square)
    else:       # a^2 = upper^2 + (a - upper)(a + upper), the first term exactly
        upper = from_bits(to_bits(a) & UPPER_HALF)
        error = fill(<real> -0.5) * upper * upper - square
        error = error + fill(<real> -0.5) * (a - upper) * (a + upper)
    n = reduced(square, EXPONENT_BIAS, &high, &bits)
    r = high + fma(n, fill(-LN2_LOW), error)
    scale[0] = power_of_two(bits)
    return fma(r * r, horner(EXP_Q, EXP_Q_DEGREE, r), r)


cdef inline vec gelu(vec z) noexcept nogil:
    """z Phi(z) = max(z, 0) - a Phi(-a), a = |z|, Phi(-a) = exp(-a^2/2) Q / (sqrt(2 pi) a Q + P).

    P = 2 + a GELU_P(a) and Q = 1 + a GELU_Q(a) have positive coefficients, so nothing cancels. Errors of
    a Q, above and below the bar, nearly cancel for large a, where P is small beside it; for small a they
    are small themselves, as the constants are added last. scale comes last, for the tail's sake.
    """
    cdef vec a = minimum(fill(GELU_ZERO), absolute(z))
    cdef vec scale
    cdef vec p = normal_density_less_one(a, &scale)
    cdef vec aQ = fma(a * a, horner(GELU_Q, GELU_Q_DEGREE, a), a)
    cdef vec g = aQ / (fma(aQ, fill(ROOT_2_PI), a * horner(GELU_P, GELU_P_DEGREE, a)) + fill(2))
    return fma(-fma(g, p, g), scale, maximum(fill(0), z))


cdef inline vec gelu_derivative(vec z) noexcept nogil:
    """Phi(z) + z phi(z): G for z < 0 and 1 - G elsewhere, G = exp(-a^2/2) (R - a / sqrt(2 pi)).

    R = Q / (sqrt(2 pi) a Q + P), as in gelu.
    """
    cdef vec a = minimum(fill(GELU_ZERO), absolute(z))
    cdef vec scale, g
    cdef vec p = normal_density_less_one(a, &scale)
    cdef vec Q = fma(a, horner(GELU_Q, GELU_Q_DEGREE, a), fill(1))
    cdef vec R = Q / fma(a, fma(Q, fill(ROOT_2_PI), horner(GELU_P, GELU_P_DEGREE, a)), fill(2))
    g = fma(a, fill(<real> -0.39894228040143267794), R)
    g = fma(g, p, g) * scale
    return select_less(z, fill(0), g, fill(1) - g)
