# The whole workflow; `make help` tells it.
# ARGS goes to the program that is run: `make test ARGS="-n 2 tests/broker"`. Tests that wait run side by side.

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq
ARGS :=

# Stamps: each says that the virtual environment holds what its rule installs.
MADE := $(VENV)/.made
RUNS := $(VENV)/.runs
DEVELOPS := $(VENV)/.develops

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test pyc helm check bench soak venv dev clean

help: ## Tell what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-6s %s\n", $$1, $$2 }' Makefile

demo: $(RUNS) ## Compare learners on real data: the whole machine at work on this computer
	@$(BIN)/batchpilot demo $(ARGS)

test: $(DEVELOPS) ## Install what the tests need, run all checks, then all tests
	@scripts/test-deps
	@$(MAKE) --no-print-directory -j3 check pyc helm
	$(BIN)/python -m pytest -n 6 $(ARGS)

pyc: $(DEVELOPS) ## Compile the tests once, not in each of the processes that run them
	@env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest --collect-only -qqq >$(VENV)/.collected \
		|| { cat $(VENV)/.collected; exit 1; }

helm: $(DEVELOPS) ## Get the helm that renders the chart in tests, once
	@$(BIN)/python -m tests.helm.binary

check: $(DEVELOPS) ## Lint, format, types, architecture, dependencies, spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/deptry core agent broker
	$(BIN)/codespell

bench: $(DEVELOPS) ## Run the benchmarks, one after another
	@set -e; for program in benchmarks/*.py; do \
		echo "== $$program"; $(BIN)/python "$$program" $(ARGS); \
	done

soak: $(DEVELOPS) ## Run jobs for 30 minutes (SOAK_MINUTES) while everything is killed at random
	@$(BIN)/python -m tests.soak

venv: $(RUNS) ## Make .venv with batchpilot and its extras

dev: $(DEVELOPS) ## The same, with the tools of tests and checks

clean: ## Remove .venv and everything that can be made again
	rm -rf $(VENV) build dist htmlcov .coverage .coverage.* .hypothesis
	rm -rf .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

$(MADE):
	@python=$$(scripts/find-python $(PYTHON)) && echo "Making $(VENV) with $$python" && \
		"$$python" -m venv $(VENV)
	@$(PIP) install --upgrade 'pip>=25.1'
	@touch $@

$(RUNS): $(MADE) pyproject.toml
	@echo 'Installing batchpilot into $(VENV) (about a minute, once)'
	@$(PIP) install --editable '.[broker,demo]'
	@touch $@

$(DEVELOPS): $(RUNS)
	@echo 'Installing the tools of tests and checks'
	@$(PIP) install --group dev
	@touch $@
