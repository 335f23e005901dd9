"""Helpers that fetch pages with the test client and read the event tables on them."""

from __future__ import annotations

import re
from typing import Any

from django.test import Client

AGE = re.compile(r'<span class="ago">[^<]*</span>')
CELL = re.compile(r'<td data-label="([^"]+)"[^>]*>(.*?)</td>', re.DOTALL)


def get_page(client: Client, url: str, **query: Any) -> str:
    """Return the HTML of a page, after checking that its status is 200."""
    response = client.get(url, query)
    assert response.status_code == 200
    return response.content.decode()


def get_refusal(client: Client, url: str, **query: Any) -> str:
    """Return the HTML of a page that can't read its parameters, after checking that its status is 400."""
    response = client.get(url, query)
    assert response.status_code == 400
    return response.content.decode()


def cells(html: str) -> list[tuple[str, str]]:
    """Return the column label and the HTML of each cell. Ages are removed, because they change over time."""
    return CELL.findall(AGE.sub("", html))


def column(html: str, label: str) -> list[str]:
    """Return the text of each cell in a column."""
    found = [cell for cell_label, cell in cells(html) if cell_label == label]
    return [" ".join(re.sub("<[^>]*>", " ", cell).split()) for cell in found]


def tags(client: Client, url: str, **query: Any) -> list[str]:
    """Return the tags of the events that a page lists."""
    return column(get_page(client, url, **query), "Tag")
