"""Many ids, as one parameter."""

import pytest

from repositories.access.levels import Level
from repositories.access.resolving import Access
from repositories.models import Repository, RepositoryUserPermission
from repositories.utils.among import FEW
from tests import factories


@pytest.mark.django_db
def test_thousands_of_grants_are_one_parameter() -> None:
    namespace = factories.repository("acme/web").namespace
    Repository.objects.bulk_create(Repository(namespace=namespace, name=f"r{n}") for n in range(20 * FEW))
    granted = Repository.objects.exclude(name="web")
    jane = factories.UserFactory()
    RepositoryUserPermission.objects.bulk_assign_perm(Level.READ.value, jane, granted)
    access = Access.of(jane)

    many = access.repositories().query.sql_with_params()[1]
    assert set(access.repositories()) == set(granted)
    assert len(many) < 10
    assert access.few_repositories is None
