# synthfed from a fresh clone: Python 3.11, git and make are enough.
#
#   make aml     set up, run the AML pipeline on simulated hospitals, end with a dossier
#   make scd     the same for sickle cell disease
#   make test    set up, pass all tests
#   make help    everything else

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.synthfed-setup
OUT := reports/runs
# One thread per process: sums of floats come out the same on every machine, and small matrices are fastest so.
export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help setup aml scd federation flower-sim test test-slow check coverage format bench bench-federation bench-peers bench-scale reference compare walkthroughs clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | sort | expand -t 14

setup: $(STAMP) ## make the environment in .venv (skipped when it is up to date)

$(STAMP): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "synthfed needs $(PYTHON); install Python 3.11 or set PYTHON=/path/to/python3.11"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "setting up .venv (a few minutes the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt hatchling
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-build-isolation --editable '.[dev]'
	@touch $@

aml: setup ## run the AML pipeline on the simulated cohort, up to its report
	@$(BIN)/synthfed run aml --out $(OUT)/aml --replace

scd: setup ## run the SCD pipeline on the simulated cohort, up to its report
	@$(BIN)/synthfed run scd --out $(OUT)/scd --replace

federation: setup ## a coordinator and three hospitals as real processes with TLS on this machine, up to a dossier (minutes)
	@$(BIN)/synthfed coordinator rehearse smoke --set 'generator={kind="marginal"}' --out $(OUT)/federation --replace

flower-sim: setup ## the smoke pipeline in Flower's own simulation engine (installs Ray; minutes)
	@$(BIN)/python -c 'import ray' 2>/dev/null || $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-build-isolation --editable '.[dev,simulation]'
	@rm -rf $(OUT)/simulation
	@$(BIN)/synthfed coordinator simulate smoke --out $(OUT)/simulation

test: setup ## all tests that a commit must pass, one file after the other on every core
	@$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

test-slow: setup ## the long tests
	@$(BIN)/python -m pytest -m 'slow or deploy'

check: setup ## format, lint, types, layers
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

coverage: setup ## lines and branches that tests reach in secagg, privacy and tables: at least 90 %
	@$(BIN)/python -m pytest -q tests/secagg tests/privacy tests/tables tests/attacks --cov=synthfed.secagg --cov=synthfed.privacy --cov=synthfed.tables --cov-fail-under=90

format: setup ## format and fix what can be fixed
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: setup ## speed, memory and comparisons, each with ratios taken in one run
	@$(BIN)/python -m pytest -m benchmarks -s -q

bench-federation: setup ## secure sums beside plain FedAvg: curves, time, traffic; pictures under reports/reference/federation
	@$(BIN)/python -m pytest -m benchmarks -s -q tests/benchmarks/test_federation.py

bench-peers: setup ## other tools beside ours on the same rows, each in an environment of its own; tables under reports/reference/peers (hours, resumable)
	@$(BIN)/python -m tests.benchmarks.peers

bench-scale: setup ## what a run costs by patients, columns, sites and numbers; page under reports/reference/scale (an hour)
	@rm -f reports/reference/scale/measured.json
	@$(BIN)/python -m pytest -m benchmarks -s -q tests/benchmarks/scale

reference: aml scd ## run the shipped pipelines and keep their report.json under reports/reference
	@for name in aml scd; do mkdir -p reports/reference/$$name && cp $(OUT)/$$name/report.json reports/reference/$$name/; done

compare: setup ## the kinds of generators side by side on simulated patients, tables kept under reports/reference (about 15 minutes)
	@for name in aml scd; do $(BIN)/synthfed compare $$name --epsilon 10 --seeds 2 --out $(OUT)/compare-$$name --replace || exit 1; done
	@mkdir -p reports/reference/compare && cp $(OUT)/compare-aml/aml.* $(OUT)/compare-scd/scd.* reports/reference/compare/

walkthroughs: setup ## from four hospitals to a clinician's answer, once per disease; pictures kept under reports/reference
	@for name in aml scd; do $(BIN)/python reports/walkthroughs/$$name.py reports/reference/walkthroughs/$$name || exit 1; done

clean: ## remove caches and run output, keep .venv
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist $(OUT)
