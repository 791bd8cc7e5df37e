/* Stops the build where the compiler was told to compute otherwise than the formulas say.

   setup.py puts its flags behind those of CC, CPPFLAGS and CFLAGS. Where something comes
   behind even these, or fastnn is compiled by other means, numbers would differ from those
   of every other build, NaN would go unnoticed, and a module would not run on the
   processors that it is chosen for. float_state.h and kernels/simd.h include this file, and
   so every module that computes does. */

#ifndef FASTNN_COMPILED_AS_H
#define FASTNN_COMPILED_AS_H

#if defined(__FAST_MATH__) || defined(__ASSOCIATIVE_MATH__) || defined(__RECIPROCAL_MATH__) \
    || defined(__NO_SIGNED_ZEROS__) || (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__)
#error "fastnn is compiled without -ffast-math, -Ofast and their parts: setup.py's flags must come last"
#endif
#if defined(__FLT_EVAL_METHOD__) && __FLT_EVAL_METHOD__ != 0
#error "fastnn computes float in float and double in double: -mfpmath=sse must come last"
#endif
_Static_assert(sizeof(0.5) == sizeof(double), "fastnn is compiled without -fsingle-precision-constant");

#endif
