"""How the Redis driver stores; how it connects is in `test_redis_connections`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from servers import RedisServer

from django_multisession.core.records import LONGEST_AGE, SAVED, Outcome, Tombstone, new_revision
from django_multisession.drivers.redis import RedisDriver
from django_multisession.testing.driver_fixtures import (
    NOW,
    left_by,
    make_end,
    make_record,
    next_write,
)
from tests.drivers.redis_fixtures import (
    VERBS,
    Connect,
    Raw,
    Verb,
    call,
    connect,
    driver,
    perform,
    raw,
)
from tests.drivers.redis_proxy import RedisProxy

__all__ = ["call", "connect", "driver", "raw"]


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[RedisProxy]:
    with RedisProxy(redis_server.port) as proxy:
        yield proxy


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_is_one_command(
    call: Verb, connect: Connect, proxy: RedisProxy, name: str
) -> None:
    driver, record = connect(proxy), make_record()
    # The server learns the script.
    perform(call, connect(proxy), name, record)
    call(driver.add, "key", record)
    proxy.forget()
    perform(call, driver, name, record)
    if name == "claim":
        # It ends the session that it claims first.
        assert proxy.commands.pop(0) == "EVALSHA"
    assert proxy.commands == ["HGETALL" if name == "get" else "EVALSHA"]


def test_a_forgotten_script_is_told_once(
    call: Verb, connect: Connect, proxy: RedisProxy, redis_server: RedisServer
) -> None:
    driver, record = connect(proxy), make_record()
    call(driver.get, "key")
    driver._client.execute_command("SCRIPT FLUSH")
    proxy.forget()
    assert call(driver.add, "key", record)
    assert call(driver.add, "other", record)
    assert proxy.commands == ["EVALSHA", "EVAL", "EVALSHA"]


def test_a_save_is_answered_without_the_payload(
    call: Verb, connect: Connect, proxy: RedisProxy
) -> None:
    driver, record = connect(proxy), make_record(payload=b"x" * 100_000)
    call(driver.add, "key", record)
    first, second = (next_write(record, payload=b"y" * 100_000) for _ in range(2))
    proxy.forget()
    assert call(driver.replace, "key", first, record, NOW) == SAVED
    assert call(driver.move, "key", "moved", second, first, left_by(second, "moved"), NOW) == SAVED
    later = NOW + timedelta(seconds=1)
    assert call(driver.touch, "moved", second, later, NOW) == SAVED
    assert call(driver.delete, "moved", make_end()) is True
    assert proxy.bytes_answered < 1000


def test_an_add_whose_answer_is_lost_is_stored_once_and_reported_as_stored(
    call: Verb, connect: Connect, proxy: RedisProxy
) -> None:
    driver, record = connect(proxy), make_record()
    call(driver.get, "key")
    proxy.answers_to_lose = 1
    assert call(driver.add, "key", record)
    assert proxy.answers_to_lose == 0
    assert call(driver.get, "key") == record


def test_a_replace_whose_answer_is_lost_is_saved_without_a_conflict(
    call: Verb, connect: Connect, proxy: RedisProxy
) -> None:
    driver, record = connect(proxy), make_record()
    call(driver.add, "key", record)
    new = next_write(record)
    proxy.answers_to_lose = 1
    assert call(driver.replace, "key", new, record, NOW) == SAVED
    assert proxy.answers_to_lose == 0
    assert call(driver.get, "key") == new


def test_a_move_whose_answer_is_lost_is_saved(
    call: Verb, connect: Connect, proxy: RedisProxy
) -> None:
    driver, record = connect(proxy), make_record()
    call(driver.add, "old", record)
    new = next_write(record)
    proxy.answers_to_lose = 1
    assert call(driver.move, "old", "new", new, record, left_by(new, "new"), NOW) == SAVED
    assert proxy.answers_to_lose == 0
    assert call(driver.get, "old") == left_by(new, "new")
    assert call(driver.get, "new") == new


def test_two_prefixes_share_a_server_without_meeting(
    call: Verb, driver: RedisDriver, redis_server: RedisServer, connect: Connect
) -> None:
    call(driver.add, "key", make_record())
    assert call(connect(redis_server).get, "key") is None


def test_every_key_has_the_prefix(
    call: Verb, driver: RedisDriver, raw: Raw, redis_server: RedisServer
) -> None:
    record = make_record()
    moved = next_write(record)
    call(driver.add, "old", record)
    call(driver.move, "old", "new", moved, record, left_by(moved, "new"), NOW)
    names = {name.decode() for name in raw.client.keys(f"{driver._prefix}*")}
    assert names == {raw.name("old"), raw.name("new")}


def test_a_record_of_none_and_extremes_comes_back_as_it_was(
    call: Verb, driver: RedisDriver
) -> None:
    edge = NOW.replace(year=9999, month=12, day=31, hour=23, minute=59, second=59)
    record = make_record(
        payload=bytes(range(256)),
        created_at=datetime.min.replace(tzinfo=UTC),
        hard_deadline_at=edge.replace(microsecond=999_000),
        idle_age=LONGEST_AGE,
        user_id="\ud800 \U0001f511",
    )
    bare = make_record(payload=b"", idle_age=None, hard_deadline_at=None, user_id=None)
    call(driver.add, "extreme", record)
    call(driver.add, "bare", bare)
    assert call(driver.get, "extreme") == record
    assert call(driver.get, "bare") == bare
    assert call(driver.touch, "extreme", record, NOW + timedelta(seconds=1), NOW) == SAVED
    full = make_record(revisions=new_revision(bare.revisions))
    assert call(driver.replace, "bare", full, bare, NOW) == SAVED


def test_a_replace_leaves_no_field_of_the_record_before(call: Verb, driver: RedisDriver) -> None:
    record = make_record()
    bare = next_write(record, idle_age=None, hard_deadline_at=None, user_id=None)
    call(driver.add, "key", record)
    call(driver.replace, "key", bare, record, NOW)
    assert call(driver.get, "key") == bare


def test_the_server_keeps_a_record_for_its_own_life_though_its_clock_is_years_ahead(
    call: Verb, driver: RedisDriver, raw: Raw
) -> None:
    record = make_record(idle_age=600)
    call(driver.add, "key", record)
    assert 600 < (raw.life("key") or 0) <= 660
    later = NOW + timedelta(seconds=500)
    call(driver.touch, "key", record, later, later)
    assert 600 < (raw.life("key") or 0) <= 660
    shorter = next_write(record, touched_at=later, idle_age=60)
    call(driver.replace, "key", shorter, record, later)
    assert 60 < (raw.life("key") or 0) <= 120
    longer = next_write(shorter, touched_at=later, idle_age=6000)
    call(driver.move, "key", "new", longer, shorter, left_by(longer, "new"), later)
    assert 6000 < (raw.life("new") or 0) <= 6060


def test_the_server_keeps_a_touched_record_no_longer_than_its_hard_deadline(
    call: Verb, driver: RedisDriver, raw: Raw
) -> None:
    record = make_record(idle_age=600, hard_deadline_at=NOW + timedelta(seconds=700))
    call(driver.add, "key", record)
    later = NOW + timedelta(seconds=400)
    assert call(driver.touch, "key", record, later, later) == SAVED
    assert 300 < (raw.life("key") or 0) <= 360


@pytest.mark.parametrize("idle_age", [None, LONGEST_AGE])
def test_a_record_that_never_ends_is_kept_for_ever(
    call: Verb, driver: RedisDriver, raw: Raw, idle_age: int | None
) -> None:
    endless = {"idle_age": idle_age, "hard_deadline_at": None}
    added = make_record(**endless)
    call(driver.add, "added", added)
    assert raw.life("added") is None
    record = make_record()
    call(driver.add, "replaced", record)
    call(driver.replace, "replaced", next_write(record, **endless), record, NOW)
    assert raw.life("replaced") is None
    raw.client.expire(raw.name("added"), 100)
    call(driver.touch, "added", added, NOW + timedelta(seconds=1), NOW)
    assert raw.life("added") is None


def test_a_tombstone_is_kept_for_a_minute_and_not_renewed(
    call: Verb, driver: RedisDriver, raw: Raw
) -> None:
    record, end, claiming = make_record(), make_end(), make_record()
    moved = next_write(record)
    call(driver.add, "moved", record)
    call(driver.move, "moved", "new", moved, record, left_by(moved, "new"), NOW)
    call(driver.add, "deleted", record)
    call(driver.delete, "deleted", end)
    call(driver.add, "claimed", record)
    call(driver.delete, "claimed", end)
    raw.client.expire(raw.name("claimed"), 5)
    left = left_by(claiming, "other")
    assert call(driver.move, "claimed", "other", claiming, end, left, NOW) == SAVED
    for key in ("moved", "deleted", "claimed"):
        assert 50 < (raw.life(key) or 0) <= 60
        assert list(raw.fields(key)) == [b"tombstone", b"reason", b"successor"]
        raw.client.expire(raw.name(key), 30)
        assert isinstance(call(driver.delete, key, make_end()), Tombstone)
        assert 0 < (raw.life(key) or 0) <= 30


def test_a_delete_whose_answer_is_lost_is_reported_as_done(
    call: Verb, connect: Connect, proxy: RedisProxy
) -> None:
    driver, end = connect(proxy), make_end()
    call(driver.add, "key", make_record())
    proxy.answers_to_lose = 1
    assert call(driver.delete, "key", end) is True
    assert proxy.answers_to_lose == 0
    assert call(driver.get, "key") == end


def test_a_claim_whose_answer_is_lost_is_saved(
    call: Verb, connect: Connect, proxy: RedisProxy
) -> None:
    driver, record, end = connect(proxy), make_record(), make_end()
    call(driver.add, "old", make_record())
    call(driver.delete, "old", end)
    proxy.answers_to_lose = 1
    left = left_by(record, "new")
    assert call(driver.move, "old", "new", record, end, left, NOW) == SAVED
    assert proxy.answers_to_lose == 0
    assert call(driver.get, "old") == left
    assert call(driver.get, "new") == record


def test_a_touch_changes_one_field(call: Verb, driver: RedisDriver, raw: Raw) -> None:
    record = make_record()
    call(driver.add, "key", record)
    before = raw.fields("key")
    call(driver.touch, "key", record, NOW + timedelta(milliseconds=1), NOW)
    after = raw.fields("key")
    assert {name for name in after if after[name] != before[name]} == {b"touched_at"}
    assert before.keys() == after.keys()


def test_a_conflict_brings_what_is_stored(call: Verb, driver: RedisDriver) -> None:
    record = make_record()
    call(driver.add, "key", record)
    answer = call(driver.replace, "key", next_write(record), make_record(), NOW)
    assert (answer.outcome, answer.stored) == (Outcome.CONFLICT, record)


def test_nothing_is_purged_because_redis_expires_by_itself(call: Verb, driver: RedisDriver) -> None:
    assert driver.has_native_expiry
    assert call(driver.purge_expired, NOW, 100) == 0
