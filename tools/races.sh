#!/usr/bin/env bash
# Runs tests of threads under ThreadSanitizer, fastnn and Python built for it: no report may have a frame of fastnn.
#
#     PYTHON=python3.13t tools/races.sh                                  test_threads.py, and what else is concurrent
#     PYTHON=python3.13t tools/races.sh tests/training/test_fit.py -k …  what pytest is told
#
# Such a Python is CPython's sources after: ./configure --disable-gil --with-thread-sanitizer && make && make install
# What it sees of NumPy is which memory it takes and frees. Nothing is suppressed: reports without a frame of fastnn are
# counted. One test is left out: who predicts with a network while it learns reads numbers as they change, as promised.
set -euo pipefail
cd "$(dirname "$0")/.."
reports=$PWD/build/races
export TSAN_OPTIONS="log_path=$reports/report exitcode=0 die_after_fork=0"
python=$(FASTNN_BUILD=thread-sanitizer tools/environment.sh races)

of_fastnn() {       # the reports, which are many in a file, each between two lines of =
    find "$reports" -name 'report.*' -exec cat {} + | awk -v RS='==================' '/WARNING/ && /site-packages\/fastnn\//'
}

rm -rf "$reports" && mkdir "$reports"
"$python" - <<'RACE'
from threading import Thread
import numpy as np, fastnn.ops
y, z = np.empty((2, 500, 500), "f"), np.ones((500, 500), "f")
for _ in range(20):     # the second thread may begin when the first one is done
    threads = [Thread(target=fastnn.ops.activation_forward, args=(y[0], z, "tanh")) for _ in range(2)]
    [thread.start() for thread in threads], [thread.join() for thread in threads]
RACE
[ -n "$(of_fastnn)" ] || { echo "a race that was made on purpose was not noticed; so nothing is proved"; exit 1; }

rm -rf "$reports" && mkdir "$reports"
[ $# -gt 0 ] || set -- tests/processes/test_{threads,threads_number,threads_of_one_network,processes,process}.py \
    -k "test_threads or sixteen or eight_threads or side_by_side or disturb_each_other"
passed=0
"$python" -m pytest -q -p no:cacheprovider "$@" || passed=$?
of_fastnn
all=$(find "$reports" -name 'report.*' -exec cat {} + | grep -c "WARNING: ThreadSanitizer" || true)
ours=$(of_fastnn | grep -c "WARNING: ThreadSanitizer" || true)
echo "$ours reports with a frame of fastnn, $((all - ours)) without"
[ "$passed" = 0 ] && [ "$ours" = 0 ]
