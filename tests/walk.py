"""Submits every form of every page, and notices what changes without leaving an event."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from http.cookies import SimpleCookie
from typing import Any

from django.apps import apps
from django.test import Client

from activity.models import Event
from repositories.accounts import current_request
from repositories.models import Policy, Profile
from tests import factories
from tests.admin_urls import SampleData, admin_urls
from tests.html_forms import Form, post_forms, variations
from tests.site_urls import URL_NAMES, build_url
from tests.worlds import rolled_back

PASSWORD = "a-long-pass-1"
SAMPLES = {
    "account": ["{user}"],
    "age": ["500", "3"],
    "clocked_time_0": ["2030-01-01"],
    "clocked_time_1": ["12:00"],
    "confirmation": ["acme/web"],
    "destination": ["acme/web"],
    "every": ["7"],
    "event": ["sunset"],
    "group": ["{group}"],
    "holder": ["jane"],
    "latitude": ["7"],
    "longitude": ["7"],
    "max_events": ["7"],
    "name": ["fresh"],
    "namespace": ["{namespace}"],
    "new_password1": ["another-pass-2"],
    "new_password2": ["another-pass-2"],
    "note": ["Noted"],
    "old_password": [PASSWORD],
    "organization": ["{organization}"],
    "owner": ["organization:{organization}"],
    "password1": ["another-pass-2"],
    "password2": ["another-pass-2"],
    "place": ["acme"],
    "quiet_after": ["48"],
    "reason": ["An inquiry"],
    "repository": ["{repository}"],
    "since_0": ["2026-11-22"],
    "since_1": ["12:00"],
    "tag_template": ["%n-copy"],
    "target": ["{other_repository}"],
    "task": ["activity.tasks.create_partitions"],
    "user": ["{user}"],
    "username": ["newcomer"],
}
"""Values for text fields, by the name of the field. A name in braces is replaced with the id of an object."""
SAMPLES_OF_SITE = {"target": ["acme/api"], "user": ["zoe"]}
"""The values of fields that take a name on the site, and an id in the admin."""
IGNORED_MODELS = {
    "sessions.session",
    "admin.logentry",
    "django_celery_beat.periodictasks",
    "registry_activity.event",
    "registry_activity.tallychange",
    "registry_activity.failedlogins",
    "registry_activity.newestposition",
    "registry_repositories.counter",
}
"""Bookkeeping of Django and Celery beat, the events themselves, and counts."""
IGNORED_FIELDS = {"last_login", "date_changed"}


def stored_rows() -> dict[str, list[dict[str, Any]]]:
    """Return all rows in the database, by model, without those of the ignored models."""
    models = [model for model in apps.get_models() if model._meta.label_lower not in IGNORED_MODELS]
    return {model._meta.label_lower: rows_of(model) for model in models}


def rows_of(model: Any) -> list[dict[str, Any]]:
    fields = [field.attname for field in model._meta.concrete_fields if field.name not in IGNORED_FIELDS]
    return list(model._base_manager.order_by("pk").values(*fields))


class Walk:
    """Submits all forms, and collects the changes that left no event."""

    def __init__(self) -> None:
        with current_request.auditing_disabled():
            self.data = SampleData()
            self.user = factories.msr_admin(username="admin")
            self.user.set_password(PASSWORD)
            self.user.save()
            self.client = Client()
            self.client.force_login(self.user)
            factories.new_token(self.user, "laptop")
            Profile.objects.create(user=self.user)
            rows: dict[str, Any] = {
                "group": self.data.team.group,
                "namespace": self.data.repository.namespace,
                "organization": self.data.repository.namespace.organization,
                "other_repository": factories.repository("acme/api"),
                "repository": self.data.repository,
                "user": factories.UserFactory(username="zoe"),
            }
        ids = {name: str(row.pk) for name, row in rows.items()}
        self.samples = {name: [value.format(**ids) for value in values] for name, values in SAMPLES.items()}
        self.changing: Counter[str] = Counter()
        """The number of submissions that changed something, by page."""
        self.silent: set[tuple[str, ...]] = set()
        """The pages that changed something without an event, with the models whose rows changed."""
        self.rows, self.events = stored_rows(), set(Event.objects.values_list("pk", flat=True))

    def pages(self) -> Iterator[tuple[str, str]]:
        """Yield the name and the path of each page."""
        for url in admin_urls():
            yield f"admin:{url.name}", self.data.path(url)
        arguments = {
            "namespace": "acme",
            "team": self.data.team.name,
            "policy_id": Policy.objects.get().public_id,
            "username": "jane",
            "kind": "promotion",
            "pk": self.user.access_tokens.get().pk,
        }
        for name in URL_NAMES:
            yield name, build_url(name, arguments, "acme", "web")

    def submit_all(self) -> None:
        for name, path in self.pages():
            response: Any = self.client.get(path)
            if response.status_code == 200 and response["Content-Type"].startswith("text/html"):
                self.submit_forms(name, path, response.content.decode())

    def submit_forms(self, name: str, path: str, html: str) -> None:
        for form, samples in self.forms(name, html):
            for number, (url, pressed) in enumerate(form.submissions(path)):
                for data in variations(form, samples):
                    self.submit(name, url, {**data, **pressed})
                    if number:
                        break  # the other buttons get only the current values

    def forms(self, name: str, html: str) -> Iterator[tuple[Form, dict[str, list[str]]]]:
        """Yield the forms of a page with values for their text fields. Leave out logins and logouts."""
        samples = self.samples if name.startswith("admin:") else {**self.samples, **SAMPLES_OF_SITE}
        for form in post_forms(html):
            if not form.action.endswith(("/logout/", "/login/")):
                yield form, samples

    def submit(self, name: str, url: str, data: dict[str, str]) -> None:
        cookies = SimpleCookie(self.client.cookies)  # a new password or a logout changes the session
        with rolled_back():
            response: Any = self.client.post(url, data)
            html = b"".join(response).decode()
            if 'name="post"' in html:  # asks for confirmation
                (form, *_) = [form for form in post_forms(html) if form.fields[1:]]
                self.client.post(url, {**data, **next(variations(form, {}))})
            rows = stored_rows()
            changed = [model for model in rows if rows[model] != self.rows[model]]
            by_user = Event.objects.exclude(pk__in=self.events).filter(actor_name="admin")
            is_recorded = by_user.exists()
        self.client.cookies = cookies
        self.changing[name] += bool(changed)
        if changed and not is_recorded:
            self.silent.add((name, *changed))
