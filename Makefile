# make demo and make test work on a fresh machine with Python 3.11+ and make: they install what they need into .venv.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/installed

.PHONY: demo test test-long notebooks lint docs clean

demo: $(STAMP)
	$(BIN)/hvit demo

test: $(STAMP)
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal

# Runs the tests that take seconds each, which `make test` leaves out.
test-long: $(STAMP)
	$(BIN)/python -m pytest -m long --numprocesses 2 --dist worksteal

# Runs the notebooks of examples/ from the first cell to the last.
notebooks: $(STAMP)
	$(BIN)/python -m pytest -m slow tests/test_notebooks.py

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/pyright
	$(BIN)/lint-imports

# The site goes to build/site; a broken link or a missing page is an error.
docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# Remade only when the list of dependencies changes.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("hvit needs Python 3.11 or newer; set PYTHON=...") if sys.version_info < (3, 11) else None'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing hvit and its dependencies into .venv (torch is large: this takes some minutes once)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,docs]'
	@touch $(STAMP)

clean:
	rm -rf .venv build dist src/*.egg-info .pytest_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
