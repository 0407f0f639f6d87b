# Everything a person or CI does here. A bare `make` prints this help.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.PHONY: help able install demo up down unit check test litellm-versions cluster-api cluster images lint format schemas bench chaos fuzz simulate

UV_VERSION := 0.13.9
# The interpreter itself, not a shim of it: uv lays an environment anew whose interpreter "moved".
# Looked for once, when a target needs it.
ifndef PYTHON
PYTHON = $(eval PYTHON := $(shell for name in python3.11 python3.12 python3.13 python3; do \
	$$name -c 'import os, sys; (3, 11) <= sys.version_info < (3, 14) or sys.exit(1); \
	print(os.path.realpath(sys.executable))' 2>/dev/null && break; done))$(PYTHON)
endif
# A uv of our own when the machine has none: a fresh machine needs only Python, git and make.
UV := $(shell command -v uv || echo .uv/bin/uv)
RUN := $(UV) run --locked --no-sync
# Memory in huge pages, of Linux alone: a virtual machine can pay dearly for each small page, and mypy
# takes several times as long. What is measured or shown (demo, bench) runs without.
HUGE_PAGES := GLIBC_TUNABLES=glibc.malloc.hugetlb=1 PYTHONMALLOC=malloc
ENVIRONMENT := $(or $(UV_PROJECT_ENVIRONMENT),.venv)
SIZE ?= small

help: ## Print this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F'\t' '{printf "  \033[1m%-16s\033[0m %s\n", $$1, $$2}'

able:
	@[ -w . ] || { echo "this checkout is read-only for $$(id -un): work in a copy that you may write to" >&2; exit 1; }
	@[ -n "$(PYTHON)" ] || { echo "Python 3.11, 3.12 or 3.13 is needed, and none is on the PATH: install one, or name it with PYTHON=/path/to/python" >&2; exit 1; }

.uv/bin/uv: | able
	@echo "installing uv $(UV_VERSION) into .uv"
	@said=$$( ($(PYTHON) -m venv .uv && .uv/bin/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)) 2>&1 ) || \
		{ echo "uv could not be installed, put one on the PATH; pip says: $$(grep . <<< "$$said" | tail -n 1)" >&2; exit 1; }

install: able $(if $(findstring .uv/,$(UV)),.uv/bin/uv) ## Install everything that is locked into .venv
	@$(UV) sync --quiet --locked --python $(PYTHON)

demo: install ## Run the whole thing on embedded parts with a real LiteLLM proxy as the caller
	@$(RUN) python -m demo run

up: install ## Start the embedded stack in the background and write .run/env
	@$(RUN) python -m demo up

down: ## Stop what `make up` started, and delete its embedded data; installs nothing
	@if [ ! -e .run/lock ]; then [ -e "$(ENVIRONMENT)" ] || echo "nothing is installed here"; echo "nothing runs in $$PWD/.run"; \
	elif [ -x "$(ENVIRONMENT)/bin/python" ]; then "$(ENVIRONMENT)/bin/python" -m demo down; \
	else echo "what was installed here is gone: \`make install\`, then \`make down\`" >&2; exit 1; fi

# `-n auto`: more processes than cores, as most tests wait; tests/conftest.py says how many.
PYTEST := $(HUGE_PAGES) $(RUN) pytest -n auto

unit: install ## Run the tests that need nothing but Python, in seconds
	@$(PYTEST) tests/unit

check: lint ## What to run before each commit: lint, unit and repository tests, without what is slow
	@$(PYTEST) tests/unit tests/repository -m "not slow"

# Of the wall, a net: whoever ends a run from outside does not learn what had failed until then.
test: install ## Run everything that needs no cluster
	@$(PYTEST) --session-timeout=3600 tests/unit tests/repository tests/integration tests/system tests/chaos

litellm-versions: install ## Make the same calls through a proxy of every version of LiteLLM that is supported
	@LITELLM_VERSIONS=all $(HUGE_PAGES) $(RUN) pytest -n 3 tests/system/test_litellm_versions.py tests/integration/test_spend_log_of_a_proxy.py tests/integration/test_killed_proxy.py tests/integration/test_spend_guard_plugin.py

cluster-api: install ## Install, upgrade and roll back the chart at a real API server, without nodes; needs Go
	@$(RUN) pytest tests/cluster

cluster: install ## Install, upgrade, hurt and drain the chart on a real node under load; needs root on Debian, Go, Java
	@$(RUN) python -m tests.cluster --seed $${CLUSTER_SEED:-1} --write

images: install ## Build the images with a real Docker engine and start the compose file; needs what cluster needs
	@$(RUN) python -m tests.cluster.images

lint: install ## Formatters in check mode, ruff, mypy, import contracts
	@$(RUN) ruff format --check .
	@$(RUN) ruff check .
	@$(HUGE_PAGES) $(RUN) mypy
	@$(RUN) lint-imports

format: install ## Let the formatters write
	@$(RUN) ruff format .
	@$(RUN) ruff check --fix .

schemas: install ## Write again what is generated from the code: JSON Schemas, OpenAPI, configuration page
	@$(RUN) python -m docs.generate

bench: install ## Measure everything against limits of the same run; SIZE=full writes docs/performance.md
	@$(RUN) python -m tests.bench --size $(SIZE)

fuzz: install ## Make up requests to the gateway for FUZZ_SECONDS (1,800 a half), and MUTATIONS (100,000) of callbacks
	@FUZZ_SECONDS=$${FUZZ_SECONDS:-1800} $(RUN) pytest -s tests/integration/test_gateway_fuzz.py
	@MUTATIONS=$${MUTATIONS:-100000} $(RUN) pytest tests/repository/test_compiled.py

chaos: install ## Kill and cut: 500 faults under load, hours; CHAOS_FAULTS and CHAOS_SEED choose others
	@CHAOS_FAULTS=$${CHAOS_FAULTS:-500} CHAOS_MATRIX=docs/reliability.md $(RUN) pytest -s -x tests/chaos

simulate: install ## Run the consumer's loop in SCHEDULES simulated orders (1,000,000), on all cores
	@$(RUN) python -m tests.simulation --schedules $${SCHEDULES:-1000000} --jobs $$(getconf _NPROCESSORS_ONLN)
