"""The memory that a population takes is in proportion to its members' numbers, and nothing is left of many fits.

tracemalloc sees NumPy's arrays; what a process holds is seen from outside.
"""

import gc
import tracemalloc

import pytest
from helpers import NOT_SANITIZED
from programs import NEEDS_PROC, answer
from twins import data

import fastnn

pytestmark = pytest.mark.any_isa
LITTLE = 2**20


def peak(function):
    """The most memory that a call has taken at a time, in bytes."""
    function()
    gc.collect()
    tracemalloc.start()
    try:
        result = function()     # kept until it is measured
        return tracemalloc.get_traced_memory()[1], result
    finally:
        tracemalloc.stop()


def check_proportion(sizes, n, blocks, per_member=0, function=None):
    """At most so many blocks of all parameters, and so many bytes for each member, are taken."""
    numbers = 4 * n * sum((a + 1) * b for a, b in zip(sizes, sizes[1:], strict=False))
    taken, _ = peak(function)
    assert taken <= blocks * numbers + per_member * n + LITTLE, f"{taken / numbers:.2f} times the parameters"
    return taken


SHAPES = [([8, 16, 1], 2000), ([64, 256, 1], 200)]


@pytest.mark.parametrize("sizes, n", SHAPES, ids=["small", "wide"])
def test_building_takes_the_parameters_and_a_little_for_each_member(sizes, n):
    check_proportion(sizes, n, 1.1, 200, lambda: fastnn.Population(sizes, n))


@pytest.mark.parametrize("optimizer, blocks", [(fastnn.SGD(1e-4), 1), (fastnn.Adam(1e-4), 3)], ids=["SGD", "Adam"])
@pytest.mark.parametrize("sizes, n", [([8, 16, 1], 1000), ([64, 256, 1], 100)], ids=["small", "wide"])
def test_training_takes_copies_to_go_back_to(sizes, n, optimizer, blocks):
    """Parameters and the optimizer's state, and three copies of each."""
    X, y = data(16, sizes[0], dtype="float32")
    population = fastnn.Population(sizes, n)
    check_proportion(sizes, n, 4 * blocks + 1, 3000, lambda: population.fit(X, y, epochs=3, optimizer=optimizer))


def test_early_stopping_takes_one_copy_more():
    X, y = data(16, 64, dtype="float32")
    population = fastnn.Population([64, 256, 1], 50)
    check_proportion([64, 256, 1], 50, 6, 3000, lambda: population.fit(
        X, y, epochs=3, optimizer=fastnn.SGD(1e-4), early_stopping=fastnn.EarlyStopping(9)))


def test_shared_rows_are_not_copied_for_each_member():
    X, y = data(50_000, 16, dtype="float32")
    population = fastnn.Population([16, 4, 1], 64)
    taken, _ = peak(lambda: population.fit(X, y, epochs=1, batch_size=1000))
    each = 64 * 50_000 * 4                          # one number for every row and member
    assert taken < 2 * each + 2 * X.nbytes + LITTLE, f"{taken / X.nbytes:.1f} times X"


@NEEDS_PROC
@NOT_SANITIZED
def test_large_batches_of_many_inputs_take_little_beside_them():
    """What is gathered of a batch is in proportion to the batch, as for a network alone."""
    grown, size = answer("""
        import json
        import numpy as np, fastnn
        def most():
            with open("/proc/self/status", encoding="utf-8") as file:
                return next(int(line.split()[1]) << 10 for line in file if line.startswith("VmHWM"))
        X, y = np.ones((3000, 1000), "f"), np.ones(3000, "f")
        population = fastnn.Population([1000, 1], 16)
        population.fit(X[:8], y[:8], optimizer=fastnn.SGD(1e-6))
        before = most()
        population.fit(X, y, batch_size=3000, rows=5, optimizer=fastnn.SGD(1e-6), threads=1)
        print(json.dumps([most() - before, X.nbytes]))
    """)
    assert grown <= 4 * size, f"{grown / size:.1f} times the batch"


def test_predictions_take_themselves():
    X, _ = data(20_000, 16, dtype="float32")
    population = fastnn.Population([16, 32, 2], 32)
    taken, outputs = peak(lambda: population.predict(X))
    assert taken <= 1.1 * outputs.nbytes + LITTLE
    taken, _ = peak(lambda: population.mean_std(X))
    assert taken <= 7 * outputs.nbytes + LITTLE     # float64, and deviations of it


def test_saving_and_loading_take_a_few_times_the_file(tmp_path):
    path = tmp_path / "model"
    population = fastnn.Population([32, 64, 1], 500)
    population.fit(*data(16, 32), optimizer=fastnn.Adam())
    population.save(path)
    size = path.stat().st_size
    assert peak(lambda: population.save(path))[0] <= 5 * size + LITTLE
    assert peak(lambda: fastnn.Population.load(path))[0] <= 3.5 * size + LITTLE


def test_the_check_of_proportion_can_fail():
    with pytest.raises(AssertionError, match="times the parameters"):
        check_proportion(
            [64, 256, 1], 200, 1.1, 200, lambda: [fastnn.Population([64, 256, 1], 200) for _ in range(2)])


CYCLES = """
    import ctypes, gc, json, os, tempfile
    import numpy as np, fastnn
    malloc = ctypes.CDLL(None).malloc
    malloc.argtypes, malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
    rng = np.random.default_rng(88)
    X, Y = rng.normal(size=(64, 8)), rng.normal(size=(64, 2))
    path = os.path.join(tempfile.mkdtemp(), "model")
    kept = []
    def expect(error, function, *arguments, **options):
        try:
            function(*arguments, **options)
        except error:
            return
        raise AssertionError(f"no {{error.__name__}}")
    def raising(outputs, targets):
        raise ZeroDivisionError
    lasting, wide = fastnn.Population([8, 16, 2], 20), fastnn.Population([8, 300, 40, 2], 3)
    def cycle(number):
        population = fastnn.Population([8, 16, 2], 20, dropout=0.1)
        population.fit(X, Y, epochs=2, rows=4, validation_data="rest", metrics=["r2"],
                       early_stopping=fastnn.EarlyStopping(3))
        for each in (population, lasting, wide):
            each.fit(X, Y, batch_size=16, optimizer=fastnn.SGD(1e-4, momentum=0.9), threads=1 + number % 2)
            each.fit(X, Y, batch_size=16, optimizer=fastnn.Adam(1e-4), shuffle="shared")
            each.predict(X), each.mean_std(X), each.evaluate(X, Y), each.score(X, Y)
            each.predict_each(np.zeros((each.n, 8))), each[1].predict(X), each.select([1, 1])
        expect(ValueError, population.fit, X[:, 1:], Y)
        expect(ValueError, population.fit, X, Y, rows=[[0]] * 3)
        expect(fastnn.DivergenceError, population.fit, X, Y, optimizer=fastnn.SGD(1e30), epochs=9)
        expect(ZeroDivisionError, fastnn.Population([8, 2], 3, loss=raising).fit, X, Y)
        if number % 20 == 0:
            population.save(path)
            fastnn.Population.load(path).fit(X, Y)
        {leak}
    def resident():
        gc.collect()
        with open("/proc/self/statm", encoding="utf-8") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    for number in range(10):
        cycle(number)
    before = resident()
    for number in range(20):
        cycle(number)
    print(json.dumps([resident() - before, len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))]))
"""


def check_growth(leak="pass"):
    growth, files, threads = answer(CYCLES.format(leak=leak))
    print(f"{growth / 1024:.0f} KiB in 20 cycles, {files} files, {threads} threads")
    assert growth < 4_000_000, f"{growth} bytes in 20 cycles"
    assert files < 10 and threads < 8


@NEEDS_PROC
@NOT_SANITIZED
def test_nothing_is_left_of_hundreds_of_fits():
    check_growth()


@NEEDS_PROC
@NOT_SANITIZED
def test_the_check_of_growth_can_fail():
    with pytest.raises(AssertionError, match="bytes in 20 cycles"):
        check_growth("ctypes.memset(malloc(2**19), 1, 2**19)")
