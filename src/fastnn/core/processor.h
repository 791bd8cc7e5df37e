/* What an x86-64 processor and the operating system support: CPUID and XGETBV, asked directly.

   gcc's __builtin_cpu_supports asks a variable of its runtime library. Other compilers bring other libraries: in a
   module that zig has built it always says no. Functions are prefixed with fastnn_. */
#ifndef FASTNN_PROCESSOR_H
#define FASTNN_PROCESSOR_H

#include <cpuid.h>
#include <string.h>

/* Bits of CPUID, as Intel's manual names them (volume 2A): of leaf 1, ecx, and of leaf 7, ebx. */
#define FASTNN_AVX_BITS (1u << 12 | 1u << 27 | 1u << 28)                /* FMA, OSXSAVE, AVX */
#define FASTNN_AVX2_BIT (1u << 5)
#define FASTNN_AVX512_BITS (1u << 16 | 1u << 17 | 1u << 30 | 1u << 31)  /* F, DQ, BW, VL */
/* Registers that the operating system saves when it switches threads: bits of XCR0. */
#define FASTNN_XCR0_YMM 0x06u       /* xmm and the upper halves of ymm */
#define FASTNN_XCR0_ZMM 0xe6u       /* these, masks, the upper halves of zmm, and zmm16 to zmm31 */

static unsigned fastnn_saved_registers(void) {
    unsigned low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

/* 0: SSE2 alone; 1: AVX2 and FMA, too; 2: AVX-512 F, DQ, BW and VL, too. */
static int fastnn_x86_level(void) {
    unsigned a, b, c, d, saved;
    if (!__get_cpuid(1, &a, &b, &c, &d) || (c & FASTNN_AVX_BITS) != FASTNN_AVX_BITS)
        return 0;
    saved = fastnn_saved_registers();
    if ((saved & FASTNN_XCR0_YMM) != FASTNN_XCR0_YMM || !__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(b & FASTNN_AVX2_BIT))
        return 0;
    return (b & FASTNN_AVX512_BITS) == FASTNN_AVX512_BITS && (saved & FASTNN_XCR0_ZMM) == FASTNN_XCR0_ZMM ? 2 : 1;
}

static int fastnn_made_by_intel(void) {
    unsigned a, name[3];
    return __get_cpuid(0, &a, &name[0], &name[2], &name[1]) && memcmp(name, "GenuineIntel", 12) == 0;
}

#endif
