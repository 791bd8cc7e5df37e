"""Optuna looks for a network that reads handwritten digits; trials that fall behind end early.

After every epoch a callback reports the loss on the validation digits, and raises TrialPruned where other trials were
better at that epoch. Trials run in threads, and with --journal in as many processes as you start with the same file,
on one machine or on many that share the folder.

Run it: python examples/optuna_sweep.py [--trials 20] [--jobs 2] [--journal sweep.journal]
(needs scikit-learn and Optuna)
"""

import argparse
from time import perf_counter

import optuna
from optuna.storages.journal import JournalFileBackend, JournalStorage
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import fastnn

EPOCHS = 30


class Prune(fastnn.Callback):
    """Reports every epoch's validation loss to a trial, and ends the fit where Optuna gives the trial up."""

    def __init__(self, trial):
        self.trial = trial

    def on_epoch_end(self, fit):
        self.trial.report(fit.history.validation_loss[-1], fit.epoch)
        if self.trial.should_prune():
            raise optuna.TrialPruned


def digits():
    """(X, y) to train on, to choose by, and to judge the choice by: a half and two quarters."""
    X, y = load_digits(return_X_y=True)
    X, X_rest, y, y_rest = train_test_split(X / 16, y, test_size=0.5, stratify=y, random_state=0)
    X_valid, X_test, y_valid, y_test = train_test_split(X_rest, y_rest, test_size=0.5, stratify=y_rest, random_state=0)
    return (X, y), (X_valid, y_valid), (X_test, y_test)


def train(parameters, training, validation, callbacks=()):
    """The network of these parameters, and its validation loss at the end."""
    network = fastnn.Network([64, parameters["units"], 10], output="softmax", dropout=parameters["dropout"], seed=0)
    history = network.fit(*training, epochs=EPOCHS, optimizer=fastnn.AdamW(parameters["learning_rate"]),
                          validation_data=validation, callbacks=callbacks)
    return network, history.validation_loss[-1]


def main(arguments=None):
    """Search, print, and return the study and the best network's accuracy on held-out digits."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=20, help="of this process (default 20)")
    parser.add_argument("--jobs", type=int, default=2, help="threads that run them (default 2)")
    parser.add_argument("--journal", help="a file that processes share; without one the study is in memory")
    parser.add_argument("--seed", type=int, help="of Optuna's sampler: the same trials again, with --jobs 1")
    options = parser.parse_args(arguments)

    training, validation, (X_test, y_test) = digits()

    def objective(trial):
        parameters = {
            "units": trial.suggest_int("units", 8, 256, log=True),
            "dropout": trial.suggest_float("dropout", 0, 0.5),
            "learning_rate": trial.suggest_float("learning_rate", 1e-4, 1e-1, log=True),
        }
        return train(parameters, training, validation, [Prune(trial)])[1]

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        study_name="digits", load_if_exists=True, sampler=optuna.samplers.TPESampler(seed=options.seed),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=3),
        storage=JournalStorage(JournalFileBackend(options.journal)) if options.journal else None)
    start = perf_counter()
    study.optimize(objective, n_trials=options.trials, n_jobs=options.jobs, catch=fastnn.DivergenceError)
    seconds = perf_counter() - start

    pruned = len(study.get_trials(states=[optuna.trial.TrialState.PRUNED]))
    network, loss = train(study.best_params, training, validation)
    accuracy = network.score(X_test, y_test)
    print(f"{options.trials} trials in {seconds:.2f} s; of {len(study.trials)} in the study {pruned} were pruned")
    print(f"the best, {study.best_params}, has a validation loss of {loss:.4f}")
    print(f"accuracy on {len(y_test)} held-out digits {accuracy:.4f}")
    return study, accuracy


if __name__ == "__main__":
    main()
