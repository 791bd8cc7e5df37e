/* Treats subnormal numbers as zero while kernels run, and gives the caller's state back afterwards.

   Adam's moments of a weight whose gradient stays 0 decay into subnormals, and there every
   operation is several times slower. The state is per thread; restoring it also drops the
   exception flags that kernels raised, so that the caller's next NumPy call sees none. */

#ifndef FASTNN_FLOAT_STATE_H
#define FASTNN_FLOAT_STATE_H

#include <stdint.h>

#include "compiled_as.h"

#if defined(__x86_64__)
#include <xmmintrin.h>
#define FASTNN_FLUSH 0x8040u /* flush to zero, subnormals are zero */
static inline uint64_t fastnn_flush_subnormals(void)
{
    uint32_t before = _mm_getcsr();
    _mm_setcsr(before | FASTNN_FLUSH);
    return before;
}
static inline void fastnn_restore_float_state(uint64_t before) { _mm_setcsr((uint32_t)before); }
#elif defined(__aarch64__)
#define FASTNN_FLUSH (1u << 24)
/* control register below, status register (the flags) above: both use the lower 32 bits */
static inline uint64_t fastnn_flush_subnormals(void)
{
    uint64_t control, status;
    __asm__ volatile("mrs %0, fpcr" : "=r"(control));
    __asm__ volatile("mrs %0, fpsr" : "=r"(status));
    __asm__ volatile("msr fpcr, %0" : : "r"(control | FASTNN_FLUSH));
    return status << 32 | (uint32_t)control;
}
static inline void fastnn_restore_float_state(uint64_t before)
{
    __asm__ volatile("msr fpcr, %0" : : "r"(before & 0xffffffffu));
    __asm__ volatile("msr fpsr, %0" : : "r"(before >> 32));
}
#endif

#endif
