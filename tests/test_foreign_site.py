"""The app is installed into the site of somebody else, as docs/install.md says.

`tests/foreign_site` is a Django project that shares nothing with the host project. The wheel is built and
installed into a new virtual environment. Then the blocks of code in docs/install.md are followed literally,
and the tests of the site run: its own (`test_shop.py`), and what it expects of the app (`test_registry.py`).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

ROOT = Path(__file__).parent.parent
SITE = Path(__file__).parent / "foreign_site"
INSTALL = ROOT / "docs" / "install.md"
DJANGO_6 = "django>=6.0,<6.1"
USER_MODELS = ("auth.User", "uuid_users.Person", "email_users.Customer")

pytestmark = pytest.mark.long


def code_blocks(language: str) -> list[str]:
    """Return the blocks of code of docs/install.md in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", INSTALL.read_text(), re.DOTALL | re.MULTILINE)


SETTINGS, _, URLS, TEST_SETTINGS = code_blocks("python")[:4]
(BASE_TEMPLATE,) = code_blocks("html")
_, COMMANDS, CONNECT = code_blocks("sh")[:3]


@dataclass
class Site:
    """A copy of the foreign site, and the virtual environment in which it runs."""

    folder: Path
    python: Path
    environ: dict[str, str]

    def run(self, *arguments: str, status: int = 0) -> str:
        """Run `python …` in the site, and return what it prints."""
        result = subprocess.run(
            [str(self.python), *arguments],
            cwd=self.folder,
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert result.returncode == status, f"{arguments}: {result.stdout[-5000:]}"
        return result.stdout

    def manage(self, *arguments: str, status: int = 0) -> str:
        return self.run("manage.py", *arguments, status=status)

    def append(self, path: str, text: str) -> None:
        with (self.folder / path).open("a") as file:
            file.write(f"\n{text}")

    def install(self, settings: str = SETTINGS, urls: str = URLS) -> None:
        """Add the lines of docs/install.md, except for apps that the site has already."""
        own = (self.folder / "shop" / "settings.py").read_text()
        needed = [line for line in settings.splitlines() if not (line.startswith("    ") and line in own)]
        self.append("shop/settings.py", "\n".join([*needed, TEST_SETTINGS]))
        self.append("shop/urls.py", urls)
        template = self.folder / "shop" / "templates" / "registry_activity" / "base.html"
        template.parent.mkdir(exist_ok=True)
        template.write_text(BASE_TEMPLATE)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def virtual_environment(python: str, folder: Path, *packages: str) -> Path:
    """Install packages into a new virtual environment, and return its Python.

    Compiling everything, and installing pip itself, would take longer than the rest of the installation.
    """
    subprocess.run([python, "-m", "venv", "--without-pip", str(folder)], check=True, capture_output=True)
    installed = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(installed), "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--quiet", "--no-compile", *packages], check=True, capture_output=True)
    return installed


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a new virtual environment with the package and Django 5.2."""
    folder = tmp_path_factory.mktemp("environment")
    return virtual_environment(sys.executable, folder, f"{wheel}[postgresql]", "django<5.3")


@pytest.fixture
def new_site(tmp_path: Path) -> Callable[..., Site]:
    """Returns a function that copies the foreign site."""

    def copy(python: Path, users: str = "auth.User", database: dict[str, Any] | None = None) -> Site:
        folder = Path(shutil.copytree(SITE, tmp_path / "site"))
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        environ = {**kept, "SHOP_USERS": users, "PYTHONWARNINGS": "error::RuntimeWarning"}
        if database:
            environ["SHOP_DATABASE"] = json.dumps(database)
        return Site(folder, python, environ)

    return copy


def postgresql() -> dict[str, Any]:
    """Return the settings for a database on the PostgreSQL server of this test run."""
    url = urlsplit(os.environ["DATABASE_URL"])
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": url.path.removeprefix("/"),
        "USER": url.username,
        "PASSWORD": url.password or "",
        "HOST": url.hostname,
        "PORT": url.port,
        "TEST": {"NAME": "foreign_site"},
    }


def follow_instructions(site: Site) -> None:
    """Install the app as docs/install.md says, and run the tests of the site."""
    site.install()

    assert "no issues" in site.manage("check")
    site.manage("collectstatic", "--no-input", "--verbosity", "0")
    if "SHOP_DATABASE" not in site.environ:
        for line in [*COMMANDS.splitlines(), *CONNECT.splitlines()]:
            site.run(*line.split()[1:])
    site.manage("makemigrations", "--check", "--dry-run")
    site.manage("test", "shop")


def test_site_works_with_the_app_and_the_app_works_in_the_site(
    python: Path, new_site: Callable[..., Site]
) -> None:
    if "DATABASE_URL" in os.environ:
        follow_instructions(new_site(python, "uuid_users.Person", postgresql()))
        return
    site = new_site(python)
    site.manage("collectstatic", "--no-input", "--verbosity", "0")
    site.manage("test", "shop.tests.test_shop")

    follow_instructions(site)


@pytest.mark.parametrize("users", USER_MODELS[1:])
def test_site_may_have_users_of_its_own(python: Path, new_site: Callable[..., Site], users: str) -> None:
    if "DATABASE_URL" in os.environ:
        pytest.skip("One user model is tested on PostgreSQL.")
    follow_instructions(new_site(python, users))


def runs(python: Path) -> bool:
    return subprocess.run([python, "-c", "import venv"], capture_output=True, check=False).returncode == 0


LOG_IN = """
from django.test import Client
from shop.tests import people
client, user = Client(headers={"host": "localhost"}), people.create("jane")
wrong = client.post("/anmelden/", {"username": "jane", "password": "falsch"})
right = client.post("/anmelden/", {"username": "jane", "password": people.PASSWORD})
print(wrong.status_code, right.status_code, right["Location"])
"""
LEFT_BEHIND = """
from django.contrib.auth.models import Group
from django.db import connection
from django_celery_beat.models import PeriodicTask
print(list(Group.objects.values_list("name", "permissions")))
print(list(PeriodicTask.objects.values_list("task", flat=True)))
print([table for table in connection.introspection.table_names() if table.startswith("registry_")])
"""
GROUPS = """
from django.contrib.auth.models import Group
for group in Group.objects.order_by("pk"):
    print(group.name, group.permissions.exists())
"""


def test_people_log_in_before_the_tables_exist(python: Path, new_site: Callable[..., Site]) -> None:
    site = new_site(python, database=postgresql() if "DATABASE_URL" in os.environ else None)
    site.manage("migrate", "--verbosity", "0")
    site.install()

    output = site.manage("shell", "--no-imports", "--command", LOG_IN)

    assert "200 302 /" in output
    assert "Nothing is recorded" in output


def test_nothing_is_left_behind_when_the_app_is_removed(python: Path, new_site: Callable[..., Site]) -> None:
    site = new_site(python)
    site.install()
    site.manage("migrate", "auth", "--verbosity", "0")
    own = "from django.contrib.auth.models import Group; Group.objects.create(name='MSR admins')"
    site.manage("shell", "--no-imports", "--command", own)

    site.manage("migrate", "--verbosity", "0")
    groups = site.manage("shell", "--no-imports", "--command", GROUPS).splitlines()
    assert groups == ["MSR admins False", "MSR admins (2) True", "Security auditors True"]

    site.manage("migrate", "registry_activity", "zero", "--verbosity", "0")
    site.manage("migrate", "registry_repositories", "zero", "--verbosity", "0")
    left = site.manage("shell", "--no-imports", "--command", LEFT_BEHIND).splitlines()
    assert left == ["[('MSR admins', None)]", "[]", "[]"]


FILL = """
from django.test import Client
import json, re
from shop.tests import people
from shop.tests.test_registry import NOTIFICATION, configuration
people.create("kunde")
(token,) = re.findall("Bearer ([a-f0-9]+)", configuration())
path, headers = "/registry/api/v0/notifications/registry", {"authorization": f"Bearer {token}"}
client = Client(headers={"host": "localhost"})
answer = client.post(path, json.dumps(NOTIFICATION), content_type="application/json", headers=headers)
print(answer.status_code)
"""
COUNT = """
from activity.models import Event
print(Event.objects.count(), sorted(Event.objects.exclude(tag="").values_list("tag", flat=True)))
"""


def test_dump_of_the_data_can_be_loaded(python: Path, new_site: Callable[..., Site]) -> None:
    database = postgresql() if "DATABASE_URL" in os.environ else None
    site = new_site(python, database=database)
    site.install()

    def create_database(name: str) -> None:
        if database:
            statement = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
            with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
                connection.execute(statement)
            site.environ["SHOP_DATABASE"] = json.dumps({**database, "NAME": name})
        else:
            (site.folder / "db.sqlite3").unlink(missing_ok=True)
        site.manage("migrate", "--verbosity", "0")

    create_database("dumped")
    assert site.manage("shell", "--no-imports", "--command", FILL) == "200\n"
    counted = site.manage("shell", "--no-imports", "--command", COUNT)
    natural = ("--natural-foreign", "--natural-primary")
    derived = ("--exclude", "contenttypes", "--exclude", "auth.permission")
    site.manage("dumpdata", *natural, *derived, "--output", "dump.json")

    create_database("loaded")
    site.manage("loaddata", "dump.json")
    assert site.manage("shell", "--no-imports", "--command", COUNT) == counted


SECOND_ADMIN = """
from activity.admin import register

second = admin.AdminSite(name="second")
register(second)
urlpatterns += [path("zwei/", second.urls)]
"""
OPEN_SECOND_ADMIN = """
from django.test import Client
from shop.tests import people
client = Client(headers={"host": "localhost"})
client.force_login(people.create("boss", is_staff=True, is_superuser=True))
for model in ("namespace", "team", "membership", "repository", "policy"):
    print(client.get(f"/zwei/registry_repositories/{model}/add/").status_code)
print(client.get("/zwei/registry_activity/dispute/add/").status_code)
"""
OPEN_PAGES = """
from django.test import Client
from shop.tests import people
client = Client(headers={"host": "localhost"})
client.force_login(people.create("boss", is_superuser=True))
for path in ("activity", "repositories", "organizations", "settings", "api/v0/docs", "api/v0/events"):
    print(client.get(f"/registry/{path}/").status_code)
"""


def test_another_admin_site_needs_no_admin_of_users(python: Path, new_site: Callable[..., Site]) -> None:
    site = new_site(python)
    site.install(urls=URLS + SECOND_ADMIN)
    assert "no issues" in site.manage("check")
    site.manage("collectstatic", "--no-input", "--verbosity", "0")
    site.manage("migrate", "--verbosity", "0")

    output = site.manage("shell", "--no-imports", "--command", OPEN_SECOND_ADMIN)

    assert output.split() == ["200"] * 6


def test_everything_else_works_without_an_admin(python: Path, new_site: Callable[..., Site]) -> None:
    site = new_site(python)
    for path, lines in {
        "shop/settings.py": ['    "shop.apps.ShopAdminConfig",\n'],
        "shop/urls.py": ["from django.contrib import admin\n", '    path("buero/", admin.site.urls),\n'],
    }.items():
        text = (site.folder / path).read_text()
        for line in lines:
            assert line in text
            text = text.replace(line, "")
        (site.folder / path).write_text(text)
    site.install()
    assert "no issues" in site.manage("check")
    site.manage("collectstatic", "--no-input", "--verbosity", "0")
    site.manage("migrate", "--verbosity", "0")

    output = site.manage("shell", "--no-imports", "--command", OPEN_PAGES)

    assert output.split() == ["200"] * 6


def newer_python() -> str | None:
    """Return the newest Python of this machine that Django 6.0 supports, or None if there is none."""
    folders = [*os.environ["PATH"].split(os.pathsep), *map(str, Path.home().glob(".pyenv/versions/*/bin"))]
    for version in ("3.14", "3.13", "3.12"):
        for folder in folders:
            path = Path(folder, f"python{version}")
            if path.exists() and runs(path):
                return str(path)
    return None


def test_app_works_with_django_6(wheel: Path, tmp_path: Path, new_site: Callable[..., Site]) -> None:
    if "DATABASE_URL" in os.environ:
        pytest.skip("Django 6.0 is tested on SQLite.")
    python = newer_python()
    if python is None:
        warnings.warn("Not tested: Django 6.0, which needs Python 3.12 or newer.", stacklevel=1)
        pytest.skip("Not tested: there is no Python 3.12 or newer.")

    environment = virtual_environment(python, tmp_path / "environment", str(wheel), DJANGO_6)

    follow_instructions(new_site(environment))


def removable_lines() -> list[str]:
    """Return the lines of the settings and URLs that can be left out one at a time."""
    entries = [line for line in SETTINGS.splitlines() if re.fullmatch(r'    "[^":]+",', line)]
    keys = [line for line in SETTINGS.splitlines() if re.fullmatch(r'    "[A-Z_]+": "[^"]+",', line)]
    own = (SITE / "shop" / "settings.py").read_text()
    return [line for line in [*entries, *keys] if line not in own]


def removable_settings() -> list[str]:
    """Return the statements of the settings that can be left out one at a time."""
    return [
        statement.rstrip()
        for statement in re.findall(r"^\S.*?(?=^\w|\Z)", SETTINGS, re.DOTALL | re.MULTILINE)
        if not statement.startswith("INSTALLED_APPS")
    ]


def test_check_names_each_missing_line(python: Path, new_site: Callable[..., Site]) -> None:
    if "DATABASE_URL" in os.environ:
        pytest.skip("The checks don't depend on the database.")
    site = new_site(python)
    # Cached bytecode counts as current if the source's time in seconds and its size haven't changed.
    site.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    original = {path: (site.folder / path).read_text() for path in ("shop/settings.py", "shop/urls.py")}
    unnamed = []
    for line in [*removable_lines(), *removable_settings(), URLS.strip()]:
        for path, text in original.items():
            (site.folder / path).write_text(text)
        site.install(SETTINGS.replace(line, ""), URLS.replace(line, ""))
        if line.startswith("REGISTRY_ACTIVITY"):
            (site.folder / "shop/settings.py").write_text(
                (site.folder / "shop/settings.py").read_text().replace(TEST_SETTINGS, "")
            )
        words = re.findall(r'"([\w.]+)"', line) or re.findall(r"^\w+", line)
        result = subprocess.run(
            [str(python), "manage.py", "check", "--fail-level", "WARNING"],
            cwd=site.folder,
            env=site.environ,
            capture_output=True,
            text=True,
            check=False,
        )
        if not (result.returncode and any(word in result.stderr for word in words)):
            unnamed.append((line, result.stderr[-1000:]))

    assert unnamed == []
