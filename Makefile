# make demo     the main job on real data: a table, a plot, an HTML report
# make test     the test suite, without what is slow;  make test-slow     what is slow
# make check    what every change must pass: lint, format, types, tests
# make fuzz     damaged files of every format: each is read or refused in one line (FORMATS="csv npz" MUTANTS=2000)
# make bench    measured against peers (see benchmarks/README.md)
# make leaderboard, make doctor-benchmark    hours; stopped and gone on with at will
# Each sets up .venv first where that has not been done. PYTHON=python3.13 chooses another Python.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed
# Small networks on busy cores are many times slower with several threads than with one.
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
# A worker a core, up to four: each takes up to 2.5 GB. A file's tests share what they trained, so they stay together.
TESTS := $(ONE_THREAD) $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

.PHONY: setup demo test test-slow check fuzz bench leaderboard doctor-benchmark

setup: $(INSTALLED)

$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "error: Salience needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1). Install one, or name it: make PYTHON=python3.12" >&2; exit 1; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv .venv || { \
	  rm -rf .venv; echo "error: $(PYTHON) cannot make a virtual environment; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@echo "installing into .venv; the first time this takes some minutes"
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

demo: setup
	$(BIN)/salience demo

test: setup
	$(TESTS) -m "not slow"

test-slow: setup
	$(TESTS) -m slow

check: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(TESTS)

fuzz: setup
	$(ONE_THREAD) $(BIN)/python -m tests.fuzz --mutants $(or $(MUTANTS),2000) $(if $(FORMATS),--formats $(FORMATS))

bench: setup
	$(BIN)/python -m benchmarks

leaderboard: setup
	$(BIN)/python -m benchmarks.cells.leaderboard

doctor-benchmark: setup
	$(BIN)/python -m benchmarks.cells.doctor
