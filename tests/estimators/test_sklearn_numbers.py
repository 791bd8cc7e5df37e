"""The numbers of the estimators: which dtype they compute in, predicted numbers, probabilities and their logarithms."""

import numpy as np
import pandas
import pytest
import scipy.sparse
import sklearn
import sklearn.neural_network
from estimator_data import SMALL, XR, YR, X, Y
from sklearn.compose import TransformedTargetRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fastnn.sklearn
from fastnn.sklearn import MLPClassifier, MLPRegressor

pytestmark = [pytest.mark.any_isa, pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")]


# Numbers that float32 does not hold.

SECONDS = 1.7e9 + 10 * np.arange(100)
LINE = np.arange(100)[:, None]


@pytest.mark.parametrize("targets", [SECONDS, SECONDS.astype(int), 1e39 * np.arange(100), 1e-42 * np.arange(100),
                                     np.column_stack([SECONDS, np.arange(100)])], ids=range(5))
@pytest.mark.parametrize("dtype", [None, "float32"])
def test_predicted_numbers_keep_the_digits_of_the_targets(dtype, targets):
    """As TransformedTargetRegressor gives them, beside their deviation; in the network that leaves, too."""
    arguments = {"hidden_layer_sizes": 16, "solver": "lbfgs", "max_iter": 200, "random_state": 0}
    model = MLPRegressor(**arguments, standardize=True, dtype=dtype).fit(LINE, targets)
    assert model.network_.dtype == "float32" and model.predict(LINE).dtype == "float64"
    theirs = make_pipeline(StandardScaler(), sklearn.neural_network.MLPRegressor(**arguments))
    theirs = TransformedTargetRegressor(theirs, transformer=StandardScaler()).fit(LINE, targets)
    deviation = targets.std(axis=0)
    ours, others = (np.abs(each.predict(LINE) - targets).max(axis=0) / deviation for each in (model, theirs))
    assert (ours < 2 * others + 1e-3).all()
    assert len(set(model.predict(LINE).ravel())) == targets.size
    network = model.to_network()
    assert network.dtype == "float64"
    left = network.predict(LINE).reshape(targets.shape) - model.predict(LINE)
    assert (np.abs(left).max(axis=0) < 1e-5 * deviation).all()
    assert model.score(LINE, targets / 1e30 * 1e30) > 0.99 or deviation.max() > 1e30 or deviation.max() < 1e-30


@pytest.mark.parametrize("rows, dtype", [
    (1_700_000_000 + LINE, "float64"), ((1_700_000_000 + LINE).tolist(), "float64"),
    ((1.7e9 + LINE).tolist(), "float64"), (scipy.sparse.csr_array(1_700_000_000 + LINE), "float64"),
    (1_700_000_000 + LINE[:1], "float64"),
    (LINE.astype("u8") << 40, "float64"), ((1e37 * LINE).tolist(), "float64"), ((1e-41 * LINE).tolist(), "float64"),
    (LINE, "float32"), (LINE.tolist(), "float32"), (2**24 - LINE, "float32"), (1000 + LINE / 7, "float64"),
    ((1000 + LINE / 7).tolist(), "float32"), ((1.7e9 + 1024 * LINE).astype("float32"), "float32"),
], ids=range(14))
def test_rows_that_float32_would_not_tell_apart_make_a_float64_network(rows, dtype):
    """Where no dtype is asked for; standardised rows are near 0, and float32 holds them."""
    targets = np.arange(len(LINE))[:rows.shape[0] if hasattr(rows, "shape") else None] / 50
    for kind in (MLPClassifier, MLPRegressor):
        y = targets if kind is MLPRegressor else np.arange(len(targets)) % 2
        assert kind(max_iter=1).fit(rows, y, validation_data=(rows, y)).network_.dtype == dtype
    assert MLPRegressor(max_iter=1).partial_fit(rows, targets).network_.dtype == dtype
    if len(targets) > 1 and not (hasattr(rows, "dtype") and rows.dtype == "float64"):
        assert MLPRegressor(max_iter=1, standardize=True).fit(rows, targets).network_.dtype == "float32"


def test_targets_that_float32_would_not_tell_apart_make_a_float64_network():
    for targets in (SECONDS, SECONDS.astype(int), 1e39 * np.arange(100), np.column_stack([np.arange(100), SECONDS])):
        assert MLPRegressor(max_iter=1).fit(LINE, targets).network_.dtype == "float64"
        assert MLPRegressor(max_iter=1, standardize=True).fit(LINE, targets).network_.dtype == "float32"
    assert MLPRegressor(max_iter=1).fit(LINE, np.arange(100.0)).network_.dtype == "float32"
    assert MLPClassifier(max_iter=1).fit(LINE, SECONDS.astype(int) % 2 + 10**10).network_.dtype == "float32"


@pytest.mark.parametrize("dtype, network", [
    (">f8", "float64"), (np.longdouble, "float64"), ("<f8", "float64"), (">f4", "float32"), ("f2", "float32"),
    (">f2", "float32"), ("i1", "float32"), ("?", "float32"), (object, "float64")])
def test_the_dtype_of_any_float_decides(dtype, network):
    """float64 and wider, in either order of bytes, make float64; narrower floats float32."""
    rows = np.round(XR, 1).astype(dtype)
    containers = [lambda rows: rows, pandas.DataFrame, np.asfortranarray]
    if dtype not in (">f8", ">f4", "f2", ">f2", object):     # SciPy has no such matrices
        containers.append(scipy.sparse.csr_array)
    for container in containers:
        model = MLPRegressor(max_iter=2, random_state=0).fit(container(rows), YR)
        assert model.network_.dtype == model.predict(container(rows)).dtype == network
        plain = rows.astype(network)
        twin = MLPRegressor(max_iter=2, random_state=0).fit(plain, YR)
        np.testing.assert_array_equal(model.predict(container(rows)), twin.predict(plain))


def test_a_frame_of_categories_that_are_numbers():
    frame = pandas.DataFrame(XR.round()).astype("category")
    model, twin = (MLPRegressor(max_iter=2, random_state=0).fit(rows, YR) for rows in (frame, XR.round()))
    np.testing.assert_array_equal(model.predict(frame), twin.predict(XR.round()))


# Probabilities and their logarithms.

def exact_logarithms(z):
    """Log-softmax of float64 z in long double."""
    z = np.sort(z.astype(np.longdouble), axis=1) - z.max(axis=1, keepdims=True), z - z.max(axis=1, keepdims=True)
    return z[1] - np.log1p(np.exp(z[0][:, :-1]).sum(axis=1, keepdims=True))


@pytest.mark.parametrize("dtype, size", [("float32", 60), ("float32", 1e4), ("float64", 500), ("float64", 1e4)])
def test_logarithms_of_probabilities_have_all_their_digits(dtype, size):
    """Of two classes, of many, and of labels: also where the probability is 0, or 1, in the network's dtype."""
    rows = np.linspace(-size, size, 401, dtype=dtype)[:, None]
    z = rows.astype(np.float64)
    for targets, exact in ((np.arange(401) % 2, np.hstack([z, np.zeros_like(z)])),
                           (np.arange(401) % 3, np.hstack([-z, z, z / 3]))):
        model = MLPClassifier((), max_iter=1, dtype=dtype).fit(rows / size, targets)
        model.coefs_ = [exact[-1:, -model.n_outputs_:] / size if model.n_outputs_ > 1 else -np.ones((1, 1))]
        model.intercepts_ = [np.zeros(model.n_outputs_)]
        found, right = model.predict_log_proba(rows), exact_logarithms(exact)
        assert found.dtype == dtype and np.isfinite(found).all()
        # z is rounded, which the logarithm of a probability near 1 multiplies by z
        tolerance = 4 * np.finfo(dtype).eps * np.where(right < -0.1, 1, size)
        assert (np.abs(found - right) <= tolerance * np.abs(right) + np.finfo(dtype).tiny).all()
        np.testing.assert_array_equal(found, model.predict_log_proba(scipy.sparse.csr_array(rows)))
        probabilities = model.predict_proba(rows)
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=4 * np.finfo(dtype).eps)
        np.testing.assert_allclose(probabilities, np.exp(right).astype(np.float64), atol=np.finfo(dtype).tiny * 4,
                                   rtol=size * 4 * np.finfo(dtype).eps)
        np.testing.assert_array_equal(model.predict(rows), probabilities.argmax(axis=1))
    model = MLPClassifier((), max_iter=1, dtype=dtype).fit(rows / size, np.column_stack([targets > 0, targets > 1]))
    model.coefs_, model.intercepts_ = [np.array([[1.0, -1.0]])], [np.zeros(2)]
    found, right = model.predict_log_proba(rows), exact_logarithms(np.hstack([z, np.zeros_like(z)]))
    np.testing.assert_allclose(found[:, 0], right[:, 0].astype(np.float64), rtol=4e-7 if dtype == "float32" else 1e-15,
                               atol=np.finfo(dtype).eps)
    np.testing.assert_array_equal(found[:, 0], found[::-1, 1])


def test_two_classes_are_predicted_as_their_probabilities_say():
    """Around a probability of a half, where 1 - p and sigmoid(-z) round to different sides."""
    for dtype in ("float32", "float64"):
        z = np.finfo(dtype).eps * np.linspace(-4, 4, 2001).astype(dtype)
        rows = np.concatenate([z, np.linspace(-1e-3, 1e-3, 2001, dtype=dtype)])[:, None]
        model = MLPClassifier((), max_iter=1, dtype=dtype).fit(rows, np.arange(len(rows)) % 2)
        model.coefs_, model.intercepts_ = [np.ones((1, 1))], [np.zeros(1)]
        probabilities = model.predict_proba(rows)
        np.testing.assert_array_equal(model.predict(rows), probabilities.argmax(axis=1))
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=np.finfo(dtype).eps)
        np.testing.assert_array_equal(probabilities[:, 1:], model.to_network().predict(rows))


def test_logarithms_are_taken_some_rows_at_a_time(monkeypatch):
    for targets in (Y, Y > 4):
        model = MLPClassifier(**SMALL).fit(X, targets)
        whole = model.predict_log_proba(X), model.predict_proba(X)
        np.testing.assert_array_equal(whole[0].argmax(axis=1), whole[1].argmax(axis=1))
        np.testing.assert_allclose(np.exp(whole[0]), whole[1], rtol=1e-12)
        for module in (fastnn.sklearn.outputs, fastnn.sklearn.multilayer):
            monkeypatch.setattr(module, "CHUNK_BYTES", 86 * 8 * 7)
        np.testing.assert_array_equal(model.predict_log_proba(X), whole[0])
        np.testing.assert_array_equal(model.predict_proba(X), whole[1])
        monkeypatch.undo()
        with pytest.raises(ValueError, match=r"Found array with 0 sample\(s\)"):
            model.predict_log_proba(X[:0])


def test_dtypes():
    assert MLPClassifier(**SMALL).fit((X * 16).astype(int), Y).network_.dtype == "float32"
    assert MLPClassifier(**SMALL).fit((X * 16).tolist(), Y).network_.dtype == "float32"
    assert MLPClassifier(**SMALL).fit(X, Y).network_.dtype == "float64"
    assert MLPClassifier(**SMALL, dtype="float32").fit(X, Y).predict_proba(X).dtype == "float32"
    assert MLPRegressor(**SMALL, dtype="float64").fit(XR.astype("float32"), YR).predict(XR).dtype == "float64"
