"""Tables on the pages of objects."""

from collections.abc import Iterable, Sequence
from typing import Any

from django.utils.html import format_html, format_html_join


def render_table(headings: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return an HTML table. The first cell of each row is the heading of the row."""
    cells = f"<tr><th>{{}}</th>{'<td>{}</td>' * (len(headings) - 1)}</tr>"
    return format_html(
        "<table><tr>{}</tr>{}</table>",
        format_html_join("", "<th>{}</th>", ((heading,) for heading in headings)),
        format_html_join("", cells, rows),
    )
