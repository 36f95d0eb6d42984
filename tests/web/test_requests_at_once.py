"""Two requests of one session that overlap: which of them is told what, and what is stored."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from django.db import connections

from tests.conftest import Clock
from tests.engine_fixtures import Engine
from tests.web.browser import Browser, Reply
from tests.web.pages import log_in, log_out, meanwhile, put, read, untouched, user
from tests.web.visits import Body, Visit

if TYPE_CHECKING:
    from pytest_django import Settings

#: A server that is slow to start a thread; nothing waits so long.
PATIENCE = 30

Meet = Callable[[], Awaitable[None]]


def at_once(browser: Browser, other: Browser, body: Callable[[Meet], Body]) -> list[Reply]:
    """Let both ask for *body*, whose every ``await meet()`` waits until both are there."""
    if browser.is_async:

        async def both() -> list[Reply]:
            barrier = asyncio.Barrier(2)

            async def meet() -> None:
                async with asyncio.timeout(PATIENCE):
                    await barrier.wait()

            return await asyncio.gather(*(each.visiting(body(meet)) for each in (browser, other)))

        replies: list[Reply] = browser.run(both())
        return replies
    barrier = threading.Barrier(2, timeout=PATIENCE)

    async def meet() -> None:
        barrier.wait()

    def visit(each: Browser) -> Reply:
        try:
            return each.visit(body(meet))
        finally:
            connections.close_all()

    with ThreadPoolExecutor(2) as threads:
        return list(threads.map(visit, (browser, other)))


def test_two_logins_in_step_on_one_anonymous_session_both_succeed(
    browser: Browser, engine: Engine
) -> None:
    def log_in_in_step(meet: Meet) -> Body:
        async def body(visit: Visit) -> None:
            await read(visit)
            await meet()
            await visit.log_in("ada")
            await meet()

        return body

    browser.visit(put(cart=["tea"]))
    before, other = browser.key, browser.copy()
    replies = at_once(browser, other, log_in_in_step)
    assert [reply.status for reply in replies] == [200, 200]
    assert len({before, browser.key, other.key}) == 3
    assert browser.visit(user).answer == "ada"
    assert other.visit(user).answer == "ada"
    carts = [each.visit(read).answer.get("cart") for each in (browser, other)]
    assert sorted(carts, key=bool) == [None, ["tea"]], "one takes the old session along"
    assert not engine.SessionStore().exists(before)


def test_two_changes_in_step_both_succeed_and_one_is_stored(
    browser: Browser, engine: Engine
) -> None:
    def change_in_step(meet: Meet) -> Body:
        async def body(visit: Visit) -> None:
            await read(visit)
            await meet()
            await visit.session.set("number", id(visit))
            await meet()

        return body

    browser.visit(put(city="Rome"))
    other = browser.copy()
    replies = at_once(browser, other, change_in_step)
    assert [reply.new_key for reply in replies] == [browser.key, browser.key]
    found = browser.visit(read).answer
    assert found["city"] == "Rome"
    assert isinstance(found["number"], int)


def test_two_logins_at_once_on_one_anonymous_session_both_succeed(
    browser: Browser, engine: Engine
) -> None:
    browser.visit(put(cart=["tea"]))
    other = browser.copy()
    reply = browser.visit(meanwhile(other, log_in("ada"), log_in("ada")))
    assert reply.status == 200
    assert reply.new_key not in (None, other.key)
    assert browser.visit(user).answer == "ada"
    assert other.visit(user).answer == "ada"
    assert other.visit(read).answer == {"cart": ["tea"]}


def test_the_second_of_two_logins_at_once_gets_only_what_its_own_request_set(
    browser: Browser, engine: Engine
) -> None:
    async def log_in_and_greet(visit: Visit) -> None:
        await visit.log_in("bob")
        await visit.session.set("greeting", "hello")

    browser.visit(put(cart=["tea"]))
    other = browser.copy()
    browser.visit(meanwhile(other, log_in("ada"), log_in_and_greet))
    assert browser.visit(user).answer == "bob"
    assert browser.visit(read).answer == {"greeting": "hello"}
    assert other.visit(user).answer == "ada"


def test_a_login_under_way_during_a_logout_succeeds(browser: Browser, engine: Engine) -> None:
    browser.visit(put(cart=["tea"]))
    other = browser.copy()
    reply = browser.visit(meanwhile(other, log_out, log_in("ada")))
    assert reply.status == 200
    assert browser.visit(user).answer == "ada"


def test_a_login_under_way_during_a_change_succeeds(browser: Browser, engine: Engine) -> None:
    browser.visit(put(cart=["tea"]))
    other = browser.copy()
    reply = browser.visit(meanwhile(other, put(city="Rome"), log_in("ada")))
    assert reply.status == 200
    assert browser.visit(user).answer == "ada"


def test_a_change_under_way_during_another_change_succeeds(
    browser: Browser, engine: Engine
) -> None:
    browser.visit(put(cart=["tea"]))
    other = browser.copy()
    reply = browser.visit(meanwhile(other, put(cart=["milk"]), put(cart=["rice"])))
    assert reply.new_key == browser.key
    assert browser.visit(read).answer == {"cart": ["rice"]}


@pytest.mark.parametrize("body", [untouched, read])
def test_a_request_that_changed_nothing_undoes_nothing_where_every_request_is_saved(
    browser: Browser, engine: Engine, settings: Settings, body: Body
) -> None:
    settings.SESSION_SAVE_EVERY_REQUEST = True
    browser.visit(put(cart=["tea"]))
    browser.visit(meanwhile(browser.copy(), put(cart=["milk"]), body))
    assert browser.visit(read).answer == {"cart": ["milk"]}


@pytest.mark.parametrize("other_does", [log_out, log_in("ada")], ids=["logout", "login"])
def test_a_touch_that_finds_its_session_ended_sends_no_cookie(
    browser: Browser, engine: Engine, clock: Clock, other_does: Body
) -> None:
    browser.visit(put(cart=["tea"]))
    other = browser.copy()
    clock.advance(seconds=60)
    assert browser.visit(meanwhile(other, other_does, read)).cookies == {}


def test_a_touch_undoes_no_change(browser: Browser, engine: Engine, clock: Clock) -> None:
    browser.visit(put(cart=["tea"]))
    other = browser.copy()
    clock.advance(seconds=60)
    reply = browser.visit(meanwhile(other, put(cart=["milk"]), read))
    assert reply.new_key == browser.key
    assert browser.visit(read).answer == {"cart": ["milk"]}


def test_a_user_is_not_logged_in_over_the_login_of_another(
    browser: Browser, engine: Engine
) -> None:
    browser.visit(log_in("ada"))
    other = browser.copy()
    reply = browser.visit(meanwhile(other, log_in("bob"), put(note="of ada")))
    assert reply.status == 400
    assert reply.cookies == {}
    assert other.visit(user).answer == "bob"
    assert other.visit(read).answer == {}


def test_entries_of_a_hand_made_login_are_not_mixed_with_an_older_request(
    browser: Browser, engine: Engine, settings: Settings
) -> None:
    async def become_bob(visit: Visit) -> None:
        await visit.session.set("_auth_user_id", "2")

    settings.MULTISESSION_ALWAYS_CYCLE_ON_LOGIN = False
    browser.visit(log_in("ada"))
    other = browser.copy()
    reply = browser.visit(meanwhile(other, become_bob, put(note="of ada")))
    assert reply.status == 400
    assert reply.cookies == {}
    assert "note" not in other.visit(read).answer
