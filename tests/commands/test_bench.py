"""The benchmark's promises: everybody does the same work, a wrong answer is not timed, mistakes are one sentence."""

import json
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest
from helpers import ROOT

from fastnn.__main__ import main
from fastnn.bench import contenders, race, report
from fastnn.bench.cells import CELLS, select

pytestmark = pytest.mark.any_isa
SMALL = [cell for cell in CELLS if cell.flops < 2e7 and not cell.name.startswith("short-")]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cell", SMALL, ids=lambda cell: cell.name)
def test_fastnn_computes_what_numpy_computes(cell, dtype):
    assert race.disagreement("fastnn", cell, dtype, 1) is None


@pytest.mark.parametrize("cell", [cell for cell in SMALL if cell.sizes[0] < 100], ids=lambda cell: cell.name)
def test_scikit_learn_computes_the_same(cell):
    pytest.importorskip("sklearn", reason="NOT TESTED: scikit-learn is not installed")
    assert race.disagreement("scikit-learn", cell, "float32", 1) is None


@pytest.mark.parametrize("cell", [cell for cell in SMALL if not cell.trains], ids=lambda cell: cell.name)
def test_onnxruntime_predicts_the_same(cell):
    pytest.importorskip("onnxruntime", reason="NOT TESTED: onnxruntime is not installed")
    pytest.importorskip("onnx", reason="NOT TESTED: onnx is not installed")
    assert race.disagreement("onnxruntime", cell, "float32", 1) is None


@pytest.mark.parametrize("name", ["torch", "torch.compile", "jax", "onnxruntime"])
def test_a_peer_that_is_not_installed_is_left_out(name):
    if report.version(name):
        pytest.skip(f"NOT TESTED: {name} is installed")
    assert "No module" in race.enter(name, select(["predict-16-32-1"])[0], "float32", 1)
    with pytest.raises(SystemExit):
        main(["bench", "--peers", name])


def test_a_contender_that_starts_elsewhere_is_caught(monkeypatch):
    class Wrong(contenders.FastNN):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            self.net.weights[0][...] *= 1.1

    monkeypatch.setitem(contenders.CONTENDERS, "fastnn", Wrong)
    assert "its loss is" in race.disagreement("fastnn", select(["20-64-32-1"])[0], "float32", 1)


def test_a_contender_that_moves_elsewhere_is_caught(monkeypatch):
    class Wrong(contenders.FastNN):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            train = self.run

            def run():
                loss = train()
                self.net.weights[0][...] *= 1.01
                return loss

            self.run = run

    monkeypatch.setitem(contenders.CONTENDERS, "fastnn", Wrong)
    assert "parameters move elsewhere" in race.disagreement("fastnn", select(["20-64-32-1"])[0], "float32", 1)


def test_a_wrong_prediction_is_caught(monkeypatch):
    cell = select(["predict-8-64-64-4"])[0]

    class Wrong(contenders.FastNN):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            self.net.biases[-1][0] += 1e-3

    monkeypatch.setitem(contenders.CONTENDERS, "fastnn", Wrong)
    assert race.disagreement("fastnn", cell, "float32", 1) == "predicts something else"


def test_a_ratio_compares_turns_beside_each_other():
    result = race.Result(CELLS[0], seconds={"fastnn": [1, 2, 4], "numpy": [2, 4, 8], "jax": [9]}, peak=[1e9])
    assert result.ratio("numpy") == 2 and result.ratio("jax") == 9
    assert result.best_peer == "numpy"


class Worker:
    """Stands for a contender's process: gives these answers, by the name of the function that is asked for."""

    def __init__(self, **answers):
        self.answers = {"enter": None, "take_turn": 1e-3, "peak": 1e9} | answers

    def submit(self, function, *arguments):
        future, answer = Future(), self.answers[function.__name__]
        (future.set_exception if isinstance(answer, Exception) else future.set_result)(answer)
        return future


def test_a_peer_that_cannot_go_on_is_left_out_and_one_far_behind_gets_one_turn(monkeypatch, capsys):
    peers = {"numpy": Worker(take_turn="ValueError: no"), "jax": Worker(take_turn=BrokenProcessPool()),
             "torch": Worker(enter="is not here"), "scikit-learn": Worker(take_turn=1.0)}
    result = race.race_one(CELLS[0], {"fastnn": Worker(), **peers}, 1, "float32", 3)
    assert result.left_out == {"numpy": "ValueError: no", "jax": "its process died", "torch": "is not here"}
    assert result.seconds == {"fastnn": [1e-3] * 3, "scikit-learn": [1.0]}
    monkeypatch.setattr(race, "race", lambda *arguments, **options: [result])
    main(["bench", "--cells", CELLS[0].name, "--peers", "numpy"])
    assert "1-1-1: numpy is left out: ValueError: no" in capsys.readouterr().out


def test_a_peer_that_uses_another_instruction_set_is_left_out():
    cell = select(["predict-784-128-10"])[0]
    peers = {"jax": Worker(take_turn=cell.flops / 1.2e11), "torch": Worker(take_turn=cell.flops / 0.9e11),
             "onnxruntime": Worker()}
    workers = {"fastnn": Worker(take_turn=cell.flops / 0.95e11, peak=1e11), **peers}
    result = race.race_one(cell, workers, 1, "float32", 2, isa="avx2")
    assert result.left_out == {"jax": "does 120 GFLOP/s, but this instruction set's multiply-adds reach 100",
                               "onnxruntime": "cannot be held to avx2"}
    assert set(result.seconds) == {"fastnn", "torch"}
    two = race.race_one(cell, workers, 2, "float32", 2)        # two threads do twice as many
    assert {"jax", "torch"} <= set(two.seconds)


@pytest.mark.parametrize("answers", [{"enter": "no"}, {"take_turn": "no"}])
def test_there_is_no_race_without_fastnn(answers):
    with pytest.raises(RuntimeError, match="fastnn cannot be timed on 1-1-1: no"):
        race.race_one(CELLS[0], {"fastnn": Worker(**answers)}, 1, "float32", 1)


def test_a_contender_says_why_it_does_not_take_part(monkeypatch):
    class Choosy(contenders.NumPy):
        def __init__(self, *arguments, **options):
            raise contenders.Unable("does not do this")

    class Wrong(contenders.NumPy):
        def forward(self, x):
            return super().forward(x) + 1

    class Broken(contenders.NumPy):
        def run(self):
            raise MemoryError("no more")

    cell = select(["predict-16-32-1"])[0]
    for kind, reason in ((Choosy, "does not do this"), (Wrong, "predicts something else")):
        monkeypatch.setitem(contenders.CONTENDERS, "numpy", kind)
        assert race.enter("numpy", cell, "float32", 1) == reason and race.contender is None
    monkeypatch.setattr(race, "contender", Broken.__new__(Broken))
    assert race.take_turn(1) == "MemoryError: no more"


def test_what_the_machine_does_not_tell_is_left_out(monkeypatch):
    def unreadable(path):
        raise OSError("no such file")

    monkeypatch.setenv("PATH", "")          # no git
    monkeypatch.setattr(Path, "read_text", unreadable)
    assert report.commit() is None
    assert report.processor()


def test_two_contenders_race(tmp_path, capsys):
    file = tmp_path / "result.json"
    main(["bench", "--cells", "predict-16-32-1", "2-16-1", "--peers", "numpy", "--rounds", "1", "--json", str(file)])
    printed = capsys.readouterr().out
    result = json.loads(file.read_text(encoding="utf-8"))
    assert [record["cell"] for record in result["cells"]] == ["2-16-1", "predict-16-32-1"]
    for record in result["cells"]:
        assert record["left_out"] == {} and record["best_peer"] == "numpy"
        assert all(len(turns) == 1 and turns[0] > 0 for turns in record["seconds"].values())
        assert record["title"] in printed
    assert result["threads"] == 1 and result["versions"]["numpy"] == np.__version__


@pytest.mark.parametrize("arguments, complaint", [
    (["--cells", "3-3"], "'3-3' is no cell; known are 1-1-1, "),
    (["--threads", "0"], "--threads: is 0, but must be 1 or more"),
    (["--threads", "two"], "invalid int value: 'two'"),
    (["--threads", "100000"], "100000 threads need as many processors, but this process may use"),
    (["--rounds", "-1"], "--rounds: is -1, but must be 1 or more"),
    (["--isa", "avx1024"], "--isa: is 'avx1024', but peers can be held here to "),
    (["--json", "no/such/folder/x.json"], "is in no folder that exists"),
    (["--peers", "river"], "--peers: 'river' is no peer; known are numpy, torch, "),
])
def test_a_mistake_is_one_sentence(capsys, arguments, complaint):
    with pytest.raises(SystemExit) as stopped:
        main(["bench", *arguments])
    assert stopped.value.code == 2
    assert complaint in capsys.readouterr().err


def test_the_best_peer_of_the_tables_took_part_in_every_run():
    spec = spec_from_file_location("speed_tables", ROOT / "benchmarks/speed_tables.py")
    tables = module_from_spec(spec)
    spec.loader.exec_module(tables)
    runs = [{"seconds": {"fastnn": [1.0], "numpy": [1.5], "jax": [1.2]}},
            {"seconds": {"fastnn": [1.0], "numpy": [1.5], "jax": [1.4]}}]
    assert tables.best_peer(runs) == (pytest.approx(1.3), "jax")
    runs[0]["seconds"]["torch.compile"] = [1.25]
    assert tables.best_peer(runs) == (pytest.approx(1.3), "jax")
