"""Sessions end by idleness and by age, and their cookies with them."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from tests.conftest import Clock
from tests.engine_fixtures import Engine
from tests.web.browser import Browser, Reply
from tests.web.pages import log_in, put, read, untouched, user
from tests.web.visits import Body, Visit

if TYPE_CHECKING:
    from pytest_django import Settings

IDLE = 1800
ABSOLUTE = 4 * 3600
#: A tenth of the idle timeout, at most a minute.
INTERVAL = 60


@pytest.fixture(autouse=True)
def timeouts(settings: Settings) -> None:
    settings.MULTISESSION_IDLE_TIMEOUT = IDLE
    settings.MULTISESSION_ABSOLUTE_TIMEOUT = ABSOLUTE


async def poll(visit: Visit) -> None:
    visit.store.counts_as_use = False
    await read(visit)


def max_age(reply: Reply) -> int:
    assert reply.cookie is not None
    return int(reply.cookie["max-age"])


def test_a_cookie_lives_as_long_as_its_session_may_idle(
    browser: Browser, engine: Engine, clock: Clock
) -> None:
    assert max_age(browser.visit(put(city="Rome"))) == IDLE


def test_a_session_ends_when_it_was_not_used_for_the_idle_timeout(
    browser: Browser, engine: Engine, clock: Clock
) -> None:
    browser.visit(put(city="Rome"))
    clock.advance(seconds=IDLE)
    reply = browser.visit(read)
    assert reply.answer == {}
    assert reply.deletes_the_cookie


def test_a_session_is_there_until_the_idle_timeout(
    browser: Browser, engine: Engine, clock: Clock
) -> None:
    browser.visit(put(city="Rome"))
    clock.advance(seconds=IDLE - 1)
    assert browser.visit(read).answer == {"city": "Rome"}


def test_a_page_that_only_reads_keeps_the_session_alive(
    browser: Browser, engine: Engine, clock: Clock
) -> None:
    browser.visit(put(city="Rome"))
    for _ in range(4):
        clock.advance(seconds=IDLE - 1)
        assert browser.visit(read).answer == {"city": "Rome"}


def test_a_page_that_only_reads_keeps_the_cookie_alive(
    browser: Browser, engine: Engine, clock: Clock
) -> None:
    browser.visit(put(city="Rome"))
    key = browser.key
    for _ in range(4):
        clock.advance(seconds=IDLE - 1)
        reply = browser.visit(read)
        assert reply.new_key == key
        assert max_age(reply) == IDLE


def test_a_page_that_only_reads_renews_the_cookie_at_most_once_per_interval(
    browser: Browser, engine: Engine, clock: Clock
) -> None:
    browser.visit(put(city="Rome"))
    renewed = []
    for second in range(10, 3 * INTERVAL + 10, 10):
        clock.advance(seconds=10)
        if browser.visit(read).new_key:
            renewed.append(second)
    assert renewed == [INTERVAL, 2 * INTERVAL, 3 * INTERVAL]


def test_a_page_that_does_not_touch_the_session_is_no_use_of_it(
    browser: Browser, engine: Engine, clock: Clock
) -> None:
    browser.visit(put(city="Rome"))
    clock.advance(seconds=IDLE - 1)
    assert browser.visit(untouched).cookies == {}
    clock.advance(seconds=1)
    assert browser.visit(read).answer == {}


def test_polling_does_not_keep_the_session_alive(
    browser: Browser, engine: Engine, clock: Clock
) -> None:
    browser.visit(put(city="Rome"))
    clock.advance(seconds=IDLE - 1)
    assert browser.visit(poll).cookies == {}
    clock.advance(seconds=1)
    assert browser.visit(read).answer == {}


def test_a_change_made_by_polling_is_saved_and_does_not_keep_the_session_alive(
    browser: Browser, engine: Engine, clock: Clock
) -> None:
    async def poll_and_change(visit: Visit) -> None:
        visit.store.counts_as_use = False
        await visit.session.set("city", "Oslo")

    browser.visit(put(city="Rome"))
    clock.advance(seconds=IDLE - 10)
    browser.visit(poll_and_change)
    clock.advance(seconds=9)
    assert browser.visit(poll_then_read).answer == {"city": "Oslo"}
    clock.advance(seconds=1)
    assert browser.visit(read).answer == {}


async def poll_then_read(visit: Visit) -> object:
    visit.store.counts_as_use = False
    return await read(visit)


def test_polling_does_not_keep_a_session_with_a_browser_length_cookie_alive(
    browser: Browser, engine: Engine, clock: Clock, settings: Settings
) -> None:
    settings.SESSION_EXPIRE_AT_BROWSER_CLOSE = True
    browser.visit(put(city="Rome"))
    clock.advance(seconds=IDLE - 1)
    browser.visit(poll)
    clock.advance(seconds=1)
    assert browser.visit(read).answer == {}


def test_a_browser_length_cookie_is_not_renewed_and_its_session_stays_alive(
    browser: Browser, engine: Engine, clock: Clock, settings: Settings
) -> None:
    settings.SESSION_EXPIRE_AT_BROWSER_CLOSE = True
    reply = browser.visit(put(city="Rome"))
    assert reply.cookie is not None
    assert reply.cookie["max-age"] == reply.cookie["expires"] == ""
    for _ in range(4):
        clock.advance(seconds=IDLE - 1)
        reply = browser.visit(read)
        assert reply.answer == {"city": "Rome"}
        assert reply.cookies == {}
    clock.advance(seconds=IDLE)
    assert browser.visit(read).answer == {}


def test_a_session_ends_at_its_absolute_timeout_although_it_is_used_every_minute(
    browser: Browser, engine: Engine, clock: Clock
) -> None:
    browser.visit(put(city="Rome"))
    for minute in range(1, ABSOLUTE // 60):
        clock.advance(seconds=60)
        assert browser.visit(read).answer == {"city": "Rome"}, f"it ended in minute {minute}"
    clock.advance(seconds=60)
    reply = browser.visit(read)
    assert reply.answer == {}
    assert reply.deletes_the_cookie


def test_a_cookie_does_not_outlive_the_absolute_timeout(
    browser: Browser, engine: Engine, clock: Clock
) -> None:
    browser.visit(put(city="Rome"))
    for _ in range(ABSOLUTE // 1000 - 1):
        clock.advance(seconds=1000)
        reply = browser.visit(read)
    assert max_age(reply) == ABSOLUTE - 13_000


def test_changes_do_not_move_the_absolute_timeout(
    browser: Browser, engine: Engine, clock: Clock
) -> None:
    browser.visit(put(count=0))
    for count in range(1, ABSOLUTE // 1200):
        clock.advance(seconds=1200)
        browser.visit(put(count=count))
    clock.advance(seconds=1200)
    assert browser.visit(read).answer == {}


def test_a_login_begins_the_absolute_timeout_anew(
    browser: Browser, engine: Engine, clock: Clock
) -> None:
    browser.visit(put(cart=["tea"]))
    for _ in range(ABSOLUTE // 1200 - 1):
        clock.advance(seconds=1200)
        browser.visit(read)
    browser.visit(log_in("ada"))
    clock.advance(seconds=1200)
    assert browser.visit(user).answer == "ada"
    assert browser.visit(read).answer == {"cart": ["tea"]}


def test_a_cycled_key_does_not_begin_the_absolute_timeout_anew(
    browser: Browser, engine: Engine, clock: Clock
) -> None:
    async def cycle(visit: Visit) -> None:
        await visit.session.cycle_key()

    browser.visit(put(cart=["tea"]))
    for _ in range(ABSOLUTE // 1200 - 1):
        clock.advance(seconds=1200)
        browser.visit(cycle)
    clock.advance(seconds=1200)
    assert browser.visit(read).answer == {}


def test_an_anonymous_session_ends_by_its_own_timeout(
    browser: Browser, engine: Engine, clock: Clock, settings: Settings
) -> None:
    settings.MULTISESSION_ANONYMOUS_IDLE_TIMEOUT = 300
    assert max_age(browser.visit(put(city="Rome"))) == 300
    clock.advance(seconds=299)
    assert browser.visit(read).answer == {"city": "Rome"}
    clock.advance(seconds=300)
    assert browser.visit(read).answer == {}


def test_a_login_ends_the_anonymous_timeout(
    browser: Browser, engine: Engine, clock: Clock, settings: Settings
) -> None:
    settings.MULTISESSION_ANONYMOUS_IDLE_TIMEOUT = 300
    browser.visit(put(cart=["tea"]))
    assert max_age(browser.visit(log_in("ada"))) == IDLE
    clock.advance(seconds=IDLE - 1)
    assert browser.visit(user).answer == "ada"


def test_an_expired_session_is_not_revived_by_a_write(
    browser: Browser, engine: Engine, clock: Clock
) -> None:
    browser.visit(log_in("ada"))
    expired = browser.key
    clock.advance(seconds=IDLE)
    assert browser.visit(put(city="Rome")).new_key not in (None, expired)
    assert browser.visit(user).answer == ""
    assert browser.visit(read).answer == {"city": "Rome"}


def test_a_session_saved_at_every_request_lives_by_the_same_timeouts(
    browser: Browser, engine: Engine, clock: Clock, settings: Settings
) -> None:
    settings.SESSION_SAVE_EVERY_REQUEST = True
    browser.visit(put(city="Rome"))
    for _ in range(ABSOLUTE // 1200 - 1):
        clock.advance(seconds=1200)
        assert browser.visit(untouched).new_key == browser.key
    assert browser.visit(read).answer == {"city": "Rome"}
    clock.advance(seconds=1200)
    assert browser.visit(read).answer == {}


def test_a_custom_expiry_lengthens_the_cookie(
    browser: Browser, engine: Engine, clock: Clock
) -> None:
    async def remember(visit: Visit) -> None:
        await visit.session.set("city", "Rome")
        await visit.session.set_expiry(2 * IDLE)

    assert max_age(browser.visit(remember)) == 2 * IDLE
    clock.advance(seconds=2 * IDLE - 1)
    reply = browser.visit(read)
    assert reply.answer == {"city": "Rome"}
    assert max_age(reply) == 2 * IDLE


async def cycle(visit: Visit) -> None:
    await visit.session.cycle_key()


WEEK = 7 * 24 * 3600


def logging_in(expiry: int | timedelta | None) -> Body:
    """Log in as login pages with a "remember me" do: allauth and Wagtail give seconds."""

    async def body(visit: Visit) -> None:
        await visit.log_in("ada")
        await visit.session.set_expiry(expiry)

    return body


@pytest.mark.parametrize("expiry", [2 * WEEK, timedelta(seconds=2 * WEEK)])
def test_remembered_sessions_and_short_ones_live_side_by_side(
    browser: Browser,
    engine: Engine,
    clock: Clock,
    settings: Settings,
    expiry: int | timedelta,
) -> None:
    settings.MULTISESSION_REMEMBERED_ABSOLUTE_TIMEOUT = 2 * WEEK
    short, remembered = browser.stranger(), browser
    assert max_age(short.visit(logging_in(None))) == IDLE
    assert max_age(remembered.visit(logging_in(expiry))) == 2 * WEEK
    clock.advance(seconds=WEEK)
    assert short.visit(user).answer == ""
    remembered.visit(put(city="Rome"))
    remembered.visit(cycle)
    assert remembered.visit(user).answer == "ada"
    clock.advance(seconds=WEEK - 1)
    assert remembered.visit(user).answer == "ada"
    clock.advance(seconds=1)
    assert remembered.visit(user).answer == ""


def test_a_short_expiry_does_not_remember_a_session(
    browser: Browser, engine: Engine, clock: Clock, settings: Settings
) -> None:
    settings.MULTISESSION_REMEMBERED_ABSOLUTE_TIMEOUT = 2 * WEEK
    browser.visit(logging_in(ABSOLUTE))
    clock.advance(seconds=ABSOLUTE - 1)
    assert browser.visit(user).answer == "ada"
    clock.advance(seconds=1)
    assert browser.visit(user).answer == ""


@pytest.mark.parametrize("expiry", [2 * WEEK, timedelta(seconds=2 * WEEK)])
def test_an_expiry_that_the_absolute_timeout_cuts_short_is_logged_once(
    browser: Browser,
    engine: Engine,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
    expiry: int | timedelta,
) -> None:
    browser.visit(logging_in(ABSOLUTE))
    assert caplog.messages == []
    for _ in range(3):
        assert max_age(browser.visit(logging_in(expiry))) == (ABSOLUTE)
    (line,) = caplog.messages
    assert f"asked for {2 * WEEK} seconds" in line
    assert f"after {ABSOLUTE}. Set or raise MULTISESSION_REMEMBERED_ABSOLUTE_TIMEOUT" in line


def test_an_expiry_of_zero_makes_the_cookie_browser_length(
    browser: Browser, engine: Engine, clock: Clock
) -> None:
    async def forget_at_close(visit: Visit) -> None:
        await visit.session.set("city", "Rome")
        await visit.session.set_expiry(0)

    reply = browser.visit(forget_at_close)
    assert reply.cookie is not None
    assert reply.cookie["max-age"] == ""
    clock.advance(seconds=IDLE - 1)
    assert browser.visit(read).cookies == {}
    clock.advance(seconds=IDLE - 1)
    assert browser.visit(read).answer == {"city": "Rome"}
