"""The shop without a mouse: Tab, Enter, Space, and always a visible focus."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.appearance import OTHER_CONTRAST, focus_of
from tests.browser.conftest import NewVisitor
from tests.browser.shops import Shop
from tests.browser.visitor import ADMIN_LINK, Visitor
from tests.selection import left_to_release

MOST_STOPS = 40
#: What a person sees first when they press Tab.
SKIP = "Skip to the session"


class Keyboard:
    """Presses keys, and looks where the focus is after each of them."""

    def __init__(self, visitor: Visitor) -> None:
        self._page = visitor.page

    def tab(self) -> str:
        """Go to the next stop, see that it can be seen, and return its name."""
        self._page.keyboard.press("Tab")
        focus = focus_of(self._page)
        if focus["tag"] == "BODY":
            return ""
        assert focus["outline"] >= 2, focus
        assert focus["contrast"] >= OTHER_CONTRAST, focus
        assert focus["isInView"], focus
        return str(focus["name"])

    def tab_to(self, name: str) -> None:
        """Go on to the stop of that name."""
        stops = []
        for _ in range(MOST_STOPS):
            stops.append(self.tab())
            if stops[-1] == name:
                return
        raise AssertionError(f"{name} must be reached with Tab (there were: {stops}).")

    def go(self, name: str, key: str) -> None:
        """Go on to a stop, press *key* there, and wait for the page that it leads to."""
        self.tab_to(name)
        with self._page.expect_navigation():
            self._page.keyboard.press(key)


@pytest.mark.long
def test_the_shop_can_be_used_with_the_keyboard_alone(
    any_shop: Shop, new_visitor: NewVisitor
) -> None:
    visitor = new_visitor(any_shop)
    visitor.open()
    keyboard = Keyboard(visitor)

    keyboard.go("Add Notebook to the cart", "Enter")
    keyboard.go("Add Ink to the cart", "Space")
    keyboard.go("Add Ink to the cart", "Enter")
    keyboard.go("Remove one Notebook", "Space")
    assert visitor.shown().cart == {"Ink": 2}

    keyboard.tab_to("Password")
    visitor.page.keyboard.type("no")
    with visitor.page.expect_navigation():
        visitor.page.keyboard.press("Enter")
    # The focus is where the mistake was.
    assert focus_of(visitor.page)["name"] == "Password"
    visitor.page.keyboard.press("Control+a")
    visitor.page.keyboard.type("demo")
    with visitor.page.expect_navigation():
        visitor.page.keyboard.press("Enter")
    assert visitor.shown().user == "demo"

    key = visitor.key
    keyboard.go("Log in again", "Space")
    assert visitor.key != key
    keyboard.go("A page that only reads", "Enter")
    keyboard.go("Back to the shop", "Enter")
    keyboard.go("Open this page with async views", "Enter")
    keyboard.go("Empty the cart", "Enter")
    assert visitor.shown().cart == {}
    keyboard.go("Log out", "Enter")
    assert visitor.shown().user is None
    keyboard.go(ADMIN_LINK, "Enter")
    expect(visitor.page.get_by_role("button", name="Log in")).to_be_visible()


@pytest.mark.long
def test_the_first_stop_skips_to_the_session(any_shop: Shop, new_visitor: NewVisitor) -> None:
    visitor = new_visitor(any_shop)
    visitor.open()
    keyboard = Keyboard(visitor)

    assert keyboard.tab() == SKIP
    with visitor.page.expect_navigation(url="**/#main"):
        visitor.page.keyboard.press("Enter")

    assert keyboard.tab() == "Add Notebook to the cart"


@pytest.mark.long
def test_the_skip_link_is_out_of_sight_until_it_has_the_focus(
    any_shop: Shop, new_visitor: NewVisitor
) -> None:
    visitor = new_visitor(any_shop)
    visitor.open()
    skip = visitor.page.get_by_role("link", name=SKIP)

    expect(skip).not_to_be_in_viewport()
    visitor.page.keyboard.press("Tab")
    expect(skip).to_be_in_viewport(ratio=1)


@pytest.mark.long
@pytest.mark.parametrize("scheme", left_to_release(["light", "dark"], {"dark"}))
@pytest.mark.parametrize("path", ["", "read/"])
def test_tab_stops_visibly_at_everything_that_can_be_pressed_and_nowhere_else(
    any_shop: Shop, path: str, scheme: str, new_visitor: NewVisitor
) -> None:
    visitor = new_visitor(any_shop, color_scheme=scheme)
    visitor.open()
    visitor.add("Notebook")
    visitor.open(path)
    pressable = visitor.page.locator("a, button, input:not([type=hidden])").count()
    keyboard = Keyboard(visitor)

    stops = [keyboard.tab() for _ in range(pressable)]

    assert all(stops)
    # After the last one the focus leaves the page.
    assert keyboard.tab() in {"", SKIP}
    assert stops[0] == SKIP
    assert stops.count(SKIP) == 1


@pytest.mark.long
def test_after_a_change_tab_goes_on_in_the_part_that_was_changed(
    any_shop: Shop, new_visitor: NewVisitor
) -> None:
    visitor = new_visitor(any_shop)
    visitor.open()

    visitor.add("Pencil")

    assert Keyboard(visitor).tab() == "Add Notebook to the cart"
