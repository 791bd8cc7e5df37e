# The one matrix product: c := finish(start + a @ b), for the forward pass, the weight
# gradient and the input gradient alike.
#
# `tile` computes as much of c as fits the registers, `tiles` a block; `product` cuts c into
# blocks and decides whether b is packed first. Nothing here knows layers or activations; the callers
# are in dense.pxd.
#
# Every element of c is start + a[i][0]*b[0][j] + a[i][1]*b[1][j] + …, added in this order
# by fused multiply-adds, whatever the tile's size and whatever is packed: a lane is an
# element of c and never a partial sum. So a row has the same bits in every batch.

from .simd cimport (LANES, TILE_ROWS, TILE_VECTORS, VECTOR_BYTES, advanced, fill, first_lanes, fma, fma_loaded,
                    for_intel, load_transposed, maximum, real, vec)
from .types cimport FEWEST_ROWS_TO_PACK_FOR, PACKED_COLUMN_BYTES, PACKED_ROWS, padded

cdef enum Finish:
    STORE       # c := sum
    RECTIFY     # c := max(sum, 0); NaN stays NaN
    DESCEND     # c := c - rate * sum


cdef extern from "gemm.h" nogil:
    void (*micro_kernel "fastnn_micro_kernel")(Py_ssize_t m, Py_ssize_t n, const void *block)
    void (*general_micro_kernel "fastnn_general_micro_kernel")(Py_ssize_t m, Py_ssize_t n, const void *block)


cdef enum:
    ROW_BLOCK = 24              # rows whose part of a stays in the caches while the panels of a block pass by
    PANEL_BYTES = TILE_VECTORS * VECTOR_BYTES
    SINGLE_ROW_VECTORS = 8      # a single row's tile is wider: it only waits for b
    LARGE_TILE = 16             # sums: with fewer of them a tile waits for its own multiply-adds, not for the loads


cdef inline Py_ssize_t padded_row(Py_ssize_t n) noexcept nogil:
    return padded(n, sizeof(real))


cdef inline Py_ssize_t vectors_of(Py_ssize_t n) noexcept nogil:
    """Vectors that hold n reals."""
    return (n + LANES - 1) // LANES


cdef inline bint worth_packing(Py_ssize_t m, Py_ssize_t k, Py_ssize_t n) noexcept nogil:
    """Whether m rows make it worth packing the right side [k][n] of a product.

    It is where that leaves the L2 cache, or where a panel takes so little of each row that the
    rows lie in few sets of the caches and no prefetcher follows.
    """
    cdef Py_ssize_t row = padded_row(n) * <Py_ssize_t> sizeof(real)
    return (m >= FEWEST_ROWS_TO_PACK_FOR and (k*row > 1 << 20 or (row >= 2048 and k >= 256))) or (
        m >= 96 and row >= 8 * PANEL_BYTES)


cdef inline Py_ssize_t share(Py_ssize_t left, Py_ssize_t most) noexcept nogil:
    """How many of `left` rows (or vectors) the next tile takes: `most`, but the last two share evenly.

    8 rows make 4 + 4 rather than 6 + 2: a narrow tile waits for its own multiply-adds.
    """
    if left <= most:
        return left
    return most if left >= 2*most else (left + 1) // 2


cdef struct Block:
    # What the micro-kernel needs to know of c := finish(start + a @ b), beside its rows and columns.
    real *c
    const real *start           # a bias row (ldstart = 0), what c holds (the next block of k), or NULL: zero
    const real *a
    const real *b
    Py_ssize_t ldc, ldstart, a_row, a_column
    Py_ssize_t ldb              # 0 where b is packed: then panels lie …
    Py_ssize_t panel_rows       # … so many rows apart, each as wide as its tiles
    Py_ssize_t k
    int finish
    real rate


cdef inline void start_sums(
        int rows, int vectors, vec *total, const real *start, const Block *block) noexcept nogil:
    """total[i][j] := start[i][j], or zero"""
    cdef Py_ssize_t ldstart = block.ldstart
    cdef int i, j
    if start != NULL:
        for i in range(rows):
            for j in range(vectors):
                total[i*vectors + j] = (<const vec *> (start + i*ldstart + j*LANES))[0]
    else:
        for i in range(rows):
            for j in range(vectors):
                total[i*vectors + j] = fill(0)


cdef inline void finish_sums(int rows, int vectors, real *c, const vec *total, const Block *block) noexcept nogil:
    """c[i][j] := finish(total[i][j])"""
    cdef Py_ssize_t ldc = block.ldc
    cdef int i, j
    if block.finish == STORE:
        for i in range(rows):
            for j in range(vectors):
                (<vec *> (c + i*ldc + j*LANES))[0] = total[i*vectors + j]
    elif block.finish == RECTIFY:
        for i in range(rows):
            for j in range(vectors):
                (<vec *> (c + i*ldc + j*LANES))[0] = maximum(fill(0), total[i*vectors + j])
    else:
        for i in range(rows):
            for j in range(vectors):
                (<vec *> (c + i*ldc + j*LANES))[0] = fma(
                    fill(-block.rate), total[i*vectors + j], (<const vec *> (c + i*ldc + j*LANES))[0])


cdef inline void tile(
        int rows, int vectors, real *c, const real *start, const real *a, const real *b, Py_ssize_t ldb,
        const Block *block) noexcept nogil:
    """c[i][j] := finish(start[i][j] + sum over p of a[i*a_row + p*a_column] * b[p][j]).

    1. rows and vectors are literals at every call, and so are the bounds of every loop over
       the sums: so the compiler keeps them in registers (on the stack it is 4 times slower).
    2. Two strides of a make one kernel serve a @ b and a.T @ b.
    """
    cdef vec total[24]
    cdef vec row[8]
    cdef vec left
    cdef Py_ssize_t a_row = block.a_row, a_column = block.a_column
    cdef int i, j
    cdef Py_ssize_t _
    start_sums(rows, vectors, total, start, block)
    for _ in range(block.k):
        for j in range(vectors):
            row[j] = (<const vec *> (b + j*LANES))[0]
        for i in range(rows):
            left = fill(a[i*a_row])
            for j in range(vectors):
                total[i*vectors + j] = fma(left, row[j], total[i*vectors + j])
        a += a_column
        b += ldb
    finish_sums(rows, vectors, c, total, block)


cdef inline void add_products(
        int rows, int vectors, vec *total, const real *a, const Py_ssize_t *offsets, const real *b) noexcept nogil:
    """total[i][j] := total[i][j] + a[row i] * b[j]; rows of a lie so many bytes behind it."""
    cdef vec row[8]
    cdef int i, j
    for j in range(vectors):
        row[j] = (<const vec *> (b + j*LANES))[0]
    for i in range(rows):
        for j in range(vectors):
            total[i*vectors + j] = fma_loaded(a, offsets[i], row[j], total[i*vectors + j])


cdef inline void tile_from_memory(
        int rows, int vectors, real *c, const real *start, const real *a, const real *b, Py_ssize_t ldb,
        const Block *block) noexcept nogil:
    """`tile` for Intel's processors: each multiply-add loads its factor of a, and a turn of the loop does four of k.

    The sums, their order and their bits are those of `tile`. It is a function of its own, as with a literal argument
    instead gcc 12 found one register less for the other form: 1 to 3 % more instructions a step with AVX2.
    """
    cdef vec total[24]
    cdef Py_ssize_t offsets[6]
    cdef Py_ssize_t a_column = block.a_column
    cdef int i
    cdef Py_ssize_t _
    start_sums(rows, vectors, total, start, block)
    for i in range(rows):
        offsets[i] = i*block.a_row * <Py_ssize_t> sizeof(real)
    for _ in range(block.k // 4):
        add_products(rows, vectors, total, a, offsets, b)
        a, b = advanced(a, a_column), advanced(b, ldb)
        add_products(rows, vectors, total, a, offsets, b)
        a, b = advanced(a, a_column), advanced(b, ldb)
        add_products(rows, vectors, total, a, offsets, b)
        a, b = advanced(a, a_column), advanced(b, ldb)
        add_products(rows, vectors, total, a, offsets, b)
        a, b = advanced(a, a_column), advanced(b, ldb)
    for _ in range(block.k % 4):
        add_products(rows, vectors, total, a, offsets, b)
        a, b = advanced(a, a_column), advanced(b, ldb)
    finish_sums(rows, vectors, c, total, block)


cdef inline void column_of_tiles(
        int vectors, Py_ssize_t m, real *c, const real *start, const real *b, Py_ssize_t ldb,
        const Block *block) noexcept nogil:
    """m rows by `vectors` vectors, a literal: one tile below the other."""
    cdef const real *a = block.a
    cdef Py_ssize_t rows
    while m > 0:
        rows = share(m, TILE_ROWS)
        if rows == 1:
            tile(1, vectors, c, start, a, b, ldb, block)
        elif rows == 2:
            tile(2, vectors, c, start, a, b, ldb, block)
        elif rows == 3:
            tile(3, vectors, c, start, a, b, ldb, block)
        elif rows == 4:
            tile(4, vectors, c, start, a, b, ldb, block)
        elif TILE_ROWS >= 5 and rows == 5:
            tile(5, vectors, c, start, a, b, ldb, block)
        elif TILE_ROWS >= 6:
            tile(6, vectors, c, start, a, b, ldb, block)
        a += rows*block.a_row
        c += rows*block.ldc
        if start != NULL:
            start += rows*block.ldstart
        m -= rows


cdef inline void tiles(Py_ssize_t m, Py_ssize_t n, const void *arguments) noexcept nogil:
    """The micro-kernel: a block of m rows by n columns (a multiple of LANES), in columns of tiles.

    A panel of b, as wide as a tile, is used for all rows before the next one.
    """
    cdef const Block *block = <const Block *> arguments
    cdef const real *start = block.start
    cdef const real *b = block.b
    cdef real *c = block.c
    cdef Py_ssize_t vectors, ldb
    while n > 0:
        vectors = share(n // LANES, TILE_VECTORS)
        if m == 1 and block.ldb and n >= SINGLE_ROW_VECTORS * LANES:
            vectors = SINGLE_ROW_VECTORS
        ldb = block.ldb if block.ldb else vectors * LANES
        if vectors == 1:
            column_of_tiles(1, m, c, start, b, ldb, block)
        elif vectors == 2:
            column_of_tiles(2, m, c, start, b, ldb, block)
        elif TILE_VECTORS >= 3 and vectors == 3:
            column_of_tiles(3, m, c, start, b, ldb, block)
        elif TILE_VECTORS >= 4 and vectors == 4:
            column_of_tiles(4, m, c, start, b, ldb, block)
        else:
            tile(1, SINGLE_ROW_VECTORS, c, start, block.a, b, ldb, block)
        c += vectors * LANES
        if start != NULL:
            start += vectors * LANES
        b += vectors * LANES * (1 if block.ldb else block.panel_rows)
        n -= vectors * LANES


cdef inline void column_from_memory(
        int vectors, Py_ssize_t m, real *c, const real *start, const real *b, Py_ssize_t ldb,
        const Block *block) noexcept nogil:
    """column_of_tiles for m > 3: so no tile has fewer than three rows."""
    cdef const real *a = block.a
    cdef Py_ssize_t rows
    while m > 0:
        rows = share(m, TILE_ROWS)
        if rows == 3:
            tile(3, vectors, c, start, a, b, ldb, block)
        elif rows == 4 and 4*vectors < LARGE_TILE:
            tile(4, vectors, c, start, a, b, ldb, block)
        elif rows == 4:
            tile_from_memory(4, vectors, c, start, a, b, ldb, block)
        elif rows == 5 and 5*vectors < LARGE_TILE:
            tile(5, vectors, c, start, a, b, ldb, block)
        elif rows == 5:
            tile_from_memory(5, vectors, c, start, a, b, ldb, block)
        else:
            tile_from_memory(6, vectors, c, start, a, b, ldb, block)
        a += rows*block.a_row
        c += rows*block.ldc
        if start != NULL:
            start += rows*block.ldstart
        m -= rows


cdef inline void tiles_from_memory(Py_ssize_t m, Py_ssize_t n, const void *arguments) noexcept nogil:
    """The micro-kernel's form for Intel's processors: panels of large tiles; `tiles` does the others."""
    cdef Block block = (<const Block *> arguments)[0]
    cdef Py_ssize_t vectors, ldb
    while m > 3 and n >= 3 * LANES:
        vectors = share(n // LANES, TILE_VECTORS)
        ldb = block.ldb if block.ldb else vectors * LANES
        if vectors == 3:
            column_from_memory(3, m, block.c, block.start, block.b, ldb, &block)
        else:
            column_from_memory(4, m, block.c, block.start, block.b, ldb, &block)
        block.c += vectors * LANES
        if block.start != NULL:
            block.start += vectors * LANES
        block.b += vectors * LANES * (1 if block.ldb else block.panel_rows)
        n -= vectors * LANES
    if n > 0:
        general_micro_kernel(m, n, &block)


cdef inline void choose_micro_kernel() noexcept nogil:
    """Once a module, before its first product, and after a change of for_intel."""
    global micro_kernel, general_micro_kernel
    general_micro_kernel = tiles
    micro_kernel = tiles_from_memory if for_intel else tiles


cdef inline void pack(
        real *packed, const real *b, Py_ssize_t ldb, Py_ssize_t k, Py_ssize_t n) noexcept nogil:
    """packed := b, k rows by n columns (a multiple of LANES), in panels as wide as tiles, one after the other."""
    cdef Py_ssize_t p, j, vectors, v
    for p in range(k):
        j = 0
        while j < n:
            vectors = share((n - j) // LANES, TILE_VECTORS)
            for v in range(vectors):
                (<vec *> (packed + j*k + p*vectors*LANES))[v] = (<const vec *> (b + j))[v]
            j += vectors * LANES
        b += ldb


cdef inline void pack_unpadded(
        real *packed, const real *b, Py_ssize_t ldb, Py_ssize_t k, Py_ssize_t n, Py_ssize_t n_true) noexcept nogil:
    """pack, zero for j >= n_true, where the next row may begin. Another ROW_BYTES can be read behind b."""
    cdef Py_ssize_t p, j, vectors, v
    for p in range(k):
        j = 0
        while j < n:
            vectors = share((n - j) // LANES, TILE_VECTORS)
            for v in range(vectors):
                (<vec *> (packed + j*k + p*vectors*LANES))[v] = first_lanes(
                    n_true - j - v*LANES, (<const vec *> (b + j))[v])
            j += vectors * LANES
        b += ldb


cdef inline void transpose(
        real *out, Py_ssize_t ld, const real *b, Py_ssize_t ldb, Py_ssize_t k, Py_ssize_t n,
        Py_ssize_t n_true) noexcept nogil:
    """out[p][j] := b[j][p], zero for j >= n_true; n is a multiple of LANES, and k is rounded up to LANES rows."""
    cdef vec columns[16]
    cdef Py_ssize_t j, square
    cdef int q
    for j in range(n // LANES):
        for square in range(vectors_of(k)):
            load_transposed(columns, b + j*LANES*ldb + square*LANES, ldb, min(n_true - j*LANES, LANES))
            for q in range(LANES):
                (<vec *> (out + (square*LANES + q)*ld))[j] = columns[q]


cdef inline void pack_transposed(
        real *packed, const real *b, Py_ssize_t ldb, Py_ssize_t k, Py_ssize_t n, Py_ssize_t n_true) noexcept nogil:
    """pack(b.T): packed[p][j] := b[j][p], zero for j >= n_true; panels have k rounded up to LANES rows."""
    cdef Py_ssize_t j = 0, i, width
    cdef real *panel
    while j < n:
        width = share((n - j) // LANES, TILE_VECTORS) * LANES
        panel = packed + j*vectors_of(k)*LANES
        if k == 1:              # one output: its column of weights
            for i in range(width):
                panel[i] = b[(j + i)*ldb] if j + i < n_true else 0
        else:
            transpose(panel, width, b + j*ldb, ldb, k, width, n_true - j)
        j += width


cdef inline void product(
        real *c, Py_ssize_t ldc, const real *bias, const real *a, Py_ssize_t a_row, Py_ssize_t a_column,
        const real *b, Py_ssize_t ldb, bint transposed,
        Py_ssize_t m, Py_ssize_t k, Py_ssize_t n, int finish, real rate, real *scratch) noexcept nogil:
    """c[i][j] := finish(bias[j] + sum over p of a[i*a_row + p*a_column] * b[p][j])

    for i < m, p < k, j < padded_row(n). With transposed, b[j][p] takes the place of b[p][j].
    Without bias (NULL) it is zero. Rows of b may be shorter than padded_row(n): packing pads them.

        for each block of k, and in it of columns:      a block of b fits the L2 cache
            pack the block                              if it pays, or if it is transposed or unpadded
            for each block of rows:
                for each panel, and in it for each tile of rows        (the micro-kernel)

    1. A block is as long in k as the L2 cache allows, and as narrow as 256 bytes (with AVX-512
       one panel): between blocks of k the sums wait in c, and each of its tiles costs a hundred
       cycles. For 1024x2048x2048 blocks of 2048 rows by 256 bytes reach 96 % of the peak, 512 by
       1024 bytes 92, 256 by 2048 bytes 87.
    2. A panel has the width of a tile and passes all the rows of a block before the next one
       comes. Making it short enough for the L1 cache was tried, and lost 5 %: b streams from L2 as fast
       as it is used, and short sums load and store c too often.
    3. That sums wait in c is exact: rounding is done already. DESCEND needs c's old value at
       the end, so its caller keeps k within PACKED_ROWS.
    """
    cdef Py_ssize_t n_padded = padded_row(n)
    cdef bint unpadded = not transposed and ldb < n_padded
    cdef bint packed = transposed or unpadded or worth_packing(m, k, n)
    cdef Py_ssize_t k_block = PACKED_ROWS if packed else k
    cdef Py_ssize_t n_block = PACKED_COLUMN_BYTES // <Py_ssize_t> sizeof(real) if packed else n_padded
    cdef Py_ssize_t p, j, i, n_now
    cdef Block block
    block.ldc, block.a_row, block.a_column, block.rate = ldc, a_row, a_column, rate
    block.ldb = 0 if packed else ldb
    p = 0
    while True:             # once for k = 0, too: c becomes finish(bias)
        block.k = min(k_block, k - p)
        block.panel_rows = vectors_of(block.k) * LANES if transposed else block.k
        block.finish = finish if p + block.k == k else <int> STORE
        block.ldstart = ldc if p > 0 else 0
        j = 0
        while j < n_padded:
            n_now = min(n_block, n_padded - j)
            block.b = scratch if packed else b + j
            if transposed:
                pack_transposed(scratch, b + j*ldb + p, ldb, block.k, n_now, n - j)
            elif unpadded:
                pack_unpadded(scratch, b + p*ldb + j, ldb, block.k, n_now, n - j)
            elif packed:
                pack(scratch, b + p*ldb + j, ldb, block.k, n_now)
            i = 0
            while i < m:
                block.a = a + i*a_row + p*a_column
                block.c = c + i*ldc + j
                if p > 0:
                    block.start = block.c
                else:
                    block.start = bias + j if bias != NULL else NULL
                micro_kernel(min(m - i, ROW_BLOCK), n_now, &block)
                i += ROW_BLOCK
            j += n_now
        p += block.k
        if p >= k:
            break


cdef inline double multiply_add_chains(long long rounds) noexcept nogil:
    """As many independent chains of `rounds` fused multiply-adds as a tile has sums, from registers alone.

    The benchmarks' ceiling: rounds * TILE_ROWS * TILE_VECTORS * LANES * 2 operations.
    """
    cdef vec chain[24]
    cdef vec factor = fill(<real> 0.999)
    cdef vec term = fill(<real> 0.001)
    cdef long long _
    cdef int i, j
    for i in range(TILE_ROWS):
        for j in range(TILE_VECTORS):
            chain[i*TILE_VECTORS + j] = fill(<real> (i*TILE_VECTORS + j))     # equal ones would be merged
    for _ in range(rounds):
        for i in range(TILE_ROWS):
            for j in range(TILE_VECTORS):
                chain[i*TILE_VECTORS + j] = fma(chain[i*TILE_VECTORS + j], factor, term)
    for i in range(TILE_ROWS):
        for j in range(TILE_VECTORS):
            term = term + chain[i*TILE_VECTORS + j]
    return (<real *> &term)[0]
