"""A pytest plugin, loaded with `-p tests.plugin`: the tests' environment and the programs they need.

It sets the environment before pytest-django reads the settings, which a conftest.py can't do.
With REQUIRE_SERVICES=1, as in CI, a missing program fails the tests that need it instead of
skipping them.
"""

import os
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from selenium.webdriver import Chrome

from tests import services

# What the settings read; the developer's own values are none of the tests' business.
SETTINGS = ("ALLOWED_HOSTS", "DATABASE_URL", "DEBUG", "PORT", "PUBLIC_URL", "REDIS_URL")

MISSING = pytest.StashKey[str]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--database",
        choices=("sqlite", "postgresql"),
        default="sqlite",
        help="the database to test with; PostgreSQL is started for the run",
    )


@pytest.hookimpl(tryfirst=True)  # pytest-django reads the settings in the same hook
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker:
        # The rest is inherited; files of their own keep parallel tests out of each other's cache.
        os.environ["DATA_DIR"] = str(Path(os.environ["DATA_DIR"], worker))
        return
    stack = ExitStack()
    early_config.add_cleanup(stack.close)
    folder = Path(stack.enter_context(TemporaryDirectory(prefix="tests-", ignore_cleanup_errors=True)))
    for name in SETTINGS:
        os.environ.pop(name, None)
    os.environ["DATA_DIR"] = os.environ["SHARED_DIR"] = str(folder / "data")
    os.environ["SECRET_KEY"] = "tests"
    if early_config.known_args_namespace.database == "postgresql":
        try:
            os.environ["DATABASE_URL"] = stack.enter_context(services.postgresql(folder))
        except services.MissingService as missing:
            if services_required():
                raise pytest.UsageError(str(missing)) from None
            early_config.stash[MISSING] = str(missing)


@pytest.hookimpl(tryfirst=True)  # before xdist starts its workers
def pytest_sessionstart(session: pytest.Session) -> None:
    if MISSING in session.config.stash:  # pytest can't end a run earlier without a traceback
        pytest.exit(f"All tests skipped: {session.config.stash[MISSING]}", returncode=0)


def services_required() -> bool:
    return os.environ.get("REQUIRE_SERVICES") == "1"


@contextmanager
def service() -> Iterator[None]:
    """Skip the test that needs a missing program, or fail it where all of them must be present."""
    try:
        yield
    except services.MissingService as missing:
        outcome = pytest.fail if services_required() else pytest.skip
        raise outcome.Exception(str(missing), pytrace=False) from None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Generator[None]:
    # Around the whole setup instead of each fixture, as pytest remembers how a fixture failed and
    # raises the same again for the next test.
    with service():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None]:
    with service():
        return (yield)


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a Redis that this process alone uses."""
    with services.redis(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture
def driver() -> Iterator[Chrome]:
    """A browser on a desktop."""
    with services.chromium(1280, 900) as browser:
        yield browser
