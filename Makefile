# The two commands: `make run` and `make test`. They need Python 3.11 or newer, with its venv module.

PYTHON ?= python3
export PORT ?= 8000
BIN := .venv/bin
# One process more than cores, as some tests wait for other programs. Each file's tests stay together, as they
# share a running application. In the order of their names the long ones begin early, while by the number of
# their tests, the default, they would be left for one core at the end.
PYTEST := $(BIN)/pytest --numprocesses $$(($$(nproc) + 1)) --dist loadfile --no-loadscope-reorder

.PHONY: run test lint test-sqlite test-postgresql bench screenshots lock

run: .venv/run
	$(BIN)/python manage.py migrate --verbosity 0
	$(BIN)/python manage.py load_demo
	PATH="$(CURDIR)/$(BIN):$$PATH" honcho start --port $(PORT) || [ $$? -eq 130 ]

test: lint test-sqlite test-postgresql

lint: .venv/test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

test-sqlite: .venv/test
	$(PYTEST) --database sqlite

test-postgresql: .venv/test
	$(PYTEST) --database postgresql

bench: .venv/test
	$(BIN)/python -m tests.benchmarks

screenshots: .venv/test
	$(BIN)/python -m tests.screenshots

# Locks the versions that `pyproject.toml` allows.
lock:
	uv pip compile --universal --python-version 3.11 --no-header --no-annotate pyproject.toml -o requirements.txt
	uv pip compile --universal --python-version 3.11 --no-header --no-annotate --group dev -c requirements.txt -o requirements-dev.txt
	sed -i '1i -r requirements.txt' requirements-dev.txt

.venv/run: requirements.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

.venv/test: .venv/run requirements-dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@
