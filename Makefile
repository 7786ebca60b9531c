# `make demo` and `make test` set up all they need: a .venv with the versions of constraints.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: setup demo test test-all lint bench results clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "ai_econ_jax needs Python 3.11 or newer; set PYTHON=...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $(STAMP)

lint: setup
	$(BIN)/ruff check ai_econ_jax agents envs launch tests benchmarks
	$(BIN)/ruff format --check ai_econ_jax agents envs launch tests benchmarks
	$(BIN)/mypy ai_econ_jax agents envs launch
