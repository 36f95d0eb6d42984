"""Requests that left with the cookie from before a log-in, and whose answers come after it."""

from __future__ import annotations

import pytest

from tests.browser.conftest import NewVisitor
from tests.browser.gate import Gate
from tests.browser.shops import Shop
from tests.browser.visitor import Visitor
from tests.selection import left_to_release

OK, REFUSED = 200, 400
TRIES = 5

SEND = """([path, method]) => {
    const token = document.querySelector("[name=csrfmiddlewaretoken]").value;
    const headers = method === "POST" ? { "X-CSRFToken": token } : {};
    window.late = fetch(path, { method, headers }).then((answer) => answer.status);
}"""


def log_in_while_a_request_waits(
    visitor: Visitor, gate: Gate, method: str, path: str, *, is_answered: bool = False
) -> int:
    """Send the request from one tab, log in in another, let it go on; return its answer's status.

    It waits before the site has seen it, or when the site has answered it.
    """
    visitor.open()
    visitor.add("Notebook")
    tab = visitor.open_tab()
    gate.hold(path, answers=is_answered)
    tab.evaluate(SEND, [path, method])
    gate.wait_until_held()
    visitor.log_in()
    gate.release()
    status: int = tab.evaluate("late")
    return status


@pytest.mark.long
@pytest.mark.parametrize("is_answered", [False, True], ids=["unanswered", "answered"])
@pytest.mark.parametrize("path", left_to_release(["/read/", "/async/read/"], {"/async/read/"}))
def test_a_late_response_logs_nobody_out(
    *, shop: Shop, path: str, is_answered: bool, new_visitor: NewVisitor
) -> None:
    for _ in range(TRIES):
        with Gate(shop.url) as gate:
            visitor = new_visitor(shop.behind(gate.url))
            status = log_in_while_a_request_waits(
                visitor, gate, "GET", path, is_answered=is_answered
            )
            assert status == OK
            if gate.held_cookie:
                # The page took longer than the shop's touch interval, and so the answer brings the old
                # key back: docs/explanation/limits.md, "A touch that is slower than a login".
                visitor.context.close()
                continue
            assert visitor.key is not None
            visitor.open()
            shown = visitor.shown()
            assert (shown.user, shown.cart) == ("demo", {"Notebook": 1})
            visitor.context.close()
            return
    pytest.fail(f"Each of {TRIES} tries took longer than the touch interval.")


@pytest.mark.long
def test_a_late_change_is_refused_and_logs_nobody_out(shop: Shop, new_visitor: NewVisitor) -> None:
    path = "/async/cart/add/ink/"
    with Gate(shop.url) as gate:
        visitor = new_visitor(shop.behind(gate.url))

        status = log_in_while_a_request_waits(visitor, gate, "POST", path)

        assert status == REFUSED
        visitor.forgive(f"{REFUSED}: {path}", "console: ")
        visitor.open()
        shown = visitor.shown()
        assert (shown.user, shown.cart) == ("demo", {"Notebook": 1})
        visitor.context.close()
