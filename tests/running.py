"""The whole application as people run it, and the ways in: the commands, the API, the pages.

    with application(folder) as app:
        app.events("reader", repository="acme/web")

It has a database of its own, with the demo's people and repositories, beside the one that the tests
run with (`--database`). Its programs are those of the Procfile.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from fcntl import LOCK_EX, flock
from pathlib import Path
from string import Template
from typing import Any, TypeVar
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import requests
from psycopg import sql
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from tests import services

PROJECT = Path(__file__).resolve().parent.parent
PASSWORD = "only-for-tests-1"  # of all demo users
SECONDS = 30
"""How long something that happens by and by may take."""

T = TypeVar("T")


def poll(read: Callable[[], T], expected: T, seconds: float = SECONDS) -> T:
    """Read until what is expected is found, or the time is up; return what was found last."""
    deadline = time.monotonic() + seconds
    while (found := read()) != expected and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


# --- The application ----------------------------------------------------------------------------


@dataclass
class Application:
    """One installation of the application, while its web server runs."""

    url: str
    folder: Path
    environ: dict[str, str] = field(repr=False)
    tokens: dict[str, str] = field(repr=False)

    def manage(self, *arguments: str) -> str:
        """Run `manage.py` with the arguments, and return what it printed."""
        return _manage(self.environ, *arguments)

    def shell(self, code: str) -> str:
        """Run Python code inside the application, and return what it printed."""
        return self.manage("shell", "--no-imports", "--command", code)

    @contextmanager
    def program(self, name: str, answers: Callable[[], object] = lambda: None) -> Iterator[None]:
        """Run a program of the Procfile for the length of the block."""
        folder = self.folder / name
        folder.mkdir()
        with services.running(_procfile(name, self.environ), folder, answers, cwd=PROJECT, env=self.environ):
            yield

    def log(self, name: str) -> str:
        """Return what a program of the Procfile wrote."""
        (log,) = (self.folder / name).glob("*.log")
        return log.read_text()

    def token(self, username: str) -> str:
        """Return an access token of a user."""
        if username not in self.tokens:
            self.tokens[username] = self.manage("create_token", username).split()[-1]
        return self.tokens[username]

    def notify(self, message: str) -> requests.Response:
        """Deliver a message as the registry does."""
        headers = {
            "Authorization": f"Bearer {self.token('registry')}",
            "Content-Type": "application/vnd.docker.distribution.events.v1+json",
        }
        url = f"{self.url}/api/v0/notifications/registry"
        return requests.post(url, message.encode(), headers=headers, timeout=SECONDS)

    def get(self, path: str, viewer: str, **query: Any) -> requests.Response:
        """Ask the API as a user."""
        headers = {"Authorization": f"Bearer {self.token(viewer)}"}
        return requests.get(f"{self.url}/api/v0/{path}", query, headers=headers, timeout=SECONDS)

    def all(self, path: str, viewer: str, **query: Any) -> list[dict[str, Any]]:
        """Return what is on all pages of a list of the API, as a user sees it."""
        found: list[dict[str, Any]] = []
        page = self.get(path, viewer, page_size=100, **query).json()
        while True:
            found += page["results"]
            if not page["next"]:
                return found
            page = self.get(page["next"].removeprefix(f"{self.url}/api/v0/"), viewer).json()

    def events(self, viewer: str, **query: Any) -> list[dict[str, Any]]:
        """Return all events that the API shows to a user, newest first."""
        return self.all("events/", viewer, **query)


@contextmanager
def application(folder: Path, redis_url: str | None = None, *, events: int = 0) -> Iterator[Application]:
    """An application with the demo's people and repositories, and about as many events as asked for.

    It has a new database. In its folder are the data and the logs.
    """
    port = services.free_port()
    url = f"http://{services.LOOPBACK}:{port}"
    environ = _environ(folder / "data") | {"PORT": str(port), "PUBLIC_URL": url}
    if redis_url:
        environ["REDIS_URL"] = redis_url
    with _database(folder / "data", events) as (database, tokens):
        app = Application(url, folder, environ | database, tokens)
        with app.program("web", lambda: requests.get(f"{url}/accounts/login/", timeout=5)):
            yield app


@contextmanager
def _database(data: Path, events: int) -> Iterator[tuple[dict[str, str], dict[str, str]]]:
    """A filled database; yields the setting that says where it is, and tokens of its people."""
    template = _template(events)
    setting = _copy(template, data)
    try:
        yield setting, dict(template.tokens)
    finally:
        for copy in setting.values():
            _run_sql("DROP DATABASE {} WITH (FORCE)", _name(copy))


@dataclass(frozen=True)
class Prepared:
    """A database to make copies of: a folder with an SQLite file, or on PostgreSQL a URL besides."""

    data: str
    url: str | None
    tokens: dict[str, str] = field(default_factory=dict)


def _template(events: int) -> Prepared:
    """A filled database, for all applications of this test run."""

    def fill() -> Prepared:
        data = _new_folder()
        setting = _copy(_once("tables", make_tables), data)
        return Prepared(str(data), setting.get("DATABASE_URL"), _fill(_environ(data) | setting, events))

    def make_tables() -> Prepared:
        data = _new_folder()
        postgresql = "DATABASE_URL" in os.environ
        setting = {"DATABASE_URL": _create_database("template1")} if postgresql else {}
        _manage(_environ(data) | setting, "migrate", "--verbosity", "0")
        return Prepared(str(data), setting.get("DATABASE_URL"))

    return _once(f"{events}-events", fill)


def _once(name: str, make: Callable[[], Prepared]) -> Prepared:
    """Make something once for all processes of a test run: it takes seconds, and a copy none."""
    shared = Path(os.environ.get("SHARED_DIR", os.environ["DATA_DIR"]), f"{name}.json")
    with shared.open("a+") as file:
        flock(file, LOCK_EX)  # others wait, until the file is closed
        file.seek(0)
        if made := file.read():
            return Prepared(**json.loads(made))
        prepared = make()
        file.write(json.dumps(asdict(prepared)))
        return prepared


def _new_folder() -> Path:
    return Path(os.environ["DATA_DIR"], f"template-{uuid4().hex}")


def _copy(template: Prepared, data: Path) -> dict[str, str]:
    """Copy a database; return the setting that says where it is, if it isn't in the folder."""
    shutil.copytree(template.data, data)
    return {"DATABASE_URL": _create_database(_name(template.url))} if template.url else {}


def _fill(environ: dict[str, str], events: int) -> dict[str, str]:
    """Load the demo; return a token of each of its users and of the registry's."""
    _manage(environ, "load_demo", "--events", str(events))
    return json.loads(_manage(environ, "shell", "--no-imports", "--command", MAKE_TOKENS))


MAKE_TOKENS = """
import json
from activity.sources.registries import REGISTRY_ACCOUNT
from django.contrib.auth.models import User
from msr_project import demo
from repositories.accounts.tokens import new_token
people = User.objects.filter(username__in=[*demo.USERS, REGISTRY_ACCOUNT])
print(json.dumps({person.username: new_token(person) for person in people}))
"""


def _create_database(template: str) -> str:
    """Make a copy of a PostgreSQL database, given by its name; return its URL."""
    name = f"application_{uuid4().hex}"
    _run_sql("CREATE DATABASE {} TEMPLATE {}", name, template)
    return urlsplit(os.environ["DATABASE_URL"])._replace(path=name).geturl()


def _name(url: str) -> str:
    return urlsplit(url).path.removeprefix("/")


def _run_sql(statement: str, *names: str) -> None:
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
        connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


def _environ(data: Path) -> dict[str, str]:
    """Return the environment of an application, of which the tests' plugin set the rest."""
    environ = os.environ | {"DATA_DIR": str(data), "DEMO_PASSWORD": PASSWORD}
    environ["GUNICORN_CMD_ARGS"] = "--no-control-socket"  # which all would share, in the developer's home
    environ.pop("DATABASE_URL", None)
    return environ


def _manage(environ: dict[str, str], *arguments: str) -> str:
    command = [sys.executable, "manage.py", *arguments]
    done = subprocess.run(command, cwd=PROJECT, env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(
            f"manage.py {arguments[0]} ended with status {done.returncode}:\n{done.stderr[-2000:]}"
        )
    return done.stdout


def _procfile(name: str, environ: dict[str, str]) -> list[str]:
    """Return a command of the Procfile, as honcho would run it from the virtual environment."""
    lines = dict(line.split(": ", 1) for line in (PROJECT / "Procfile").read_text().splitlines())
    program, *arguments = shlex.split(Template(lines[name]).substitute(environ))
    return [str(Path(sys.executable).parent / program), *arguments]


# --- Its pages ----------------------------------------------------------------------------------


def sign_in(driver: Chrome, app: Application, username: str) -> None:
    """Log a demo user in, through the form that whoever isn't logged in is led to.

    The browser forgets whoever used it before, as starting another takes a second.
    """
    driver.get("about:blank")
    driver.execute_cdp_cmd("Network.clearBrowserCookies", {})
    driver.get(app.url)
    driver.find_element(By.NAME, "username").send_keys(username)
    driver.find_element(By.NAME, "password").send_keys(PASSWORD)
    driver.find_element(By.CSS_SELECTOR, "form.card button").click()
    assert poll(lambda: text(driver, "nav.me a"), username) == username


def follow(driver: Chrome, link: str) -> None:
    """Click a link, as soon as it is there."""
    WebDriverWait(driver, SECONDS, 0.05).until(lambda _: driver.find_elements(By.LINK_TEXT, link))[0].click()


def follow_tab(driver: Chrome, label: str) -> None:
    """Follow a link of the tabs, once it is there."""
    follow_in = (By.XPATH, f"//nav[@class='tabs']/a[normalize-space()='{label}']")
    WebDriverWait(driver, SECONDS, 0.05).until(lambda _: driver.find_elements(*follow_in))[0].click()


def text(driver: Chrome, selector: str) -> str:
    """Return the text of the first such element, or nothing; while a page changes, one may poll for it."""
    return driver.execute_script(
        "return document.querySelector(arguments[0])?.innerText.trim() ?? ''", selector
    )


def status(driver: Chrome) -> int:
    """Return the HTTP status of the page."""
    return driver.execute_script("return performance.getEntriesByType('navigation')[0].responseStatus")


def rows(driver: Chrome) -> list[dict[str, str]]:
    """Return the rows of the events list on the page, by the labels of their columns, without "ago"."""
    return driver.execute_script("""
        return [...document.querySelectorAll(".events tbody tr")].map(row => Object.fromEntries(
            [...row.cells].map(cell => [cell.dataset.label,
                cell.innerText.replace(cell.querySelector(".ago")?.innerText ?? "", "").trim()])))
    """)
