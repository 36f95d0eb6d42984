"""How the Redis driver stores; how it connects is in `test_redis_connections`."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from servers import RedisServer

from django_multisession.core.records import (
    BEGINNING_MS,
    END_MS,
    LONGEST_AGE,
    NEVER,
    SAVED,
    SLACK_MS,
    TOMBSTONE_MS,
    Outcome,
    Tombstone,
)
from django_multisession.drivers.base import Purging
from django_multisession.drivers.redis.driver import RedisDriver
from django_multisession.drivers.redis.index import place_of
from django_multisession.testing.driver.fixtures import (
    HOUR,
    MINUTE,
    NOW,
    SECOND,
    left_by,
    make_end,
    make_record,
)
from django_multisession.testing.rows import for_each
from django_multisession.testing.stored_records import next_write
from tests.drivers.redis_fixtures import (
    COMMANDS,
    VERBS,
    Connect,
    Raw,
    Verb,
    call,
    configure,
    connect,
    driver,
    perform,
    raw,
    run,
)
from tests.drivers.redis_proxy import RedisProxy

__all__ = ["call", "connect", "driver", "raw", "run"]


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[RedisProxy]:
    with RedisProxy(redis_server.port) as proxy:
        yield proxy


@for_each("name", VERBS)
def test_every_verb_is_one_command(
    call: Verb, connect: Connect, proxy: RedisProxy, name: str
) -> None:
    driver, record = connect(proxy), make_record()
    # The server learns the script.
    perform(call, connect(proxy), name, record)
    call(driver.add, "key", record)
    proxy.forget()
    perform(call, driver, name, record)
    assert proxy.commands == COMMANDS[name]


def test_an_add_is_one_conditional_set_of_the_record_and_its_life(
    call: Verb, connect: Connect, proxy: RedisProxy
) -> None:
    driver, record = connect(proxy), make_record(user=None)
    assert call(driver.add, "key", record)
    name = f"{driver._commands.prefix}key".encode()
    life = b"%d" % (record.ends_ms - NOW + SLACK_MS)
    assert proxy.words == [b"SET", name, record.raw, b"NX", b"PX", life]


def test_a_script_is_sent_by_its_digest(call: Verb, connect: Connect, proxy: RedisProxy) -> None:
    driver, record = connect(proxy), make_record()
    call(driver.add, "key", record)
    perform(call, driver, "touch", record)
    perform(call, driver, "touch", record)
    # A digest, its keys and what it compares: neither the script nor the payload.
    assert len(b"".join(proxy.words)) < 450


def test_a_forgotten_script_is_told_once(
    call: Verb, connect: Connect, proxy: RedisProxy, redis_server: RedisServer
) -> None:
    driver, record = connect(proxy), make_record()
    call(driver.add, "key", record)
    configure(redis_server, "SCRIPT", "FLUSH")
    proxy.forget()
    assert call(driver.touch, "key", record, NOW + SECOND, NOW) == SAVED
    assert call(driver.touch, "key", record, NOW + 2 * SECOND, NOW) == SAVED
    assert proxy.commands == ["EVALSHA", "EVAL", "EVALSHA"]


@for_each("name", VERBS)
def test_a_verb_whose_script_was_forgotten_answers_as_ever(
    call: Verb, driver: RedisDriver, redis_server: RedisServer, name: str
) -> None:
    answers = []
    for is_forgotten in (False, True):
        record = make_record()
        for key in ("key", "other", "moved"):
            configure(redis_server, "DEL", f"{driver._commands.prefix}{key}")
        call(driver.add, "key", record)
        if is_forgotten:
            configure(redis_server, "SCRIPT", "FLUSH")
        answer = perform(call, driver, name, record)
        # The records of the two rounds differ.
        answers.append(getattr(answer, "outcome", None) or type(answer))
    assert answers[0] == answers[1]


def test_a_save_is_answered_without_the_payload(
    call: Verb, connect: Connect, proxy: RedisProxy
) -> None:
    driver, record = connect(proxy), make_record(payload=b"x" * 100_000)
    call(driver.add, "key", record)
    first, second = (next_write(record, payload=b"y" * 100_000) for _ in range(2))
    proxy.forget()
    assert call(driver.replace, "key", first, record, NOW) == SAVED
    assert call(driver.move, "key", "moved", second, first, left_by(second, "moved"), NOW) == SAVED
    assert call(driver.touch, "moved", second, NOW + SECOND, NOW) == SAVED
    assert call(driver.retire, "moved", second, make_end(), NOW, NEVER) == SAVED
    assert isinstance(call(driver.delete, "moved", make_end()), Tombstone)
    assert call(driver.add, "deleted", record)
    assert call(driver.delete, "deleted", make_end()) is True
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


def test_a_prefix_that_is_a_pattern_lists_its_own_records(
    call: Verb, redis_server: RedisServer, connect: Connect
) -> None:
    mine = uuid.uuid4().hex
    record, found, cursor = make_record(), [], "0"
    strange, plain = (
        connect(redis_server, KEY_PREFIX=mine + end) for end in ("[a-b]*?^\\", "axx^\\")
    )
    call(strange.add, "mine", record)
    call(plain.add, "theirs", record)
    while cursor:
        records, cursor = call(strange.records, cursor, 1000)
        found += records
    assert found == [("mine", record)]


def test_every_key_has_the_prefix(
    call: Verb, driver: RedisDriver, raw: Raw, redis_server: RedisServer
) -> None:
    record = make_record()
    moved = next_write(record)
    call(driver.add, "old", record)
    call(driver.move, "old", "new", moved, record, left_by(moved, "new"), NOW)
    names = {name.decode() for name in raw.client.keys(f"{driver._commands.prefix}*")}
    index = place_of(driver._commands.prefix, b"7")
    assert names == {raw.name("old"), raw.name("new"), index}
    assert "7" not in index.removeprefix(driver._commands.prefix).split(":")


def test_a_record_of_none_and_extremes_comes_back_as_it_was(
    call: Verb, driver: RedisDriver
) -> None:
    record = make_record(
        payload=bytes(range(256)),
        created_ms=BEGINNING_MS,
        deadline_ms=END_MS,
        idle_age=LONGEST_AGE,
        user_id="\ud800 \U0001f511",
    )
    bare = make_record(payload=b"", idle_age=None, absolute_deadline_at=None, user_id=None)
    call(driver.add, "extreme", record)
    call(driver.add, "bare", bare)
    assert call(driver.get, "extreme") == record
    assert call(driver.get, "bare") == bare
    assert call(driver.touch, "extreme", record, NOW + SECOND, NOW) == SAVED
    assert call(driver.touch, "bare", bare, NOW + SECOND, NOW) == SAVED
    full = bare
    for _ in range(4):
        full = next_write(full)
    assert (
        call(driver.replace, "bare", next_write(bare, touched_ms=NOW + SECOND), bare, NOW) == SAVED
    )
    call(driver.add, "full", full)
    assert call(driver.get, "full") == full


def test_what_is_stored_is_the_bytes_of_the_record(
    call: Verb, driver: RedisDriver, raw: Raw
) -> None:
    record = make_record()
    call(driver.add, "key", record)
    assert raw.stored("key") == record.raw
    new = next_write(record)
    call(driver.replace, "key", new, record, NOW)
    assert raw.stored("key") == new.raw
    moved = next_write(new)
    left = left_by(moved, "moved")
    call(driver.move, "key", "moved", moved, new, left, NOW)
    assert (raw.stored("key"), raw.stored("moved")) == (left.raw, moved.raw)


def test_a_replace_leaves_nothing_of_the_record_before(
    call: Verb, driver: RedisDriver, raw: Raw
) -> None:
    record = make_record(payload=b"x" * 1000)
    bare = next_write(record, payload=b"", idle_age=None, absolute_deadline_at=None, user_id=None)
    call(driver.add, "key", record)
    call(driver.replace, "key", bare, record, NOW)
    assert call(driver.get, "key") == bare
    assert raw.stored("key") == bare.raw


def is_kept_for(raw: Raw, key: str, milliseconds: int) -> bool:
    """Does the server keep *key* for so long, but for the seconds that a test may have taken?"""
    return milliseconds - 50 * SECOND < raw.life(key) <= milliseconds


def test_the_server_keeps_a_record_for_its_own_life_though_its_clock_is_years_ahead(
    call: Verb, driver: RedisDriver, raw: Raw
) -> None:
    record = make_record(idle_age=600)
    call(driver.add, "key", record)
    assert is_kept_for(raw, "key", 600 * SECOND + SLACK_MS)
    later = NOW + 500 * SECOND
    call(driver.touch, "key", record, later, later)
    assert is_kept_for(raw, "key", 600 * SECOND + SLACK_MS)
    shorter = next_write(record, touched_ms=later, idle_age=60)
    call(driver.replace, "key", shorter, record, later)
    assert is_kept_for(raw, "key", 60 * SECOND + SLACK_MS)
    longer = next_write(shorter, touched_ms=later, idle_age=6000)
    call(driver.move, "key", "new", longer, shorter, left_by(longer, "new"), later)
    assert is_kept_for(raw, "new", 6000 * SECOND + SLACK_MS)


def test_the_server_keeps_a_touched_record_no_longer_than_its_absolute_deadline(
    call: Verb, driver: RedisDriver, raw: Raw
) -> None:
    record = make_record(idle_age=600, deadline_ms=NOW + 700 * SECOND)
    call(driver.add, "key", record)
    later = NOW + 400 * SECOND
    assert call(driver.touch, "key", record, later, later) == SAVED
    assert is_kept_for(raw, "key", 300 * SECOND + SLACK_MS)


def test_a_refused_write_does_not_change_how_long_the_server_keeps_the_record(
    call: Verb, driver: RedisDriver, raw: Raw
) -> None:
    record = make_record(idle_age=600)
    call(driver.add, "key", record)
    raw.client.pexpire(raw.name("key"), HOUR)
    for name in VERBS:
        if name.startswith(("refused", "conflicting")):
            perform(call, driver, name, record)
    assert call(driver.touch, "key", record, NOW - SECOND, NOW) == SAVED
    assert is_kept_for(raw, "key", HOUR)


def test_a_record_that_ended_is_kept_for_a_minute(
    call: Verb, driver: RedisDriver, raw: Raw
) -> None:
    record = make_record(deadline_ms=NOW - HOUR)
    call(driver.add, "key", record)
    assert is_kept_for(raw, "key", SLACK_MS)
    assert call(driver.get, "key") == record


@pytest.mark.parametrize("idle_age", [None, LONGEST_AGE])
def test_a_record_that_never_ends_is_kept_for_ever(
    call: Verb, driver: RedisDriver, raw: Raw, idle_age: int | None
) -> None:
    endless: dict[str, Any] = {"idle_age": idle_age, "absolute_deadline_at": None}
    added = make_record(**endless)
    call(driver.add, "added", added)
    assert is_kept_for(raw, "added", NEVER)
    record = make_record()
    call(driver.add, "replaced", record)
    call(driver.replace, "replaced", next_write(record, **endless), record, NOW)
    assert is_kept_for(raw, "replaced", NEVER)
    call(driver.add, "old", record)
    moved = next_write(record, **endless)
    call(driver.move, "old", "moved", moved, record, left_by(moved, "moved"), NOW)
    assert is_kept_for(raw, "moved", NEVER)
    raw.client.expire(raw.name("added"), 100)
    call(driver.touch, "added", added, NOW + SECOND, NOW)
    assert is_kept_for(raw, "added", NEVER)


def test_a_record_that_ends_again_is_kept_no_longer(
    call: Verb, driver: RedisDriver, raw: Raw
) -> None:
    endless = make_record(idle_age=None, absolute_deadline_at=None)
    call(driver.add, "key", endless)
    call(driver.replace, "key", next_write(endless, idle_age=600), endless, NOW)
    assert is_kept_for(raw, "key", 600 * SECOND + SLACK_MS)


def test_a_tombstone_is_kept_for_a_minute_and_not_renewed(
    call: Verb, driver: RedisDriver, raw: Raw
) -> None:
    record, end, claiming = make_record(), make_end(), make_record()
    moved = next_write(record)
    call(driver.add, "moved", record)
    call(driver.move, "moved", "new", moved, record, left_by(moved, "new"), NOW)
    call(driver.add, "deleted", record)
    call(driver.delete, "deleted", end)
    call(driver.add, "retired", record)
    call(driver.retire, "retired", record, end, NOW, NEVER)
    call(driver.add, "claimed", record)
    call(driver.delete, "claimed", end)
    raw.client.expire(raw.name("claimed"), 5)
    left = left_by(claiming, "other")
    assert call(driver.move, "claimed", "other", claiming, end, left, NOW) == SAVED
    kept = {"moved": left_by(moved, "new"), "deleted": end, "retired": end, "claimed": left}
    for key, tombstone in kept.items():
        assert TOMBSTONE_MS - 10 * SECOND < raw.life(key) <= TOMBSTONE_MS
        assert raw.stored(key) == tombstone.raw
        raw.client.expire(raw.name(key), 30)
        assert call(driver.delete, key, make_end()) == tombstone
        assert 0 < raw.life(key) <= MINUTE // 2


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


def test_a_retire_whose_answer_is_lost_is_saved(
    call: Verb, connect: Connect, proxy: RedisProxy
) -> None:
    driver, record, end = connect(proxy), make_record(), make_end()
    call(driver.add, "key", record)
    proxy.answers_to_lose = 1
    assert call(driver.retire, "key", record, end, NOW, NEVER) == SAVED
    assert proxy.answers_to_lose == 0
    assert call(driver.get, "key") == end


def test_a_touch_whose_answer_is_lost_is_saved(
    call: Verb, connect: Connect, proxy: RedisProxy
) -> None:
    driver, record = connect(proxy), make_record()
    call(driver.add, "key", record)
    proxy.answers_to_lose = 1
    assert call(driver.touch, "key", record, NOW + SECOND, NOW) == SAVED
    assert proxy.answers_to_lose == 0
    assert call(driver.get, "key").touched_ms == NOW + SECOND


def test_a_withdraw_whose_answer_is_lost_leaves_what_was_added_since(
    call: Verb, connect: Connect, proxy: RedisProxy
) -> None:
    driver, record = connect(proxy), make_record()
    call(driver.add, "key", record)
    proxy.answers_to_lose = 1
    call(driver.withdraw, "key", record)
    assert proxy.answers_to_lose == 0
    assert call(driver.get, "key") is None
    assert call(driver.add, "key", other := make_record())
    call(driver.withdraw, "key", record)
    assert call(driver.get, "key") == other


def test_a_touch_changes_the_end_and_the_last_use_and_nothing_else(
    call: Verb, driver: RedisDriver, raw: Raw
) -> None:
    record = make_record()
    call(driver.add, "key", record)
    call(driver.touch, "key", record, NOW + 1, NOW)
    after = raw.stored("key") or b""
    assert len(after) == len(record.raw)
    assert {at for at in range(len(after)) if after[at] != record.raw[at]} <= set(range(3, 19))
    found = call(driver.get, "key")
    assert (found.ends_ms, found.touched_ms) == (record.ends_ms + 1, NOW + 1)


def test_a_conflict_brings_what_is_stored(call: Verb, driver: RedisDriver) -> None:
    record = make_record()
    call(driver.add, "key", record)
    answer = call(driver.replace, "key", next_write(record), make_record(), NOW)
    assert (answer.outcome, answer.stored) == (Outcome.CONFLICT, record)


def test_nothing_is_purged_because_redis_expires_by_itself(driver: RedisDriver) -> None:
    assert not isinstance(driver, Purging)
