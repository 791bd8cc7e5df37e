# The one matrix product: c := finish(start + a @ b), for the forward pass, the weight
# gradient and the input gradient alike.
#
# `tile` computes a block of c that fits the registers; `product` cuts c into tiles and
# decides whether b is packed first. Nothing here knows layers or activations; the callers
# are in dense.pxd.
#
# Every element of c is start + a[i][0]*b[0][j] + a[i][1]*b[1][j] + …, added in this order
# by fused multiply-adds, whatever the tile's size and whatever is packed: a lane is an
# element of c and never a partial sum. So a row has the same bits in every batch.

from .simd cimport (LANES, TILE_ROWS, TILE_VECTORS, at_least, fill, fma, load_transposed,
                    real, vec)
from .types cimport PACKED_COLUMN_BYTES, PACKED_ROWS, padded, worth_packing

cdef enum Finish:
    STORE       # c := sum
    RECTIFY     # c := max(sum, 0); NaN stays NaN
    DESCEND     # c := c - rate * sum


cdef enum:
    SINGLE_ROW_VECTORS = 8      # a single row's tile is wider: it only waits for b


cdef inline Py_ssize_t padded_row(Py_ssize_t n) noexcept nogil:
    return padded(n, sizeof(real))


cdef inline Py_ssize_t vectors_of(Py_ssize_t n) noexcept nogil:
    """Vectors that hold n reals."""
    return (n + LANES - 1) // LANES


cdef inline void tile(
        int rows, int vectors, real *c, Py_ssize_t ldc, const real *start, Py_ssize_t ldstart,
        const real *a, Py_ssize_t a_row, Py_ssize_t a_column, const real *b, Py_ssize_t ldb,
        Py_ssize_t k, int finish, real rate) noexcept nogil:
    """c[i][j] := finish(start[i][j] + sum over p of a[i*a_row + p*a_column] * b[p][j]).

    1. rows and vectors are literals at every call, and the array of sums has a literal
       size: so the compiler keeps it in registers (on the stack it is 4 times slower).
    2. Two strides of a make one kernel serve a @ b and a.T @ b.
    3. start is a bias row (ldstart = 0), c itself (the next block of k) or NULL (zero).
    """
    cdef vec total[24]
    cdef vec row[8]
    cdef vec left
    cdef vec zero = fill(0)
    cdef int i, j
    cdef Py_ssize_t _
    for i in range(rows):
        for j in range(vectors):
            total[i*vectors + j] = (<const vec *> (start + i*ldstart + j*LANES))[0] if start != NULL else zero
    for _ in range(k):
        for j in range(vectors):
            row[j] = (<const vec *> (b + j*LANES))[0]
        for i in range(rows):
            left = fill(a[i*a_row])
            for j in range(vectors):
                total[i*vectors + j] = fma(left, row[j], total[i*vectors + j])
        a += a_column
        b += ldb
    if finish == RECTIFY:
        for i in range(rows * vectors):
            total[i] = at_least(zero, total[i])
    elif finish == DESCEND:
        for i in range(rows):
            for j in range(vectors):
                total[i*vectors + j] = fma(
                    fill(-rate), total[i*vectors + j], (<const vec *> (c + i*ldc + j*LANES))[0])
    for i in range(rows):
        for j in range(vectors):
            (<vec *> (c + i*ldc + j*LANES))[0] = total[i*vectors + j]


cdef inline void tile_of_rows(
        int rows, Py_ssize_t vectors, real *c, Py_ssize_t ldc, const real *start, Py_ssize_t ldstart,
        const real *a, Py_ssize_t a_row, Py_ssize_t a_column, const real *b, Py_ssize_t ldb,
        Py_ssize_t k, int finish, real rate) noexcept nogil:
    """The tile with a literal number of vectors."""
    if vectors == 1:
        tile(rows, 1, c, ldc, start, ldstart, a, a_row, a_column, b, ldb, k, finish, rate)
    elif vectors == 2:
        tile(rows, 2, c, ldc, start, ldstart, a, a_row, a_column, b, ldb, k, finish, rate)
    elif rows == 1 and vectors == SINGLE_ROW_VECTORS:
        tile(rows, SINGLE_ROW_VECTORS, c, ldc, start, ldstart, a, a_row, a_column, b, ldb, k, finish, rate)
    elif TILE_VECTORS >= 3 and vectors == 3:
        tile(rows, 3, c, ldc, start, ldstart, a, a_row, a_column, b, ldb, k, finish, rate)
    elif TILE_VECTORS >= 4:
        tile(rows, 4, c, ldc, start, ldstart, a, a_row, a_column, b, ldb, k, finish, rate)


cdef inline void tile_of(
        Py_ssize_t rows, Py_ssize_t vectors, real *c, Py_ssize_t ldc, const real *start, Py_ssize_t ldstart,
        const real *a, Py_ssize_t a_row, Py_ssize_t a_column, const real *b, Py_ssize_t ldb,
        Py_ssize_t k, int finish, real rate) noexcept nogil:
    """The tile with a literal number of rows, too."""
    if rows == 1:
        tile_of_rows(1, vectors, c, ldc, start, ldstart, a, a_row, a_column, b, ldb, k, finish, rate)
    elif rows == 2:
        tile_of_rows(2, vectors, c, ldc, start, ldstart, a, a_row, a_column, b, ldb, k, finish, rate)
    elif rows == 3:
        tile_of_rows(3, vectors, c, ldc, start, ldstart, a, a_row, a_column, b, ldb, k, finish, rate)
    elif rows == 4:
        tile_of_rows(4, vectors, c, ldc, start, ldstart, a, a_row, a_column, b, ldb, k, finish, rate)
    elif TILE_ROWS >= 5 and rows == 5:
        tile_of_rows(5, vectors, c, ldc, start, ldstart, a, a_row, a_column, b, ldb, k, finish, rate)
    elif TILE_ROWS >= 6:
        tile_of_rows(6, vectors, c, ldc, start, ldstart, a, a_row, a_column, b, ldb, k, finish, rate)


cdef inline Py_ssize_t share(Py_ssize_t left, Py_ssize_t most) noexcept nogil:
    """How many of `left` rows (or vectors) the next tile takes: `most`, but the last two share evenly.

    8 rows make 4 + 4 rather than 6 + 2: a narrow tile waits for its own multiply-adds.
    """
    if left <= most:
        return left
    return most if left >= 2*most else (left + 1) // 2


cdef inline void pack(
        real *packed, const real *b, Py_ssize_t ldb, bint transposed,
        Py_ssize_t k, Py_ssize_t n, Py_ssize_t n_true) noexcept nogil:
    """packed[p][j] := b[p][j], or b[j][p] when transposed, zero for j >= n_true; rows of n reals.

    n is a multiple of LANES; the transposed form writes k rounded up to LANES rows.
    """
    cdef vec columns[16]
    cdef Py_ssize_t p, j, square
    cdef int q
    if not transposed:
        for p in range(k):
            for j in range(n // LANES):
                (<vec *> (packed + p*n))[j] = (<const vec *> (b + p*ldb))[j]
        return
    if k == 1:              # one output: its column of weights
        for j in range(n):
            packed[j] = b[j*ldb] if j < n_true else 0
        return
    for j in range(n // LANES):
        for square in range(vectors_of(k)):
            p = square * LANES
            load_transposed(columns, b + j*LANES*ldb + p, ldb, min(n_true - j*LANES, LANES))
            for q in range(LANES):
                (<vec *> (packed + (p + q)*n))[j] = columns[q]


cdef inline void product(
        real *c, Py_ssize_t ldc, const real *bias, const real *a, Py_ssize_t a_row, Py_ssize_t a_column,
        const real *b, Py_ssize_t ldb, bint transposed,
        Py_ssize_t m, Py_ssize_t k, Py_ssize_t n, int finish, real rate, real *scratch) noexcept nogil:
    """c[i][j] := finish(bias[j] + sum over p of a[i*a_row + p*a_column] * b[p][j])

    for i < m, p < k, j < padded_row(n). With transposed, b[j][p] takes the place of b[p][j].
    Without bias (NULL) it is zero.

        for each block of k, and in it of columns:      a block of b fits the L2 cache
            pack the block                              if it pays, or if it is transposed
            for each tile of rows, and in it of columns:
                tile

    1. Rows outside, columns inside: the rows of a stay in L1, b streams from L2.
    2. A block is packed in panels, as wide as a tile, so that a tile reads one line after
       the other: up to 12 % more than from rows of the whole block.
    3. Between blocks of k the sums wait in c, which is exact: rounding is done already.
       DESCEND needs c's old value at the end, so its caller keeps k within PACKED_ROWS.
    """
    cdef bint packed = transposed or worth_packing(m, k, n, sizeof(real))
    cdef Py_ssize_t n_padded = padded_row(n)
    cdef Py_ssize_t k_block = PACKED_ROWS if packed else k
    cdef Py_ssize_t n_block = PACKED_COLUMN_BYTES // <Py_ssize_t> sizeof(real) if packed else n_padded
    cdef Py_ssize_t p, j, i, jj, rows, vectors, k_now, n_now, panel_rows, ld = ldb
    cdef const real *panel
    cdef const real *start
    cdef Py_ssize_t ldstart
    cdef int finish_now
    p = 0
    while True:             # once for k = 0, too: c becomes finish(bias)
        k_now = min(k_block, k - p)
        panel_rows = vectors_of(k_now) * LANES if transposed else k_now
        finish_now = finish if p + k_now == k else <int> STORE
        j = 0
        while j < n_padded:
            n_now = min(n_block, n_padded - j)
            if packed:
                jj = 0
                while jj < n_now:
                    vectors = share((n_now - jj) // LANES, TILE_VECTORS)
                    pack(scratch + jj*panel_rows, b + ((j + jj)*ldb + p if transposed else p*ldb + j + jj),
                         ldb, transposed, k_now, vectors * LANES, n - j - jj)
                    jj += vectors * LANES
            i = 0
            while i < m:
                rows = share(m - i, TILE_ROWS)
                jj = 0
                while jj < n_now:
                    vectors = share((n_now - jj) // LANES, TILE_VECTORS)
                    if m == 1 and not packed and (n_now - jj) // LANES >= SINGLE_ROW_VECTORS:
                        vectors = SINGLE_ROW_VECTORS
                    if packed:
                        panel, ld = scratch + jj*panel_rows, vectors * LANES
                    else:
                        panel = b + j + jj
                    if p > 0:
                        start, ldstart = c + i*ldc + j + jj, ldc
                    else:
                        start, ldstart = (bias + j + jj if bias != NULL else NULL), 0
                    tile_of(rows, vectors, c + i*ldc + j + jj, ldc, start, ldstart,
                            a + i*a_row + p*a_column, a_row, a_column, panel, ld, k_now, finish_now, rate)
                    jj += vectors * LANES
                i += rows
            j += n_now
        p += k_now
        if p >= k:
            break
