# Every target sets itself up: a virtual environment in .venv, a constrained install, nothing global.
#   make figures              draw every figure into out/figures (QUICK=1: fewer trials and seeds)
#   make test                 the tests that need neither minutes nor a GPU
#   PIP_ARGS="--index-url …"  another package index, for example one with a GPU build of torch
PYTHON ?= python3
PIP_ARGS ?=
BIN := .venv/bin

# The arrays here are small: BLAS threads only get in the way of the processes that share the work.
export OMP_NUM_THREADS ?= 1

.PHONY: install figures test test-slow test-gpu lint bench clean

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install $(PIP_ARGS) --constraint constraints.txt --editable '.[real,dev]'
	touch $@

figures: install
	$(BIN)/dp figures --out out/figures $(if $(QUICK),--quick)

test: install
	$(BIN)/pytest --numprocesses auto

test-slow: install
	$(BIN)/pytest -m slow

test-gpu: install
	$(BIN)/pytest -m gpu

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright

bench: install
	for benchmark in benchmarks/*.py; do $(BIN)/python $$benchmark || exit 1; done

clean:
	rm -rf .venv out build *.egg-info .pytest_cache .ruff_cache .hypothesis
