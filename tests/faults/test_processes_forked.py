"""A worker that forks after it has used sessions, sync and async: parent and child both go on."""

from __future__ import annotations

import asyncio
import os
import traceback
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
import redis
from servers import RedisServer

from django_multisession.engine import close_drivers
from django_multisession.engines.redis import SessionStore
from tests.faults.redis_site import opener, stored, use_redis

if TYPE_CHECKING:
    from pytest_django import Settings

pytestmark = pytest.mark.once

SAVES = 20


@pytest.fixture
def client_name(newest_redis: RedisServer, settings: Settings) -> Iterator[str]:
    name = uuid.uuid4().hex
    use_redis(newest_redis, settings, client_name=name, key_prefix=f"{name}:")
    yield name
    close_drivers()


def _save(session_key: str, name: str) -> None:
    for number in range(SAVES):
        session = SessionStore(session_key)
        session[f"{name}-{number}"] = os.getpid()
        session.save()


async def _asave(session_key: str, name: str) -> None:
    for number in range(SAVES):
        session = SessionStore(session_key)
        await session.aset(f"async-{name}-{number}", os.getpid())
        await session.asave()


def _live_as_child(session_key: str) -> int:
    try:
        _save(session_key, "child")
        # A task of the forked loop would run in the parent's selector: the child has its own.
        asyncio._set_running_loop(None)
        asyncio.run(_asave(session_key, "child"))
        # As at a worker's end. It must not close what is its parent's.
        close_drivers()
    except BaseException:  # noqa: BLE001  (nothing may leave the child)
        traceback.print_exc()
        return 1
    return 0


@pytest.mark.filterwarnings("ignore:This process.*multi-threaded:DeprecationWarning")
def test_parent_and_child_save_one_session_over_connections_of_their_own(
    newest_redis: RedisServer, client_name: str
) -> None:
    key = stored(opener(None), begun=True)
    with redis.Redis.from_url(newest_redis.url) as admin, asyncio.Runner() as runner:

        def connections() -> set[str]:
            return {one["id"] for one in admin.client_list() if one["name"] == client_name}

        runner.run(_asave(key, "before"))
        of_the_parent = connections()
        child = os.fork()
        if child == 0:
            os._exit(_live_as_child(key))
        _save(key, "parent")
        runner.run(_asave(key, "parent"))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        # The very ones from before, and no others that took their place.
        assert len(of_the_parent) == 2
        assert connections() == of_the_parent
    expected: dict[str, Any] = {"begun": True}
    for name, pid in (("before", os.getpid()), ("parent", os.getpid()), ("child", child)):
        expected |= {f"async-{name}-{number}": pid for number in range(SAVES)}
        if name != "before":
            expected |= {f"{name}-{number}": pid for number in range(SAVES)}
    assert opener(None)(key).entries() == expected
