# Set-up, demo and checks. Needs GNU make and Python 3.11 or later; everything else is installed into .venv.
# With a C++ compiler the CPU kernels are built; without one slower kernels take their place.
# An interrupted set-up or pull goes on where it stopped: a stamp in .venv is written only when a step is done.

VENV := .venv
BIN := $(VENV)/bin
# Another interpreter: make PYTHON=/path/to/python3.12 demo
PYTHON ?= python3.11
# Options for pip, such as an index of CPU-only torch builds: PIP_OPTIONS='--extra-index-url ADDRESS'
PIP_OPTIONS ?=
INSTALL := $(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt $(PIP_OPTIONS)
KERNELS := local_backend/kernels/cpu
CPP := $(wildcard $(KERNELS)/*.h $(KERNELS)/*.cpp)
# The installation is redone when one of these changes.
INPUTS := pyproject.toml constraints.txt $(KERNELS)/CMakeLists.txt $(CPP)
# The demo and the tests use the embedded engine, whatever the environment says.
ASK := $(BIN)/deepseek-apps ask --backend local --model starter --seed 1 --usage

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help setup demo test check native format lint types imports unit bench clean

help: ## This list
	@echo "make TARGET, where TARGET is one of"
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  \1|\2/p' $(firstword $(MAKEFILE_LIST)) | awk -F'|' '{printf "%-10s %s\n", $$1, $$2}'

setup: $(VENV)/.installed-dev ## Install the project and everything its tests need into .venv

demo: $(VENV)/.installed-local ## Real answers from a model on this machine: no key, no port, no compiler
	@echo "== The starter model (1.1 GB, once)"
	@$(BIN)/deepseek-apps models pull starter >/dev/null
	@echo "== Three questions (before the first answer the weights are packed for this processor, once)"
	@$(call show,In one short paragraph: why is the sky blue during the day and red at sunset?)
	@$(call show,请用三句话介绍杭州，并推荐一道当地的菜。)
	@$(call show,Write a Python function that merges two sorted lists. Answer with code and one line of explanation.)
	@echo
	@echo "That ran in $(VENV). Next: $(BIN)/deepseek-apps chat, $(BIN)/deepseek-apps --help, README.md"

# Without /dev/null `ask` would add what is piped into make to its prompt.
show = printf '\n>>> %s\n\n' '$(1)' && $(ASK) --max-tokens 220 '$(1)' </dev/null

test: $(VENV)/.installed-dev ## Set-up, the small starter model (0.5 GB, once), then `make check`
	@echo "== The small starter model (0.5 GB, once)"
	@$(BIN)/deepseek-apps models pull starter-small >/dev/null
	@$(MAKE) --no-print-directory check

check: format lint types imports unit ## Format, lint, types, import rules, tests with coverage

format: $(VENV)/.installed-dev
	@echo "== ruff format"
	@$(BIN)/ruff format --check --quiet . || { $(BIN)/ruff format --diff --quiet .; exit 1; }
	@echo "== clang-format"
	@$(BIN)/clang-format --dry-run --Werror $(CPP) tests/unit/local_backend/kernels/*.cpp

lint: $(VENV)/.installed-dev
	@echo "== ruff check"
	@$(BIN)/ruff check --quiet .

types: $(VENV)/.installed-dev
	@echo "== mypy"
	@$(BIN)/mypy

imports: $(VENV)/.installed-dev
	@echo "== lint-imports"
	@$(BIN)/lint-imports --no-logo

unit: $(VENV)/.installed-dev
	@echo "== pytest"
	@$(BIN)/pytest --cov --cov-report=term:skip-covered

native: ## Rebuild only the C++ kernels, after a change to one (needs cmake; set-up builds them too)
	@cmake -S $(KERNELS) -B build/native >/dev/null
	@env -u MAKEFLAGS -u MAKELEVEL cmake --build build/native --parallel 4
	@cmake --install build/native >/dev/null

bench: ## How to run the benchmarks
	@echo "Each benchmark prints the machine, the bar or ceiling, what it measured and the ratio:"
	@for script in startup memory speed quality kernels v2_lite latent_cache adapter batching contention prefix_cache profile_step speculation mtp; do echo "  $(BIN)/python benchmarks/$$script.py"; done
	@echo "All take --help and --json; they need \`make setup\` and \`deepseek-apps models pull starter\`."

clean: ## Remove .venv and what the tools left; models stay in the cache directory
	@rm -rf $(VENV) build/native $(KERNELS)/_native.so .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .coverage htmlcov

$(VENV)/.python:
	@if $(BIN)/python -m pip --version >/dev/null 2>&1; then touch $@; exit; fi; \
	for python in '$(PYTHON)' python3.11 python3.12 python3.13 python3.14 python3; do \
		"$$python" -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
		echo "== Creating $(VENV) with $$("$$python" --version)"; \
		"$$python" -m venv --clear $(VENV) && touch $@; exit; \
	done; \
	echo "No Python 3.11 or later with its venv module was found (tried $(PYTHON), python3.11 to 3.14, python3)." >&2; \
	echo "Install one (Debian, Ubuntu: apt install python3.11 python3.11-venv), or: make PYTHON=/path/to/python" >&2; \
	exit 1

$(VENV)/.installed-local: $(VENV)/.python $(INPUTS)
	@$(call install,local)

$(VENV)/.installed-dev: $(VENV)/.python $(INPUTS)
	@$(call install,local$(comma)code$(comma)dev)
	@touch $(VENV)/.installed-local

comma := ,
define install
echo "== Installing deepseek-apps[$(1)] from constraints.txt (torch is the largest part; minutes the first time)"
@$(INSTALL) -e '.[$(1)]' || { echo "The installation did not finish; what is downloaded is kept: run it again." >&2; exit 1; }
@test -e $(KERNELS)/_native.so || echo "No CPU kernels (is there a C++ compiler?): slower, and \`$(BIN)/deepseek-apps doctor\` says what to do." >&2
@touch $@
endef
