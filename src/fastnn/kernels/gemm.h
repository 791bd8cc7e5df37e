/* The micro-kernel is called through a pointer, so that it stays a function of its own. Inlined into
   the loops around it, it would share their registers: the innermost loop then fetches its pointers from
   the stack and from vector registers, which costs 5 to 10 %. */

#ifndef FASTNN_GEMM_H
#define FASTNN_GEMM_H

#include <stdint.h>

static void (*fastnn_micro_kernel)(intptr_t rows, intptr_t columns, const void *block);

/* Its form for Intel's processors leaves to this one what has no large tiles, so that a module has one copy of these. */
static void (*fastnn_general_micro_kernel)(intptr_t rows, intptr_t columns, const void *block);

#endif
