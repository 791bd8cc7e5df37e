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
from fastnn.bench import contenders, populations, race, report
from fastnn.bench.cells import CELLS, POPULATIONS, select

pytestmark = pytest.mark.any_isa
SMALL = [cell for cell in CELLS if cell.flops < 2e7 and not cell.name.startswith("short-")]
FEW = [cell for cell in POPULATIONS if cell.sizes[0] < 100 and (cell.networks == 8 or not cell.trains)]
LAYOUTS = select(["many-5-8-1-*-8", "many-4-16-3-*-8"])


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


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["fastnn", "one by one"])
@pytest.mark.parametrize("cell", FEW, ids=lambda cell: cell.name)
def test_networks_together_and_one_by_one_compute_what_numpy_computes(cell, name, dtype):
    assert race.disagreement(name, cell, dtype, 1) is None


@pytest.mark.parametrize("cell", FEW, ids=lambda cell: cell.name)
def test_torch_computes_the_same_for_many_networks(cell):
    pytest.importorskip("torch", reason="NOT TESTED: torch is not installed")
    assert race.disagreement("torch", cell, "float32", 1) is None


@pytest.mark.parametrize("name", ["jax", "jax, networks last", "jax, broadcast"])
@pytest.mark.parametrize("cell", LAYOUTS, ids=lambda cell: cell.name)
def test_every_layout_of_jax_computes_the_same(cell, name):
    pytest.importorskip("jax", reason="NOT TESTED: jax is not installed")
    assert race.disagreement(name, cell, "float32", 1) is None


def test_jax_predicts_the_same_for_many_networks():
    pytest.importorskip("jax", reason="NOT TESTED: jax is not installed")
    for cell in select(["many-*predict-*"]):
        assert race.disagreement("jax", cell, "float32", 1) is None


def test_one_network_of_many_that_moves_elsewhere_is_caught(monkeypatch):
    class Wrong(populations.FastNN):
        def parameters(self):
            arrays = super().parameters()
            arrays[0][3] *= 1.01
            return arrays

    monkeypatch.setitem(populations.POPULATION_CONTENDERS, "fastnn", Wrong)
    assert "parameters move elsewhere" in race.disagreement("fastnn", select(["many-5-8-1-own-64"])[0], "float32", 1)


def test_other_batches_are_caught(monkeypatch):
    shared, own = select(["many-5-8-1-*-8"])[::-1]
    assert own.own and not shared.own
    monkeypatch.setitem(populations.POPULATION_CONTENDERS, "fastnn",
                        lambda cell, *arguments, **options: populations.FastNN(shared, *arguments, **options))
    assert race.disagreement("fastnn", own, "float32", 1)


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


def test_one_by_one_is_no_peer():
    cell = POPULATIONS[0]
    result = race.Result(cell, seconds={"fastnn": [1], "one by one": [2], "numpy": [4]}, peak=[1e9])
    assert result.best_peer == "numpy"
    assert report.as_record(result)["gain"] == 2 and "gain" not in report.as_record(race.Result(
        CELLS[0], seconds={"fastnn": [1], "numpy": [4]}, peak=[1e9]))


def test_a_library_takes_part_in_all_its_ways():
    cell = POPULATIONS[0]
    assert race.racers([cell], ["jax"]) == ["fastnn", "one by one", "jax", "jax, networks last", "jax, broadcast"]
    assert race.racers([CELLS[0]], ["jax"]) == ["fastnn", "jax"]
    assert race.racers([cell], ["scikit-learn"]) == ["fastnn", "one by one"]        # which has no way


def test_without_patterns_a_few_populations_are_left_to_a_word():
    assert len(select()) < len(select(["*"])) == len(CELLS + POPULATIONS)
    assert {cell.networks for cell in select() if cell.trains} == {1, 64}


def test_who_is_left_out_is_said_once():
    records = [{"cell": name, "left_out": {"jax": "no"}} for name in ("a", "b")]
    assert report.left_out(records) == ["a, b: jax is left out: no"]


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


def test_populations_race_in_a_table_of_their_own(tmp_path, capsys):
    file = tmp_path / "result.json"
    main(["bench", "--cells", "predict-16-32-1", "many-5-8-1-own-8", "many-set-predict-4-32-2-relu-512",
          "--peers", "numpy", "--rounds", "1", "--json", str(file)])
    printed = capsys.readouterr().out
    assert printed.count("| work | fastnn |") == 2
    assert "| work | fastnn | one by one | numpy | one by one ÷ fastnn |" in printed
    alone, *many = json.loads(file.read_text(encoding="utf-8"))["cells"]
    assert set(alone["seconds"]) == {"fastnn", "numpy"}
    for record in many:
        assert record["left_out"] == {} and record["best_peer"] == "numpy" and record["gain"] > 0
        assert record["title"] in printed


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


def script(name):
    """A module of benchmarks/."""
    spec = spec_from_file_location(name, ROOT / f"benchmarks/{name}.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_populations_have_a_table_of_their_own_on_the_page(monkeypatch, tmp_path):
    tables = script("speed_tables")
    times = {"fastnn": [1e-6, 1e-6], "numpy": [8e-6, 8e-6]}
    one = {"cell": "1-1-1", "title": "one", "seconds": times, "ratio": 8.0, "best_peer": "numpy"}
    many = {"cell": "many", "title": "many of one", "seconds": times | {"one by one": [3e-6, 3e-6]}}
    folder = tmp_path / "benchmarks/record/amd-zen-5"
    folder.mkdir(parents=True)
    monkeypatch.setattr(tables, "ROOT", tmp_path)
    monkeypatch.setattr(tables.report, "caption", lambda where: "somewhere")
    for run, cells in (("a", [one]), ("b", [one, many])):
        (folder / f"float32-1-thread-{run}.json").write_text(json.dumps({"commit": run, "cells": cells}))
    conditions = "amd-zen-5", "float32-1-thread"
    assert [list(tables.by_cell(tables.runs_of(*conditions, populations=which))) for which in (False, True)] == [
        ["1-1-1"], ["many"]]
    assert [run["commit"] for run in tables.runs_of(*conditions)] == ["a", "b"]
    _, _, where, *_, row, _ = tables.many(*conditions)
    assert where == "1 run. somewhere"
    assert row == "| many of one | 1 µs | 3 µs | 8 µs | – | – | – | – | 3.00 | **8.00** (numpy) |"
    (folder / "float32-1-thread-b.json").unlink()
    assert tables.many(*conditions) == []


def small_job():
    pytest.importorskip("sklearn", reason="NOT TESTED: scikit-learn is not installed")
    many = script("many_networks")
    rng = np.random.default_rng(0)
    X, y = rng.uniform(-1, 1, (50, 2)).astype("float32"), rng.uniform(-1, 1, 50).astype("float32")
    rows = [np.arange(0, 50, 2), np.arange(40), np.arange(33, 50)]      # 2, 3 and 2 batches of 16, the last ones short
    return many, many.Job("small", (2, 4, 1), X, y, rows, np.array([0.01, 0.02, 0.03]), 16, 3)


def test_whole_jobs_come_to_the_same_losses_together_and_one_by_one():
    many, job = small_job()
    np.testing.assert_array_equal(many.together(job), many.one_by_one(job))


def test_whole_jobs_come_to_the_same_losses_with_jax():
    pytest.importorskip("jax", reason="NOT TESTED: jax is not installed")
    many, job = small_job()
    np.testing.assert_allclose(many.jax_training(job)(), many.one_by_one(job), rtol=1e-4)


def test_the_best_peer_of_the_tables_took_part_in_every_run():
    tables = script("speed_tables")
    runs = [{"seconds": {"fastnn": [1.0], "numpy": [1.5], "jax": [1.2]}},
            {"seconds": {"fastnn": [1.0], "numpy": [1.5], "jax": [1.4]}}]
    assert tables.best_peer(runs) == (pytest.approx(1.3), "jax")
    runs[0]["seconds"]["torch.compile"] = [1.25]
    assert tables.best_peer(runs) == (pytest.approx(1.3), "jax")
