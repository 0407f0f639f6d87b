# Everything a person or CI does here. A bare `make` prints this help.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.PHONY: help install demo up down unit check test lint format schemas bench chaos fuzz

UV_VERSION := 0.13.9
# The interpreter itself, not a shim of it: uv lays an environment anew whose interpreter "moved".
PYTHON ?= $(shell for name in python3.11 python3; do \
	$$name -c 'import os, sys; print(os.path.realpath(sys.executable))' 2>/dev/null && break; done)
# A uv of our own when the machine has none: a fresh machine needs only Python, git and make.
UV := $(shell command -v uv || echo .uv/bin/uv)
RUN := $(UV) run --locked --no-sync
SIZE ?= small

help: ## Print this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F'\t' '{printf "  \033[1m%-10s\033[0m %s\n", $$1, $$2}'

.uv/bin/uv:
	@echo "installing uv $(UV_VERSION) into .uv"
	@$(PYTHON) -m venv .uv
	@.uv/bin/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

install: $(if $(findstring .uv/,$(UV)),.uv/bin/uv) ## Install everything that is locked into .venv
	@$(UV) sync --quiet --locked --python $(PYTHON)

demo: install ## Run the whole thing on embedded parts with a real LiteLLM proxy as the caller
	@$(RUN) python -m demo run

up: install ## Start the embedded stack in the background and write .run/env
	@$(RUN) python -m demo up

down: install ## Stop what `make up` started
	@$(RUN) python -m demo down

# `-n auto`: more processes than cores, as most tests wait; tests/conftest.py says how many.
PYTEST := $(RUN) pytest -n auto

unit: install ## Run the tests that need nothing but Python, in seconds
	@$(PYTEST) tests/unit

check: lint unit ## What to run before each commit: lint and unit

test: install ## Run everything that needs no cluster
	@$(PYTEST) tests/unit tests/integration tests/system tests/chaos

lint: install ## Formatters in check mode, ruff, mypy, import contracts
	@$(RUN) ruff format --check .
	@$(RUN) ruff check .
	@$(RUN) mypy
	@$(RUN) lint-imports

format: install ## Let the formatters write
	@$(RUN) ruff format .
	@$(RUN) ruff check --fix .

schemas: install ## Write again what is generated from the code: JSON Schemas, OpenAPI, configuration page
	@$(RUN) python -m docs.generate

bench: install ## Measure everything against limits of the same run; SIZE=full writes docs/performance.md
	@$(RUN) python -m tests.bench --size $(SIZE)

fuzz: install ## Make up requests to the gateway for FUZZ_SECONDS (1,800 a half)
	@FUZZ_SECONDS=$${FUZZ_SECONDS:-1800} $(RUN) pytest -s tests/integration/test_gateway_fuzz.py

chaos: install ## Kill and cut: 500 faults under load, hours; CHAOS_FAULTS and CHAOS_SEED choose others
	@CHAOS_FAULTS=$${CHAOS_FAULTS:-500} CHAOS_MATRIX=docs/reliability.md $(RUN) pytest -s tests/chaos
