"""A user in a browser, whose page loads after they log in are counted."""

from __future__ import annotations

from typing import Any

from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select, WebDriverWait

from tests.running import (
    TIMEOUT,
    Application,
    click_link,
    click_tab,
    console_messages,
    poll,
    rows,
    sign_in,
    status,
    text,
)


class Visitor:
    """A logged-in user. Each method that opens a page, or changes the list on it, counts as one page load."""

    def __init__(self, driver: Chrome, app: Application, username: str) -> None:
        self.driver, self.app, self.loads = driver, app, 0
        sign_in(driver, app, username)
        driver.get_log("browser")

    def open(self, path: str) -> None:
        """Follow a link that somebody sent."""
        self._load(lambda: self.driver.get(self.app.url + path))

    def click(self, link: str) -> None:
        """Click the first link with this text."""
        self._load(lambda: click_link(self.driver, link))

    def follow(self, selector: str) -> None:
        """Click the first element that matches a selector."""
        self._load(self.find(selector).click)

    def tab(self, label: str) -> None:
        self._load(lambda: click_tab(self.driver, label))

    def search(self, words: str, selector: str = "[name=q]") -> None:
        """Enter words into the search box, and submit them."""
        box = self.find(selector)
        box.clear()
        address = self.driver.current_url
        self._load(lambda: box.send_keys(words, Keys.ENTER))
        assert poll(lambda: self.driver.current_url != address, True)

    def fill(self, **values: str) -> None:
        """Enter values into the fields of a form. Dates are entered as the browser's widget reads them."""
        for name, value in values.items():
            field = self.find(f"main [name={name}]")
            if field.tag_name == "select":
                Select(field).select_by_visible_text(value)
            else:
                self.driver.execute_script("arguments[0].value = arguments[1]", field, value)

    def press(self, label: str) -> None:
        """Press the first button with this label."""
        button = (By.XPATH, f"//main//button[normalize-space()='{label}']")
        self._load(self.wait(button).click)

    def find(self, selector: str) -> WebElement:
        return self.wait((By.CSS_SELECTOR, selector))

    def wait(self, place: tuple[str, str]) -> WebElement:
        return WebDriverWait(self.driver, TIMEOUT, 0.05).until(lambda _: self.driver.find_elements(*place))[0]

    def sees(self, *words: str) -> bool:
        """Wait until the page shows all of these words. Return whether three page loads were enough."""

        def missing() -> list[str]:
            return [word for word in words if word not in text(self.driver, "body")]

        assert poll(lambda: not missing(), True), missing()
        return self.is_quick()

    def sees_rows(self, *expected: dict[str, str]) -> bool:
        """Wait until these cells are those of the listed events. Return whether three loads were enough."""
        columns = [*expected[0]]

        def cells() -> list[dict[str, Any]]:
            return [{column: row.get(column) for column in columns} for row in rows(self.driver)]

        assert poll(cells, [*expected]) == [*expected]
        return self.is_quick()

    def is_quick(self) -> bool:
        errors = console_messages(self.driver)
        assert [message for message in errors if "404 (Not Found)" not in message] == []
        return self.loads <= 3

    def _load(self, action: Any) -> None:
        self.loads += 1
        action()

    @property
    def status(self) -> int:
        return status(self.driver)
