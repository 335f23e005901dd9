"""Finds the texts in the source of a template that nobody can translate."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser

TEXT_ATTRIBUTES = {"alt", "aria-description", "aria-label", "data-label", "placeholder", "title"}
"""The attributes with texts for people. So is `value`, but only that of a button."""
BUTTONS = {"button", "reset", "submit"}
UNTRANSLATED_ELEMENTS = {"code", "kbd", "pre", "script", "style", "textarea"}
IGNORED = (
    "{#.*?#}",
    "{% comment .*?endcomment %}",
    "{% blocktranslate.*?endblocktranslate %}",
    "{% block bodyclass %}.*?{% endblock %}",  # the value of an attribute of the admin's body element
)
VOID_ELEMENTS = {
    "br",
    "hr",
    "img",
    "input",
    "link",
    "meta",
    "rect",
    "path",
    "circle",
    "line",
    "source",
    "wbr",
}


class TextParser(HTMLParser):
    """Collects the texts and attributes of a page that people read, except what is not to be translated."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self._untranslated: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        is_untranslated = tag in UNTRANSLATED_ELEMENTS or values.get("translate") == "no"
        if not (self._untranslated or values.get("translate") == "no"):
            self.texts += [values[name] for name in values if name in TEXT_ATTRIBUTES]
            if tag == "input" and values.get("type") in BUTTONS:
                self.texts.append(values.get("value", ""))
        if tag not in VOID_ELEMENTS and (self._untranslated or is_untranslated):
            self._untranslated.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self._untranslated and tag not in VOID_ELEMENTS:
            while self._untranslated.pop() != tag and self._untranslated:
                pass  # the end tags of some elements are optional

    def handle_data(self, data: str) -> None:
        if not self._untranslated:
            self.texts.append(data)


def texts_of_page(html: str) -> list[str]:
    """Return the texts on a page, with white space collapsed."""
    parser = TextParser()
    parser.feed(html)
    parser.close()
    return [text for text in (" ".join(text.split()) for text in parser.texts) if text]


def untranslated_texts(template: str) -> Iterator[str]:
    """Yield the texts of a template's source that are in no `translate` or `blocktranslate` tag."""
    source = re.sub("|".join(IGNORED), "", template, flags=re.S)
    for tag in re.findall(r"{%.*?%}|{{.*?}}", source, flags=re.S):
        yield from _untranslated_arguments(tag)
    source = re.sub(r"{%.*?%}|{{.*?}}", "·", source, flags=re.S)
    yield from (text for text in texts_of_page(source) if re.search("[A-Za-z]", text))


def _untranslated_arguments(tag: str) -> Iterator[str]:
    """Yield the texts among the literal arguments of a tag, such as `{% include … with title="Text" %}`."""
    if tag.startswith(("{% translate", "{% now")):
        return
    if re.search(r"\|(?:pluralize|yesno:\"[A-Z])", tag):
        yield tag
    for text in re.findall(r"""(?:=|\|(?:add|default|default_if_none):)["']([^"']*)["']""", tag):
        if re.match(r"[A-Z][a-z]|.*[a-z] [a-z]", text) and text != "light dark":
            yield text
