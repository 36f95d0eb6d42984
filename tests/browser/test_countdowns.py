"""The countdowns: driven by the page's own clock, which the tests advance."""

from __future__ import annotations

import time

import pytest
from playwright.sync_api import Locator, Page

from tests.browser.conftest import NewVisitor
from tests.browser.shops import Shop
from tests.browser.visitor import Visitor

MORNING, NOON = "2026-01-01T06:00:00Z", "2026-01-01T12:00:00Z"
DEADLINE_SECONDS = 60
IDLE, ABSOLUTE = 600, 3600

WATCH_NEWS = """() => {
    const news = document.getElementById("countdown-news");
    window.heard = [];
    new MutationObserver(() => window.heard.push(news.textContent))
        .observe(news, { childList: true, characterData: true, subtree: true });
}"""


@pytest.fixture
def visitor(any_shop: Shop, new_visitor: NewVisitor) -> Visitor:
    """Somebody with a session, in whose browser time stands still from now on."""
    visitor = new_visitor(any_shop)
    visitor.open()
    visitor.add("Notebook")
    # It runs from its installation on, and goes forward only: so not from noon.
    visitor.page.clock.install(time=MORNING)
    visitor.page.clock.pause_at(NOON)
    visitor.open()
    return visitor


def countdown(page: Page, title: str) -> Locator:
    return page.locator(f"[data-countdown={title}]")


def rendered_seconds(page: Page, title: str) -> int:
    """Return what the server said was left."""
    return int(countdown(page, title).get_attribute("data-seconds") or 0)


def clock_text(page: Page, title: str) -> str | None:
    return countdown(page, title).get_by_role("timer").text_content()


def as_text(seconds: int) -> str:
    return f"{seconds // 60}:{seconds % 60:02}"


@pytest.mark.parametrize("title", ["Idle", pytest.param("Absolute", marks=pytest.mark.long)])
def test_a_countdown_moves_with_time(visitor: Visitor, title: str) -> None:
    page, seconds = visitor.page, rendered_seconds(visitor.page, title)
    assert clock_text(page, title) == as_text(seconds)

    for elapsed in (1, 59, 125):
        page.clock.pause_at("2026-01-01T12:{:02}:{:02}Z".format(*divmod(elapsed, 60)))
        assert clock_text(page, title) == as_text(seconds - elapsed)
        assert countdown(page, title).locator("progress").evaluate("bar => bar.value") == (
            seconds - elapsed
        )


@pytest.mark.long
def test_a_countdown_is_announced_in_its_last_minute_and_at_its_end_only(visitor: Visitor) -> None:
    page = visitor.page
    page.evaluate(WATCH_NEWS)

    page.clock.fast_forward((rendered_seconds(page, "Idle") - 65) * 1000)
    assert page.evaluate("heard") == []
    page.clock.run_for(75_000)

    assert page.evaluate("heard") == [
        "Idle time: less than a minute left.",
        "Idle time is over: the session has ended.",
    ]
    assert page.get_by_role("status").get_attribute("id") == "countdown-news"


@pytest.mark.long
def test_the_clock_itself_is_not_read_out_every_second(visitor: Visitor) -> None:
    for clock in visitor.page.get_by_role("timer").all():
        # A timer is "off" by its role (ARIA 1.2), unless somebody says otherwise.
        assert clock.get_attribute("aria-live") in {None, "off"}


@pytest.mark.long
def test_a_countdown_in_its_last_minute_looks_different(visitor: Visitor) -> None:
    page = visitor.page
    clock = countdown(page, "Idle").get_by_role("timer")
    color = "clock => getComputedStyle(clock).color"
    before = clock.evaluate(color)

    page.clock.fast_forward((rendered_seconds(page, "Idle") - 60) * 1000)

    assert clock.evaluate(color) != before
    assert clock.text_content() == "1:00"


@pytest.mark.long
def test_a_countdown_at_zero_says_that_the_session_has_ended_and_goes_no_further(
    visitor: Visitor,
) -> None:
    page, left = visitor.page, rendered_seconds(visitor.page, "Absolute")

    for elapsed in (IDLE, 300):
        page.clock.fast_forward(elapsed * 1000)
        assert clock_text(page, "Idle") == "ended"
        assert countdown(page, "Idle").locator("progress").evaluate("bar => bar.value") == 0

    assert clock_text(page, "Absolute") == as_text(left - IDLE - 300)


@pytest.mark.long
def test_a_reload_begins_the_idle_countdown_anew_and_not_the_absolute_one(
    visitor: Visitor,
) -> None:
    page = visitor.page
    before = rendered_seconds(page, "Absolute")
    page.clock.fast_forward(180_000)
    assert clock_text(page, "Idle") == as_text(IDLE - 180)

    # The server's time cannot be driven from here: it takes a second to show.
    deadline = time.monotonic() + DEADLINE_SECONDS
    while rendered_seconds(page, "Absolute") == before and time.monotonic() < deadline:
        page.reload()

    assert clock_text(page, "Idle") == as_text(IDLE)
    assert rendered_seconds(page, "Absolute") < before


@pytest.mark.long
def test_a_log_in_begins_the_absolute_countdown_anew(
    any_shop: Shop, new_visitor: NewVisitor
) -> None:
    visitor = new_visitor(any_shop)
    visitor.open()
    visitor.add("Notebook")
    began = time.monotonic()
    while rendered_seconds(visitor.page, "Absolute") > ABSOLUTE - 2:
        assert time.monotonic() < began + DEADLINE_SECONDS
        visitor.page.reload()
    before = rendered_seconds(visitor.page, "Absolute")

    visitor.log_in()

    assert rendered_seconds(visitor.page, "Absolute") > before


@pytest.mark.long
def test_a_page_in_another_tab_begins_the_idle_countdown_anew_in_this_one(
    visitor: Visitor,
) -> None:
    page = visitor.page
    page.clock.fast_forward(180_000)
    assert clock_text(page, "Idle") == as_text(IDLE - 180)

    visitor.open_tab("read/")

    deadline = time.monotonic() + DEADLINE_SECONDS
    while clock_text(page, "Idle") == as_text(IDLE - 180) and time.monotonic() < deadline:
        # The tabs' time stands still; a tick shows what was heard meanwhile.
        page.clock.run_for(250)
    minutes, _, _ = (clock_text(page, "Idle") or "").partition(":")
    assert int(minutes) >= 9


@pytest.mark.long
def test_a_page_out_of_the_history_is_asked_for_anew(
    any_shop: Shop, new_visitor: NewVisitor
) -> None:
    visitor = new_visitor(any_shop)
    visitor.open()
    visitor.log_in()
    visitor.open("read/")
    visitor.open()
    visitor.press("Log out")

    visitor.page.evaluate("setTimeout(() => history.go(-2))")
    visitor.page.wait_for_function(
        """location.pathname === "/read/"
        && performance.getEntriesByType("navigation")[0].type === "reload" """
    )

    assert visitor.shown().user is None
