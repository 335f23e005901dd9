"""Every text that people read can be translated."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.template_texts import untranslated_texts

ROOT = Path(__file__).parent.parent
APPS = ("activity", "repositories", "msr_project")
TEMPLATES = [path for app in APPS for path in Path(ROOT, app, "templates").rglob("*.html")]


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
