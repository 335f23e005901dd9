"""Lists sorted by time draw neighbouring events of one notification, or of one pull, as one."""

from __future__ import annotations

import re
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from repositories.models import Repository
from tests import factories
from tests.event_tables import column, get_page

URL = "/repositories/acme/web/activity/"
INDEX = "application/vnd.oci.image.index.v1+json"
PLATFORM = f"sha256:{'ab' * 32}"


def drawn(html: str) -> list[list[str]]:
    """Return the labels of the events that are drawn as one, for each row that doesn't continue another."""
    found: list[list[str]] = []
    for attributes, row in re.findall(r"<tr([^>]*)>(\s*<td data-label=\"Label\".*?)</tr>", html, re.DOTALL):
        (label,) = column(row, "Label")
        if "continued" in attributes:
            found[-1].append(label)
        else:
            found.append([label])
    return found


def repeated(html: str) -> list[str]:
    return re.findall(r'<td data-label="([^"]*)" class="repeated"', html)


def test_events_of_a_push_are_drawn_as_one(admin: Client, web: Repository, registry: Any) -> None:
    for number in (1, 2):
        registry(factories.notification(id=f"push-{number}", timestamp=f"2026-11-22T10:00:0{number}Z"))

    html = get_page(admin, URL)

    assert drawn(html) == [["Update Tag", "Create Manifest"]] * 2
    assert repeated(html) == ["Repository", "SHA", "Initiated by"] * 2
    assert drawn(get_page(admin, URL, sort="time")) == [["Create Manifest", "Update Tag"]] * 2


def test_admin_draws_events_of_a_push_as_one(admin: Client, web: Repository, registry: Any) -> None:
    for number in (1, 2):
        registry(factories.notification(id=f"push-{number}", timestamp=f"2026-11-22T10:00:0{number}Z"))

    html = get_page(admin, "/admin/registry_activity/event/", repository=str(web.pk))

    rows = re.findall(r'<tr><td class="action-checkbox">.*?</tr>', html, re.DOTALL)
    assert [re.findall(r'<span class="(continued|repeated)">([^<]*)', row) for row in rows] == [
        [],
        [("continued", "Create Manifest"), ("repeated", "acme/web"), ("repeated", ""), ("repeated", "jane")],
    ] * 2


def test_pushes_of_the_demo_are_drawn_as_one(client: Client, db: None) -> None:
    call_command("load_demo", "--events", "300", stdout=StringIO())
    client.force_login(get_user_model().objects.get(username="reader"))

    pushes = drawn(get_page(client, "/repositories/_/alpine/activity/", category="push"))

    assert ["Update Tag", "Create Manifest"] in pushes


@pytest.mark.parametrize("suffix", [".sig", ".sbom", ""])
def test_tags_of_attachments_are_shortened(admin: Client, web: Repository, suffix: str) -> None:
    tag = factories.DIGEST.replace(":", "-") + suffix
    factories.record("update_tag", web, tag=tag, digest=factories.DIGEST)
    short = f"{factories.DIGEST[:15].replace(':', '-')}…{suffix}"

    assert column(get_page(admin, URL), "Tag") == [f"acme/web:{short}"]
    assert f'<span title="{tag}">{short}</span>' in get_page(admin, "/admin/registry_activity/event/")


def test_pull_is_drawn_as_one_with_the_manifest_of_its_platform(
    admin: Client, web: Repository, registry: Any
) -> None:
    pull = {"action": "pull", "request": {"method": "GET"}}
    index = {"mediaType": INDEX, "references": [{"digest": PLATFORM}]}
    registry(factories.notification(**pull, timestamp="2026-11-22T10:00:00Z", target=index))
    platform = {"digest": PLATFORM, "tag": None}
    registry(factories.notification(**pull, timestamp="2026-11-22T10:00:01Z", target=platform))
    registry(factories.notification(**pull, timestamp="2026-11-22T10:00:02Z"))

    html = get_page(admin, URL, exclude_pull="false")

    assert drawn(html) == [["Get Tag"], ["Get Manifest Part of a pull", "Get Tag"]]
    assert repeated(html) == ["Repository", "Initiated by"]  # their digests are different


def test_events_of_different_notifications_stay_apart(admin: Client, web: Repository) -> None:
    for _ in range(2):
        factories.record("update_tag", web, tag="v1", digest=factories.DIGEST)
    for name in ("acme/api", "acme/docs"):  # another program can reuse an id
        factories.record("update_tag", name, tag="v1", details={"notification_id": "n1"})

    assert drawn(get_page(admin, "/activity/", type="UPDATE")) == [["Update Tag"]] * 4


def test_page_filters_and_sorts_count_each_event(admin: Client, web: Repository, registry: Any) -> None:
    for number in range(6):
        pushed = timezone.now() - timedelta(minutes=6 - number)  # other sorts show only 90 days
        registry(factories.notification(id=f"push-{number}", timestamp=pushed.isoformat()))

    assert drawn(get_page(admin, URL)) == [["Update Tag", "Create Manifest"]] * 5
    assert drawn(get_page(admin, URL, sort="actor")) == [
        [label] for label in ["Update Tag", "Create Manifest"] * 5
    ]
    assert drawn(get_page(admin, URL, type="UPDATE")) == [["Update Tag"]] * 6
