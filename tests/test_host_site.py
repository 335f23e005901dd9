"""The apps work in a host site: their names, templates, API and settings don't conflict with the site's."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
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
from django.urls import clear_script_prefix, get_resolver, set_script_prefix

from activity.api.base import ApiView
from repositories.config import KEYS
from repositories.models import Repository
from tests.running import application

APPS = ("registry_activity", "registry_repositories")
BASE = "registry_activity/base.html"


# --- Names --------------------------------------------------------------------------------------


def test_app_labels_do_not_clash_with_those_of_the_host_site() -> None:
    assert [apps.get_app_config(label).name for label in APPS] == ["activity", "repositories"]


def test_url_namespaces_do_not_clash_with_those_of_the_host_site() -> None:
    assert set(get_resolver().namespace_dict) - {"admin"} == {*APPS, "registry_api"}


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("activity/event/", "registry_activity/event/"),
        ("repositories/namespace/", "registry_repositories/namespace/"),
        ("activity/", "registry_activity/"),
    ],
)
def test_admin_urls_with_the_package_name_redirect_to_those_with_the_app_label(
    admin: Client, path: str, target: str
) -> None:
    page = admin.get(f"/admin/{path}?q=jane", follow=True)

    assert page.redirect_chain == [(f"/admin/{target}?q=jane", 302)]
    assert page.status_code == 200


# --- Pages --------------------------------------------------------------------------------------


def page_templates() -> list[str]:
    """Return the names of the page templates, except fragments (`_….html`) and admin templates."""
    names = []
    for label in APPS:
        config = apps.get_app_config(label)
        folder = Path(config.path, "templates")
        names += [str(path.relative_to(folder)) for path in folder.glob(f"{config.label}/**/*.html")]
    return sorted(name for name in names if name != BASE and not Path(name).name.startswith("_"))


def root_of(name: str) -> str:
    """Return the name of the topmost template that a template extends, or its own name if it extends none."""
    nodes = get_template(name).template.nodelist  # type: ignore[attr-defined]
    extends: Any = next((node for node in nodes if isinstance(node, ExtendsNode)), None)
    return root_of(extends.parent_name.resolve({})) if extends else name


def test_every_page_extends_the_base_template_of_the_app() -> None:
    pages = page_templates()

    assert len(pages) > 20
    assert {name: root_of(name) for name in pages} == dict.fromkeys(pages, BASE)


@pytest.fixture
def site_with_base_template(tmp_path: Path) -> Iterator[None]:
    """A host site that replaces the base template with its own."""
    (tmp_path / "registry_activity").mkdir()
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


def test_base_template_works_without_logout_and_admin_urls(admin: Client, db: None) -> None:
    with override_settings(ROOT_URLCONF="tests.urls_without_admin"):
        page = admin.get("/activity/").content.decode()

    assert "Log out" not in page
    assert ">Admin<" not in page


# --- API ----------------------------------------------------------------------------------------


def test_every_api_view_extends_the_base_view() -> None:
    _, resolver = get_resolver().namespace_dict["registry_api"]
    views: list[Any] = [pattern.callback for pattern in resolver.url_patterns]

    assert len(views) > 10
    assert [view for view in views if not issubclass(view.view_class, ApiView)] == []


CALL_API = """
import json
from django.test import Client
from django.urls import reverse

def call(method, name, **kwargs):
    headers = {"authorization": "Bearer %(token)s"}
    client = Client(SERVER_NAME="localhost", headers=headers)
    response = getattr(client, method)(reverse(name), content_type="application/json", **kwargs)
    return response.status_code, response.content.decode()

event = {"id": "1", "kind": "scan", "repository": "acme/web", "occurred_at": "2026-11-22T12:00:00Z"}
print(json.dumps([
    call("post", "registry_api:events", data=json.dumps({**event, "kind": "create_repository"})),
    call("get", "registry_api:events"),
    call("get", "registry_api:events"),
    call("post", "registry_api:events", data="{"),
    call("post", "registry_api:notifications", data='{"events": []}'),
    call("get", "registry_api:schema"),
]))
"""


@pytest.mark.long
def test_api_ignores_the_rest_framework_settings_of_the_site(tmp_path: Path) -> None:
    with application(tmp_path) as app:
        foreign = replace(
            app, environ={**app.environ, "DJANGO_SETTINGS_MODULE": "tests.foreign_rest_framework"}
        )
        foreign.manage("check")  # would report names that clash with Knox's own token model
        responses = json.loads(foreign.shell(CALL_API % {"token": app.token("registry")}))

    created, listed, again, malformed, notified, schema = responses
    assert created[0] == 201, created
    assert listed == again
    assert listed[0] == 200
    assert set(json.loads(listed[1])) == {"next", "previous", "results"}
    assert malformed[0] == 400
    assert "JSON parse error" in json.loads(malformed[1])["detail"]
    assert notified[0] == 200
    assert schema[0] == 200


# --- System checks ------------------------------------------------------------------------------


def problems(**values: Any) -> list[str]:
    """Run the system checks with these settings, and return the ids of the messages from the apps."""
    with override_settings(**values):
        messages = [message for message in run_checks() if str(message.id).startswith(APPS)]
    assert [message for message in messages if not message.hint] == []
    return [str(message.id) for message in messages]


def without(setting: str, name: str) -> dict[str, Any]:
    """Return a setting without one of its entries."""
    value = getattr(settings, setting)
    if isinstance(value, dict):
        return {setting: {key: option for key, option in value.items() if key != name}}
    return {setting: [entry for entry in value if entry != name]}


def registry_activity(**changes: Any) -> dict[str, Any]:
    return {"REGISTRY_ACTIVITY": {**settings.REGISTRY_ACTIVITY, **changes}}


def template_options(**changes: Any) -> dict[str, Any]:
    (options,) = settings.TEMPLATES
    return {"TEMPLATES": [{**options, **changes}]}


class Router:
    """Stores the models of one app in another database, which may be the replica."""

    def db_for_write(self, model: Any, **hints: Any) -> str | None:
        return "other" if model._meta.app_label == "auth" else None


class ReplicaRouter:
    def db_for_read(self, model: Any, **hints: Any) -> str:
        return "other"


def test_checks_pass_in_this_project() -> None:
    assert problems() == []


def test_apps_work_without_any_of_their_settings(admin: Client, web: Repository) -> None:
    with override_settings():
        del settings.REGISTRY_ACTIVITY
        assert problems() == ["registry_activity.W001", "registry_activity.W002"]
        assert admin.get("/repositories/acme/web/info/").status_code == 200


def test_installation_guide_lists_every_setting_with_its_default() -> None:
    guide = Path(__file__).parent.parent / "docs" / "install.md"
    rows = re.findall(r"^\| `([A-Z_]+)` \| `(.+?)` \|", guide.read_text(), re.MULTILINE)

    assert {name: eval(default, {"timedelta": timedelta}) for name, default in rows} == KEYS


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({"REGISTRY_ACTIVITY": ["PUBLIC_URL"]}, "E001"),
        (registry_activity(DELETION_DELY=1), "E002"),
        (registry_activity(DELETION_DELAY=24), "E003"),
        (registry_activity(DELETION_DELAY=None), "E003"),
        (registry_activity(NAMESPACE_OF_USER="shop.no"), "E004"),
        (registry_activity(DELETION_DELAY=timedelta(hours=-1)), "E015"),
        (registry_activity(DELETION_DELAY=timedelta.max), "E015"),
        (registry_activity(MESSAGE_RETENTION=timedelta(days=-1)), "E015"),
        (registry_activity(READS_PER_MINUTE=0), "E015"),
        (without("REGISTRY_ACTIVITY", "PUBLIC_URL"), "W001"),
        (registry_activity(PUBLIC_URL="audit.example.com"), "W001"),
        (registry_activity(PUBLIC_URL=""), "W001"),
        (registry_activity(ARCHIVE_STORAGE="default"), "W008"),
        (without("REGISTRY_ACTIVITY", "REGISTRY_HOST"), "W002"),
        (without("STORAGES", "archives"), "W003"),
        (without("MIDDLEWARE", "repositories.accounts.current_request.CurrentRequestMiddleware"), "E006"),
        (without("MIDDLEWARE", "repositories.accounts.passwords.LoginLimitMiddleware"), "W004"),
        (without("MIDDLEWARE", "django.contrib.sessions.middleware.SessionMiddleware"), "E006"),
        ({"AUTHENTICATION_BACKENDS": ["guardian.backends.ObjectPermissionBackend"]}, "E014"),
        (template_options(APP_DIRS=False), "E007"),
        (template_options(OPTIONS={}), "E008"),
        ({"USE_TZ": False}, "E009"),
        ({"DATABASE_ROUTERS": ["tests.test_host_site.Router"]}, "E010"),
        ({"ROOT_URLCONF": "tests.urls_without_pages"}, "E012"),
        ({"LOGIN_URL": "/nowhere/"}, "W005"),
        ({"LOGIN_URL": "no-such-page"}, "W005"),
        ({"ANONYMOUS_USER_NAME": "AnonymousUser"}, "W006"),
    ],
)
def test_checks_name_what_is_missing(values: dict[str, Any], found: str) -> None:
    assert {id.removeprefix("registry_activity.") for id in problems(**values)} == {found}


@pytest.mark.parametrize(
    "values",
    [
        registry_activity(READS_PER_MINUTE=None),
        registry_activity(PUBLIC_URL="http://localhost:8000/"),
        registry_activity(MESSAGE_RETENTION=timedelta(0)),
        {"DATABASE_ROUTERS": ["tests.test_host_site.ReplicaRouter"]},
        {"LOGIN_URL": "https://sso.example.com/"},
        {"MIDDLEWARE": [*settings.MIDDLEWARE, "tests.test_host_site.function_middleware"]},
    ],
)
def test_checks_accept_what_works(values: dict[str, Any]) -> None:
    assert problems(**values) == []


def test_check_accepts_a_login_page_below_a_prefix_of_the_whole_site() -> None:
    set_script_prefix("/shop/")
    try:
        assert problems(LOGIN_URL="login") == []
        assert problems(LOGIN_URL="/shop/nowhere/") == ["registry_activity.W005"]
    finally:
        clear_script_prefix()


def function_middleware(get_response: Any) -> Any:
    return get_response
