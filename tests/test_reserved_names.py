"""Nobody can take a name that stands for something else, and a full name belongs to one live repository."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from io import StringIO
from threading import Barrier
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.db import IntegrityError, OperationalError, connection, transaction
from django.test import Client
from guardian.conf import settings as guardian
from guardian.management import create_anonymous_user
from guardian.shortcuts import assign_perm

from repositories.models import Namespace, Organization, Repository
from tests import factories

pytestmark = pytest.mark.django_db
User = get_user_model()

RESERVED = ["_", "anonymous", "Anonymous", "\N{FULLWIDTH LOW LINE}"]


# --- Users and organizations --------------------------------------------------------------------


@pytest.mark.parametrize("name", RESERVED)
def test_admin_refuses_users_with_reserved_names(admin: Client, name: str) -> None:
    passwords = {"usable_password": "true", "password1": "correct horse", "password2": "correct horse"}

    page = admin.post("/admin/auth/user/add/", {"username": name, **passwords})

    assert "This name is reserved." in page.content.decode()
    assert not User.objects.filter(username__in=RESERVED).exists()


@pytest.mark.parametrize("name", [*RESERVED, "AnonymousUser"])
def test_site_itself_may_create_users_with_reserved_names_who_gain_nothing(
    name: str, log_in: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guardian, "ANONYMOUS_USER_NAME", "AnonymousUser")
    alpine = factories.repository("alpine")

    user = User.objects.create_user(name)

    client = log_in(user)
    assert Namespace.objects.get().owner is None
    assert client.get("/repositories/_/alpine/info/").status_code == 404
    new = {"namespace": name, "name": "debian", "visibility": "private"}
    assert client.post("/repositories/new/", new).status_code == 200
    assert Repository.objects.get() == alpine
    user.username = "jane"
    user.save()
    user.username = name
    user.save()


def test_guardian_may_create_its_user_under_any_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guardian, "ANONYMOUS_USER_NAME", "anonymous")

    create_anonymous_user(sender=None, using="default")

    assert not User.objects.get(username="anonymous").has_usable_password()


@pytest.mark.parametrize("name", ["anonymous", "Anonymous", "_"])
def test_migrate_and_check_name_users_with_reserved_names(name: str) -> None:
    User.objects.create_user(name)
    output = StringIO()

    call_command("check", databases=["default"], stderr=output)

    assert "registry_activity.W007" in output.getvalue()
    assert f"stand for something else: {name}." in output.getvalue()


def test_user_named_anonymous_is_told_apart_from_people_who_are_not_logged_in(admin: Client) -> None:
    user = User.objects.create_user("anonymous")
    factories.record(actor_name=user.username)

    page = admin.get("/activity/").content.decode()

    assert "USER anonymous" in page
    for search in ('actor:"USER anonymous"', "actor:anonymous"):
        assert "USER anonymous" in admin.get("/activity/", {"q": search}).content.decode()
    assert "USER anonymous" in admin.get("/activity/", {"actor": "USER anonymous"}).content.decode()


@pytest.mark.parametrize("name", ["_", "anonymous", "Anonymous"])
def test_organizations_with_reserved_names_are_refused(admin: Client, name: str) -> None:
    formset = {f"memberships-{key}": "0" for key in ("TOTAL_FORMS", "INITIAL_FORMS")}

    page = admin.post("/admin/registry_repositories/organization/add/", {"name": name, **formset})

    assert page.status_code == 200
    with pytest.raises(ValidationError, match="reserved"), transaction.atomic():
        Organization.objects.create(name=name)
    assert not Organization.objects.exists()


def test_existing_user_named_underscore_gains_nothing(log_in: Any) -> None:
    User.objects.bulk_create(
        [User(username="_")]
    )  # without signals, as before this application was installed
    user = User.objects.get(username="_")
    alpine = factories.repository("alpine")

    user.email = "a@example.com"
    user.save()

    client = log_in(user)
    assert Namespace.objects.get(name="_").owner is None
    assert client.get("/repositories/_/alpine/info/").status_code == 404
    new = {"namespace": "_", "name": "debian", "visibility": "private"}
    assert client.post("/repositories/new/", new).status_code == 200
    assert Repository.objects.get() == alpine


@pytest.mark.parametrize("owner", ["user", "organization"])
def test_database_refuses_an_owner_of_the_repositories_without_a_namespace(owner: str) -> None:
    factories.repository("alpine")
    row = factories.UserFactory() if owner == "user" else factories.OrganizationFactory()

    with pytest.raises(IntegrityError), transaction.atomic():
        Namespace.objects.filter(name="_").update(**{owner: row})


def test_username_with_a_slash_owns_no_namespace() -> None:
    User.objects.create_user("globex/billing")

    assert not Namespace.objects.exists()
    with pytest.raises(IntegrityError), transaction.atomic():
        Namespace.objects.create(name="globex/billing")


# --- Full names ---------------------------------------------------------------------------------


@pytest.fixture
def library_admin(log_in: Any) -> Client:
    """A client of a user with the admin level on the repositories without a namespace."""
    user = factories.UserFactory()
    assign_perm("level_admin", user, Namespace.objects.get_or_create(name="_")[0])
    return log_in(user)


@pytest.mark.parametrize("exists", [True, False])
def test_full_name_of_another_namespace_is_refused(
    library_admin: Client, registry: Any, exists: bool
) -> None:
    if exists:
        factories.repository("globex/billing")
    new = {"namespace": "_", "visibility": "public"}

    page = library_admin.post("/repositories/new/", {**new, "name": "globex/billing"})

    assert "The name of a repository without a namespace can&#x27;t contain slashes." in page.content.decode()
    assert Repository.objects.count() == exists
    assert library_admin.post("/repositories/new/", {**new, "name": "debian"}).status_code == 302
    assert registry(factories.notification(target={"repository": "globex/billing"})).status_code == 200
    assert Repository.objects.named("globex/billing").live().count() == 1


@pytest.mark.parametrize("exists", [True, False])
def test_admin_refuses_the_full_name_of_another_namespace(admin: Client, exists: bool) -> None:
    if exists:
        factories.repository("globex/billing")
    library = Namespace.objects.get_or_create(name="_")[0]

    page = admin.post(
        "/admin/registry_repositories/repository/add/",
        {"namespace": library.pk, "name": "globex/billing", "visibility": "public"},
    )

    assert page.status_code == 200
    assert Repository.objects.count() == exists


def test_database_refuses_the_full_name_of_another_namespace() -> None:
    library = Namespace.objects.get_or_create(name="_")[0]

    with pytest.raises(IntegrityError), transaction.atomic():
        Repository.objects.create(namespace=library, name="globex/billing")
    with pytest.raises(IntegrityError), transaction.atomic():
        Repository.objects.bulk_create([Repository(namespace=library, name="globex/billing")])


def test_full_name_is_free_again_after_a_deletion(admin: Client) -> None:
    deleted = factories.repository("acme/web")
    with pytest.raises(IntegrityError), transaction.atomic():
        factories.repository("acme/web")

    deleted.delete()

    assert factories.repository("acme/web").full_name == deleted.full_name == "acme/web"


@pytest.mark.django_db(transaction=True)
def test_simultaneous_requests_create_one_repository() -> None:
    namespace = Namespace.objects.create(name="acme")
    barrier = Barrier(2)

    def create(_: int) -> str:
        barrier.wait()
        try:
            while True:
                with suppress(OperationalError):  # SQLite's database in memory doesn't wait for a lock
                    Repository.objects.create(namespace=namespace, name="web")
                    return "created"
        except IntegrityError:
            return "refused"
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as threads:
        outcomes = sorted(threads.map(create, range(2)))

    assert outcomes == ["created", "refused"]
    assert Repository.objects.count() == 1
