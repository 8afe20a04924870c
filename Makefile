# Every target sets itself up: a virtual environment in .venv, a constrained install, nothing global.
#   make install              .venv with all that developing takes; other targets install what they need
#   make digits               practice on real digits, and a report of it
#   make figures              draw every figure into out/figures (QUICK=1: fewer trials and seeds)
#   make test                 the tests that need neither minutes nor a GPU
#   make test-slow            those that need minutes
#   make test-gpu             those that need a GPU
#   make test-device          where tensors lie and what waits for a GPU, on a device in name only
#   make lint                 format, lint and types
#   make coverage             which lines the tests reach, into out/coverage
#   make docs                 the site, into out/site, which needs no network to be read; a demo for a static space, into out/demo
#   make bench                measure, and print one table of targets, rivals and growth
#   make bench-gpu            measure a GPU in ten minutes, into docs/results/gpu.csv
#   make torture              kill, damage, fill disks, inject faults, fuzz; one table (KINDS="kills ranks": only these)
#   make release-check        wheel and sdist in clean environments, with newest and lowest dependencies; into out/release
#   make audit                licences, and known holes, of what is installed
#   make clean                remove .venv and what was made
#   PIP_ARGS="--index-url …"  another package index, for example one with a GPU build of torch
PYTHON ?= python3
PIP_ARGS ?=
BIN := .venv/bin
PYTEST := $(BIN)/pytest --numprocesses auto --dist worksteal

# The arrays here are small: BLAS threads only get in the way of the processes that share the work.
export OMP_NUM_THREADS ?= 1

.PHONY: help install digits figures docs test test-slow test-gpu test-device coverage lint bench bench-gpu torture release-check audit clean

help:
	@sed -n "1,/^PYTHON/ s/^# *//p" Makefile

install: .venv/dev

.venv:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv .venv

.venv/real .venv/test .venv/dev: .venv/%: pyproject.toml constraints.txt | .venv
	$(BIN)/python -m pip install $(PIP_ARGS) --constraint constraints.txt --editable '.[$*]'
	touch $@ $(if $(filter dev,$*),.venv/real .venv/test)

digits: out/digits/result.json
	$(BIN)/dp real report out/digits

out/digits/result.json: | .venv/real
	$(BIN)/dp real run digits --out out/digits $(if $(wildcard out/digits),--resume)

figures: .venv/real
	$(BIN)/dp figures --out out/figures $(if $(QUICK),--quick)

docs: install
	$(BIN)/python -m pip install $(PIP_ARGS) --quiet --constraint constraints.txt --editable '.[docs]'
	$(BIN)/python docs/prepare.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	cp out/SKILL.md out/site

test: .venv/test
	$(PYTEST)

test-slow: .venv/test
	$(BIN)/pytest -m slow

test-gpu: .venv/test
	$(BIN)/pytest -m gpu

test-device: .venv/test
	$(PYTEST) -m fake_device tests/dp_real/runtime

coverage: install
	$(PYTEST) --cov --cov-report term --cov-report html:out/coverage

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyrefly check

bench: install
	$(BIN)/python benchmarks

bench-gpu: .venv/real
	$(BIN)/python -m benchmarks.gpu

torture: install
	$(BIN)/python -m torture $(KINDS)

release-check: install
	$(BIN)/pytest -m "slow or not slow" tests/test_release.py
	$(BIN)/python -m pip install $(PIP_ARGS) --quiet build twine
	$(BIN)/python -m build --outdir out/release
	$(BIN)/twine check --strict out/release/*

audit: install
	$(PYTHON) -m venv .venv/audit
	.venv/audit/bin/pip install $(PIP_ARGS) --quiet pip-licenses pip-audit
	.venv/audit/bin/pip-licenses --python $(BIN)/python --order license
	.venv/audit/bin/pip-audit --path $$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))') --skip-editable

clean:
	rm -rf .venv out build *.egg-info .pytest_cache .ruff_cache .hypothesis
