# Remit's verbs. Python 3.11 to 3.13 with venv is all that must be there before.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
export UV_PYTHON_DOWNLOADS := never
export UV_PROJECT_ENVIRONMENT := $(VENV)
export TF_CPP_MIN_LOG_LEVEL := 3
NATIVE := src/remit/gateway/native
ZIG := $(wildcard $(NATIVE)/*.zig) tools/native.py
GATE := $(NATIVE)/lib/remit-gate.x86_64.so $(NATIVE)/lib/remit-gate.aarch64.so

.DEFAULT_GOAL := help
.PHONY: help install native demo test lint format bench catalogue lock clean

help: ## what there is to do
	@awk -F':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(UV):
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
	  || { echo "remit needs Python 3.11 to 3.13; name one: make PYTHON=python3.13"; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip --quiet --disable-pip-version-check install uv==0.13.9

$(VENV)/.demo: $(UV) pyproject.toml uv.lock $(ZIG)
	@echo "installing what the story needs into $(VENV) (2 GB, once)"
	@$(UV) sync --quiet --frozen --inexact --extra demo --no-default-groups --reinstall-package remit
	@touch $@

$(VENV)/.dev: $(UV) pyproject.toml uv.lock tests/oracles/requirements.txt tests/providers/package-lock.json
	@echo "installing everything into $(VENV) (3 GB, once)"
	@$(UV) sync --quiet --frozen --inexact --all-extras
	@$(BIN)/python -m pip --quiet --disable-pip-version-check download --no-deps --require-hashes --only-binary=:all: \
	  --python-version 3.12 --dest $(VENV)/oracles --requirement tests/oracles/requirements.txt
	@$(BIN)/python tests/providers/install.py
	@$(BIN)/python tests/providers/browser.py
	@touch $@ $(VENV)/.demo

$(GATE) &: $(ZIG) | $(VENV)/.dev
	@$(BIN)/hatchling build --target wheel --hooks-only --directory .zig-cache

install: $(VENV)/.dev $(GATE) ## everything, for work on remit itself

native: $(GATE) ## the gateway's native module, when its source has changed

demo: $(VENV)/.demo ## the whole story on this machine, start to finish
	@$(BIN)/remit demo

test: $(VENV)/.dev $(GATE) lint ## the whole suite, offline
	@$(BIN)/python -m coverage erase
	@$(BIN)/python -m coverage run -m pytest
	@$(BIN)/python -m coverage combine --quiet
	@$(BIN)/python tools/coverage_floor.py

lint: $(VENV)/.dev ## style, types, and the arrows between the rooms
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/python -m ziglang fmt --check $(NATIVE)
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

format: $(VENV)/.dev ## put the source in form
	@$(BIN)/ruff check --quiet --fix . || true
	@$(BIN)/ruff format --quiet .
	@$(BIN)/python -m ziglang fmt $(NATIVE)

bench: $(VENV)/.dev $(GATE) ## measure the gateway, decisions, replay, identity, revocation, and data in TensorFlow
	@$(BIN)/python benchmarks/gateway.py
	@$(BIN)/python benchmarks/leases.py
	@$(BIN)/python benchmarks/pressure.py
	@$(BIN)/python benchmarks/decision.py
	@$(BIN)/python benchmarks/policy.py
	@$(BIN)/python benchmarks/replay.py
	@$(BIN)/python benchmarks/identity.py
	@$(BIN)/python benchmarks/revocation.py
	@$(BIN)/python benchmarks/startup.py
	@$(BIN)/python benchmarks/blob.py

catalogue: $(VENV)/.dev ## make the generated tables anew
	@$(BIN)/python tools/descriptors.py
	@$(BIN)/python tools/tensorflow_descriptors.py
	@$(BIN)/python tools/catalogue.py
	@$(BIN)/python tools/policy_reference.py
	@$(BIN)/python tools/remit_schema.py

lock: $(UV) ## choose versions anew
	@$(UV) lock --upgrade

clean: ## remove what make made
	@rm -rf $(VENV) $(NATIVE)/lib .zig-cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage*
