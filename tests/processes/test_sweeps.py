"""Many trials at once, by schedulers that are not ours: joblib's threads and processes, Dask's workers, Optuna.

Whoever runs a trial, its numbers are bit for bit those of a trial alone; a processor gets one thread of work, or as
many as the scheduler allows; and what was trained comes home by pickle.
"""

import copy
import os
import threading
from contextlib import contextmanager

import joblib
import numpy as np
import pytest
from helpers import same_bits
from joblib import Parallel, delayed, parallel_config
from joblib.externals.loky import get_reusable_executor
from programs import python
from sklearn.datasets import load_wine
from sklearn.ensemble import BaggingClassifier, VotingClassifier
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV, cross_val_score, cross_validate

import fastnn
from fastnn import core
from fastnn.core import thread_count
from fastnn.sklearn import MLPClassifier, MLPRegressor

pytestmark = [pytest.mark.any_isa, pytest.mark.filterwarnings("ignore:Stochastic Optimizer")]

UNLESS_SAID = pytest.mark.skipif(
    "OMP_NUM_THREADS" in os.environ, reason="NOT TESTED: OMP_NUM_THREADS is set, which joblib and Dask leave as it is")
WINE = load_wine(return_X_y=True)


@pytest.fixture(scope="module")
def cluster():
    """Two processes of Dask's on this machine, and a client of them."""
    distributed = pytest.importorskip("distributed", reason="NOT TESTED: dask[distributed] is not installed")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1",
                                  dashboard_address=None) as cluster, distributed.Client(cluster) as client:
        yield client


@pytest.fixture(scope="module", autouse=True)
def no_workers_stay():
    """loky's would wait for more work until the tests end."""
    yield
    get_reusable_executor().shutdown()


@pytest.fixture(params=["threading", "loky", "dask"])
def at_once(request):
    """A context in which joblib runs two trials at once; its name is `backend`."""
    if request.param == "dask":
        request.getfixturevalue("cluster")

    @contextmanager
    def context(**options):
        with parallel_config(request.param, n_jobs=2, **options):
            yield

    context.backend = request.param
    return context


def classifier(**options):
    return MLPClassifier((16,), max_iter=15, standardize=True, random_state=0, **options)


GRID = {"alpha": [1e-4, 1.0], "activation": ["relu", "tanh"], "dropout": [0.0, 0.2]}


def scores():
    return [cross_val_score(classifier(), *WINE, cv=4)]


def searched(search):
    search.fit(*WINE)
    results = [search.cv_results_[name] for name in sorted(search.cv_results_) if "_test_" in name]
    return [*results, *search.best_estimator_.coefs_, search.predict_proba(WINE[0])]


def grid():
    return searched(GridSearchCV(classifier(), GRID, cv=2))


def randomized():
    return searched(RandomizedSearchCV(classifier(), GRID | {"alpha": np.logspace(-5, 0, 50)}, n_iter=4, cv=2,
                                       random_state=1))


def bagging():
    """The members' bits: scikit-learn adds their probabilities in an order of its own for each number of jobs."""
    ensemble = BaggingClassifier(classifier(), n_estimators=4, max_samples=0.7, random_state=2).fit(*WINE)
    return [ensemble.predict(WINE[0]), *(model.predict_proba(WINE[0]) for model in ensemble.estimators_)]


def voting():
    members = [(str(seed), classifier().set_params(random_state=seed)) for seed in range(4)]
    ensemble = VotingClassifier(members, voting="soft").fit(*WINE)
    return [ensemble.predict_proba(WINE[0]), *(model.predict_proba(WINE[0]) for model in ensemble.estimators_)]


@pytest.mark.parametrize("sweep", [scores, grid, randomized, bagging, voting])
def test_a_sweep_has_the_bits_that_it_has_in_series(sweep, at_once):
    """Scores, weights and probabilities in scikit-learn's searches and ensembles."""
    alone = sweep()
    with at_once():
        together = sweep()
    assert len(alone) == len(together) and all(map(same_bits, alone, together))


def test_the_check_of_sweeps_can_fail():
    assert not any(map(same_bits, voting()[1:], bagging()[1:]))


class Where(fastnn.Callback):
    """Notes where a fit runs, and how many threads its steps had."""

    def on_fit_end(self, fit):
        self.process, self.thread = os.getpid(), threading.get_ident()
        self.limit, self.team = fastnn.get_num_threads(), core.team_size()


def places(folds=4):
    """Where each fold of a cross-validation was trained, with steps that are large enough to be shared."""
    X = np.random.default_rng(3).uniform(-1, 1, (640, 400))
    model = MLPRegressor(hidden_layer_sizes=(400,), batch_size=300, max_iter=2, dtype="float32", callbacks=[Where()])
    trained = cross_validate(model, X, X[:, 0], cv=folds, return_estimator=True)["estimator"]
    return [model.callbacks[0] for model in trained]


def test_trials_run_where_the_backend_says(at_once):
    """Not in the main thread, and in other processes unless the backend is of threads: nothing falls back to series."""
    with at_once():
        found = places()
    assert {place.process == os.getpid() for place in found} == {at_once.backend == "threading"}
    if at_once.backend == "threading":
        assert threading.get_ident() not in {place.thread for place in found}


@UNLESS_SAID
def test_loky_workers_share_the_processors():
    """Without a word from the user: two workers have no more threads than there are processors."""
    with parallel_config("loky", n_jobs=2):
        found = places()
    expected = max(joblib.cpu_count() // 2, 1)
    assert {place.limit for place in found} == {min(expected, thread_count.available_processors())}


@UNLESS_SAID
def test_dask_workers_have_one_thread_each(cluster):
    with parallel_config("dask"):
        assert {(place.limit, place.team) for place in places()} == {(1, 1)}


def test_threads_obey_set_num_threads():
    """joblib has no limit for what its threads do, so the user sets ours: after that no step is shared."""
    run = python("""
        import numpy as np, fastnn
        from fastnn import core
        from joblib import Parallel, delayed

        X = np.ones((256, 400), np.float32)
        def train(seed):
            fastnn.Network([400, 400, 1], seed=seed).fit(X, X[:, 0], batch_size=256)

        for threads in 1, 2:
            fastnn.set_num_threads(threads)
            Parallel(n_jobs=2, backend="threading")(delayed(train)(seed) for seed in range(2))
            print(core.team_size())
    """)
    assert run.stdout.split() == ["1", "2"], run.stderr


def goes_on(network, X, y):
    """What a worker does with a network that is in the middle of its training."""
    network.fit(X, y, epochs=2, batch_size=64)
    return network, network.predict(X)


def judged(model, X):
    """What a worker does with a fitted estimator."""
    return model, model.predict_proba(X)


def large_network():
    """After an epoch; of 1.5 MB, since joblib hands arrays of more than one to processes as read-only files."""
    X = np.random.default_rng(4).normal(size=(700, 600)).astype("f")
    network = fastnn.Network([600, 600, 3], dropout=0.1, seed=5)
    network.fit(X, X[:, :3], batch_size=64, optimizer=fastnn.Adam())
    return network, X, X[:, :3]


def test_a_network_goes_to_a_worker_trains_on_there_and_comes_back(at_once):
    (network, X, y), (twin, _, _) = large_network(), large_network()
    with at_once():
        (returned, outputs), (second, _) = Parallel()(delayed(goes_on)(each, X, y) for each in (network, twin))
    expected = large_network()[0]
    _, expected_outputs = goes_on(expected, X, y)
    assert same_bits(outputs, expected_outputs)
    for each in (returned, second, expected):
        goes_on(each, X, y)
        assert each.epochs_trained == 5
    assert same_bits(returned.get_parameters(), expected.get_parameters())
    assert same_bits(second.get_parameters(), expected.get_parameters())


def test_an_estimator_goes_to_a_worker_and_comes_back(at_once):
    rng = np.random.default_rng(6)
    X, y = rng.normal(size=(500, 600)), rng.integers(0, 3, 500)
    model = MLPClassifier((600,), max_iter=2, random_state=0, warm_start=True).fit(X, y)
    alone = copy.deepcopy(model)
    with at_once():
        (returned, probabilities), _ = Parallel()(delayed(judged)(model, X) for _ in range(2))
    assert same_bits(probabilities, alone.predict_proba(X))
    assert same_bits(returned.fit(X, y).predict_proba(X), alone.fit(X, y).predict_proba(X))


@pytest.mark.parametrize("most", [1, 2])
def test_loky_workers_have_the_threads_that_joblib_allows_them(most):
    with parallel_config("loky", n_jobs=2, inner_max_num_threads=most):
        found = places()
    expected = min(most, thread_count.available_processors())
    assert {(place.limit, place.team) for place in found} == {(expected, expected)}


# Optuna


@pytest.fixture
def optuna():
    optuna = pytest.importorskip("optuna", reason="NOT TESTED: optuna is not installed")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_pruned_fit_leaves_a_network_that_goes_on(optuna, jobs):
    """TrialPruned passes through fit; the network is where a shorter fit would have left it."""
    X, y = np.random.default_rng(7).normal(size=(100, 5)), np.random.default_rng(8).normal(size=100)
    networks = {}

    class Prune(fastnn.Callback):
        def __init__(self, trial):
            self.trial = trial

        def on_epoch_end(self, fit):
            self.trial.report(fit.history.loss[-1], fit.epoch)
            if fit.epoch == 3 and self.trial.number % 2:
                raise optuna.TrialPruned

    def objective(trial):
        network = networks[trial.number] = fastnn.Network([5, 8, 1], seed=trial.number)
        return network.fit(X, y, epochs=6, callbacks=[Prune(trial)]).loss[-1]

    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(objective, n_trials=6, n_jobs=jobs)
    for trial in study.trials:
        pruned = trial.number % 2 == 1
        assert trial.state == (optuna.trial.TrialState.PRUNED if pruned else optuna.trial.TrialState.COMPLETE)
        network, alone = networks[trial.number], fastnn.Network([5, 8, 1], seed=trial.number)
        losses = alone.fit(X, y, epochs=3 if pruned else 6).loss
        assert list(trial.intermediate_values.values()) == losses
        assert network.fit(X, y).loss == alone.fit(X, y).loss
        assert same_bits(network.get_parameters(), alone.get_parameters())


def test_a_diverged_trial_fails_alone(optuna):
    """With catch=DivergenceError a study goes on after it."""
    X = np.random.default_rng(9).normal(size=(50, 4))

    def objective(trial):
        rate = trial.suggest_float("rate", 1e-3, 1e20, log=True)
        return fastnn.Network([4, 8, 1]).fit(X, X[:, 0], epochs=3, optimizer=fastnn.SGD(rate)).loss[-1]

    study = optuna.create_study()
    for rate in (1e20, 1e-2):
        study.enqueue_trial({"rate": rate})
    study.optimize(objective, n_trials=2, n_jobs=2, catch=fastnn.DivergenceError)
    assert [trial.state.name for trial in study.trials] == ["FAIL", "COMPLETE"]
