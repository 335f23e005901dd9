"""Every text that people read can be translated."""

from __future__ import annotations

import ast
import json
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import redirect_stdout
from html import escape
from http.cookies import SimpleCookie
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth import get_user_model
from django.contrib.messages import get_messages
from django.core.management import call_command
from django.test import Client
from django.utils.translation import gettext

from activity.api.docs import Generator
from activity.catalogue import KINDS
from activity.models import ActorType
from activity.schedule import SCHEDULE
from activity.sources.registries import grant_add_event_permission, registry_account
from msr_project import demo
from repositories.access.levels import Category
from repositories.models import Login
from tests import factories, pages, pseudo_locale
from tests.html_forms import Form, post_forms, variations
from tests.template_texts import texts_of_page, untranslated_texts
from tests.walk import Walk
from tests.worlds import rolled_back

ROOT = Path(__file__).parent.parent
TEMPLATES = [path for app in pseudo_locale.APPS for path in Path(ROOT, app, "templates").rglob("*.html")]

NAMES = ["acme", "alpine", "globex", "latest", "nightly", "none", "registry", "Trivy", "web"]
NAMES_OF_WALK = ["jane", "zoe", "fresh", "laptop", "newcomer", "archive"]
DETAILS_OF_EXPORT = ["aborted", "csv", "exported", "filters", "format", "state"]
DATA = {*NAMES, *NAMES_OF_WALK, *DETAILS_OF_EXPORT, *demo.USERS, *demo.DEVELOPERS, *demo.CONSUMERS}
"""The names in the demo data and in the data of the walk, the details of an event, and a search."""
WORDS_OF_SEARCHES = {*KINDS, *Category.values, *ActorType.values}
STORED = re.compile(
    r"GMT.*|MSR admins|Security auditors|the command line .*|The event has no media type.*|A lawsuit|A leak|"
    r"\| [a-z ]+ \| Can .*|Can .*|Access level .*|"
    + "|".join(map(re.escape, [*SCHEDULE, "Clear expired sessions"]))
)
"""Matches names of time zones, groups and permissions, and stored texts. All of them stay in English."""
TEXTS_OF_OTHERS = re.compile(
    r"True|False|Search|User-group relationships.*|Whether the user will .*|If disabled, .*"  # Django
    r"|.* was changed successfully\..*"  # django-solo
    r"|[Gg]roup:?"  # django-guardian
    r"|.*Task Name|Scheduler|Crontab translation:|At .* UTC|One of clocked, .*|.*\{no schedule\}.*"
    r"|.*Expecting .*|.*\{\"argument\": \"value\"\}.*"  # django-celery-beat
)
"""Matches texts of other packages that nobody can translate, or for which they have no translation."""
IDENTIFIER = re.compile(r"[\d/_@%=]|\w[:.-]\w|^[A-Z]+$")
"""Matches a word that isn't part of a sentence, such as a digest, an address, or the type of an event."""


@pytest.fixture(scope="module")
def pseudo_language(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pseudo_locale.activated(tmp_path_factory.mktemp("locale")):
        yield


def untranslated(html: str) -> set[str]:
    """Return the texts of a page with words in Latin letters that aren't data."""
    texts = {text for text in texts_of_page(html) if not TEXTS_OF_OTHERS.fullmatch(text)}
    return {text for text in texts if any(map(is_untranslated, STORED.sub(" ", text).split()))}


def is_untranslated(word: str) -> bool:
    word = word.strip(".,:;?!…“”'\"()[]{}→←·×+–—-")
    is_data = word in DATA or word in WORDS_OF_SEARCHES or IDENTIFIER.search(word)
    return bool(re.search("[A-Za-z]{2}", word)) and not is_data


class DemoSite:
    """A stand-in for a running application with demo data: everything is done in the process of the test."""

    def manage(self, *arguments: str) -> None:
        call_command(*arguments, stdout=StringIO(), stderr=StringIO())

    def notify(self, message: str) -> None:
        url = "/api/v0/notifications/registry/"
        headers = factories.bearer(registry_account())
        assert Client().post(url, message, "application/json", headers=headers).status_code == 200

    def shell(self, code: str) -> str:
        output = StringIO()
        with redirect_stdout(output):
            exec(code, {})
        return output.getvalue()


SAVE_AGAIN = {"_addanother", "_continue"}
"""The buttons of the admin that save as `_save` does, and then show another page."""
INVALID = "-1"
"""A text that few fields accept. It is too low for a number, and neither a name nor a choice."""


class TextWalk(Walk):
    """Reads all pages and the answers to all forms, and collects the texts that aren't translated."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, set[str]] = {}
        self.submitted: set[tuple[str, ...]] = set()
        Login.objects.create(user=self.data.user, session_key="1")

    def pages(self) -> Iterator[tuple[str, str]]:
        """Leave out the schedules of Celery beat, whose pages are its own."""
        return (
            page for page in super().pages() if not re.match("admin:django_celery_beat_.*schedule", page[0])
        )

    def submit_forms(self, name: str, path: str, html: str) -> None:
        self.collect(name, untranslated(html))
        for form, samples in self.forms(name, html):
            base = next(variations(form, samples))
            for url, pressed in form.submissions(path):
                if (key := (url, *pressed, *base)) in self.submitted or SAVE_AGAIN & pressed.keys():
                    continue
                self.submitted.add(key)
                for data in self.entries(name, form, base):
                    self.submit(name, url, {**data, **pressed})

    def entries(self, name: str, form: Form, base: dict[str, str]) -> Iterator[dict[str, str]]:
        """Yield each action of a list, or the form's current values, invalid values and no values."""
        if "action" in base:
            (actions,) = (each.choices for each in form.fields if each.name == "action")
            yield from ({**base, "action": action} for action in actions if action)
            return
        visible = [each.name for each in form.fields if each.type != "hidden" and each.name in base]
        yield from (base, base | dict.fromkeys(visible, INVALID))
        if not name.startswith("admin:"):
            yield {}

    def submit(self, name: str, url: str, data: dict[str, str]) -> None:
        cookies = SimpleCookie(self.client.cookies)  # a new password changes the session
        with rolled_back():
            html = self.answer(name, url, data)
            if 'name="post"' in html:  # asks for confirmation
                (form, *_) = [form for form in post_forms(html) if form.fields[1:]]
                self.answer(name, url, {**data, **next(variations(form, {}))})
        self.client.cookies = cookies

    def answer(self, name: str, url: str, data: dict[str, str]) -> str:
        """Submit a form, collect the texts of the answer and of its messages, and return its HTML."""
        response: Any = self.client.post(url, data)
        content = b"".join(response)
        html = content.decode() if response["Content-Type"].startswith("text/html") else ""
        messages = [str(message) for message in get_messages(response.wsgi_request)]
        self.collect(f"{name}, submitted", untranslated("".join([html, *messages])))
        return html

    def collect(self, name: str, texts: set[str]) -> None:
        if texts:
            self.found.setdefault(name, set()).update(texts)


@pytest.mark.long
@pytest.mark.django_db
@pytest.mark.audited
def test_all_texts_of_the_admin_and_of_answers_to_forms_are_translated(pseudo_language: None) -> None:
    walk = TextWalk()

    walk.submit_all()

    assert walk.found == {}
    assert len(walk.submitted) > 90


@pytest.mark.long
@pytest.mark.django_db
def test_all_texts_of_pages_with_demo_data_are_translated(pseudo_language: None) -> None:
    app: Any = DemoSite()
    app.manage("load_demo", "--events", "300")
    found = {}
    for viewer, paths in pages.paths_by_viewer(app).items():
        client = Client()
        if viewer:
            client.force_login(get_user_model()._default_manager.get(username=viewer))
        for name, path in paths.items():
            if texts := untranslated(client.get(path).content.decode()):
                found[name] = texts

    assert found == {}


WRONG_VALUES = [INVALID, "", "a b", "9" * 2000, None, {}, {"1 2": "3"}]
"""Values that are wrong in one or another field of an event."""
VALUES_OF_API = re.compile(r"-?\b(csv|jsonl|name|pushed|str|time)\b")
"""Matches valid values of parameters, and the name of a type, which errors contain."""


def wrong_requests(client: Client) -> Iterator[Any]:
    """Send requests that can't be answered to the whole API, and yield the responses."""
    values = {"namespace": "acme", "id": UUID(int=0)}
    for path, operations in Generator().get_schema(public=True)["paths"].items():
        yield client.get(path.format(name="none", **values))
        url = path.format(name="web", **values)
        yield from (Client().get(url), client.put(url), client.get(url, headers={"accept": "image/png"}))
        for parameter in operations.get("get", {}).get("parameters", []):
            for value in (INVALID, "a b"):
                yield client.get(url, {parameter["name"]: value})
        yield client.get(url, {"unknown": "1"})
    events, valid = "/api/v0/events/", factories.produced_event("update_tag", factories.NOON, "jane")
    yield client.post(events, "a=b", "application/x-www-form-urlencoded")
    bodies = [valid | {name: value} for name in valid for value in WRONG_VALUES]
    bodies.append(valid | {"actor": {"type": "user"}})
    for body in ("{", "[1]", "{}", *map(json.dumps, bodies)):
        yield client.post(events, body, "application/json")


@pytest.mark.long
@pytest.mark.django_db
def test_all_errors_of_the_api_are_translated(pseudo_language: None) -> None:
    factories.repository("acme/web")
    user = factories.msr_admin()
    grant_add_event_permission(user)
    found, statuses = set(), Counter[int]()
    for response in wrong_requests(Client(headers=factories.bearer(user))):
        list(response)  # reads exports to their end
        statuses[response.status_code] += 1
        if response.status_code >= 400:
            problem = response.json()
            texts = [error["detail"] for error in problem.get("errors", [problem])]
            found |= {text for text in texts if untranslated(escape(VALUES_OF_API.sub("", text)))}

    assert found == set()
    assert {400, 401, 404, 405, 406, 415} <= statuses.keys()


@pytest.mark.long
def test_text_that_contains_a_value_is_not_translated(pseudo_language: None) -> None:
    name = "acme"

    assert untranslated(gettext("Repositories")) == set()
    assert untranslated(gettext(f"Repositories of {name}")) != set()


def test_texts_are_translated_outside_of_formatted_strings() -> None:
    """The program that lists the messages for translators doesn't read the expressions in f-strings."""
    paths = [path for app in pseudo_locale.APPS for path in Path(ROOT, app).rglob("*.py")]
    strings = (
        (path, node)
        for path in paths
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.JoinedStr)
    )
    found = {f"{path}: {text}" for path, node in strings if "gettext(" in (text := ast.unparse(node))}

    assert len(paths) > 200
    assert found == set()


def test_made_up_language_keeps_only_placeholders_elements_and_entities() -> None:
    text = pseudo_locale.pseudo_translate('See <a href="%(url)s">{name}</a> &amp; %d%% more')

    assert re.findall("[^ а-яА-Я]+", text) == ["<a", 'href="%(url)s">{name}</a>', "&amp;", "%d%%"]


@pytest.mark.parametrize("app", pseudo_locale.APPS)
def test_list_of_messages_for_translators_is_up_to_date(app: str, tmp_path: Path) -> None:
    listed = pseudo_locale.messages_of(Path(ROOT, app, "locale", "en", "LC_MESSAGES", "django.po"))

    assert listed == pseudo_locale.messages_of(pseudo_locale.extract_messages(app, tmp_path)), (
        "Run `make messages`."
    )


@pytest.mark.parametrize(
    "source",
    [
        "<p>Text</p>",
        "<p>{{ name }} is here.</p>",
        '<a title="Text" href="#">{{ name }}</a>',
        '<button aria-label="Remove {{ name }}">{% translate "Remove" %}</button>',
        '<input type="submit" value="Search">',
        '{% include "_form.html" with title="New team" %}',
        '{% include "_form.html" with title="Members of "|add:name %}',
        '{{ name|default:"Nobody" }}',
        "{{ number }}{{ number|pluralize }}",
    ],
)
def test_texts_in_a_template_that_cannot_be_translated_are_found(source: str) -> None:
    assert list(untranslated_texts(source)) != []


def test_templates_contain_no_text_that_cannot_be_translated() -> None:
    found = {
        str(path.relative_to(ROOT)): texts
        for path in TEMPLATES
        if (texts := list(untranslated_texts(path.read_text(encoding="utf-8"))))
    }

    assert len(TEMPLATES) > 80
    assert found == {}
