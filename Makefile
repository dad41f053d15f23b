# What a person does with this repository. Everything needed is put into .venv beside this file; only Python and make must be there.
.DEFAULT_GOAL := help
.SUFFIXES:
.PHONY: help demo test kafka-test lint bench soak docs lock clean

# The first Python of 3.11 or newer that can make virtual environments. The system's comes first: distributions build theirs with profiles of its use,
# and the event path needs a quarter less of the processor with it than with one compiled plainly.
PYTHON ?= $(shell for name in /usr/bin/python3 python3 python3.14 python3.13 python3.12 python3.11 python; do \
	"$$name" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { command -v "$$name"; break; }; done)
BIN := .venv/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check --no-input
INSTALL := $(PIP) install --require-hashes --only-binary :all: --requirement
COMPILE := --generate-hashes --strip-extras --allow-unsafe --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --upgrade

help:
	@echo "make demo    the main job on real data, in ./home (made anew or carried on)"
	@echo "make test    every check: style, types, import contracts, tests"
	@echo "make kafka-test   every test on a real Kafka broker, with those that take long (make test leaves them out)"
	@echo "make lint    style, types and import contracts alone"
	@echo "make bench   the event path beside the bare path and beside others on Kafka, what-if, activation run, latency, recovery, memory, hostile documents"
	@echo "make soak    10,000 simulated histories with faults, kills at every named point and at random, every fault on three brokers, and the deliberate defects, each of which must turn its test red; 280,005 tax units beside Tax-Calculator"
	@echo "make docs    writes the pages that are made from code"
	@echo "make lock    resolves the requirements anew"
	@echo "make clean   removes .venv and caches, never a home"

demo: .venv/run.stamp
	@$(BIN)/payout demo $(ARGS)

test: lint
	@$(BIN)/python -m pytest -q -n 2 --dist loadfile -m "not soak" tests $(ARGS)

lint: .venv/dev.stamp
	@$(BIN)/python -m ruff check --quiet .
	@$(BIN)/python -m ruff format --check --quiet .
	@$(BIN)/python -m mypy --no-error-summary
	@$(BIN)/lint-imports --no-logo >.venv/lint-imports.txt || { cat .venv/lint-imports.txt; exit 1; }

bench: .venv/dev.stamp
	@status=0; for part in bench whatif_bench activation_bench "kafka_bench --repeats 1" latency_bench "recovery_bench --case named --copies 6" \
		"endurance_bench --events 1000000"; do $(BIN)/python -m loadtests.$$part || status=$$?; done; \
	$(BIN)/python tests/rules/hostile.py || status=$$?; exit $$status

# Kafka's jars are fetched once into .kafka here; a machine without that network passes these tests over and says so.
kafka-test: .venv/dev.stamp
	@$(BIN)/python -m pytest -q tests/kafka $(ARGS)

soak: kafka-test
	@status=0; $(BIN)/python -m loadtests.simulation --histories 10000 || status=$$?; $(BIN)/python -m loadtests.soak $(ARGS) || status=$$?; $(BIN)/python -m loadtests.faults || status=$$?; $(BIN)/python -m loadtests.taxcalc_comparison || status=$$?; exit $$status

docs: .venv/dev.stamp
	@$(BIN)/python tests/test_docs.py

lock: .venv/dev.stamp
	@$(PIP) install pip-tools
	@CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/python -m piptools compile --quiet $(COMPILE) --build-deps-for editable --output-file requirements.lock pyproject.toml
	@CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/python -m piptools compile --quiet $(COMPILE) --build-deps-for editable --extra dev --constraint requirements.lock --output-file requirements-dev.lock pyproject.toml
	@CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/python -m piptools compile --quiet $(COMPILE) --output-file loadtests/taxcalc.lock loadtests/taxcalc.in

clean:
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis *.egg-info build

.venv/run.stamp: requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "payout needs Python 3.11 or newer with its venv module; none was found. Install it (on Debian: python3 and python3-venv), or name one: make PYTHON=/path/to/python3.12" >&2; exit 1; }
	@echo "Setting up .venv with $(PYTHON); this is done once and takes about a minute." >&2
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || "$(PYTHON)" -m venv --clear .venv
	@$(INSTALL) requirements.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

.venv/dev.stamp: requirements-dev.lock .venv/run.stamp
	@$(INSTALL) requirements-dev.lock
	@touch $@
