"""A grant can end at a date. From then on it gives nothing, and it is deleted soon afterward."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta
from itertools import product
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.core.exceptions import ValidationError
from django.test import Client
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from activity import tasks
from activity.models import Event
from repositories.access import effective_access, grants
from repositories.access.levels import GRANTABLE
from repositories.access.resolving import GRANTS, Access
from repositories.forms import UntilField
from repositories.models import Profile, Repository, RepositoryUserPermission
from repositories.utils.moments import format_time
from tests import factories
from tests.admin_forms import empty_formsets, grant_prefixes
from tests.event_tables import column, get_page

ACTIVITY = "/repositories/acme/web/activity/"
PERMISSIONS = "/repositories/acme/web/permissions/"
CODENAMES = [codename for codename, _ in GRANTABLE]


def end_grants() -> None:
    """Let the end of all grants come."""
    for _, model, _ in GRANTS:
        model.grants.exclude(expires_at=None).update(expires_at=timezone.now())


@pytest.fixture
def outsider(web: Repository) -> Any:
    return factories.UserFactory(username="outsider")


@pytest.mark.parametrize("codename", ["level_read", "level_admin", "view_pull_events"])
@pytest.mark.parametrize(("on_namespace", "to_team"), [*product([False, True], repeat=2)])
class TestGate:
    def test_expired_grant_gives_nothing(
        self, log_in: Any, web: Repository, outsider: Any, codename: str, on_namespace: bool, to_team: bool
    ) -> None:
        factories.record("update_tag", web, tag="v1")
        factories.record("get_tag", web, tag="v2")
        holder = factories.team_of(factories.OrganizationFactory(), outsider).group if to_team else outsider
        place = web.namespace if on_namespace else web
        grants.grant(codename, holder, place, timezone.now() + timedelta(hours=1))
        client = log_in(outsider)
        assert column(get_page(client, ACTIVITY, exclude_pull="false"), "Tag") != []
        assert Access.for_user(outsider).permissions_on(web)
        assert [row.holder for row in effective_access.rights_on(web).rows] == [outsider]

        end_grants()

        for url in (ACTIVITY, "/repositories/acme/web/", f"/api/v0{ACTIVITY}"):
            assert client.get(url).status_code == 404
        assert column(get_page(client, "/activity/", exclude_pull="false"), "Tag") == []
        assert client.get("/api/v0/events/").json()["results"] == []
        assert Access.for_user(outsider).permissions_on(web) == frozenset()
        assert effective_access.rights_on(web).rows == []
        assert not [row for row in effective_access.rights_of(outsider).repositories.rows if row.place == web]


class TestGranting:
    def test_repository_admin_grants_pulls_until_a_date(
        self, repoadmin: Client, web: Repository, outsider: Any
    ) -> None:
        day = timezone.localdate() + timedelta(days=10)
        form = {"holder": "outsider", "codename": "view_pull_events", "until": f"{day}", "grant": ""}
        page = repoadmin.post(PERMISSIONS, form, follow=True).content.decode()

        given = RepositoryUserPermission.objects.get(user=outsider)
        assert given.expires_at == timezone.make_aware(datetime(day.year, day.month, day.day)) + timedelta(1)
        assert (
            f"granted directly on the repository acme/web until the end of {format_time(day, 'day')}" in page
        )

    def test_new_end_replaces_the_old_one(self, web: Repository, outsider: Any) -> None:
        soon, later = (timezone.now() + timedelta(days=days) for days in (1, 9))
        for until in (soon, later, None):
            grants.grant("level_read", outsider, web, until)
            assert RepositoryUserPermission.objects.get(user=outsider).expires_at == until

    def test_other_level_replaces_a_grant_with_its_end(self, web: Repository, outsider: Any) -> None:
        grants.grant("level_read", outsider, web, timezone.now() + timedelta(days=1))
        grants.grant("level_admin", outsider, web)

        (given,) = RepositoryUserPermission.objects.filter(user=outsider)
        assert (given.permission.codename, given.expires_at) == ("level_admin", None)

    @pytest.mark.parametrize("day", ["2020-01-01", "9999-12-31", "2500-01-01", "tomorrow", "0001-01-01"])
    def test_impossible_end_grants_nothing(
        self, repoadmin: Client, web: Repository, outsider: Any, day: str
    ) -> None:
        form = {"holder": "outsider", "codename": "view_pull_events", "until": day, "grant": ""}

        assert "errorlist" in repoadmin.post(PERMISSIONS, form).content.decode()
        assert not RepositoryUserPermission.objects.filter(user=outsider).exists()

    def test_day_ends_in_the_viewers_zone(self, log_in: Any, web: Repository, outsider: Any) -> None:
        admin = factories.user_with("level_admin", web)
        Profile.objects.create(user=admin, time_zone=ZoneInfo("Pacific/Auckland"))
        day = timezone.localdate(timezone=ZoneInfo("Pacific/Auckland"))
        form = {"holder": "outsider", "codename": "level_read", "until": f"{day}", "grant": ""}
        log_in(admin).post(PERMISSIONS, form)

        end = RepositoryUserPermission.objects.get(user=outsider).expires_at
        assert end is not None
        assert f"{end.astimezone(ZoneInfo('Pacific/Auckland')):%H:%M}" == "00:00"
        assert timezone.now() < end <= timezone.now() + timedelta(hours=25)

    def test_team_gets_access_until_a_date(self, admin: Client, web: Repository) -> None:
        team = factories.team_of(web.namespace.organization)
        url = f"/organizations/acme/teams/{team.name}/access/"
        day = timezone.localdate() + timedelta(days=3)
        form = {"place": "acme/web", "codename": "level_read", "until": f"{day}", "grant": ""}
        page = admin.post(url, form, follow=True).content.decode()

        assert f'class="muted">until the end of {format_time(day, "day")}<' in page

    @pytest.mark.parametrize(("year", "given"), [(2090, 1), (2020, 0)])
    def test_admin_grants_until_a_time(
        self, admin: Client, web: Repository, outsider: Any, year: int, given: int
    ) -> None:
        url = f"/admin/registry_repositories/repository/{web.pk}/change/"
        form = {"visibility": "private", "description": "", **empty_formsets(*grant_prefixes())}
        row = {"user": outsider.pk, "access": "level_read"}
        row |= {"expires_at_0": f"{year}-05-01", "expires_at_1": "12:00:00"}
        prefix = grant_prefixes()[0]
        filled = {f"{prefix}-0-{name}": value for name, value in row.items()}
        admin.post(url, {**form, **filled, f"{prefix}-TOTAL_FORMS": 1})

        assert RepositoryUserPermission.objects.filter(expires_at__year=year).count() == given

    @given(st.dates())
    def test_every_day_is_an_end_or_an_error(self, day: Any) -> None:
        with suppress(ValidationError):
            end = UntilField().clean(day)
            assert end is not None
            assert end > timezone.now()


class TestDeletion:
    @pytest.mark.audited
    def test_expired_grants_are_deleted_with_an_event(self, web: Repository, outsider: Any) -> None:
        until = timezone.now() + timedelta(hours=1)
        grants.grant("view_pull_events", outsider, web, until)
        grants.grant("level_read", factories.UserFactory(), web)
        subjects = [event.subject for event in Event.objects.filter(kind="create_grant")]
        end = f"pull events on acme/web to outsider until {until:%Y-%m-%d %H:%M} UTC"
        assert end in subjects
        end_grants()

        tasks.delete_expired_grants()

        assert [given.permission.codename for given in RepositoryUserPermission.objects.all()] == [
            "level_read"
        ]
        deleted = Event.objects.get(kind="delete_grant")
        assert (deleted.repository, "pull events on acme/web to outsider" in deleted.subject) == (
            web,
            True,
        )
        tasks.delete_expired_grants()
        assert Event.objects.filter(kind="delete_grant").count() == 1
