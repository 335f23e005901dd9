"""What the apps need from the site that hosts them, and what they don't depend on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.conf import settings
from django.core.checks import run_checks
from django.template import engines
from django.template.loader import get_template
from django.template.loader_tags import ExtendsNode
from django.test import Client, override_settings
from django.urls import get_resolver, reverse

from activity.api.base import ApiView
from repositories.models import Repository
from tests import factories
from tests.running import application

APPS = ("registry_activity", "registry_repositories")
BASE = "activity/base.html"


# --- Names --------------------------------------------------------------------------------------


def test_app_labels_leave_the_usual_names_to_the_host() -> None:
    assert [apps.get_app_config(label).name for label in APPS] == ["activity", "repositories"]


def test_url_namespaces_leave_the_usual_names_to_the_host() -> None:
    assert set(get_resolver().namespace_dict) - {"admin"} == {*APPS, "registry_api"}


@pytest.mark.parametrize(
    ("short", "label"),
    [("activity/event", "registry_activity"), ("repositories/namespace", "registry_repositories")],
)
def test_admin_addresses_by_package_redirect_to_those_by_label(admin: Client, short: str, label: str) -> None:
    page = admin.get(f"/admin/{short}/?q=jane", follow=True)

    assert page.redirect_chain == [(f"/admin/{label}/{short.partition('/')[2]}/?q=jane", 302)]
    assert page.status_code == 200


# --- Pages --------------------------------------------------------------------------------------


def page_templates() -> list[str]:
    """Return the templates of whole pages: neither fragments, which begin with `_`, nor the admin's."""
    names = []
    for label in APPS:
        config = apps.get_app_config(label)
        folder = Path(config.path, "templates")
        names += [str(path.relative_to(folder)) for path in folder.glob(f"{config.name}/**/*.html")]
    return sorted(name for name in names if name != BASE and not Path(name).name.startswith("_"))


def root_of(name: str) -> str:
    """Return the template that a template extends, directly or through others."""
    nodes = get_template(name).template.nodelist  # type: ignore[attr-defined]
    extends: Any = next((node for node in nodes if isinstance(node, ExtendsNode)), None)
    return root_of(extends.parent_name.resolve({})) if extends else name


def test_every_page_extends_the_base_template_of_the_app() -> None:
    pages = page_templates()

    assert len(pages) > 20
    assert {name: root_of(name) for name in pages} == dict.fromkeys(pages, BASE)


@pytest.fixture
def site_with_base_template(tmp_path: Path) -> Iterator[None]:
    """A site that overrides the base template with its own."""
    (tmp_path / "activity").mkdir()
    (tmp_path / BASE).write_text("<h1>ACME</h1>{% block content %}{% endblock %}")
    (options,) = settings.TEMPLATES
    with override_settings(TEMPLATES=[{**options, "DIRS": [tmp_path]}]):
        yield
    engines._templates = None  # type: ignore[attr-defined]


def test_site_overrides_the_base_template(
    site_with_base_template: None, admin: Client, web: Repository
) -> None:
    for url in ("/activity/", "/repositories/", "/repositories/acme/web/activity/", "/settings/tokens/"):
        page = admin.get(url).content.decode()
        assert page.count("<h1>ACME</h1>") == 1
        assert "site.css" not in page


def test_base_template_needs_neither_log_out_nor_admin(admin: Client, db: None) -> None:
    with override_settings(ROOT_URLCONF="tests.urls_without_admin"):
        page = admin.get("/activity/").content.decode()

    assert "Log out" not in page
    assert ">Admin<" not in page


# --- API ----------------------------------------------------------------------------------------


def test_every_api_view_extends_the_base_view() -> None:
    _, resolver = get_resolver().namespace_dict["registry_api"]
    views: list[Any] = [pattern.callback for pattern in resolver.url_patterns]

    assert len(views) == 7
    assert [view for view in views if not issubclass(view.view_class, ApiView)] == []


ASK = """
import json
from django.test import Client
from django.urls import reverse

def ask(method, name, **kwargs):
    headers = {"authorization": "Bearer %(token)s"}
    answer = getattr(Client(SERVER_NAME="localhost"), method)(reverse(name), headers=headers, content_type="application/json", **kwargs)
    return answer.status_code, answer.content.decode()

event = {"id": "1", "kind": "scan", "repository": "acme/web", "occurred_at": "2026-11-22T12:00:00Z"}
print(json.dumps([
    ask("post", "registry_api:events", data=json.dumps({**event, "kind": "create_repository"})),
    ask("get", "registry_api:events"),
    ask("get", "registry_api:events"),
    ask("post", "registry_api:events", data="{"),
    ask("post", "registry_api:notifications", data='{"events": []}'),
    ask("get", "registry_api:schema"),
]))
"""


def test_api_ignores_the_rest_framework_settings_of_the_site(tmp_path: Path) -> None:
    with application(tmp_path) as app:
        foreign = replace(
            app, environ={**app.environ, "DJANGO_SETTINGS_MODULE": "tests.foreign_rest_framework"}
        )
        answers = json.loads(foreign.shell(ASK % {"token": app.token("registry")}))

    created, listed, again, malformed, notified, schema = answers
    assert created[0] == 201, created
    assert listed == again
    assert listed[0] == 200
    assert set(json.loads(listed[1])) == {"next", "previous", "results"}
    assert malformed[0] == 400
    assert "JSON parse error" in json.loads(malformed[1])["detail"]
    assert notified[0] == 200
    assert schema[0] == 200


# --- Settings -----------------------------------------------------------------------------------


def errors_with(**values: Any) -> list[str]:
    with override_settings(**values):
        return [str(message.id) for message in run_checks() if str(message.id).startswith(APPS)]


def test_checks_find_nothing_wrong_with_the_host_project() -> None:
    assert errors_with() == []


def test_check_names_a_missing_public_url() -> None:
    assert errors_with(PUBLIC_URL="") == ["registry_activity.E001"]


def test_check_names_a_missing_archive_storage() -> None:
    storages = {name: options for name, options in settings.STORAGES.items() if name != "archives"}

    assert errors_with(STORAGES=storages) == ["registry_activity.E002"]
