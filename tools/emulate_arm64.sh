#!/usr/bin/env bash
# Builds fastnn for arm64 in build/arm64 and runs tests there, in an emulated processor: do its bits agree with those of
# this machine? (It says nothing about speed.)
#
#     tools/emulate_arm64.sh                                 test_bits.py and test_golden.py
#     tools/emulate_arm64.sh tests/kernels/test_bits.py -k …  what pytest is told
#
# On Debian 12, x86-64, with: debootstrap qemu-user-static gcc-aarch64-linux-gnu unzip, the architecture
# (dpkg --add-architecture arm64 && apt-get update), and `make build`. Takes three minutes and 400 MB the first time.
set -euo pipefail
cd "$(dirname "$0")/.."
if ! dpkg --print-foreign-architectures | grep -qx arm64; then
    echo "packages of arm64 cannot be had: dpkg --add-architecture arm64 && apt-get update" >&2
    exit 1
fi
here=$PWD/build/arm64 python=$PWD/.venv/bin/python
numpy=$("$python" -c 'import numpy; print(numpy.__version__)')
mkdir -p "$here" && cd "$here"

if [ ! -e ready ]; then
    # A system of packages that were unpacked, never configured: Python's libraries are all it is for.
    # In a folder without a space: below another one debootstrap leaves out the packages that others need, libc6 too.
    unpacked=$(mktemp -d)
    debootstrap --arch=arm64 --foreign --variant=minbase --include=python3-minimal bookworm "$unpacked/system"
    rm -rf system && mv "$unpacked/system" . && rmdir "$unpacked"
    (cd system/var/cache/apt/archives && apt-get download \
        python3.11-minimal:arm64 libpython3.11-minimal:arm64 libpython3.11-stdlib:arm64 libffi8:arm64)
    for package in system/var/cache/apt/archives/*.deb; do dpkg -x "$package" system; done
    tags=(--platform manylinux2014_aarch64 --platform manylinux_2_27_aarch64 --platform manylinux_2_28_aarch64)
    "$python" -m pip download -q --only-binary=:all: "${tags[@]}" --python-version 3.11 -d wheels \
        "numpy==$numpy" safetensors pytest hypothesis
    for wheel in wheels/*.whl; do unzip -q -o "$wheel" -d site; done
    touch ready
fi

rm -rf source && mkdir source
(cd ../.. && git ls-files -z | xargs -0 cp --parents -t "$here/source")
cd source
CC=aarch64-linux-gnu-gcc LDSHARED="aarch64-linux-gnu-gcc -shared" _PYTHON_HOST_PLATFORM=linux-aarch64 \
    SETUPTOOLS_EXT_SUFFIX=.cpython-311-aarch64-linux-gnu.so "$python" setup.py build_ext --inplace -j2

# Not what starts other programs, as the emulator runs this one alone.
[ $# -gt 0 ] || set -- tests/kernels/test_bits.py tests/files/test_golden.py -k "not whatever_numpy"
PYTHONPATH=src:$here/site QEMU_LD_PREFIX=$here/system \
    qemu-aarch64-static -E PYTHONHOME="$here/system/usr" "$here/system/usr/bin/python3.11" \
    -m pytest -q -p no:cacheprovider "$@"
