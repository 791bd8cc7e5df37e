"""What the estimators have beyond scikit-learn's: kinds of labels, weights of classes, losses, optimizers, checkpoints,
standardising, rows to validate with.
"""

import re

import numpy as np
import pytest
import sklearn
import sklearn.neural_network
from estimator_data import SMALL, XR, YR, X, Y
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler, scale

import fastnn.sklearn
from fastnn.sklearn import MLPClassifier, MLPRegressor

pytestmark = [pytest.mark.any_isa, pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")]


# What is new.

def test_labels_of_any_kind():
    names = np.array([f"digit {i}" for i in range(10)], dtype=object)
    model = MLPClassifier(**SMALL).fit(X, names[Y])
    assert set(model.predict(X)) <= set(names) and model.score(X, names[Y]) > 0.9
    with pytest.raises(ValueError, match=r"has classes not in (.|\n)*digit ten"):
        model.fit(X, names[Y], validation_data=(X[:1], ["digit ten"]))
    assert MLPClassifier(**SMALL).fit(X, np.full(300, "only")).predict(X[:2]).tolist() == ["only", "only"]


def test_classes_weigh():
    rare = np.where(Y == 8, "yes", "no")
    plain = MLPClassifier(**SMALL).fit(X, rare).predict_proba(X)[:, 1].mean()
    heavy = MLPClassifier(**SMALL, class_weight={"yes": 20.0}).fit(X, rare)
    balanced = MLPClassifier(**SMALL, class_weight="balanced").fit(X, rare)
    assert heavy.predict_proba(X)[:, 1].mean() > plain
    weight = np.where(rare == "yes", 150 / (Y == 8).sum(), 150 / (Y != 8).sum())
    by_hand = MLPClassifier(**SMALL).fit(X, rare, weight)
    np.testing.assert_allclose(balanced.coefs_[0], by_hand.coefs_[0])
    weight = np.random.default_rng(0).uniform(0.1, 2, 300)
    both = MLPClassifier(**SMALL, class_weight={"yes": 3.0}).fit(X, rare, weight)
    by_hand = MLPClassifier(**SMALL).fit(X, rare, weight * np.where(rare == "yes", 3, 1))
    np.testing.assert_array_equal(both.coefs_[0], by_hand.coefs_[0])
    both.partial_fit(X[rare == "no"], rare[rare == "no"])
    complete = MLPClassifier(**SMALL, class_weight={"yes": 3.0, "no": 1.0, "maybe": 9.0}).fit(X, rare, weight)
    np.testing.assert_array_equal(complete.coefs_[0], by_hand.coefs_[0])     # a fold of the rows may lack a class
    for wrong in ({"yess": 20.0}, {1: 20.0}, {"yess": 2.0, "no": 1.0}):
        message = re.escape(f"class_weight names the class {next(iter(wrong))!r}, but the classes are ['no' 'yes']")
        with pytest.raises(ValueError, match=message):
            MLPClassifier(**SMALL, class_weight=wrong).fit(X, rare)
        with pytest.raises(ValueError, match=message):
            MLPClassifier(**SMALL, class_weight=wrong).partial_fit(X, rare, classes=["no", "yes"])
    with pytest.raises(ValueError, match="class_weight is a dictionary, but y holds several labels a row"):
        MLPClassifier(**SMALL, class_weight={1: 2.0}).fit(X, np.column_stack([Y == 8, Y == 3]).astype(int))
    with pytest.raises(ValueError, match=r"classes must be passed on the first call to partial_fit\."):
        MLPClassifier(**SMALL).partial_fit(X, Y)
    with pytest.raises(ValueError, match="'balanced', which needs all rows"):
        MLPClassifier(**SMALL, class_weight="balanced").partial_fit(X, rare, classes=["no", "yes"])


def test_layers_of_their_own_dropout_and_optimizers():
    model = MLPClassifier((16, 8), ["gelu", "selu"], solver=fastnn.AdamW(0.01), dropout=[0.1, 0.0], max_iter=30,
                          random_state=0).fit(X, Y)
    assert model.network_.activations == ("gelu", "selu", "softmax") and model.network_.dropout == (0.1, 0.0)
    assert model.score(X, Y) > 0.9
    assert model.solver.network_engine is None      # the parameter itself is left as it was


@pytest.mark.parametrize("loss", ["absolute_error", "huber", "quantile", fastnn.losses.quantile(0.9)])
def test_more_losses(loss):
    model = MLPRegressor(loss, **{**SMALL, "max_iter": 300}, standardize=True).fit(XR, YR)
    above = np.mean(model.predict(XR) < YR)
    assert above < 0.25 if isinstance(loss, fastnn.losses.Loss) else 0.3 < above < 0.7


def test_validation_data_of_ones_own():
    model = MLPClassifier(**{**SMALL, "max_iter": 100}, early_stopping=True, n_iter_no_change=5)
    model.fit(X[:200], Y[:200], validation_data=(X[200:], Y[200:]))
    assert len(model.validation_loss_curve_) == len(model.validation_scores_) == model.n_iter_ < 100
    assert model.score(X[200:], Y[200:]) == max(model.validation_scores_)      # the best are kept
    weight = np.linspace(0, 2, 50)
    silent = MLPRegressor(**SMALL, standardize=True)
    silent.fit(XR[:150], YR[:150], validation_data=(XR[150:], YR[150:], weight))
    assert len(silent.validation_loss_curve_) == 15 and silent.validation_scores_ is None
    error = np.average(np.square((silent.predict(XR[150:]) - YR[150:]) / YR[:150].std()), weights=weight) / 2
    assert silent.validation_loss_curve_[-1] == pytest.approx(error, rel=1e-4)


@pytest.mark.parametrize("settings", [{}, {"early_stopping": True, "n_iter_no_change": 2, "max_iter": 200},
                                      {"standardize": True}, {"solver": "lbfgs", "standardize": True},
                                      {"standardize": True, "early_stopping": True, "learning_rate_init": 0.3}])
def test_a_checkpoint_is_the_estimator(tmp_path, settings):
    """Best parameters and scalings are inside, after every epoch and at the end, however the fit ends."""
    def check_epoch(fit):
        assert fit.model() is not fit.network
        during.append(fastnn.load(path).get_parameters())

    path, during = tmp_path / "model.safetensors", []
    Check = type("Check", (fastnn.Callback,), {"on_epoch_end": lambda self, fit: check_epoch(fit)})
    callbacks = [fastnn.CheckpointEvery(path), Check()]
    for kind, rows, targets in ((MLPClassifier, 50 * X + 7, Y), (MLPRegressor, XR * 30 - 100, YR)):
        model = kind(**SMALL | settings, dtype="float64", callbacks=callbacks).fit(rows, targets)
        saved = fastnn.load(path)
        outputs = model.predict_proba(rows) if kind is MLPClassifier else model.predict(rows)[:, None]
        np.testing.assert_allclose(saved.predict(rows), outputs, rtol=1e-9, atol=1e-12)
        np.testing.assert_array_equal(saved.get_parameters(), model.to_network().get_parameters())
        assert len(during) == model.n_iter_
        during.clear()


def test_a_checkpoint_while_it_trains_holds_the_best_so_far(tmp_path):
    path, scores = tmp_path / "model.safetensors", []

    class Score(fastnn.Callback):
        def on_epoch_end(self, fit):
            scores.append(np.mean(fastnn.load(path).predict(X[200:]).argmax(axis=1) == Y[200:]))

    model = MLPClassifier(**SMALL | {"learning_rate_init": 0.1, "max_iter": 30}, early_stopping=True,
                          callbacks=[fastnn.CheckpointEvery(path), Score()])
    model.fit(X[:200], Y[:200], validation_data=(X[200:], Y[200:]))
    np.testing.assert_array_equal(scores, np.maximum.accumulate(model.validation_scores_))
    assert scores[-1] > model.validation_scores_[-1]        # the last epoch was not the best


# Rows to validate with, where pipelines can transform them.

def test_a_pipeline_transforms_the_rows_to_validate_with():
    rows, targets, weight = XR * [1e3] + 1e4, YR, np.linspace(1, 2, 50)
    with sklearn.config_context(enable_metadata_routing=True):
        last = MLPRegressor(**SMALL).set_fit_request(X_val=True, y_val=True, sample_weight_val=True)
        model = Pipeline([("scale", StandardScaler()), ("network", last)], transform_input=["X_val"])
        model.fit(rows[:150], targets[:150], X_val=rows[150:], y_val=targets[150:], sample_weight_val=weight)
    scaler = StandardScaler().fit(rows[:150])
    by_hand = MLPRegressor(**SMALL).fit(scaler.transform(rows[:150]), targets[:150],
                                        validation_data=(scaler.transform(rows[150:]), targets[150:], weight))
    assert model[-1].validation_loss_curve_ == by_hand.validation_loss_curve_
    assert model[-1].validation_loss_curve_[-1] < 3 * model[-1].loss_curve_[-1]


@pytest.mark.parametrize("arguments, message", [
    ({"X_val": X}, "y_val is missing, but rows to validate with are X_val and y_val"),
    ({"y_val": Y}, "X_val is missing, but rows to validate with are X_val and y_val"),
    ({"sample_weight_val": np.ones(300)}, "X_val and y_val are missing, but rows to validate with are"),
    ({"X_val": X, "y_val": Y, "validation_data": (X, Y)}, "validation_data is given, and X_val, y_val or"),
    ({"sample_weight_val": np.ones(300), "validation_data": (X, Y)}, "validation_data is given, and X_val"),
    ({"X_val": X, "y_val": Y, "sample_weight_val": -1.0}, "sample_weight_val holds -1.0 in row 0, but must be finite"),
    ({"X_val": X[:, :5], "y_val": Y}, "X has 5 features, but MLPClassifier is expecting 64"),
    ({"X_val": X, "y_val": Y[:5]}, "inconsistent numbers of samples"),
    ({"X_val": X, "y_val": Y + 1}, "has classes not in"),
])
def test_rows_to_validate_with_are_given_in_one_way(arguments, message):
    with pytest.raises(ValueError, match=message):
        MLPClassifier(**SMALL).fit(X, Y, **arguments)


def test_the_parameters_of_an_optimizer_can_be_searched():
    optimizer = fastnn.SGD(0.01, momentum=0.5)
    model = MLPClassifier(**SMALL, solver=optimizer)
    nested = {name: value for name, value in model.get_params().items() if name.startswith("solver__")}
    assert nested == {"solver__" + name: value for name, value in optimizer.arguments().items()}
    for others in (model.get_params(deep=False), MLPClassifier().get_params()):
        assert not any(name.startswith("solver__") for name in others)
    search = GridSearchCV(make_pipeline(StandardScaler(), model), cv=2, error_score="raise", param_grid={
        "mlpclassifier__solver__learning_rate": [1e-9, 0.1], "mlpclassifier__solver__nesterov": [True]}).fit(X, Y)
    found = search.best_estimator_[-1].solver
    assert (found.learning_rate, found.nesterov, found.momentum) == (0.1, True, 0.5)
    assert repr(optimizer) == repr(fastnn.SGD(0.01, momentum=0.5)) and model.solver is optimizer
    # all at once, in any order, also with another optimizer; what was passed is not ours to change
    model.set_params(solver__nesterov=False, solver__momentum=0.0)
    assert repr(model.solver) == repr(fastnn.SGD(0.01)) and repr(optimizer) == repr(fastnn.SGD(0.01, momentum=0.5))
    model.set_params(solver__history_size=3, solver=fastnn.LBFGS())
    assert model.solver.history_size == 3 and model.fit(X, Y).score(X, Y) > 0.8
    for kind in (fastnn.Rprop(), fastnn.SGD(fastnn.schedules.ReduceOnPlateau(0.1)), fastnn.LBFGS()):
        twin = clone(MLPClassifier(solver=kind))
        assert twin.solver is not kind and repr(twin.solver) == repr(kind)
        twin.set_params(**{"solver__" + name: value for name, value in kind.arguments().items()})
        assert repr(twin.solver) == repr(kind)


@pytest.mark.parametrize("solver", [fastnn.LBFGS(4), fastnn.LevenbergMarquardt(0.1)], ids=repr)
def test_an_optimizer_over_all_rows_is_a_solver(solver):
    """It takes no batches, holds nothing out, has settings of its own, and begins anew in every fit."""
    rows, targets = scale(XR), scale(YR)
    model = MLPRegressor("squared_error", 5, "tanh", solver=solver, max_iter=6, alpha=0, batch_size=7, max_fun=1,
                         early_stopping=True, random_state=0, dtype="float64")
    with pytest.warns(ConvergenceWarning, match=f"{type(solver).__name__} failed to converge after 6 iteration"):
        model.fit(rows, targets)
    network, given = model.network_, model.network_.optimizer
    assert repr(given) != repr(fastnn.Adam()) and type(given) is type(solver) and given is not solver
    assert solver.steps == 0 and network.epochs_trained == model.n_iter_ == given.steps == 6
    assert model.loss_curve_ == sorted(model.loss_curve_, reverse=True) and model.validation_scores_ == []
    np.testing.assert_allclose(2 * model.loss_, np.mean((model.predict(rows) - targets)**2), rtol=1e-12)
    first = model.coefs_[0].copy()
    np.testing.assert_array_equal(model.fit(rows, targets).coefs_[0], first)
    with pytest.raises(AttributeError, match="has no attribute 'partial_fit'"):
        model.partial_fit(rows, targets)
    setting = {fastnn.LBFGS: "history_size", fastnn.LevenbergMarquardt: "mu_factor"}[type(solver)]
    assert getattr(model.set_params(**{f"solver__{setting}": 3}).fit(rows, targets).network_.optimizer, setting) == 3


def test_levenberg_marquardt_is_no_solver_for_classes():
    with pytest.raises(ValueError, match=r"LevenbergMarquardt, which goes with a squared loss \(mse, half_mse\), but"):
        MLPClassifier(5, solver=fastnn.LevenbergMarquardt()).fit(X, Y)


@pytest.mark.parametrize("change, message", [
    ({"solver__lr": 1}, "Invalid parameter 'lr' for solver SGD(learning_rate=0.1, momentum=0.0, nesterov=False, "),
    ({"solver__learning_rate": -1}, "learning_rate is -1, but must be a finite number above 0"),
    ({"solver__nesterov": True}, "nesterov is True, but momentum is 0"),
    ({"solver": "adam", "solver__beta1": 0.5}, "Invalid parameter 'solver__beta1': solver is 'adam', which has no "),
    ({"alpah": 1, "solver__momentum": 0.5}, "Invalid parameter 'alpah' for estimator MLPClassifier"),
])
def test_parameters_of_an_optimizer_that_are_refused(change, message):
    model = MLPClassifier(solver=fastnn.SGD(0.1))
    before = repr(model.get_params())
    with pytest.raises(ValueError, match=re.escape(message)):
        model.set_params(**change)
    assert repr(model.get_params()) == before


def test_standardising_is_part_of_the_model():
    rows, targets = XR * 1000 + 5000, YR * 100 + 1e5
    model = MLPRegressor(**{**SMALL, "max_iter": 200}, standardize=True, dtype="float64").fit(rows, targets)
    by_hand = MLPRegressor(**{**SMALL, "max_iter": 200}, dtype="float64").fit(scale(rows), scale(targets))
    np.testing.assert_allclose(model.predict(rows), by_hand.predict(scale(rows)) * targets.std() + targets.mean(),
                               rtol=1e-9)
    assert model.score(rows, targets) > 0.5
    np.testing.assert_allclose(model.to_network().predict(rows)[:, 0], model.predict(rows), rtol=1e-9)
    classifier = MLPClassifier(**SMALL, standardize=True).fit(X, Y)
    np.testing.assert_allclose(classifier.to_network().predict(X), classifier.predict_proba(X), atol=1e-6)
    for call, right in ((model.predict, rows), (classifier.predict, X), (classifier.predict_proba, X)):
        for wrong in (right[:5, :1], right[:5, :-1], np.hstack([right, right])):
            with pytest.raises(ValueError, match=f"X has {wrong.shape[1]} features, but MLP.* is expecting"):
                call(wrong)


def test_partial_fit_needs_rows_to_standardise_by():
    """Deviations come from the first call alone, and one row, or one that counts, has none."""
    message = "partial_fit got 1 row with weight in its first call, but standardize=True takes the means and deviations"
    one = np.eye(1, len(XR))[0]
    for arguments in ((XR[:1], YR[:1]), (XR, YR, one)):
        model = MLPRegressor(**SMALL, standardize=True)
        with pytest.raises(ValueError, match=message):
            model.partial_fit(*arguments)
        assert vars(model) == vars(MLPRegressor(**SMALL, standardize=True))
    with pytest.raises(ValueError, match=message):
        MLPClassifier(**SMALL, standardize=True).partial_fit(X[:1], Y[:1], classes=range(10))
    for rows in (XR[:2], XR[2:3]):
        model.partial_fit(rows, YR[:len(rows)])
    expected = MLPRegressor(**SMALL, standardize=True).fit(XR[:2], YR[:2])
    np.testing.assert_array_equal(model._input_scaling.scale, expected._input_scaling.scale)
    MLPRegressor(**SMALL).partial_fit(XR[:1], YR[:1])
    MLPRegressor(**SMALL, standardize=True).fit(XR[:1], YR[:1]).partial_fit(XR[:1], YR[:1])


def test_large_integers_are_standardised_before_they_are_rounded():
    seconds = 1_700_000_000 + np.arange(200)[:, None]
    model, twin = (MLPRegressor(**SMALL, standardize=True, dtype="float32").fit(rows, np.arange(200.0))
                   for rows in (seconds, seconds.astype(float)))
    np.testing.assert_array_equal(model.predict(seconds), twin.predict(seconds.astype(float)))
