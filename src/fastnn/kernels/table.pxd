# The table of a kernel module: each function once, called through pointers.

from .activations cimport activation_backward, activation_forward, describe_activation, drop_out
from .crowd cimport crowd_bytes, evaluate_crowd, predict_crowd, train_crowd
from .dense cimport dense_backward, dense_descend, dense_forward
from .engine cimport all_finite, evaluate, follow, gradients, predict, train
from .gemm cimport choose_micro_kernel, multiply_add_chains
from .lane_products cimport lanes_layer_forward
from .lane_rows cimport gather_lanes, scatter_lanes
from .losses cimport describe_loss, loss_forward_backward, loss_lanes
from .simd cimport INSTRUCTION_SET, LANES, TILE_ROWS, TILE_VECTORS, prefer_intel, real
from .types cimport KernelTable
from .updates cimport adjust_gradients, begin_step, describe_optimizer, update_parameters


cdef inline void choose_forms(KernelTable *table, bint intel, const KernelTable *narrow) noexcept nogil:
    """Kernels take their form for Intel's processors, or the other one. In the former `narrow`, a table with the same
    bits and narrower vectors, or this one, trains chains of neurons. Not while a kernel runs."""
    prefer_intel(intel)
    choose_micro_kernel()
    table.narrow = narrow


cdef inline KernelTable kernel_table() noexcept nogil:
    """The table of this module's functions."""
    cdef KernelTable table
    choose_micro_kernel()
    table.instruction_set = INSTRUCTION_SET
    table.lanes = LANES
    table.chains = TILE_ROWS * TILE_VECTORS
    table.real_size = sizeof(real)
    table.dense_forward = dense_forward
    table.dense_backward = dense_backward
    table.dense_descend = dense_descend
    table.activation_forward = activation_forward
    table.activation_backward = activation_backward
    table.loss_forward_backward = loss_forward_backward
    table.begin_step = begin_step
    table.update_parameters = update_parameters
    table.adjust_gradients = adjust_gradients
    table.drop_out = drop_out
    table.predict = predict
    table.evaluate = evaluate
    table.gradients = gradients
    table.follow = follow
    table.train = train
    table.lanes_layer_forward = lanes_layer_forward
    table.loss_lanes = loss_lanes
    table.gather_lanes = gather_lanes
    table.scatter_lanes = scatter_lanes
    table.train_crowd = train_crowd
    table.evaluate_crowd = evaluate_crowd
    table.predict_crowd = predict_crowd
    table.crowd_bytes = crowd_bytes
    table.choose_forms = choose_forms
    table.describe_activation = describe_activation
    table.describe_loss = describe_loss
    table.describe_optimizer = describe_optimizer
    table.all_finite = all_finite
    table.multiply_add_chains = multiply_add_chains
    return table
