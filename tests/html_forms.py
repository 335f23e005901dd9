"""Parses the forms of a page, so that tests can fill them in and submit them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import urljoin


@dataclass
class Field:
    """A field of a form: its name, its current value, and the choices, if they are limited."""

    name: str
    type: str
    value: str | None
    """None if the field is not submitted, as for a checkbox that isn't checked."""
    choices: list[str] = field(default_factory=list)
    is_required: bool = False


@dataclass
class Button:
    name: str
    value: str
    action: str


@dataclass
class Form:
    """A form that is submitted with POST."""

    action: str
    fields: list[Field] = field(default_factory=list)
    buttons: list[Button] = field(default_factory=list)

    def submissions(self, path: str) -> Iterator[tuple[str, dict[str, str]]]:
        """Yield the URL that each button submits this form to, with the data of the button.

        `path` is that of the page.
        """
        for button in self.buttons:
            url = urljoin(path, button.action or self.action or path)
            yield url, {button.name: button.value} if button.name else {}


def post_forms(html: str) -> list[Form]:
    """Return the forms of a page that are submitted with POST."""
    parser = _FormParser()
    parser.feed(html)
    return parser.forms


class _FormParser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self.form: Form | None = None
        self.text: Field | None = None
        self.select: Field | None = None
        self.hidden_by_id: dict[str, Form] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "form" and values.get("method", "").lower() == "post":
            self.form = Form(values.get("action", ""))
            self.forms.append(self.form)
            if "id" in values:
                self.hidden_by_id[values["id"]] = self.form
        form = self.hidden_by_id.get(values.get("form", "")) or self.form
        if form is None or "disabled" in values:
            return
        if tag == "button" or (tag == "input" and values.get("type") == "submit"):
            button = Button(values.get("name", ""), values.get("value", ""), values.get("formaction", ""))
            form.buttons.append(button)
        elif tag == "input" and values.get("name"):
            form.fields.append(self._input(values))
        elif tag == "textarea":
            self.text = Field(values["name"], "text", "")
            form.fields.append(self.text)
        elif tag == "select":
            type_ = "select-multiple" if "multiple" in values else "select"
            self.select = Field(values["name"], type_, None, is_required="required" in values)
            form.fields.append(self.select)
        elif tag == "option" and self.select is not None:
            self.select.choices.append(values.get("value", ""))
            if "selected" in values or (self.select.type == "select" and self.select.value is None):
                self.select.value = values.get("value", "")

    def _input(self, values: dict[str, str]) -> Field:
        type_ = values.get("type", "text")
        if type_ not in ("checkbox", "radio"):
            return Field(values["name"], type_, values.get("value", ""))
        value = values.get("value", "on")
        return Field(values["name"], type_, value if "checked" in values else None, [value])

    def handle_data(self, data: str) -> None:
        if self.text is not None:
            self.text.value = (self.text.value or "") + data.lstrip("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self.form = None
        elif tag == "textarea":
            self.text = None
        elif tag == "select":
            self.select = None


def variations(form: Form, samples: dict[str, list[str]]) -> Iterator[dict[str, str]]:
    """Yield the form data of several submissions: with the current values, then with each field changed.

    `samples` contains values for text fields, by the name of the field. Empty fields are always filled in.
    """
    filled = {each.name: _fill(each, samples) for each in form.fields if each.name}
    base = {name: value for name, value in filled.items() if value is not None}
    yield base
    for each in form.fields:
        for value in _other_values(each, base.get(each.name), samples):
            changed = {name: old for name, old in base.items() if name != each.name}
            yield changed if value is None else {**changed, each.name: value}


def _fill(field: Field, samples: dict[str, list[str]]) -> str | None:
    if field.name == "_selected_action":
        return field.value or field.choices[0]
    if field.is_required and field.choices and not field.value:
        return next(filter(None, field.choices), "")
    if field.type == "select-multiple":
        return field.value
    in_formset = "-" in field.name  # an additional row of a formset stays empty
    if field.value or in_formset or field.type in ("hidden", "checkbox", "radio"):
        return field.value
    return samples.get(_last_part(field.name), [""])[0]


def _other_values(field: Field, value: str | None, samples: dict[str, list[str]]) -> list[str | None]:
    """Return the values to try instead of the current one. None means that the field is not submitted."""
    if field.type in ("hidden", "file") or field.name == "_selected_action":
        return []
    if field.type == "checkbox":
        return [None if value else field.choices[0]]
    # A select field that has no choices in the page completes what the user types.
    unknown = [""] if field.type.startswith("select") else ["x1"]
    others = [choice for choice in field.choices if choice] or samples.get(_last_part(field.name), unknown)
    return [other for other in ["", *others[:12]] if other != value]


def _last_part(name: str) -> str:
    """Return the name of a field without the prefix of its formset."""
    return name.rpartition("-")[2]
