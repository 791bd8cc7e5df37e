"""How many threads share large work: what the process may use, what the environment says, or what the user sets."""

import os

import pytest
from programs import python
from shared_work import SHARED_WORK, large_network

import fastnn
from fastnn.core import thread_count


@pytest.mark.any_isa
@pytest.mark.parametrize("bad, error", [(0, ValueError), (-1, ValueError), (1025, ValueError), (1.5, TypeError),
                                        ("2", TypeError), (True, TypeError)])
def test_a_number_of_threads_is_checked(bad, error, number):
    network, X, y = large_network()
    number(2)
    with pytest.raises(error, match=f"n is {bad!r}, "):
        fastnn.set_num_threads(bad)
    assert fastnn.get_num_threads() == 2
    with pytest.raises(error, match=f"threads is {bad!r}, "):
        network.fit(X, y, threads=bad)
    assert network.epochs_trained == 0


@pytest.mark.any_isa
def test_the_environment_sets_the_number():
    script = "import fastnn; print(fastnn.get_num_threads(), fastnn.show_config(mode='dict')['threads'])"
    assert python(script, FASTNN_NUM_THREADS="3").stdout == "3 3\n"
    for bad in ("0", "-1", "two", "1.5", "4096"):
        run = python(script, FASTNN_NUM_THREADS=bad)
        assert run.returncode == 1
        assert f"FASTNN_NUM_THREADS is '{bad}', but must be an integer from 1 to 1024" in run.stderr


@pytest.mark.any_isa
@pytest.mark.parametrize("text, most", [("1", 1), ("2", 2), ("2,1", 2), (" 3 ", 3), ("64", 64), ("", None), ("0", None),
                                        ("-1", None), ("many", None)])
def test_openmps_limit_is_obeyed_below_what_the_process_may_use(text, most, monkeypatch, number):
    """It never raises the number, and what the user says to fastnn comes first."""
    number(None)
    monkeypatch.setenv("OMP_NUM_THREADS", text)
    assert thread_count.openmp_limit() == (most or thread_count.MOST)
    monkeypatch.setattr(thread_count, "available_processors", lambda: 4)
    monkeypatch.setattr(thread_count, "OPENMP_LIMIT", thread_count.openmp_limit())
    assert fastnn.get_num_threads() == min(most or 4, 4)
    number(5)
    assert fastnn.get_num_threads() == 5


@pytest.mark.any_isa
def test_openmps_limit_is_read_at_import():
    script = "import fastnn; print(fastnn.get_num_threads())"
    assert python(script, OMP_NUM_THREADS="1").stdout == "1\n"
    assert python(script, OMP_NUM_THREADS="1", FASTNN_NUM_THREADS="3").stdout == "3\n"


@pytest.mark.any_isa
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="NOT TESTED: no affinity masks here")
def test_the_affinity_mask_is_respected():
    run = python(SHARED_WORK + """
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    assert fastnn.get_num_threads() == 1
    train()
    assert core.team_size() == 1
    fastnn.set_num_threads(2)               # what the user says is obeyed
    train()
    assert core.team_size() == 2
    """)
    assert run.returncode == 0, run.stderr


@pytest.mark.any_isa
@pytest.mark.parametrize("quota, most", [(0.5, 1), (1.0, 1), (1.5, 2), (64.0, 10**6), (None, 10**6)])
def test_the_control_groups_quota_is_respected(quota, most, monkeypatch, number):
    number(None)
    monkeypatch.setattr(thread_count, "OPENMP_LIMIT", thread_count.MOST)
    monkeypatch.setattr(thread_count, "QUOTA", None)
    without = fastnn.get_num_threads()
    monkeypatch.setattr(thread_count, "QUOTA", quota)
    assert fastnn.get_num_threads() == min(without, most)


@pytest.mark.any_isa
def test_without_an_affinity_mask_all_processors_count(monkeypatch, number):
    """As on macOS, which has none."""
    number(None)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    monkeypatch.setattr(thread_count, "QUOTA", None)
    assert fastnn.get_num_threads() == 3


@pytest.mark.any_isa
@pytest.mark.parametrize("files, quota", [
    ({"proc": "0::/a/b\n", "sys/a/b/cpu.max": "max 100000\n", "sys/a/cpu.max": "150000 100000\n"}, 1.5),
    ({"proc": "0::/a\n", "sys/a/cpu.max": "200000 100000\n", "sys/cpu.max": "50000 100000\n"}, 0.5),
    ({"proc": "0::/\n", "sys/cpu.max": "max 100000\n"}, None),
    ({"proc": "4:cpu:/x\n", "sys/cpu/cpu.cfs_quota_us": "300000\n", "sys/cpu/cpu.cfs_period_us": "100000\n"}, 3.0),
    ({"proc": "4:cpu:/x\n", "sys/cpu/cpu.cfs_quota_us": "-1\n", "sys/cpu/cpu.cfs_period_us": "100000\n"}, None),
    ({}, None),
])
def test_the_control_groups_quota_is_read(files, quota, tmp_path):
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert thread_count.cgroup_quota(tmp_path / "proc", tmp_path / "sys") == quota


@pytest.mark.any_isa
def test_threadpoolctl_sees_and_limits_the_number(number):
    threadpoolctl = pytest.importorskip("threadpoolctl", reason="NOT TESTED: threadpoolctl is not installed")
    number(3)
    ours, = [info for info in threadpoolctl.threadpool_info() if info["user_api"] == "fastnn"]
    assert ours["num_threads"] == 3 and ours["version"] == fastnn.__version__
    with threadpoolctl.threadpool_limits(1):
        assert fastnn.get_num_threads() == 1
    assert fastnn.get_num_threads() == 3
