"""Every text that people read can be translated."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.test import Client
from django.utils.translation import gettext

from activity.catalogue import KINDS
from activity.models import ActorType
from activity.schedule import SCHEDULE
from activity.sources.registries import registry_account
from msr_project import demo
from repositories.access.levels import Category
from tests import factories, pages, pseudo_locale
from tests.template_texts import texts_of_page, untranslated_texts

ROOT = Path(__file__).parent.parent
TEMPLATES = [path for app in pseudo_locale.APPS for path in Path(ROOT, app, "templates").rglob("*.html")]

NAMES = ["acme", "alpine", "globex", "latest", "nightly", "none", "registry", "Trivy", "web"]
DATA = {*NAMES, *demo.USERS, *demo.DEVELOPERS, *demo.CONSUMERS}
"""The names in the demo data, and the text of a search."""
WORDS_OF_SEARCHES = {*KINDS, *Category.values, *ActorType.values}
STORED = re.compile(
    r"GMT.*|MSR admins|Security auditors|the command line .*|The event has no media type.*|"
    + "|".join(map(re.escape, SCHEDULE))
)
"""Matches names of time zones and groups, and texts that are stored, which stay in English."""
TEXTS_OF_DJANGO = {"True", "False", "Search"}
"""Alternative texts of images in Django's admin, which Django doesn't translate."""
IDENTIFIER = re.compile(r"[\d/_@%=]|\w[:.-]\w|^[A-Z]+$")
"""Matches a word that isn't part of a sentence, such as a digest, an address, or the type of an event."""


@pytest.fixture(scope="module")
def pseudo_language(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pseudo_locale.activated(tmp_path_factory.mktemp("locale")):
        yield


def untranslated(html: str) -> set[str]:
    """Return the texts of a page with words in Latin letters that aren't data."""
    texts = set(texts_of_page(html)) - TEXTS_OF_DJANGO
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


@pytest.mark.long
def test_text_that_contains_a_value_is_not_translated(pseudo_language: None) -> None:
    name = "acme"

    assert untranslated(gettext("Repositories")) == set()
    assert untranslated(gettext(f"Repositories of {name}")) != set()


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
