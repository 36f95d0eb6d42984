"""Coroutines of one request, and tasks of one parent, that use a session at once."""

from __future__ import annotations

import asyncio

import pytest

from tests.engine_fixtures import Engine
from tests.web.browser import Browser
from tests.web.pages import put, read, user
from tests.web.test_several_cookies import key_of
from tests.web.visits import Visit


@pytest.fixture
def async_browser(browser: Browser) -> Browser:
    if not browser.is_async:
        pytest.skip("a sync request has one coroutine")
    return browser


def test_two_coroutines_of_a_request_that_save_its_new_key_do_not_end_it(
    async_browser: Browser, engine: Engine
) -> None:
    async def cycle_and_save_twice(visit: Visit) -> None:
        await visit.session.cycle_key()
        await asyncio.gather(visit.session.save(), visit.session.save())

    async_browser.visit(put(city="Rome"))
    before = async_browser.key
    assert async_browser.visit(cycle_and_save_twice).status == 200
    assert async_browser.key != before
    assert async_browser.visit(read).answer == {"city": "Rome"}


def test_two_coroutines_of_a_login_that_save_it_do_not_log_it_out(
    async_browser: Browser, engine: Engine
) -> None:
    async def log_in_and_save_twice(visit: Visit) -> None:
        await visit.log_in("ada")
        await asyncio.gather(visit.session.save(), visit.session.save())

    async_browser.visit(put(city="Rome"))
    assert async_browser.visit(log_in_and_save_twice).status == 200
    assert async_browser.visit(user).answer == "ada"


def test_a_request_under_a_new_key_does_not_bring_back_what_another_one_ends(
    async_browser: Browser, engine: Engine
) -> None:
    """They are tasks of one parent, which gave a session a new key itself."""
    store, key = engine.SessionStore, key_of(async_browser, city="Rome")

    async def requests() -> bool:
        await store().acycle_key()
        has_cycled, is_ended = asyncio.Event(), asyncio.Event()

        async def cycle() -> None:
            session = store(key)
            await session.aget("city")
            await session.acycle_key()
            has_cycled.set()
            await is_ended.wait()
            await session.asave()

        async def end() -> None:
            await has_cycled.wait()
            await store(key).adelete()
            is_ended.set()

        outcomes = await asyncio.gather(cycle(), end(), return_exceptions=True)
        return isinstance(outcomes[0], Exception)

    assert async_browser.run(requests())
