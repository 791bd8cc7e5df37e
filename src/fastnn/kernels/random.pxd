# Random numbers as a function of a key and a counter: no state to keep, to save or to share
# between threads. `core/batch.pyx` takes initial weights and the order of the rows from here, the
# engine the key of each step's dropout.

from libc.stdint cimport uint64_t

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


cdef inline void shuffle(Py_ssize_t *order, Py_ssize_t rows, uint64_t seed, uint64_t epoch) noexcept nogil:
    """order := a random permutation of 0 … rows-1, of this seed and epoch alone (Fisher and Yates)."""
    cdef uint64_t key = random_bits(random_bits(seed, ORDERS), epoch)
    cdef Py_ssize_t i, j, kept
    for i in range(rows):
        order[i] = i
    for i in range(rows - 1, 0, -1):
        j = <Py_ssize_t> (random_bits(key, <uint64_t> i) % <uint64_t> (i + 1))
        kept = order[i]
        order[i] = order[j]
        order[j] = kept
