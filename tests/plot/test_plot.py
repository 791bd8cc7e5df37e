"""Pictures: what is drawn are the numbers that a Network gives, and nothing else changes.

The picture that is drawn while a network trains is in test_live_plot.py. Graphs, images of weights and records of a
Watch are in test_network_pictures.py.
"""

import subprocess
import sys

import numpy as np
import pytest
from pictures import X, Y, classifier, data, history, labelled, legend, one_weight, recorded

import fastnn
from fastnn import activations, plot

matplotlib = pytest.importorskip("matplotlib", reason="NOT TESTED: matplotlib is not installed")
matplotlib.use("agg")
from matplotlib import pyplot  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

from fastnn.plot.style import look  # noqa: E402

pytestmark = pytest.mark.any_isa
RNG = np.random.default_rng(0)
POINTS = RNG.normal(size=(60, 2))
CORNERS = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]])


# Every picture


SIMPLE = one_weight()
CLASSES = classifier()
PICTURES = {
    "cost_curve": lambda ax: plot.cost_curve(SIMPLE, X, Y, path=[0, 1.5], ax=ax),
    "fitted_lines": lambda ax: plot.fitted_lines(X, Y, [(0, 0), SIMPLE], ax=ax),
    "learning_rates": lambda ax: plot.learning_rates(SIMPLE, X, Y, [0.1, 0.9], epochs=3, ax=ax),
    "activation": lambda ax: plot.activation("tanh", ax=ax),
    "gradient_norms": lambda ax: plot.gradient_norms([1e-3, 0.1], ax=ax),
    "vanishing_gradients": lambda ax: plot.vanishing_gradients([2, 3], ["tanh"], width=4, ax=ax),
    "loss_curves": lambda ax: plot.loss_curves(history([3, 2, 1], [3, 1, 2]), ax=ax),
    "decision_boundary": lambda ax: plot.decision_boundary(
        CLASSES, POINTS, np.arange(60) % 3, resolution=20, ax=ax),
    "graph": lambda ax: plot.graph(CLASSES, ax=ax),
    "confusion_matrix": lambda ax: plot.confusion_matrix([0, 1, 1], [0, 1, 0], ax=ax),
    "activation_histograms": lambda ax: plot.activation_histograms(
        SIMPLE, X, axes=None if ax is None else [ax])[0],
    "weights": lambda ax: plot.weights(CLASSES, (2, 1), units=1, axes=None if ax is None else [ax])[0],
    "watch": lambda ax: plot.watch(recorded(), ax=ax),
}


def test_every_function_is_here():
    assert {*PICTURES, "LivePlot"} == set(plot.__all__)


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_drawn_where_it_should_be_and_nothing_else_changes(name, monkeypatch):
    monkeypatch.setattr(pyplot, "show", lambda *_, **__: pytest.fail("show was called"))
    settings, backend = dict(matplotlib.rcParams), matplotlib.get_backend()
    before = [network.get_parameters().tobytes() for network in (SIMPLE, CLASSES)]
    figure = Figure()                       # not pyplot's: works without a display and a manager
    ax = figure.add_subplot()
    assert PICTURES[name](ax) is ax
    assert not pyplot.get_fignums()
    figure.savefig("/dev/null", format="png")
    new = PICTURES[name](None)
    assert new is not ax and pyplot.get_fignums() == [new.figure.number]
    assert [network.get_parameters().tobytes() for network in (SIMPLE, CLASSES)] == before
    assert all(network.epochs_trained == 0 and network.optimizer is None for network in (SIMPLE, CLASSES))
    assert dict(matplotlib.rcParams) == settings and matplotlib.get_backend() == backend
    if name not in ("graph", "weights"):    # which have no scales
        assert ax.get_xlabel() and ax.get_ylabel()


@pytest.mark.parametrize("name", sorted(set(PICTURES) - {"activation_histograms", "weights"}))
def test_axes_of_another_kind_are_refused(name):
    with pytest.raises(TypeError, match="ax is a Figure, but must be matplotlib Axes, or None for a new figure"):
        PICTURES[name](Figure())
    assert not pyplot.get_fignums()


NETWORKS = {
    "cost_curve": lambda network: plot.cost_curve(network, X, Y),
    "fitted_lines": lambda network: plot.fitted_lines(X, Y, [network]),
    "learning_rates": lambda network: plot.learning_rates(network, X, Y, [0.1]),
    "activation_histograms": lambda network: plot.activation_histograms(network, X),
    "graph": plot.graph,
    "weights": lambda network: plot.weights(network, (1, 1)),
    "decision_boundary": lambda network: plot.decision_boundary(network, POINTS, np.arange(60) % 2),
}


@pytest.mark.parametrize("network", [None, "x", [1]])
@pytest.mark.parametrize("name", sorted(set(NETWORKS) - {"fitted_lines"}))
def test_what_is_no_network_is_refused(name, network):
    with pytest.raises(TypeError, match=f"network is a {type(network).__name__}, but must be a fastnn.Network"):
        NETWORKS[name](network)
    assert not pyplot.get_fignums()


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_that_is_not_finite_has_no_picture(name, value):
    network = classifier(1) if name == "decision_boundary" else one_weight()
    network.weights[0][0, 0] = value
    with pytest.raises(ValueError, match="weights or biases hold NaN or infinity, but must be finite; set them before"):
        NETWORKS[name](network)
    assert not pyplot.get_fignums()


def test_axes_are_checked_before_a_long_calculation(monkeypatch):
    for name in ("evaluate", "fit", "gradients"):
        monkeypatch.setattr(fastnn.Network, name, lambda *_, **__: pytest.fail("it has been calculated"))
    for name in ("cost_curve", "learning_rates", "vanishing_gradients"):
        with pytest.raises(TypeError, match="ax is a int"):
            PICTURES[name](3)


def test_matplotlib_is_imported_when_it_is_used():
    run = subprocess.run([sys.executable, "-c", "import sys, fastnn.plot; print('matplotlib' in sys.modules)"],
                         capture_output=True, text=True, check=False)
    assert run.stdout == "False\n", run.stderr


@pytest.mark.parametrize("draw", [*(lambda name=name: PICTURES[name](None) for name in PICTURES), plot.LivePlot])
def test_without_matplotlib_the_error_says_how_to_get_it(draw, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"needs matplotlib, which .*: pip install 'matplotlib>=3.8'"):
        draw()


# Gradient descent


def test_cost_curve():
    path = [0, 3.5, 0.875]
    ax = plot.cost_curve(one_weight(), X, Y, path=path)
    curve, descent, *dots = ax.lines
    weights, losses = data(curve)
    np.testing.assert_allclose(losses, 2.5 * (weights - 2) ** 2, rtol=1e-12)
    assert weights.min() < 0 and weights.max() > 3.5
    assert data(descent)[0].tolist() == path and descent.get_linestyle() == "--"
    np.testing.assert_allclose(data(descent)[1], 2.5 * (np.array(path) - 2) ** 2)
    assert [data(dot)[0].item() for dot in dots] == path and {dot.get_marker() for dot in dots} == {"o"}
    assert [dot.get_markerfacecolor() == "none" for dot in dots] == [True, False, False]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("weight w", "mean loss (mse)")
    assert legend(ax) == ["mean loss", "start", "iteration 2"]


def test_the_dots_of_a_descent_have_the_colours_of_its_lines():
    path = [0, 0.8, 1.28, 1.568, 1.7408]
    _, (left, right) = pyplot.subplots(1, 2)
    _, _, *dots = plot.cost_curve(one_weight(), X, Y, path=path, ax=left).lines
    *lines, _ = plot.fitted_lines(X, Y, [(slope, 0) for slope in path], ax=right).lines
    assert [dot.get_color() for dot in dots] == [line.get_color() for line in lines]
    assert len({line.get_color() for line in lines}) == 5
    assert legend(left)[1:] == legend(right)[:-1] == ["start", "iteration 4"]


@pytest.mark.parametrize("path", [[0, 0.8, 1.28, 1.568, 1.7408], [4, 2.9], None, [0, 2], [2.0]])
def test_cost_curve_shows_the_bottom_of_a_valley_and_both_slopes(path):
    weights, losses = data(plot.cost_curve(one_weight(), X, Y, path=path).lines[0])
    assert weights[0] < 2 < weights[-1]
    assert min(losses[0], losses[-1]) > 0.2 * max(losses[0], losses[-1]) > 10 * losses.min()


def test_cost_curve_does_not_look_for_a_valley_that_is_far():
    weights, _ = data(plot.cost_curve(one_weight(), X, 1000 * Y, path=[0, 1]).lines[0])
    assert (weights[0], weights[-1]) == (-0.25, 1.25)
    weights, _ = data(plot.cost_curve(one_weight(), X, Y, path=[0, 1], span=(0, 1)).lines[0])
    assert (weights[0], weights[-1]) == (0, 1)      # which was asked for


def test_cost_curve_of_a_chosen_weight_and_span():
    network = fastnn.Network([2, 3, 1], loss=fastnn.losses.quantile(0.9), dtype="float64")
    ax = plot.cost_curve(network, POINTS, POINTS[:, 0], layer=1, row=2, column=0, span=(-1, 1))
    weights, losses = data(ax.lines[0])
    assert (weights[0], weights[-1]) == (-1, 1)
    for index in (0, 77, 200):
        network.weights[1][2, 0] = weights[index]
        assert network.evaluate(POINTS, POINTS[:, 0]) == losses[index]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("weight of layer 2, input 3 → unit 1", "mean loss (quantile(0.9))")
    own = network.weights[1][2, 0]
    weights, _ = data(plot.cost_curve(network, POINTS, POINTS[:, 0], layer=1, row=2, span=0.5).lines[0])
    np.testing.assert_allclose([weights[0], weights[-1]], [own - 0.5, own + 0.5])


def test_the_curve_reaches_all_dots():
    ax = plot.cost_curve(one_weight(), X, Y, path=[[0], [3]], span=(-1, 1))
    assert data(ax.lines[0])[0][[0, -1]].tolist() == [-1, 3] and data(ax.lines[1])[0].tolist() == [0, 3]
    assert legend(ax)[1:] == ["start", "iteration 1"]
    assert data(plot.cost_curve(one_weight(), X, Y, span=(1, 2)).lines[0])[0][[0, -1]].tolist() == [0, 2]


def test_fitted_lines():
    lines = [(0, 0), (1, -0.5), (2, 1)]
    ax = plot.fitted_lines(X, Y, lines)
    *drawn, points = ax.lines
    for line, (slope, intercept) in zip(drawn, lines, strict=True):
        x, y = data(line)
        np.testing.assert_allclose(y, slope * x + intercept, atol=1e-12)
        assert (x[0], x[-1]) == (-2, 2)
    lightness = [np.dot(line.get_color()[:3], [0.3, 0.6, 0.1]) for line in drawn]
    assert sorted(lightness, reverse=True) == lightness and lightness[0] - lightness[-1] > 0.4
    assert data(points)[0].tolist() == X[:, 0].tolist() and data(points)[1].tolist() == Y.tolist()
    assert legend(ax) == ["start", "iteration 2", "data"]
    assert np.ptp(data(drawn[0])[1]) == 0       # (0, 0) is a flat line


def test_fitted_lines_of_networks():
    network = fastnn.Network([1, 4, 1], activation="tanh", dtype="float64")
    x, y = data(plot.fitted_lines(X[:, 0], Y, [network]).lines[0])
    assert y.tolist() == network.predict(x[:, None])[:, 0].tolist()
    assert len(plot.fitted_lines([1], [2], [network]).lines) == 2       # data of one point
    assert legend(plot.fitted_lines([1], [2], [network])) == ["fitted line", "data"]


def test_learning_rates():
    network = one_weight()
    ax = plot.learning_rates(network, X, Y, [0.1, 0.4, 0.9], epochs=6)
    fine, edge, wild, cross = ax.lines
    for line, rate in ((fine, 0.1), (edge, 0.4), (wild, 0.9)):
        epochs, losses = data(line)
        assert epochs.tolist() == list(range(len(losses)))
        np.testing.assert_allclose(losses, 10 * (1 - 5 * rate) ** (2 * epochs), rtol=1e-9)
    assert len(data(fine)[0]) == len(data(edge)[0]) == 7
    losses = data(wild)[1]
    assert losses[-2] < 1e3 * losses[0] < losses[-1]
    assert (cross.get_marker(), data(cross)[0], data(cross)[1]) == ("x", len(losses) - 1, losses[-1])
    assert ax.get_yscale() == "log" and legend(ax) == ["0.1", "0.4", "0.9, diverges"]
    assert len({line.get_linestyle() for line in (fine, edge, wild)}) == 3
    assert len({line.get_marker() for line in (fine, edge, wild)}) == 3


def test_a_learning_rate_whose_loss_overflows_at_once():
    ax = plot.learning_rates(fastnn.Network([1, 1], loss="mse"), X, Y, [1e30], epochs=6)
    assert len(data(ax.lines[0])[0]) == 1 and ax.lines[1].get_marker() == "x"


def test_a_learning_rate_that_diverges_within_an_epoch():
    """The fit itself finds that the parameters are not finite: the curve ends at the last loss that is."""
    ax = plot.learning_rates(fastnn.Network([1, 1], loss="mse"), X, Y, [1e38], epochs=6)
    assert len(data(ax.lines[0])[0]) == 1 and ax.lines[1].get_marker() == "x"


def test_learning_rates_with_losses_below_and_at_zero():
    network = fastnn.Network([1, 1], output="exp", loss="poisson", dtype="float64")
    network.set_parameters([0, 2])
    ax = plot.learning_rates(network, X, [9, 3, 40, 5], [0.001, 0.1], epochs=9)
    assert ax.get_yscale() == "linear" and max(data(ax.lines[0])[1]) < 0 and len(data(ax.lines[0])[0]) == 10
    *before, last = data(ax.lines[1])[1]
    assert max(before) < 1e3 * abs(before[0]) < last
    ax = plot.learning_rates(one_weight(), X, Y, [0.2, 0.1], epochs=9)
    assert data(ax.lines[0])[1][1] == 0 and ax.get_yscale() == "symlog"
    low, high = ax.get_ylim()
    assert low <= 0 and high > 10
    ticks = [tick for tick in ax.get_yticks() if low <= tick <= high]
    places = ax.transData.transform([(0, tick) for tick in ticks])[:, 1]
    assert 0 in ticks and np.diff(places).min() > 0.8 * np.diff(places).max()      # none covers another
    plot.gradient_norms([0, 5e-324, 1])
    solved = one_weight()
    solved.weights[0][0, 0] = 2
    ax = plot.learning_rates(solved, X, Y, [0.1], epochs=9)
    assert data(ax.lines[0])[1].tolist() == [0] * 10 and ax.get_yscale() == "linear"


def luminance(color):
    return np.dot(matplotlib.colors.to_rgb(color), [0.3, 0.6, 0.1])


@pytest.mark.parametrize("style", ["default", "dark_background"])
def test_curves_stand_out_from_the_ground(style):
    with pyplot.style.context(style):
        for name in ("learning_rates", "gradient_norms", "vanishing_gradients", "loss_curves", "fitted_lines"):
            ax = PICTURES[name](None) if name != "loss_curves" else plot.loss_curves(
                {"a": history([2, 1]), "b": history([3, 1])})
            ground = luminance(ax.get_facecolor())
            strongest = ax.lines[1 if name == "fitted_lines" else 0]
            assert abs(luminance(strongest.get_color()) - ground) > 0.6, name
            assert all(line.get_alpha() == 0.25 for line in ax.get_xgridlines())


def test_no_two_of_many_look_the_same():
    ax = Figure().add_subplot()
    looks = [look(ax, index, 1) for index in range(56)]
    assert len({(each["color"], each["marker"]) for each in looks}) == 56
    ax = plot.decision_boundary(classifier(10), POINTS, np.arange(60) % 10, resolution=5)
    assert len({(line.get_color(), line.get_marker()) for line in ax.lines}) == 10


def test_curves_and_classes_share_their_colours():
    curves = plot.loss_curves({name: history([2, 1]) for name in "abcdefg"}).lines
    regions = plot.decision_boundary(classifier(7), POINTS, np.arange(60) % 7, resolution=5)
    assert [line.get_color() for line in curves] == [line.get_color() for line in regions.lines]
    first, second = curves[0].get_color(), curves[1].get_color()
    assert [line.get_color() for line in plot.activation("tanh").lines] == [first, second]
    assert [line.get_color() for line in plot.loss_curves(history([2, 1], [3, 2])).lines[:2]] == [first, second]


def overlaps(ax):
    """How many corners of curves lie below the legend, as the figure is drawn."""
    ax.figure.draw_without_rendering()
    box = ax.get_legend().get_window_extent()
    return sum(box.contains(*point) for line in ax.lines
               for point in line.get_transform().transform_path(line.get_path()).interpolated(20).vertices
               if line.get_linestyle() != "None")


@pytest.mark.parametrize("name", [
    "cost_curve", "fitted_lines", "activation", "vanishing_gradients", "loss_curves", "watch"])
def test_a_legend_covers_no_curve(name):
    assert overlaps(PICTURES[name](None)) == 0


def test_a_legend_that_has_no_room_is_beside_the_curves():
    up, down = np.linspace(0, 1, 30), np.linspace(1, 0, 30)
    ax = plot.loss_curves({"up": history(up), "down": history(down), "swinging": history(np.arange(30) % 2)})
    ax.figure.draw_without_rendering()
    assert ax.get_legend().get_window_extent().x0 >= ax.get_window_extent().x1
    assert overlaps(ax) == 0
    network, corner = classifier(1), np.array([[0.0, 0], [1, 1]])
    grid = np.stack(np.meshgrid(np.linspace(0, 1, 12), np.linspace(0, 1, 12)), -1).reshape(-1, 2)
    for points, inside in ((corner, True), (grid, False)):
        ax = plot.decision_boundary(network, points, np.arange(len(points)) % 2, resolution=5)
        ax.figure.draw_without_rendering()
        assert (ax.get_legend().get_window_extent().x0 < ax.get_window_extent().x1) == inside


def test_curves_that_cover_each_other_have_markers_at_different_points():
    ax = Figure().add_subplot()
    every = [look(ax, index, 51)["markevery"] for index in range(6)]
    assert len(set(every)) == 6
    assert look(ax, 3, 5)["markevery"] == (0, 1)


# Histories


def test_loss_curves():
    ax = plot.loss_curves(history([3, 2, 1.5, 1], [4, 2.5, 2, 3]))
    training, validation, best = ax.lines
    assert [part.tolist() for part in data(training)] == [[1, 2, 3, 4], [3, 2, 1.5, 1]]
    assert [part.tolist() for part in data(validation)] == [[1, 2, 3, 4], [4, 2.5, 2, 3]]
    assert [part.tolist() for part in data(best)] == [[3], [2]] and best.get_marker() == "*"
    assert (training.get_linestyle(), validation.get_linestyle()) == ("-", "--")
    assert legend(ax) == ["training", "validation", "best epoch"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("epoch", "mean loss")


def test_loss_curves_of_several_histories():
    ax = plot.loss_curves({"a": history([2, 1]), "b": history([3, 2], [np.nan, 3])})
    lines = labelled(ax)
    assert list(lines) == ["a, training", "b, training", "b, validation", "best epoch"]
    assert lines["a, training"].get_marker() != lines["b, training"].get_marker()
    assert lines["b, training"].get_color() == lines["b, validation"].get_color()
    assert data(lines["best epoch"])[0].tolist() == [2]
    ax = plot.loss_curves({"a": history([2], [1]), "b": history([3, 2], [3, 1])})
    assert [line.get_marker() for line in ax.lines].count("*") == 2 and legend(ax).count("best epoch") == 1


def test_labels_of_histories_may_be_numbers():
    assert legend(plot.loss_curves({0: history([2, 1]), 1: history([3, 2])})) == ["0, training", "1, training"]


def test_a_history_of_one_epoch_can_be_seen():
    assert plot.loss_curves(history([1])).lines[0].get_marker() == "o"


# Layers


@pytest.mark.parametrize("name", sorted(set(activations.ACTIVATIONS) - {"softmax"}))
def test_activation(name):
    ax = plot.activation(name, span=3)
    function = activations.ACTIVATIONS[name]
    value, slope = ax.lines
    z, y = data(value)
    assert (z[0], z[-1]) == (-3, 3) and y.tolist() == function(z).tolist()
    assert data(slope)[1].tolist() == function.derivative(z).tolist()
    assert legend(ax) == [name, "derivative"] and value.get_linestyle() != slope.get_linestyle()
    assert ax.get_title().count(f"{name}") == 1     # tanh(z), and not tanh: tanh(z)
    ax.figure.savefig("/dev/null", format="png")    # matplotlib reads the formula


def test_gradient_norms():
    network = fastnn.Network([2, 5, 5, 1], activation="sigmoid")
    norms = [np.linalg.norm(gradient) for gradient in network.gradients(POINTS, POINTS[:, 0]).weights]
    ax = plot.gradient_norms(norms)
    assert data(ax.lines[0])[0].tolist() == [1, 2, 3] and data(ax.lines[0])[1].tolist() == norms
    assert ax.get_yscale() == "log" and ax.get_legend() is None
    assert all(tick == round(tick) for tick in ax.get_xticks())
    ax = plot.gradient_norms({"a": norms, "b": [0, 1e-3, 1]})
    assert legend(ax) == ["a", "b"] and ax.get_yscale() == "symlog" and ax.get_ylim()[0] <= 0       # 0 is seen


def test_vanishing_gradients():
    ax = plot.vanishing_gradients([1, 3, 8], ["sigmoid", "relu"], width=8, seed=4)
    sigmoid, relu = (data(line)[1] for line in ax.lines)
    assert data(ax.lines[0])[0].tolist() == [1, 3, 8] and ax.get_yscale() == "log" and legend(ax) == ["sigmoid", "relu"]
    assert sigmoid[0] == relu[0] == 1
    assert sigmoid[2] < 0.01 * sigmoid[1] < 0.01 * 0.1 and relu[2] > 0.05
    inputs, targets = np.random.default_rng(4).normal(size=(2, 64, 8))
    network = fastnn.Network([8, 8, 8, 8], activation="sigmoid", dtype="float64", seed=4)
    first, _, last = (np.linalg.norm(gradient) for gradient in network.gradients(inputs, targets).weights)
    assert sigmoid[1] == pytest.approx(first / last, rel=1e-12)


def test_activation_histograms():
    network = fastnn.Network([2, 6, 6, 6, 6, 3], activation="tanh", output="softmax")
    axes = plot.activation_histograms(network, POINTS)
    assert axes.shape == (5,) and len(axes[0].figure.axes) == 5
    for ax, values, name in zip(axes, network.layer_outputs(POINTS)[1:], network.activations, strict=True):
        heights = np.array([patch.get_height() for patch in ax.patches])
        expected, edges = np.histogram(values, 40)
        np.testing.assert_allclose(heights, expected * 100 / values.size, atol=1e-9)
        assert ax.patches[0].get_x() == pytest.approx(edges[0]) and name in ax.get_xlabel()
    _, mine = pyplot.subplots(1, 5)
    assert list(plot.activation_histograms(network, POINTS, axes=mine)) == list(mine)


def test_outputs_that_overflow_have_no_histogram():
    network = one_weight()
    network.set_parameters([1e200, 0])
    with pytest.raises(ValueError, match="layer 1 gives values that are not finite, so they have no histogram"):
        plot.activation_histograms(network, [[1e200]])


def test_axes_of_histograms_are_checked_before_the_first_is_drawn_into():
    ax = Figure().add_subplot()
    with pytest.raises(TypeError, match="ax is a int"):
        plot.activation_histograms(CLASSES, POINTS, axes=[ax, 1])
    assert not ax.patches


@pytest.mark.parametrize("first, step", [(0.1, 0), (1, 1e-16), (1e20, 0), (0, 5e-324), (-1e16, 2), (0, 0)])
def test_activations_that_are_all_but_the_same_have_a_histogram(first, step):
    network = fastnn.Network([1, 1], dtype="float64")
    network.set_parameters([step, first])
    heights = [patch.get_height() for patch in plot.activation_histograms(network, [[0.0], [1]])[0].patches]
    assert len(heights) == 40 and sum(heights) == pytest.approx(100)


# Classes


@pytest.mark.parametrize("classes", [1, 2, 5])
def test_decision_boundary(classes):
    network = classifier(classes)
    y = np.arange(60) % max(classes, 2)
    ax = plot.decision_boundary(network, POINTS, y, resolution=30)
    image, = ax.images
    left, right, bottom, top = image.get_extent()
    assert left < POINTS[:, 0].min() and right > POINTS[:, 0].max()
    grid = np.stack(np.meshgrid(np.linspace(left, right, 30), np.linspace(bottom, top, 30)), axis=-1)
    outputs = network.predict(grid.reshape(-1, 2))
    expected = outputs[:, 0] > 0.5 if classes == 1 else outputs.argmax(axis=1)
    assert np.asarray(image.get_array()).ravel().tolist() == expected.astype(int).tolist()
    assert image.get_array().max() > 0
    for label, line in labelled(ax).items():
        assert np.column_stack(data(line)).tolist() == POINTS[y == int(label)].tolist()
    assert legend(ax) == [str(label) for label in range(max(classes, 2))]
    assert len({line.get_marker() for line in ax.lines}) == max(classes, 2)
    borders = [path for contour in ax.collections for path in contour.get_paths()]
    for border in borders:                      # where two classes are equally likely
        outputs = np.sort(network.predict(border.vertices), axis=1)
        assert np.abs(outputs[:, 0] - 0.5 if classes == 1 else outputs[:, -1] - outputs[:, -2]).max() < 0.1
    assert sum(len(border.vertices) for border in borders) > 10


def test_decision_boundary_takes_probabilities():
    y = np.eye(3)[np.arange(60) % 3]
    ax = plot.decision_boundary(classifier(), POINTS, y, resolution=5)
    assert [len(line.get_xdata()) for line in ax.lines] == [20, 20, 20]


def texts(ax):
    return [text.get_text() for text in ax.texts]


def test_confusion_matrix():
    ax = plot.confusion_matrix([0, 0, 1, 2, 2, 2], [0, 1, 1, 2, 2, 0])
    assert texts(ax) == ["1", "1", "1", "1", "2"]
    assert [text.get_position() for text in ax.texts] == [(0, 0), (1, 0), (1, 1), (0, 2), (2, 2)]   # no zeros
    assert np.asarray(ax.images[0].get_array()).tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 2]]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted class", "true class")


@pytest.mark.parametrize("y, predicted, labels, names, counts", [
    (["b", "a"], ["a", "a"], None, ["a", "b"], "1010"),
    (["b", "a"], ["a", "a"], ["b", "a", "c"], ["b", "a", "c"], "010010000"),
    ([1, 0], [0, 0], ["ham", "spam"], ["ham", "spam"], "1010"),
    ([5, 3], [3, 3], [5, 3], ["5", "3"], "0101"),
    ([1.0, 0.0], [[0.9], [0.2]], None, ["0", "1"], "1001"),
    ([True, False], [[0.1, 0.9], [0.4, 0.6]], None, ["0", "1"], "0101"),
    ([[0], [1], [2], [2]], [0, 1, 2, 2], None, ["0", "1", "2"], "100010002"),
    ([[0.0], [2.0]], [0, 2], None, ["0", "2"], "1001"),
    ([["b"], ["a"]], ["a", "a"], None, ["a", "b"], "1010"),
    ([[True], [False]], [[0.4], [0.6]], None, ["0", "1"], "0110"),
    (np.array(["b", "a"], object), np.array(["a", "a"], object), None, ["a", "b"], "1010"),
])
def test_confusion_matrix_of_many_kinds_of_classes(y, predicted, labels, names, counts):
    ax = plot.confusion_matrix(y, predicted, labels=labels)
    assert [label.get_text() for label in ax.get_xticklabels()] == names
    assert [label.get_text() for label in ax.get_yticklabels()] == names
    assert "".join(map(str, np.asarray(ax.images[0].get_array()).ravel())) == counts


def test_confusion_matrix_can_be_read():
    def rotation(names):
        return plot.confusion_matrix([0] * 9 + [1], [0] * 9 + [0], labels=names).get_xticklabels()[0].get_rotation()
    ax = plot.confusion_matrix([0] * 9 + [1], [0] * 9 + [0])
    assert [text.get_color() for text in ax.texts] == ["white", "black"]     # 9 and 1
    assert rotation(["ham", "spam"]) == 0
    assert rotation(["a name that is long", "spam"]) == 90


# Bad input


@pytest.mark.parametrize("draw, error, message", [
    (lambda: plot.cost_curve(SIMPLE, X, Y, layer=1), ValueError, "layer is 1, which is too large: at most 0"),
    (lambda: plot.cost_curve(SIMPLE, X, Y, path=[0, np.nan]), ValueError, "path holds nan, but must hold finite"),
    (lambda: plot.cost_curve(SIMPLE, X, Y, span=(2, 1)), ValueError, "first number must be below its second"),
    (lambda: plot.cost_curve(SIMPLE, X, Y, span=-1), ValueError, r"span is -1, but must be two numbers \(low, high\)"),
    (lambda: plot.cost_curve(SIMPLE, POINTS, Y), ValueError, "X has 2 features, but this network was built for 1"),
    (lambda: plot.fitted_lines(X, Y[1:], [(0, 0)]), ValueError, "X has 4 rows and y has 3"),
    (lambda: plot.fitted_lines(POINTS, Y, [(0, 0)]), ValueError, "X has 2 dimensions, but must have 1"),
    (lambda: plot.fitted_lines(X, Y, []), ValueError, "lines is empty"),
    (lambda: plot.fitted_lines(X, Y, [(1, 2, 3)]), ValueError, r"lines\[0\] is \(1, 2, 3\), but must be"),
    (lambda: plot.fitted_lines(X, Y, (1, 2)), ValueError, r"lines\[0\] is 1, .* as in lines=\[\(2, 1\)\]"),
    (lambda: plot.fitted_lines(X, Y, None), TypeError, r"lines is None, but must be a list of \(slope, intercept\) or"),
    (lambda: plot.fitted_lines(X, Y, SIMPLE), TypeError, r"lines is Network\(.* must be a list of"),
    (lambda: plot.fitted_lines(X, Y, [(1, np.nan)]), ValueError, r"lines\[0\] holds nan, but must hold finite"),
    (lambda: plot.fitted_lines(X, Y, [CLASSES]), ValueError, r"lines\[0\] has 2 inputs and 3 outputs"),
    (lambda: plot.learning_rates(SIMPLE, X, Y, [0.1, 0]), ValueError, "must hold learning rates above 0"),
    (lambda: plot.learning_rates(SIMPLE, X, Y[1:], [0.1]), ValueError, "y has 3 rows, but X has 4"),
    (lambda: plot.learning_rates(SIMPLE, X, Y, [0.1], epochs=0), ValueError, "epochs is 0, but must be at least 1"),
    (lambda: plot.activation("tanhh"), ValueError, "did you mean 'tanh'"),
    (lambda: plot.activation("softmax"), ValueError, "'softmax', which has no curve"),
    (lambda: plot.activation("relu", span=0), ValueError, "span is 0, but must be a finite number above 0"),
    (lambda: plot.activation("relu", span=1e308), ValueError, "span is 1e.308, but must be .* below 1e.100"),
    (lambda: plot.gradient_norms([]), ValueError, "must hold one norm a layer"),
    (lambda: plot.gradient_norms({"a": [-1]}), ValueError, r"norms\['a'\] is \[-1.0\]"),
    (lambda: plot.gradient_norms({}), ValueError, "norms is empty"),
    (lambda: plot.vanishing_gradients([0]), ValueError, r"depths\[0\] is 0, but must be at least 1"),
    (lambda: plot.vanishing_gradients([2], ["softmax"]), ValueError, "activations is 'softmax'"),
    (lambda: plot.vanishing_gradients(5), TypeError, "depths is 5, but must be a list of integers such as"),
    (lambda: plot.vanishing_gradients([2], None), TypeError, "activations is None, but must be a list of names"),
    (lambda: plot.vanishing_gradients([2], ["relu"] * 2), ValueError, "activations is .* each name once"),
    (lambda: plot.vanishing_gradients([]), ValueError, "one of them is empty"),
    (lambda: plot.loss_curves(history([])), ValueError, "the history holds no epoch, so it has no curve to draw"),
    (lambda: plot.loss_curves({"a": history([])}), ValueError, "the history 'a' holds no epoch"),
    (lambda: plot.loss_curves({}), ValueError, "histories is empty"),
    (lambda: plot.loss_curves([1, 2]), TypeError, r"must be a History or a dictionary \{label: History\}"),
    (lambda: plot.decision_boundary(SIMPLE, X, Y), ValueError, "network has 1 inputs, but a picture of"),
    (lambda: plot.decision_boundary(CLASSES, POINTS, np.full(60, 3)), ValueError, "y holds the label 3"),
    (lambda: plot.decision_boundary(fastnn.Network([2, 1]), CORNERS, [0, 1, -1, 0]), ValueError,
     "y holds -1, but the classes of one output are 0 and 1"),
    (lambda: plot.decision_boundary(CLASSES, POINTS, np.zeros(60, int), resolution=1), ValueError, "resolution is 1"),
    (lambda: plot.decision_boundary(fastnn.Network([2, 1], output="softmax"), CORNERS, [0] * 4), ValueError,
     "network has one softmax output, which is 1 everywhere"),
    (lambda: plot.decision_boundary(fastnn.Network([2, 2], output="sigmoid"), CORNERS,
                                    [[0, 1], [1, 0], [1, 1], [0, 0]]),
     ValueError, "y has 2 largest values in row 2, but must tell one class a row"),
    (lambda: plot.graph(fastnn.Network([2, 17, 1])), ValueError, "a layer of 17 units, but a graph is legible with 16"),
    (lambda: plot.graph(fastnn.Network([2, 5, 1]), values=True), ValueError,
     "network is 2-5-1, but a graph with values is legible with 4 units a layer and 8 weights between two"),
    (lambda: plot.graph(fastnn.Network([3, 3, 1]), values=[1, 2, 3]), ValueError, "network is 3-3-1, but a graph with"),
    (lambda: plot.graph(fastnn.Network([2, 1]), values=[[1, 2]]), ValueError,
     r"values has 2 dimensions, but must be True, False or one row of inputs, such as \[0.5, 0.5\]"),
    (lambda: plot.graph(fastnn.Network([2, 1]), values=[1, 2, 3]), ValueError, "X has 3 features, but this"),
    (lambda: plot.graph(fastnn.Network([2, 1]), values="all"), TypeError, "values"),
    (lambda: plot.weights(CLASSES, (2, 2)), ValueError,
     r"shape is \(2, 2\), which makes 4 pixels, but a unit of this layer has 2 weights; choose rows and columns"),
    (lambda: plot.weights(CLASSES, 2), ValueError, "shape is 2, but must be two whole numbers above 0, such as"),
    (lambda: plot.weights(CLASSES, (2, 0)), ValueError, r"shape is \(2, 0\), but must be two whole numbers"),
    (lambda: plot.weights(CLASSES, (2, 1), layer=2), ValueError, "layer is 2, which is too large: at most 1"),
    (lambda: plot.weights(CLASSES, (2, 1), units=0), ValueError, "units is 0, but must be at least 1"),
    (lambda: plot.weights(CLASSES, (2, 1), axes=[]), ValueError, "axes holds 0 Axes, but 8 units are to be drawn"),
    (lambda: plot.watch(history([1])), TypeError, "watch is a History, but must be a fastnn.diagnostics.Watch"),
    (lambda: plot.watch(fastnn.diagnostics.Watch(X, Y)), ValueError,
     r"watch holds no record, so it has no curve to draw; pass it to fit, as in callbacks=\[watch\]"),
    (lambda: plot.watch(recorded(), "gradient_norm"), ValueError, "did you mean 'gradient_norms'"),
    (lambda: plot.confusion_matrix([0, 1], [0]), ValueError, "y has 2 rows and predicted has 1"),
    (lambda: plot.confusion_matrix([0.5], [0]), ValueError, "y has shape"),
    (lambda: plot.confusion_matrix(["a"], [0]), TypeError, "classes of different kinds"),
    (lambda: plot.confusion_matrix([0, 2], [0, 0], labels=["a", "b"]), ValueError, "y holds the class 2, but labels"),
    (lambda: plot.confusion_matrix([[0.1, np.nan]], [0]), ValueError, "y holds nan, but must hold finite numbers"),
    (lambda: plot.confusion_matrix([[1], [1, 2]], [0, 1]), ValueError, "y has rows of different lengths"),
    (lambda: plot.confusion_matrix(["a", None], ["a", "a"]), ValueError, "y has shape .* one class a row"),
    (lambda: plot.confusion_matrix([[]], [0]), ValueError, "y has shape .* one class a row"),
    (lambda: plot.confusion_matrix(0, [0]), ValueError, "y has shape .* one class a row"),
    (lambda: plot.confusion_matrix([0], [0], labels=3), ValueError, r"labels has shape \(\)"),
    (lambda: plot.confusion_matrix([0], [0], labels=["a", None]), ValueError, "labels has shape .* dtype object"),
    (lambda: plot.confusion_matrix([0], [0], labels=[[1], [1, 2]]), ValueError, "labels has rows of different lengths"),
    (lambda: plot.confusion_matrix([0], [0], labels=[0, 1, 1]), ValueError, r"labels is \[0, 1, 1\], .* each once"),
    (lambda: plot.confusion_matrix([0], [0], labels=["a", "a"]), ValueError, "labels is .* each once"),
    (lambda: plot.confusion_matrix([0], [0], labels=[[0, 1]]), ValueError, "labels is .* each once"),
    (lambda: plot.confusion_matrix([0], [0], labels=[]), ValueError, "labels is .* each once"),
    (lambda: plot.activation_histograms(SIMPLE, POINTS), ValueError, "X has 2 features"),
    (lambda: plot.activation_histograms(SIMPLE, X, axes=[]), ValueError, "axes holds 0 Axes, but the network has 1"),
    (lambda: plot.activation_histograms(SIMPLE, X, axes=[1]), TypeError, "ax is a int"),
    (lambda: plot.LivePlot(-1), ValueError, "seconds is -1, but must be a finite number at least 0"),
    (lambda: plot.LivePlot(ax=3), TypeError, "ax is a int"),
])
def test_bad_input_is_a_sentence_and_leaves_no_figure(draw, error, message):
    with pytest.raises(error, match=message):
        draw()
    assert not pyplot.get_fignums()
