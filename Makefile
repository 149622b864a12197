# make demo: everything from nothing to result tables.  make test: lint, types and the whole suite.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test lint types pytest install clean

comma := ,
# Prints a query as one would type it, and runs it: $(call query,its heading,its options)
define query
@echo; echo '$(1)'; echo '$$ $(BIN)/mm-milvus query --uri demo/demo.db $(2)'
@$(BIN)/mm-milvus query --uri demo/demo.db $(2)
endef

demo: install
	@$(BIN)/mm-milvus demo-catalog demo
	@$(BIN)/mm-milvus ingest demo/catalog.jsonl --uri demo/demo.db
	$(call query,By words:,--text "leather backpack" --limit 5)
	$(call query,By a picture of white running shoes:,--image demo/images/runners-white-1.jpg --limit 5)
	$(call query,Like that picture$(comma) but red$(comma) and below a price:,--image demo/images/runners-white-1.jpg --text red --filter "price < 120" --limit 5)
	@echo; echo 'Next: add --html answer.html to a query and open that file; ask in Chinese (--text 红色T恤); then README.md, "Your own catalog".'

# Most tests wait for servers and processes: three at a time. Those that measure time come afterwards, one by one.
define run_tests
$(BIN)/pytest -n 3 --dist loadfile -m "not alone"
$(BIN)/pytest -m alone
endef

test: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(run_tests)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

pytest: $(VENV)/.dev
	$(run_tests)

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
