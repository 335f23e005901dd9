"""A pytest plugin that sets the environment and starts the programs that the tests need.

It is loaded with `-p tests.plugin`, because a conftest.py would be loaded too late: pytest-django would
already have read the settings. Tests that need a missing program are skipped. In CI, REQUIRE_SERVICES=1 makes
these tests fail instead. Tests that need a program that can't run on this machine are always skipped, and
pytest's warnings name the program.
"""

import os
import warnings
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from selenium.webdriver import Chrome

from tests import services

# Environment variables that the settings read. The developer's own values are ignored.
ENVIRONMENT_VARIABLES = (
    "ALLOWED_HOSTS",
    "BIND",
    "DATABASE_URL",
    "DEBUG",
    "PORT",
    "PUBLIC_URL",
    "REDIS_URL",
    "TRUSTED_PROXIES",
)

MISSING = pytest.StashKey[str]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--database",
        choices=("sqlite", "postgresql"),
        default="sqlite",
        help="the database to test with (PostgreSQL is started for the test run)",
    )


@pytest.hookimpl(tryfirst=True)  # runs before the same hook in pytest-django, which reads the settings
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker:
        # A worker inherits the other variables from the main process. Each worker needs its own DATA_DIR,
        # because that folder contains the cache.
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


@pytest.hookimpl(tryfirst=True)  # runs before xdist starts its workers
def pytest_sessionstart(session: pytest.Session) -> None:
    # Calling pytest.exit in an earlier hook would print a traceback.
    if MISSING in session.config.stash:
        pytest.exit(f"All tests skipped: {session.config.stash[MISSING]}", returncode=0)


def services_required() -> bool:
    return os.environ.get("REQUIRE_SERVICES") == "1"


@contextmanager
def skip_if_program_unavailable() -> Iterator[None]:
    """Skip the current test if a program that it needs is missing, or can't run on this machine.

    If REQUIRE_SERVICES=1, a missing program is a failure, because it can be installed. A program that can't
    run is also reported as a warning, because pytest doesn't list skipped tests by default.
    """
    try:
        yield
    except services.MissingService as missing:
        outcome = pytest.fail if services_required() else pytest.skip
        raise outcome.Exception(str(missing), pytrace=False) from None
    except services.UnusableProgram as unusable:
        message = f"Not tested: {unusable}"
        warnings.warn(message, stacklevel=1)
        raise pytest.skip.Exception(message) from None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Generator[None]:
    # This wraps the whole setup rather than each fixture, because pytest caches a fixture's exception and
    # raises it again for the next test that uses the fixture.
    with skip_if_program_unavailable():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None]:
    with skip_if_program_unavailable():
        return (yield)


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a Redis server that only this process uses."""
    with services.redis(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture
def driver() -> Iterator[Chrome]:
    """A browser with a desktop screen size."""
    with services.chromium(1280, 900) as browser:
        yield browser
