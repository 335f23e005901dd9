"""Queries with many ids pass all of the ids to the database as a single parameter."""

import pytest

from repositories.access.levels import Level
from repositories.access.resolving import Access
from repositories.models import Repository, RepositoryUserPermission
from repositories.utils.among import MAX_LISTED
from tests import factories


@pytest.mark.django_db
def test_thousands_of_grants_are_passed_as_one_parameter() -> None:
    namespace = factories.repository("acme/web").namespace
    Repository.objects.bulk_create(
        Repository(namespace=namespace, name=f"r{n}") for n in range(20 * MAX_LISTED)
    )
    granted = Repository.objects.exclude(name="web")
    jane = factories.UserFactory()
    RepositoryUserPermission.objects.bulk_assign_perm(Level.READ.value, jane, granted)
    access = Access.for_user(jane)

    parameters = access.repositories().query.sql_with_params()[1]
    assert set(access.repositories()) == set(granted)
    assert len(parameters) < 10
    assert access.repository_ids(["pull"]) == sorted(granted.values_list("pk", flat=True))
