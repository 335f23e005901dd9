"""People find an answer, or the form for a task, within three page loads after they log in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests
from selenium.webdriver import Chrome

from tests import services
from tests.factories import produced_event
from tests.running import PASSWORD, TIMEOUT, Application, application, text
from tests.visitor import Visitor

pytestmark = pytest.mark.long

TODAY = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
YESTERDAY = TODAY - timedelta(days=1)
LONG_AGO = TODAY - timedelta(days=60)
LAST_MONTH = TODAY.replace(day=1) - timedelta(days=10)
OLD, NEW = (f"sha256:{digits * 8}" for digits in ("09c0ffee", "0badcafe"))
VisitorOf = Callable[[str], Visitor]


EVENTS = [
    produced_event("update_tag", LAST_MONTH, "dana", tag="rolling", digest=OLD),
    produced_event("update_tag", YESTERDAY, "li", tag="rolling", digest=NEW),
    produced_event("scan_failed", YESTERDAY, "li", tag="rolling", repository="acme/team/worker"),
    produced_event("get_tag", YESTERDAY, "mara", tag="rolling", digest=NEW),
    produced_event("get_tag", YESTERDAY + timedelta(minutes=1), "mara", tag="rolling", digest=NEW),
    produced_event("get_tag", YESTERDAY + timedelta(minutes=2), "li", tag="rolling", digest=NEW),
    produced_event("update_tag", LAST_MONTH, "dana", tag="gone", digest=OLD),
    produced_event("delete_tag", YESTERDAY, "mallory", tag="gone"),
    produced_event("update_tag", YESTERDAY, "stranger", tag="first", repository="newcomer/app"),
]


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    with application(tmp_path_factory.mktemp("application"), events=300) as app:
        headers = {"Authorization": f"Bearer {app.token('registry')}"}
        response = requests.post(f"{app.url}/api/v0/events/", json=EVENTS, headers=headers, timeout=TIMEOUT)
        assert response.status_code == 201, response.text
        app.notify("{}")  # becomes a dead letter
        app.shell(PREPARE)
        app.manage("delete_events")
        app.manage("verify")
        yield app
        assert "Traceback" not in app.log("web")


@pytest.fixture(scope="module")
def browser() -> Iterator[Chrome]:
    with services.chromium(1280, 900) as browser:
        yield browser


@pytest.fixture
def visitor(app: Application, browser: Chrome) -> VisitorOf:
    """Return a function that logs a demo user in."""
    return lambda username: Visitor(browser, app, username)


class TestImages:
    def test_reader_finds_where_a_tag_pointed_on_a_day_and_who_had_moved_it(self, visitor: VisitorOf) -> None:
        reader = visitor("reader")
        reader.click("Activity")
        day = LAST_MONTH + timedelta(days=1)
        reader.search(f"repo:acme/web:rolling before:{day:%Y-%m-%d}")

        assert reader.sees_rows({"Label": "Update Tag", "Initiated by": "dana", "SHA": "sha256:09c0ffee"})

    def test_reader_finds_the_newest_image_of_a_tag_by_whom_and_its_digest(self, visitor: VisitorOf) -> None:
        reader = visitor("reader")
        reader.click("acme/web")
        reader.tab("Tags")
        reader.search("rolling")

        reader.find(".digest summary").click()
        assert reader.sees(NEW, "li", f"{YESTERDAY:%b} {YESTERDAY.day}")

    def test_reader_finds_who_deleted_a_tag(self, visitor: VisitorOf) -> None:
        reader = visitor("reader")
        reader.click("Activity")
        reader.search("acme/web:gone type:delete")

        assert reader.sees_rows({"Label": "Delete Tag", "Initiated by": "mallory"})

    def test_repository_admin_finds_who_pulled_a_digest_this_week(self, visitor: VisitorOf) -> None:
        repoadmin = visitor("repoadmin")
        repoadmin.click("Activity")
        repoadmin.search("digest:0badcafe type:get after:7d")

        assert repoadmin.sees_rows({"Initiated by": "li"}, *2 * [{"Initiated by": "mara"}])

    def test_auditor_finds_failed_scans(self, visitor: VisitorOf) -> None:
        auditor = visitor("auditor")
        auditor.click("Activity")
        auditor.search("kind:scan_failed repo:acme/team/worker after:2d")

        assert auditor.sees_rows({"Label": "Scan Failed", "Initiated by": "li"})

    def test_viewer_lists_what_happened_yesterday_in_their_own_zone(self, visitor: VisitorOf) -> None:
        reader = visitor("reader")
        reader.click("Activity")
        reader.search("on:yesterday tag:rolling repo:acme/web")

        assert reader.sees_rows({"Label": "Update Tag", "Initiated by": "li"})

    def test_auditor_exports_the_events_of_one_month_and_repository(self, visitor: VisitorOf) -> None:
        auditor = visitor("auditor")
        auditor.click("Activity")
        auditor.search(f"repo:acme/web on:{LAST_MONTH:%Y-%m}")
        auditor.find("#share summary").click()

        assert auditor.sees("Export as CSV", "Export as JSON Lines")

    def test_repository_admin_finds_who_pulls_an_image_this_week(self, visitor: VisitorOf) -> None:
        repoadmin = visitor("repoadmin")
        repoadmin.click("acme/web")
        repoadmin.tab("Pulls")
        repoadmin.search("rolling", "[name=tag]")

        assert repoadmin.sees("mara\t2\t", "li\t1\t")

    def test_administrator_lists_the_repositories_that_nobody_pulled_for_90_days(
        self, visitor: VisitorOf
    ) -> None:
        admin = visitor("admin")
        admin.search("90", "[name=not_pulled_for]")

        assert admin.sees("newcomer/app", "Last pull never")
        assert "acme/web" not in text(admin.driver, "main")

    def test_repository_admin_lists_the_images_that_nobody_pulled_for_90_days(
        self, visitor: VisitorOf
    ) -> None:
        repoadmin = visitor("repoadmin")
        repoadmin.click("acme/web")
        repoadmin.tab("Tags")
        repoadmin.search("90", "[name=not_pulled_for]")

        assert repoadmin.sees("All tags were pushed or pulled in the last 90 days")

    def test_repository_admin_finds_an_image_by_a_reference_from_a_terminal(self, visitor: VisitorOf) -> None:
        repoadmin = visitor("repoadmin")
        repoadmin.click("Activity")
        repoadmin.search(f"registry.example.com/acme/web@{OLD}")

        assert repoadmin.sees_rows(*[{"Label": "Update Tag", "Initiated by": "dana"}] * 2)


class TestAccess:
    def test_member_learns_whom_to_ask_for_access(self, visitor: VisitorOf, app: Application) -> None:
        reader = visitor("reader")
        reader.open("/repositories/acme/team/worker/")

        assert reader.sees("Page not found", "The owners of the organization can give you access: dana.")

    def test_repository_admin_finds_why_a_colleague_cannot_see_a_repository(self, visitor: VisitorOf) -> None:
        repoadmin = visitor("repoadmin")
        repoadmin.click("acme/web")
        repoadmin.tab("Permissions")
        repoadmin.search("mara")

        assert repoadmin.sees("No users match “mara”")

    def test_owner_gives_a_team_access(self, visitor: VisitorOf) -> None:
        owner = visitor("dana")
        owner.click("acme/team/worker")
        owner.tab("Permissions")
        owner.fill(holder="acme/web-readers", codename="Access level read")
        owner.press("Grant")

        assert owner.sees("Granted acme/web-readers access to acme/team/worker.")

    def test_repository_admin_shows_pulls_to_an_outsider_until_a_date(self, visitor: VisitorOf) -> None:
        repoadmin = visitor("repoadmin")
        repoadmin.click("acme/web")
        repoadmin.tab("Permissions")
        end = TODAY + timedelta(days=30)
        repoadmin.fill(holder="mara", codename="Can view pull events", until=f"{end:%Y-%m-%d}")
        repoadmin.press("Grant")

        assert repoadmin.sees("Granted mara access to acme/web.", "on the repository acme/web until")

    def test_administrator_ends_the_access_of_someone_who_left(self, visitor: VisitorOf) -> None:
        admin = visitor("admin")
        admin.click("Admin")
        admin.click("Users")
        admin.follow("a[aria-label='Access of li']")

        assert admin.sees("End all access tokens and sessions", "Not locked out", "globex (Owner)")

    def test_administrator_unlocks_somebody(self, visitor: VisitorOf) -> None:
        admin = visitor("admin")
        admin.click("Admin")
        admin.click("Users")
        admin.follow("a[aria-label='Access of li']")

        assert admin.sees("Unlock the username")

    def test_administrator_creates_an_organization_for_a_group(self, visitor: VisitorOf) -> None:
        admin = visitor("admin")
        admin.click("Organizations")
        admin.click("New organization")
        admin.fill(name="initech", owner="mara")
        admin.press("Create")

        assert admin.sees("initech was created.", "mara", "Owner")

    def test_auditor_finds_what_somebody_granted(self, visitor: VisitorOf) -> None:
        auditor = visitor("auditor")
        auditor.click("Activity")
        auditor.search("actor:dana category:access")

        assert auditor.sees("dana")

    def test_auditor_finds_failed_log_ins_and_where_they_came_from(
        self, visitor: VisitorOf, app: Application
    ) -> None:
        wrong = {"username": "eve", "password": "wrong"}
        with requests.Session() as session:
            session.get(f"{app.url}/accounts/login/", timeout=TIMEOUT)
            wrong["csrfmiddlewaretoken"] = session.cookies["csrftoken"]
            session.post(f"{app.url}/accounts/login/", wrong, timeout=TIMEOUT)
        auditor = visitor("auditor")
        auditor.click("Activity")
        auditor.search("kind:create_session_failed after:1d")
        auditor.follow("td.when a")

        assert auditor.sees("Create Session Failed", "127.0.0.1")

    def test_auditor_finds_what_changed_in_access_last_week(
        self, visitor: VisitorOf, app: Application
    ) -> None:
        app.shell(GRANT_TO_OUTSIDER)
        auditor = visitor("auditor")
        auditor.click("Activity")
        auditor.search("category:access after:7d subject:outsider")

        assert auditor.sees("Create Grant: read-write on acme/team/worker to outsider")

    def test_person_lists_their_own_log_ins(self, visitor: VisitorOf) -> None:
        reader = visitor("reader")
        reader.click("Activity")
        reader.search("category:account actor:reader on:today")

        assert reader.sees("Create Session")

    def test_person_prepares_a_first_call_of_the_api(self, visitor: VisitorOf) -> None:
        reader = visitor("reader")
        reader.click("reader")
        reader.tab("Access tokens")
        reader.fill(name="my first script")
        reader.press("Create token")

        assert reader.sees("Copy the token “my first script” now.", "Authorization: Bearer")


class TestOperation:
    def test_repository_admin_prunes_with_a_preview(self, visitor: VisitorOf) -> None:
        repoadmin = visitor("repoadmin")
        repoadmin.click("acme/web")
        repoadmin.tab("Pruning")
        repoadmin.click("New pruning policy")

        assert repoadmin.sees("New pruning policy", "Criteria")

    def test_administrator_holds_a_repository(self, visitor: VisitorOf) -> None:
        admin = visitor("admin")
        admin.click("Admin")
        admin.click("Holds")
        admin.click("ADD HOLD")

        assert admin.sees("Add hold", "Repository", "Namespace", "Reason")

    def test_auditor_finds_what_is_held_and_why(self, visitor: VisitorOf) -> None:
        auditor = visitor("auditor")
        auditor.click("Admin")
        auditor.click("Holds")

        assert auditor.sees("acme/production", "Case 4711")

    def test_administrator_keeps_events_for_two_months(self, visitor: VisitorOf, app: Application) -> None:
        admin = visitor("admin")
        admin.click("Admin")
        admin.click("Auto-deletion")
        admin.fill(age="2", age_unit="Months")
        admin.follow("[name=_save]")

        assert admin.sees("was changed successfully.")
        assert newest_changes(app)["age"] == {"after": 2}

    def test_administrator_stops_auto_deletion_with_a_reason(
        self, visitor: VisitorOf, app: Application
    ) -> None:
        admin = visitor("admin")
        admin.click("Admin")
        admin.click("Auto-deletion")
        admin.fill(reason="The external audit goes on until May.")
        admin.driver.execute_script("document.querySelector('[name=enabled]').checked = false")
        admin.follow("[name=_save]")

        assert admin.sees("was changed successfully.")
        assert newest_changes(app) == {
            "enabled": {"before": True, "after": False},
            "reason": {"after": "The external audit goes on until May."},
        }

    def test_administrator_restores_the_events_of_a_month(self, visitor: VisitorOf) -> None:
        admin = visitor("admin")
        admin.click("Admin")
        admin.click("Archives")
        admin.search(f"{LONG_AGO:%Y-%m}")

        assert admin.sees("globex/runtime", "Restore the events of selected archives")

    def test_auditor_sees_that_nothing_was_removed(self, visitor: VisitorOf) -> None:
        auditor = visitor("auditor")
        auditor.click("Admin")
        auditor.click("Verifications")

        assert auditor.sees(": nothing is missing", "the command line")

    def test_administrator_finds_messages_that_could_not_be_recorded(self, visitor: VisitorOf) -> None:
        admin = visitor("admin")
        admin.click("Admin")
        admin.click("Dead letters")

        assert admin.sees('The message has no list of "events".')

    def test_administrator_sees_first_whether_everything_works(self, visitor: VisitorOf) -> None:
        admin = visitor("admin")
        admin.click("Admin")

        assert admin.sees("Needs attention", "newcomer")


def newest_changes(app: Application) -> dict[str, Any]:
    """Return what was changed by the newest change to the settings of auto-deletion."""
    newest, *_ = app.events("admin", search="kind:update_auto_deletion")
    return newest["details"]["changes"]


PREPARE = f"""
from datetime import timedelta
from django.contrib.auth.models import User
from django.utils import timezone
from activity.models import AutoDeletion, DeletionRule, Hold
from activity.storage import tallies
from repositories.models import Repository
dana = User.objects.get(username="dana")
dana.set_password("{PASSWORD}")
dana.save()
Repository.objects.update(known_since=timezone.now() - timedelta(days=100))
tallies.fold()
AutoDeletion.get_solo()
AutoDeletion.objects.update(enabled=True)
DeletionRule.objects.create(repository=Repository.objects.named("globex/runtime").get(), age=1)
Hold.objects.create(repository=Repository.objects.named("acme/production").get(), reason="Case 4711")
"""
GRANT_TO_OUTSIDER = """
from django.contrib.auth.models import User
from repositories.access import grants
from repositories.models import Repository
outsider = User.objects.get(username="outsider")
grants.grant("level_read_write", outsider, Repository.objects.named("acme/team/worker").get())
"""
