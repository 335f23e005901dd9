"""The project as a whole: layers, migrations, API schema, production settings and site-wide pages."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from importlinter.cli import lint_imports

from msr_project.secret_key import load_secret_key
from tests import factories

ROOT = Path(__file__).parent.parent


def test_import_contracts_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)

    assert lint_imports(config_filename="pyproject.toml", cache_dir=None) == 0


def test_repositories_do_not_refer_to_activity() -> None:
    """The only reference allowed is to the activity app's base template, because every page extends it."""
    reference = re.compile(
        r"""registry_activity|registry_api|["']activity\b|activity/|["'](Tags|Activity)["']"""
    )
    files = [path for suffix in ("py", "html") for path in Path(ROOT, "repositories").rglob(f"*.{suffix}")]
    found = {
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in files
        for line in path.read_text().splitlines()
        if reference.search(line.replace('{% extends "registry_activity/base.html" %}', ""))
    }

    assert len(files) > 80
    assert found == set()


@pytest.mark.django_db
def test_migrations_are_complete() -> None:
    call_command(
        "makemigrations",
        "registry_repositories",
        "registry_activity",
        check=True,
        dry_run=True,
        stdout=StringIO(),
    )


def test_api_schema_is_valid() -> None:
    call_command(
        "spectacular",
        generator_class="activity.api.docs.Generator",
        validate=True,
        fail_on_warn=True,
        stdout=StringIO(),
    )


def test_production_settings_pass_the_deployment_check(tmp_path: Path) -> None:
    production = {
        "PUBLIC_URL": "https://audit.example.com",
        "DATA_DIR": str(tmp_path),
        "PATH": os.environ["PATH"],
    }

    check = subprocess.run(
        [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "INFO"],
        cwd=ROOT,
        env=production,
        capture_output=True,
        text=True,
        check=False,
    )

    assert check.returncode == 0, check.stdout + check.stderr
    assert "no issues" in check.stdout


def test_secret_key_is_created_once_and_readable_only_by_its_owner(tmp_path: Path) -> None:
    keys = {load_secret_key(tmp_path / "key") for _ in range(3)}

    assert len(keys) == 1
    assert len(keys.pop()) >= 50
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["key"]


@pytest.mark.django_db
def test_content_security_policy_forbids_inline_code_and_other_hosts(log_in: Any) -> None:
    policy = log_in(factories.UserFactory()).get("/repositories/")["Content-Security-Policy"]

    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy


@pytest.mark.django_db
def test_api_docs_load_scripts_only_from_the_site(log_in: Any) -> None:
    response = log_in(factories.UserFactory()).get("/api/v0/docs/")

    assert "script-src 'self';" in response["Content-Security-Policy"] + ";"
    assert "//cdn" not in response.content.decode()


@pytest.mark.django_db
def test_api_docs_have_the_navigation_of_the_site(log_in: Any) -> None:
    html = log_in(factories.UserFactory()).get("/api/v0/docs/").content.decode()

    assert '<a href="/api/v0/docs/" aria-current="page">API</a>' in html
    assert '<a href="/repositories/" >Repositories</a>' in html


def test_api_schema_and_docs_require_authentication(db: None) -> None:
    assert Client().get("/api/v0/schema/").status_code == 401
    assert Client().get("/api/v0/docs/")["Location"] == "/accounts/login/?next=/api/v0/docs/"


@pytest.mark.parametrize(
    ("path", "of_repository"),
    [
        ("/nowhere/", False),
        ("/users/x/", False),
        ("/repositories/x/y/", True),
        ("/repositories/x/y/tags/", True),
    ],
)
def test_unknown_url_shows_the_not_found_page(log_in: Any, path: str, of_repository: bool) -> None:
    response = log_in(factories.UserFactory()).get(path)

    assert response.status_code == 404
    html = response.content.decode()
    assert "Page not found" in html
    assert ("An admin of the repository can grant you access." in html) == of_repository


@pytest.mark.django_db
def test_password_can_be_changed_on_the_site(log_in: Any) -> None:
    user = factories.UserFactory(username="jane")
    user.set_password("an-old-pass-1")
    user.save()
    client = log_in(user)
    assert "Change your password" in client.get("/settings/password/").content.decode()

    new = {"new_password1": "a-new-pass-2", "new_password2": "a-new-pass-2"}
    response = client.post("/settings/password/", {"old_password": "an-old-pass-1", **new}, follow=True)

    assert "Your password was changed" in response.content.decode()
    user.refresh_from_db()
    assert user.check_password("a-new-pass-2")


def test_pages_return_503_while_the_database_is_down(tmp_path: Path) -> None:
    code = """
import django; django.setup()
from django.test import Client
client = Client(raise_request_exception=False, headers={"host": "localhost"})
client.cookies["sessionid"] = "x" * 32
for path in ("/repositories/", "/" + 3000 * "x", "/api/v0/events/", "/api/v0/notifications/registry"):
    send = client.post if "registry" in path else client.get
    response = send(path, headers={"authorization": "Bearer x"})
    print(response.status_code, response["Retry-After"], "Temporarily unavailable" in response.text, end=" ")
    print(response["Content-Type"])
"""
    environ = {
        "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
        "DATA_DIR": str(tmp_path),
        "DJANGO_SETTINGS_MODULE": "msr_project.settings",
        "PATH": os.environ["PATH"],
    }

    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environ, capture_output=True, text=True, check=True
    )

    pages = ["503 60 True text/html; charset=utf-8"] * 2
    assert result.stdout.splitlines() == pages + ["503 60 False application/problem+json"] * 2
    (line,) = result.stderr.splitlines()  # one line, instead of a traceback for each request
    assert "OperationalError" in line
    assert len(line) < 600


@pytest.mark.django_db
def test_form_without_a_csrf_token_shows_the_forbidden_page(log_in: Any) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(factories.UserFactory())

    response = client.post("/settings/", {"theme": "dark"})

    assert response.status_code == 403
    assert "Your request was rejected" in response.content.decode()
