"""A form that can't be read changes nothing and says so. Success is reported only if something was done."""

from __future__ import annotations

import re
from collections.abc import Iterator
from http.cookies import SimpleCookie
from typing import Any

import pytest
from django.contrib.messages import SUCCESS, WARNING, get_messages
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tests.html_forms import Form, variations
from tests.walk import Walk
from tests.worlds import rolled_back

pytestmark = [pytest.mark.django_db, pytest.mark.audited, pytest.mark.long]

NUL = "\0"
"""Text that is invalid in every field."""
GARBAGE = [NUL, "-1", "9" * 400, "é \u202e"]
SAYS_SO = re.compile('errorlist|errornote|notice bad|name="post"|protected related objects')
"""Matches a page that reports an invalid form, asks for confirmation, or says why nothing can be deleted."""
CHANGE = re.compile("INSERT|UPDATE|DELETE")
IGNORED = re.compile(r'(INSERT INTO|UPDATE|DELETE FROM) "(django_session|registry_repositories_counter)"')
"""Matches changes of sessions, and of the counters of wrong passwords and usernames."""
VALID_IF_EMPTY = re.compile(".*_permissions_manage_(user|group)")
"""Matches the pages on which the empty form is valid: it leaves no permission."""


def garbage(form: Form, base: dict[str, str]) -> Iterator[tuple[bool, dict[str, str]]]:
    """Yield form data, and whether none of it can be read: none, only garbage, and garbage in one field."""
    has_inputs = any(field.type not in ("hidden", "checkbox") for field in form.fields)
    yield has_inputs, {}
    for text in GARBAGE:
        yield has_inputs and text == NUL, dict.fromkeys(base, text)
    for name in base:
        yield False, {**base, name: NUL}
    for action in next((field.choices for field in form.fields if field.name == "action"), []):
        for text in GARBAGE:
            yield False, {**base, "action": action, "_selected_action": text}


class GarbageWalk(Walk):
    """Submits garbage to all forms, and collects the answers that aren't true."""

    def __init__(self) -> None:
        super().__init__()
        self.client = Client(raise_request_exception=False)
        self.client.force_login(self.user)
        self.wrong: set[tuple[str, ...]] = set()
        self.submitted: set[tuple[str, ...]] = set()

    def submit_forms(self, name: str, path: str, html: str) -> None:
        for form, samples in self.forms(name, html):
            base = next(variations(form, samples))
            base.pop("csrfmiddlewaretoken", None)
            for button, (url, pressed) in zip(form.buttons, form.submissions(path), strict=True):
                if (key := (url, button.name, *base)) in self.submitted:
                    continue
                self.submitted.add(key)
                for is_unreadable, data in garbage(form, base):
                    if data or not VALID_IF_EMPTY.fullmatch(name):
                        # A button with a URL of its own doesn't submit the fields of the form.
                        self.submit_garbage(
                            name, url, {**data, **pressed}, is_unreadable and not button.action
                        )
                if button.name and button.value:
                    self.submit_garbage(name, url, {**base, button.name: NUL}, False)

    def submit_garbage(self, name: str, url: str, data: dict[str, str], is_unreadable: bool) -> None:
        cookies = SimpleCookie(self.client.cookies)  # a new password changes the session
        with rolled_back(), CaptureQueriesContext(connection) as queries:
            response: Any = self.client.post(url, {"csrfmiddlewaretoken": "x", **data})
            html = b"".join(response).decode(errors="replace")
        self.client.cookies = cookies
        statements = [query["sql"] for query in queries.captured_queries]
        changed = any(CHANGE.match(sql) and not IGNORED.match(sql) for sql in statements)
        levels = [message.level for message in get_messages(response.wsgi_request)]
        says_so = response.status_code in range(400, 500) or SAYS_SO.search(html)
        wrong = {
            "server error": response.status_code >= 500,
            "changed something": changed and is_unreadable,
            "reported success": not changed and SUCCESS in levels,
            "said nothing": not changed and not says_so and max(levels, default=0) < WARNING,
        }
        shown = str({key: value[:10] for key, value in data.items()})
        self.wrong |= {(name, url, shown, problem) for problem, found in wrong.items() if found}


def test_garbage_is_reported_and_changes_nothing() -> None:
    walk = GarbageWalk()

    walk.submit_all()

    assert walk.wrong == set()
    assert len(walk.submitted) > 150
