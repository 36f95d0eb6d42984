"""What the tests of the Redis driver share: drivers, their verbs sync and async, what is stored."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from servers import RedisServer

from django_multisession.core.records import NEVER, Record
from django_multisession.drivers import base
from django_multisession.drivers.redis.driver import RedisDriver
from django_multisession.testing.driver.fixtures import (
    NOW,
    SECOND,
    left_by,
    make_end,
    make_record,
)
from django_multisession.testing.stored_records import next_write
from django_multisession.testing.verbs import Run, open_runner

#: Calls a verb of a driver and carries it out.
Verb = Callable[..., Any]
Connect = Callable[..., RedisDriver]


#: Each with the commands that it sends. A claim here ends first what it claims.
COMMANDS = {
    "add": ["EVALSHA"],
    "anonymous add": ["SET"],
    "get": ["GET"],
    "replace": ["EVALSHA"],
    "move": ["EVALSHA"],
    "touch": ["EVALSHA"],
    "retire": ["EVALSHA"],
    "withdraw": ["EVALSHA"],
    "delete": ["EVALSHA"],
    "of_user": ["ZSCAN", "MGET"],
    "claim": ["EVALSHA", "EVALSHA"],
    "ending claim": ["EVALSHA", "EVALSHA"],
    # A taken key is looked at, because it may be an attempt's whose answer was lost.
    "refused add": ["EVALSHA"],
    "refused anonymous add": ["SET", "GET"],
    "refused get": ["GET"],
    "conflicting replace": ["EVALSHA"],
    "refused move": ["EVALSHA"],
    "refused claim": ["EVALSHA"],
    "refused touch": ["EVALSHA"],
    "refused retire": ["EVALSHA"],
    "refused withdraw": ["EVALSHA"],
    "refused delete": ["EVALSHA"],
}
VERBS = list(COMMANDS)


def perform(call: Verb, driver: RedisDriver, name: str, stored: Record, key: str = "key") -> Any:
    new = next_write(stored)
    left, end, other = left_by(new, "moved"), make_end(), make_record()
    ending = make_end()
    later = NOW + 9 * SECOND

    def claim() -> Any:
        call(driver.delete, key, end)
        return call(driver.move, key, "moved", new, end, left, NOW)

    def claim_to_end() -> Any:
        call(driver.delete, key, end)
        return call(driver.retire, key, end, ending, NOW, NEVER)

    performed: dict[str, Callable[[], Any]] = {
        "add": lambda: call(driver.add, "other", new),
        "anonymous add": lambda: call(driver.add, "other", next_write(stored, user=None)),
        "get": lambda: call(driver.get, key),
        "replace": lambda: call(driver.replace, key, new, stored, NOW),
        "move": lambda: call(driver.move, key, "moved", new, stored, left, NOW),
        "touch": lambda: call(driver.touch, key, stored, later, NOW),
        "retire": lambda: call(driver.retire, key, stored, end, NOW, NEVER),
        "withdraw": lambda: call(driver.withdraw, key, stored),
        "delete": lambda: call(driver.delete, key, end),
        "of_user": lambda: call(driver.of_user, str(stored.user_id), NOW),
        "claim": claim,
        "ending claim": claim_to_end,
        "refused add": lambda: call(driver.add, key, other),
        "refused anonymous add": lambda: call(driver.add, key, next_write(other, user=None)),
        "refused get": lambda: call(driver.get, "absent"),
        "conflicting replace": lambda: call(driver.replace, key, new, other, NOW),
        "refused move": lambda: call(driver.move, "absent", "moved", new, other, left, NOW),
        "refused claim": lambda: call(driver.move, key, "moved", new, end, left, NOW),
        "refused touch": lambda: call(driver.touch, key, other, later, NOW),
        "refused retire": lambda: call(driver.retire, key, other, end, NOW, NEVER),
        "refused withdraw": lambda: call(driver.withdraw, key, other),
        "refused delete": lambda: call(driver.delete, "absent", end),
    }
    return performed[name]()


@pytest.fixture(params=["sync", "async"])
def run(request: pytest.FixtureRequest) -> Iterator[Run | None]:
    """What runs coroutines, all in one event loop: None for the sync ends of servers."""
    run, close = open_runner(request.param)
    yield run
    close()


@pytest.fixture
def call(run: Run | None) -> Verb:
    """Calls a driver's verb: ``call(driver.get, key)``, by its server's sync end or the async one."""

    def carry_out(verb: Any, *arguments: Any) -> Any:
        if run is None:
            return base.run(verb(*arguments))
        return run(base.arun(verb(*arguments)))

    return carry_out


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Makes drivers, each with a prefix of its own, and closes them."""
    with contextlib.ExitStack() as stack:

        def make(server: Any, **options: Any) -> RedisDriver:
            prefix = f"test-{uuid.uuid4().hex}:"
            driver = RedisDriver({"URL": server.url, "KEY_PREFIX": prefix, **options})
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
        yield Raw(client, driver._commands.prefix)


class Raw:
    """Reads and spoils what a driver stored."""

    def __init__(self, client: Any, prefix: str) -> None:
        self.client = client
        self._prefix = prefix

    def name(self, key: str) -> str:
        return self._prefix + key

    def clear(self) -> None:
        """Take away what the driver stored."""
        for name in self.client.scan_iter(f"{self._prefix}*"):
            self.client.delete(name)

    def stored(self, key: str) -> bytes | None:
        """Return the bytes under *key*; None where nothing is, or no string."""
        try:
            found: bytes | None = self.client.get(self.name(key))
        except redis.ResponseError:
            return None
        return found

    def put(self, key: str, raw: bytes) -> None:
        """Lay *raw* under *key*; the server keeps it as long as what was there."""
        self.client.set(self.name(key), raw, keepttl=True)

    def life(self, key: str) -> int:
        """Return the milliseconds for which the server keeps *key*."""
        milliseconds: int = self.client.pttl(self.name(key))
        # Even what never ends is kept for a number of them.
        assert milliseconds >= 0
        return milliseconds
