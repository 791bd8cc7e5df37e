"""Every example runs and prints what it promises: the guide's figures, and the accuracies on real data
for five seeds."""

import importlib.util
import re
import subprocess
import sys

import pytest
from helpers import ROOT

import fastnn

EXAMPLES = ROOT / "examples"


def load_example(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def assert_prints(output, figures):
    """Every figure stands in the output, in this order."""
    position = 0
    for figure in figures:
        found = output.find(figure, position)
        assert found >= 0, f"{figure!r} is missing from\n{output[position:]}"
        position = found + len(figure)


def test_gradient_descent(capsys):
    load_example("gradient_descent").main()
    output = capsys.readouterr().out
    assert_prints(output, ["0.60", "0 -> 0.8 -> 1.28 -> 1.568 -> 1.7408\n", "bias: 0\n"])
    assert_prints(output, ["0.60", "0.2 -> 0.92 -> 1.352 -> 1.6112 -> 1.7667\n", "bias: 0\n"])
    assert_prints(output, ["-1.00", "0 -> 4 -> 0 -> 4 -> 0\n", "bias: 0\n", "common slip", "edge of stability"])
    assert_prints(output, ["learning rate 0.9 diverges", "epoch"])


def test_backpropagation(capsys):
    load_example("backpropagation").main()
    output = capsys.readouterr().out
    assert_prints(output, ["z1 = 0.4150", "a1 = 0.6023", "z2 = 0.9210", "a2 = 0.7153"])
    assert_prints(
        output,
        ['"half_mse": E = 0.108230']
        + ["dE/dw2 = 0.05707", "0.4272", "dE/db2 = 0.09476", "0.6121"]
        + ["dE/dw1 = 0.001021", "0.1496", "dE/db1 = 0.01021", "0.3959"]
        + ["half the squared error"],
    )
    assert_prints(
        output,
        ['"mse": E = 0.216459']
        + ["dE/dw2 = 0.1141", "dE/db2 = 0.1895", "dE/dw1 = 0.002043", "dE/db1 = 0.02043"]
        + ["0.2165", "0.2176", "factor 2"]
        + ['"half_mse": training stops after 82 epochs', '"mse": training stops after 48 epochs'],
    )


@pytest.fixture
def run(capsys):
    """Run an example for one seed; return its accuracy, which must fit its table, and its losses."""

    def run_example(name, seed, epochs=None):
        arguments = ["--seed", str(seed)] + ([] if epochs is None else ["--epochs", str(epochs)])
        accuracy = load_example(name).main(arguments)
        log, table = capsys.readouterr().out.split("true\\predicted")
        losses = [
            float(loss) for loss in re.findall(r"^ *\d+ +([\d.]+) +[\d.]+% +[\d.]+$", log, re.MULTILINE)
        ]
        *rows, summary = table.splitlines()[1:]
        counts = [[int(count) for count in row.replace(".", "0").split() if count.isdigit()] for row in rows]
        classes = len(rows)
        counts = [row[-classes:] for row in counts]
        correct = sum(row[i] for i, row in enumerate(counts))
        assert accuracy == correct / sum(map(sum, counts))
        assert summary.startswith(f"{accuracy:.2%} of {sum(map(sum, counts))} held-out")
        return accuracy, losses

    return run_example


def test_spirals(tmp_path, monkeypatch, capsys):
    picture = tmp_path / "spirals.png"
    monkeypatch.setattr(sys, "argv", ["spirals.py", str(picture)])
    load_example("spirals").main()
    assert float(re.search(r"([\d.]+)% of 600 points", capsys.readouterr().out)[1]) > 99
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_digits_reaches_its_accuracy_for_five_seeds(run):
    accuracies = []
    for seed in range(5):
        accuracy, losses = run("digits", seed)
        assert len(losses) == 30
        assert losses[-1] < 0.01 < losses[0]
        accuracies.append(accuracy)
    assert min(accuracies) >= 0.965, accuracies
    assert sum(accuracies) / 5 >= 0.975, accuracies


def test_tumours_reaches_its_accuracy_for_five_seeds(run):
    accuracies = []
    for seed in range(5):
        accuracy, losses = run("tumours", seed)
        assert len(losses) == 30
        assert losses[-1] < 0.1 < losses[0]
        accuracies.append(accuracy)
    assert min(accuracies) >= 0.95, accuracies


@pytest.mark.parametrize("name", ["digits", "tumours"])
def test_number_of_epochs_is_an_argument(run, name):
    _, losses = run(name, seed=0, epochs=2)
    assert len(losses) == 2


def test_onnx_out(capsys, tmp_path):
    pytest.importorskip("onnx", reason="NOT TESTED: onnx is not installed")
    pytest.importorskip("onnxruntime", reason="NOT TESTED: onnxruntime is not installed")
    assert load_example("onnx_out").main(["--folder", str(tmp_path)]) < 1e-5
    assert_prints(capsys.readouterr().out, ["error of", "surface.onnx", "ONNX Runtime differs by", "surface.h"])


def test_pytorch_in(capsys):
    pytest.importorskip("torch", reason="NOT TESTED: torch is not installed")
    torch_seconds, seconds, difference = load_example("pytorch_in").main(["--rows", "200"])
    assert seconds > 0 and torch_seconds > 0 and difference < 1e-5
    assert_prints(capsys.readouterr().out, ["in PyTorch:", "in fastnn:", "differ by"])


def test_grid_search(capsys):
    assert load_example("grid_search").main([]) > 0.95
    assert_prints(capsys.readouterr().out, ["best of 6 settings", "450 held-out digits 0.9", "fastnn:"])


def optuna_sweep():
    pytest.importorskip("optuna", reason="NOT TESTED: optuna is not installed")
    return load_example("optuna_sweep")


def assert_each_trial_is_what_its_parameters_give(example, study):
    """All epochs of a trial, or those before it was pruned, have the losses of a fit that nobody watches."""
    training, validation, _ = example.digits()
    for trial in study.trials:
        losses = []

        class Losses(fastnn.Callback):
            def on_epoch_end(self, fit, losses=losses):
                losses.append(fit.history.validation_loss[-1])

        example.train(trial.params, training, validation, [Losses()])
        reported = list(trial.intermediate_values.values())
        assert reported and reported == losses[:len(reported)]
        assert len(reported) == example.EPOCHS or trial.state.name == "PRUNED"


@pytest.mark.any_isa
def test_optuna_sweep(capsys):
    """In series and with a seed: the same trials again, some of them pruned, and the best one is good."""
    example = optuna_sweep()
    (study, accuracy), (again, _) = [example.main(["--jobs", "1", "--seed", "0"]) for _ in range(2)]
    assert_prints(capsys.readouterr().out, ["20 trials in", "pruned", "the best, {'units':", "held-out digits 0.9"])
    assert [trial.intermediate_values for trial in study.trials] == [
        trial.intermediate_values for trial in again.trials]
    assert 0 < sum(trial.state.name == "PRUNED" for trial in study.trials) < 20
    assert accuracy > 0.95
    assert_each_trial_is_what_its_parameters_give(example, study)


@pytest.mark.any_isa
def test_optuna_sweep_in_threads():
    example = optuna_sweep()
    study, _ = example.main(["--jobs", "2", "--trials", "12"])
    assert len(study.trials) == 12
    assert_each_trial_is_what_its_parameters_give(example, study)


@pytest.mark.any_isa
def test_optuna_sweep_in_processes_that_share_a_journal(tmp_path):
    example, journal = optuna_sweep(), tmp_path / "sweep.journal"
    program = [sys.executable, example.__file__, "--jobs", "1", "--trials", "6", "--journal", journal]
    processes = [subprocess.Popen(program, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for process in processes:
        assert "6 trials in" in process.communicate(timeout=100)[0]
        assert process.returncode == 0
    study, _ = example.main(["--trials", "0", "--journal", str(journal)])
    assert len(study.trials) == 12
    assert_each_trial_is_what_its_parameters_give(example, study)


@pytest.mark.parametrize("seed", range(3))
def test_cartpole_learns_to_balance(capsys, seed):
    example = load_example("cartpole")
    mean, microseconds = example.main(["--seed", str(seed)])
    assert mean >= example.SOLVED and microseconds > 0
    assert_prints(capsys.readouterr().out, ["steps", "decisions", "the network takes"])


def test_cartpole_falls_without_learning(capsys):
    mean, _ = load_example("cartpole").main(["--rounds", "1"])
    assert mean < 60


def test_the_accuracy_check_can_fail(run):
    accuracy, _ = run("digits", seed=0, epochs=1)
    assert accuracy < 0.965
