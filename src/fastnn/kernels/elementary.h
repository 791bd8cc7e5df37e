/* Constants of the elementary functions, float32 and float64; the formulas that use them
   are in elementary.pxd, the polynomials in tables.h. */

#ifndef FASTNN_ELEMENTARY_H
#define FASTNN_ELEMENTARY_H

#include "simd.h"
#include "tables.h"

#define FASTNN_DEGREE(table) ((int)(sizeof table / sizeof *table) - 1)

#ifdef FASTNN_F64
#define FASTNN_MANTISSA_BITS 52
#define FASTNN_EXPONENT_BIAS 1023
#define FASTNN_ROUND_TO_INTEGER 0x1.8p52           /* adding it leaves the integer in the low bits */
#define FASTNN_LOG2_E 0x1.71547652b82fep0
#define FASTNN_LN2_HIGH 0x1.62e42feep-1            /* 33 bits: n * it is exact for |n| < 2^20 */
#define FASTNN_LN2_LOW 0x1.a39ef35793c76p-33
#define FASTNN_EXP_LOWEST -746.0                   /* below it exp is 0 */
#define FASTNN_EXP_HIGHEST 710.0                   /* above it exp is infinite */
#define FASTNN_EXP_ONE_FACTOR -709.0               /* from here on, 2^n is a normal number or 0 */
#define FASTNN_TANH_ONE 20.0                       /* above it tanh rounds to 1 */
#define FASTNN_SILU_ZERO 760.0                     /* below its negative silu is 0 */
#define FASTNN_SILU_SHIFT 128
#define FASTNN_GELU_ZERO 37.66                     /* below its negative gelu is 0 */
#define FASTNN_ROOT_2_PI 0x1.40d931ff62706p1       /* sqrt(2 pi); GELU_P makes up for its rounding */
#define FASTNN_UPPER_HALF (~(int64_t)0x7ffffff)    /* 26 of 53 bits: their square is exact */
#else
#define FASTNN_MANTISSA_BITS 23
#define FASTNN_EXPONENT_BIAS 127
#define FASTNN_ROUND_TO_INTEGER 0x1.8p23f
#define FASTNN_LOG2_E 0x1.715476p0f
#define FASTNN_LN2_HIGH 0x1.62e4p-1f               /* 15 bits: n * it is exact for |n| < 2^9 */
#define FASTNN_LN2_LOW 0x1.7f7d1cp-20f
#define FASTNN_EXP_LOWEST -104.0f
#define FASTNN_EXP_HIGHEST 89.0f
#define FASTNN_EXP_ONE_FACTOR -88.0f
#define FASTNN_TANH_ONE 10.0f
#define FASTNN_SILU_ZERO 110.0f
#define FASTNN_SILU_SHIFT 64
#define FASTNN_GELU_ZERO 13.28f
#define FASTNN_ROOT_2_PI 0x1.40d932p1f
#define FASTNN_UPPER_HALF (~(int32_t)0xfff)        /* 12 of 24 bits */
#endif

#endif
