"""Every page is there, without complaints on its console, fits the screen, and axe finds no violation on it.

All in one visit, as opening the pages takes most of the time: in light on a desktop, in dark on a phone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest
from django.urls import resolve
from selenium.webdriver import Chrome

from tests import pages, services
from tests.running import Application, application, status
from tests.test_site_urls import TABLE

TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
PAGES_OF_THE_SITE = {
    name for name, answers in TABLE.items() if answers[-1] == 200 and not name.endswith("-atom")
}
SWAGGER = "api"
"""The page that is mostly Swagger's own, which axe has complaints of."""


@dataclass
class Visit:
    """What was found wrong, by the page, and where it matters by the screen and the colours."""

    names: set[str] = field(default_factory=set)
    """Of the views that answered."""
    complaints: dict[str, list[str]] = field(default_factory=dict)
    too_wide: dict[str, str] = field(default_factory=dict)
    violations: dict[str, list[str]] = field(default_factory=dict)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    with application(tmp_path_factory.mktemp("application"), events=300) as app:
        yield app
        assert "Traceback" not in app.log("web")


@pytest.fixture(scope="module")
def visit(app: Application) -> Visit:
    axe = (files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")
    visit = Visit()
    with services.chromium(1280, 900) as driver:
        driver.set_script_timeout(120)
        for name in pages.visit(driver, app):
            visit.names.add(resolve(urlsplit(driver.current_url).path).view_name)
            visit.complaints[name] = complaints(driver, name)
            driver.execute_script("document.querySelectorAll('details').forEach(part => part.open = true)")
            driver.execute_script(axe)
            for (width, size), scheme in zip(pages.SIZES.items(), pages.SCHEMES, strict=True):
                pages.show(driver, size, scheme)
                visit.too_wide[f"{name}, {width}"] = too_wide(driver)
                if name != SWAGGER:
                    visit.violations[f"{name}, {width}, {scheme}"] = violations(driver)
    return visit


def complaints(driver: Chrome, name: str) -> list[str]:
    """Return what is wrong with a page: not there, or something on its console."""
    expected = pages.STATUS.get(name, 200)
    found = [] if status(driver) == expected else [f"Status {status(driver)}"]
    # Not there are the page that says so, and the icon that Django's admin doesn't name.
    icon = urljoin(driver.current_url, "/favicon.ico")
    missing = tuple(f"{address} - Failed to load" for address in (driver.current_url, icon))
    messages = [entry["message"] for entry in driver.get_log("browser")]
    return found + [message for message in messages if not message.startswith(missing)]


def too_wide(driver: Chrome) -> str:
    """Return by how much a page is wider than the screen."""
    width, screen = driver.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
    return f"{width} pixels wide, on a screen of {screen}" if width > screen else ""


def violations(driver: Chrome) -> list[str]:
    """Return what axe, once it is loaded, finds on the page that is shown.

    The admin's search fields are Select2's, as Django brings it: they have no names that axe knows of.
    What is right isn't described, nor where on the page something is, which takes long on large ones. Nor
    does axe copy stylesheets into the page, which the security policy would refuse.
    """
    found: list[dict[str, Any]] = driver.execute_async_script(
        "const few = {resultTypes: ['violations'], selectors: false, preload: false};"
        "axe.run({exclude: ['.select2']}, {runOnly: arguments[0], ...few})"
        ".then(result => arguments[1](result.violations))",
        TAGS,
    )
    return [f"{each['id']}: {each['nodes'][0]['html'][:200]}" for each in found]


def wrong(found: dict[str, Any]) -> dict[str, Any]:
    return {page: what for page, what in found.items() if what}


def test_all_of_the_site_is_visited(visit: Visit) -> None:
    assert visit.names >= PAGES_OF_THE_SITE


def test_no_page_has_complaints(visit: Visit) -> None:
    assert wrong(visit.complaints) == {}


def test_every_page_fits_the_screen(visit: Visit) -> None:
    assert wrong(visit.too_wide) == {}


def test_no_page_is_hard_to_use(visit: Visit) -> None:
    assert wrong(visit.violations) == {}
