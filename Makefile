# Every target does its own set-up: a virtual environment in .venv, the versions of
# constraints.txt, and this package installed in place.  On Windows, or without make,
# the same steps are plain pip lines in README.md.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
CASE   ?= digits-mlp
JOBS   ?= 2

# Small models on many threads measure the threads; one is also kinder to a laptop.
export OMP_NUM_THREADS      ?= 1
export OPENBLAS_NUM_THREADS ?= 1

.PHONY: help compare test test-proof test-quick test-peers lint format lab bench doctor exercises debian peers clean

help:  ## Show this list.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

compare: $(VENV)/run  ## Train one model in all four eras and compare them (CASE=digits-mlp).
	$(BIN)/workbench compare $(CASE)

test: $(VENV)/dev  ## Run the tests, with coverage.
	$(BIN)/python -m pytest -n $(JOBS) -m "not proof" --cov --cov-report=term --cov-fail-under=90

test-proof: $(VENV)/dev  ## Run what takes minutes: hostile answers, mutants, nbgrader, whole runs.
	$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup -m proof

test-quick: $(VENV)/dev  ## Run the tests that take seconds.
	$(BIN)/python -m pytest -n $(JOBS) -m "not slow and not proof"

test-peers: $(VENV)/dev $(VENV)/peers  ## Install PyTorch, JAX and autograd, and run what is held against them.
	$(BIN)/python -m pytest -n $(JOBS) -m peers tests/peers

lint: $(VENV)/dev  ## Check format, style, types and who imports whom.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/dev  ## Format the source.
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lab: $(VENV)/lab  ## Open the chapters in JupyterLab.
	$(BIN)/jupyter lab chapters

bench: $(VENV)/run  ## Time the engines against each other and against installed peers.
	$(BIN)/workbench bench

doctor: $(VENV)/run  ## Say what this installation can do, and what it lacks.
	$(BIN)/workbench doctor

exercises: $(VENV)/dev  ## Make exercises/ anew from solutions/, through nbgrader.
	for name in $$(ls solutions); do $(BIN)/workbench release $$name || exit 1; done

debian:  ## Install bubblewrap, the sandbox of `workbench grade` (Debian, Ubuntu; asks for sudo).
	bash .ci/debian.sh

peers: $(VENV)/peers  ## Install PyTorch, JAX and autograd, for `make bench` and `make test-peers`.

clean:  ## Remove the environment and everything that was built.
	rm -rf $(VENV) build dist *.egg-info .coverage .coverage.* htmlcov \
		.pytest_cache .ruff_cache .mypy_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- environments: one .venv, four growing sets of packages ------------------------

$(VENV)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or later is needed; name one with: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/run: $(VENV)/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --progress-bar on -c constraints.txt -e .
	@touch $@

$(VENV)/lab: $(VENV)/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --progress-bar on -c constraints.txt -e ".[lab]"
	@touch $@ $(VENV)/run

$(VENV)/dev: $(VENV)/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --progress-bar on -c constraints.txt -e ".[lab,course,cluster,dev,parallel]"
	@touch $@ $(VENV)/lab $(VENV)/run

$(VENV)/peers: $(VENV)/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --progress-bar on -c constraints.txt -e ".[peers]"
	@touch $@ $(VENV)/run
