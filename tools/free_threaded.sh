#!/usr/bin/env bash
# Runs the tests on a CPython without GIL: one after the other, and then those of computing by four threads at once.
#
#     PYTHON=python3.13t tools/free_threaded.sh                               the whole suite
#     PYTHON=python3.13t tools/free_threaded.sh tests/kernels/test_ops.py …   what pytest is told, both times
#
# Such a Python is CPython's sources after: ./configure --disable-gil && make && make install
# By threads: a test twice by each of four, except where pytest-run-parallel sees that it changes the process; it says so.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$(tools/environment.sh free-threaded scipy pandas scikit-learn tqdm joblib pytest-run-parallel)
"$python" -c 'import sys, fastnn; sys.exit(sys._is_gil_enabled() and "this Python has a GIL")'
one=("$@") four=("$@")
if [ $# = 0 ]; then
    echo "NOT TESTED: what needs scikit-learn 1.9, which has no wheel for CPython 3.13t"
    one=(--ignore-glob='*/test_sklearn*' --ignore-glob='*/test_sweeps*' -k "not (sklearn or grid_search or every_block_of_python or program_that_mypy)")
    four=(tests/kernels/test_{ops,ops_memory,ops_errors,activations,bits}.py tests/network/test_{network,gradients,layouts}.py
          tests/training/test_{training,regularisation,schedules,fit,validation,stopping,callbacks,python_loss}.py
          tests/training/test_{lbfgs,sources}.py tests/files/test_{saving,saving_checks,copies}.py
          -k "not sse2 and not avx512")
fi
"$python" -m pytest -q -p no:cacheprovider "${one[@]}"
"$python" -m pytest -q -p no:cacheprovider --parallel-threads=4 --iterations=2 "${four[@]}"
