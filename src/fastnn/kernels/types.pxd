# The vocabulary of the kernels: size letters, and the structs that `core/` and the
# kernel modules share. Nothing here depends on the instruction set or the dtype: where
# a kernel says `real *`, these structs say `void *`, because `core/` is compiled once.
# It knows no activation, loss or optimizer: kernels describe theirs (`describe_…` in KernelTable).
#
# Legend, used by every kernel. Arrays are row-major; `ld` + name is the distance between
# two rows, in elements.
#
#     m    rows: samples of a batch
#     k    inputs of a layer
#     n    outputs of a layer, rounded up to 64 bytes where an array is padded
#
#     x  [m][k]    a layer's input        dx  the loss's gradient with respect to it
#     w  [k][n]    weights                dw
#     b  [n]       biases                 db
#     z  [m][n]    x @ w + b              dz
#     y  [m][n]    activation(z)          dy
#     t  [m][n]    targets
#
# Inputs x of the first layer are the caller's memory and are never padded. Everything else
# is: the columns beyond a layer's true width are zero in w, b and dz, and so stay zero. So they are
# zero in z too, and activation(0) or zero in y; no product reads those of y, since the next layer's
# k counts true columns only. One exception: where padding would fill the memory, the weights of a
# narrow layer are stored without it, row after row, see `Layer.ldw`.

from libc.stdint cimport uint64_t

cdef enum:
    ROW_BYTES = 64              # rows of padded arrays are multiples of this
    # The largest packed block of a product's right-hand side: its rows, and bytes of one row.
    PACKED_ROWS = 2048
    PACKED_COLUMN_BYTES = 256
    FEWEST_ROWS_TO_PACK_FOR = 48        # of the left-hand side
    UNPADDED_ROWS = 16          # so many unpadded rows are whole vectors, whatever their length


cdef inline Py_ssize_t padded(Py_ssize_t n, size_t itemsize) noexcept nogil:
    """n elements, rounded up to ROW_BYTES: the row stride of padded arrays."""
    return (n * <Py_ssize_t> itemsize + ROW_BYTES - 1) // ROW_BYTES * (ROW_BYTES // <Py_ssize_t> itemsize)


cdef inline Py_ssize_t packed_bytes(Py_ssize_t m, Py_ssize_t n, Py_ssize_t k, size_t itemsize) noexcept nogil:
    """The largest block that a layer's three products pack: its rows run over m, n or k, its columns over n or k."""
    cdef Py_ssize_t widest = max(padded(n, itemsize), padded(k, itemsize))
    return min(<Py_ssize_t> PACKED_ROWS, max(widest, m)) * min(
        <Py_ssize_t> PACKED_COLUMN_BYTES, widest * <Py_ssize_t> itemsize)


cdef inline Py_ssize_t transposed_bytes(Py_ssize_t m, Py_ssize_t k, size_t itemsize) noexcept nogil:
    """x.T, which a weight gradient may need where k is large."""
    return k * padded(m, itemsize) * <Py_ssize_t> itemsize if k >= FEWEST_ROWS_TO_PACK_FOR else 0


cdef inline Py_ssize_t scratch_bytes(Py_ssize_t m, Py_ssize_t n, Py_ssize_t k, size_t itemsize) noexcept nogil:
    """What dense_forward, dense_backward and dense_descend may need: a packed block, and x.T for large k."""
    return packed_bytes(m, n, k, itemsize) + transposed_bytes(m, k, itemsize)


cdef struct ActivationFacts:
    # What activations.pxd declares of one.
    const char *name        # or NULL: there is none of this code
    bint needs_z            # whether the slope is computed from z, so that z must be kept beside y
    bint takes_row          # whether a value depends on its whole row

cdef struct LossFacts:
    # What losses.pxd declares of one.
    int code
    const char *name        # or NULL: there is none of this code
    const char *output      # the name of the one output activation that it goes with, or ""
    bint of_output          # whether it is a function of outputs, whatever their activation, and not of z
    bint per_row            # whether it is a mean over rows, and not over elements
    double parameter        # the default, or NaN: it has none
    double lowest           # and highest: what targets may be
    double highest

cdef struct Layer:
    int activation
    bint needs_z            # of the activation, see ActivationFacts
    Py_ssize_t n_in
    Py_ssize_t n_out
    Py_ssize_t stride       # padded(n_out): the row of z, y and dz
    void *w                 # [n_in][ldw]
    void *b                 # [stride]
    void *dw                # [n_in][ldw]
    void *db                # [stride]
    void *z                 # [m][stride]; the same memory as y unless the slope needs z
    void *y                 # [m][stride]
    void *dz                # [m][stride]
    double dropout          # the share of y that the next layer does not see while training
    void *passed            # [m][stride]: what it does see; y itself without dropout
    Py_ssize_t ldw          # the row of w and dw: stride, or n_out where they are stored without padding
    Py_ssize_t bias         # where b lies behind w: n_in * ldw elements, rounded up to ROW_BYTES
    Py_ssize_t unused       # makes it 128 bytes, so that an index is a shift: 6 of 196 instructions for 1-1-1


cdef inline Py_ssize_t row_offset(const Layer *layer, Py_ssize_t row) noexcept nogil:
    """Where a row of a layer begins in its part of the block: rows of weights, then the bias, then the end."""
    return row * layer.ldw if row < layer.n_in else layer.bias + (row - layer.n_in) * layer.stride


cdef struct OptimizerFacts:
    # What updates.pxd declares of one.
    const char *name        # or NULL: there is none of this code
    int state_blocks        # that its kernel reads and writes,
    bint velocity           # and one more where there is momentum


cdef struct Constants:
    # Of all optimizers, as optimizers.py names them too: `CompiledOptimizer.prepare` fills them in by name.
    double momentum
    bint nesterov
    double weight_decay
    double beta1
    double beta2
    double alpha
    double epsilon
    double learning_rate_decay
    double etas[2]          # by which a step shrinks or grows
    double step_sizes[2]    # the smallest and the largest


cdef struct Update:
    # How parameters follow gradients: an optimizer's constants and its state; what is done to gradients before.
    int optimizer
    double learning_rate
    const double *rates     # the learning rates of the coming steps; NULL: it stays
    Constants constants
    double l1               # penalties of weights: l1 * |w| + l2 / 2 * w^2
    double l2
    double clip_value       # the largest size of a gradient's element; 0: any
    double clip_norm        # the largest norm of the whole gradient; 0: any
    long long step          # updates done so far; `begin_step` counts it, and sets the next two
    double divisor          # of the learning rate: Adam's 1 - beta1^step, Adagrad's 1 + (step-1) rate_decay, else 1
    double rate             # learning_rate / divisor
    double correction       # Adam's 1 / sqrt(1 - beta2^step)
    void *first             # the optimizer's state, laid out like the parameters (updates.pxd says what); or NULL
    void *second            # more of it; or NULL


cdef struct Plan:
    # A network and the memory for one batch on its way through it.
    const KernelTable *kernels
    Layer *layers
    int n_layers
    LossFacts loss
    double loss_parameter   # a quantile, or the focusing parameter of the focal loss
    void (*python_loss)(    # a loss of the user's, in place of ours: fills dz and losses; it takes the GIL
        void *function, void *dz, double *losses, const void *z, const void *t, double scale,
        int activation, Py_ssize_t m, Py_ssize_t n) noexcept nogil
    void *function          # its first argument; NULL: the loss is one of ours
    void *parameters        # the block: w, b of each layer in turn
    void *gradients         # the same layout
    Py_ssize_t widest       # where layers take turns in the same memory, the stride of the widest; else 0
    char *scratch           # of which each worker has an equal share
    Py_ssize_t scratch_size     # bytes of all shares: each has scratch_bytes for its rows of the neediest layer
    void *x_batch           # [m][k]: gathered rows
    void *t_batch           # [m][padded(n)]
    double *weight_batch    # [m]
    double *losses          # [m]: of the rows of a step
    void *squares           # for each row of every layer's w and b, 64 bytes: sums of its gradient's squares
    bint unpadded           # whether a layer stores its weights without padding


cdef inline Py_ssize_t mean_elements(const LossFacts *loss, Py_ssize_t n) noexcept nogil:
    """How many elements of the mean a row of n outputs is."""
    return 1 if loss.per_row else n


cdef struct Data:
    # The rows to learn from. Targets are either `t` or `labels`; the other is NULL.
    const void *x               # [rows][k]
    const void *t               # [rows][n]
    const Py_ssize_t *labels    # [rows], each in 0 … n-1
    const double *weights       # [rows], or NULL: all ones
    const Py_ssize_t *order     # [rows]: which row comes when, or NULL: as they stand
    Py_ssize_t rows
    double smoothing            # the share of every target that is spread evenly over its classes


cdef struct Job:
    # One call of the engine, done by one worker or by several together.
    void (*work)(Job *job, const Worker *worker) noexcept nogil
    Plan *plan
    Data data
    void *out                   # [rows][n]: what `predict` writes
    bint check                  # whether `predict` looks at its rows before it uses them,
    bint refused                # and says here that one holds NaN or infinity: then some rows of out are not written
    double *losses              # [rows]: what `evaluate` writes
    Update *update              # for `train` and `follow`
    uint64_t seed               # of random numbers in `train` and `gradients`,
    long long step              # and how many steps were done with it
    Py_ssize_t place            # rows that the whole batch has before these, for `gradients`
    double scale                # of the gradient, for `gradients`
    Py_ssize_t batch            # rows that go through the layers together
    Py_ssize_t first, last      # rows first … last-1 are to do; `train` leaves in first where it stopped
    double total                # `train` adds the losses of its rows


cdef struct Member:
    # One network of a population: its numbers without padding, and how far its training has come.
    void *parameters            # [n_parameters]: W0, b0, W1, b1 … row by row
    void *first                 # the optimizer's state, laid out likewise, or NULL
    void *second
    Update update               # its optimizer's constants and counts, without the state
    Data data                   # its rows; `order` are the numbers of those that it learns from, or NULL: all
    uint64_t seed               # of its rows' order and of dropout
    long long step              # training steps since it was built
    long long epoch             # and epochs
    const double *dropout       # [n_layers]
    double total                # of the losses of this epoch's rows
    Py_ssize_t seen             # rows of this epoch
    bint failed                 # whether a step's loss was not finite: it stopped before that step

cdef struct Group:
    # Members that go through the layers as lanes of the same vectors. Where one has no penalty, dropout or decay, none
    # has.
    Py_ssize_t first
    Py_ssize_t count            # at most as many as a vector has lanes

cdef struct Crowd:
    # A call of the engine for the members of a population, which workers share without meeting.
    # `job` comes first, so that a pointer to it is one to the Crowd. Its data have the order of shared rows; for
    # `predict` also x and the number of rows.
    Job job
    Py_ssize_t x_stride         # for `predict`: reals from one member's x to the next one's; 0: they share it
    Member *members
    const Group *groups
    Py_ssize_t n_groups
    bint in_lanes               # whether each group goes through the layers as lanes, or one member after the other
    bint together               # whether all workers share the steps of one member after the other: there are few,
    Job one                     # of which this is the engine's job
    Update one_update
    bint shared                 # whether all members take the same rows in the same order, job.data.order
    bint shuffled               # else: whether each takes its rows in a random order of its own
    Plan *plans                 # [workers]: each with memory of its own for one member; [1] with in_lanes
    void **states               # [workers][2]: blocks for that member's state
    void **passed               # [workers][n_layers]: where its layers put what dropout leaves
    char *memory                # [workers][memory_size]: for lanes, and for orders of rows
    Py_ssize_t memory_size
    Py_ssize_t most_rows        # of any member
    double **losses             # [members]: what `evaluate` writes

cdef struct Worker:
    # One of `count` threads on a Job. Between `wait` and `wait` none reads what another writes.
    int index
    int count
    void (*wait)() noexcept nogil


cdef struct KernelTable:
    # What one kernel module offers. Nothing in it allocates, checks or raises, or needs the GIL.
    const char *instruction_set
    int lanes
    int chains              # of multiply_add_chains
    int real_size

    void (*dense_forward)(
        void *z, void *y, const void *x, const void *w, const void *b, int activation,
        Py_ssize_t m, Py_ssize_t n, Py_ssize_t k, Py_ssize_t ldx, Py_ssize_t ldw, void *scratch) noexcept nogil
    void (*dense_backward)(
        void *dx, void *dw, void *db, const void *dz, const void *x, const void *w,
        Py_ssize_t m, Py_ssize_t n, Py_ssize_t k, Py_ssize_t ldx, Py_ssize_t ldw, void *scratch) noexcept nogil
    void (*dense_descend)(
        void *w, void *b, const void *dz, const void *x, double learning_rate,
        Py_ssize_t m, Py_ssize_t n, Py_ssize_t k, Py_ssize_t ldx, Py_ssize_t ldw, void *scratch) noexcept nogil
    void (*activation_forward)(
        void *y, const void *z, int activation, Py_ssize_t m, Py_ssize_t n) noexcept nogil
    void (*activation_backward)(
        void *dz, const void *dy, const void *y, const void *z, int activation,
        Py_ssize_t m, Py_ssize_t n) noexcept nogil
    void (*loss_forward_backward)(
        void *dz, double *losses, const void *z, const void *t, const double *weights, double scale,
        int loss, double parameter, int activation, Py_ssize_t m, Py_ssize_t n) noexcept nogil
    void (*begin_step)(Update *update) noexcept nogil
    void (*update_parameters)(
        void *parameters, const void *gradients, void *first, void *second, const Update *update,
        Py_ssize_t count) noexcept nogil
    void (*adjust_gradients)(
        void *gradients, void *squares, const void *parameters, const Update *update, bint penalised,
        Py_ssize_t rows, Py_ssize_t n, Py_ssize_t ldw) noexcept nogil
    void (*drop_out)(
        void *out, const void *values, double dropout, uint64_t key, Py_ssize_t first, Py_ssize_t count) noexcept nogil

    void (*predict)(Job *job, const Worker *worker) noexcept nogil
    void (*evaluate)(Job *job, const Worker *worker) noexcept nogil
    void (*gradients)(Job *job, const Worker *worker) noexcept nogil
    void (*follow)(Job *job, const Worker *worker) noexcept nogil
    void (*train)(Job *job, const Worker *worker) noexcept nogil

    void (*lanes_layer_forward)(
        void *z, const void *x, bint shared, const Layer *layer, Py_ssize_t m) noexcept nogil
    bint (*loss_lanes)(
        void *dz, double *losses, const void *z, const void *t, const double *weights, const double *scales,
        const Plan *plan, int activation, Py_ssize_t m, Py_ssize_t n) noexcept nogil
    void (*gather_lanes)(void *lanes, const void *const *sources, Py_ssize_t n) noexcept nogil
    void (*scatter_lanes)(void *const *targets, const void *lanes, Py_ssize_t n, Py_ssize_t count) noexcept nogil
    void (*train_crowd)(Job *job, const Worker *worker) noexcept nogil
    void (*evaluate_crowd)(Job *job, const Worker *worker) noexcept nogil
    void (*predict_crowd)(Job *job, const Worker *worker) noexcept nogil
    Py_ssize_t (*crowd_bytes)(const Crowd *crowd) noexcept nogil        # of memory that each worker needs

    const KernelTable *narrow           # the table that trains chains of neurons: this one, or one of narrower vectors
    void (*choose_forms)(KernelTable *table, bint intel, const KernelTable *narrow) noexcept nogil
    void (*describe_activation)(int activation, ActivationFacts *facts) noexcept nogil
    void (*describe_loss)(int loss, LossFacts *facts) noexcept nogil
    void (*describe_optimizer)(int optimizer, OptimizerFacts *facts) noexcept nogil
    bint (*all_finite)(const void *values, Py_ssize_t count) noexcept nogil
    double (*multiply_add_chains)(long long rounds) noexcept nogil
