"""Wrong input to a population is refused in one sentence that names the argument, and the member if it is one member's.

Nothing changes: afterwards the population trains to the same bits as one that was never asked.
"""

import re

import numpy as np
import pytest
from bad_populations import CALLS, CONSTRUCTOR, FIT, NAMES, N, X, Y, population, weights
from programs import NEEDS_PROC, answer

import fastnn

pytestmark = pytest.mark.any_isa


def cases(table):
    return [pytest.param(name, value, error, words, id=f"{name}: {about}")
            for name, rows in table.items() for about, value, error, words in rows]


def check(ask, name, error, words):
    with pytest.raises(error) as caught:
        ask()
    sentence = str(caught.value)
    missing = [word for word in [NAMES.get(name, rf"\b{name}\b"), *words] if not re.search(word, sentence)]
    assert not missing, f"{sentence!r} lacks {missing}"
    assert 20 < len(sentence) < 500 and "\n" not in sentence


@pytest.mark.parametrize("name, value, error, words", cases(CONSTRUCTOR))
def test_constructor(name, value, error, words):
    if name == "n" and value == 2**62:
        with pytest.raises(error):
            population(value)
        return
    check(lambda: fastnn.Population([4, 6, 1], **{"n": N, name: value}), name, error, words)


def state(population):
    return (population.parameters.tobytes(), population.epochs.tolist(), id(population.optimizer),
            id(population.early_stopping), [member.optimizer.steps for member in population],
            population.engine.counts().tolist())


TRAINED = population(seeds=[5, 6, 7])
TRAINED.fit(X, Y, optimizer=fastnn.Adam(0.01), early_stopping=fastnn.EarlyStopping(5))
BEFORE = state(TRAINED)


@pytest.mark.parametrize("name, value, error, words", cases(FIT))
def test_fit(name, value, error, words):
    own = name == "X" and isinstance(value, np.ndarray) and value.ndim == 3
    arguments = {"X": X, "y": np.array([Y] * N) if own else Y, name: value}
    new = {} if name in ("optimizer", "early_stopping") else {
        "optimizer": fastnn.SGD(0.1, momentum=0.5), "early_stopping": fastnn.EarlyStopping(2)}
    check(lambda: TRAINED.fit(**arguments, **new), name, error, words)
    assert state(TRAINED) == BEFORE


def test_rows_that_do_not_go_together():
    for shuffle, options, words in [
            ("shared", {"rows": 3}, "different"), ("shared", {"validation_data": 0.25}, "different"),
            ("own", {"rows": [[0], [1, 2], [3]], "validation_data": 0.5}, "member 0"),
            ("own", {"rows": weights(), "validation_data": "rest"}, "member 0 leaves no row out")]:
        with pytest.raises(ValueError, match=words):
            TRAINED.fit(X, Y, shuffle=shuffle, **options)
    zero = np.r_[np.zeros(5), np.ones(15)]
    with pytest.raises(ValueError, match="member 1.*zero for every row|zero for every row.*member 1"):
        TRAINED.fit(X, Y, rows=[[9, 10], [0, 1], [11]], sample_weight=zero)
    with pytest.raises(ValueError, match="zero for every row"):
        TRAINED.fit(X, Y, rows=[np.arange(5, 20)] * 3, sample_weight=zero, validation_data="rest")
    assert state(TRAINED) == BEFORE


@pytest.mark.parametrize("name", CALLS)
def test_other_calls(name):
    ask, error, words = CALLS[name]
    check(lambda: ask(TRAINED), "", error, words)
    assert state(TRAINED) == BEFORE and TRAINED.seeds == (5, 6, 7)
    assert TRAINED.l1.tolist() == TRAINED.l2.tolist() == [0, 0, 0]


def test_words_of_other_libraries():
    with pytest.raises(TypeError, match="seed"):
        population(seed=3)
    with pytest.raises(TypeError, match=r"lr.*optimizer"):
        TRAINED.fit(X, Y, lr=0.1)


def test_a_population_that_was_never_built_says_so():
    class Forgets(fastnn.Population):
        def __init__(self):
            pass

    for empty in (Forgets(), fastnn.Population.__new__(fastnn.Population)):
        for ask in (lambda p: p.predict(X), lambda p: p.fit(X, Y), lambda p: p[0], lambda p: p.parameters,
                    lambda p: p.select([0])):
            with pytest.raises((RuntimeError, AttributeError, TypeError), match="__init__"):
                ask(empty)


def test_after_all_these_it_trains_as_if_nothing_had_been_asked():
    twin = population(seeds=[5, 6, 7])
    twin.fit(X, Y, optimizer=fastnn.Adam(0.01), early_stopping=fastnn.EarlyStopping(5))
    for each in (TRAINED.select(range(N)), twin):
        each.fit(X, Y)
        last = each.parameters.tobytes()
    assert last == twin.parameters.tobytes()


@NEEDS_PROC
def test_memory_that_is_not_there_is_refused_before_any_is_taken():
    """n and rows by views that repeat one number; the process may have so much more than it has."""
    answers, same = answer("""
        import json, resource, time
        import numpy as np, fastnn
        def in_use():
            with open("/proc/self/statm", encoding="utf-8") as file:
                return int(file.read().split()[0]) * resource.getpagesize()
        X, Y = np.ones((8, 4), "f"), np.ones((8, 1), "f")
        population, twin = (fastnn.Population([4, 6, 1], 3) for _ in range(2))
        population.fit(X, Y)
        twin.fit(X, Y)
        resource.setrlimit(resource.RLIMIT_AS, (in_use() + (256 << 20), resource.RLIM_INFINITY))
        def rows(*shape):
            return np.broadcast_to(np.zeros((), "f"), shape)
        answers = {}
        for name, ask in {
            "10**6 of 1000 parameters": lambda: fastnn.Population([10, 90, 1], 10**6),
            "10**9 members": lambda: fastnn.Population([1, 1], 10**9),
            "2**40 members": lambda: fastnn.Population([1, 1], 2**40),
            "2**62 members": lambda: fastnn.Population([1, 1], 2**62),
            "2**63 members": lambda: fastnn.Population([1, 1], 2**63),
            "2**61 numbers": lambda: fastnn.Population([2**16, 2**15, 1], 2**30),
            "10**9 shared rows": lambda: population.fit(rows(10**9, 4), rows(10**9, 1)),
            "10**9 own rows": lambda: population.fit(rows(3, 10**9, 4), rows(3, 10**9, 1)),
            "predictions for 10**9": lambda: population.predict(rows(10**9, 4)),
            "predictions for 10**9 each": lambda: population.predict_each(rows(3, 10**9, 4)),
            "outputs of 10**6 by 3 by 400": lambda: fastnn.Population([1, 400], 3).predict(rows(10**6, 1)),
            "evaluate 10**9": lambda: population.evaluate(rows(10**9, 4), rows(10**9, 1)),
            "a batch of 10**7": lambda: population.fit(rows(10**7, 4), rows(10**7, 1), batch_size=10**7),
            "select 10**9": lambda: population.select(np.broadcast_to(np.zeros((), int), 10**9)),
        }.items():
            start = time.perf_counter()
            try:
                ask()
                answers[name] = ["went well", "", 0]
            except (MemoryError, ValueError, OverflowError) as error:
                answers[name] = [type(error).__name__, str(error), time.perf_counter() - start]
        for each in (population, twin):
            each.fit(X, Y)
        print(json.dumps([answers, population.parameters.tobytes() == twin.parameters.tobytes()]))
    """, MALLOC_ARENA_MAX="1")
    wrong = {name: given for name, given in answers.items() if given[0] == "went well" or given[2] > 2}
    assert same and not wrong
    assert all(kind == "MemoryError" or len(sentence) > 20 for kind, sentence, _ in answers.values())
