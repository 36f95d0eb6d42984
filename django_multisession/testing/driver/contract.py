"""The laws of drivers. Times are arguments; no law waits."""

from __future__ import annotations

from typing import Any

import pytest

from django_multisession.core.problems import Severity
from django_multisession.core.records import (
    MISSING,
    NEVER,
    SAVED,
    SLACK_MS,
    Answer,
    Outcome,
    Reason,
    Record,
    Tombstone,
)
from django_multisession.drivers.base import Driver
from django_multisession.testing.driver.fixtures import (
    DAY,
    EXPIRED,
    IDLE_MS,
    NOW,
    SECOND,
    make_end,
    make_key,
    make_record,
    with_bytes,
)
from django_multisession.testing.driver.index_laws import DriverIndexLaws
from django_multisession.testing.driver.move_laws import DriverMoveLaws
from django_multisession.testing.driver.step_laws import DriverStepLaws
from django_multisession.testing.driver.unreadable_laws import DriverUnreadableLaws
from django_multisession.testing.driver.write_laws import DriverWriteLaws
from django_multisession.testing.rows import for_each
from django_multisession.testing.stored_records import changed, next_write
from django_multisession.testing.verbs import DriverVerbs


class DriverContract(
    DriverWriteLaws, DriverMoveLaws, DriverStepLaws, DriverUnreadableLaws, DriverIndexLaws
):
    """Laws that hold for one caller at a time: of writes, of touches, of ends.

    Subclasses provide the fixture `driver`: one with nothing in it.
    """

    # touch

    def test_touch_moves_the_last_use_and_nothing_else(self, verbs: DriverVerbs) -> None:
        key, record = make_key(), make_record()
        verbs.add(key, record)
        later = NOW + 60 * SECOND
        assert verbs.touch(key, record, later, later) == SAVED
        assert verbs.get(key) == changed(record, touched_ms=later)

    @for_each("seconds", [-60, 0], ids=["earlier", "equal"])
    def test_a_touch_that_is_not_later_is_saved_and_moves_nothing(
        self, verbs: DriverVerbs, seconds: int
    ) -> None:
        key, record = make_key(), make_record()
        verbs.add(key, record)
        assert verbs.touch(key, record, NOW + seconds * SECOND, NOW) == SAVED
        assert verbs.get(key) == record

    def test_a_touch_finds_the_later_touch_of_another_request(self, verbs: DriverVerbs) -> None:
        key, record = make_key(), make_record()
        soon, later = NOW + 5 * SECOND, NOW + 9 * SECOND
        verbs.add(key, record)
        verbs.touch(key, record, later, later)
        assert verbs.touch(key, record, soon, soon) == SAVED
        assert verbs.get(key) == changed(record, touched_ms=later)

    def test_touches_over_one_base_follow_each_other(self, verbs: DriverVerbs) -> None:
        key, record = make_key(), make_record()
        soon, later = NOW + 5 * SECOND, NOW + 9 * SECOND
        verbs.add(key, record)
        verbs.touch(key, record, soon, soon)
        assert verbs.touch(key, record, later, later) == SAVED
        assert verbs.get(key) == changed(record, touched_ms=later)

    def test_a_touch_over_another_revision_is_a_conflict(self, verbs: DriverVerbs) -> None:
        key, record = make_key(), make_record()
        theirs = next_write(record, payload=b"theirs")
        later = NOW + 60 * SECOND
        verbs.add(key, record)
        verbs.replace(key, theirs, record, NOW)
        assert verbs.touch(key, record, later, later) == Answer(Outcome.CONFLICT, theirs)
        assert verbs.get(key) == theirs

    @for_each(
        "changes",
        [{"idle_ms": NEVER}, {"deadline_ms": NEVER}, {"user": None}],
    )
    def test_touch_keeps_what_is_not_set(self, verbs: DriverVerbs, changes: dict[str, Any]) -> None:
        key, record = make_key(), make_record(**changes)
        later = NOW + 60 * SECOND
        verbs.add(key, record)
        assert verbs.touch(key, record, later, later) == SAVED
        assert verbs.get(key) == changed(record, touched_ms=later)

    def test_a_touched_record_lives_longer(self, verbs: DriverVerbs) -> None:
        key, record = make_key(), make_record()
        verbs.add(key, record)
        soon = NOW + IDLE_MS - SECOND
        verbs.touch(key, record, soon, soon)
        later = NOW + IDLE_MS + SECOND
        mine = next_write(record, touched_ms=later)
        # Over a base that was read before the touch: the stored last use counts.
        assert verbs.replace(key, mine, record, later) == SAVED

    def test_a_record_that_another_touch_keeps_alive_can_be_touched(
        self, verbs: DriverVerbs
    ) -> None:
        key, record = make_key(), make_record()
        soon = NOW + IDLE_MS - SECOND
        later = NOW + IDLE_MS + SECOND
        verbs.add(key, record)
        verbs.touch(key, record, soon, soon)
        assert verbs.touch(key, record, later, later) == SAVED
        assert verbs.get(key) == changed(record, touched_ms=later)

    def test_touch_does_not_pass_the_absolute_deadline(self, verbs: DriverVerbs) -> None:
        end = NOW + 30 * SECOND
        key, record = make_key(), make_record(deadline_ms=end)
        verbs.add(key, record)
        soon = NOW + 20 * SECOND
        verbs.touch(key, record, soon, soon)
        assert verbs.touch(key, record, end, end) == MISSING
        assert verbs.replace(key, next_write(record, touched_ms=end), record, end) == MISSING

    def test_touch_never_creates(self, verbs: DriverVerbs) -> None:
        key, record = make_key(), make_record()
        assert verbs.touch(key, record, NOW, NOW) == MISSING
        assert verbs.get(key) is None

    def test_touch_never_revives(self, verbs: DriverVerbs) -> None:
        deleted, expired, end = make_key(), make_key(), make_end()
        was, over = make_record(), make_record(**EXPIRED)
        verbs.add(deleted, was)
        verbs.delete(deleted, end)
        verbs.add(expired, over)
        assert verbs.touch(deleted, was, NOW, NOW) == Answer(Outcome.MISSING, end)
        assert verbs.touch(expired, over, NOW, NOW) == MISSING
        assert verbs.get(deleted) == end

    # delete

    @for_each("reason", Reason)
    def test_delete_leaves_its_tombstone(self, verbs: DriverVerbs, reason: Reason) -> None:
        key, end = make_key(), make_end(reason)
        verbs.add(key, make_record())
        assert verbs.delete(key, end) is True
        assert verbs.get(key) == end

    def test_delete_of_nothing_leaves_nothing(self, verbs: DriverVerbs) -> None:
        key = make_key()
        assert verbs.delete(key, make_end()) is False
        assert verbs.get(key) is None

    def test_a_second_delete_answers_the_tombstone_of_the_first_and_leaves_it(
        self, verbs: DriverVerbs
    ) -> None:
        key, first = make_key(), make_end(Reason.LEFT)
        verbs.add(key, make_record())
        verbs.delete(key, first)
        assert verbs.delete(key, make_end()) == first
        assert verbs.get(key) == first

    def test_a_delete_answers_the_tombstone_of_a_move_with_its_successor(
        self, verbs: DriverVerbs
    ) -> None:
        old, new, record = make_key(), make_key(), make_record()
        moved = next_write(record)
        there = Tombstone(moved.revision, Reason.MOVED, new)
        verbs.add(old, record)
        verbs.move(old, new, moved, record, there, NOW)
        assert verbs.delete(old, make_end()) == there
        assert verbs.get(old) == there
        assert verbs.get(new) == moved

    def test_a_delete_that_is_sent_again_was_done(self, verbs: DriverVerbs) -> None:
        key, end = make_key(), make_end()
        verbs.add(key, make_record())
        verbs.delete(key, end)
        assert verbs.delete(key, end) is True
        assert verbs.get(key) == end

    def test_a_tombstone_can_name_a_successor_of_what_was_ended(self, verbs: DriverVerbs) -> None:
        key = make_key()
        end = make_end(Reason.LOGIN)._replace(successor=make_key())
        verbs.add(key, make_record())
        assert verbs.delete(key, end) is True
        assert verbs.get(key) == end

    def test_delete_ends_an_expired_record(self, verbs: DriverVerbs) -> None:
        key = make_key()
        verbs.add(key, make_record(**EXPIRED))
        verbs.delete(key, make_end())
        assert not isinstance(verbs.get(key), Record)

    # purge_expired

    def test_purge_removes_only_what_expired_a_minute_ago(self, verbs: DriverVerbs) -> None:
        past = NOW - IDLE_MS - SLACK_MS
        gone, within_slack, live = make_key(), make_key(), make_key()
        verbs.add(gone, make_record(touched_ms=past - SECOND))
        verbs.add(within_slack, make_record(touched_ms=past + SECOND))
        verbs.add(live, make_record())
        assert verbs.purge_expired(NOW, 100) == 1
        assert verbs.get(gone) is None
        assert isinstance(verbs.get(within_slack), Record)
        assert isinstance(verbs.get(live), Record)

    def test_purge_removes_at_most_the_limit(self, verbs: DriverVerbs) -> None:
        past = NOW - DAY
        for _ in range(5):
            verbs.add(make_key(), make_record(touched_ms=past))
        assert [verbs.purge_expired(NOW, 2) for _ in range(4)] == [2, 2, 1, 0]

    def test_endless_records_are_not_purged(self, verbs: DriverVerbs) -> None:
        key, record = make_key(), make_record(idle_ms=NEVER, deadline_ms=NEVER)
        verbs.add(key, record)
        verbs.purge_expired(NOW + 36500 * DAY, 100)
        assert verbs.get(key) == record

    # count_expired

    def test_count_tells_what_a_purge_would_remove(self, verbs: DriverVerbs) -> None:
        past = NOW - IDLE_MS - SLACK_MS
        expired, within_slack, live = ([make_key() for _ in range(3)] for _ in range(3))
        for keys, touched_ms in [
            (expired, past - SECOND),
            (within_slack, past + SECOND),
            (live, NOW),
        ]:
            for key in keys:
                verbs.add(key, make_record(touched_ms=touched_ms))
        counted = verbs.count_expired(NOW)
        assert all(isinstance(verbs.get(key), Record) for key in (*expired, *within_slack, *live))
        assert counted == 3
        assert verbs.purge_expired(NOW, 100) == counted
        assert verbs.count_expired(NOW) == 0

    def test_endless_records_are_not_counted(self, verbs: DriverVerbs) -> None:
        verbs.add(make_key(), make_record(idle_ms=NEVER, deadline_ms=NEVER))
        assert verbs.count_expired(NOW + 36500 * DAY) == 0

    # records

    def test_records_are_listed_page_by_page(self, verbs: DriverVerbs) -> None:
        stored = {make_key(): make_record() for _ in range(7)}
        for key, record in stored.items():
            verbs.add(key, record)
        for limit in (1, 3, 100):
            assert dict(verbs.records(limit)) == stored

    def test_what_ended_is_not_listed(self, verbs: DriverVerbs) -> None:
        ended, live = make_key(), make_key()
        for key in (ended, live):
            verbs.add(key, make_record())
        verbs.delete(ended, make_end())
        assert [key for key, _ in verbs.records(1)] == [live]

    def test_a_record_of_a_newer_release_hides_no_other_one(
        self, verbs: DriverVerbs, caplog: pytest.LogCaptureFixture
    ) -> None:
        newer, key, record = make_key(), make_key(), make_record()
        unknown = bytearray(record.raw)
        unknown[1] += 1
        verbs.add(newer, with_bytes(record, bytes(unknown)))
        verbs.add(key, record)
        assert verbs.records(10) == [(key, record)]
        assert [line for line in caplog.messages if newer in line]

    def test_of_nothing_nothing_is_listed(self, verbs: DriverVerbs) -> None:
        assert verbs.records(10) == []

    # check and close

    def test_check_finds_nothing_wrong(self, driver: Driver) -> None:
        assert [each for each in driver.check() if each.severity is Severity.ERROR] == []

    def test_a_closed_driver_opens_again(self, verbs: DriverVerbs) -> None:
        key, record = make_key(), make_record()
        verbs.add(key, record)
        verbs.close()
        assert verbs.get(key) == record
