# The vector type and its operations, as Cython sees them; simd.h defines them. Kernels use only `real`, `vec` and
# `vec_bits`, the bits of a vec, and are compiled once per instruction set and dtype. Cython takes a vec for a
# float: + - * / reach C as they stand. To compare and choose take `select_less`, `maximum` and `minimum`, for
# constants `fill`.

from libc.stdint cimport uint64_t

cdef extern from "simd.h" nogil:
    ctypedef float real "fastnn_real"
    ctypedef float vec "fastnn_vec"
    ctypedef long vec_bits "fastnn_bits"
    ctypedef double doubles "fastnn_doubles"                # one for each lane

    const char *INSTRUCTION_SET "FASTNN_INSTRUCTION_SET"
    enum:
        VECTOR_BYTES "FASTNN_VECTOR_BYTES"
        LANES "FASTNN_LANES"                    # reals in a vec
        LANE_BITS "FASTNN_LANE_BITS"            # the binary logarithm of LANES
        FUSED "FASTNN_FUSED"                    # whether fma rounds once
        TILE_ROWS "FASTNN_TILE_ROWS"            # the micro-kernel's tile: rows of C …
        TILE_VECTORS "FASTNN_TILE_VECTORS"      # … by vectors of its columns
        LANE_TILE "FASTNN_LANE_TILE"            # rows and columns of a tile of lanes.pxd

    vec fill "fastnn_fill"(real x)                          # x in every lane
    vec fma "fastnn_fma"(vec a, vec b, vec c)               # a * b + c, rounded once (sse2: twice)
    vec sqrt "fastnn_sqrt"(vec a)
    bint for_intel "fastnn_for_intel"                       # whether to use these three; a literal 0 but for avx512:
    # left * b + c, the bits of fma; left lies so many bytes behind start
    vec fma_loaded "fastnn_fma_loaded"(const real *start, Py_ssize_t offset, vec b, vec c)
    const real *advanced "fastnn_advanced"(const real *start, Py_ssize_t by)    # start + by
    vec sqrt_estimated "fastnn_sqrt_estimated"(vec a)       # the bits of sqrt
    void prefer_intel "fastnn_prefer_intel"(bint intel)     # sets for_intel
    vec select_less "fastnn_select_less"(vec a, vec b, vec x, vec y)    # a < b ? x : y; y for NaN
    vec maximum "fastnn_maximum"(vec bound, vec x)          # x where x is NaN
    vec minimum "fastnn_minimum"(vec bound, vec x)          # x where x is NaN
    vec absolute "fastnn_absolute"(vec a)
    vec copysign "fastnn_copysign"(vec size, vec sign)      # size >= 0, or it has the sign already
    void add_as_doubles "fastnn_add_as_doubles"(double *sums, vec x)    # sums[i] := sums[i] + x[i]
    doubles fill_doubles "fastnn_fill_doubles"(double x)
    doubles to_doubles "fastnn_to_doubles"(vec x)
    vec from_doubles "fastnn_from_doubles"(doubles x)
    doubles select_less_doubles "fastnn_select_less_doubles"(doubles a, doubles b, doubles x, doubles y)
    doubles split_exponent "fastnn_split_exponent"(doubles x, doubles *e)       # x = result * 2^e; x > 0 is normal
    vec random_lanes "fastnn_random_lanes"(uint64_t key, uint64_t n)    # in [1, 2), for the counters n, n + 1 …
    void split_keys "fastnn_split_keys"(const uint64_t *keys, vec_bits *lower, vec_bits *upper)     # one a lane
    vec random_of_keys "fastnn_random_of_keys"(vec_bits lower, vec_bits upper, uint64_t n)  # each lane's n-th number
    vec first_lane "fastnn_first_lane"(real x)              # x, 0, 0 …
    real lane "fastnn_lane"(vec a)                          # what first_lane put there
    vec first_lanes "fastnn_first_lanes"(Py_ssize_t n, vec x)   # x in the first n lanes, zero in the others
    vec load_first "fastnn_load_first"(const real *p, Py_ssize_t n)    # p[0] … p[n-1], zero in the other lanes
    vec column "fastnn_column"(const real *p, Py_ssize_t ld)    # p[0], p[ld], p[2*ld] …
    void store_column "fastnn_store_column"(real *p, Py_ssize_t ld, vec x)      # the other way round
    real fma_one "fastnn_fma_one"(real a, real b, real c)   # fma of numbers
    vec_bits to_bits "fastnn_to_bits"(vec a)
    vec from_bits "fastnn_from_bits"(vec_bits a)
    vec interleave_low "fastnn_interleave_low"(vec a, vec b)      # a0 b0 a1 b1 …
    vec interleave_high "fastnn_interleave_high"(vec a, vec b)    # … from the upper halves


cdef inline void transpose_square(vec *square) noexcept nogil:
    """square[j][i] := square[i][j] for LANES x LANES.

    Interleaving row i with row i + LANES/2 moves one bit of an element's row number into
    its lane number; LANE_BITS rounds move them all.
    """
    cdef vec other[16]
    cdef int i, _
    for _ in range(LANE_BITS):
        for i in range(LANES // 2):
            other[2*i] = interleave_low(square[i], square[i + LANES // 2])
            other[2*i + 1] = interleave_high(square[i], square[i + LANES // 2])
        for i in range(LANES):
            square[i] = other[i]


cdef inline void load_transposed(
        vec *columns, const real *source, Py_ssize_t ld, Py_ssize_t rows) noexcept nogil:
    """columns[j][i] := source[i*ld + j] for a square of LANES x LANES; zero for i >= rows."""
    cdef int i
    for i in range(LANES):
        columns[i] = (<const vec *> (source + i*ld))[0] if i < rows else fill(0)
    transpose_square(columns)
