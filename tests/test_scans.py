"""The results of scans: on the page of their event, and on the Tags tab."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from activity.models import Event
from repositories.models import Repository
from tests import factories
from tests.event_tables import get_page

DIGEST = "sha256:" + "ab" * 32
OTHER = "sha256:" + "cd" * 32
REPORT = "https://scans.example.com/4711?a=1&b=2"
TAGS = "/repositories/acme/web/tags/"


@pytest.fixture
def scan(web: Repository) -> Any:
    """Return a function that sends the result of a scan to the API."""
    factories.enable_scanning()
    headers = factories.bearer(factories.producer(username="scanner"))

    def scan(id: str, details: dict[str, Any], hour: int = 13, **values: Any) -> Event:
        event = {
            "id": id,
            "kind": "scan",
            "repository": "acme/web",
            "digest": DIGEST,
            "occurred_at": f"2026-11-22T{hour}:00:00Z",
            "details": details,
            **values,
        }
        response = Client().post("/api/v0/events/", event, content_type="application/json", headers=headers)
        assert response.status_code == 201, response.content
        return Event.objects.get(pk=response.json()["id"])

    return scan


@pytest.fixture(autouse=True)
def pushed(web: Repository) -> None:
    factories.record("update_tag", web, tag="v1", digest=DIGEST)
    factories.record("update_tag", web, tag="v2", digest=OTHER)


def test_result_is_shown_on_the_page_of_the_event(scan: Any, reader: Client) -> None:
    event = scan("1", {"critical": 3, "high": 0, "low": 12, "scanner": "Trivy 0.57", "report": REPORT})

    page = get_page(reader, event.get_absolute_url())

    assert "<dt>Vulnerabilities</dt><dd>3 critical, 12 low</dd>" in page
    assert "<dt>Scanner</dt><dd>Trivy 0.57</dd>" in page
    assert f'<a href="{REPORT.replace("&", "&amp;")}" rel="noreferrer nofollow">' in page
    assert "<dt>critical</dt>" not in page


def test_newest_result_is_shown_with_the_tags_of_the_image(scan: Any, reader: Client) -> None:
    newest = scan("2", {"high": 2, "scanner": "Grype", "report": REPORT}, hour=14)
    scan("1", {"critical": 9}, hour=13)

    page = get_page(reader, TAGS)

    assert page.count("2 high") == 1
    assert "9 critical" not in page
    assert f'<a href="{newest.get_absolute_url()}">2 high</a> by Grype' in page
    assert REPORT.replace("&", "&amp;") in page


@pytest.mark.parametrize(
    ("kind", "details", "words"),
    [
        ("scan", {"critical": 0, "low": 0}, "no vulnerabilities"),
        ("scan", {}, "Scan"),
        ("scan_failed", {}, "Scan Failed"),
    ],
)
def test_scan_without_findings_says_so(
    scan: Any, reader: Client, kind: str, details: dict[str, Any], words: str
) -> None:
    event = scan("1", details, kind=kind)

    assert f'<a href="{event.get_absolute_url()}">{words}</a>' in get_page(reader, TAGS)


def test_result_is_shown_only_to_those_who_may_see_scans(scan: Any, web: Repository, log_in: Any) -> None:
    scan("1", {"critical": 3})
    pusher = factories.user_with("view_push_events", web)
    factories.assign_perm("view_pull_events", pusher, web)

    response = log_in(pusher).get(TAGS)

    assert response.status_code == 404 or "3 critical" not in response.content.decode()


def test_report_of_a_wrong_form_is_not_linked(web: Repository, reader: Client) -> None:
    event = factories.record(
        "scan", web, digest=DIGEST, details={"critical": "1", "report": "javascript:alert(1)"}
    )

    for url in (event.get_absolute_url(), TAGS):
        assert 'href="javascript' not in get_page(reader, url)
