"""Standardising: what scikit-learn's StandardScaler computes, and networks with it inside."""

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

import fastnn
from fastnn.scaling import Scaling, folded

pytestmark = pytest.mark.any_isa
RNG = np.random.default_rng(0)
COLUMNS = RNG.normal(size=(50, 4)) * [1, 1e3, 1e-3, 0] + [0, 5e4, 3, 7.0]     # the last one is constant
Y = RNG.normal(size=(50, 2)) * 30 - 200


@pytest.mark.parametrize("weights", [None, RNG.uniform(0, 2, 50)])
def test_it_is_scikit_learns(weights):
    theirs = StandardScaler().fit(COLUMNS, sample_weight=weights)
    scaling = Scaling.of(COLUMNS, weights)
    np.testing.assert_allclose(scaling.mean, theirs.mean_, rtol=1e-12)
    np.testing.assert_allclose(scaling.scale, theirs.scale_, rtol=1e-12)
    np.testing.assert_allclose(scaling.apply(COLUMNS)[:, :3], theirs.transform(COLUMNS)[:, :3], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(scaling.undo(scaling.apply(COLUMNS)), COLUMNS, rtol=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("rows", [50, 1000, 10_000])
def test_a_constant_column_is_one_at_any_number_of_rows(rows, weighted):
    """The sums are rounded more often the more rows there are, and the deviation that is left must not count."""
    values = np.concatenate([np.arange(-100, 101) / 100, [1e-3, 12.34, 1e5 + 0.1]])
    columns = np.tile(values, (rows, 1))
    weights = np.random.default_rng(1).uniform(0.5, 2, rows) if weighted else None
    scaling = Scaling.of(columns, weights)
    np.testing.assert_array_equal(scaling.scale, 1)
    np.testing.assert_array_equal(StandardScaler().fit(columns, sample_weight=weights).scale_, 1)
    np.testing.assert_allclose(scaling.apply(values + 0.01), 0.01, atol=1e-5)
    columns[::2] *= 1 + 1e-9        # little is not nothing
    assert (Scaling.of(columns, weights).scale[values != 0] != 1).all()


@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-3), ("float64", 1e-10)])
@pytest.mark.parametrize("sizes", [[4, 2], [4, 9, 2]])
def test_a_folded_network_computes_the_same(sizes, dtype, tolerance):
    network = fastnn.Network(sizes, activation="tanh", dtype=dtype, seed=3)
    inputs, targets = Scaling.of(COLUMNS), Scaling.of(Y)
    expected = targets.undo(network.predict(inputs.apply(COLUMNS)))
    np.testing.assert_allclose(folded(network, inputs, targets).predict(COLUMNS), expected, rtol=tolerance)
    np.testing.assert_allclose(folded(network, inputs).predict(COLUMNS), network.predict(inputs.apply(COLUMNS)),
                               rtol=tolerance, atol=tolerance)
    same = folded(network)
    assert same is not network and np.array_equal(same.get_parameters(), network.get_parameters())


def test_a_column_far_from_zero_makes_a_folded_network_float64():
    rows = RNG.normal(size=(50, 4)) * 30 + [0, 0, 1.7e9, 0]
    network, scaling = fastnn.Network([4, 9, 2], seed=3), Scaling.of(rows)
    result = folded(network, scaling)
    assert (network.dtype, result.dtype) == ("float32", "float64")
    np.testing.assert_allclose(result.predict(rows), network.predict(scaling.apply(rows)), atol=1e-5)


@pytest.mark.parametrize("size", [1e-100, 1e-45, 1e-38, 1e-25, 1.0, 1e25, 1e36, 1e38, 1e100])
@pytest.mark.parametrize("side", ["inputs", "targets"])
def test_a_folded_network_holds_numbers_of_any_size(side, size):
    """float32 where that has room for them, for their weights and for ten deviations more; else float64."""
    columns = RNG.normal(size=(50, 2)) * size
    network, scaling = fastnn.Network([2, 9, 2], activation="tanh", seed=3), Scaling.of(columns)
    result = folded(network, **{side: scaling})
    assert result.dtype == ("float32" if 1e-30 < size < 1e30 else "float64")
    rows = RNG.normal(size=(50, 2)) * 10
    if side == "inputs":
        found, expected = result.predict(scaling.undo(rows)), network.predict(rows)
    else:
        found, expected = result.predict(rows) / size, scaling.undo(network.predict(rows)) / size
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("inputs, targets, layer", [(1e-150, 1e160, 0), (1e-309, 1.0, 0), (1.0, 1.7e308, 0)])
def test_a_folded_network_without_finite_numbers_is_refused(inputs, targets, layer):
    network = fastnn.Network([1, 1], seed=3)
    network.weights[0][...] = 3
    scalings = [Scaling(np.zeros(1), np.array([scale])) for scale in (inputs, targets)]
    with pytest.raises(ValueError, match=f"layer {layer} would hold numbers beyond float64 with the scalings"):
        folded(network, *scalings)


def test_numbers_too_large_are_refused():
    with pytest.raises(ValueError, match="column 1 holds numbers that are too large to be standardised"):
        Scaling.of([[1.0, 1e308], [2.0, -1e308]])


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("offset, size", [
    (0, 1e-310), (0, 1e-200), (0, 1e200), (0, 1e307), (1e-200, 1e-203), (1e300, 1e290), (1.7e18, 1e5), (2.0**60, 1e6)])
def test_columns_of_any_offset_and_size_are_standardised(offset, size, weighted):
    """Squares are neither lost nor infinite, and the digits of a mean far from 0 are kept."""
    columns = offset + size * RNG.normal(size=(20_000, 1))
    scaling = Scaling.of(columns, np.ones(len(columns)) if weighted else None)
    standardised = scaling.apply(columns)
    assert abs(standardised.mean()) < 2e-3 and abs(standardised.std() - 1) < 1e-3
    assert np.abs(scaling.undo(standardised) - columns).max() <= 1e-3 * size


@pytest.mark.parametrize("value", [1.7e18, 1e17 / 3, -(2.0**70) / 3, 1e300, 1e-310])
@pytest.mark.parametrize("rows", [1, 3, 5000])
def test_a_constant_column_is_zero_when_standardised(value, rows):
    """The mean of equal numbers is that number, however large it is and however many there are."""
    columns = np.full((rows, 1), value)
    scaling = Scaling.of(columns)
    assert scaling.scale == 1 and not scaling.apply(columns).any()


def test_rows_without_weight_do_not_count():
    """Also those that lie as far away as numbers can."""
    columns = np.array([[1e300, np.nan], [1.0, 2.0], [3.0, 2.0]])
    scaling = Scaling.of(columns, np.array([0.0, 1.0, 1.0]))
    np.testing.assert_array_equal([scaling.mean, scaling.scale], [[2, 2], [1, 1]])


@pytest.mark.parametrize("wrong", [COLUMNS[:, :1], COLUMNS[:, :3], COLUMNS[:, 0], 3.0])
def test_another_number_of_columns_is_refused(wrong):
    for call in (Scaling.of(COLUMNS).apply, Scaling.of(COLUMNS).undo):
        with pytest.raises(ValueError, match=r"columns has shape \(.*\), but the scaling is that of 4 columns"):
            call(wrong)


def test_targets_are_scaled_after_identity_alone():
    with pytest.raises(ValueError, match="the output is 'softmax', but targets are scaled back only after 'identity'"):
        folded(fastnn.Network([4, 2], output="softmax"), None, Scaling.of(Y))
