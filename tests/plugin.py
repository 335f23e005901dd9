"""A pytest plugin, loaded with `-p tests.plugin`: sets the environment and starts the programs of the tests.

It sets the environment before pytest-django reads the settings, which a conftest.py can't do. Tests that need
a missing program are skipped, or fail if REQUIRE_SERVICES=1, as in CI.
"""

import os
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from selenium.webdriver import Chrome

from tests import services

# Environment variables that the settings read. The tests ignore the developer's values.
ENVIRONMENT_VARIABLES = ("ALLOWED_HOSTS", "DATABASE_URL", "DEBUG", "PORT", "PUBLIC_URL", "REDIS_URL")

MISSING = pytest.StashKey[str]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--database",
        choices=("sqlite", "postgresql"),
        default="sqlite",
        help="the database to test with (PostgreSQL is started for the test run)",
    )


@pytest.hookimpl(tryfirst=True)  # pytest-django reads the settings in the same hook
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker:
        # A worker inherits the other variables. Each needs its own folder, because the cache is in it.
        os.environ["DATA_DIR"] = str(Path(os.environ["DATA_DIR"], worker))
        return
    stack = ExitStack()
    early_config.add_cleanup(stack.close)
    folder = Path(stack.enter_context(TemporaryDirectory(prefix="tests-", ignore_cleanup_errors=True)))
    for name in ENVIRONMENT_VARIABLES:
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
    if MISSING in session.config.stash:  # ending it in an earlier hook would print a traceback
        pytest.exit(f"All tests skipped: {session.config.stash[MISSING]}", returncode=0)


def services_required() -> bool:
    return os.environ.get("REQUIRE_SERVICES") == "1"


@contextmanager
def skip_if_program_missing() -> Iterator[None]:
    """Skip the current test if a program that it needs is missing, or fail it if REQUIRE_SERVICES=1."""
    try:
        yield
    except services.MissingService as missing:
        outcome = pytest.fail if services_required() else pytest.skip
        raise outcome.Exception(str(missing), pytrace=False) from None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Generator[None]:
    # This wraps the whole setup rather than each fixture, because pytest caches the exception of a fixture
    # and raises it again for the next test that uses it.
    with skip_if_program_missing():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None]:
    with skip_if_program_missing():
        return (yield)


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a Redis server that only this process uses."""
    with services.redis(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture
def driver() -> Iterator[Chrome]:
    """A browser with the screen size of a desktop."""
    with services.chromium(1280, 900) as browser:
        yield browser
