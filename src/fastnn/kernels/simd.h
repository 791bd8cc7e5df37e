/* The two types every kernel is written in, and the few operations that C's own
   operators do not give them.

   fastnn_real   float, or double where FASTNN_F64 is defined
   fastnn_vec    as many of them as one register of the instruction set holds
   fastnn_bits   the same lanes as integers, for their raw bits

   + - * / work on vectors as they do on numbers. This file is the only one that
   knows an instruction set; `simd.pxd` shows it to Cython. Names carry a prefix
   because Cython's own C is full of short ones. */

#ifndef FASTNN_SIMD_H
#define FASTNN_SIMD_H

#include <stdint.h>
#include <string.h>

#include "compiled_as.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#define FASTNN_INLINE static inline __attribute__((always_inline))

#ifdef FASTNN_F64
typedef double fastnn_real;
typedef int64_t fastnn_integer;
#define FASTNN_TYPED(ps, pd) pd
#else
typedef float fastnn_real;
typedef int32_t fastnn_integer;
#define FASTNN_TYPED(ps, pd) ps
#endif

/* Per instruction set: the register's width; the micro-kernel's tile (its sums + a row of
   B + a broadcast must fit 32 registers, or 16); and the operations that C has no operator
   for. SSE2 has no fused multiply-add: it rounds twice, and is a class of its own where bits
   are compared. Compares and minima are written so that NaN survives: see below. setup.py
   defines the module's name; the compiler must have its instructions, and no wider ones. */
#if defined(FASTNN_AVX512) && defined(__AVX512F__)
#define FASTNN_INSTRUCTION_SET "avx512"
#define FASTNN_VECTOR_BYTES 64
#define FASTNN_TILE_ROWS 6
#define FASTNN_TILE_VECTORS 4
#define FASTNN_OP(name) FASTNN_TYPED(_mm512_##name##_ps, _mm512_##name##_pd)
#define FASTNN_FMA(a, b, c) FASTNN_OP(fmadd)(a, b, c)
#define FASTNN_SELECT_LESS(a, b, x, y) FASTNN_OP(mask_blend)(FASTNN_LESS_MASK(a, b, _CMP_LT_OQ), y, x)
#define FASTNN_LESS_MASK FASTNN_TYPED(_mm512_cmp_ps_mask, _mm512_cmp_pd_mask)
#elif defined(FASTNN_AVX2) && defined(__AVX2__) && !defined(__AVX512F__)
#define FASTNN_INSTRUCTION_SET "avx2"
#define FASTNN_VECTOR_BYTES 32
#define FASTNN_TILE_ROWS 6
#define FASTNN_TILE_VECTORS 2
#define FASTNN_OP(name) FASTNN_TYPED(_mm256_##name##_ps, _mm256_##name##_pd)
#define FASTNN_FMA(a, b, c) FASTNN_OP(fmadd)(a, b, c)
#define FASTNN_SELECT_LESS(a, b, x, y) FASTNN_OP(blendv)(y, x, (fastnn_vec)((a) < (b)))
#elif defined(FASTNN_SSE2) && defined(__SSE2__) && !defined(__SSE3__)
#define FASTNN_INSTRUCTION_SET "sse2"
#define FASTNN_VECTOR_BYTES 16
#define FASTNN_TILE_ROWS 6
#define FASTNN_TILE_VECTORS 2
#define FASTNN_OP(name) FASTNN_TYPED(_mm_##name##_ps, _mm_##name##_pd)
#define FASTNN_FMA(a, b, c) ((a) * (b) + (c))
#define FASTNN_FUSED 0
#elif defined(FASTNN_NEON) && defined(__aarch64__)
#define FASTNN_INSTRUCTION_SET "neon"
#define FASTNN_VECTOR_BYTES 16
#define FASTNN_TILE_ROWS 4
#define FASTNN_TILE_VECTORS 4
#define FASTNN_OP(name) FASTNN_TYPED(v##name##q_f32, v##name##q_f64)
#define FASTNN_FMA(a, b, c) FASTNN_OP(fma)(c, a, b)
#else
#error "the compiler's instructions are not this module's: setup.py's flags must come last, and each line there has a branch here"
#endif
#ifndef FASTNN_FUSED
#define FASTNN_FUSED 1
#endif
#ifndef FASTNN_SELECT_LESS
#define FASTNN_SELECT_LESS(a, b, x, y) (((fastnn_bits)(x) & ((a) < (b))) | ((fastnn_bits)(y) & ~((a) < (b))))
#endif

/* With as many sums, a vector of each row and column and one more fit the registers. */
#define FASTNN_LANE_TILE (FASTNN_TILE_VECTORS == 4 ? 4 : 3)

#define FASTNN_LANES (FASTNN_VECTOR_BYTES / (int)sizeof(fastnn_real))
#define FASTNN_LANE_BITS (FASTNN_LANES == 16 ? 4 : FASTNN_LANES == 8 ? 3 : FASTNN_LANES == 4 ? 2 : 1)

/* aligned(sizeof real): any array may be read as vectors; may_alias: through a cast. */
typedef fastnn_real fastnn_vec
    __attribute__((vector_size(FASTNN_VECTOR_BYTES), aligned(sizeof(fastnn_real)), may_alias));
typedef fastnn_integer fastnn_bits
    __attribute__((vector_size(FASTNN_VECTOR_BYTES), aligned(sizeof(fastnn_real)), may_alias));

FASTNN_INLINE fastnn_vec fastnn_fill(fastnn_real x) { return x - (fastnn_vec){0}; }
FASTNN_INLINE fastnn_vec fastnn_fma(fastnn_vec a, fastnn_vec b, fastnn_vec c)
{
    return (fastnn_vec)FASTNN_FMA(a, b, c);
}
FASTNN_INLINE fastnn_vec fastnn_sqrt(fastnn_vec a) { return (fastnn_vec)FASTNN_OP(sqrt)(a); }

/* a < b ? x : y, lane by lane; y where a or b is NaN */
FASTNN_INLINE fastnn_vec fastnn_select_less(fastnn_vec a, fastnn_vec b, fastnn_vec x, fastnn_vec y)
{
    return (fastnn_vec)FASTNN_SELECT_LESS(a, b, x, y);
}
/* The bits of a vector, and back; the sign bit alone. */
FASTNN_INLINE fastnn_bits fastnn_to_bits(fastnn_vec a) { return (fastnn_bits)a; }
FASTNN_INLINE fastnn_vec fastnn_from_bits(fastnn_bits a) { return (fastnn_vec)a; }
FASTNN_INLINE fastnn_bits fastnn_sign(fastnn_vec a) { return (fastnn_bits)a & (fastnn_bits)fastnn_fill((fastnn_real)-0.0); }
FASTNN_INLINE fastnn_vec fastnn_absolute(fastnn_vec a) { return (fastnn_vec)((fastnn_bits)a ^ fastnn_sign(a)); }
FASTNN_INLINE fastnn_vec fastnn_copysign(fastnn_vec size, fastnn_vec sign)
{
    return (fastnn_vec)((fastnn_bits)size | fastnn_sign(sign));
}

/* Adds x to LANES sums in double. */
typedef double fastnn_doubles __attribute__((vector_size(FASTNN_LANES * 8), aligned(8), may_alias));
FASTNN_INLINE void fastnn_add_as_doubles(double *sums, fastnn_vec x)
{
    *(fastnn_doubles *)sums += __builtin_convertvector(x, fastnn_doubles);
}

/* Doubles, one for each lane: the few operations that C's operators do not give them. */
typedef int64_t fastnn_longs __attribute__((vector_size(FASTNN_LANES * 8), aligned(8), may_alias));
FASTNN_INLINE fastnn_doubles fastnn_fill_doubles(double x) { return x - (fastnn_doubles){0}; }
FASTNN_INLINE fastnn_doubles fastnn_to_doubles(fastnn_vec x) { return __builtin_convertvector(x, fastnn_doubles); }
FASTNN_INLINE fastnn_vec fastnn_from_doubles(fastnn_doubles x) { return __builtin_convertvector(x, fastnn_vec); }
FASTNN_INLINE fastnn_doubles fastnn_select_less_doubles(fastnn_doubles a, fastnn_doubles b, fastnn_doubles x,
                                                        fastnn_doubles y)
{
    return (fastnn_doubles)(((fastnn_longs)x & (a < b)) | ((fastnn_longs)y & ~(a < b)));
}
/* f with x = f 2^e and f in 1/2 … 1, as C's frexp, for normal x > 0. 2^52 + e holds e in its lowest bits. */
FASTNN_INLINE fastnn_doubles fastnn_split_exponent(fastnn_doubles x, fastnn_doubles *e)
{
    const fastnn_longs exponent = (fastnn_longs)x >> 52;
    *e = (fastnn_doubles)(exponent | 0x4330000000000000) - 0x1p52 - 1022;
    return (fastnn_doubles)(((fastnn_longs)x & 0x000FFFFFFFFFFFFF) | 0x3FE0000000000000);
}

FASTNN_INLINE fastnn_vec fastnn_first_lane(fastnn_real x) { return (fastnn_vec){x}; }
FASTNN_INLINE fastnn_real fastnn_lane(fastnn_vec a) { return a[0]; }
static const fastnn_integer fastnn_lane_numbers[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
/* x in the first n lanes, zero in the others */
FASTNN_INLINE fastnn_vec fastnn_first_lanes(fastnn_integer n, fastnn_vec x)
{
    return (fastnn_vec)((fastnn_bits)x & (*(const fastnn_bits *)fastnn_lane_numbers < n));
}
/* The first n reals at p, zero in the other lanes. Nothing beyond them is read. */
FASTNN_INLINE fastnn_vec fastnn_load_first(const fastnn_real *p, intptr_t n)
{
#if FASTNN_VECTOR_BYTES == 64
    return (fastnn_vec)FASTNN_OP(maskz_loadu)((FASTNN_TYPED(__mmask16, __mmask8))((1u << n) - 1), p);
#elif FASTNN_VECTOR_BYTES == 32
    const fastnn_bits mask = *(const fastnn_bits *)fastnn_lane_numbers < (fastnn_integer)n;
    return (fastnn_vec)FASTNN_OP(maskload)(FASTNN_TYPED((const float *), (const double *))p, (__m256i)mask);
#else
    fastnn_vec x = {0};
    memcpy(&x, p, n * sizeof(fastnn_real));
    return x;
#endif
}
/* Random numbers in [1, 2) from the counters n, n + 1, … and a key: a bijection of integers whose every bit
   depends on every other ("lowbias32" of Wellons, 2018; for doubles that of SplitMix64), taken twice so that
   keys give unrelated numbers; then the upper bits as a mantissa. */
typedef FASTNN_TYPED(uint32_t, uint64_t) fastnn_unsigned;
typedef fastnn_unsigned fastnn_words
    __attribute__((vector_size(FASTNN_VECTOR_BYTES), aligned(sizeof(fastnn_real)), may_alias));
FASTNN_INLINE fastnn_words fastnn_mixed(fastnn_words x)
{
    x = (x ^ (x >> FASTNN_TYPED(16, 30))) * FASTNN_TYPED(0x7FEB352Du, 0xBF58476D1CE4E5B9u);
    x = (x ^ (x >> FASTNN_TYPED(15, 27))) * FASTNN_TYPED(0x846CA68Bu, 0x94D049BB133111EBu);
    return x ^ (x >> FASTNN_TYPED(16, 31));
}
FASTNN_INLINE fastnn_vec fastnn_random(fastnn_words counters, fastnn_words upper)
{
    fastnn_words bits = fastnn_mixed(fastnn_mixed(counters) ^ upper);
    return (fastnn_vec)((bits >> FASTNN_TYPED(9, 12)) | FASTNN_TYPED(0x3F800000u, 0x3FF0000000000000u));
}
FASTNN_INLINE fastnn_vec fastnn_random_lanes(uint64_t key, uint64_t n)
{
    return fastnn_random(*(const fastnn_words *)fastnn_lane_numbers + (fastnn_unsigned)(key + n),
                         (fastnn_unsigned)(key >> 32) - (fastnn_words){0});
}
/* The same number for one counter and a key in each lane, of which both halves are given. */
FASTNN_INLINE void fastnn_split_keys(const uint64_t *keys, fastnn_bits *lower, fastnn_bits *upper)
{
    for (int i = 0; i < FASTNN_LANES; i++) {
        (*lower)[i] = (fastnn_integer)keys[i];
        (*upper)[i] = (fastnn_integer)(fastnn_unsigned)(keys[i] >> 32);
    }
}
FASTNN_INLINE fastnn_vec fastnn_random_of_keys(fastnn_bits lower, fastnn_bits upper, uint64_t n)
{
    return fastnn_random((fastnn_words)lower + (fastnn_unsigned)n, (fastnn_words)upper);
}
/* p[0], p[ld], p[2*ld] …, read and written one by one: what was just stored so can be loaded so at once. */
#define FASTNN_PAIR(i) p[(i)*ld], p[((i) + 1)*ld]
#define FASTNN_FOUR(i) FASTNN_PAIR(i), FASTNN_PAIR((i) + 2)
#define FASTNN_EIGHT(i) FASTNN_FOUR(i), FASTNN_FOUR((i) + 4)
FASTNN_INLINE fastnn_vec fastnn_column(const fastnn_real *p, intptr_t ld)
{
#if FASTNN_VECTOR_BYTES == 64
    return (fastnn_vec){FASTNN_TYPED(FASTNN_EIGHT(0), FASTNN_FOUR(0)), FASTNN_TYPED(FASTNN_EIGHT(8), FASTNN_FOUR(4))};
#elif FASTNN_VECTOR_BYTES == 32
    return (fastnn_vec){FASTNN_TYPED(FASTNN_EIGHT(0), FASTNN_FOUR(0))};
#else
    return (fastnn_vec){FASTNN_TYPED(FASTNN_FOUR(0), FASTNN_PAIR(0))};
#endif
}
FASTNN_INLINE void fastnn_store_column(fastnn_real *p, intptr_t ld, fastnn_vec x)
{
    for (int i = 0; i < FASTNN_LANES; i++)
        p[i*ld] = x[i];
}
/* The same a * b + c as fastnn_fma, of numbers. */
FASTNN_INLINE fastnn_real fastnn_fma_one(fastnn_real a, fastnn_real b, fastnn_real c)
{
    return FASTNN_FUSED ? FASTNN_TYPED(__builtin_fmaf, __builtin_fma)(a, b, c) : a * b + c;
}

/* Some kernels have a second form with the same bits, which is faster on Intel's processors with AVX-512 and slower
   on AMD's (docs/performance.md has the figures). fastnn_for_intel says which form is to be used. */
#if FASTNN_VECTOR_BYTES == 64
static int fastnn_for_intel;
FASTNN_INLINE void fastnn_prefer_intel(int intel) { fastnn_for_intel = intel; }

/* left[0] * b + c, left lying `offset` bytes behind start, as one instruction that repeats left in every lane as it loads
   it. Compilers make two of it where left has another use, and compute start + offset by a third.
   The last operand says what is read: anything behind start. */
FASTNN_INLINE fastnn_vec fastnn_fma_loaded(const fastnn_real *start, intptr_t offset, fastnn_vec b, fastnn_vec c)
{
    __asm__ volatile(FASTNN_TYPED("vfmadd231ps (%1,%2)%{1to16%}, %3, %0", "vfmadd231pd (%1,%2)%{1to8%}, %3, %0")
                     : "+v"(c) : "r"(start), "r"(offset), "v"(b), "m"(*(const fastnn_real(*)[1LL << 40])start));
    return c;
}
/* start + by. What is added to it later is added later: unrolled, compilers keep more addresses than registers. */
FASTNN_INLINE const fastnn_real *fastnn_advanced(const fastnn_real *start, intptr_t by)
{
    start += by;
    __asm__("" : "+r"(start));
    return start;
}

/* fastnn_sqrt without the divider (Markstein, 1990). g approaches the root and h half its reciprocal; each turn doubles
   their 14 bits. The last remainder x - g*g is exact enough to round g correctly. Zeros take an estimate of zero. Where
   another x is below LEAST, the remainder may be subnormal: then, and for negative x, infinity and NaN, all lanes take
   the instruction. */
#define FASTNN_LEAST FASTNN_TYPED(0x0C800000, 0x0360000000000000)       /* the bits of 2^-102, 2^-969 */
#define FASTNN_INFINITY FASTNN_TYPED(0x7F800000, 0x7FF0000000000000)
#define FASTNN_LANES_FROM FASTNN_TYPED(_mm512_mask_cmpge_epu32_mask, _mm512_mask_cmpge_epu64_mask)
#define FASTNN_LANES_WITH_BITS FASTNN_TYPED(_mm512_test_epi32_mask, _mm512_test_epi64_mask)
FASTNN_INLINE fastnn_vec fastnn_sqrt_estimated(fastnn_vec x)
{
    const fastnn_vec half = fastnn_fill((fastnn_real)0.5);
    const fastnn_bits range = (fastnn_bits){0} + (FASTNN_INFINITY - FASTNN_LEAST);
    FASTNN_TYPED(__mmask16, __mmask8) nonzero = FASTNN_LANES_WITH_BITS((__m512i)x, (__m512i)x);
    if (__builtin_expect(FASTNN_LANES_FROM(nonzero, (__m512i)((fastnn_bits)x - FASTNN_LEAST), (__m512i)range) != 0, 0))
        return fastnn_sqrt(x);
    fastnn_vec estimate = (fastnn_vec)FASTNN_OP(maskz_rsqrt14)(nonzero, x);
    fastnn_vec g = x * estimate, h = half * estimate;
    for (int i = 0; i < FASTNN_TYPED(1, 2); i++) {
        fastnn_vec error = (fastnn_vec)FASTNN_OP(fnmadd)(g, h, half);
        g = fastnn_fma(g, error, g);
        h = fastnn_fma(h, error, h);
    }
    return fastnn_fma((fastnn_vec)FASTNN_OP(fnmadd)(g, g, x), h, g);
}
#else
#define fastnn_for_intel 0
FASTNN_INLINE void fastnn_prefer_intel(int intel) { (void)intel; }
FASTNN_INLINE fastnn_vec fastnn_fma_loaded(const fastnn_real *start, intptr_t offset, fastnn_vec b, fastnn_vec c)
{
    return fastnn_fma(fastnn_fill(start[offset / (intptr_t)sizeof(fastnn_real)]), b, c);
}
FASTNN_INLINE const fastnn_real *fastnn_advanced(const fastnn_real *start, intptr_t by) { return start + by; }
FASTNN_INLINE fastnn_vec fastnn_sqrt_estimated(fastnn_vec x) { return fastnn_sqrt(x); }
#endif

/* The larger (smaller) of bound and x; x where it is NaN or equals the bound, so that -0.0 stays; a
   subnormal x counts as zero. That is what x86's instructions do with the bound as first argument. */
#if defined(__x86_64__)
FASTNN_INLINE fastnn_vec fastnn_maximum(fastnn_vec bound, fastnn_vec x) { return (fastnn_vec)FASTNN_OP(max)(bound, x); }
FASTNN_INLINE fastnn_vec fastnn_minimum(fastnn_vec bound, fastnn_vec x) { return (fastnn_vec)FASTNN_OP(min)(bound, x); }
#else
FASTNN_INLINE fastnn_vec fastnn_flushed(fastnn_vec x) { return fastnn_copysign(x + fastnn_fill(0), x); }
FASTNN_INLINE fastnn_vec fastnn_maximum(fastnn_vec bound, fastnn_vec x)
{
    return fastnn_select_less(fastnn_flushed(x), bound, bound, fastnn_flushed(x));
}
FASTNN_INLINE fastnn_vec fastnn_minimum(fastnn_vec bound, fastnn_vec x)
{
    return fastnn_select_less(bound, fastnn_flushed(x), bound, fastnn_flushed(x));
}
#endif

/* Interleaving the lower (upper) halves of a and b: a0 b0 a1 b1 … */
#define FASTNN_LOW_2 0, 2
#define FASTNN_HIGH_2 1, 3
#define FASTNN_LOW_4 0, 4, 1, 5
#define FASTNN_HIGH_4 2, 6, 3, 7
#define FASTNN_LOW_8 0, 8, 1, 9, 2, 10, 3, 11
#define FASTNN_HIGH_8 4, 12, 5, 13, 6, 14, 7, 15
#define FASTNN_LOW_16 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define FASTNN_HIGH_16 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#if FASTNN_VECTOR_BYTES == 64
#define FASTNN_LOW FASTNN_TYPED(FASTNN_LOW_16, FASTNN_LOW_8)
#define FASTNN_HIGH FASTNN_TYPED(FASTNN_HIGH_16, FASTNN_HIGH_8)
#elif FASTNN_VECTOR_BYTES == 32
#define FASTNN_LOW FASTNN_TYPED(FASTNN_LOW_8, FASTNN_LOW_4)
#define FASTNN_HIGH FASTNN_TYPED(FASTNN_HIGH_8, FASTNN_HIGH_4)
#else
#define FASTNN_LOW FASTNN_TYPED(FASTNN_LOW_4, FASTNN_LOW_2)
#define FASTNN_HIGH FASTNN_TYPED(FASTNN_HIGH_4, FASTNN_HIGH_2)
#endif
#ifdef __clang__
#define FASTNN_SHUFFLE_(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define FASTNN_SHUFFLE_(a, b, ...) __builtin_shuffle(a, b, (fastnn_bits){__VA_ARGS__})
#endif
#define FASTNN_SHUFFLE(a, b, lanes) FASTNN_SHUFFLE_(a, b, lanes)
FASTNN_INLINE fastnn_vec fastnn_interleave_low(fastnn_vec a, fastnn_vec b)
{
    return FASTNN_SHUFFLE(a, b, FASTNN_LOW);
}
FASTNN_INLINE fastnn_vec fastnn_interleave_high(fastnn_vec a, fastnn_vec b)
{
    return FASTNN_SHUFFLE(a, b, FASTNN_HIGH);
}

#endif
