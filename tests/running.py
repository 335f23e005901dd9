"""Run the whole application as in production, and use it through its commands, its API and its pages.

    with application(folder) as app:
        app.events("reader", repository="acme/web")

The application runs the programs in the Procfile. It has its own database, which contains the demo users
and repositories and is separate from the test database. The `--database` option applies to both databases.
On PostgreSQL, the web server and the recorder use a role that can't delete events, and the other programs use
the owner's role.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from fcntl import LOCK_EX, flock
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import requests
from psycopg import sql
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from tests import dumps, services
from tests.database_roles import WEB_ROLE, web_role_sql

PROJECT = Path(__file__).resolve().parent.parent
PASSWORD = "only-for-tests-1"
"""The password of all demo users."""
TIMEOUT = 30
"""The maximum time to wait for a response or an asynchronous result, in seconds."""

ADD_LARGE_EVENTS = """
from django.db import transaction
from tests.factories import event_row
from activity.storage.events import insert
with transaction.atomic():
    insert([event_row(details={"user_agent": "x" * 3000}) for _ in range(6000)])
"""
"""A script for `Application.shell`."""

T = TypeVar("T")


def poll(read: Callable[[], T], expected: T, timeout: float = TIMEOUT) -> T:
    """Call `read` until it returns the expected value or the time is up, and return its last result."""
    deadline = time.monotonic() + timeout
    while (value := read()) != expected and time.monotonic() < deadline:
        time.sleep(0.05)  # the result comes from another process, which signals nothing
    return value


# --- The application ----------------------------------------------------------------------------


@dataclass
class Application:
    """An installation of the application, with a running web server."""

    url: str
    folder: Path
    environ: dict[str, str] = field(repr=False)
    tokens: dict[str, str] = field(repr=False)

    def manage(self, *arguments: str) -> str:
        """Run `manage.py` with these arguments, and return its output."""
        return _manage(self.environ, *arguments)

    def shell(self, code: str) -> str:
        """Run Python code in the application's shell, and return its output."""
        return self.manage("shell", "--no-imports", "--command", code)

    @property
    def web_environ(self) -> dict[str, str]:
        """The environment variables that differ for the web server and the recorder."""
        if "DATABASE_URL" not in self.environ:
            return {}
        url = urlsplit(self.environ["DATABASE_URL"])
        return {"DATABASE_URL": url._replace(netloc=f"{WEB_ROLE}@{url.hostname}:{url.port}").geturl()}

    def migrate(self) -> None:
        """Create the tables, and grant the web server's role its permissions on them."""
        self.manage("migrate", "--verbosity", "0")
        _add_web_role({name: value for name, value in self.environ.items() if name == "DATABASE_URL"})

    @contextmanager
    def program(
        self, name: str, check: Callable[[], object] = lambda: None
    ) -> Iterator[subprocess.Popen[bytes]]:
        """Run a Procfile program during the block. The block starts when `check` no longer raises."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        command = _procfile_command(name, self.environ)
        environ = self.environ | (self.web_environ if name in ("web", "recorder") else {})
        with services.running(command, folder, check, cwd=PROJECT, env=environ) as process:
            yield process

    def log(self, name: str) -> str:
        """Return the log of a Procfile program."""
        (log,) = (self.folder / name).glob("*.log")
        return log.read_text()

    def token(self, username: str) -> str:
        """Return an access token for a user, creating one if necessary."""
        if username not in self.tokens:
            self.tokens[username] = self.manage(
                "create_token", username, "--scope=read", "--scope=write"
            ).split()[-1]
        return self.tokens[username]

    def notify(self, message: str) -> requests.Response:
        """Send a message to the notifications endpoint, as the registry does."""
        headers = {
            "Authorization": f"Bearer {self.token('registry')}",
            "Content-Type": "application/vnd.docker.distribution.events.v1+json",
        }
        url = f"{self.url}/api/v0/notifications/registry"
        return requests.post(url, message.encode(), headers=headers, timeout=TIMEOUT)

    def waiting(self) -> int:
        """Return how many messages wait to be recorded."""
        query = "from activity.models import JournalEntry; print(JournalEntry.objects.count())"
        return int(self.shell(query))

    def get(self, path: str, viewer: str, **query: Any) -> requests.Response:
        """Send a GET request to the API as a user."""
        headers = {"Authorization": f"Bearer {self.token(viewer)}"}
        return requests.get(f"{self.url}/api/v0/{path}", query, headers=headers, timeout=TIMEOUT)

    def get_all(self, path: str, viewer: str, **query: Any) -> list[dict[str, Any]]:
        """Request all pages of an API list as a user, and return their rows."""
        results: list[dict[str, Any]] = []
        response = self.get(path, viewer, page_size=100, **query)
        while True:
            response.raise_for_status()
            page = response.json()
            results += page["results"]
            if not page["next"]:
                return results
            response = self.get(page["next"].removeprefix(f"{self.url}/api/v0/"), viewer)

    def export(self, viewer: str) -> list[dict[str, Any]]:
        """Return the events that `manage.py events export` prints for a user."""
        return [json.loads(line) for line in self.manage("events", "export", "--user", viewer).splitlines()]

    def events(self, viewer: str, **query: Any) -> list[dict[str, Any]]:
        """Return all events that the API shows to a user, newest first."""
        return self.get_all("events/", viewer, **query)


@contextmanager
def application(
    folder: Path,
    redis_url: str | None = None,
    *,
    events: int = 0,
    version: str | None = None,
    variables: Mapping[str, str] | None = None,
) -> Iterator[Application]:
    """Run an application with the demo users, the demo repositories and about this many events.

    The application gets a new database, or one of an earlier version that was upgraded. Its data and its logs
    are written to the folder. It uses Redis only if `redis_url` is given. `variables` are additional
    environment variables.
    """
    port = services.free_port()
    url = f"http://{services.LOOPBACK}:{port}"
    environ = _environ(folder / "data") | {"PORT": str(port), "PUBLIC_URL": url} | dict(variables or {})
    if redis_url:
        environ["REDIS_URL"] = redis_url
    database_of = _upgraded(folder / "data", version) if version else _database(folder / "data", events)
    with database_of as (database, tokens):
        app = Application(url, folder, environ | database, tokens)
        with app.program("web", lambda: requests.head(f"{url}/accounts/login/", timeout=5)):
            yield app


@contextmanager
def _database(data: Path, events: int) -> Iterator[tuple[dict[str, str], dict[str, str]]]:
    """Create a database with demo data, and drop it after the block.

    Yields the environment variables that select the database, and the users' access tokens by username.
    """
    template = _template(events)
    setting = _copy(template, data)
    try:
        yield setting, dict(template.tokens)
    finally:
        _drop(setting)


@contextmanager
def _upgraded(data: Path, version: str) -> Iterator[tuple[dict[str, str], dict[str, str]]]:
    """Create a database from the dump of an earlier version, migrate it, and drop it after the block."""
    data.mkdir()
    setting = {}
    try:
        if "DATABASE_URL" in os.environ:
            setting["DATABASE_URL"] = url = _create_database("template1")
            dumps.restore_postgresql(version, data, url)
        else:
            dumps.restore_sqlite(version, data)
        _manage(_environ(data) | setting, "migrate", "--verbosity", "0")
        _add_web_role(setting)
        yield setting, {}
    finally:
        _drop(setting)


@dataclass(frozen=True)
class DatabaseTemplate:
    """A database to copy: its data folder and, if it is on PostgreSQL, its URL."""

    data: str
    url: str | None
    tokens: dict[str, str] = field(default_factory=dict)


def _template(events: int) -> DatabaseTemplate:
    """Return a database with demo data. All applications in this test run copy it."""

    def create_filled() -> DatabaseTemplate:
        data = _new_folder()
        setting = _copy(_create_once("tables", create_migrated), data)
        tokens = _load_demo(_environ(data) | setting, events)
        return DatabaseTemplate(str(data), setting.get("DATABASE_URL"), tokens)

    def create_migrated() -> DatabaseTemplate:
        data = _new_folder()
        postgresql = "DATABASE_URL" in os.environ
        setting = {"DATABASE_URL": _create_database("template1")} if postgresql else {}
        _manage(_environ(data) | setting, "migrate", "--verbosity", "0")
        _add_web_role(setting)
        return DatabaseTemplate(str(data), setting.get("DATABASE_URL"))

    return _create_once(f"{events}-events", create_filled)


def _create_once(name: str, create: Callable[[], DatabaseTemplate]) -> DatabaseTemplate:
    """Return a template shared by all processes of a test run, creating it on the first call.

    Creating a template takes seconds, but copying it doesn't.
    """
    shared = Path(os.environ.get("SHARED_DIR", os.environ["DATA_DIR"]), f"{name}.json")
    with shared.open("a+") as file:
        flock(file, LOCK_EX)  # other processes wait here until the file is closed
        file.seek(0)
        if existing := file.read():
            return DatabaseTemplate(**json.loads(existing))
        template = create()
        file.write(json.dumps(asdict(template)))
        return template


def _new_folder() -> Path:
    return Path(os.environ["DATA_DIR"], f"template-{uuid4().hex}")


def _copy(template: DatabaseTemplate, data: Path) -> dict[str, str]:
    """Copy a template to a data folder, and return the environment variables that select the copy."""
    shutil.copytree(template.data, data)
    return {"DATABASE_URL": _create_database(_database_name(template.url))} if template.url else {}


def _load_demo(environ: dict[str, str], events: int) -> dict[str, str]:
    """Load the demo data, and return access tokens for each demo user and the registry account."""
    _manage(environ, "load_demo", "--events", str(events))
    return json.loads(_manage(environ, "shell", "--no-imports", "--command", CREATE_TOKENS))


CREATE_TOKENS = """
import json
from activity.sources.registries import REGISTRY_ACCOUNT
from django.contrib.auth.models import User
from msr_project import demo
from tests.factories import new_token
users = User.objects.filter(username__in=[*demo.USERS, REGISTRY_ACCOUNT])
print(json.dumps({user.username: new_token(user) for user in users}))
"""


def _create_database(template: str) -> str:
    """Copy the PostgreSQL database with this name, and return the URL of the copy."""
    name = f"application_{uuid4().hex}"
    _run_sql("CREATE DATABASE {} TEMPLATE {}", name, template)
    return urlsplit(os.environ["DATABASE_URL"])._replace(path=name).geturl()


def _add_web_role(setting: dict[str, str]) -> None:
    for url in setting.values():
        with psycopg.connect(url) as connection:
            connection.execute(web_role_sql())


def _drop(setting: dict[str, str]) -> None:
    for url in setting.values():
        _run_sql("DROP DATABASE {} WITH (FORCE)", _database_name(url))


def _database_name(url: str) -> str:
    return urlsplit(url).path.removeprefix("/")


def _run_sql(statement: str, *names: str) -> None:
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
        connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


def _environ(data: Path) -> dict[str, str]:
    """Return the environment for an application, based on the environment set by the pytest plugin."""
    environ = os.environ | {"DATA_DIR": str(data), "DEMO_PASSWORD": PASSWORD}
    environ["DELETION_DELAY"] = "0"
    environ["RECORD_IN_REQUEST"] = "true"
    environ.pop("DATABASE_URL", None)
    return environ


def _manage(environ: dict[str, str], *arguments: str) -> str:
    command = [sys.executable, "manage.py", *arguments]
    result = subprocess.run(command, cwd=PROJECT, env=environ, capture_output=True, text=True, check=False)
    if result.returncode:
        raise RuntimeError(
            f"manage.py {arguments[0]} ended with status {result.returncode}:\n{result.stderr[-2000:]}"
        )
    return result.stdout


def _procfile_command(name: str, environ: dict[str, str]) -> list[str]:
    """Return the command that honcho would run for a Procfile program in the virtual environment."""
    lines = dict(line.split(": ", 1) for line in (PROJECT / "Procfile").read_text().splitlines())
    program, *arguments = shlex.split(lines[name])
    return [str(Path(sys.executable).parent / program), *arguments]


# --- Pages --------------------------------------------------------------------------------------


def sign_in(driver: Chrome, app: Application, username: str) -> None:
    """Log a demo user in through the login form, to which the start page redirects.

    The browser's cookies are cleared first. This is a second faster than starting a new browser.
    """
    driver.get("about:blank")
    driver.execute_cdp_cmd("Network.clearBrowserCookies", {})
    driver.get(app.url)
    driver.find_element(By.NAME, "username").send_keys(username)
    driver.find_element(By.NAME, "password").send_keys(PASSWORD)
    driver.find_element(By.CSS_SELECTOR, "form.card button").click()
    shown = poll(lambda: text(driver, "nav.user-menu a"), username)
    assert shown == username, f"{driver.current_url}: {text(driver, 'body')[:500]}"


def console_messages(driver: Chrome) -> list[str]:
    """Return what pages have written to the browser's console since the last call.

    Chromium's own pages, for example that of a new tab, can write there, too.
    """
    messages = [entry["message"] for entry in driver.get_log("browser")]
    return [message for message in messages if not message.startswith("chrome://")]


def click_link(driver: Chrome, link: str) -> None:
    """Wait for a link with this text, and click it."""
    WebDriverWait(driver, TIMEOUT, 0.05).until(lambda _: driver.find_elements(By.LINK_TEXT, link))[0].click()


def click_tab(driver: Chrome, label: str) -> None:
    """Wait for a tab with this label, and click it."""
    tab = (By.XPATH, f"//nav[@class='tabs']/a[normalize-space()='{label}']")
    WebDriverWait(driver, TIMEOUT, 0.05).until(lambda _: driver.find_elements(*tab))[0].click()


def text(driver: Chrome, selector: str) -> str:
    """Return the text of the first element that matches the selector, or an empty string if none does."""
    return driver.execute_script(
        "return document.querySelector(arguments[0])?.innerText.trim() ?? ''", selector
    )


def status(driver: Chrome) -> int:
    """Return the HTTP status of the current page."""
    return driver.execute_script("return performance.getEntriesByType('navigation')[0].responseStatus")


def rows(driver: Chrome) -> list[dict[str, str]]:
    """Return the rows of the events table as dicts keyed by column label.

    Relative times are left out, and digests are abbreviated, also in cells that a narrow page hides.
    """
    return driver.execute_script("""
        return [...document.querySelectorAll(".events tbody tr")].map(row => Object.fromEntries(
            [...row.cells].map(cell => [cell.dataset.label,
                (cell.querySelector(".digest summary") ?? cell).innerText
                    .replace(cell.querySelector(".ago")?.innerText ?? "", "").trim()])))
    """)
