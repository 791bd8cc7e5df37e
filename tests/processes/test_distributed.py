"""Training on several ranks: what each has to have of it, and what happens when one of them fails.

Programs of on_ranks.py run under mpiexec: on two processors and one machine, whatever the number of ranks.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import same_bits
from hypothesis import given
from hypothesis import strategies as st
from on_ranks import CASES, WEIGHTS, N, data, trained

import fastnn
from fastnn.core import Rows, Trainer, aligned_zeros, spread_order
from fastnn.distributed.ranks import SeveralRanks, add_in_pairs
from fastnn.distributed.shards import bounds_of

pytestmark = pytest.mark.any_isa
PROGRAMS = Path(__file__).with_name("on_ranks.py")
MPIEXEC = shutil.which("mpiexec", path=Path(sys.executable).parent) or shutil.which("mpiexec")
if MPIEXEC is None:
    pytest.skip("NOT TESTED: no mpiexec here", allow_module_level=True)
OPEN_MPI = "Open MPI" in subprocess.run([MPIEXEC, "--version"], capture_output=True, text=True, check=True).stdout
ENVIRONMENT = {     # Open MPI starts more ranks than there are processors, and those of root, where it is told to
    **os.environ, "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
}


def on_ranks(ranks, function, folder, argument="", options=(), timeout=120):
    """What a program returns, by rank, and the finished mpiexec."""
    for path in folder.glob("*.json"):
        path.unlink()
    done = subprocess.run([MPIEXEC, *options, "-n", str(ranks), sys.executable, PROGRAMS, function, folder, argument],
                          capture_output=True, text=True, timeout=timeout, env=ENVIRONMENT)
    paths = [folder / f"{rank}.json" for rank in range(ranks)]
    return [json.loads(path.read_text(encoding="utf-8")) if path.exists() else None for path in paths], done


def assert_nobody_is_left(folder):
    """A process that mpiexec has killed may need a moment to be gone; one that hangs would stay for good."""
    for _ in range(100):    # without the environment, whose LD_PRELOAD is for Python
        left = subprocess.run(["ps", "-eo", "pid,stat,etime,args"], capture_output=True, text=True, check=True, env={})
        left = [line for line in left.stdout.splitlines() if str(folder) in line]
        if not left:
            return
        time.sleep(0.1)
    raise AssertionError(f"10 seconds later these processes are left: {left}")


def agreed(results):
    """What all ranks returned alike."""
    results, done = results
    assert done.returncode == 0, done.stderr
    assert all(result == results[0] for result in results)
    return results[0]


@pytest.fixture(scope="module")
def trained_on(tmp_path_factory):
    """{ranks: what `cases` returned on so many}."""
    return {ranks: agreed(on_ranks(ranks, "cases", tmp_path_factory.mktemp("ranks"), "{}")) for ranks in (1, 2, 3, 4)}


# The same training on any number of ranks


@pytest.mark.parametrize("case", CASES)
def test_every_rank_has_the_same_bits_and_any_number_of_them_nearly_the_same(case, trained_on):
    """All ranks return one digest of parameters and state (`agreed`); 2, 3 and 4 ranks agree with 1 to 1e-5."""
    one = trained_on[1][case]
    for ranks in (2, 3, 4):
        several = trained_on[ranks][case]
        np.testing.assert_allclose(several["parameters"], one["parameters"], rtol=0, atol=1e-5)
        assert several["history"].keys() == one["history"].keys()
        for name, values in one["history"].items():
            np.testing.assert_allclose(several["history"][name], values, rtol=1e-5, atol=1e-6, err_msg=name)
        assert (several["stopped_by"], several["epochs"]) == (one["stopped_by"], one["epochs"])


def test_the_cases_stop_and_differ_as_they_should(trained_on):
    """So that agreement says something: early stopping stopped, and no two cases are one."""
    for case in ("early", "early, of its own rows", "early, mapped"):
        assert trained_on[1][case]["stopped_by"] == "early_stopping", case
    assert trained_on[1]["lbfgs"]["history"]["loss"][-1] < trained_on[1]["lbfgs"]["history"]["loss"][0] / 2
    digests = {name: result["digest"] for name, result in trained_on[3].items()}
    assert digests.pop("large, apart") == digests["large"]      # one tree, whatever carries the numbers
    assert len(set(digests.values())) == len(digests)


def test_a_rerun_has_the_same_bits(trained_on, tmp_path):
    again = agreed(on_ranks(3, "cases", tmp_path, "{}"))
    assert {name: result["digest"] for name, result in again.items()} == {
        name: result["digest"] for name, result in trained_on[3].items()}


@pytest.mark.parametrize("case", ["whole", "rprop", "weights", "numbers", "lbfgs"])
def test_batches_of_all_rows_are_those_of_a_fit_without_ranks(case, trained_on, tmp_path):
    """There the order of rows does not matter, so a fit without a communicator is an oracle of another kind."""
    if case == "lbfgs":
        alone, _ = trained(CASES[case], None, tmp_path)
        expected, several = alone.get_parameters(), trained_on[3][case]["parameters"]
    else:
        alone, _ = trained(CASES[case] | {"batch_size": N}, None, tmp_path)
        expected = alone.get_parameters()
        several = agreed(on_ranks(3, "whole_batches", tmp_path, case))
    np.testing.assert_allclose(several, expected, rtol=0, atol=1e-5)


def test_shards_fix_the_order_of_summation(trained_on, tmp_path):
    """1, 2, 4 and 8 ranks give the same bits of parameters, state and losses with shards=8; without, they do not.
    Only rounding is another."""
    results = {ranks: agreed(on_ranks(ranks, "sharded", tmp_path)) for ranks in (1, 2, 4, 8)}
    assert results[1] == results[2] == results[4] == results[8]
    digests = {agreed(on_ranks(ranks, "averaged", tmp_path, "1"))[0] for ranks in (1, 2, 4)}
    assert len(digests) == 3
    for case, (*_, parameters) in results[2].items():
        np.testing.assert_allclose(parameters, trained_on[1][case]["parameters"], rtol=0, atol=1e-5, err_msg=case)


def test_local_sgd_is_the_average_of_ranks_that_train_alone(tmp_path):
    """sync_every=4 on two ranks against two networks trained on the halves, averaged by NumPy after every 4 steps."""
    digest, parameters = agreed(on_ranks(2, "averaged", tmp_path, "4"))
    arguments, X, y = data("softmax")
    networks = [fastnn.Network(**{**arguments, "seed": 5}) for _ in range(2)]
    bounds = bounds_of(N, 2)
    steps = -(-N // 30)
    for epoch in range(2):
        orders = [spread_order(bounds[rank], bounds[rank + 1], N, 30, 5, epoch, True) for rank in range(2)]
        for step in range(steps):
            for rank, network in enumerate(networks):
                order, starts, _ = orders[rank]
                rows = bounds[rank] + order[starts[step]:starts[step + 1]]
                network.train_on_batch(X[rows], y[rows], optimizer=network.optimizer or fastnn.SGD(0.1, momentum=0.5))
            if (step + 1) % 4 == 0 or step + 1 == steps:
                shares = np.diff(bounds) / N
                mean = sum(share * network.get_parameters() for share, network in zip(shares, networks, strict=True))
                velocity = sum(share * network.optimizer.state[0]
                               for share, network in zip(shares, networks, strict=True))
                for network in networks:
                    network.set_parameters(mean.astype("f"))
                    network.optimizer.state[0][...] = velocity
    np.testing.assert_allclose(parameters, networks[0].get_parameters(), rtol=0, atol=1e-6)


def test_two_halves_of_a_step_are_a_step():
    """compute_gradients and apply_gradients, with parts added in between or not, against the engine's own epochs."""
    arguments, X, y = data("softmax")
    for options in (dict(dropout=0.3, l1=1e-4), dict(dtype="float64", l2=1e-3)):
        whole, halves = (fastnn.Network(**arguments, **options, seed=5) for _ in range(2))
        optimizers = [fastnn.Adam(0.01, clip_norm=0.5) for _ in range(2)]
        whole.fit(X, y, optimizer=optimizers[0], shuffle=False, batch_size=50, epochs=2, sample_weight=WEIGHTS)
        engine = halves._engine
        optimizers[1].bind(engine)
        trainer = Trainer(engine, optimizers[1], True, [])
        rows = Rows(engine, X.astype(engine.dtype), None, y.astype(np.intp), WEIGHTS)
        block = aligned_zeros(engine.parameters.size, engine.dtype)
        for _ in range(2):
            for first in range(0, N, 50):
                last = min(N, first + 50)
                divisor = float(WEIGHTS[first:last].cumsum()[-1])
                trainer.compute_gradients(rows, first, last, 50, divisor, 0, 0.0, block)
                trainer.apply_gradients(block, 0.01)
        assert same_bits(whole.get_parameters(), halves.get_parameters())


def test_a_step_refuses_rows_of_another_network():
    """A kernel would read beyond the rows of a network that has fewer inputs."""
    narrow, wide = (fastnn.Network([n_inputs, 3, 1], dtype="float32") for n_inputs in (2, 20))
    optimizer = fastnn.SGD(0.1)
    optimizer.bind(wide._engine)
    trainer = Trainer(wide._engine, optimizer, True, [])
    rows = Rows(narrow._engine, np.zeros((4, 2), "f"), np.zeros((4, 1), "f"), None, None)
    block = aligned_zeros(wide._engine.parameters.size, "float32")
    with pytest.raises(RuntimeError, match="__init__ was called again"):
        trainer.advance(rows, 4, 0.1)
    with pytest.raises(RuntimeError, match="__init__ was called again"):
        trainer.compute_gradients(rows, 0, 4, 4, 4.0, 0, 0.0, block)


# Which rows come when


@given(st.integers(1, 60), st.integers(1, 80), st.lists(st.integers(0, 60), max_size=4), st.booleans())
def test_batches_do_not_depend_on_how_rows_are_divided(rows, batch, cuts, shuffled):
    """Every row comes once; the parts of a step, put together, are the batch of the undivided rows; each says rightly
    how many rows of the batch come before it, and has its share of each to a row and a half."""
    batch = min(batch, rows)
    whole, starts, _ = spread_order(0, rows, rows, batch, 3, 1, shuffled)
    assert sorted(whole) == list(range(rows))
    assert list(np.diff(starts)) == [batch] * (rows // batch) + [rows % batch] * (rows % batch > 0)
    bounds = sorted({0, rows, *(cut for cut in cuts if cut < rows)})
    parts = [(first, last, *spread_order(first, last, rows, batch, 3, 1, shuffled))
             for first, last in zip(bounds, bounds[1:], strict=False)]
    for step in range(len(starts) - 1):
        together = []
        for first, last, order, begins, places in parts:
            mine = order[begins[step]:begins[step + 1]]
            assert len(mine) == 0 or places[step] == len(together)
            share = (last - first) / rows * (starts[step + 1] - starts[step])
            assert abs(len(mine) - share) < 2
            together.extend(mine + first)
        assert together == whole[starts[step]:starts[step + 1]].tolist()


def test_epochs_differ_and_rows_meet_others():
    """Another epoch is another order, and a row's companions change."""
    orders = [spread_order(0, 100, 100, 10, 3, epoch, True)[0] for epoch in range(2)]
    assert not np.array_equal(*orders)
    companions = [set(order[:10]) for order in orders]
    assert len(companions[0] & companions[1]) < 5


@pytest.mark.parametrize("count", range(1, 10))
def test_sums_of_parts_are_sums_of_their_halves(count):
    """The tree of 2n parts is that of n sums of two, bit for bit; its value is the sum."""
    parts = np.random.default_rng(count).normal(size=(2 * count, 5)).astype("f")
    halves = [parts[2 * index] + parts[2 * index + 1] for index in range(count)]
    expected = parts.astype("d").sum(axis=0)
    sums = np.empty((2, 5), "f")
    add_in_pairs(parts, sums[0], parts)
    add_in_pairs(halves, sums[1], np.empty((count, 5), "f"))
    assert same_bits(*sums)
    np.testing.assert_allclose(sums[0], expected, rtol=1e-5, atol=1e-5)


# Mistakes


def test_mistakes_are_one_sentence_the_same_on_every_rank(tmp_path):
    """Whether one rank makes them or all."""
    for ranks in (2, 4):
        errors = agreed(on_ranks(ranks, "mistakes", tmp_path))
        last = ranks - 1
        expected = {
            "empty": f"rank {last}: X has 0 rows", "features": "rank 0: X has 2 features",
            "nan": f"rank {last}: X holds nan", "architecture": "the network is Network([3, 5, 1]",
            "size": "the network is Network([3, 3000, 1]", "class_weight": f"class_weight is {{1: 3.0}} on rank {last}",
            "fraction": "validation_data is 0.25, but with a communicator",
            "validation weights": "validation_data's sample_weight sums to 0 over all ranks",
            "dtype": "dtype='float64', seed=0) on rank", "loss": f"loss='mae', dtype='float32', seed=0) on rank {last}",
            "parameters": "a checksum of the parameters is", "epochs": f"epochs is 2 on rank {last}, but 3 on rank 0",
            "optimizer": "the optimizer is SGD(learning_rate=0.1", "validation": f"rank {last} is at 'validation_data'",
            "metrics": f"rank {last} is at 'the metric mse'", "batches": "X is an iterable of batches",
            "two": "rank 0: X has 0 rows", "shards": "see fastnn.distributed.local_rows",
            "multiple": "batch_size is 3, but must be a multiple of shards", "wrong": "communicator is 'world', but",
            "null": "communicator is MPI.COMM_NULL", "weightless": "sample_weight sums to 0 over all ranks",
            "power": "shards is 6, but must be a power of two", "both": "only one of them can be given",
            "never": "sync_every is 0", "timeout": "timeout is 0", "isa": "FASTNN_ISA is sse2 on rank",
        }
        assert errors.keys() == expected.keys()
        for name, (kind, text) in errors.items():
            assert expected[name] in text, name
            assert kind == ("TypeError" if name == "wrong" else "ValueError"), name


def test_shards_must_be_shared_evenly(tmp_path):
    results, done = on_ranks(3, "sharded", tmp_path)
    assert done.returncode != 0
    assert "shards is 8, which 3 ranks cannot share evenly" in done.stderr


def test_without_mpi4py_there_is_a_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "mpi4py.MPI", None)
    with pytest.raises(ImportError, match="needs mpi4py, which .*: pip install 'mpi4py>=4' 'mpich>=4.3'"):
        fastnn.Network([1, 1]).fit([[1.0]], [1.0], communicator="any")


# Failures


@pytest.mark.parametrize("output", [None, "closed"])
def test_a_job_is_ended_also_where_that_cannot_be_printed(output, tmp_path, monkeypatch):
    ended = []
    ranks = object.__new__(SeveralRanks)
    ranks.rank, ranks._world = 0, SimpleNamespace(Abort=ended.append)
    file = open(tmp_path / "stderr", "w", encoding="utf-8")       # noqa: SIM115
    file.close()
    monkeypatch.setattr(sys, "stderr", file if output else None)
    ranks._end_job("rank 1 is gone", after=0)
    assert ended == [1]


@pytest.mark.parametrize("error, text", [
    ("OSError", "OSError: disk full"), ("KeyboardInterrupt", "KeyboardInterrupt: ")])
def test_an_error_of_one_rank_in_training_ends_the_job(error, text, tmp_path):
    """It prints its traceback and which rank it is, and nobody is left."""
    results, done = on_ranks(3, "left", tmp_path, error, timeout=20)
    assert done.returncode != 0 and results == [None] * 3
    assert f"fastnn: rank 1 ends the job: it left the fit: {text}" in done.stderr
    assert f"\n{text.removesuffix(': ')}" in done.stderr       # the last line of a traceback
    assert_nobody_is_left(tmp_path)


def test_it_does_so_where_no_other_hears_of_it(tmp_path):
    """It would wait for them in MPI's own end, for good."""
    results, done = on_ranks(2, "left_alone", tmp_path)
    assert done.returncode != 0 and results == [None] * 2
    assert "fastnn: rank 1 ends the job: it left the fit: OSError: disk full" in done.stderr
    assert_nobody_is_left(tmp_path)


@pytest.mark.parametrize("program, left", [("left_and_went_on", 1), ("left_at_the_end", 0)])
def test_the_others_do_so_where_its_program_goes_on(program, left, tmp_path):
    """Also when they have trained already, and would only give their memory back."""
    results, done = on_ranks(2, program, tmp_path)
    assert done.returncode != 0 and results == [None] * 2
    assert f"fastnn: rank {1 - left} ends the job: rank {left} left the fit: OSError: disk full" in done.stderr
    assert_nobody_is_left(tmp_path)


def test_divergence_restores_every_rank(tmp_path):
    errors = agreed(on_ranks(2, "diverged", tmp_path))
    assert len(errors) == 3         # summing gradients, averaging parameters; averaging where one rank alone diverges
    for rate, (text, restored) in zip(["1e+30", "1e+30", "0.01"], errors, strict=True):
        assert f"with learning rate {rate}; parameters from the beginning of the last good epoch are restored" in text
        assert restored


def test_after_an_explosion_every_rank_is_as_before(tmp_path):
    """Also where the loss was finite for many epochs; all ranks agree on what helps."""
    results = agreed(on_ranks(2, "exploded", tmp_path))
    assert len(results) == 4 and all(whole for _, whole, _ in results)
    assert results[0][0] > 100 and results[1][0] > 100 and results[3][0] == 2
    assert all(said.endswith(": try a smaller learning rate") for *_, said in results[:3])
    assert results[3][2] == ": scale the targets and inputs to a size of about 1"


def test_all_ranks_end_an_epoch_after_the_same_step(tmp_path):
    """When the time is over; with local SGD after the exchange. The loss is that of the rows seen."""
    for ranks in (1, 2, 3):
        summing, averaging = agreed(on_ranks(ranks, "out_of_time", tmp_path))
        for (steps, epochs, loss, rows, stopped_by), expected in ((summing, 1), (averaging, 3)):
            if ranks > 1:
                assert (steps, rows) == (expected, [10 * expected])
            assert (epochs, stopped_by) == (1, "time_budget") and len(loss) == 1 and np.isfinite(loss[0])


def test_a_fit_that_fails_gives_back_what_it_took(tmp_path):
    """MPI has some 2,000 communicators, and gives a new one the lowest number that is free."""
    assert agreed(on_ranks(2, "failed", tmp_path)) == [0, 0]


@pytest.mark.parametrize("number, resumed_on", [(signal.SIGKILL, 4), (signal.SIGSTOP, 1)])
def test_a_rank_that_dies_or_hangs_ends_the_job_and_a_checkpoint_goes_on(number, resumed_on, tmp_path):
    """It is named, nobody is left, and other ranks go on from the checkpoint to the bits of an undisturbed run."""
    (tmp_path / "whole").mkdir()
    expected = agreed(on_ranks(2, "run_for_ten_epochs", tmp_path / "whole"))
    results, done = on_ranks(2, "run_for_ten_epochs", tmp_path, signal.Signals(number).name, timeout=30,
                             options=[] if OPEN_MPI else ["-print-all-exitcodes"])
    assert done.returncode != 0
    assert results == [None, None]
    pid = (tmp_path / "pid").read_text(encoding="utf-8")
    if number == signal.SIGSTOP:
        assert "fastnn: rank 0 ends the job: rank 1 did not come, for 2 seconds" in done.stderr
    elif OPEN_MPI:
        assert f"process rank 1 with PID {pid} on node" in done.stderr
    else:       # MPICH's does not tell who was first where it has seen the end of a rank that it ended itself before
        codes = re.findall(r"Exit codes: \[.*\] (.*)\n", done.stdout + done.stderr)
        assert codes == ["9,9"] or (codes == ["0,9"] and f"PID {pid} " in done.stdout)
    assert_nobody_is_left(tmp_path)
    assert fastnn.load(tmp_path / "checkpoint.safetensors").epochs_trained == 5
    assert agreed(on_ranks(resumed_on, "run_for_ten_epochs", tmp_path)) == expected


def test_an_old_answer_does_not_count(tmp_path):
    """A rank that was late, but came, is named when it hangs."""
    _, done = on_ranks(2, "late_and_lost", tmp_path, timeout=20)
    assert done.returncode != 0
    assert "fastnn: rank 0 ends the job: rank 1 did not come, for 1 seconds" in done.stderr


def test_a_rank_that_waits_alone_ends_the_job(tmp_path):
    _, done = on_ranks(2, "lonely", tmp_path, timeout=20)
    assert done.returncode != 0
    assert "fastnn: rank 0 ends the job: not every rank called fit, for 1 seconds" in done.stderr


def test_only_the_first_rank_prints_and_saves(tmp_path):
    results, done = on_ranks(2, "output", tmp_path)
    assert done.returncode == 0, done.stderr
    assert results == [[1, True], [0, False]]
