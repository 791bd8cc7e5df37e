# Random numbers as a function of a key and a counter: no state to keep, to save or to share
# between threads. `core/batch.pyx` takes initial weights and the order of the rows from here, the
# engine the key of each step's dropout.

from libc.stdint cimport uint64_t

cdef extern from * nogil:
    """
    #include <stdint.h>
    static inline uint64_t fastnn_upper_half(uint64_t a, uint64_t b)
    {
        return (uint64_t)((unsigned __int128)a * b >> 64);
    }
    """
    uint64_t upper_half "fastnn_upper_half"(uint64_t a, uint64_t b)     # of the product's 128 bits


cdef enum Purpose:
    # What a seed's numbers are for: the first counter, so that each has numbers of its own.
    ORDERS = 0              # of all rows, in an epoch
    INITIAL_WEIGHTS = 1
    DROPOUT = 2
    SPREAD_ORDERS = 3       # of rows that several ranks share, in an epoch


cdef inline uint64_t random_bits(uint64_t key, uint64_t counter) noexcept nogil:
    """64 bits: the counter-th output of SplitMix64 seeded with key (Steele, Lea and Flood, 2014)."""
    cdef uint64_t bits = key + (counter + 1) * <uint64_t> 0x9E3779B97F4A7C15
    bits = (bits ^ (bits >> 30)) * <uint64_t> 0xBF58476D1CE4E5B9
    bits = (bits ^ (bits >> 27)) * <uint64_t> 0x94D049BB133111EB
    return bits ^ (bits >> 31)


cdef inline uint64_t dropout_key(uint64_t seed, long long step, int layer) noexcept nogil:
    """The key for `drop_out` of one layer in one step (counted from 0, since the network was built)."""
    return random_bits(random_bits(random_bits(seed, DROPOUT), <uint64_t> step), <uint64_t> layer)


cdef inline void find_reciprocals(uint64_t *reciprocals, Py_ssize_t count) noexcept nogil:
    """reciprocals[i] := 2^64 / (i + 1), for `remainder`."""
    cdef Py_ssize_t i
    for i in range(count):
        reciprocals[i] = <uint64_t> -1 // <uint64_t> (i + 1)


cdef inline uint64_t remainder(uint64_t bits, uint64_t divisor, uint64_t reciprocal) noexcept nogil:
    """bits % divisor without a division: the quotient by the reciprocal is right, or 1 too small."""
    cdef uint64_t rest = bits - upper_half(bits, reciprocal) * divisor
    return rest - divisor if rest >= divisor else rest


cdef inline void shuffle(
        Py_ssize_t *order, Py_ssize_t rows, uint64_t seed, uint64_t epoch, const uint64_t *reciprocals) noexcept nogil:
    """order := a random permutation of 0 … rows-1, of this seed and epoch alone (Fisher and Yates). Where many are
    drawn, reciprocals save the divisions; else NULL."""
    cdef uint64_t key = random_bits(random_bits(seed, ORDERS), epoch), bits
    cdef Py_ssize_t i, j, kept
    for i in range(rows):
        order[i] = i
    for i in range(rows - 1, 0, -1):
        bits = random_bits(key, <uint64_t> i)
        if reciprocals != NULL:
            j = <Py_ssize_t> remainder(bits, <uint64_t> (i + 1), reciprocals[i])
        else:
            j = <Py_ssize_t> (bits % <uint64_t> (i + 1))
        kept = order[i]
        order[i] = order[j]
        order[j] = kept
