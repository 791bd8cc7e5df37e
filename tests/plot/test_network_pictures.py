"""Pictures of networks: the graph and its values, images of weights, and the records of a Watch."""

import numpy as np
import pytest
from pictures import classifier, data, legend, recorded

import fastnn
from fastnn import plot

matplotlib = pytest.importorskip("matplotlib", reason="NOT TESTED: matplotlib is not installed")
matplotlib.use("agg")
from matplotlib import pyplot  # noqa: E402
from matplotlib.colors import to_rgb  # noqa: E402

pytestmark = pytest.mark.any_isa


# The graph


def texts(ax):
    return [text.get_text() for text in ax.texts]


def luminance(color):
    return np.dot(to_rgb(color), [0.3, 0.6, 0.1])


def test_graph():
    network = fastnn.Network([2, 3, 1], activation="tanh", output="sigmoid")
    ax = plot.graph(network)
    lines, units = ax.collections
    weights = np.concatenate([layer.ravel() for layer in network.weights])
    np.testing.assert_array_equal(lines.get_array(), weights.astype(np.float64))
    assert len(units.get_offsets()) == 6 and len(lines.get_segments()) == 9
    dashed = [dashes is not None for _, dashes in lines.get_linestyles()]
    assert dashed == (weights < 0).tolist() and any(dashed) and not all(dashed)
    assert np.argmax(lines.get_linewidths()) == np.argmax(np.abs(weights))
    most = np.abs(weights).max().astype(np.float64)
    assert lines.get_clim() == (-most, most)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["inputs\n2", "tanh\n3", "sigmoid\n1"]
    starts = [segment[0].tolist() for segment in lines.get_segments()]      # in the order of the weights
    assert starts[0] == starts[2] == units.get_offsets()[0].tolist() and starts[8] == units.get_offsets()[4].tolist()
    network.set_parameters(np.zeros(network.n_parameters))
    lines, _ = plot.graph(network).collections
    assert lines.get_clim() == (-1, 1) and np.all(lines.get_linewidths() == np.float64(0.8))


@pytest.mark.parametrize("style", ["default", "dark_background"])
def test_a_small_weight_is_seen_and_its_sign_is_read(style):
    network = fastnn.Network([1, 3], dtype="float64")
    network.weights[0][...] = [[1e-6, -1e-6, 5.0]]
    with pyplot.style.context(style):
        ax = plot.graph(network)
        lines = ax.collections[0]
        above, below, large = lines.to_rgba(lines.get_array())[:, :3]
        ground = to_rgb(ax.get_facecolor())
    assert above[2] - above[0] > 0.2 and below[0] - below[2] > 0.2          # blue and vermillion
    assert min(abs(luminance(color) - luminance(ground)) for color in (above, below)) > 0.15
    assert min(lines.get_linewidths()) >= 0.8
    assert abs(luminance(large) - luminance(ground)) > abs(luminance(above) - luminance(ground))


def two_neurons():
    network = fastnn.Network([1, 1, 1], activation="sigmoid", output="sigmoid", loss="mse", dtype="float64")
    network.set_parameters([0.15, 0.4, -0.45, 0.65])
    return network


def test_graph_with_weights_and_biases():
    ax = plot.graph(two_neurons(), values=True)
    assert texts(ax) == ["0.15", "\N{MINUS SIGN}0.45", "bias 0.4", "bias 0.65"]
    assert len(ax.figure.axes) == 1         # numbers need no colour bar


@pytest.mark.parametrize("row", [[0.1], np.array([0.1], np.float32), (0.1,)])
def test_graph_with_outputs_for_a_row(row):
    network = two_neurons()
    ax = plot.graph(network, values=row)
    hidden, output = (layer.item() for layer in network.layer_outputs([[0.1]])[1:])
    assert texts(ax)[4:] == ["0.1", f"{hidden:.3f}", f"{output:.3f}"]
    assert texts(ax)[:2] == ["0.15", "\N{MINUS SIGN}0.45"]


@pytest.mark.parametrize("value, text", [
    (0, "0"), (1, "1"), (-0.5004, "\N{MINUS SIGN}0.5"), (0.0123, "0.012"), (0.00042, "0.0004"), (-3e-12, "-3e-12"),
    (12.345, "12.3"), (1234.5, "1.23e+03"), (9.9999, "10"),
])
def test_numbers_of_a_graph_are_short(value, text):
    network = fastnn.Network([1, 1], dtype="float64")
    network.set_parameters([value, 0])
    assert texts(plot.graph(network, values=True))[0] == text.replace("-", "\N{MINUS SIGN}")


@pytest.mark.parametrize("sizes", [[1, 1, 1], [2, 3, 1], [2, 4, 1], [3, 2, 4], [2, 4, 2, 1]])
def test_no_two_numbers_of_a_graph_meet(sizes):
    _, ax = pyplot.subplots(figsize=(max(6.4, 3 * len(sizes) - 3), 3.4), layout="constrained")
    network = fastnn.Network(sizes, activation="tanh", seed=0)
    network.set_parameters(-0.123 - network.get_parameters())
    plot.graph(network, values=np.full(sizes[0], -0.123), ax=ax)
    ax.figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in ax.texts]
    assert len(boxes) == network.n_parameters + sum(sizes)
    assert not [(i, j) for j in range(len(boxes)) for i in range(j) if boxes[i].overlaps(boxes[j])]


# Images of weights


def test_weights():
    network = fastnn.Network([6, 5, 3], activation="tanh")
    axes = plot.weights(network, (2, 3), units=4)
    assert axes.shape == (4,)
    most = np.abs(network.weights[0][:, :4]).max()
    for unit, ax in enumerate(axes):
        image, = ax.images
        np.testing.assert_array_equal(image.get_array(), network.weights[0][:, unit].reshape(2, 3))
        assert image.get_clim() == (-most, most) and ax.get_title() == f"unit {unit + 1}"
        assert image.cmap(0.5)[:3] == pytest.approx((1, 1, 1), abs=0.02)
    above, below = (axes[0].images[0].cmap(value) for value in (1.0, 0.0))
    assert above[2] > above[0] and below[0] > below[2]          # blue above 0, as in a graph
    assert len(axes[0].figure.axes) == 5                        # with the colour bar


def test_weights_of_another_layer_in_axes_of_ones_own():
    network = classifier(3)
    _, mine = pyplot.subplots(1, 3)
    axes = plot.weights(network, shape=(4, 2), layer=1, axes=mine)
    assert list(axes) == list(mine)
    np.testing.assert_array_equal(axes[2].images[0].get_array().ravel(), network.weights[1][:, 2])


def test_weights_that_are_all_zero_are_white():
    network = fastnn.Network([4, 2])
    network.weights[0][...] = 0
    image = plot.weights(network, (2, 2))[0].images[0]
    assert image.get_clim() == (-1, 1)


# Records of a Watch


@pytest.mark.parametrize("what, scale", [
    ("gradient_norms", "log"), ("update_ratios", "log"), ("saturated", "linear"), ("dead", "linear")])
def test_watch(what, scale):
    watch = recorded()
    ax = plot.watch(watch, what)
    assert legend(ax) == ["layer 1", "layer 2", "layer 3"]
    for layer, line in enumerate(ax.lines):
        epochs, values = data(line)
        assert epochs.tolist() == watch.epochs == [1, 2, 3, 4]
        assert values.tolist() == [record[layer] for record in getattr(watch, what)]
    assert ax.get_yscale() == scale and ax.get_xlabel() == "epoch" and ax.get_ylabel()
    assert len({line.get_color() for line in ax.lines}) == len({line.get_marker() for line in ax.lines}) == 3


def test_watch_shows_gradient_norms_unless_told():
    watch = recorded()
    assert data(plot.watch(watch).lines[0])[1].tolist() == [norms[0] for norms in watch.gradient_norms]
