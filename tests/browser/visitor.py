"""Somebody who looks at the shop with a browser of their own, and clicks."""

from __future__ import annotations

import dataclasses
import re
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, Locator, Page, Request, Response

from tests.browser.shops import Shop

BAD = 400
ADMIN_LINK = "Django\N{RIGHT SINGLE QUOTATION MARK}s admin"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What the page tells of the session."""

    user: str | None
    cart: dict[str, int]
    key: str | None


class Visitor:
    """A browser with a cookie jar of its own, and its first tab.

    Everything that goes wrong behind the page is noted: console errors, exceptions, failed
    requests, bad statuses, requests to anybody but this machine.

    Args:
        chromium: The browser.
        shop: What is visited.
        options: Of the context: width, colour scheme and so on.
    """

    def __init__(self, chromium: Browser, shop: Shop, **options: Any) -> None:
        self.shop = shop
        self.complaints: list[str] = []
        self.context: BrowserContext = chromium.new_context(**options)
        self.context.on("console", self._note_console)
        self.context.on("weberror", lambda error: self._note(f"exception: {error.error}"))
        self.context.on("requestfailed", self._note_failure)
        self.context.on("request", self._note_stranger)
        self.context.on("response", self._note_bad_status)
        self.page: Page = self.context.new_page()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.context.close()

    # The jar

    @property
    def key(self) -> str | None:
        """Return the session key in the jar."""
        return self._cookie.get("value")

    @key.setter
    def key(self, key: str | None) -> None:
        self.context.clear_cookies(name=self.shop.cookie)
        if key is None:
            return
        jar: list[Any] = [{"name": self.shop.cookie, "value": key, "url": self.shop.url}]
        self.context.add_cookies(jar)

    @property
    def _cookie(self) -> dict[str, Any]:
        jar: list[Any] = self.context.cookies(self.shop.url)
        return next((cookie for cookie in jar if cookie["name"] == self.shop.cookie), {})

    def cookie_attributes(self) -> dict[str, Any]:
        """Return what the session cookie is apart from its value."""
        return {name: value for name, value in self._cookie.items() if name != "value"}

    # The page

    def open(self, path: str = "") -> Response:
        """Type an address."""
        response = self.page.goto(self.shop.url + path)
        assert response is not None
        return response

    def open_tab(self, path: str = "") -> Page:
        """Open another tab of the same browser."""
        page = self.context.new_page()
        page.goto(self.shop.url + path)
        return page

    def press(self, name: str, page: Page | None = None) -> None:
        """Press a button, and wait for the page that it leads to."""
        follow((page or self.page).get_by_role("button", name=name, exact=True))

    def follow(self, name: str, page: Page | None = None) -> None:
        """Follow a link, and wait for its page."""
        follow((page or self.page).get_by_role("link", name=name, exact=True))

    def add(self, product: str, page: Page | None = None) -> None:
        """Put one more *product* into the cart."""
        self.press(f"Add {product} to the cart", page)

    def log_in(self, page: Page | None = None, name: str = "demo") -> None:
        """Log in, as *name* with the password *name* or with what the form holds already."""
        if name != "demo":
            (page or self.page).get_by_label("Name").fill(name)
            (page or self.page).get_by_label("Password").fill(name)
        self.press("Log in as demo", page)

    def shown(self, page: Page | None = None) -> Shown:
        """Read what the page tells of the session."""
        page = page or self.page
        facts = dict(
            zip(
                page.locator(".facts dt").all_text_contents(),
                page.locator(".facts dd").all_text_contents(),
                strict=True,
            )
        )
        lines = page.locator(".lines li").all_text_contents()
        found = [re.search(r"(\d+) \S\s+(\w+)", line) for line in lines]
        user = facts["Logged in"]
        key = facts["Session key"]
        return Shown(
            user=None if user == "no" else user.removeprefix("as "),
            cart={line[2]: int(line[1]) for line in found if line},
            key=None if key == "none yet" else key,
        )

    # What went wrong

    def forgive(self, *beginnings: str) -> list[str]:
        """Take the complaints that begin so off the list, and return them."""
        forgiven = [text for text in self.complaints if text.startswith(beginnings)]
        self.complaints = [text for text in self.complaints if text not in forgiven]
        return forgiven

    def _note(self, complaint: str) -> None:
        self.complaints.append(complaint)

    def _note_console(self, message: Any) -> None:
        # The admin names no icon, and browsers ask for one there.
        is_of_icon = message.location["url"].endswith("/favicon.ico")
        if message.type in {"error", "warning", "assert"} and not is_of_icon:
            self._note(f"console: {message.text}")

    def _note_failure(self, request: Request) -> None:
        # Aborted: the browser left the page and did not need it any more.
        if request.failure != "net::ERR_ABORTED":
            self._note(f"failed: {_place(request.url)}: {request.failure}")

    def _note_stranger(self, request: Request) -> None:
        if urlsplit(request.url).hostname not in {"127.0.0.1", None}:
            self._note(f"external: {request.url}")

    def _note_bad_status(self, response: Response) -> None:
        if response.status >= BAD:
            self._note(f"{response.status}: {_place(response.url)}")


def follow(pressable: Locator) -> None:
    """Press a link or a button, and wait for the page that it leads to."""
    with pressable.page.expect_navigation():
        pressable.click()


def _place(url: str) -> str:
    return urlsplit(url).path
