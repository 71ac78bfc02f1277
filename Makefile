# `make help` lists the targets. Each sets up what it needs, `.venv` included.
# Runs with GNU make 3.81 and a POSIX shell.

# Any interpreter from 3.11 to the newest one that torch has files for, with venv and pip in it.
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' \
	2>/dev/null && echo $$python && break; done)

BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt
READY := .venv/.ready
PYTEST := $(BIN)/python -m pytest -q --durations=10
# Modules that only turn values into values: each branch of them has a test.
PURE := */memory/plan.py,*/memory/padding.py,*/memory/cost.py,*/memory/residency.py,*/memory/demand.py,*/memory/paging.py,*/attention/select.py,*/engine/judge.py,*/engine/breaker.py,*/engine/suspects.py,*/engine/watch.py,*/engine/bisect.py,*/consumer/lane.py,*/broker/codec.py,*/headrace/chunking.py

.DEFAULT_GOAL := help
.PHONY: help demo test check lint format types imports docker-check docs \
	test-unit test-integration test-models coverage chaos chaos-plain limited bench bench-memory clean distclean

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(READY)  ## Embed the committed sample and print the nearest pairs
	@mkdir -p build/demo && rm -f build/demo/vectors.jsonl
	@HEADRACE_STATE_DIR="$(CURDIR)/build/demo/state" $(BIN)/headrace run \
		-i benchmarks/data/sentences.jsonl -o build/demo/vectors.jsonl --model minilm
	@$(BIN)/python benchmarks/models/minilm/nearest.py benchmarks/data/sentences.jsonl build/demo/vectors.jsonl

test: $(READY)  ## Run every test (about four minutes on two cores)
	@$(PYTEST)

check: lint types imports docker-check docs  ## All that is checked without running headrace

lint: $(READY)  ## Style and format (ruff)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

format: $(READY)  ## Mend what `lint` can mend by itself
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

types: $(READY)  ## Types (mypy, strict)
	@$(BIN)/mypy

imports: $(READY)  ## Who may import whom (import-linter)
	@$(BIN)/lint-imports --no-logo

docker-check: $(READY)  ## Dockerfile and compose file, without an engine
	@$(BIN)/hadolint docker/Dockerfile
	@FLOWER_PASSWORD=unused $(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker/compose.yaml

docs: $(READY)  ## Links, headings and paths that the documents name
	@$(BIN)/python docs/check_links.py

test-unit: $(READY)  ## Tests without a broker
	@$(PYTEST) tests/unit

test-integration: $(READY)  ## Tests against a real Redis and real workers
	@$(PYTEST) tests/integration

test-models: $(READY)  ## Tests of the plugins
	@$(PYTEST) tests/models

coverage: $(READY)  ## Branch coverage of the unit tests; pure modules have all of it
	@$(PYTEST) tests/unit tests/models --cov --cov-branch --cov-report=term
	@$(BIN)/coverage report --include='$(PURE)' --fail-under=100

chaos: $(READY)  ## Kill, stop, cut and fill for some minutes, and account for every job
	@$(BIN)/python -m tests.faults

chaos-plain: $(READY)  ## The same done to plain Celery
	@$(BIN)/python -m tests.faults --plain

limited: $(READY)  ## MiniLM for two minutes under a limit of its address space
	@$(BIN)/python -m tests.models.minilm.performance.limited 120

bench: .venv/.ready-bench  ## Throughput beside other ways to embed the same texts
	@$(BIN)/python -m benchmarks.models.minilm.bulk

bench-memory: .venv/.ready-bench  ## Batch sizes beside a co-tenant: headrace, other ways, an oracle; a plot
	@$(BIN)/python -m benchmarks.memory

clean:  ## Remove what the targets wrote, except .venv
	rm -rf build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache

distclean: clean  ## Remove .venv too
	rm -rf .venv

$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "headrace needs Python 3.11 or newer with venv: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "Setting up .venv with $(PYTHON): some minutes the first time" >&2
	@$(PYTHON) -m venv .venv
	@$(INSTALL) -e ".[all,dev]"
	@touch $@

.venv/.ready-bench: $(READY)
	@echo "Installing what the benchmarks compare with" >&2
	@$(INSTALL) -e ".[bench]"
	@touch $@
