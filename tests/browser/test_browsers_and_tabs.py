"""Browsers side by side, and tabs of one browser."""

from __future__ import annotations

import pytest

from tests.browser.conftest import NewVisitor
from tests.browser.shops import Shop
from tests.browser.visitor import Visitor

pytestmark = pytest.mark.long

CSRF_FAILED = 403


@pytest.fixture
def visitor(shop: Shop, new_visitor: NewVisitor) -> Visitor:
    """Somebody at the shop."""
    visitor = new_visitor(shop)
    visitor.open()
    return visitor


def test_two_browsers_side_by_side_have_two_sessions(
    visitor: Visitor, new_visitor: NewVisitor
) -> None:
    other = new_visitor(visitor.shop)
    other.open()

    visitor.add("Notebook")
    other.add("Pencil")
    visitor.add("Ink")
    other.add("Pencil")

    assert visitor.shown().cart == {"Notebook": 1, "Ink": 1}
    assert other.shown().cart == {"Pencil": 2}
    assert visitor.key != other.key


def test_a_user_who_logs_out_in_one_browser_stays_logged_in_in_the_other(
    visitor: Visitor, new_visitor: NewVisitor
) -> None:
    other = new_visitor(visitor.shop)
    other.open()
    for somebody, product in ((visitor, "Notebook"), (other, "Pencil")):
        somebody.add(product)
        somebody.log_in()
    assert visitor.key != other.key
    key = other.key

    visitor.press("Log out")

    other.open()
    shown = other.shown()
    assert (shown.user, shown.cart, other.key) == ("demo", {"Pencil": 1}, key)
    assert visitor.shown().user is None


def test_two_tabs_change_one_session_and_neither_undoes_the_other(visitor: Visitor) -> None:
    visitor.add("Notebook")
    # Both pages show one notebook when their next buttons are pressed.
    tab = visitor.open_tab("async/")

    visitor.add("Pencil")
    visitor.add("Ink", tab)
    visitor.press("Remove one Notebook")

    visitor.open()
    tab.reload()
    assert visitor.shown().cart == visitor.shown(tab).cart == {"Pencil": 1, "Ink": 1}


def test_a_log_in_in_one_tab_is_one_in_the_other(visitor: Visitor) -> None:
    tab = visitor.open_tab()
    visitor.add("Notebook")

    visitor.log_in()

    tab.reload()
    assert visitor.shown(tab) == visitor.shown()
    assert visitor.shown(tab).user == "demo"


def test_a_form_older_than_a_log_in_in_another_tab_is_explained_and_changes_nothing(
    visitor: Visitor,
) -> None:
    visitor.add("Notebook")
    tab = visitor.open_tab()
    visitor.log_in()

    visitor.add("Ink", tab)

    assert tab.get_by_role("heading", level=1).text_content() == "This form is out of date"
    assert visitor.forgive(f"{CSRF_FAILED}: /cart/add/ink/", "console: ") != []
    visitor.follow("Open the shop again", tab)
    shown = visitor.shown(tab)
    assert (shown.user, shown.cart) == ("demo", {"Notebook": 1})


def test_a_log_out_in_one_tab_leaves_the_other_nothing_to_change(visitor: Visitor) -> None:
    visitor.add("Notebook")
    visitor.log_in()
    tab = visitor.open_tab()
    visitor.press("Log out")

    # Its page still shows the user; what comes of a click is a session of nobody's.
    visitor.add("Ink", tab)

    shown = visitor.shown(tab)
    assert (shown.user, shown.cart) == (None, {"Ink": 1})
