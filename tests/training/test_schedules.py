"""Learning-rate schedules: PyTorch's figures, epochs beside steps, the way to a file and back, bad arguments.

What PyTorch computes was recorded by tools/record_pytorch.py.
"""

import copy
import json
import math
from decimal import Decimal, localcontext

import numpy as np
import pytest
from helpers import DATA

from fastnn.schedules import (
    CosineDecay,
    ExponentialDecay,
    Function,
    OneCycle,
    ReduceOnPlateau,
    Schedule,
    StepDecay,
    WarmUp,
    as_schedule,
    from_settings,
    half_cosine,
    power,
)

pytestmark = pytest.mark.any_isa

RECORD = json.loads((DATA / "pytorch.json").read_text(encoding="utf-8"))["schedules"]
LOSSES = RECORD["plateau_losses"]

# Each as recorded, by epoch.
RECORDED = {
    "step": lambda by: StepDecay(0.1, 7, by=by),
    "step_half": lambda by: StepDecay(0.3, 4, 0.5, by=by),
    "exponential": lambda by: ExponentialDecay(0.2, 0.9, by=by),
    "cosine": lambda by: CosineDecay(0.1, 40, by=by),
    "cosine_final": lambda by: CosineDecay(0.1, 29, 0.01, by=by),
    "one_cycle": lambda by: OneCycle(0.5, 30, by=by),
    "one_cycle_other": lambda by: OneCycle(0.5, 30, rise=0.45, start_divisor=10, final_divisor=100, by=by),
    "one_cycle_falling": lambda by: OneCycle(0.5, 30, rise=0.02, by=by),
    "plateau": lambda by: ReduceOnPlateau(0.1, 0.5, patience=2),
    "plateau_default": lambda by: ReduceOnPlateau(0.1),
    "plateau_bounded": lambda by: ReduceOnPlateau(0.1, 0.3, patience=0, min_change=0.1, lowest_rate=0.002),
    "plateau_tiny": lambda by: ReduceOnPlateau(1e-7, 0.5, patience=1),
    "warm_up": lambda by: WarmUp(0.1, 8, by=by),
    "warm_up_exponential": lambda by: WarmUp(ExponentialDecay(0.1, 0.9, by=by), 8, by=by),
    "warm_up_cosine": lambda by: WarmUp(CosineDecay(0.1, 40, by=by), 5, by=by),
}
BY_TIME = [name for name in RECORDED if not name.startswith("plateau")]
EVERY = {name: make("step") for name, make in RECORDED.items()} | {
    "mixed": WarmUp(StepDecay(0.1, 2, by="epoch"), 5, by="step"),
    "mixed_the_other_way": WarmUp(StepDecay(0.1, 2, by="step"), 5, by="epoch"),
    "nested": WarmUp(WarmUp(ReduceOnPlateau(0.1, patience=1), 3, by="epoch"), 4),
}


def by_epoch(schedule, losses=LOSSES, steps=3):
    """The rate of each epoch, the losses observed in between."""
    rates = []
    for epoch, loss in enumerate(losses):
        rates.append(schedule.rates(epoch, epoch * steps, steps))
        schedule.observe(loss)
    return rates


@pytest.mark.parametrize("name", RECORDED)
def test_pytorch(name):
    rates = by_epoch(RECORDED[name]("epoch"))
    assert all(type(rate) is float for rate in rates)
    np.testing.assert_allclose(rates, RECORD["cases"][name]["rates"], rtol=1e-10, atol=1e-17)


def test_every_record_is_used():
    assert RECORDED.keys() == RECORD["cases"].keys()


@pytest.mark.parametrize("name", BY_TIME)
def test_steps_are_as_epochs(name):
    rates = RECORDED[name]("step").rates(0, 0, 100)
    assert rates.shape == (100,) and rates.dtype == np.float64
    assert rates.tolist() == by_epoch(RECORDED[name]("epoch"), [1.0] * 100)


@pytest.mark.parametrize("name", BY_TIME)
@pytest.mark.parametrize("steps", [1, 3, 8])
def test_epochs_one_by_one(name, steps):
    schedule = RECORDED[name]("step")
    whole = schedule.rates(0, 0, 12 * steps)
    parts = [schedule.rates(epoch, epoch * steps, steps) for epoch in range(12)]
    assert np.concatenate(parts).tolist() == whole.tolist()


@pytest.mark.parametrize("base", [0.1, 0.3, 0.5, 0.9, 0.999, 1 - 2**-20, 1 - 2**-40, 1 - 2**-53, 1e-300])
def test_powers_are_right_to_half_a_unit_of_the_last_place(base):
    """Beside numbers of 60 digits; all in one call and one by one."""
    exponents = np.unique([*range(300), *(2**k + d for k in range(9, 46) for d in (-1, 0, 1)), 3**17, 5**15])
    values = power(base, exponents)
    assert values[0] == 1 and values[1] == base
    with localcontext() as context:
        context.prec = 60
        for exponent, value in zip(exponents.tolist(), values.tolist(), strict=True):
            exact = Decimal(base) ** exponent
            if exact < Decimal("1e-300"):
                assert 0 <= value < 1.001e-300
                continue
            assert abs(Decimal(value) - exact) <= Decimal(0.51) * Decimal(math.ulp(value)), exponent
    assert [power(base, exponents[i:i + 1])[0] for i in range(len(exponents))] == values.tolist()


def test_powers_of_the_largest_exponents():
    assert power(0.999999, np.array([2**62, 2**62 - 1])).tolist() == [0, 0]
    assert power(1 - 2**-53, np.array([2**62]))[0] == pytest.approx(math.exp(-512), rel=1e-9)
    assert StepDecay(0.1, 2**60, 0.5, by="step").rates(0, 2**62, 1).tolist() == [0.1 * 0.5**4]


def test_half_cosine():
    """Exact at quarters of a turn, the same there and back, falling, and NumPy's to rounding."""
    p = np.arange(2**12 + 1) / 2**11
    values = half_cosine(p)
    assert half_cosine(np.array([0, 0.5, 1, 1.5, 2])).tolist() == [1, 0.5, 0, 0.5, 1]
    assert values.tolist() == values[::-1].tolist()
    assert (np.diff(values[:2**11 + 1]) < 0).all()
    np.testing.assert_allclose(values, np.cos(np.pi * p / 2) ** 2, rtol=0, atol=5e-16)


@pytest.mark.parametrize("by", ["epoch", "step"])
def test_function(by):
    called = []
    schedule = Function(lambda t: called.append(t) or 0.1 / (1 + t), by=by)
    rates = schedule.rates(epoch=2, first_step=6, steps=3)
    assert called == ([2] if by == "epoch" else [6, 7, 8])
    assert all(type(t) is int for t in called)
    np.testing.assert_array_equal(rates, 0.1 / (1 + np.array(called)) if by == "step" else 0.1 / 3)


def test_after_the_end():
    after = np.arange(5) + 0.5          # any times, if they come after the end
    np.testing.assert_array_equal(CosineDecay(0.1, 10).at(10 + after), 0)
    np.testing.assert_array_equal(CosineDecay(0.1, 10, 0.02).at(10 + after), 0.02)
    np.testing.assert_allclose(OneCycle(0.5, 30).at(29 + after), 0.5 / 25 / 1e4, rtol=1e-10)
    np.testing.assert_array_equal(WarmUp(1, 10).at(9 + after), 1)


@pytest.mark.parametrize("length", range(1, 12))
@pytest.mark.parametrize("rise", [1e-9, 0.1, 0.2, 0.25, 0.5, 0.9, 1 - 2**-53])
def test_one_cycle_of_any_shape(length, rise):
    schedule = OneCycle(0.5, length, rise)
    rates = schedule.rates(0, 0, length + 2)
    assert (rates >= 0).all() and rates.max() <= 0.5
    np.testing.assert_allclose(rates[length - 1:], 0.5 / 25 / 1e4, rtol=1e-10)
    top = rates.argmax()
    assert (np.diff(rates[:top + 1]) > 0).all() and (np.diff(rates[top:]) <= 0).all()


@pytest.mark.parametrize("by", ["epoch", "step"])
def test_warm_up_by_the_other_measure(by):
    other = {"epoch": "step", "step": "epoch"}[by]
    inner = StepDecay(0.1, 2, by=other)
    for epoch in range(4):
        t = epoch if by == "epoch" else np.arange(3 * epoch, 3 * epoch + 3)
        expected = np.minimum(1, (t + 1) / 5) * inner.rates(epoch, 3 * epoch, 3)
        np.testing.assert_array_equal(WarmUp(inner, 5, by=by).rates(epoch, 3 * epoch, 3), expected)


def test_warm_up_of_a_plateau():
    plateau, warm_up = ReduceOnPlateau(0.1, patience=1), WarmUp(ReduceOnPlateau(0.1, patience=1), 4, by="epoch")
    factors = np.minimum(1, np.arange(1, len(LOSSES) + 1) / 4)
    np.testing.assert_allclose(by_epoch(warm_up), factors * by_epoch(plateau), rtol=1e-15)
    assert warm_up.state() == plateau.state() != {}


def test_plateau_below_zero():
    standing = by_epoch(ReduceOnPlateau(0.1, 0.5, patience=1), [-1.0] * 6)
    falling = by_epoch(ReduceOnPlateau(0.1, 0.5, patience=1), [-1.0, -1.1, -1.2, -1.3, -1.4, -1.5])
    assert standing == [0.1, 0.1, 0.1, 0.05, 0.05, 0.025]
    assert falling == [0.1] * 6


@pytest.mark.parametrize("loss", [math.inf, math.nan])
def test_a_loss_that_is_not_finite_is_no_progress(loss):
    schedule = ReduceOnPlateau(0.1, 0.5, patience=1)
    assert by_epoch(schedule, [loss, loss, 1.0, loss, 0.5]) == [0.1, 0.1, 0.05, 0.05, 0.05]
    assert schedule.state() == {"rate": 0.05, "best": 0.5, "bad_epochs": 0}


@pytest.mark.parametrize("half", [0, 1, 5, 9, 30])
@pytest.mark.parametrize("name", EVERY)
def test_through_json(name, half):
    """A schedule that was saved and loaded goes on as the one that was not."""
    schedule = copy.deepcopy(EVERY[name])
    by_epoch(schedule, LOSSES[:half])
    text = json.dumps([schedule.settings(), schedule.state()], allow_nan=False)
    settings, state = json.loads(text)
    loaded = from_settings(settings)
    assert loaded == schedule and loaded.settings() == schedule.settings()
    loaded.set_state(state)
    assert loaded.state() == schedule.state()
    for a, b in zip(by_epoch(loaded), by_epoch(schedule), strict=True):
        np.testing.assert_array_equal(a, b)


def test_state_is_a_copy():
    schedule = ReduceOnPlateau(0.1, patience=0)
    start = schedule.state()
    by_epoch(schedule, [1.0, 1.0, 1.0])
    assert schedule.state() != start
    schedule.set_state(start)
    start["rate"] = 7.0
    assert schedule.state() == ReduceOnPlateau(0.1).state()


@pytest.mark.parametrize("name", EVERY)
def test_repr_and_equality(name):
    schedule = EVERY[name]
    again = eval(repr(schedule))
    assert again == schedule and hash(again) == hash(schedule) and again is not schedule
    assert [other for other in EVERY if EVERY[other] == schedule] == [name]
    with pytest.raises(AttributeError):
        schedule.rate = 1.0


def test_as_schedule():
    rate = as_schedule(np.float32(0.5))
    assert rate == 0.5 and type(rate) is float
    schedule = StepDecay(0.1, 3)
    assert as_schedule(schedule) is schedule
    assert as_schedule(math.exp) == Function(math.exp, by="epoch")
    assert as_schedule(math.exp) != Function(math.exp, by="step")


@pytest.mark.parametrize("make, error, message", [
    (lambda: StepDecay(0, 10), ValueError, "rate is 0, but must be a finite number above 0"),
    (lambda: StepDecay(math.nan, 10), ValueError, "rate is nan"),
    (lambda: StepDecay("fast", 10), TypeError, "rate is 'fast', but must be a number"),
    (lambda: StepDecay(0.1, 0), ValueError, "every is 0, but must be at least 1"),
    (lambda: StepDecay(0.1, 2.5), TypeError, "every is 2.5, but must be an integer"),
    (lambda: StepDecay(0.1, 10, 1), ValueError, "factor is 1, but must be a finite number above 0 and below 1"),
    (lambda: StepDecay(0.1, 10, by="steps"), ValueError, "by is 'steps', which does not exist; did you mean 'step'"),
    (lambda: ExponentialDecay(0.1, 0), ValueError, "factor is 0"),
    (lambda: CosineDecay(0.1, 0), ValueError, "length is 0"),
    (lambda: CosineDecay(0.1, 5, -0.1), ValueError, "final_rate is -0.1, but must be a finite number at least 0"),
    (lambda: OneCycle(-1, 5), ValueError, "highest_rate is -1"),
    (lambda: OneCycle(1, 5, rise=1.0), ValueError, "rise is 1.0"),
    (lambda: OneCycle(1, 5, start_divisor=0.5), ValueError, "start_divisor is 0.5, but .* at least 1"),
    (lambda: OneCycle(1, 5, final_divisor=math.inf), ValueError, "final_divisor is inf"),
    (lambda: ReduceOnPlateau(0.1, patience=-1), ValueError, "patience is -1, but must be at least 0"),
    (lambda: ReduceOnPlateau(0.1, min_change=1), ValueError, "min_change is 1, but .* below 1"),
    (lambda: ReduceOnPlateau(0.1, lowest_rate=-1), ValueError, "lowest_rate is -1"),
    (lambda: WarmUp(0, 5), ValueError, "schedule_or_rate is 0, but must be a finite number above 0"),
    (lambda: WarmUp(None, 5), TypeError, "schedule_or_rate is None, but must be a number, a schedule or a function"),
    (lambda: Function(0.1), TypeError, "function is 0.1, but must be a function"),
    (lambda: as_schedule("fast"), TypeError, "learning_rate is 'fast', but must be a number, a schedule or a function"),
    (lambda: as_schedule(StepDecay), TypeError, "learning_rate is <class"),
    (lambda: as_schedule(-0.1), ValueError, "learning_rate is -0.1, but must be a finite number above 0"),
    (lambda: Function(lambda t: -t).rates(3, 0, 1), ValueError, r"function\(3\) is -3, but .* at least 0"),
    (lambda: Function(lambda t: math.nan, by="step").rates(0, 7, 2), ValueError, r"function\(7\) is nan"),
    (lambda: Function(lambda t: None).rates(3, 0, 1), TypeError, r"function\(3\) is None, but must be a number"),
    (lambda: Function(math.exp).settings(), TypeError, "cannot be saved, as it holds a Python function"),
    (lambda: WarmUp(math.exp, 5).settings(), TypeError, "cannot be saved, as it holds a Python function"),
    (lambda: Schedule().rates(0, 0, 1), NotImplementedError, None),
])
def test_errors(make, error, message):
    with pytest.raises(error, match=message):
        make()


STEP = {"schedule": "StepDecay", "rate": 0.1, "every": 10}


def nested(depth):
    settings = STEP
    for _ in range(depth):
        settings = {"schedule": "WarmUp", "schedule_or_rate": settings, "length": 1}
    return settings


@pytest.mark.parametrize("settings, message", [
    ({"schedule": "Cosine", "rate": 0.1}, "did you mean 'CosineDecay'"),
    ({"schedule": "Function", "function": "print"}, "schedule is 'Function', which does not exist"),
    ({"schedule": "Schedule"}, "does not exist"),
    ({"rate": 0.1}, "schedule is None"),
    ({"schedule": ["StepDecay"]}, "schedule is "),
    (STEP | {"every": "10"}, "every is '10', but must be an integer"),
    (STEP | {"rate": -1}, "rate is -1"),
    (STEP | {"rate": STEP}, "rate is StepDecay"),
    (STEP | {"mood": 1}, "unexpected keyword argument 'mood'"),
    ({"schedule": "StepDecay", "rate": 0.1}, "missing 1 required positional argument: 'every'"),
    (nested(1) | {"schedule_or_rate": {}}, "schedule is None"),
    (nested(100_000), "recursion"),
    ({}, "schedule is None"),
    ([1], "not the settings of a schedule"),
    (None, "not the settings of a schedule"),
])
def test_settings_from_bad_files(settings, message):
    with pytest.raises(ValueError, match=message):
        from_settings(settings)


@pytest.mark.parametrize("schedule, state", [
    (StepDecay(0.1, 10), {"rate": 0.1}),
    (StepDecay(0.1, 10), None),
    (WarmUp(0.1, 10), {"rate": 0.1}),
    *((ReduceOnPlateau(0.1), state) for state in (
        {}, None, [], {"rate": 0.1}, {"rate": -1, "best": None, "bad_epochs": 0},
        {"rate": 0.1, "best": math.nan, "bad_epochs": 0}, {"rate": 0.1, "best": "", "bad_epochs": 0},
        {"rate": 0.1, "best": 1.0, "bad_epochs": -1}, {"rate": 0.1, "best": 1.0, "bad_epochs": 0.5})),
])
def test_state_from_bad_files(schedule, state):
    before = schedule.state()
    with pytest.raises(ValueError):
        schedule.set_state(state)
    assert schedule.state() == before
