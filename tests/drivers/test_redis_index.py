"""The index of a user's sessions in Redis: when it is written, when it goes, and what it survives."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from servers import RedisServer

from django_multisession.core.records import NEVER, RECORD_OVERHEAD, SAVED, SLACK_MS
from django_multisession.drivers.redis.driver import RedisDriver
from django_multisession.drivers.redis.index import UNCHANGED, latest_end, place_of, saved
from django_multisession.testing.driver.fixtures import (
    DAY,
    IDLE_MS,
    NOW,
    SECOND,
    left_by,
    make_end,
    make_key,
    make_record,
)
from django_multisession.testing.rows import for_each
from django_multisession.testing.stored_records import next_write
from tests.drivers.redis_fixtures import Connect, Verb, call, connect, run

__all__ = ["call", "connect", "run"]

OTHER_TYPES = ["string", "hash", "list"]


@pytest.fixture
def driver(connect: Connect, redis_server: RedisServer) -> RedisDriver:
    return connect(redis_server)


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[Any]:
    with redis.Redis.from_url(redis_server.url) as opened:
        yield opened


@pytest.fixture
def place(driver: RedisDriver) -> str:
    return place_of(driver._commands.prefix, b"7")


def leave(client: Any, place: str, kind: str) -> None:
    """Put what another program may have left under *place*."""
    match kind:
        case "string":
            client.set(place, "x")
        case "hash":
            client.hset(place, "x", "y")
        case "list":
            client.rpush(place, "x")


def test_an_entry_ends_with_its_session_and_an_eighth_of_its_idle_timeout_at_the_latest() -> None:
    for seconds in range(0, 600, 7):
        record = make_record(touched_ms=NOW + seconds * SECOND)
        assert record.ends_ms < latest_end(record) <= record.ends_ms + IDLE_MS // 8


def test_few_saves_change_the_index() -> None:
    record, changes = make_record(), 0
    for seconds in range(600):
        after = next_write(record, touched_ms=NOW + seconds * SECOND)
        changes += saved("", "key", record, after, NOW) != UNCHANGED
        record = after
    assert changes == 8


def test_an_index_expires_with_its_last_session(
    call: Verb, driver: RedisDriver, client: Any, place: str
) -> None:
    long = make_record(idle_ms=DAY)
    for record in (make_record(), long, make_record()):
        call(driver.add, make_key(), record)
    longest = latest_end(long) - NOW + SLACK_MS
    assert longest - 60 * SECOND < client.pttl(place) <= longest


def test_the_index_of_an_endless_session_stays(
    call: Verb, driver: RedisDriver, client: Any, place: str
) -> None:
    call(driver.add, make_key(), make_record(idle_ms=NEVER, deadline_ms=NEVER))
    assert client.pttl(place) > NEVER - DAY


def test_the_end_of_the_only_session_removes_the_index(
    call: Verb, driver: RedisDriver, client: Any, place: str
) -> None:
    call(driver.add, "key", make_record())
    assert client.exists(place)
    call(driver.delete, "key", make_end())
    assert not client.exists(place)


def test_a_write_removes_the_entries_of_ended_sessions(
    call: Verb, driver: RedisDriver, client: Any, place: str
) -> None:
    for _ in range(20):
        call(driver.add, make_key(), make_record())
    later = NOW + 2 * DAY
    call(driver.add, "last", make_record(touched_ms=later))
    assert client.zrange(place, 0, -1) == [b"last"]


def test_a_clock_that_is_ahead_removes_no_entry_of_a_live_session(
    call: Verb, driver: RedisDriver, client: Any, place: str
) -> None:
    now = int(time.time() * 1000)
    call(driver.add, "live", make_record(touched_ms=now, deadline_ms=NEVER))
    call(driver.add, "ahead", make_record(touched_ms=now + DAY, deadline_ms=NEVER))
    assert client.zrange(place, 0, -1) == [b"live", b"ahead"]


def test_a_touch_enters_a_session_that_the_index_lost(
    call: Verb, driver: RedisDriver, client: Any, place: str
) -> None:
    record = make_record()
    call(driver.add, "key", record)
    client.delete(place)
    later = NOW + 60 * SECOND
    assert call(driver.touch, "key", record, later, later) == SAVED
    assert [key for key, _record in call(driver.of_user, "7", later).records] == ["key"]


def test_a_listing_removes_what_is_gone(
    call: Verb, driver: RedisDriver, client: Any, place: str
) -> None:
    call(driver.add, "key", make_record())
    call(driver.add, "ended", make_record(user_id=None))
    call(driver.delete, "ended", make_end())
    client.zadd(place, {"absent": NEVER, "ended": NEVER, b"\xff\x00": NEVER})
    assert [key for key, _record in call(driver.of_user, "7", NOW).records] == ["key"]
    assert client.zscore(place, "absent") is client.zscore(place, "ended") is None


def test_a_session_of_another_user_in_the_index_is_not_found(
    call: Verb, driver: RedisDriver, client: Any, place: str
) -> None:
    call(driver.add, "theirs", make_record(user_id="8"))
    call(driver.add, "anonymous", make_record(user_id=None))
    client.zadd(place, {"theirs": NEVER, "anonymous": NEVER})
    assert call(driver.of_user, "7", NOW).records == []
    assert [key for key, _record in call(driver.of_user, "8", NOW).records] == ["theirs"]


def test_what_no_session_is_hides_no_session(
    call: Verb, driver: RedisDriver, client: Any, place: str
) -> None:
    call(driver.add, "key", make_record())
    client.set(f"{driver._commands.prefix}garbage", "no record")
    client.set(f"{driver._commands.prefix}newer", b"\xd5\x63\x01 of a newer release")
    client.hset(f"{driver._commands.prefix}hash", "x", "y")
    client.zadd(place, {"garbage": NEVER, "newer": NEVER, "hash": NEVER, "": NEVER, "user:": NEVER})
    assert [key for key, _record in call(driver.of_user, "7", NOW).records] == ["key"]


@for_each("kind", OTHER_TYPES)
def test_no_write_fails_at_what_lies_in_the_place_of_an_index(
    call: Verb, driver: RedisDriver, client: Any, place: str, kind: str
) -> None:
    client.delete(place)
    leave(client, place, kind)
    before = client.dump(place)
    key, new, record, later = make_key(), make_key(), make_record(), NOW + SECOND
    assert call(driver.add, key, record)
    assert call(driver.touch, key, record, later, later) == SAVED
    moved = next_write(record, touched_ms=later)
    assert call(driver.move, key, new, moved, record, left_by(moved, new), later) == SAVED
    assert call(driver.of_user, "7", NOW).records == []
    assert call(driver.delete, new, make_end()) is True
    assert client.dump(place) == before


@for_each("size", [0, 5, 4096])
def test_a_record_with_a_damaged_user_can_be_ended(
    call: Verb, driver: RedisDriver, client: Any, size: int
) -> None:
    key = make_key()
    name = f"{driver._commands.prefix}{key}"
    call(driver.add, key, make_record())
    client.setrange(name, RECORD_OVERHEAD - 4, b"\x7f" * 4)
    client.set(name, client.get(name)[: RECORD_OVERHEAD - 2 + size])
    assert call(driver.delete, key, make_end()) is True
