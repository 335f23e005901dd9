"""Axe finds no violation on any page but Swagger's: in light on a desktop, in dark on a phone."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.urls import resolve
from selenium.webdriver import Chrome

from tests import pages, services
from tests.running import Application, application
from tests.test_site_urls import TABLE

TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
PAGES_OF_THE_SITE = {
    name for name, answers in TABLE.items() if answers[-1] == 200 and not name.endswith("-atom")
}


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    with application(tmp_path_factory.mktemp("application"), events=300) as app:
        yield app


@pytest.fixture(scope="module")
def axe() -> str:
    return (files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")


def violations(driver: Chrome) -> list[str]:
    """Return what axe, once it is loaded, finds on the page that is shown.

    The admin's search fields are Select2's, as Django brings it: they have no names that axe knows of.
    What is right isn't described, nor where on the page something is, which takes long on large ones.
    """
    found: list[dict[str, Any]] = driver.execute_async_script(
        "const few = {resultTypes: ['violations'], selectors: false};"
        "axe.run({exclude: ['.select2']}, {runOnly: arguments[0], ...few})"
        ".then(result => arguments[1](result.violations))",
        TAGS,
    )
    return [f"{each['id']}: {each['nodes'][0]['html'][:200]}" for each in found]


def test_no_page_is_hard_to_use(app: Application, axe: str) -> None:
    found: dict[str, list[str]] = {}
    seen = set()
    with services.chromium(1280, 900) as driver:
        driver.set_script_timeout(120)
        for name in pages.visit(driver, app):
            if name == "api":
                continue
            seen.add(resolve(urlsplit(driver.current_url).path).view_name)
            driver.execute_script("document.querySelectorAll('details').forEach(part => part.open = true)")
            driver.execute_script(axe)
            for (width, size), scheme in zip(pages.SIZES.items(), pages.SCHEMES, strict=True):
                pages.show(driver, size, scheme)
                found[f"{name}, {width}, {scheme}"] = violations(driver)

    assert {page: wrong for page, wrong in found.items() if wrong} == {}
    assert seen >= PAGES_OF_THE_SITE
