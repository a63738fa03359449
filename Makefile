# Two commands are all a newcomer needs: `make demo` and `make test`. Each makes its own virtual environment from
# requirements.lock and is quick the second time.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ARGS ?=

.PHONY: demo test check bench lock clean
.DEFAULT_GOAL := help

.PHONY: help
help:
	@echo "make demo             sample data, emulators and the Dagster UI (HEADLESS=1: a week end to end, a report, exit)"
	@echo "make test             the test suite"
	@echo "make faults           the fault suite in its long form (docs/faults.md)"
	@echo "make check            lint, types, import layers, definitions that load"
	@echo "make bench            measure every stage of a day of 200,000 events (ARGS: see bench/run.py --help)"
	@echo "make lock             resolve requirements.lock anew"

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or later is needed; set PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: $(STAMP)
	$(BIN)/mixpanel-aep demo $(if $(HEADLESS),--headless) $(ARGS)

test: $(STAMP)
	$(BIN)/python -m pytest -n auto -q $(ARGS)

faults: $(STAMP)
	$(BIN)/python -m pytest -n auto -q -m "" $(ARGS) mixpanel_aep_assets_tests/faults

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/dagster definitions validate --workspace workspace.yaml

bench: $(STAMP)
	$(BIN)/python bench/run.py $(ARGS)

lock:
	uv pip compile --quiet --universal --python-version 3.11 --extra demo --extra socks --group pyproject.toml:dev pyproject.toml --generate-hashes --no-emit-index-url --no-emit-find-links --no-header -o requirements.lock

clean:
	rm -rf $(VENV) .demo
