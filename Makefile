# `make run` starts the broker, `make test` runs the test suite. Both need Python 3.11 or newer and nothing else.
#
# Two virtual environments, made when they are needed and brought up to date when something changed:
#   build/venv   harebell as users get it: installed from the wheel, compiled where there is a C compiler
#   .venv        for development: harebell straight from broker/, interpreted, with the tools
#
# Arguments: make run ARGS="--port 5673"    make test TESTS=tests/amqp PYTEST="-x -k confirm"    make run PYTHON=python3.13

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

ARGS ?=
TESTS ?= tests
PYTEST ?= -n auto
MINIMUM := 3, 11

DEV := .venv
RUN := build/venv
WHEELS := build/wheel
PIP_FLAGS := --quiet --disable-pip-version-check

# Make a virtual environment with the first Python that is new enough: define PYTHON to choose another.
define create_venv
@for python in $(or $(PYTHON),python3 python3.13 python3.12 python3.11 python3.14 python); do \
    "$$python" -c 'import sys; sys.exit(sys.version_info < ($(MINIMUM)))' 2>/dev/null || continue; \
    if ! "$$python" -c 'import venv, ensurepip' 2>/dev/null; then \
        echo "harebell: $$python cannot make virtual environments: install its venv package (python3-venv on Debian)" >&2; \
        exit 1; \
    fi; \
    echo "making $(1) with $$("$$python" --version)"; \
    "$$python" -m venv --clear $(1); exit; \
done; \
echo "harebell: needs Python 3.11 or newer, and found none; name one with PYTHON=/path/to/python" >&2; exit 1
endef

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: $(RUN)/.installed ## Run the broker on port 5672 (ARGS="--port 5673 ...")
	@exec $(RUN)/bin/harebell serve $(ARGS)

.PHONY: install
install: $(RUN)/.installed ## Install harebell into build/venv, compiled if possible

.PHONY: dev
dev: $(DEV)/.ready ## Make or update .venv for development

.PHONY: example
example: $(RUN)/.testing ## Live a day of the shop in examples/order_processing (ARGS="--url amqp://...")
	@$(RUN)/bin/python -m examples.order_processing $(ARGS)

# --- tests -------------------------------------------------------------------------------------------------------

.PHONY: test
test: test-interpreted test-compiled ## Run the whole test suite, interpreted and compiled

.PHONY: test-interpreted
test-interpreted: $(DEV)/.ready ## Run the tests on the sources in broker/
	HAREBELL_EXPECT_COMPILED=0 $(DEV)/bin/python -m pytest $(PYTEST) $(TESTS)

.PHONY: test-compiled
test-compiled: $(RUN)/.testing ## Run the tests on the compiled installation, if there is a C compiler
	@if $(call can_compile); then \
	    set -x; HAREBELL_EXPECT_COMPILED=1 $(RUN)/bin/python -m pytest -m "not once" $(PYTEST) $(TESTS); \
	else \
	    echo "harebell: no C compiler or no Python headers: the compiled flavour is not tested" >&2; \
	fi

# Whether extension modules can be built: a compiler, and the headers of this Python.
can_compile = printf '\#include <Python.h>\n' | $${CC:-cc} -fsyntax-only -x c \
    "-I$$($(RUN)/bin/python -c 'import sysconfig; print(sysconfig.get_path("include"))')" - 2>/dev/null

.PHONY: interop
interop: $(RUN)/.interop ## Run the tests with stock clients against harebell (INTEROP="-k celery")
	$(RUN)/bin/python -m pytest interop_tests $(INTEROP)

.PHONY: oracle
oracle: $(RUN)/.interop ## Run the same tests against a real RabbitMQ and record the results
	$(RUN)/bin/python tools/oracle check $(ORACLE)

.PHONY: crash
crash: $(RUN)/.testing ## Kill the broker, fill its disk, damage its files, and look for losses (ARGS="--rounds 200 --seed 1")
	$(RUN)/bin/python -m tests.crash $(ARGS)

.PHONY: fuzz
fuzz: $(RUN)/.testing ## Send malformed input to a broker for longer than the tests do (ARGS="--inputs 20000")
	$(RUN)/bin/python -m tests.hostile.fuzz $(ARGS)

.PHONY: bench
bench: $(RUN)/.installed ## Measure harebell beside RabbitMQ on this machine
	$(RUN)/bin/python -m bench $(ARGS)

# --- checks and generated files ----------------------------------------------------------------------------------

.PHONY: lint
lint: $(DEV)/.ready ## Check style, types and import layers
	$(DEV)/bin/ruff check .
	$(DEV)/bin/ruff format --check .
	$(DEV)/bin/mypy
	$(DEV)/bin/lint-imports
	@if [ -x $(DEV)/bin/hadolint ]; then set -x; $(DEV)/bin/hadolint Dockerfile; fi
	@if [ -x $(DEV)/bin/shellcheck ]; then set -x; $(DEV)/bin/shellcheck --severity=warning .ci/run config/docker/rabbitmq-diagnostics; fi

.PHONY: format
format: $(DEV)/.ready ## Put sources into the common form
	$(DEV)/bin/ruff check --fix .
	$(DEV)/bin/ruff format .

.PHONY: generate
generate: $(DEV)/.ready ## Write the generated files: config/harebell.toml, docs/settings.md, arguments.md, metrics.md, cli.md
	@mkdir -p config docs
	$(DEV)/bin/harebell config default > config/harebell.toml
	$(DEV)/bin/harebell config reference > docs/settings.md
	$(DEV)/bin/harebell config arguments > docs/arguments.md
	$(DEV)/bin/harebell config metrics > docs/metrics.md
	$(DEV)/bin/harebell config cli > docs/cli.md

# --- packages ----------------------------------------------------------------------------------------------------

.PHONY: dist
dist: $(DEV)/.ready ## Build the source distribution and a compiled wheel into dist/
	rm -rf dist
	HAREBELL_REQUIRE_COMPILED=1 $(DEV)/bin/python -m build --outdir dist .

.PHONY: clean
clean: ## Remove everything that was built, and both virtual environments
	rm -rf build dist $(DEV) broker/*.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find broker tests interop_tests bench tools -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

# --- virtual environments ----------------------------------------------------------------------------------------

# The checksums of all that goes into the wheel. The file changes only when one of them does, and what depends on it
# is rebuilt only then: not by a checkout that merely touches files, and also when a module is deleted.
build/sources: FORCE
	@mkdir -p build
	@{ find broker -name '*.py' -o -name py.typed; ls pyproject.toml setup.py LICENSE README.md; } \
	    | LC_ALL=C sort | xargs cksum > $@.new
	@if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi

.PHONY: FORCE
FORCE:

$(RUN)/bin/python:
	$(call create_venv,$(RUN))

$(RUN)/.wheel: build/sources $(RUN)/bin/python
	@echo "building harebell"
	@rm -rf $(WHEELS)
	@$(RUN)/bin/python -m pip wheel $(PIP_FLAGS) --no-deps --wheel-dir $(WHEELS) .
	@touch $@

$(RUN)/.installed: $(RUN)/.wheel
	@$(RUN)/bin/python -m pip install $(PIP_FLAGS) $(WHEELS)/*.whl
	@$(RUN)/bin/python -m pip install $(PIP_FLAGS) --no-deps --force-reinstall $(WHEELS)/*.whl
	@echo "installed harebell, $$($(RUN)/bin/python -m harebell.compiled | tail -1)"
	@touch $@

$(RUN)/.testing: $(RUN)/.installed
	@$(RUN)/bin/python -m pip install $(PIP_FLAGS) "$$(ls $(WHEELS)/*.whl)[test]"
	@touch $@

$(RUN)/.interop: $(RUN)/.testing interop_tests/requirements.txt
	@$(RUN)/bin/python -m pip install $(PIP_FLAGS) -r interop_tests/requirements.txt
	@touch $@

$(DEV)/bin/python:
	$(call create_venv,$(DEV))

$(DEV)/.ready: pyproject.toml setup.py $(DEV)/bin/python
	@HAREBELL_PURE=1 $(DEV)/bin/python -m pip install $(PIP_FLAGS) --editable '.[dev]'
	@touch $@
