"""How many threads work together: what the process may use, and what the user says.

`runtime.pyx` asks `get_num_threads` when there is work worth sharing. threadpoolctl, where it is
installed, reads and sets the same number. No thread is started here.
"""

import os
from contextlib import suppress

from .._checks import checked_integer

MOST = 1024


def cgroup_quota(memberships: str = "/proc/self/cgroup", root: str = "/sys/fs/cgroup") -> float | None:
    """The processors' worth of time that this process's control groups allow it (Linux), or None."""
    quotas = []
    with suppress(OSError, ValueError):             # version 2: a group and all above it
        groups = dict(line.split(":", 2)[1:] for line in contents(memberships).splitlines())
        parts = groups[""].strip("/").split("/") if "" in groups else None
        while parts is not None:
            with suppress(OSError, ValueError):     # "max" is no number: no quota here
                quota, period = contents(root, *parts, "cpu.max").split()
                quotas.append(int(quota) / int(period))
            parts = parts[:-1] if parts else None
    with suppress(OSError, ValueError):             # version 1
        microseconds = int(contents(root, "cpu", "cpu.cfs_quota_us"))
        if microseconds > 0:
            quotas.append(microseconds / int(contents(root, "cpu", "cpu.cfs_period_us")))
    return min(quotas, default=None)


def contents(*path: str) -> str:
    """The text of a file. (Without pathlib, whose import takes a tenth of fastnn's.)"""
    with open(os.path.join(*path), encoding="utf-8") as file:
        return file.read()


QUOTA = cgroup_quota()


def available_processors() -> int:
    """Processors that this process may keep busy: its affinity mask, and its control group's quota rounded up."""
    try:
        processors = len(os.sched_getaffinity(0))
    except AttributeError:          # not on this platform
        processors = os.cpu_count() or 1
    return processors if QUOTA is None else max(1, min(processors, -int(-QUOTA // 1)))


def get_num_threads() -> int:
    """The number of threads that share large steps and predictions.

    It is the number that was set by `set_num_threads` or FASTNN_NUM_THREADS. Otherwise it is the number of processors
    that the process may use, but not more than OMP_NUM_THREADS.
    """
    return limit or min(available_processors(), OPENMP_LIMIT)


def set_num_threads(n: int | None) -> None:
    """Sets the number of threads that share large steps and predictions. None is one for each available processor.

    Steps and predictions of less than about ten million operations always run on one thread, because two would be
    slower. The number does not change any bit of a result.

    >>> import fastnn
    >>> fastnn.set_num_threads(1)
    >>> fastnn.get_num_threads()
    1
    >>> fastnn.set_num_threads(None)
    """
    global limit
    limit = None if n is None else checked_integer("n", n, 1, MOST)


def limit_from_environment() -> int | None:
    """What FASTNN_NUM_THREADS says, or None; ImportError where it is no number of threads."""
    text = os.environ.get("FASTNN_NUM_THREADS")
    if not text:
        return None
    if not text.isdecimal() or not 1 <= int(text) <= MOST:
        raise ImportError(
            f"FASTNN_NUM_THREADS is {text!r}, but must be an integer from 1 to {MOST}; unset it or set it to one")
    return int(text)


def openmp_limit() -> int:
    """What OMP_NUM_THREADS says, by which joblib and Dask limit each of their workers; MOST where it says nothing.

    It may be a list, of which the first number counts. A value that is no number is ignored: the variable is not ours.
    """
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return int(first) if first.isdecimal() and int(first) > 0 else MOST


OPENMP_LIMIT = openmp_limit()
limit = limit_from_environment()

try:
    import threadpoolctl
except ImportError:
    pass
else:
    class ThreadpoolController(threadpoolctl.LibController):    # type: ignore[misc]  # a base without types
        """fastnn's threads, as threadpoolctl sees them: user_api and internal_api are "fastnn"."""

        user_api = internal_api = "fastnn"
        filename_prefixes = ("runtime",)    # of the compiled module that has the threads
        check_symbols = ("fastnn_team_size",)

        def get_num_threads(self) -> int:
            return get_num_threads()

        def set_num_threads(self, num_threads: int) -> None:
            set_num_threads(num_threads)

        def get_version(self) -> str:
            from .._version import __version__
            return __version__

    threadpoolctl.register(ThreadpoolController)
