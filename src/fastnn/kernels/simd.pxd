# The vector type and its operations, as Cython sees them. Kernels are written in `real`,
# `vec` and `mask` alone, and compiled once per instruction set and dtype; what they become
# is said in simd.h. Cython takes a vector for a float: + - * / reach C as they stand, but
# compare with `less`, choose with `blend`, and make constants with `fill`.

cdef extern from "simd.h" nogil:
    ctypedef float real "fastnn_real"
    ctypedef float vec "fastnn_vec"
    ctypedef long mask "fastnn_mask"
    ctypedef long integer "fastnn_integer"

    const char *INSTRUCTION_SET "FASTNN_INSTRUCTION_SET"
    enum:
        LANES "FASTNN_LANES"                    # reals in a vec
        LANE_BITS "FASTNN_LANE_BITS"              # its binary logarithm
        TILE_ROWS "FASTNN_TILE_ROWS"            # the micro-kernel's tile: rows of C …
        TILE_VECTORS "FASTNN_TILE_VECTORS"      # … by vectors of its columns
        MANTISSA_BITS "FASTNN_MANTISSA_BITS"
        EXPONENT_BIAS "FASTNN_EXPONENT_BIAS"

    vec fill "fastnn_fill"(real x)                          # x in every lane
    vec fma "fastnn_fma"(vec a, vec b, vec c)               # a * b + c, rounded once (sse2: twice)
    vec sqrt "fastnn_sqrt"(vec a)
    mask less "fastnn_less"(vec a, vec b)                   # a < b
    vec blend "fastnn_blend"(mask m, vec a, vec b)          # m ? a : b
    mask bits "fastnn_bits"(vec a)
    vec from_bits "fastnn_from_bits"(mask a)
    vec absolute "fastnn_absolute"(vec a)
    vec copysign "fastnn_copysign"(vec magnitude, vec sign)
    vec interleave_low "fastnn_interleave_low"(vec a, vec b)      # a0 b0 a1 b1 …
    vec interleave_high "fastnn_interleave_high"(vec a, vec b)    # … from the upper halves


cdef inline void load_transposed(vec *columns, const real *source, Py_ssize_t ld, Py_ssize_t rows) noexcept nogil:
    """columns[j][i] := source[i*ld + j] for a square of LANES x LANES; zero for i >= rows.

    Interleaving row i with row i + LANES/2 moves one bit of an element's row number into
    its lane number; LANE_BITS rounds move them all.
    """
    cdef vec other[16]
    cdef int i, round
    for i in range(LANES):
        columns[i] = (<const vec *> (source + i*ld))[0] if i < rows else fill(0)
    for round in range(LANE_BITS):
        for i in range(LANES // 2):
            other[2*i] = interleave_low(columns[i], columns[i + LANES // 2])
            other[2*i + 1] = interleave_high(columns[i], columns[i + LANES // 2])
        for i in range(LANES):
            columns[i] = other[i]
