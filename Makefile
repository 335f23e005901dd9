# The two commands: `make run` and `make test`. They need Python 3.11 or newer, with its venv module.

PYTHON ?= python3
export PORT ?= 8000
BIN := .venv/bin
# One process more than cores, since some tests wait for other programs. The tests of a file stay in one process,
# as they share a running application. By file name, the slowest files happen to start early; xdist's default, by
# the number of tests, would leave them for one core at the end.
PYTEST := $(BIN)/pytest --numprocesses $$(($$(nproc) + 1)) --dist loadfile --no-loadscope-reorder
DATABASES := sqlite postgresql

.PHONY: run test test-long lint audit bench bench-large messages screenshots lock

run: .venv/run
	$(BIN)/python manage.py migrate --verbosity 0
	$(BIN)/python manage.py load_demo
	PATH="$(CURDIR)/$(BIN):$$PATH" honcho start --port $(PORT) || [ $$? -eq 130 ]

test: lint $(DATABASES:%=test-%)

test-long: $(DATABASES:%=test-long-%)

lint: .venv/test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive activity msr_project repositories
	env -i PUBLIC_URL=https://audit.example.com DATA_DIR="$(CURDIR)/.venv/check" \
		$(BIN)/python manage.py check --deploy --fail-level INFO

# These run real registries, browsers and workers, which a busy machine slows down beyond any timeout now and then.
# What fails is run once more, and the summary lists the reruns.
test-long-%: .venv/test
	$(PYTEST) -m long --database $* --reruns 1 -r fER

test-%: .venv/test
	$(PYTEST) -m "not long" --database $*

# EVENTS=50000 make bench is a quick trial. The data aren't in var/, which nobody else can enter: for root, PostgreSQL
# runs as another user.
bench: .venv/test
	rm -rf .bench
	$(BIN)/python -m tests.benchmarks --events $${EVENTS:-1000000} --folder .bench --report docs/benchmarks.md
	rm -rf .bench

# Says what it takes, and continues when it has been stopped. Its data stay in .bench-large.
bench-large: .venv/test
	$(BIN)/python -m tests.benchmarks --events $${EVENTS:-20000000} --folder .bench-large \
		--report docs/benchmarks-large.md

# Asks PyPI which locked versions have known vulnerabilities, and fails if PyPI doesn't know a package. CI doesn't run
# it, because the answer changes daily.
audit:
	$(PYTHON) -m venv .venv/audit
	.venv/audit/bin/pip install --quiet --disable-pip-version-check pip-audit
	.venv/audit/bin/pip-audit --strict --no-deps --disable-pip --requirement requirements-dev.txt

screenshots: .venv/test
	$(BIN)/python -m tests.screenshots

# Updates the files that translators copy. The time would change them each time.
messages: .venv/test
	for app in activity msr_project repositories; do \
		(cd $$app && ../$(BIN)/django-admin makemessages --locale en --no-obsolete --add-location file && \
		sed -i '/^"POT-Creation-Date:/d' locale/en/LC_MESSAGES/django.po) || exit 1; \
	done

# Locks the versions that `pyproject.toml` allows.
lock:
	uv pip compile --universal --python-version 3.11 --no-header --no-annotate --all-extras pyproject.toml -o requirements.txt
	uv pip compile --universal --python-version 3.11 --no-header --no-annotate --group dev -c requirements.txt -o requirements-dev.txt
	sed -i '1i -r requirements.txt' requirements-dev.txt

.venv/run: requirements.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

.venv/test: .venv/run requirements-dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@
