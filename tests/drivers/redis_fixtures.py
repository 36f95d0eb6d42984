"""What the tests of the Redis driver share: drivers, both worlds."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import Callable, Coroutine, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from servers import RedisServer

from django_multisession.core.records import Record
from django_multisession.drivers.redis import RedisDriver
from django_multisession.testing.driver_fixtures import (
    NOW,
    left_by,
    make_end,
    make_record,
    next_write,
)

#: Calls a verb of a driver by its sync name.
Verb = Callable[..., Any]
Connect = Callable[..., RedisDriver]


VERBS = [
    "add",
    "get",
    "replace",
    "move",
    "touch",
    "delete",
    "claim",
    "conflicting replace",
    "refused move",
    "refused claim",
    "refused touch",
    "refused delete",
]


def perform(call: Verb, driver: RedisDriver, name: str, stored: Record, key: str = "key") -> Any:
    new = next_write(stored)
    left, end, other = left_by(new, "moved"), make_end(), make_record()
    later = NOW + timedelta(seconds=9)

    def claim() -> Any:
        call(driver.delete, key, end)
        return call(driver.move, key, "moved", new, end, left, NOW)

    performed: dict[str, Callable[[], Any]] = {
        "add": lambda: call(driver.add, "other", new),
        "get": lambda: call(driver.get, key),
        "replace": lambda: call(driver.replace, key, new, stored, NOW),
        "move": lambda: call(driver.move, key, "moved", new, stored, left, NOW),
        "touch": lambda: call(driver.touch, key, stored, later, NOW),
        "delete": lambda: call(driver.delete, key, end),
        "claim": claim,
        "conflicting replace": lambda: call(driver.replace, key, new, other, NOW),
        "refused move": lambda: call(driver.move, "absent", "moved", new, other, left, NOW),
        "refused claim": lambda: call(driver.move, key, "moved", new, end, left, NOW),
        "refused touch": lambda: call(driver.touch, key, other, later, NOW),
        "refused delete": lambda: call(driver.delete, "absent", end),
    }
    return performed[name]()


@pytest.fixture(params=["sync", "async"])
def call(request: pytest.FixtureRequest) -> Iterator[Verb]:
    """Calls a driver's verb: ``call(driver.get, key)``, itself or its a-twin, all in one loop."""
    if request.param == "sync":
        yield lambda verb, *arguments: verb(*arguments)
        return
    with asyncio.Runner() as runner:

        def run(verb: Any, *arguments: Any) -> Any:
            twin: Callable[..., Coroutine[Any, Any, Any]]
            twin = getattr(verb.__self__, f"a{verb.__name__}")
            return runner.run(twin(*arguments))

        yield run


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Makes drivers, each with a prefix of its own, and closes them."""
    with contextlib.ExitStack() as stack:

        def make(server: Any, **options: Any) -> RedisDriver:
            prefix = f"test-{uuid.uuid4().hex}:"
            driver = RedisDriver({"URL": server.url, "PREFIX": prefix, **options})
            stack.callback(driver.close)
            return driver

        yield make


@pytest.fixture
def own_redis(newest_redis: RedisServer, tmp_path: Path) -> Iterator[RedisServer]:
    """A server that this test may stop, pause and configure."""
    with RedisServer(newest_redis.binary, tmp_path / "redis") as server:
        yield server


def within_deadline(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def connections_of(server: RedisServer) -> int:
    """Count the clients of *server* but for the one that asks."""
    with redis.Redis.from_url(server.url) as client:
        return len(client.client_list()) - 1


def configure(server: RedisServer, *command: object) -> None:
    with redis.Redis.from_url(server.url) as client:
        client.execute_command(*command)


@pytest.fixture
def driver(redis_server: RedisServer, connect: Connect) -> RedisDriver:
    return connect(redis_server)


@pytest.fixture
def raw(driver: RedisDriver, redis_server: RedisServer) -> Iterator[Raw]:
    """The server behind the driver's back."""
    with redis.Redis.from_url(redis_server.url) as client:
        yield Raw(client, driver._prefix)


class Raw:
    """Reads and spoils what a driver stored."""

    def __init__(self, client: Any, prefix: str) -> None:
        self.client = client
        self._prefix = prefix

    def name(self, key: str) -> str:
        return self._prefix + key

    def fields(self, key: str) -> dict[bytes, bytes]:
        found: dict[bytes, bytes] = self.client.hgetall(self.name(key))
        return found

    def spoil(self, key: str, field: str, value: bytes | None) -> None:
        if value is None:
            self.client.hdel(self.name(key), field)
        else:
            self.client.hset(self.name(key), field, value)

    def life(self, key: str) -> float | None:
        """Return the seconds for which the server keeps *key*, or None for ever."""
        milliseconds: int = self.client.pttl(self.name(key))
        assert milliseconds != -2
        return None if milliseconds == -1 else milliseconds / 1000
