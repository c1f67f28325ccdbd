# `make help` lists the targets.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# uv is quicker where it is there. PIP_ARGS: more options for it, or for pip.
UV := $(shell command -v uv 2>/dev/null)
PIP_INSTALL = $(if $(UV),$(UV) pip install --python $(BIN)/python,$(BIN)/python -m pip install) --quiet $(PIP_ARGS)
RUNTIME := $(VENV)/.installed
TOOLS := $(VENV)/.tools-installed

# Tests start hundreds of processes; each would compile all modules anew if none were kept.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help install install-dev demo test test-ci test-long test-busy chaos benchmarks docs images pictures lint format clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Each stamp is newer than pyproject.toml when all is installed, so a second run does nothing.
$(RUNTIME): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) --editable .
	@touch $(RUNTIME)

$(TOOLS): pyproject.toml $(RUNTIME)
	$(PIP_INSTALL) --editable '.[dev]'
	@touch $(TOOLS)

install: $(RUNTIME) ## Make .venv and install cnnrun into it, with what running needs

install-dev: $(TOOLS) ## The same with all tools and optional libraries

demo: install ## Train a small CNN on real handwritten digits (no download), show where the result is
	$(BIN)/cnnrun train configs/digits_cnn.yaml

test: install-dev ## Run the quick tests (3 minutes on 2 cores)
	$(BIN)/python -m pytest -q

test-long: install-dev ## Run the slow ones
	$(BIN)/python -m pytest -q -m slow

test-ci: install-dev ## Run all tests, as CI does
	$(BIN)/python -m pytest -q -m ''

test-busy: install-dev ## The tests while eight processes compute all the time
	$(BIN)/python -m tests.busy

chaos: install-dev ## Kill runs, break disks, mutate configs and files by the thousand, for an hour
	$(BIN)/python -m tests.chaos.campaign
	CNNRUN_THOROUGH=1 $(BIN)/python -m pytest -q -m slow

benchmarks: install-dev ## Images/s of loading, augmentation and training, against others'
	$(PIP_INSTALL) --editable '.[benchmarks]'
	$(BIN)/python -m benchmarks.training
	$(BIN)/python -m benchmarks.commands
	$(BIN)/python benchmarks/loading.py
	$(BIN)/python benchmarks/augmentation.py

docs: install-dev ## Write the reference pages, build the site into site/
	$(BIN)/python -m docs_build
	$(BIN)/python -m docs_build.coming_from > docs/coming_from.md
	$(BIN)/python -m tests.errors > docs/errors.md
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

pictures: images
images: install-dev ## Train shipped configs, draw the plots of README and docs (DATA=folder of MNIST)
	$(BIN)/python -m docs_build.images $(DATA)

lint: install-dev ## ruff (lint and format) and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install-dev ## Let ruff mend and format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## Remove caches (not runs, not the venv)
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist site
