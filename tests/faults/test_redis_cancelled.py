"""An async request that is cancelled at any await: it is done or not, and the next one is its own."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections.abc import Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any

import pytest
import redis
from servers import RedisServer

from django_multisession.engine import close_drivers
from django_multisession.engines.redis import SessionStore
from tests.faults.cancelling import cancelled_at
from tests.faults.redis_site import use_redis

if TYPE_CHECKING:
    from pytest_django import Settings

pytestmark = pytest.mark.once

Page = Callable[[str], Coroutine[Any, Any, str]]
Count = Callable[[], int]


@pytest.fixture
def count_connections(newest_redis: RedisServer, settings: Settings) -> Iterator[Count]:
    """Count the site's connections, of which it may have one."""
    name = uuid.uuid4().hex
    options = {"client_name": name, "max_connections": 1, "db": 3}
    use_redis(newest_redis, settings, key_prefix=f"{name}:", **options)
    with redis.Redis.from_url(newest_redis.url) as client:
        yield lambda: [one["name"] for one in client.client_list()].count(name)
    close_drivers()


async def _begun(name: str) -> str:
    session = SessionStore()
    await session.aset("name", name)
    await session.asave()
    assert session.session_key is not None
    return session.session_key


async def _stored(session_key: str) -> dict[str, Any]:
    return dict(await SessionStore(session_key).aitems())


async def _change(session_key: str) -> str:
    session = SessionStore(session_key)
    await session.aset("name", "after")
    await session.aset("second", "after")
    await session.asave()
    return session_key


async def _merge(session_key: str) -> str:
    session = SessionStore(session_key)
    await session.aset("name", "after")
    other = SessionStore(session_key)
    await other.aset("second", "after")
    await other.asave()
    await session.asave()
    return session_key


async def _cycle(session_key: str) -> str:
    session = SessionStore(session_key)
    await session.acycle_key()
    await session.aset("name", "after")
    await session.asave()
    assert session.session_key is not None
    return session.session_key


async def _end(session_key: str) -> str:
    await SessionStore(session_key).aflush()
    return session_key


BEFORE, AFTER = {"name": "before"}, {"name": "after"}
BOTH = {"name": "after", "second": "after"}

#: What a page may leave under the session's old key, and what it does leave under its last one.
PAGES: dict[Page, tuple[list[dict[str, str]], dict[str, str]]] = {
    _change: ([BEFORE, BOTH], BOTH),
    _merge: ([BEFORE, BEFORE | {"second": "after"}, BOTH], BOTH),
    _cycle: ([BEFORE, {}], AFTER),
    _end: ([BEFORE, {}], {}),
}


@pytest.mark.parametrize("is_late", [False, True], ids=["before its answer", "after its answer"])
@pytest.mark.parametrize("is_cold", [False, True], ids=["connected", "connecting"])
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.__name__)
def test_a_request_cancelled_at_any_await_is_done_or_not_and_the_next_gets_its_own_answer(
    *, page: Page, is_cold: bool, is_late: bool, count_connections: Count
) -> None:
    possible, done = PAGES[page]

    async def walk() -> None:
        others = await _begun("of somebody else")
        for turn in itertools.count():
            mine = await _begun("before")
            if is_cold:
                await SessionStore.get_driver().aclose()
            was_cancelled, last = await cancelled_at(turn, page(mine), is_late=is_late)
            # Over the only connection that the site may have: it is not gone, and says nothing old.
            assert await _stored(others) == {"name": "of somebody else"}
            assert await _stored(mine) in possible
            assert count_connections() == 1
            if last is not None:
                assert await _stored(last) == done
            if not was_cancelled:
                assert turn > 0
                return

    asyncio.run(walk())


@pytest.mark.parametrize("is_late", [False, True], ids=["before its turn", "at its turn"])
def test_a_request_cancelled_while_it_waits_for_a_connection_keeps_it_from_nobody(
    *, is_late: bool, count_connections: Count
) -> None:
    async def walk() -> None:
        keys = [await _begun(str(number)) for number in range(4)]
        for turn in itertools.count():
            # Longer than a connection is waited for by default, one would fail.
            first = asyncio.create_task(_stored(keys[0]))
            gone = asyncio.create_task(_cancelled(turn, keys[1], is_late=is_late))
            others = [asyncio.create_task(_stored(key)) for key in keys[2:]]
            assert await asyncio.gather(first, *others) == [
                {"name": "0"},
                {"name": "2"},
                {"name": "3"},
            ]
            if not await gone:
                assert turn > 0
                return

    asyncio.run(walk())


async def _cancelled(turn: int, session_key: str, *, is_late: bool) -> bool:
    was_cancelled, _ = await cancelled_at(turn, _stored(session_key), is_late=is_late)
    return was_cancelled
