"""Other libraries' words are answered with fastnn's, for names and for arguments, and nothing is guessed.

The words are collected from PyTorch and scikit-learn where these are installed; Keras's are listed.
"""

import inspect
import re

import numpy as np
import pytest

import fastnn
from fastnn import _words, schedules
from fastnn._checks import choose
from fastnn._words import NAMES, meant, near, simple, unknown_argument
from fastnn.activations import ACTIVATIONS, HIDDEN
from fastnn.initializers import INITIALIZERS
from fastnn.losses import NAMES as LOSSES
from fastnn.training.metrics import METRICS

pytestmark = pytest.mark.any_isa
KNOWN = {"activation": ACTIVATIONS, "loss": LOSSES, "initializer": INITIALIZERS, "metrics": METRICS,
         "dtype": ("float32", "float64")}
X, Y = np.eye(2), [0, 1]


def message_of(call, error=(TypeError, ValueError)):
    with pytest.raises(error) as caught:
        call()
    return str(caught.value)


# Names


@pytest.mark.parametrize("argument, word, right", [
    ("output", "linear", "identity"), ("output", "logistic", "sigmoid"), ("output", "exponential", "exp"),
    ("activation", "linear", "identity"), ("activation", "logistic", "sigmoid"), ("activation", "swish", "silu"),
    ("activation", "LeakyReLU", "leaky_relu"), ("activation", "torch.nn.ReLU", "relu"),
    ("activation", None, "identity"),
    ("loss", "bce", "binary_cross_entropy"), ("loss", "BCELoss", "binary_cross_entropy"),
    ("loss", "BCEWithLogitsLoss", "binary_cross_entropy"), ("loss", "binary_crossentropy", "binary_cross_entropy"),
    ("loss", "categorical_crossentropy", "cross_entropy"), ("loss", "sparse_categorical_crossentropy", "cross_entropy"),
    ("loss", "CrossEntropyLoss", "cross_entropy"), ("loss", "nll", "cross_entropy"),
    ("loss", "NLLLoss", "cross_entropy"),
    ("loss", "mean_squared_error", "mse"), ("loss", "MSELoss", "mse"), ("loss", "squared_error", "mse"),
    ("loss", "l1", "mae"), ("loss", "L1Loss", "mae"), ("loss", "MAE", "mae"), ("loss", "mean_absolute_error", "mae"),
    ("loss", "absolute_error", "mae"), ("loss", "SmoothL1Loss", "huber"), ("loss", "huber_loss", "huber"),
    ("loss", "pinball", "quantile"), ("loss", "PoissonNLLLoss", "poisson"), ("loss", "log_loss", "cross_entropy"),
    ("initializer", "xavier_uniform", "glorot_uniform"), ("initializer", "kaiming_normal_", "he_normal"),
    ("initializer", "GlorotUniform", "glorot_uniform"), ("initializer", "he", "he_uniform"),
    ("initializer", "glorot", "glorot_normal"), ("initializer", "lecun", "lecun_normal"),
    ("dtype", "fp32", "float32"),
])
def test_a_word_of_another_library_is_translated(argument, word, right):
    message = message_of(lambda: fastnn.Network([2, 3, 1], **{argument: word}))
    assert re.search(rf"(here it is called|did you mean) [^;?]*'{right}'", message), message
    assert argument in message and str(word) in message


@pytest.mark.parametrize("argument, word, advice", [
    ("loss", "hinge", "'cross_entropy'"), ("loss", "rmse", "same minimum"), ("loss", "mape", "Python function"),
    ("loss", "KLDivLoss", "probabilities"), ("activation", "relu6", "'relu'"), ("activation", "mish", "'silu'"),
    ("activation", "celu", "alpha 1"), ("initializer", "zeros", "stay alike"),
    ("initializer", "orthogonal", "net.weights"),
    ("dtype", "float16", "'float32' or 'float64'"), ("dtype", "bfloat16", "'float32' or 'float64'"),
])
def test_what_fastnn_does_not_have_is_said(argument, word, advice):
    message = message_of(lambda: fastnn.Network([2, 3, 1], **{argument: word}))
    assert "fastnn has none" in message and advice in message and "did you mean" not in message


def test_what_fastnn_has_in_another_way_is_said():
    assert meant("solver", "adamw", ("lbfgs", "sgd", "adam")) == (
        "pass the optimizer itself, such as solver=fastnn.AdamW(); ")
    assert meant("solver", "L-BFGS-B", ("lbfgs", "sgd", "adam")) == "here it is called 'lbfgs'; "
    assert "solver=fastnn.LevenbergMarquardt()" in meant("solver", "lm", ("lbfgs", "sgd", "adam"))
    assert meant("loss", "mse", ("squared_error", "poisson")) == "here it is called 'squared_error'; "
    assert meant("loss", "cross_entropy", ("log_loss", "focal")) == "here it is called 'log_loss'; "


@pytest.mark.parametrize("kind, word", [
    ("loss", "bce"), ("loss", "sse"), ("loss", "mpe"), ("loss", "mean"), ("loss", "hinge"), ("loss", "mape"),
    ("loss", "elastic"), ("activation", "sine"), ("activation", "sin"), ("activation", "tan"), ("activation", "srelu"),
    ("activation", "relu7"), ("activation", "softsign"), ("activation", "soft"), ("activation", "celu"),
    ("activation", "step"), ("metrics", "map"), ("metrics", "msle"), ("initializer", "normal"), ("dtype", "float16"),
    ("dtype", "float"), ("mode", "mix"), ("loss", ""), ("loss", "é"), ("activation", "\x00"),
])
def test_nothing_of_another_meaning_is_suggested(kind, word):
    known = KNOWN.get(kind, ("min", "max"))
    assert "did you mean" not in meant(kind, word, known)


@pytest.mark.parametrize("kind, word, right", [
    ("activation", "sigmiod", "sigmoid"), ("activation", "reul", "relu"), ("activation", "leaky", "leaky_relu"),
    ("activation", "Leaky ReLU", "leaky_relu"), ("activation", "softpuls", "softplus"), ("loss", "quantil", "quantile"),
    ("loss", "cross-entropy", "cross_entropy"), ("loss", "binary_cross_entropie", "binary_cross_entropy"),
    ("metrics", "acuracy", "accuracy"), ("metrics", "RMSE", "rmse"), ("initializer", "he_unifrom", "he_uniform"),
])
def test_what_is_misspelt_is_found(kind, word, right):
    assert meant(kind, word, KNOWN[kind]) == f"did you mean {right!r}? "


def test_every_name_of_the_tables_is_one_of_ours_and_every_word_leads_to_it():
    for kind, known in KNOWN.items():
        for own, words in NAMES[kind].items():
            assert own in known
            for word in words.split():
                assert word == simple(word) and word not in map(simple, known) and word not in _words.ABSENT[kind], word
                message = message_of(lambda kind=kind, word=word, known=known: choose(kind, word, known))
                assert re.search(rf"here it is called [^;]*'{own}'", message)
        for word in _words.ABSENT[kind]:
            assert word == simple(word) and word not in map(simple, known), word
    assert set(NAMES) == set(_words.ABSENT)


def test_all_that_pytorch_has_is_answered():
    torch = pytest.importorskip("torch", reason="NOT TESTED: torch is not installed")
    losses = [name for name in dir(torch.nn) if name.endswith("Loss")]
    activations = [name for name in torch.nn.modules.activation.__all__ if name != "MultiheadAttention"]
    initializers = [name for name in dir(torch.nn.init) if name.endswith("_") and name[0] != "_"]
    assert len(losses) > 15 and len(activations) > 20 and len(initializers) > 8
    for kind, names in (("loss", losses), ("activation", activations), ("initializer", initializers)):
        for name in names:
            if name not in ("AdaptiveLogSoftmaxWithLoss", "LinearCrossEntropyLoss", "TripletMarginWithDistanceLoss"):
                assert meant(kind, name, KNOWN[kind]), name
    for optimizer in (name for name, what in vars(torch.optim).items() if isinstance(what, type)):
        assert _words.object_meant("an optimizer", optimizer, "?") != "?" or optimizer == "Optimizer", optimizer


def test_objects_of_pytorch_are_named():
    torch = pytest.importorskip("torch", reason="NOT TESTED: torch is not installed")
    for activation in (torch.relu, torch.nn.ReLU, torch.nn.ReLU(), torch.nn.functional.relu, fastnn.activations.relu):
        assert "it is called 'relu'" in message_of(lambda a=activation: fastnn.Network([2, 3, 1], a), TypeError)
    for loss in (torch.nn.MSELoss, torch.nn.MSELoss(), torch.nn.functional.mse_loss):
        assert "it is called 'mse'" in message_of(lambda loss=loss: fastnn.Network([2, 1], loss=loss), TypeError)
    adam = torch.optim.Adam([torch.zeros(1, requires_grad=True)])
    assert "such as fastnn.Adam()" in message_of(lambda: fastnn.Network([2, 1]).fit(X, Y, optimizer=adam), TypeError)


@pytest.mark.parametrize("optimizer, right", [
    ("adam", "fastnn.Adam()"), ("Adam", "fastnn.Adam()"), ("sgd", "fastnn.SGD(0.01)"), ("adamw", "fastnn.AdamW()"),
    ("RMSprop", "fastnn.RMSprop()"), ("lbfgs", "fastnn.LBFGS()"), ("L-BFGS-B", "fastnn.LBFGS()"),
    ("lm", "fastnn.LevenbergMarquardt()"), ("trainlm", "fastnn.LevenbergMarquardt()"),
    ("levenberg_marquardt", "fastnn.LevenbergMarquardt()"), ("Levenberg-Marquardt", "fastnn.LevenbergMarquardt()"),
    ("nesterov", "fastnn.SGD(0.01, momentum=0.9, nesterov=True)"), ("nadam", "fastnn.Adam() or fastnn.AdamW()"),
    (fastnn.Adam, "fastnn.Adam()"), (0.1, "fastnn.SGD(0.1)"), ("no such", "fastnn.SGD(0.1)"),
])
def test_an_optimizer_that_is_none(optimizer, right):
    message = message_of(lambda: fastnn.Network([2, 1]).fit(X, Y, optimizer=optimizer), TypeError)
    assert message.startswith("optimizer is ") and message.endswith(f"such as {right}")
    eval(right.split(" or ")[0], {"fastnn": fastnn})


def test_loss_functions_that_must_be_called_first():
    for function in (fastnn.losses.quantile, fastnn.losses.focal):
        assert "call it, such as fastnn.losses." in message_of(lambda f=function: fastnn.Network([2, 1], loss=f))
    assert "must be a name" in message_of(lambda: fastnn.Network([2, 1], loss=fastnn.losses.Loss), TypeError)


def test_learning_rates_by_name():
    for word, right in (("adaptive", "ReduceOnPlateau"), ("cosine", "CosineDecay"), ("constant", "0.001")):
        message = message_of(lambda word=word: fastnn.SGD(word), TypeError)
        assert right in message
        eval(message.partition("such as ")[2], {"fastnn": fastnn})


def test_kerass_names_in_a_history():
    network = fastnn.Network([2, 1])
    history = network.fit(X, Y, validation_data=(X, Y), metrics=["mae"])
    assert "called 'validation_loss'" in message_of(lambda: history.val_loss, AttributeError)
    assert "called 'validation_mae'" in message_of(lambda: history.val_mae, AttributeError)
    stopping = fastnn.EarlyStopping(monitor="val_loss")
    assert "called 'validation_loss'" in message_of(
        lambda: network.fit(X, Y, validation_data=(X, Y), early_stopping=stopping))
    assert "validation_data" in message_of(lambda: network.fit(X, Y, early_stopping=stopping))
    assert "leave it out" in message_of(lambda: fastnn.EarlyStopping(mode="auto"))


def test_names_of_other_libraries_modules():
    for name, right in (("Dense", "fastnn.Network"), ("trainlm", "fastnn.LevenbergMarquardt"),
                        ("Sequential", "fastnn.Network"), ("RMSProp", "fastnn.RMSprop"),
                        ("MLPClassifier", "fastnn.sklearn.MLPClassifier"),
                        ("ModelCheckpoint", "fastnn.CheckpointEvery")):
        assert right in message_of(lambda name=name: getattr(fastnn, name), AttributeError)
    assert not any(hasattr(fastnn, name) for name in _words.PUBLIC)
    with pytest.raises(AttributeError, match="module 'fastnn' has no attribute 'nonsense'$"):
        fastnn.nonsense  # noqa: B018


# Arguments

FIT = fastnn.Network([2, 1]).fit


@pytest.mark.parametrize("call, word, right", [
    (FIT, "lr", "fastnn.Adam(learning_rate=0.001)"), (FIT, "learning_rate", "fastnn.Adam(learning_rate=0.001)"),
    (FIT, "verbose", "progress"), (FIT, "validation_split", "validation_data"), (FIT, "max_iter", "epochs"),
    (FIT, "n_epochs", "epochs"), (FIT, "epoch", "epochs"), (FIT, "loss", "fastnn.Network(…, loss='mse')"),
    (FIT, "x", "X"), (FIT, "class_weights", "class_weight"), (FIT, "patience", "EarlyStopping(patience=10)"),
    (FIT, "scheduler", "fastnn.schedules"), (FIT, "optimiser", "'optimizer'"), (FIT, "random_state", "seed=0"),
    (FIT, "device", "CPU"), (FIT, "eval_set", "validation_data"), (FIT, "n_jobs", "threads"),
    (fastnn.Network, "hidden_layer_sizes", "layer_sizes ([inputs, hidden, …, outputs])"),
    (fastnn.Network, "input_dim", "layer_sizes"), (fastnn.Network, "units", "layer_sizes"),
    (fastnn.Network, "optimizer", "fit(optimizer="), (fastnn.Network, "lr", "learning_rate=0.001"),
    (fastnn.Network, "random_state", "seed"), (fastnn.Network, "alpha", "l2"),
    (fastnn.Network, "dropout_rate", "dropout"),
    (fastnn.Network, "output_activation", "output"), (fastnn.Network, "activaton", "'activation'"),
    (fastnn.Network, "kernel_initializer", "initializer"), (fastnn.Network, "use_bias", "biases"),
    (fastnn.Adam, "lr", "learning_rate"), (fastnn.Adam, "betas", "beta1 (betas[0]) and beta2 (betas[1])"),
    (fastnn.Adam, "eps", "epsilon"), (fastnn.Adam, "beta_1", "beta1"), (fastnn.Adam, "clipnorm", "clip_norm"),
    (fastnn.Adam, "weight_decay", "fastnn.AdamW"), (fastnn.Adam, "amsgrad", "leave it out"),
    (fastnn.SGD, "nesterovs_momentum", "nesterov"), (fastnn.SGD, "params", "in fit"), (fastnn.SGD, "decay", "schedule"),
    (fastnn.RMSprop, "rho", "alpha"), (fastnn.Adagrad, "lr_decay", "learning_rate_decay"),
    (fastnn.LBFGS, "max_iter", "fit(epochs=…)"), (fastnn.LBFGS, "tolerance_grad", "tolerance_gradient"),
    (fastnn.LevenbergMarquardt, "mu_inc", "mu_factor"), (fastnn.LevenbergMarquardt, "mu_dec", "mu_factor"),
    (fastnn.LevenbergMarquardt, "min_grad", "tolerance_gradient"), (fastnn.LevenbergMarquardt, "damping", "mu"),
    (fastnn.SGD, "mu", "here it is called momentum"),
    (fastnn.EarlyStopping, "min_delta", "min_change"), (fastnn.EarlyStopping, "n_iter_no_change", "patience"),
    (fastnn.EarlyStopping, "restore_best_weights", "restore_best"),
    (fastnn.CheckpointEvery, "filepath", "path"), (fastnn.CheckpointEvery, "save_freq", "epochs"),
    (schedules.StepDecay, "step_size", "every"), (schedules.StepDecay, "gamma", "factor"),
    (schedules.ExponentialDecay, "lr", "rate"), (schedules.CosineDecay, "T_max", "length"),
    (schedules.CosineDecay, "eta_min", "final_rate"), (schedules.OneCycle, "max_lr", "highest_rate"),
    (schedules.OneCycle, "pct_start", "rise"), (schedules.ReduceOnPlateau, "min_lr", "lowest_rate"),
    (FIT, "steps", "here it is called steps_per_epoch"), (FIT.__self__.evaluate, "steps", "steps_per_epoch"),
    (schedules.WarmUp, "warmup_steps", "length"), (fastnn.losses.quantile, "tau", "q"),
    (FIT.__self__.evaluate, "verbose", "progress"), (fastnn.load, "filename", "path"),
])
def test_an_argument_of_another_library_is_translated(call, word, right):
    message = message_of(lambda: call(**{word: 1}), TypeError)
    name = getattr(call, "__qualname__", call.__name__)
    assert message.startswith(f"{name}() got an unexpected keyword argument {word!r}; ")
    assert right in message.partition("; ")[2]


KERAS = {
    FIT: "x verbose validation_split initial_epoch steps_per_epoch validation_steps validation_batch_size "
         "validation_freq workers use_multiprocessing max_queue_size loss",
    fastnn.Network: "units use_bias kernel_initializer bias_initializer kernel_regularizer rate input_shape input_dim "
                    "optimizer metrics run_eagerly jit_compile name trainable",
    fastnn.SGD: "decay clipnorm clipvalue global_clipnorm use_ema ema_momentum loss_scale_factor "
                "gradient_accumulation_steps name lr",
    fastnn.Adam: "beta_1 beta_2 amsgrad lr decay weight_decay",
    fastnn.EarlyStopping: "min_delta verbose baseline restore_best_weights start_from_epoch",
    fastnn.CheckpointEvery: "filepath monitor verbose save_best_only save_weights_only save_freq",
    schedules.ReduceOnPlateau: "monitor min_delta cooldown min_lr verbose",
    schedules.StepDecay: "initial_learning_rate decay_steps decay_rate",
}
OPTIMIZERS = ("SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "Rprop", "LBFGS")
SCHEDULERS = {"StepLR": schedules.StepDecay, "ExponentialLR": schedules.ExponentialDecay,
              "CosineAnnealingLR": schedules.CosineDecay, "ReduceLROnPlateau": schedules.ReduceOnPlateau}


def collected():
    for call, words in KERAS.items():
        yield call, words.split()
    torch = pytest.importorskip("torch", reason="NOT TESTED: torch is not installed")
    for name in OPTIMIZERS:
        yield getattr(fastnn, name), inspect.signature(getattr(torch.optim, name)).parameters
    for name, schedule in SCHEDULERS.items():
        yield schedule, inspect.signature(getattr(torch.optim.lr_scheduler, name)).parameters
    estimators = pytest.importorskip("sklearn.neural_network", reason="NOT TESTED: scikit-learn is not installed")
    for call in (FIT, fastnn.Network):
        yield call, inspect.signature(estimators.MLPClassifier).parameters


def test_arguments_of_all_libraries_are_answered():
    tried = 0
    for call, words in collected():
        own = [name for name in inspect.signature(call).parameters if name != "self"]
        for word in words:
            if word not in own:
                message = message_of(lambda call=call, word=word: call(**{word: 1}), TypeError)
                assert "; it takes " not in message and "did you mean" not in message, message
                tried += 1
    assert tried > 120


def all_calls():
    yield from (getattr(fastnn, name) for name in (
        "Network", "EarlyStopping", "CheckpointEvery", "TableClassifier", "load", "LevenbergMarquardt", *OPTIMIZERS))
    yield from (getattr(fastnn.Network, name)
                for name in ("fit", "evaluate", "score", "gradients", "save", "predict_classes"))
    yield from (kind for kind in vars(schedules).values() if isinstance(kind, type) and "__init__" in vars(kind)
                and issubclass(kind, schedules.Schedule) and not kind.__name__.startswith("_"))
    yield from (fastnn.losses.quantile, fastnn.losses.focal)


def test_signatures_are_those_of_the_functions():
    for call in all_calls():
        function = call.__init__ if isinstance(call, type) else call
        original = inspect.unwrap(function)
        assert original is not function and inspect.signature(function) == inspect.signature(original)
        assert (function.__doc__, function.__name__, function.__module__) == (
            original.__doc__, original.__name__, original.__module__)
        assert not any(parameter.kind == parameter.VAR_KEYWORD
                       for parameter in inspect.signature(call).parameters.values())


def test_what_the_advice_names_is_there():
    arguments = {name for call in all_calls() for name in inspect.signature(call).parameters}
    assert set(_words.ARGUMENTS) | set(_words.VALUES) | (set(_words.PLACES) - {"learning_rate_decay"}) <= arguments
    for call in all_calls():
        own = list(inspect.signature(call).parameters)
        assert "it takes" in unknown_argument("call", "no_such_thing", own)


def test_short_paths_stay_compiled():
    """What takes a fraction of a microsecond gets no Python around it."""
    for name in ("predict", "train_on_batch"):
        assert name not in vars(fastnn.Network) and not hasattr(getattr(fastnn.Network, name), "__wrapped__")
    assert not hasattr(fastnn.Network, "__getattr__")


def test_other_errors_pass_through():
    """A TypeError from inside is not taken for one of arguments."""
    with pytest.raises(TypeError, match=r"missing 1 required positional argument: 'layer_sizes'"):
        fastnn.Network()
    with pytest.raises(TypeError, match="multiple values for argument 'activation'"):
        fastnn.Network([2, 1], "relu", activation="relu")


def test_near_finds_equals_first():
    assert near("MSE", LOSSES) == "mse" and near("half mse", LOSSES) == "half_mse" and near("x", HIDDEN) is None
