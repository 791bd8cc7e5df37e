"""Early stopping of the estimators where the rows held out say nothing, and a warm start on other rows than before."""

import warnings

import numpy as np
import pytest
from estimator_data import SMALL, XR, YR, X, Y
from sklearn.exceptions import ConvergenceWarning, UndefinedMetricWarning

import fastnn.sklearn
from fastnn.sklearn import MLPClassifier, MLPRegressor

pytestmark = [pytest.mark.any_isa, pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")]

POINTS = np.linspace(-1, 1, 200)[:, None]
SLOPE = 3 * POINTS[:, 0]
QUICK = {"random_state": 0, "max_iter": 300, "learning_rate_init": 0.01, "early_stopping": True}


@pytest.mark.parametrize("rows, weight", [([7], None), ([7, 7, 7], None), ([3, 7, 190], [0, 2, 0])], ids=range(3))
@pytest.mark.parametrize("columns", [1, 2])
def test_the_loss_decides_where_the_score_says_nothing(rows, weight, columns):
    """R squared of one row, of a constant, and of rows of which one counts."""
    targets = SLOPE + 0.1 if columns == 1 else np.column_stack([SLOPE, -SLOPE])
    with warnings.catch_warnings():
        warnings.simplefilter("error", UndefinedMetricWarning)
        for standardize in (False, True):
            model = MLPRegressor(**QUICK, standardize=standardize)
            model.fit(POINTS, targets, validation_data=(POINTS[rows], targets[rows], weight))
            assert model.score(POINTS, targets) > 0.95
            losses = np.array(model.validation_loss_curve_)
            assert len(losses) == len(model.validation_scores_) == model.n_iter_
            network = model.network_
            X_val, y_val = model._scaled(POINTS[rows]), model._scaled_targets(targets[rows])
            assert network.evaluate(X_val, y_val, sample_weight=weight) == losses.min()
            score = model.best_validation_score_
            assert np.isnan(score) if len(rows) == 1 else score in (0, 1)       # as scikit-learn scores constants


def test_the_loss_decides_where_all_rows_are_of_one_class():
    """The first epoch has all of them right, and would be the best for ever."""
    rows = np.random.default_rng(0).normal(size=(400, 2))
    classes = (rows[:, 0] > 0.3).astype(int)
    for held_out, weight in (([rows[:, 0].argmin()], None), (np.argsort(rows[:, 0])[:9], None),
                             (np.argsort(rows[:, 0])[[0, -1]], [1, 0])):
        for kind in (np.int64, bool, str):
            model = MLPClassifier(**QUICK).fit(rows, classes.astype(kind), X_val=rows[held_out],
                                               y_val=classes.astype(kind)[held_out], sample_weight_val=weight)
            assert set(model.validation_scores_) == {1} and model.n_iter_ > 15
            assert model.score(rows, classes.astype(kind)) > 0.97


@pytest.mark.parametrize("dtype", ["u1", "?", "f4", object])
def test_early_stopping_by_targets_of_any_dtype(dtype):
    """Differences of unsigned numbers and of booleans are no numbers."""
    targets = (POINTS[:, 0] > 0).astype(dtype)
    model, twin = (MLPRegressor(**QUICK).fit(POINTS, each) for each in (targets, targets.astype(float)))
    np.testing.assert_array_equal(model.validation_scores_, twin.validation_scores_)


def test_a_constant_column_does_not_outweigh_the_others_score():
    """Three times 0.1 deviates from its own mean by rounding, and R squared would be -1e33."""
    rows = [3, 50, 190]
    targets = np.column_stack([SLOPE, np.full(200, 0.1)])
    model = MLPRegressor(**QUICK).fit(POINTS, targets, validation_data=(POINTS[rows], targets[rows]))
    assert min(model.validation_scores_) > -5 and max(model.validation_scores_) < 1


def test_early_stopping_with_a_constant_target():
    model = MLPRegressor(**QUICK).fit(POINTS, np.full(200, 5.0))
    assert model.n_iter_ > 20
    np.testing.assert_allclose(model.predict(POINTS), 5, atol=1)


def test_no_finite_score_leaves_the_last_parameters_with_a_warning():
    """exp overflows for the rows to validate with, and for them alone."""
    model = MLPRegressor("poisson", (), random_state=0, max_iter=5, early_stopping=True, learning_rate_init=0.1)
    far = np.array([[1e6], [-1e6]])
    with pytest.warns(ConvergenceWarning, match="found no epoch whose validation score is finite") as caught:
        model.fit(POINTS + 2, np.exp(POINTS[:, 0]), validation_data=(far, [1.0, 2.0]))
    assert {warning.filename for warning in caught} == {__file__}
    plain = MLPRegressor("poisson", (), random_state=0, max_iter=5, learning_rate_init=0.1)
    plain.fit(POINTS + 2, np.exp(POINTS[:, 0]), validation_data=(far, [1.0, 2.0]))
    np.testing.assert_array_equal(model.coefs_[0], plain.coefs_[0])


@pytest.mark.parametrize("early_stopping", [False, True])
def test_a_warm_start_on_other_rows_learns_them(early_stopping):
    """What the rows of the fit before were scored does not count: the concept is turned round, or the scale."""
    rows = np.random.default_rng(0).normal(size=(400, 2))
    classes = (rows[:, 0] > 0).astype(int)
    model = MLPClassifier(**QUICK | {"early_stopping": early_stopping}, warm_start=True).fit(rows, classes)
    assert model.score(rows, classes) > 0.95
    assert model.fit(rows, 1 - classes).score(rows, 1 - classes) > 0.95
    model = MLPRegressor(**QUICK | {"early_stopping": early_stopping}, warm_start=True).fit(POINTS, 0 * SLOPE)
    assert model.fit(POINTS, SLOPE).score(POINTS, SLOPE) > 0.9


def test_a_warm_start_keeps_the_present_parameters_if_no_others_are_better():
    model = MLPClassifier(**SMALL | {"max_iter": 100}, early_stopping=True, warm_start=True)
    model.fit(X[:200], Y[:200], validation_data=(X[200:], Y[200:]))
    before, score = model.network_.get_parameters(), model.best_validation_score_
    model.set_params(solver=fastnn.SGD(1e-12)).fit(X[:200], Y[:200], validation_data=(X[200:], Y[200:]))
    np.testing.assert_array_equal(model.network_.get_parameters(), before)
    assert model.best_validation_score_ == score == model.score(X[200:], Y[200:])


def test_a_first_epoch_that_diverges_leaves_no_untrained_model():
    for settings in ({}, {"early_stopping": True}):
        model = MLPRegressor(solver=fastnn.SGD(1e300), random_state=0, batch_size=20, **settings)
        with pytest.raises(ValueError, match="Solver produced non-finite parameter weights"):
            model.fit(XR, YR)
        assert not hasattr(model, "coefs_")
    model = MLPRegressor(**SMALL, early_stopping=True, warm_start=True).fit(XR, YR)
    before = model.network_.get_parameters()
    with pytest.warns(ConvergenceWarning, match="training ended early"):
        model.set_params(solver=fastnn.SGD(1e300), batch_size=20).fit(XR, YR)
    np.testing.assert_array_equal(model.network_.get_parameters(), before)
