"""Users who were there before the app was installed get their namespaces by a command."""

from __future__ import annotations

from io import StringIO

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import override_settings

from repositories.models import Namespace, Organization

pytestmark = pytest.mark.django_db


def claim(*usernames: str) -> list[str]:
    output = StringIO()
    call_command("claim_namespaces", *usernames, stdout=output)
    return output.getvalue().splitlines()


def owners() -> dict[str, str]:
    return {str(namespace): str(namespace.owner) for namespace in Namespace.objects.exclude(name="_")}


@pytest.fixture
def users() -> None:
    """Users without namespaces, as if they had been there before the app."""
    User.objects.bulk_create(User(username=name) for name in ("ann", "ben", "cy@example.com"))


def test_users_get_the_namespaces_with_their_names(users: None) -> None:
    assert claim() == ["cy@example.com: the name isn't valid for a namespace."]
    assert owners() == {"ann": "ann", "ben": "ben"}
    assert claim() == ["cy@example.com: the name isn't valid for a namespace."]


def test_reported_namespace_stays_unclaimed_unless_its_user_is_named(users: None) -> None:
    Namespace.objects.create(name="ann")

    assert "ann: ann belongs to nobody." in claim()
    assert owners() == {"ann": "None", "ben": "ben"}
    assert claim("ann") == []
    assert owners() == {"ann": "ann", "ben": "ben"}


def test_namespace_of_somebody_else_cannot_be_claimed(users: None) -> None:
    Organization.objects.create(name="ann")

    assert "ann: ann belongs to ann." in claim()
    assert claim("ann") == ["ann: ann belongs to ann."]
    with pytest.raises(CommandError, match="no user named nobody"):
        claim("nobody", "ben")


def local_part(user: User) -> str:
    return user.username.partition("@")[0]


def test_site_determines_the_namespace_of_a_user() -> None:
    with override_settings(REGISTRY_ACTIVITY={"NAMESPACE_OF_USER": "tests.test_claim_namespaces.local_part"}):
        User.objects.create(username="cy@example.com")

    assert owners() == {"cy": "cy@example.com"}
