# `make help` lists the targets.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help install demo test test-long chaos benchmarks docs pictures lint format clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# The stamp is newer than pyproject.toml when all is installed, so a second run does nothing.
$(STAMP): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $(STAMP)

install: $(STAMP) ## Make .venv and install cnnrun with its tools into it

demo: install ## Train a small CNN on real handwritten digits (no download), show where the result is
	$(BIN)/cnnrun train configs/digits_cnn.yaml

test: install ## Run the tests (under 5 minutes on 2 cores)
	$(BIN)/python -m pytest -q

test-long: install ## The tests that take minutes each
	$(BIN)/python -m pytest -q -m slow

chaos: install ## Kill runs, break disks, mutate configs and files by the thousand, for an hour
	$(BIN)/python -m tests.chaos.campaign
	$(BIN)/python -m pytest -q -m slow tests/chaos -k "not campaign"
	$(BIN)/python -m pytest -q -m slow tests/config/test_fuzz_config.py \
	  tests/data/test_fuzz_images.py tests/runs/test_hostile_files.py tests/runs/test_damaged_and_foreign_checkpoints.py

benchmarks: install ## Images/s of loading, augmentation and training, beside others'
	$(BIN)/python -m benchmarks.training
	$(BIN)/python -m benchmarks.commands
	$(BIN)/python benchmarks/loading.py
	$(BIN)/python benchmarks/augmentation.py

docs: install ## Write the reference pages, build the site into site/
	$(BIN)/python -m docs_build
	$(BIN)/python -m tests.errors > docs/errors.md
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

pictures: install ## Train shipped configs, draw the pictures of README and docs (DATA=folder of MNIST)
	$(BIN)/python -m docs_build.pictures $(DATA)

lint: install ## ruff (lint and format) and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install ## Let ruff mend and format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## Remove caches (not runs, not the venv)
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist site
