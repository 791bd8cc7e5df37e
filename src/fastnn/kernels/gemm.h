/* The micro-kernel is called through a pointer, so that it stays a function of its own. Inlined into
   the loops around it, it would share their registers: the innermost loop then fetches its pointers from
   the stack and from vector registers, which costs 5 to 10 %. */

#ifndef FASTNN_GEMM_H
#define FASTNN_GEMM_H

#include <stdint.h>

static void (*fastnn_micro_kernel)(intptr_t rows, intptr_t columns, const void *block);

#endif
