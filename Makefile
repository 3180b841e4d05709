# `make` lists what there is. Everything runs in .venv, which the first target builds from
# requirements.lock; nothing needs to be activated.
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# DVC runs a stage's `python` from PATH: put the environment first, as activating it would.
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export MLFLOW_DISABLE_TELEMETRY := true

.DEFAULT_GOAL := help
.PHONY: help setup repro test test-all check format ui summary lock clean distclean

help:  ## List the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.installed  ## Build .venv from requirements.lock

$(VENV)/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "colorgan needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V). Use: make PYTHON=python3.11 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@echo "Installing the environment: minutes the first time, some 6 GB on Linux"
	$(BIN)/python -m pip install -qq --require-hashes --no-deps -r requirements.lock
	$(BIN)/python -m pip install -qq --no-deps --no-build-isolation -e .
	@touch $@

repro: setup  ## Run the six stages on the bundled photos (only what changed), then print the metrics
	@# A ZIP file of the project has no git, which DVC has to be told.
	@git rev-parse --git-dir >/dev/null 2>&1 || dvc config --local core.no_scm true
	@python -m colorgan check-photos
	dvc repro
	@# With a full disk, DVC ends well without having kept the results.
	@dvc data status --json | python -c 'import json, sys; gone = json.load(sys.stdin).get("not_in_cache"); sys.exit(gone and "colorgan: not in the cache of DVC: " + ", ".join(sorted(gone)) + "; free some space on its disk, then run: dvc commit --force")'
	@python -m colorgan summary

# So many processes share the tests, each a file at a time, in the order of their names.
JOBS ?= 2
PYTEST := python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

test: setup  ## Run the tests of a change: six minutes on two cores
	$(PYTEST) -m "not slow"

test-all: setup  ## Run the rest: kills, queues, presets, the notebook, a browser
	$(PYTEST) -m slow

check: setup  ## Lint, format and types, as pre-commit does
	ruff check .
	ruff format --check .
	mypy

format: setup  ## Mend what lint and format can mend
	ruff check --fix .
	ruff format .

ui: setup  ## Compare the runs in the MLflow UI, on http://127.0.0.1:5000
	python -m colorgan ui

summary: setup  ## Print the metrics table and where the results lie
	python -m colorgan summary

lock:  ## Resolve requirements.lock anew (needs uv)
	uv pip compile --universal --generate-hashes --no-emit-index-url --no-header --no-annotate \
		--python-version 3.11 --extra dev --upgrade pyproject.toml -o requirements.lock

clean:  ## Remove caches and built packages (not data, models, runs or .venv)
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache
	find src tests benchmarks scripts -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean  ## Remove the environment too
	rm -rf $(VENV)
