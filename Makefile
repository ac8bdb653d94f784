# Everything a checkout needs; `make help` lists it. Needs make and Python 3.11 or newer.

VENV := .venv
BIN := $(VENV)/bin
# The folder of `make demo`; DEMO_FLAGS reach `foreframe demo`.
OUT ?= runs/demo
# Test processes; the tests use one thread each.
WORKERS ?= 2

# Byte code is written as modules are first imported: half a minute faster than compiling all of
# them at installation. That needs Python to be allowed to write it.
PIP_FLAGS := --quiet --no-compile --disable-pip-version-check
# With LOCKED=1 every file that is installed must be in constraints.lock: continuous integration.
PIP := $(BIN)/python $(if $(LOCKED),scripts/lock.py install,-m pip install)
unexport PYTHONDONTWRITEBYTECODE
# The theme's advertisement of its successor.
export NO_MKDOCS_2_WARNING := 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo play test check format docs wheel test-lowest clean

help: ## list the targets
	@echo 'make demo            simulate, train, evaluate, predict and report, into $(OUT);'
	@echo '                     run again it goes on, with FRESH=1 it starts over'
	@echo 'make play            drive a robot in the browser, inside the model that comes with foreframe;'
	@echo '                     RUN=runs/demo drives in that of make demo (PLAY_FLAGS reach the command)'
	@echo 'make test            the tests (ARGS="-k schedule" chooses among them)'
	@echo 'make check           format, lint, types, import contracts, documentation'
	@echo 'make format          put the code into the format that check asks for'
	@echo 'make docs            the documentation as web pages, into site/'
	@echo 'make wheel           build the wheel and try it outside of the checkout'
	@echo 'make test-lowest     the tests on the oldest versions we admit (downloads about 3 GB)'
	@echo 'make setup           only the environment with the development tools, .venv'
	@echo 'make clean           remove the environments and all that was built; runs/ and data/ stay'
	@echo
	@echo 'PYTHON=/path/to/python chooses the interpreter; it needs Python 3.11 or newer.'

# Set-up -------------------------------------------------------------------------------------

# $(call make-venv,folder): an environment there unless a working one is already.
define make-venv
@if ! $(1)/bin/python -m pip --version >/dev/null 2>&1; then \
    for python in $(or $(PYTHON),python3 python3.14 python3.13 python3.12 python3.11); do \
        if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
            echo "Making $(1) with $$("$$python" --version)"; \
            exec "$$python" -m venv --clear $(1); \
        fi; \
    done; \
    echo "foreframe needs Python 3.11 or newer: $(or $(PYTHON),python3) is not." \
        "Install one, or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11" >&2; \
    exit 1; \
fi
endef

# Stamps: installation runs again only when what it installs has changed.
$(VENV)/.runtime: pyproject.toml constraints.txt
	$(call make-venv,$(VENV))
	@echo 'Installing foreframe and what it runs with (about half a minute, and the download)'
	@$(PIP) $(PIP_FLAGS) -c constraints.txt -e .
	@touch $@

$(VENV)/.web: $(VENV)/.runtime
	@echo 'Installing what the playground runs with'
	@$(PIP) $(PIP_FLAGS) -c constraints.txt -e '.[web]'
	@touch $@

# After the runtime rather than beside it: two pips in one environment would collide.
$(VENV)/.dev: $(VENV)/.runtime
	@echo 'Installing the development tools'
	@$(PIP) $(PIP_FLAGS) -c constraints.txt -e '.[dev]'
	@touch $@

setup: $(VENV)/.dev

# Use ----------------------------------------------------------------------------------------

demo: $(VENV)/.runtime
	$(BIN)/foreframe demo --out $(OUT) $(if $(filter-out 0 no,$(FRESH)),--fresh) $(DEMO_FLAGS)
	@echo 'In this checkout: make play RUN=$(OUT)'

play: $(VENV)/.web
	$(BIN)/foreframe play $(RUN) $(PLAY_FLAGS)

# Development --------------------------------------------------------------------------------

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n $(WORKERS) $(ARGS)

check: $(VENV)/.dev
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/mkdocs build --strict

format: $(VENV)/.dev
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

docs: $(VENV)/.dev
	$(BIN)/mkdocs build --strict
	@if command -v npm >/dev/null 2>&1; then \
	    rm -rf site/play; $(BIN)/foreframe export page push site/play; \
	else \
	    echo 'site/play, the playground without a server, is left out: npm is not here.'; \
	fi

wheel: $(VENV)/.dev
	bash scripts/check_wheel.sh $(BIN)/python

# The versions that pyproject.toml names as lower bounds, in an environment of their own.
test-lowest: $(VENV)-lowest/.stamp
	$(VENV)-lowest/bin/python -m pytest -n $(WORKERS) $(ARGS)

$(VENV)-lowest/.stamp: pyproject.toml constraints-lowest.txt
	$(call make-venv,$(VENV)-lowest)
	@$(VENV)-lowest/bin/python -m pip install $(PIP_FLAGS) -c constraints-lowest.txt -e '.[test]'
	@touch $@

clean:
	rm -rf $(VENV) $(VENV)-lowest build dist site .mypy_cache .pytest_cache .ruff_cache \
	    .import_linter_cache .hypothesis
	find $(wildcard src tests scripts examples benchmarks) -name __pycache__ -type d -prune -exec rm -rf {} +
