"""The tiered driver over two drivers in memory: what it asks, of which of the two, and when."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from django_multisession.core.records import SAVED, Outcome, Record
from django_multisession.core.secret import SecretBytes
from django_multisession.drivers.base import Purging, Result, Steps
from django_multisession.drivers.memory import MemoryDriver
from django_multisession.drivers.quiet import PATIENCE_MS
from django_multisession.drivers.redis.driver import RedisDriver
from django_multisession.drivers.tiered import front
from django_multisession.drivers.tiered.copies import COPY_MS, LEASE_MS, make_copy
from django_multisession.drivers.tiered.driver import TieredDriver
from django_multisession.exceptions import OutageKind, StoreUnavailable
from django_multisession.testing.driver.fixtures import (
    EXPIRED,
    IDLE_MS,
    NOW,
    SECOND,
    left_by,
    make_end,
    make_key,
    make_record,
    with_bytes,
)
from django_multisession.testing.stored_records import changed, next_write


class Tiers:
    """A tiered driver whose clock a test drives, and what it asks.

    Attributes:
        now: The time.
        asked: How often the front was asked, and the back.
        failure: What the front does instead.
    """

    def __init__(self) -> None:
        self.now = NOW
        self.failure: StoreUnavailable | None = None
        self.asked = (0, 0)
        self.front, self.back = MemoryDriver(), MemoryDriver()
        self.driver = self.another()

    def another(self) -> TieredDriver:
        """Return the driver of another process."""
        return TieredDriver(self.front, self.back, lambda: self.now / 1000)

    def run(self, steps: Steps[Result]) -> Result:
        fronts = backs = 0
        try:
            ask = next(steps)
            while True:
                if ask.verb == "front":
                    fronts += 1
                    reply = self.failure or ask.server.send(ask.command)
                else:
                    backs += 1
                    reply = ask.server.send(ask.command)
                ask = steps.send(reply)
        except StopIteration as stop:
            self.asked = (fronts, backs)
            result: Result = stop.value
            return result

    def get(self, key: str) -> Any:
        return self.run(self.driver.get(key))

    def stored(self, **changes: Any) -> tuple[str, Record]:
        """Return a session of which there is a copy."""
        key, record = make_key(), make_record(**changes)
        self.run(self.driver.add(key, record))
        assert self.get(key) == record
        return key, record


@pytest.fixture
def tiers() -> Tiers:
    return Tiers()


# How often each is asked; docs/reference/engines.md has the table


def _read(tiers: Tiers, key: str, _record: Record) -> None:
    tiers.get(key)


def _read_later(tiers: Tiers, key: str, record: Record) -> None:
    tiers.now += COPY_MS
    assert tiers.get(key) == record


def _read_after_all_went(tiers: Tiers, key: str, _record: Record) -> None:
    tiers.front.server.slots.clear()
    tiers.get(key)


def _change(tiers: Tiers, key: str, record: Record) -> None:
    assert tiers.run(tiers.driver.replace(key, next_write(record), record, NOW)) == SAVED


def _change_what_was_confirmed(tiers: Tiers, key: str, record: Record) -> None:
    _read_later(tiers, key, record)
    _change(tiers, key, record)


def _touch(tiers: Tiers, key: str, record: Record) -> None:
    assert tiers.run(tiers.driver.touch(key, record, NOW + SECOND, NOW)) == SAVED


def _log_in(tiers: Tiers, key: str, record: Record) -> None:
    new, moved = make_key(), next_write(record)
    left = left_by(moved, new)
    assert tiers.run(tiers.driver.move(key, new, moved, record, left, NOW)) == SAVED


def _log_out(tiers: Tiers, key: str, _record: Record) -> None:
    assert tiers.run(tiers.driver.delete(key, make_end())) is True


def _begin(tiers: Tiers, _key: str, _record: Record) -> None:
    assert tiers.run(tiers.driver.add(make_key(), make_record()))


@pytest.mark.parametrize(
    ("do", "asked"),
    [
        (_read, (1, 0)),
        (_read_later, (2, 1)),
        (_read_after_all_went, (3, 1)),
        (_change, (1, 1)),
        (_change_what_was_confirmed, (2, 1)),
        (_touch, (1, 1)),
        (_log_in, (2, 1)),
        (_log_out, (2, 1)),
        (_begin, (0, 1)),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_each_of_the_two_is_asked_as_often_as_documented(
    tiers: Tiers, do: Callable[[Tiers, str, Record], None], asked: tuple[int, int]
) -> None:
    do(tiers, *tiers.stored())
    assert tiers.asked == asked


# Copies


def test_after_each_write_the_next_read_asks_the_front_alone(tiers: Tiers) -> None:
    key, record = tiers.stored()
    later = next_write(record, payload=b"later")
    tiers.run(tiers.driver.replace(key, later, record, NOW))
    assert tiers.get(key) == later
    assert tiers.asked == (1, 0)
    tiers.run(tiers.driver.touch(key, later, NOW + SECOND, NOW))
    assert tiers.get(key) == changed(later, touched_ms=NOW + SECOND)
    assert tiers.asked == (1, 0)
    last = next_write(later, touched_ms=NOW + SECOND)
    tiers.run(tiers.driver.replace(key, last, later, NOW))
    assert tiers.get(key) == last
    assert tiers.asked == (1, 0)


@pytest.mark.parametrize("ahead", [-1, -SECOND, COPY_MS, IDLE_MS - 1])
def test_a_copy_is_good_for_half_a_minute_and_by_no_clock_that_was_set_back(
    tiers: Tiers, ahead: int
) -> None:
    key, record = tiers.stored()
    tiers.now = NOW + COPY_MS - 1
    tiers.get(key)
    assert tiers.asked == (1, 0)
    tiers.now = NOW + ahead
    assert tiers.get(key) == record
    assert tiers.asked == (2, 1)


def test_a_save_makes_no_copy_older_than_its_command(tiers: Tiers) -> None:
    key, record = tiers.stored()
    steps = tiers.driver.replace(key, next_write(record), record, NOW)
    reply = (ask := next(steps)).server.send(ask.command)
    # The back took its time.
    tiers.now += COPY_MS
    ask = steps.send(reply)
    ask.server.send(ask.command)
    tiers.get(key)
    assert tiers.asked == (2, 1)


def test_of_a_copy_that_has_expired_the_back_knows_the_last_use(tiers: Tiers) -> None:
    key, record = tiers.stored(touched_ms=NOW - IDLE_MS + SECOND)
    # Another process can't reach the front.
    tiers.run(tiers.back.touch(key, record, NOW, NOW))
    tiers.now += 2 * SECOND
    assert tiers.get(key) == changed(record, touched_ms=NOW)


def test_what_has_expired_is_not_copied(tiers: Tiers) -> None:
    key, record = make_key(), make_record(**EXPIRED)
    tiers.run(tiers.driver.add(key, record))
    assert [tiers.get(key) for _ in range(2)] == [record] * 2
    assert tiers.asked == (1, 1)


def test_a_conflict_mends_a_copy_of_what_another_process_saved(tiers: Tiers) -> None:
    key, record = tiers.stored()
    theirs = next_write(record, payload=b"theirs")
    # It can't reach the front.
    tiers.run(tiers.back.replace(key, theirs, record, NOW))
    assert tiers.get(key) == record
    answer = tiers.run(tiers.driver.replace(key, next_write(record), record, NOW))
    assert (answer.outcome, answer.stored) == (Outcome.CONFLICT, theirs)
    assert tiers.get(key) == theirs


def test_a_save_that_finds_the_end_removes_the_copy(tiers: Tiers) -> None:
    key, record = tiers.stored()
    end = make_end()
    tiers.run(tiers.back.delete(key, end))
    answer = tiers.run(tiers.driver.replace(key, next_write(record), record, NOW))
    assert (answer.outcome, answer.stored) == (Outcome.MISSING, end)
    assert tiers.get(key) == end


def test_a_save_without_an_answer_removes_the_copy(tiers: Tiers) -> None:
    key, record = tiers.stored()
    mine = next_write(record)
    steps = tiers.driver.replace(key, mine, record, NOW)
    ask = next(steps)
    ask.server.send(ask.command)
    ask = steps.throw(StoreUnavailable("", OutageKind.TIMED_OUT))
    with pytest.raises(StoreUnavailable):
        steps.send(ask.server.send(ask.command))
    assert tiers.get(key) == mine


def test_a_miss_is_filled_by_the_holder_of_the_lease_until_that_is_old(tiers: Tiers) -> None:
    key, record = make_key(), make_record()
    tiers.run(tiers.driver.add(key, record))
    steps = tiers.driver.get(key)
    ask = next(steps)
    ask = steps.send(ask.server.send(ask.command))
    ask = steps.send(ask.server.send(ask.command))
    assert ask.verb == "get"
    tiers.now += LEASE_MS - 1
    assert tiers.run(tiers.another().get(key)) == record
    assert tiers.asked == (1, 1)
    tiers.now += 1
    assert tiers.run(tiers.another().get(key)) == record
    assert tiers.asked == (2, 1)
    tiers.get(key)
    assert tiers.asked == (1, 0)


def test_records_that_the_server_held_before_are_no_copies(tiers: Tiers) -> None:
    key, record = make_key(), make_record()
    tiers.run(tiers.front.add(key, record))
    assert tiers.get(key) is None
    assert tiers.run(tiers.front.get(key)) == record


def test_what_is_no_copy_is_no_session_and_no_error(tiers: Tiers) -> None:
    record = make_record()
    newer = with_bytes(record, record.raw[:1] + b"\x02" + record.raw[2:])
    for there in (record, newer, with_bytes(record, b"garbage"), make_copy(newer, NOW)):
        key = make_key()
        tiers.run(tiers.driver.add(key, record))
        tiers.run(tiers.front.add(f"copy:{key}", there))
        assert [tiers.get(key) for _ in range(2)] == [record] * 2


def test_a_session_of_a_newer_release_is_one_of_the_backs_outages(tiers: Tiers) -> None:
    key, record = tiers.stored()
    newer = changed(record, revision=b"newer...")
    raw = SecretBytes(newer.raw[:1] + b"\x02" + newer.raw[2:])
    tiers.back.server.slots[key] = tiers.back.server.slots[key]._replace(raw=raw)
    tiers.now += COPY_MS
    for _ in range(2):
        with pytest.raises(StoreUnavailable) as caught:
            tiers.get(key)
        assert caught.value.kind is OutageKind.UNKNOWN_FORMAT


# A front that fails


@pytest.mark.parametrize(
    "kind", [OutageKind.UNREACHABLE, OutageKind.TIMED_OUT, OutageKind.OVERLOADED]
)
def test_reads_leave_a_front_alone_that_did_not_answer(tiers: Tiers, kind: OutageKind) -> None:
    key, record = tiers.stored()
    tiers.failure = StoreUnavailable("gone", kind)
    assert tiers.get(key) == record
    assert tiers.asked == (1, 1)
    tiers.failure = None
    tiers.now += PATIENCE_MS - 1
    assert tiers.get(key) == record
    assert tiers.asked == (0, 1)
    tiers.now += 1
    assert tiers.get(key) == record
    assert tiers.asked == (1, 0)


def test_an_answer_to_a_save_brings_the_front_back(tiers: Tiers) -> None:
    key, record = tiers.stored()
    tiers.failure = StoreUnavailable("gone")
    tiers.get(key)
    tiers.failure = None
    tiers.run(tiers.driver.replace(key, next_write(record), record, NOW))
    tiers.get(key)
    assert tiers.asked == (1, 0)


def test_a_front_that_refuses_a_save_has_its_copy_removed(tiers: Tiers) -> None:
    key, record = tiers.stored()
    mine = next_write(record)
    steps = tiers.driver.replace(key, mine, record, NOW)
    ask = next(steps)
    steps.send(ask.server.send(ask.command))
    ask = steps.send(StoreUnavailable("full", OutageKind.REFUSED))
    with pytest.raises(StopIteration):
        steps.send(ask.server.send(ask.command))
    assert tiers.get(key) == mine
    # It answered: it isn't left alone.
    assert tiers.asked == (1, 1)


@pytest.mark.parametrize("do", [_change, _log_in, _log_out, _touch])
@pytest.mark.parametrize(("kind", "most"), [(OutageKind.TIMED_OUT, 1), (OutageKind.UNREACHABLE, 2)])
def test_a_write_waits_once_for_a_front_that_hangs(
    tiers: Tiers, do: Callable[[Tiers, str, Record], None], kind: OutageKind, most: int
) -> None:
    key, record = tiers.stored()
    tiers.failure = StoreUnavailable("gone", kind)
    do(tiers, key, record)
    assert tiers.asked == (most, 1)


def test_a_front_that_fails_is_logged_once_a_minute(
    tiers: Tiers, caplog: pytest.LogCaptureFixture
) -> None:
    key, _ = tiers.stored()
    tiers.failure = StoreUnavailable("Redis did not answer.")
    with caplog.at_level(logging.WARNING, front.__name__):
        for _ in range(4):
            tiers.get(key)
            tiers.now += 20 * SECOND
        tiers.failure = None
        for _ in range(2):
            tiers.get(key)
    assert [record.getMessage() for record in caplog.records] == [
        *["The front of the sessions failed, and the back goes on: Redis did not answer."] * 2,
        "The front of the sessions answers again.",
    ]


def test_an_answer_of_a_front_that_only_refused_is_not_logged(
    tiers: Tiers, caplog: pytest.LogCaptureFixture
) -> None:
    key, _ = tiers.stored()
    tiers.failure = StoreUnavailable("Its memory is full.", OutageKind.REFUSED)
    with caplog.at_level(logging.WARNING, front.__name__):
        tiers.get(key)
        tiers.failure = None
        tiers.get(key)
    assert len(caplog.records) == 1


# Purging


def test_a_purge_is_one_of_the_back_and_may_empty_the_front(tiers: Tiers) -> None:
    assert isinstance(tiers.driver, Purging)
    driver: Any = tiers.driver
    key, record = tiers.stored()
    gone = make_key()
    tiers.run(driver.add(gone, make_record(touched_ms=NOW - 2 * IDLE_MS)))
    assert tiers.run(driver.count_expired(NOW)) == 1
    assert tiers.run(driver.purge_expired(NOW, 10)) == 1
    assert len(tiers.front) == 0
    assert tiers.get(key) == record
    assert tiers.get(gone) is None


def test_a_back_that_expires_records_by_itself_leaves_nothing_to_purge() -> None:
    redis = RedisDriver({"URL": "redis://127.0.0.1:1"})
    assert not isinstance(TieredDriver(MemoryDriver(), redis, lambda: 0), Purging)
