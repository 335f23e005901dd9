"""Service accounts: nobody can log in to them, and programs use them with access tokens."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied
from django.test import Client

from activity.models import Event
from activity.sources.registries import registry_account
from repositories.models import Profile, Repository
from tests import factories
from tests.html_forms import post_forms

LOGIN = "/accounts/login/"


def make_service_account(admin: Client, user: Any) -> Any:
    """Tick the box on the admin page of a user, and return the response."""
    url = f"/admin/auth/user/{user.pk}/change/"
    (form,) = (
        f for f in post_forms(admin.get(url).content.decode()) if any(b.name == "_save" for b in f.buttons)
    )
    values = {field.name: field.value for field in form.fields if field.value is not None}
    return admin.post(url, {**values, "profile-0-is_service_account": "on"})


@pytest.fixture
def scanner(web: Repository) -> Any:
    """A service account that has a password, as if somebody had set one, and can read acme/web."""
    scanner = factories.user_with("level_read", web)
    Profile.objects.create(user=scanner, is_service_account=True)
    scanner.set_password("secret")
    scanner.save()
    return scanner


def test_tokens_of_a_service_account_work(scanner: Any) -> None:
    answer = Client().get("/api/v0/repositories/", headers=factories.bearer(scanner))

    assert [row["name"] for row in answer.json()["results"]] == ["acme/web"]


@pytest.mark.audited
def test_login_is_refused_even_with_the_right_password(scanner: Any) -> None:
    client = Client()

    answer = client.post(LOGIN, {"username": scanner.username, "password": "secret"})

    assert answer.status_code == 403
    assert client.get("/repositories/").status_code == 302
    sessions = Event.objects.filter(kind__in=["create_session", "create_session_failed", "delete_session"])
    assert [event.kind for event in sessions] == ["create_session_failed"]


def test_login_with_any_backend_is_refused(scanner: Any) -> None:
    with pytest.raises(PermissionDenied):
        Client().force_login(scanner)


def test_session_that_exists_already_shows_no_pages(web: Repository, log_in: Any) -> None:
    user = factories.user_with("level_read", web)
    client = log_in(user)
    assert client.get("/repositories/").status_code == 200

    Profile.objects.create(user=user, is_service_account=True)

    for url in ("/repositories/", "/settings/tokens/", "/activity/", "/api/v0/docs/"):
        assert client.get(url).status_code == 403, url


def test_admin_makes_a_user_a_service_account(admin: Client, web: Repository, log_in: Any) -> None:
    user = factories.user_with("level_read", web)
    session = log_in(user)

    answer = make_service_account(admin, user)

    assert answer.status_code == 302
    user.refresh_from_db()
    assert user.profile.is_service_account
    assert not user.has_usable_password()
    assert session.get("/repositories/").status_code == 302
    listed = admin.get("/admin/auth/user/?profile__is_service_account__exact=1").content.decode()
    assert user.username in listed
    assert "admin</a>" not in listed


def test_last_msr_admin_cannot_become_a_service_account(admin: Client) -> None:
    user = get_user_model().objects.get(username="admin")

    answer = make_service_account(admin, user)

    assert "There would be no MSR admin." in admin.get(answer["Location"]).content.decode()
    assert not Profile.objects.filter(is_service_account=True).exists()


def test_account_that_is_created_for_a_registry_is_a_service_account(db: None) -> None:
    assert registry_account().profile.is_service_account
    assert registry_account().profile.is_service_account
