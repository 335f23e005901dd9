"""Every form and every admin action that changes something leaves an event with the name of the user."""

from __future__ import annotations

import pytest

from tests.walk import Walk

pytestmark = [pytest.mark.django_db, pytest.mark.audited, pytest.mark.long]

PAGES_WITHOUT_CHANGES = {
    "login",
    "admin:registry_activity_archive_changelist",
    "admin:registry_activity_event_changelist",
    "admin:registry_repositories_namespace_permissions",
    "admin:registry_repositories_repository_permissions",
    "registry_activity:all",
    "registry_activity:organization",
    "registry_activity:repository",
    "registry_activity:user",
}
"""The pages whose forms change nothing: they filter, download, lead to another form, or tell the worker."""


def test_every_form_that_changes_something_leaves_an_event_with_the_name_of_the_user() -> None:
    walk = Walk()

    walk.submit_all()

    assert walk.silent == set()
    assert {name for name, number in walk.changing.items() if not number} == PAGES_WITHOUT_CHANGES
