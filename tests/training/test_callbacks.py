"""Callbacks of a fit, and the progress that it shows."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest
from helpers import same_bits
from small_networks import X, Y, regressor

import fastnn

pytestmark = pytest.mark.any_isa


class Recorder(fastnn.Callback):
    def __init__(self, name="", calls=None, fail=None, stop=None):
        self.name, self.calls, self.fail, self.stop = name, [] if calls is None else calls, fail, stop

    def note(self, what, fit):
        self.calls.append((self.name + what, fit.epoch, fit.epochs, len(fit.history.loss)))
        if self.fail == what:
            raise KeyError(what)
        if what == "epoch" and self.stop == fit.epoch:
            fit.stop()

    def on_fit_begin(self, fit):
        self.note("begin", fit)

    def on_epoch_end(self, fit):
        self.note("epoch", fit)

    def on_fit_end(self, fit):
        self.note("end", fit)


def test_callbacks_are_called_in_order_and_can_stop():
    recorder = Recorder(stop=2)
    history = regressor().fit(X, Y, epochs=5, callbacks=[recorder])
    assert recorder.calls == [("begin", 0, 5, 0), ("epoch", 1, 5, 1), ("epoch", 2, 5, 2), ("end", 2, 5, 2)]
    assert len(history.loss) == 2 and history.stopped_by == "callback"


@pytest.mark.parametrize("where, done, after", [
    ("begin", 0, ["a begin", "b begin", "a end"]),
    ("epoch", 1, ["a begin", "b begin", "c begin", "a epoch", "b epoch", "c end", "b end", "a end"]),
    ("end", 2, ["a begin", "b begin", "c begin", *["a epoch", "b epoch", "c epoch"] * 2, "c end", "b end", "a end"])])
def test_a_callback_that_raises_leaves_a_completed_epoch(where, done, after):
    calls = []
    network, twin = regressor(), regressor()
    with pytest.raises(KeyError, match=where):
        network.fit(X, Y, epochs=2, callbacks=[Recorder("a ", calls), Recorder("b ", calls, fail=where),
                                               Recorder("c ", calls)])
    assert [name for name, *_ in calls] == after
    twin.fit(X, Y, epochs=done)
    assert network.epochs_trained == done and same_bits(network.get_parameters(), twin.get_parameters())
    assert network.fit(X, Y).loss == twin.fit(X, Y).loss


def test_one_line_tells_of_the_progress_where_there_is_no_terminal(capfd):
    regressor().fit(X, Y, epochs=3, validation_data=0.2, progress=True)
    out, err = capfd.readouterr()
    assert out == "" and re.fullmatch(r"3 of 3 epochs: loss=\S+, validation_loss=\S+, [\d,]+ rows/s\n", err), err
    regressor().fit(X, Y, epochs=0, progress=True)
    assert capfd.readouterr() == ("", "")


def test_a_bar_shows_the_progress_in_a_terminal():
    import fcntl
    import pty
    import struct
    import termios
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 150, 0, 0))
    code = ("import fastnn, numpy as np; X = np.ones((50, 4)); "
            "fastnn.Network([4, 8, 1]).fit(X, X[:, 0], epochs=7, validation_data=0.2, progress=True)")
    process = subprocess.Popen([sys.executable, "-c", code], stderr=theirs, stdout=theirs)
    assert process.wait(60) == 0
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:         # the other end is closed
            break
        if not part:
            break
        shown += part
    os.close(ours)
    assert re.search(r"7/7 .*loss=\S+, validation_loss=\S+, [\d,]+ rows/s", shown.decode()), shown


class Output:
    """A standard error that fails, from its first write or later on."""

    encoding = "ascii"

    def __init__(self, error, writes=0, terminal=True):
        self.error, self.writes, self.terminal = error, writes, terminal

    def isatty(self):
        if self.terminal is None:
            raise ValueError("I/O operation on closed file")
        return self.terminal

    def write(self, text):
        self.writes -= 1
        if self.writes < 0:
            raise self.error
        return len(text)

    def flush(self):
        self.write("")


class NoFile:
    def write(self, text):
        pass


BROKEN = BrokenPipeError(32, "Broken pipe")
OUTPUTS = {
    "none": lambda: None, "no isatty": NoFile, "closed": lambda: Output(ValueError("closed"), terminal=None),
    "broken": lambda: Output(BROKEN), "broken, no terminal": lambda: Output(BROKEN, terminal=False),
    "broken later": lambda: Output(BROKEN, writes=4), "full": lambda: Output(OSError(28, "No space"), writes=4),
    "encoding": lambda: Output(UnicodeEncodeError("ascii", "\u2588", 0, 1, "no")),
    "encoding, no terminal": lambda: Output(UnicodeEncodeError("ascii", "\u2588", 0, 1, "no"), terminal=False),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", OUTPUTS)
def test_a_bar_that_cannot_be_shown_changes_nothing(name, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stderr", OUTPUTS[name]())
    network, twin = regressor(), regressor()
    history = network.fit(X, Y, epochs=30, progress=True)
    assert history.loss == twin.fit(X, Y, epochs=30).loss and history.stopped_by is None
    assert same_bits(network.get_parameters(), twin.get_parameters())
    del network
    assert capsys.readouterr().out == ""            # nor is the line printed where results are


def test_the_command_line_trains_where_standard_error_is_broken(tmp_path, monkeypatch, capsys):
    from fastnn.__main__ import main
    np.savetxt(tmp_path / "t.csv", np.column_stack([X, Y]), delimiter=",", header="a,b,c,d,y", comments="")
    for index, output in enumerate(OUTPUTS.values()):
        monkeypatch.setattr(sys, "stderr", output())
        out = tmp_path / str(index)
        assert main(["train", str(tmp_path / "t.csv"), "--target", "y", "--epochs", "3", "--out", str(out)]) is None
        assert out.exists() and "saved" in capsys.readouterr().out


def test_without_progress_nothing_is_printed(capfd):
    regressor().fit(X, Y, epochs=2, validation_data=0.2)
    assert capfd.readouterr() == ("", "")
