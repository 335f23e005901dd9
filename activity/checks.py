"""System checks: what a site's settings lack, and what would go wrong without it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import timedelta
from typing import Any

from django.apps import apps
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.auth.models import Group, Permission
from django.contrib.messages.middleware import MessageMiddleware
from django.contrib.sessions.middleware import SessionMiddleware
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.core.files.storage import FileSystemStorage, InvalidStorageError
from django.db import DEFAULT_DB_ALIAS, connections, router
from django.db.models import Q
from django.shortcuts import resolve_url
from django.template import Engine, TemplateDoesNotExist, TemplateSyntaxError
from django.template.loader import get_template
from django.urls import NoReverseMatch, Resolver404, get_script_prefix, resolve, reverse
from django.utils.module_loading import import_string
from guardian.backends import ObjectPermissionBackend

from activity import config
from repositories.accounts.current_request import CurrentRequestMiddleware
from repositories.accounts.passwords import LimitedModelBackend, LoginLimitMiddleware
from repositories.config import KEYS, TYPES, namespace_of_user
from repositories.names import RESERVED

NEEDED_APPS = (
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.humanize",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "django_htmx",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "guardian",
    "knox",
    "rest_framework",
    "solo",
)
MIDDLEWARE = {
    SessionMiddleware: "nobody can log in.",
    AuthenticationMiddleware: "nobody can log in.",
    MessageMiddleware: "pages can't say what a form has changed.",
    CurrentRequestMiddleware: "people's actions are recorded as actions of the command line.",
}
CONTEXT_PROCESSORS = (
    "django.template.context_processors.request",
    "django.contrib.auth.context_processors.auth",
    "django.contrib.messages.context_processors.messages",
)
VENDORS = ("sqlite", "postgresql")
MAX_PERIOD = timedelta(days=36_500)


@register
def check_keys(**_: Any) -> Iterator[CheckMessage]:
    """Check that the `REGISTRY_ACTIVITY` setting contains known keys with valid values."""
    values = getattr(settings, "REGISTRY_ACTIVITY", {})
    if not isinstance(values, dict):
        yield Error(
            "REGISTRY_ACTIVITY is not a dictionary.",
            hint=f"Its keys are {', '.join(sorted(KEYS))}. All of them are optional.",
            id="registry_activity.E001",
        )
        return
    unknown = values.keys() - KEYS.keys()
    invalid = [name for name in KEYS if name in values and not isinstance(values[name], TYPES[name])]
    for name in sorted(unknown):
        yield Error(
            f"REGISTRY_ACTIVITY has an unknown key, {name!r}.",
            hint=f"The known keys are {', '.join(sorted(KEYS))}.",
            id="registry_activity.E002",
        )
    for name in invalid:
        yield Error(
            f"REGISTRY_ACTIVITY[{name!r}] is not of type {type(KEYS[name]).__name__}.",
            hint=f"For example: {KEYS[name]!r}.",
            id="registry_activity.E003",
        )
    if not unknown and not invalid:
        yield from _check_ranges(values)
        yield from _check_values(values)


def _check_ranges(values: dict[str, Any]) -> Iterator[CheckMessage]:
    for name in ("DELETION_DELAY", "MESSAGE_RETENTION"):
        if not timedelta(0) <= values.get(name, timedelta(0)) <= MAX_PERIOD:
            yield Error(
                f"REGISTRY_ACTIVITY[{name!r}] is negative or longer than {MAX_PERIOD.days} days.",
                hint=f"For example: {KEYS[name]!r}.",
                id="registry_activity.E015",
            )
    limit = values.get("READS_PER_MINUTE")
    if limit is not None and limit < 1:
        yield Error(
            "REGISTRY_ACTIVITY['READS_PER_MINUTE'] is less than 1, so all requests that read are refused.",
            hint="Set it to None if there is no limit.",
            id="registry_activity.E015",
        )


def _check_values(values: dict[str, Any]) -> Iterator[CheckMessage]:
    for name, example, consequence in (
        ("PUBLIC_URL", "https://www.example.com", "`manage.py registry_config` prints a wrong address"),
        ("REGISTRY_HOST", "registry.example.com", "the commands that pages show name a wrong registry"),
    ):
        if not values.get(name):
            yield Warning(
                f"REGISTRY_ACTIVITY has no key {name!r}, so {consequence}.",
                hint=f"For example: REGISTRY_ACTIVITY = {{{name!r}: {example!r}}}.",
                id=f"registry_activity.W00{1 if name == 'PUBLIC_URL' else 2}",
            )
    if values.get("PUBLIC_URL") and not config.public_url().startswith(("http://", "https://")):
        yield Warning(
            "REGISTRY_ACTIVITY['PUBLIC_URL'] doesn't begin with https:// or http://, so `manage.py"
            " registry_config` prints a wrong address.",
            hint="For example: https://www.example.com.",
            id="registry_activity.W001",
        )
    try:
        archives = config.archive_storage()
        if isinstance(archives, FileSystemStorage) and archives.location == FileSystemStorage().location:
            yield Warning(
                "Archives of events are stored in MEDIA_ROOT, whose files the site may serve to everybody.",
                hint="Give their storage in STORAGES a location of its own.",
                id="registry_activity.W008",
            )
    except InvalidStorageError as error:
        yield Warning(
            f"Auto-deletion can't archive events before it deletes them: {error}",
            hint=f"Add a storage named {values.get('ARCHIVE_STORAGE', config.ARCHIVES)!r} to STORAGES. Its "
            "files must not be public, because they contain events.",
            id="registry_activity.W003",
        )
    try:
        namespace_of_user()
    except ImportError as error:
        yield Error(
            f"REGISTRY_ACTIVITY['NAMESPACE_OF_USER'] can't be imported: {error}",
            hint=f"Name a function by its path, as in {KEYS['NAMESPACE_OF_USER']!r}.",
            id="registry_activity.E004",
        )


@register(deploy=True)
def check_append_only(**_: Any) -> Iterator[CheckMessage]:
    """Check that the database rejects changes to events."""
    if not config.append_only():
        yield Error(
            "REGISTRY_ACTIVITY['APPEND_ONLY'] is False, so the database accepts changes to events.",
            hint="Only tests need this value.",
            id="registry_activity.E013",
        )


@register
def check_apps(**_: Any) -> Iterator[CheckMessage]:
    """Check that the apps are installed whose templates, tags and static files the pages use."""
    for name in NEEDED_APPS:
        if not apps.is_installed(name):
            yield Error(
                f"{name!r} is not in INSTALLED_APPS.",
                hint="The pages of registry-activity don't work without it.",
                id="registry_activity.E005",
            )


@register
def check_middleware(**_: Any) -> Iterator[CheckMessage]:
    """Check that the middleware is installed without which pages fail or events are wrong."""
    for needed, consequence in MIDDLEWARE.items():
        if not _has_middleware(needed):
            yield Error(
                f"'{needed.__module__}.{needed.__name__}' is not in MIDDLEWARE. Without it, {consequence}",
                hint="Add it to MIDDLEWARE, anywhere after the middleware of sessions and authentication.",
                id="registry_activity.E006",
            )


def _has_middleware(needed: type) -> bool:
    installed = [import_string(path) for path in settings.MIDDLEWARE]
    return any(isinstance(each, type) and issubclass(each, needed) for each in installed)


@register
def check_backends(**_: Any) -> Iterator[CheckMessage]:
    """Check that the authentication backends know permissions, and can explain why they refuse a login."""
    backends = {import_string(path) for path in settings.AUTHENTICATION_BACKENDS}
    if not any(hasattr(backend, "get_all_permissions") for backend in backends - {ObjectPermissionBackend}):
        yield Error(
            "No backend in AUTHENTICATION_BACKENDS knows the permissions of groups, such as MSR admins.",
            hint="Add 'django.contrib.auth.backends.ModelBackend', or a class that extends it.",
            id="registry_activity.E014",
        )
    is_limited = any(issubclass(backend, LimitedModelBackend) for backend in backends)
    if is_limited and not _has_middleware(LoginLimitMiddleware):
        yield Warning(
            "LimitedModelBackend refuses logins without an explanation.",
            hint="Add 'repositories.accounts.passwords.LoginLimitMiddleware' to MIDDLEWARE.",
            id="registry_activity.W004",
        )


@register
def check_templates(**_: Any) -> Iterator[CheckMessage]:
    """Check that Django's template engine finds the apps' templates and gives them what they use."""
    try:
        get_template("registry_activity/base.html")
    except TemplateDoesNotExist:
        yield Error(
            "No template engine finds the templates of apps.",
            hint="Set APP_DIRS to True for DjangoTemplates in TEMPLATES.",
            id="registry_activity.E007",
        )
        return
    except TemplateSyntaxError:  # `check_apps` names the app that defines the missing tags
        return
    for path in CONTEXT_PROCESSORS:
        if path not in Engine.get_default().context_processors:
            yield Error(
                f"{path!r} is not in the context processors of TEMPLATES.",
                hint="The pages of registry-activity don't show who is logged in, or what has been changed.",
                id="registry_activity.E008",
            )


@register
def check_time_zones(**_: Any) -> Iterator[CheckMessage]:
    """Check that times have time zones."""
    if not settings.USE_TZ:
        yield Error(
            "USE_TZ is False, so the times of events would be ambiguous.",
            hint="Set USE_TZ to True.",
            id="registry_activity.E009",
        )


@register
def check_databases(**_: Any) -> Iterator[CheckMessage]:
    """Check that one database, of a known kind, contains everything that transactions and joins span."""
    models: list[Any] = [get_user_model(), Group, Permission]
    for label in ("registry_activity", "registry_repositories"):
        models += apps.get_app_config(label).get_models()
    elsewhere = sorted(
        model._meta.label for model in models if router.db_for_write(model) != DEFAULT_DB_ALIAS
    )
    if elsewhere:
        yield Error(
            f"DATABASE_ROUTERS write these models elsewhere than the others: {', '.join(elsewhere)}.",
            hint=f"The {DEFAULT_DB_ALIAS!r} database has to contain users, groups, permissions and all "
            "models of registry-activity. They can be read from a replica.",
            id="registry_activity.E010",
        )
    database = connections[DEFAULT_DB_ALIAS]
    if database.vendor not in VENDORS:
        yield Error(
            f"Events can't be stored in {database.display_name}.",
            hint="Use PostgreSQL or SQLite.",
            id="registry_activity.E011",
        )


@register
def check_urls(**_: Any) -> Iterator[CheckMessage]:
    """Check that the pages can be reached, and that they can redirect to the login page."""
    try:
        reverse("registry_activity:all")
        reverse("registry_repositories:list")
        reverse("registry_api:events")
    except NoReverseMatch as error:
        yield Error(
            f"The URLs of registry-activity are not included: {error}",
            hint="Add path('registry/', include('activity.urls')) to the URL configuration.",
            id="registry_activity.E012",
        )
        return
    try:
        url, prefix = resolve_url(settings.LOGIN_URL), get_script_prefix()
        if url.startswith(prefix) and not url.startswith("//"):
            resolve("/" + url.partition("?")[0].removeprefix(prefix))
    except (NoReverseMatch, Resolver404):
        yield Warning(
            f"LOGIN_URL is {str(settings.LOGIN_URL)!r}, where this site has no page.",
            hint="Set LOGIN_URL to the address or to the name of the login page.",
            id="registry_activity.W005",
        )


@register(Tags.database)
def check_names(databases: Collection[str] | None = None, **_: Any) -> Iterator[CheckMessage]:
    """Name the users whose names stand for something else. `migrate` and `check --database` do this."""
    users = get_user_model()
    if DEFAULT_DB_ALIAS not in (databases or ()):
        return
    if users._meta.db_table not in connections[DEFAULT_DB_ALIAS].introspection.table_names():
        return
    same = Q(*(Q(**{f"{users.USERNAME_FIELD}__iexact": name}) for name in RESERVED), _connector=Q.OR)
    named = users._default_manager.filter(same).values_list(users.USERNAME_FIELD, flat=True)
    if named:
        yield Warning(
            f"These users have names that stand for something else: {', '.join(sorted(named))}.",
            hint="They own no namespace, and lists show them as “USER anonymous”, for example. Rename them,"
            " or silence this warning.",
            id="registry_activity.W007",
        )


@register
def check_guardian(**_: Any) -> Iterator[CheckMessage]:
    """Check that django-guardian adds no user to the site."""
    if getattr(settings, "ANONYMOUS_USER_NAME", "AnonymousUser") is not None:
        yield Warning(
            "django-guardian creates a user for people who aren't logged in.",
            hint="Set ANONYMOUS_USER_NAME to None, or silence this warning if the site needs that user.",
            id="registry_activity.W006",
        )
