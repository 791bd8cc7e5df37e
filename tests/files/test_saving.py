"""Saving a network: what comes back, what a file cannot hold, and that no description fools `load`.

The file itself and its checksum are in test_model_file.py, its way to the disk in test_model_file_writing.py; that
a loaded network trains on to the same bits, in test_continuation.py.
"""

import copy
import json
import os
import pickle
import re

import numpy as np
import pytest
from helpers import same_bits
from saved_networks import OPTIMIZERS, X, Y, deep, goes_with, mse

import fastnn
from fastnn import network as network_module
from fastnn import schedules
from fastnn.storage import model_file, state
from fastnn.storage.model_file import read_model, write_model

pytestmark = pytest.mark.any_isa


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_a_network_comes_back_as_it_was(optimizer, dtype, tmp_path):
    network = fastnn.Network([4, 9, 3, 2], activation=["tanh", "gelu"], initializer="he_uniform", dtype=dtype, seed=7,
                             l2=0.2, **goes_with(optimizer))
    network.metadata = {"columns": ["a", "b"], "mean": [0.1, 1e300], "note": None}
    network.fit(X, Y, epochs=3, optimizer=copy.deepcopy(optimizer))
    network.save(tmp_path / "model.safetensors")
    loaded = fastnn.load(str(tmp_path / "model.safetensors"))
    for name in ("layer_sizes", "activations", "loss", "dtype", "seed", "dropout", "l1", "l2", "label_smoothing",
                 "epochs_trained", "metadata"):
        assert getattr(loaded, name) == getattr(network, name), name
    assert repr(loaded) == repr(network) and repr(loaded.optimizer) == repr(network.optimizer)
    assert (loaded.optimizer.steps, loaded.optimizer.epochs) == (network.optimizer.steps, network.optimizer.epochs)
    assert same_bits(loaded.predict(X), network.predict(X))


def test_an_untrained_network_has_no_optimizer_to_save(tmp_path):
    fastnn.Network([4, 2]).save(tmp_path / "model")
    assert fastnn.load(tmp_path / "model").optimizer is None


def test_an_optimizer_of_the_users_own_is_refused_before_the_disk_is_touched(tmp_path):
    """A file that names its class could not be loaded without it."""
    class Own(fastnn.SGD):
        pass

    network = fastnn.Network([4, 2])
    network.fit(X, Y, optimizer=Own(0.1))
    for save in (lambda: network.save(tmp_path / "model"), lambda: copy.deepcopy(network)):
        with pytest.raises(TypeError, match="optimizer is a Own, but only optimizers of fastnn's own can be saved"):
            save()
    assert not list(tmp_path.iterdir())


def test_other_tools_can_read_the_tensors(tmp_path):
    from safetensors.numpy import load_file
    network = fastnn.Network([4, 9, 2])
    network.fit(X, Y, optimizer=fastnn.Adam())
    network.save(tmp_path / "model.safetensors")
    tensors = load_file(tmp_path / "model.safetensors")
    assert sorted(tensors) == ["biases.0", "biases.1", "optimizer.0", "optimizer.1", "weights.0", "weights.1"]
    assert same_bits(tensors["weights.1"], network.weights[1]) and tensors["optimizer.0"].shape == (65,)


def test_a_python_loss_must_be_given_again(tmp_path):
    network = fastnn.Network([4, 9, 2], loss=mse)
    network.fit(X, Y)
    network.save(tmp_path / "model")
    with pytest.raises(TypeError, match="learned with a Python function.*fastnn.load"):
        fastnn.load(tmp_path / "model")
    with pytest.raises(TypeError, match="loss is 'mse', but must be a function"):
        fastnn.load(tmp_path / "model", loss="mse")
    loaded = fastnn.load(tmp_path / "model", loss=mse)
    assert loaded.loss is mse and loaded.fit(X, Y).loss == network.fit(X, Y).loss
    twin = copy.deepcopy(network)
    assert twin.loss is mse and twin.fit(X, Y).loss == network.fit(X, Y).loss
    fastnn.Network([4, 2]).save(tmp_path / "model")
    with pytest.raises(TypeError, match="has its own: leave it out"):
        fastnn.load(tmp_path / "model", loss=mse)


def test_a_schedule_of_the_users_own_becomes_its_latest_value(tmp_path):
    """Also one that has the name of fastnn's."""
    class StepDecay(schedules.StepDecay):
        def at(self, t):
            return 0.01 + 0 * t

    network = fastnn.Network([4, 9, 2])
    network.fit(X, Y, optimizer=fastnn.SGD(StepDecay(0.1, 2)))
    with pytest.warns(UserWarning, match="cannot hold a Python function"):
        network.save(tmp_path / "model")
    assert fastnn.load(tmp_path / "model").optimizer.learning_rate == 0.01


def test_a_learning_rate_that_is_a_function_becomes_its_latest_value(tmp_path):
    network = fastnn.Network([4, 9, 2])
    network.fit(X, Y, epochs=3, optimizer=fastnn.SGD(lambda epoch: 0.1 / (1 + epoch)))
    with pytest.warns(UserWarning, match="cannot hold a Python function"):
        network.save(tmp_path / "model")
    assert fastnn.load(tmp_path / "model").optimizer.learning_rate == pytest.approx(0.1 / 3)
    assert callable(network.optimizer.learning_rate.function)


@pytest.mark.parametrize("before, after", [(0.0, 0.9), (0.9, 0.0)])
def test_momentum_that_was_set_since_the_last_fit_is_saved(before, after, tmp_path):
    network = fastnn.Network([4, 9, 2])
    network.fit(X, Y, optimizer=fastnn.RMSprop(momentum=before))
    network.optimizer.momentum = after
    network.save(tmp_path / "model")
    loaded = fastnn.load(tmp_path / "model")
    assert loaded.fit(X, Y).loss == network.fit(X, Y).loss
    assert same_bits(loaded.get_parameters(), network.get_parameters())


def altered(description, path, value):
    *folders, last = path
    inner = description
    for folder in folders:
        inner = inner[folder]
    if value is KeyError:
        del inner[last]
    else:
        inner[last] = value


@pytest.mark.parametrize("path, value", [
    (["network"], KeyError), (["network"], None), (["network", "layer_sizes"], [4, 9, 3]),
    (["network", "layer_sizes"], [4, 2**40, 2]), (["network", "layer_sizes"], [4]), (["network", "layer_sizes"], "49"),
    (["network", "layer_sizes"], [4, 9.0, 2]), (["network", "output"], "softmx"), (["network", "dtype"], "float16"),
    (["network", "dtype"], "float64"), (["network", "seed"], -1), (["network", "loss"], {"name": "no"}),
    (["network", "loss"], 3), (["network", "loss"], {"name": "quantile", "parameter": 7.0}),
    (["network", "activation"], []), (["network", "dropout"], [1.0]), (["network", "extra"], 1),
    (["epochs_trained"], -1), (["epochs_trained"], 1.5), (["epochs_trained"], True), (["steps_trained"], 2**70),
    (["optimizer"], KeyError), (["optimizer", "name"], "Optimizer"), (["optimizer", "name"], "__import__"),
    (["optimizer", "arguments", "beta1"], 2), (["optimizer", "arguments"], []), (["optimizer", "blocks"], 3),
    (["optimizer", "arguments", "learning_rate"], {"settings": {"schedule": "Function"}, "state": {}}),
    (["optimizer", "steps"], "many"), (["early_stopping"], {"settings": {}}), (["early_stopping"], 5),
    (["early_stopping", "settings", "patience"], 0), (["early_stopping", "best"], "abc"),
    (["early_stopping", "best"], [1.0]), (["early_stopping", "best"], 10**400), (["early_stopping", "best"], KeyError),
    (["early_stopping", "best_epoch"], [1]), (["early_stopping", "best_epoch"], 1.5),
    (["early_stopping", "best_epoch"], -1), (["early_stopping", "waited"], None),
    (["metadata"], [["a", 1]]), (["metadata"], []), (["metadata"], "ab"), (["metadata"], None),
], ids=lambda value: str(value)[:60])
def test_a_description_that_is_none_is_refused(path, value, tmp_path):
    network = fastnn.Network([4, 9, 2])
    network.fit(X, Y, optimizer=fastnn.Adam(), early_stopping=fastnn.EarlyStopping())
    network.save(tmp_path / "model")
    description, tensors = read_model(tmp_path / "model")
    write_model(tmp_path / "same", description, tensors)
    fastnn.load(tmp_path / "same")
    altered(description, path, value)
    write_model(tmp_path / "other", description, tensors)      # with the right checksum
    with pytest.raises(fastnn.FormatError, match="other"):
        fastnn.load(tmp_path / "other")


@pytest.mark.parametrize("change, words", [
    (lambda tensors: tensors.pop("weights.1"), "KeyError: 'weights.1'"),
    (lambda tensors: tensors.update(more=np.zeros(3, "f")), "tensors that no part needs: more"),
    (lambda tensors: tensors.update({"optimizer.1": np.zeros(64, "f")}), r"optimizer.1 has shape \(64,\)"),
    (lambda tensors: tensors.update({"weights.0": np.zeros((9, 4), "f")}), r"layer 0 have shapes \(\(9, 4\), \(9,\)\)"),
    (lambda tensors: tensors.update({"weights.0": np.zeros((4, 9), "i4")}), "weights.0 has dtype int32"),
    (lambda tensors: tensors.update({"weights.0": np.zeros((4, 9))}), "weights.0 has dtype float64")])
def test_tensors_that_do_not_fit_are_refused(change, words, tmp_path):
    network = fastnn.Network([4, 9, 2])
    network.fit(X, Y, optimizer=fastnn.Adam())
    network.save(tmp_path / "model")
    description, tensors = read_model(tmp_path / "model")
    change(tensors)
    write_model(tmp_path / "model", description, tensors)
    with pytest.raises(fastnn.FormatError, match=words):
        fastnn.load(tmp_path / "model")


@pytest.mark.parametrize("value", [1.0, np.nan])
def test_early_stopping_is_saved_with_the_best_parameters_or_without(value, tmp_path):
    """NaN is never the best: then there are none, and the file holds none."""
    def metric(y, outputs):
        return value

    network = fastnn.Network([4, 9, 2])
    stopping = fastnn.EarlyStopping(5, monitor="validation_metric", mode="min")
    network.fit(X, Y, epochs=3, validation_data=(X, Y), metrics=[metric], early_stopping=stopping)
    network.save(tmp_path / "model")
    assert ("early_stopping.best" in read_model(tmp_path / "model")[1]) == (value == 1)
    loaded = fastnn.load(tmp_path / "model").early_stopping
    assert (loaded.settings(), loaded.waited) == (stopping.settings(), stopping.waited)
    assert (loaded.best, loaded.best_epoch) == ((1.0, 1) if value == 1 else (None, None))
    assert (loaded.best_parameters is not None) == (value == 1)


def test_what_is_no_file_is_an_oserror(tmp_path):
    with pytest.raises(FileNotFoundError):
        fastnn.load(tmp_path / "nothing")
    with pytest.raises(FileNotFoundError):
        fastnn.Network([4, 2]).save(tmp_path / "no" / "folder")


def test_metadata_that_json_cannot_hold_is_refused_before_the_disk_is_touched(tmp_path):
    network = fastnn.Network([2, 1])
    for wrong in ({"it": np.zeros(3)}, {"it": (1, 2)}, {"it": {1: 2}}, {"it": float("nan")}, {1: "it"}):
        network.metadata = wrong
        with pytest.raises(TypeError, match=r"metadata\[('it'|1)\] is not made of what JSON holds as it is"):
            network.save(tmp_path / "model.safetensors")
    network.metadata = [1]
    with pytest.raises(TypeError, match=r"metadata is \[1\], but must be a dictionary"):
        network.save(tmp_path / "model.safetensors")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("make, error", [
    (lambda: [], None), (lambda: [0.5] * 63, None), (lambda: [0.5] * 64, None),
    (lambda: [-0.0, 1e-310, 1e300] * 50, None),
    (lambda: {"a": [{"b": [i / 7 for i in range(100)]}, [1.5] * 70], "": [2.5] * 99}, None),
    (lambda: [1] * 100, None), (lambda: [1.0, 1] * 50, None), (lambda: [[0.5] * 64] * 3, None),
    (lambda: [0.1] * 2**18, None), (lambda: [0.1] * (2**18 + 1), ValueError), (lambda: [1] * 2**17, ValueError),
    (lambda: "x" * 2**20, ValueError), (lambda: [float("nan")] * 64, TypeError), (lambda: [True] * 64, None)])
def test_long_lists_of_floats_are_arrays_in_the_file(make, error, tmp_path):
    """They come back as they were, to the type and the bit."""
    network = fastnn.Network([2, 1])
    network.metadata = {"it": make(), "note": "a"}
    if error is not None:
        with pytest.raises(error):
            network.save(tmp_path / "model")
        assert not list(tmp_path.iterdir())
        return
    network.save(tmp_path / "model")
    loaded = fastnn.load(tmp_path / "model").metadata
    assert json.dumps(loaded, sort_keys=True) == json.dumps(network.metadata, sort_keys=True)
    floats = re.findall(r"\d\.\d", str(read_model(tmp_path / "model")[0]["metadata"]))
    assert len(floats) < 64


@pytest.mark.parametrize("change", [
    lambda description, tensors: description.pop("metadata_lists"),
    lambda description, tensors: tensors.pop("metadata.0"),
    lambda description, tensors: tensors.update({"metadata.0": np.ones((8, 8))}),
    lambda description, tensors: tensors.update({"metadata.0": np.ones(64, "f")}),
    lambda description, tensors: tensors.update({"metadata.0": np.full(64, np.inf)}),
    lambda description, tensors: tensors.update({"metadata.0": np.ones(2**18 + 1)}),
    *[lambda description, tensors, places=places: description.update(metadata_lists=places) for places in (
        5, [[]], ["other"], [["note"]], [["note", 0]], [["it", "a"]], [["missing", 1]], [["it"], ["it"]], [[{}]],
        {"it": 1})],
])
def test_lists_of_metadata_that_do_not_fit_are_refused(change, tmp_path):
    network = fastnn.Network([2, 1])
    network.metadata = {"it": [0.5] * 64, "note": "a"}
    network.save(tmp_path / "model")
    description, tensors = read_model(tmp_path / "model")
    write_model(tmp_path / "same", description, tensors)
    assert fastnn.load(tmp_path / "same").metadata == network.metadata
    change(description, tensors)
    write_model(tmp_path / "model", description, tensors)
    with pytest.raises(fastnn.FormatError, match="is not a valid model"):
        fastnn.load(tmp_path / "model")


def test_a_network_of_as_many_layers_as_there_can_be_is_saved_and_loaded(tmp_path):
    network = fastnn.Network([2] + [1] * model_file.MOST_LAYERS, dtype="float64", dropout=0.30000000000000004)
    network.train_on_batch(np.ones((2, 2)), np.ones((2, 1)), optimizer=fastnn.Adam())
    network.save(tmp_path / "model")
    loaded = fastnn.load(tmp_path / "model")
    assert loaded.layer_sizes == network.layer_sizes and same_bits(loaded.get_parameters(), network.get_parameters())


def test_the_largest_network_fits_in_a_header_with_half_a_megabyte_of_metadata():
    """Sizes that no memory holds: the text of a header is made of their shapes alone."""
    sizes = [10**7, 1] * (model_file.MOST_LAYERS // 2) + [10**7]
    arrays = {f"{kind}.{layer}": np.broadcast_to(np.float32(0), (n_in, n_out)[first:])
              for layer, (n_in, n_out) in enumerate(zip(sizes, sizes[1:], strict=False))
              for first, kind in enumerate(["weights", "biases"])}
    description = {"layer_sizes": sizes, "activation": ["leaky_relu"] * len(sizes), "dropout": [0.30000000000000004] *
                   len(sizes), "metadata": "é" * (2**19 // 6), "settings": "a" * 10_000}
    label = json.dumps(description)
    model_file._check_label(label)
    header = model_file._header(label, arrays)
    model_file._check_json(header[8:].decode())
    assert len(header) < model_file.LARGEST_HEADER and len(arrays) < model_file.MOST_ARRAYS - 100


def test_a_network_of_more_layers_than_a_file_holds_is_refused_when_it_is_built():
    with pytest.raises(ValueError, match="layer_sizes holds 10002 sizes, but a network can have at most 10000 layers"):
        fastnn.Network([1] * 10_002)


@pytest.mark.parametrize("spoil, path, words", [
    (lambda network: network.metadata.update(a="x" * 2**20), "model", "must fit in"),
    (lambda network: network.metadata.update(a=np.ones(2)), "model", "is not made of what JSON holds"),
    (lambda network: network.metadata.update(a=deep(98)), "model", "nested more than 100 deep"),
    (lambda network: network.metadata.update(a=deep(100_000)), "model", "nested more than 100 deep"),
    (None, "missing/model", "No such file or directory"), (None, "folder", "is a directory"),
    (None, "pipe", "is a pipe"), (None, "m" * 250, "File name too long")])
def test_a_checkpoint_that_cannot_be_saved_ends_the_fit_before_its_first_epoch(spoil, path, words, tmp_path):
    """And leaves the folder as it was."""
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    network = fastnn.Network([4, 9, 2])
    if spoil is not None:
        spoil(network)
    before = network.get_parameters()
    with pytest.raises((OSError, ValueError, TypeError), match=words):
        network.fit(X, Y, epochs=3, callbacks=[fastnn.CheckpointEvery(tmp_path / path, epochs=100)])
    assert network.epochs_trained == 0 and same_bits(network.get_parameters(), before)
    assert sorted(os.listdir(tmp_path)) == ["folder", "pipe"]


def test_what_is_checked_before_training_can_be_saved_after_it(tmp_path):
    """At the very limit: the description becomes longer in training, and room for that is kept."""
    def room(spoil, high):
        """The largest number for which a network passes the check, or nearly."""
        low = high - 8192
        while high - low > 128:
            network = fastnn.Network([4, 9, 2], dtype="float64")
            network.metadata["it"] = spoil((low + high) // 2)
            try:
                state.check_saveable(network)
                low = (low + high) // 2
            except ValueError:
                high = (low + high) // 2
        return network, spoil(low)

    for spoil, most in ((lambda n: "x" * n, 2**20), (lambda n: [1] * n, 2**16)):
        network, largest = room(spoil, most)
        network.metadata["it"] = largest
        state.check_saveable(network)
        schedule = schedules.WarmUp(schedules.OneCycle(0.1 / 3, 10**6), 10**6)
        network.fit(X, Y, epochs=2, optimizer=fastnn.AdamW(schedule, clip_norm=1 / 3), validation_data=(X, Y),
                    early_stopping=fastnn.EarlyStopping(10**6, min_change=1 / 7, monitor="validation_loss"))
        network.save(tmp_path / "model")
        assert fastnn.load(tmp_path / "model").metadata == network.metadata


def test_a_checkpoint_keeps_the_old_file_until_it_is_due(tmp_path):
    """The look at the beginning writes nothing."""
    fastnn.Network([4, 2], seed=5).save(tmp_path / "model")
    before = (tmp_path / "model").read_bytes()

    class Look(fastnn.Callback):
        def on_epoch_end(self, fit):
            if fit.epoch < 3:
                assert (tmp_path / "model").read_bytes() == before

    network = fastnn.Network([4, 9, 2])
    network.fit(X, Y, epochs=3, callbacks=[fastnn.CheckpointEvery(tmp_path / "model", epochs=3), Look()])
    assert fastnn.load(tmp_path / "model").epochs_trained == 3 and os.listdir(tmp_path) == ["model"]


def test_no_initial_weights_are_drawn_for_parameters_that_are_kept(tmp_path, monkeypatch):
    """By load, pickle and copies; also of networks that one of the user's own class holds."""
    class Own(fastnn.Network):
        def __init__(self, layer_sizes, *args, **options):
            super().__init__(layer_sizes, *args, **options)
            self.teacher = fastnn.Network([4, 2], seed=3)

    original = Own([4, 9, 2], initializer="he_uniform", seed=2)
    fastnn.Network([4, 9, 2]).save(tmp_path / "model")
    monkeypatch.setitem(globals(), "Own", Own)
    Own.__qualname__ = "Own"
    drawn = []

    def draw(weights, *args, real=network_module.draw):
        drawn.append(weights.shape)
        real(weights, *args)

    monkeypatch.setattr(network_module, "draw", draw)
    fastnn.load(tmp_path / "model")
    assert not drawn
    for copied in (copy.deepcopy, lambda network: pickle.loads(pickle.dumps(network))):
        twin = copied(original)
        assert not drawn and type(twin) is Own
        assert same_bits(twin.get_parameters(), original.get_parameters())
        assert same_bits(twin.teacher.get_parameters(), original.teacher.get_parameters())


def test_a_file_without_metadata_is_one_of_an_older_version(tmp_path):
    fastnn.Network([2, 1]).save(tmp_path / "new")
    description, tensors = read_model(tmp_path / "new")
    del description["metadata"]
    write_model(tmp_path / "old", description, tensors)
    assert fastnn.load(tmp_path / "old").metadata == {}
