"""LivePlot draws the losses of a fit while it trains: in a window, in a notebook, or in the user's axes."""

import pickle
import sys
from copy import deepcopy
from types import SimpleNamespace

import pytest
from pictures import X, Y, data, legend, one_weight

import fastnn
from fastnn import plot

matplotlib = pytest.importorskip("matplotlib", reason="NOT TESTED: matplotlib is not installed")
matplotlib.use("agg")
from matplotlib import pyplot  # noqa: E402
from matplotlib._pylab_helpers import Gcf  # noqa: E402
from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

pytestmark = pytest.mark.any_isa


@pytest.fixture
def clock(monkeypatch):
    """Time as the test says; every look at it is counted."""
    time = SimpleNamespace(now=100.0)
    monkeypatch.setattr(plot.live, "monotonic", lambda: time.now)
    return time


class Tick(fastnn.Callback):
    """Each epoch takes so many seconds; notes how much is drawn after each."""

    def __init__(self, clock, live, seconds):
        self.clock, self.live, self.seconds, self.drawn = clock, live, seconds, []

    def on_epoch_end(self, fit):
        self.drawn.append(len(self.live.ax.lines[0].get_xdata()) if self.live.ax and self.live.ax.lines else 0)
        self.clock.now += self.seconds


def test_live_plot_draws_once_in_so_many_seconds_and_at_the_end(clock):
    live = plot.LivePlot(1.0)
    tick = Tick(clock, live, 0.4)
    history = one_weight().fit(X, Y, epochs=8, callbacks=[live, tick], validation_data=(X, Y))
    assert tick.drawn == [0, 0, 0, 4, 4, 4, 7, 7]
    training, validation = live.ax.lines
    assert [part.tolist() for part in data(training)] == [list(range(1, 9)), history.loss]
    assert data(validation)[1].tolist() == history.validation_loss and validation.get_linestyle() == "--"
    low, high = live.ax.get_ylim()
    assert low < min(history.loss + history.validation_loss) <= max(history.loss + history.validation_loss) < high
    assert (live.ax.get_xlabel(), live.ax.get_ylabel()) == ("epoch", "mean loss (mse)")
    assert legend(live.ax) == ["training", "validation"]


def test_a_new_fit_begins_a_new_curve_in_the_same_axes():
    _, ax = pyplot.subplots()
    live = plot.LivePlot(ax=ax)
    network = one_weight()
    network.fit(X, Y, epochs=3, callbacks=[live], validation_data=(X, Y))
    history = network.fit(X, Y, epochs=2, callbacks=[live])
    assert live.ax is ax and len(ax.lines) == 1 and data(ax.lines[0])[1].tolist() == history.loss
    network.fit(X, Y, epochs=1, callbacks=[live])
    assert ax.lines[0].get_marker() == "o"      # one point is seen


def test_live_plot_does_not_change_a_training():
    networks = one_weight(), one_weight()
    networks[0].fit(X, Y, epochs=5, callbacks=[plot.LivePlot(0)])
    networks[1].fit(X, Y, epochs=5)
    assert networks[0].get_parameters().tobytes() == networks[1].get_parameters().tobytes()


def test_live_plot_shows_what_there_is_when_a_fit_diverges():
    live, network = plot.LivePlot(), one_weight()
    with pytest.raises(fastnn.DivergenceError) as caught:
        network.fit(X, Y, epochs=10_000, batch_size=4, optimizer=fastnn.SGD(0.9), callbacks=[live])
    assert len(live.ax.lines[0].get_xdata()) == caught.value.epoch - 1 > 0


@pytest.mark.parametrize("touch, new", [
    (lambda ax: ax.clear(), False), (lambda ax: ax.lines[0].remove(), False), (lambda ax: ax.remove(), True),
    (lambda ax: ax.figure.clf(), True), (lambda ax: pyplot.close(ax.figure), False)])
def test_the_user_may_touch_the_picture_between_two_fits(touch, new):
    live, network = plot.LivePlot(), one_weight()
    network.fit(X, Y, epochs=2, callbacks=[live])
    ax = live.ax
    touch(ax)
    losses = network.fit(X, Y, epochs=3, callbacks=[live]).loss
    assert (live.ax is not ax) == new and live.ax in live.ax.figure.axes
    assert [data(line)[1].tolist() for line in live.ax.lines] == [losses]


def test_axes_of_the_user_that_have_been_removed_are_refused_before_training():
    figure, ax = pyplot.subplots()
    inner, network = ax.inset_axes([0.5, 0.5, 0.4, 0.4]), one_weight()
    for chosen in (ax, inner):
        network.fit(X, Y, callbacks=[plot.LivePlot(ax=chosen)])
    trained = network.epochs_trained
    figure.clf()
    for chosen in (ax, inner):
        with pytest.raises(ValueError, match="the ax of this LivePlot has been removed from its figure"):
            network.fit(X, Y, callbacks=[plot.LivePlot(ax=chosen)])
    assert network.epochs_trained == trained


@pytest.mark.parametrize("copy", [deepcopy, lambda live: pickle.loads(pickle.dumps(live))])
def test_a_copy_of_a_live_plot_has_the_settings(copy):
    live, network = plot.LivePlot(3), one_weight()
    network.fit(X, Y, callbacks=[live])
    copied = copy(live)
    assert len(pyplot.get_fignums()) == 1
    network.fit(X, Y, callbacks=[copied])
    assert copied.seconds == 3 and copied.ax.figure is not live.ax.figure


def test_a_fit_that_is_refused_opens_no_figure():
    class Refuse(fastnn.Callback):
        def on_fit_begin(self, fit):
            raise ValueError("no")
    with pytest.raises(ValueError, match="no"):
        one_weight().fit(X, Y, callbacks=[plot.LivePlot(), Refuse()])
    assert not pyplot.get_fignums()


class Window(FigureCanvasAgg):
    """A canvas that says it has a window, and counts."""

    required_interactive_framework = "none at all"

    def __init__(self, figure):
        super().__init__(figure)
        self.drawn = self.flushed = 0

    def draw_idle(self, *args):
        self.drawn += 1

    def flush_events(self):
        self.flushed += 1


def test_live_plot_in_a_window(clock, monkeypatch):
    figure = Figure()
    window = Window(figure)
    live = plot.LivePlot(1.0, ax=figure.add_subplot())
    one_weight().fit(X, Y, epochs=8, callbacks=[live, Tick(clock, live, 0.4)])
    assert (window.drawn, window.flushed) == (3, 3)         # after epochs 4 and 7, and at the end
    shown = []
    window.manager = SimpleNamespace(show=lambda: shown.append(True), num=7)
    monkeypatch.setattr(Gcf, "figs", {7: window.manager})
    one_weight().fit(X, Y, callbacks=[live])
    assert shown == [True] and window.drawn == 4
    Gcf.figs[7] = SimpleNamespace()     # the user closed it and has another: training goes on, drawing does not
    assert len(one_weight().fit(X, Y, epochs=8, callbacks=[live, Tick(clock, live, 0.4)]).loss) == 8
    assert shown == [True] and window.drawn == 4


def notebook(monkeypatch):
    """IPython with a kernel, as far as it is used; returns the list of images that it shows."""
    shown = []

    def display(image, display_id):
        assert display_id
        shown.append(image)
        return SimpleNamespace(update=shown.append)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=1)))
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(Image=bytes, display=display))
    return shown


def test_live_plot_in_a_notebook(clock, monkeypatch):
    shown = notebook(monkeypatch)
    live = plot.LivePlot(1.0)
    one_weight().fit(X, Y, epochs=8, callbacks=[live, Tick(clock, live, 0.4)])
    assert len(shown) == 3 and len(set(shown)) == 3
    assert all(image.startswith(b"\x89PNG") for image in shown)
    assert not pyplot.get_fignums()                         # or the notebook would show it once more


def test_live_plot_leaves_a_given_figure_open_in_a_notebook(monkeypatch):
    notebook(monkeypatch)
    figure, ax = pyplot.subplots()
    one_weight().fit(X, Y, callbacks=[plot.LivePlot(ax=ax)])
    assert pyplot.get_fignums() == [figure.number]


def test_a_network_that_was_drawn_live_can_be_copied():
    network = one_weight()
    network.fit(X, Y, callbacks=[plot.LivePlot()])
    assert deepcopy(network).get_parameters().tobytes() == network.get_parameters().tobytes()


def test_at_the_end_the_legend_is_where_it_covers_no_curve():
    network = one_weight()
    live = plot.LivePlot()
    network.fit(X, Y, epochs=20, batch_size=4, optimizer=fastnn.SGD(0.42), callbacks=[live])      # the loss grows
    line, = live.ax.lines
    assert data(line)[1][-1] > 5 * data(line)[1][0]
    live.ax.figure.draw_without_rendering()
    box = live.ax.get_legend().get_window_extent()
    points = live.ax.transData.transform(line.get_xydata())
    assert not any(box.contains(*point) for point in points)
