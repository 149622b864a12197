# make demo: everything from nothing to result tables.  make test: lint, types and the whole suite.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test lint types pytest install clean

demo: install
	@$(BIN)/mm-milvus demo-catalog demo
	@$(BIN)/mm-milvus ingest demo/catalog.jsonl --uri demo/demo.db
	@echo; echo '$$ mm-milvus query --text "leather backpack" --limit 5'
	@$(BIN)/mm-milvus query --uri demo/demo.db --text "leather backpack" --limit 5
	@echo; echo '$$ mm-milvus query --image demo/query.jpg --limit 5'
	@$(BIN)/mm-milvus query --uri demo/demo.db --image demo/query.jpg --limit 5
	@echo; echo "$$ mm-milvus query --image demo/query.jpg --text red --filter 'price < 100' --limit 5"
	@$(BIN)/mm-milvus query --uri demo/demo.db --image demo/query.jpg --text red --filter 'price < 100' --limit 5

test: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

pytest: $(VENV)/.dev
	$(BIN)/pytest

install: $(VENV)/.user

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.user: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/.dev: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@ $(VENV)/.user

clean:
	rm -rf $(VENV) demo build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
