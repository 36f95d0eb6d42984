"""The shop in a browser that runs no scripts."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import NewVisitor
from tests.browser.shops import Shop
from tests.browser.visitor import Visitor
from tests.selection import left_to_release


@pytest.fixture
def visitor(any_shop: Shop, new_visitor: NewVisitor) -> Visitor:
    """Somebody at the shop."""
    visitor = new_visitor(any_shop, java_script_enabled=False)
    visitor.open()
    return visitor


@pytest.mark.long
@pytest.mark.parametrize("path", left_to_release(["", "async/"], {""}))
def test_everything_works_without_scripts(visitor: Visitor, path: str) -> None:
    visitor.open(path)
    visitor.add("Notebook")
    visitor.add("Ink")
    visitor.press("Remove one Notebook")
    key = visitor.key
    visitor.log_in()

    shown = visitor.shown()
    assert (shown.user, shown.cart) == ("demo", {"Ink": 1})
    assert visitor.key not in {None, key}
    visitor.follow("A page that only reads")
    visitor.follow("Back to the shop")
    visitor.press("Empty the cart")
    visitor.press("Log out")
    assert visitor.shown().user is None
    assert visitor.key is None


@pytest.mark.long
def test_without_scripts_the_times_are_there_and_said_to_stand_still(visitor: Visitor) -> None:
    visitor.add("Notebook")

    expect(visitor.page.get_by_role("timer").first).to_have_text(re.compile(r"^\d+:\d\d$"))
    expect(visitor.page.locator("noscript p")).to_be_visible()


@pytest.mark.long
def test_with_scripts_nothing_is_said_of_standing_still(
    any_shop: Shop, new_visitor: NewVisitor
) -> None:
    visitor = new_visitor(any_shop)
    visitor.open()
    visitor.add("Notebook")

    expect(visitor.page.locator("noscript")).to_be_hidden()
