"""Every text that people read can be translated."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests import pseudo_locale
from tests.template_texts import untranslated_texts

ROOT = Path(__file__).parent.parent
TEMPLATES = [path for app in pseudo_locale.APPS for path in Path(ROOT, app, "templates").rglob("*.html")]


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
