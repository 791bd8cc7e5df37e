"""Ctrl-C at any time is raised after a whole step, and the network goes on from there.

Each fit runs in a process of its own, and a twin does as many steps without an interrupt. Many rounds are `nightly`.
"""

import numpy as np
import pytest
from helpers import rounds
from programs import answer

pytestmark = pytest.mark.any_isa

INTERRUPTS = """
    import json, os, signal, threading, time
    import numpy as np, fastnn

    signal.signal(signal.SIGINT, signal.default_int_handler)        # a background job may inherit "ignore"
    rng = np.random.default_rng(83)
    sizes, rows, batch, most_seconds = {shape}      # Ctrl-C comes within so many
    X, y = rng.normal(size=(rows, sizes[0])).astype("f"), rng.normal(size=(rows, sizes[-1])).astype("f")
    per_epoch = rows // batch
    fit = dict(batch_size=batch, shuffle=False)

    def network():
        return fastnn.Network(sizes, activation="tanh", seed=84)

    def after(steps):
        twin = network()
        optimizer = fastnn.SGD(1e-3)
        twin.fit(X, y, epochs=steps // per_epoch, optimizer=optimizer, **fit)
        if steps % per_epoch:
            twin.fit(X[:steps % per_epoch * batch], y[:steps % per_epoch * batch], optimizer=optimizer, **fit)
        return twin

    def same(one, other):
        return one.get_parameters().tobytes() == other.get_parameters().tobytes()

    start = time.perf_counter()
    after(2 * per_epoch)        # from here on it is as fast as it will be
    most_seconds = max(most_seconds, 2 * (time.perf_counter() - start))     # or a slow machine never gets beyond a step
    delays, steps_done, step_seconds, wrong = [], [], [], []
    for number in range({rounds}):
        net, sent = network(), 0.0
        def interrupt(seconds):
            global sent
            time.sleep(seconds)
            sent = time.perf_counter()
            os.kill(os.getpid(), signal.SIGINT)
        sender = threading.Thread(target=interrupt, args=[rng.uniform(0, most_seconds)])
        try:
            sender.start()
            net.fit(X, y, epochs=10**9, optimizer=fastnn.SGD(1e-3), **fit)
            wrong.append("fit returned")
        except KeyboardInterrupt:
            delays.append(time.perf_counter() - sent)
        sender.join()
        steps = net.optimizer.steps if net.optimizer else 0
        steps_done.append(steps)
        twin = after({seen})
        if not same(net, twin):
            wrong.append(f"not the bits of {{steps}} steps")
        for each in (net, twin):
            start = time.perf_counter()
            each.fit(X, y, optimizer=fastnn.SGD(1e-3), **fit)
            step_seconds.append((time.perf_counter() - start) / per_epoch)
        if not same(net, twin):
            wrong.append(f"other bits afterwards")
    print(json.dumps([wrong, delays, steps_done, step_seconds]))
"""
SHAPES = {
    "small": ([4, 8, 1], 64, 16, 0.05), "wide": ([64, 2000, 1], 512, 32, 0.1),
    "one batch": ([32, 256, 1], 10_000, 10_000, 0.15), "by threads": ([300, 500, 1], 512, 256, 0.1),
}


@rounds(20, 200)
@pytest.mark.parametrize("shape", SHAPES)
def test_control_c_at_any_time(shape, rounds):
    wrong, delays, steps, step_seconds = answer(
        INTERRUPTS.format(shape=SHAPES[shape], rounds=rounds, seen="steps"), timeout=1200)
    assert not wrong and len(delays) == rounds
    assert max(steps) > min(steps), "it always came at the same step: this test proves little"
    p99, step = np.quantile(delays, 0.99), np.quantile(step_seconds, 0.99)
    print(f"{shape}: Ctrl-C raises after {1e3 * np.median(delays):.2f} ms (median), {1e3 * p99:.2f} ms (p99), "
          f"{1e3 * max(delays):.2f} ms (most) of {rounds}; a step takes "
          f"{1e3 * np.median(step_seconds):.3f} ms (median), {1e3 * step:.3f} ms (p99)")
    if rounds >= 200:           # the promise, where the machine has time for it
        assert p99 <= 0.1 + step


def test_the_check_of_control_c_can_fail():
    wrong, *_ = answer(INTERRUPTS.format(shape=SHAPES["small"], rounds=2, seen="steps + 1"))
    assert wrong[0].startswith("not the bits of")
