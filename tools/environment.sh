#!/usr/bin/env bash
# Makes the virtual environment build/env-NAME of another Python, with fastnn and what most tests need; prints its Python.
#
#     PYTHON=python3.13t FASTNN_BUILD=debug tools/environment.sh NAME PACKAGE…
#
# safetensors has no wheel for these Pythons: they get its Python half, and tools/safetensors_rust.py for the other.
set -euo pipefail
cd "$(dirname "$0")/.."
environment=build/env-$1 python=$PWD/build/env-$1/bin/python
shift
{
    "$PYTHON" -m venv "$environment"
    "$python" -m pip install -q --upgrade pip
    "$python" -m pip install -q --prefer-binary 'setuptools>=77' 'cython>=3.1' 'numpy>=2' pytest hypothesis "$@"
    site=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    "$python" -m pip install -q --upgrade --no-deps --target "$site" --only-binary=:all: --implementation cp --abi abi3 \
        --python-version 3.13 --platform manylinux2014_x86_64 safetensors
    rm "$site"/safetensors/_safetensors_rust.*.so
    cp tools/safetensors_rust.py "$site/safetensors/_safetensors_rust.py"
    "$python" -m pip install -q --no-deps --no-build-isolation --no-cache-dir --force-reinstall .
} >&2
echo "$python"
