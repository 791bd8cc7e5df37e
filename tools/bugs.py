"""Bugs to seed: the data of seeded_bugs.py, each a small edit that tests must notice.

They are as small as real ones are: code that runs, is right nearly everywhere, and reads well enough to
pass a review. `old` stands exactly once in its file; who changes that line must change the bug, too.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Bug:
    name: str
    what: str                   # is wrong, in a sentence
    file: str                   # below src/fastnn
    old: str
    new: str
    tests: tuple[str, ...]      # file, or file::function, that must notice; seeded_bugs.py finds the folder


BUGS = (
    # Kernels

    Bug("weight-gradient-tail",
        "A large weight gradient takes garbage for the last input, where the inputs fill no whole vector.",
        "kernels/dense.pxd",
        "for p in range(whole, k):",
        "for p in range(whole, k - 1):",
        ("test_ops.py::test_large_dense_layers",)),
    Bug("bias-gradient-row",
        "The gradient of biases forgets the last row of an odd number of rows.",
        "kernels/dense.pxd",
        "for i in range(m):\n            row = <const vec *> (dz + i*ld)",
        "for i in range(m // 2 * 2):\n            row = <const vec *> (dz + i*ld)",
        ("test_ops.py::test_dense_layers_of_sizes_around_the_lanes",)),
    Bug("gelu-slope",
        "The slope of GELU is right to six digits, which is enough for float32 alone.",
        "kernels/elementary.pxd",
        "-0.39894228040143267794",
        "-0.398942",
        ("test_ops.py::test_activation_backward", "test_activations.py::test_derivatives")),
    Bug("softmax-shift",
        "Softmax does not take the largest logit off before exp, which overflows.",
        "kernels/activations.pxd",
        "top = z[j] if z[j] > top else top",
        "top = 0",
        ("test_ops.py::test_large_logits_stay_finite", "test_activations.py::test_softmax_does_not_overflow")),
    Bug("unpadded-shares",
        "Threads share unpadded rows of weights as they share others, so that a share ends within a vector.",
        "kernels/engine.pxd",
        "return row // UNPADDED_ROWS * UNPADDED_ROWS if layer.ldw < layer.stride and row <= layer.n_in else row",
        "return row",
        ("test_unpadded.py::test_training_has_the_bits_of_padded_weights",)),
    Bug("weighted-mean",
        "A step divides its weighted loss by the number of rows, not by the sum of their weights.",
        "kernels/engine.pxd",
        "learn_rows(job, step, first + at, 1 / (weight * elements) if weight > 0 else 0,",
        "learn_rows(job, step, first + at, 1.0 / (m * elements) if weight > 0 else 0,",
        ("test_fit.py::test_integer_weights_are_repeated_rows",
         "test_training.py::test_extreme_sample_weights_are_relative")),

    # The engine

    Bug("dropout-of-shares",
        "Every thread drops the outputs that the first one drops, so that results depend on the number of threads.",
        "kernels/engine.pxd",
        "dropout_key(job.seed, step, index), offset + job.place * layer.stride,",
        "dropout_key(job.seed, step, index), job.place * layer.stride,",
        ("test_continuation.py::test_threads_change_no_bit",)),
    Bug("order-of-no-seed",
        "Rows come in the same random orders whatever the seed.",
        "core/trainer.pyx",
        "rows.shuffle(self.model.seed, epoch_number)",
        "rows.shuffle(0, epoch_number)",
        ("test_training.py::test_an_epoch_visits_every_row_once_in_an_order_that_the_seed_decides",)),
    Bug("last-short-batch",
        "An epoch ends before its last batch, if that is short.",
        "core/trainer.pyx",
        "while job.first < rows.data.rows:\n"
        "                first, job.last = job.first, min(rows.data.rows, job.first + visit)",
        "while job.first + batch <= rows.data.rows:\n"
        "                first, job.last = job.first, min(rows.data.rows // batch * batch, job.first + visit)",
        ("test_training.py::test_the_last_batch_may_be_short",)),
    Bug("adam-correction",
        "Adam corrects the bias of its second moment as if it had done one step more.",
        "kernels/updates.pxd",
        "power(update.constants.beta2, update.step)",
        "power(update.constants.beta2, update.step + 1)",
        ("test_ops.py::test_adam_update", "test_training.py::test_adam_takes_its_first_step_at_the_learning_rate")),

    Bug("lbfgs-scale",
        "L-BFGS takes its directions as if the unknown curvature were 1, whatever the latest pair says.",
        "core/lbfgs.pyx",
        "1 if i else scale",
        "1",
        ("test_lbfgs.py::test_an_iteration_is_the_formula",)),

    # Numbers

    Bug("size-overflow",
        "The size of a padded copy overflows: little memory is taken, and much is written.",
        "core/ops.pyx",
        "if self.stride and self.rows > PY_SSIZE_T_MAX // (self.stride * itemsize):",
        "if self.stride and self.rows > PY_SSIZE_T_MAX:",
        ("test_ops_memory.py::test_a_size_that_overflows_is_a_memory_error",)),
    Bug("relu-of-nan",
        "ReLU within a product makes 0 of NaN.",
        "kernels/gemm.pxd",
        "maximum(fill(0), total[i*vectors + j])",
        "maximum(total[i*vectors + j], fill(0))",
        ("test_ops.py::test_nan_passes_every_activation_of_a_dense_layer",)),

    # Threads, and what fails

    Bug("fork",
        "A forked child believes in the threads of its parent.",
        "core/team.h",
        "registered = pthread_atfork(NULL, NULL, fastnn_forked) == 0;",
        "registered = 1;",
        ("test_threads.py::test_a_forked_child_starts_clean",)),
    Bug("divergence",
        "After a fit that diverged, dropout does not go on from the last good epoch's step.",
        "training/trainable.py",
        "network._epochs_trained, network._engine.steps = progress.epochs, progress.steps\n",
        "network._epochs_trained = progress.epochs\n",
        ("test_continuation.py::test_a_fit_that_diverged_leaves_no_trace",)),
    Bug("control-c",
        "Ctrl-C waits for the end of the epoch.",
        "core/trainer.pyx",
        "                    break\n                PyErr_CheckSignals()",
        "                    break",
        ("test_process.py::test_control_c_stops_a_fit_after_a_whole_step",)),

    # Files

    Bug("sync-after-rename",
        "A file gets its name before its data is on the disk.",
        "storage/model_file.py",
        "os.fsync(file.fileno())     # before the new name: else a crash could leave it with half the data\n"
        "            os.replace(temporary, target)\n",
        "os.replace(temporary, target)\n"
        "            os.fsync(file.fileno())\n",
        ("test_model_file_writing.py::test_a_save_syncs_its_data_before_the_rename_and_the_folder_after_it",)),
    Bug("lock",
        "Two that save the same file at once do not wait for each other.",
        "storage/model_file.py",
        "fcntl.flock(file, fcntl.LOCK_EX)",
        "fcntl.flock(file, fcntl.LOCK_SH)",
        ("test_model_file_writing.py::test_a_save_keeps_others_out_until_its_file_is_renamed",)),
    Bug("steps-of-adam",
        "A loaded Adam takes its next step for its first.",
        "storage/state.py",
        "optimizer.steps, optimizer.epochs = count(saved, \"steps\"), count(saved, \"epochs\")",
        "optimizer.epochs = count(saved, \"epochs\")",
        ("test_continuation.py::test_a_copy_goes_on_as_the_original",)),
    Bug("shared-plateau",
        "A copy of an optimizer shares what its schedule remembers.",
        "schedules.py",
        "return value if callable(value) else copy.deepcopy(value)",
        "return value",
        ("test_copies.py::test_a_copy_of_an_optimizer_has_a_schedule_of_its_own",)),
    Bug("unread-save",
        "A save does not see whether what it writes can be read.",
        "storage/state.py",
        "restored(understood(read), arrays)",
        "understood(read)",
        ("test_saving_checks.py::test_what_was_changed_behind_the_checks_is_refused_before_the_disk_is_touched",)),

    # What users pass

    Bug("nan-in-X",
        "NaN is refused only where rows must be converted, and not in those of the network's own dtype.",
        "training/rows.py",
        "    if not engine.kernels.all_finite(result):",
        "    if result is not array and not engine.kernels.all_finite(result):",
        ("test_bad_input.py",)),
    Bug("labels-in-place",
        "Labels are checked where another thread may change them, and then copied.",
        "_checks.py",
        "    labels = np.array(y)\n",
        "    labels = np.asarray(y)\n",
        ("test_layouts.py::test_labels_and_weights_are_checked_where_nobody_else_can_change_them",)),
    Bug("unknown-class",
        "partial_fit takes a class that it does not know for the next larger one.",
        "sklearn/estimators.py",
        "if (self.classes_[codes] != y).any():",
        "if (self.classes_[codes] < y).any():",
        ("test_sklearn.py::test_partial_fit_refuses_a_class_that_it_does_not_know",)),
    Bug("warm-up",
        "A warm-up starts at 0 and reaches the full rate one step late.",
        "schedules.py",
        "np.minimum(1, (t + 1) / self.length)",
        "np.minimum(1, t / self.length)",
        ("test_schedules.py",)),
)
