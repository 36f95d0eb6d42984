"""The laws of `drivers.base.Driver`, verb by verb. Times are arguments; no law waits."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from django_multisession.drivers.base import Driver
from django_multisession.records import (
    EXPIRY_SLACK,
    MISSING,
    SAVED,
    Answer,
    Outcome,
    Record,
    Retired,
    new_revision,
)
from django_multisession.testing.verbs import DriverVerbs, open_runner

#: Long past, on purpose: no server may compare a record's times with its own clock.
NOW = datetime(2020, 2, 29, 23, 59, 59, 123000, tzinfo=UTC)
IDLE_AGE = 600


def make_key() -> str:
    """Return a storage key that no other law uses."""
    return secrets.token_hex(32)


def make_record(**changes: Any) -> Record:
    """Return a record that is live at `NOW`, but for *changes*."""
    record = Record(
        payload=b"\x01payload",
        revisions=new_revision(),
        created_at=NOW - timedelta(hours=3),
        began_at=NOW - timedelta(hours=2),
        touched_at=NOW,
        idle_age=IDLE_AGE,
        hard_deadline_at=NOW + timedelta(days=30),
        user_id="7",
    )
    return dataclasses.replace(record, **changes)


def next_write(record: Record, **changes: Any) -> Record:
    """Return what a later save of *record* stores."""
    return dataclasses.replace(record, revisions=new_revision(record.revisions), **changes)


EXPIRED = {"touched_at": NOW - timedelta(seconds=IDLE_AGE)}


class DriverContract:
    """Laws that hold for one caller at a time. Subclasses provide the fixture `driver`."""

    @pytest.fixture
    def driver(self) -> Driver:
        """Return the driver under test."""
        raise NotImplementedError("subclasses of DriverContract must provide the fixture driver")

    @pytest.fixture(params=["sync", "async"])
    def verbs(self, driver: Driver, request: pytest.FixtureRequest) -> Iterator[DriverVerbs]:
        """Return the verbs of the driver, sync and async in turn."""
        run, close = open_runner(request.param)
        yield DriverVerbs(driver, run)
        close()

    # add and get

    def test_what_was_added_is_found_unchanged(self, verbs: DriverVerbs) -> None:
        key, record = make_key(), make_record()
        assert verbs.add(key, record) is True
        assert verbs.get(key) == record

    def test_an_unknown_key_holds_nothing(self, verbs: DriverVerbs) -> None:
        assert verbs.get(make_key()) is None

    @pytest.mark.parametrize(
        "changes",
        [
            {"user_id": None},
            {"user_id": ""},
            {"user_id": "$where"},
            {"user_id": "Zoë \N{SNOWMAN} \N{GRINNING FACE}"},
            {"idle_age": None},
            {"hard_deadline_at": None},
            {"idle_age": None, "hard_deadline_at": None},
            {"revisions": ("a", "b", "c", "d")},
            {"payload": b""},
            {"payload": b"\x00\xff\r\n$set" * 3},
            {"payload": bytes(range(256)) * 4096},
        ],
        ids=[
            "no-user",
            "empty-user",
            "operator-user",
            "unicode-user",
            "no-idle",
            "no-hard-deadline",
            "endless",
            "four-revisions",
            "empty-payload",
            "binary-payload",
            "1-MiB-payload",
        ],
    )
    def test_every_value_survives(self, verbs: DriverVerbs, changes: dict[str, Any]) -> None:
        key, record = make_key(), make_record(**changes)
        assert verbs.add(key, record)
        assert verbs.get(key) == record

    def test_add_stores_only_where_nothing_is(self, verbs: DriverVerbs) -> None:
        key, record = make_key(), make_record()
        verbs.add(key, record)
        assert verbs.add(key, make_record(payload=b"other")) is False
        assert verbs.get(key) == record

    def test_add_does_not_revive_a_retired_record(self, verbs: DriverVerbs) -> None:
        key = make_key()
        verbs.add(key, make_record())
        verbs.delete(key)
        assert verbs.add(key, make_record()) is False
        assert verbs.get(key) == Retired()

    def test_an_add_that_is_sent_again_was_stored(self, verbs: DriverVerbs) -> None:
        key, record = make_key(), make_record()
        verbs.add(key, record)
        assert verbs.add(key, record) is True

    def test_a_record_that_ends_in_the_past_is_stored(self, verbs: DriverVerbs) -> None:
        key, record = make_key(), make_record(hard_deadline_at=NOW - timedelta(days=1))
        assert verbs.add(key, record) is True

    # replace

    def test_replace_stores_over_the_expected_revision(self, verbs: DriverVerbs) -> None:
        key, record = make_key(), make_record()
        verbs.add(key, record)
        later = next_write(record, payload=b"later", user_id=None, idle_age=None)
        assert verbs.replace(key, later, record.revision, NOW) == SAVED
        assert verbs.get(key) == later

    def test_replace_never_creates(self, verbs: DriverVerbs) -> None:
        key, record = make_key(), make_record()
        assert verbs.replace(key, next_write(record), record.revision, NOW) == MISSING
        assert verbs.get(key) is None

    def test_replace_never_revives_what_was_deleted(self, verbs: DriverVerbs) -> None:
        key, record = make_key(), make_record()
        verbs.add(key, record)
        verbs.delete(key)
        assert verbs.replace(key, next_write(record), record.revision, NOW) == MISSING
        assert verbs.get(key) == Retired()

    @pytest.mark.parametrize("ended", [EXPIRED, {"hard_deadline_at": NOW}], ids=["idle", "hard"])
    def test_replace_never_revives_what_has_expired(
        self, verbs: DriverVerbs, ended: dict[str, Any]
    ) -> None:
        key, record = make_key(), make_record(**ended)
        verbs.add(key, record)
        later = next_write(record, touched_at=NOW, hard_deadline_at=None)
        assert verbs.replace(key, later, record.revision, NOW) == MISSING
        assert verbs.get(key) in (None, record)

    def test_replace_over_another_revision_is_a_conflict(self, verbs: DriverVerbs) -> None:
        key, record = make_key(), make_record()
        theirs = next_write(record, payload=b"theirs")
        verbs.add(key, record)
        verbs.replace(key, theirs, record.revision, NOW)
        answer = verbs.replace(key, next_write(record), record.revision, NOW)
        assert answer == Answer(Outcome.CONFLICT, theirs)
        assert verbs.get(key) == theirs

    def test_a_replace_that_is_sent_again_was_stored(self, verbs: DriverVerbs) -> None:
        key, record = make_key(), make_record()
        mine = next_write(record)
        verbs.add(key, record)
        verbs.replace(key, mine, record.revision, NOW)
        assert verbs.replace(key, mine, record.revision, NOW) == SAVED

    def test_a_replace_sent_again_after_another_save_leaves_that_save(
        self, verbs: DriverVerbs
    ) -> None:
        key, record = make_key(), make_record()
        mine = next_write(record)
        theirs = next_write(mine, payload=b"theirs")
        verbs.add(key, record)
        verbs.replace(key, mine, record.revision, NOW)
        verbs.replace(key, theirs, mine.revision, NOW)
        assert verbs.replace(key, mine, record.revision, NOW) == SAVED
        assert verbs.get(key) == theirs

    # move

    def test_move_stores_the_new_and_retires_the_old(self, verbs: DriverVerbs) -> None:
        old, new, record = make_key(), make_key(), make_record()
        moved = next_write(record, payload=b"moved", user_id="8")
        verbs.add(old, record)
        assert verbs.move(old, new, moved, record.revision, NOW) == SAVED
        assert verbs.get(new) == moved
        assert verbs.get(old) == Retired(moved.revision)

    def test_move_of_nothing_stores_nothing(self, verbs: DriverVerbs) -> None:
        old, new, record = make_key(), make_key(), make_record()
        assert verbs.move(old, new, next_write(record), record.revision, NOW) == MISSING
        assert verbs.get(old) is None
        assert not isinstance(verbs.get(new), Record)

    def test_move_of_what_was_deleted_stores_nothing(self, verbs: DriverVerbs) -> None:
        old, new, record = make_key(), make_key(), make_record()
        verbs.add(old, record)
        verbs.delete(old)
        assert verbs.move(old, new, next_write(record), record.revision, NOW) == MISSING
        assert verbs.get(old) == Retired()
        assert not isinstance(verbs.get(new), Record)

    def test_move_of_what_has_expired_stores_nothing(self, verbs: DriverVerbs) -> None:
        old, new, record = make_key(), make_key(), make_record(**EXPIRED)
        verbs.add(old, record)
        moved = next_write(record, touched_at=NOW)
        assert verbs.move(old, new, moved, record.revision, NOW) == MISSING
        assert not isinstance(verbs.get(new), Record)

    def test_move_over_another_revision_is_a_conflict(self, verbs: DriverVerbs) -> None:
        old, new, record = make_key(), make_key(), make_record()
        theirs = next_write(record, payload=b"theirs")
        verbs.add(old, record)
        verbs.replace(old, theirs, record.revision, NOW)
        answer = verbs.move(old, new, next_write(record), record.revision, NOW)
        assert answer == Answer(Outcome.CONFLICT, theirs)
        assert verbs.get(old) == theirs
        assert not isinstance(verbs.get(new), Record)

    def test_a_move_after_a_conflict_can_be_done(self, verbs: DriverVerbs) -> None:
        old, new, record = make_key(), make_key(), make_record()
        theirs = next_write(record, payload=b"theirs")
        verbs.add(old, record)
        verbs.replace(old, theirs, record.revision, NOW)
        verbs.move(old, new, next_write(record), record.revision, NOW)
        again = next_write(theirs, payload=b"again")
        assert verbs.move(old, new, again, theirs.revision, NOW) == SAVED
        assert verbs.get(new) == again
        assert verbs.get(old) == Retired(again.revision)

    def test_a_move_that_is_sent_again_was_stored(self, verbs: DriverVerbs) -> None:
        old, new, record = make_key(), make_key(), make_record()
        moved = next_write(record)
        verbs.add(old, record)
        verbs.move(old, new, moved, record.revision, NOW)
        assert verbs.move(old, new, moved, record.revision, NOW) == SAVED
        assert verbs.get(new) == moved

    def test_a_moved_record_can_be_replaced_and_deleted(self, verbs: DriverVerbs) -> None:
        old, new, record = make_key(), make_key(), make_record()
        moved = next_write(record)
        verbs.add(old, record)
        verbs.move(old, new, moved, record.revision, NOW)
        later = next_write(moved, payload=b"later")
        assert verbs.replace(new, later, moved.revision, NOW) == SAVED
        assert verbs.delete(new) is True
        assert verbs.get(new) == Retired()

    # touch

    def test_touch_moves_the_last_use_and_nothing_else(self, verbs: DriverVerbs) -> None:
        key, record = make_key(), make_record()
        verbs.add(key, record)
        later = NOW + timedelta(seconds=60)
        assert verbs.touch(key, later, later) is True
        assert verbs.get(key) == dataclasses.replace(record, touched_at=later)

    def test_an_earlier_touch_moves_nothing_back(self, verbs: DriverVerbs) -> None:
        key, record = make_key(), make_record()
        verbs.add(key, record)
        assert verbs.touch(key, NOW - timedelta(seconds=60), NOW) is True
        assert verbs.get(key) == record

    @pytest.mark.parametrize(
        "changes",
        [{"idle_age": None}, {"hard_deadline_at": None}, {"user_id": None}],
        ids=["no-idle", "no-hard-deadline", "no-user"],
    )
    def test_touch_keeps_what_is_not_set(self, verbs: DriverVerbs, changes: dict[str, Any]) -> None:
        key, record = make_key(), make_record(**changes)
        later = NOW + timedelta(seconds=60)
        verbs.add(key, record)
        assert verbs.touch(key, later, later) is True
        assert verbs.get(key) == dataclasses.replace(record, touched_at=later)

    def test_a_touched_record_lives_longer(self, verbs: DriverVerbs) -> None:
        key, record = make_key(), make_record()
        verbs.add(key, record)
        soon = NOW + timedelta(seconds=IDLE_AGE - 1)
        verbs.touch(key, soon, soon)
        later = NOW + timedelta(seconds=IDLE_AGE + 1)
        assert verbs.replace(key, next_write(record), record.revision, later) == SAVED

    def test_touch_does_not_pass_the_hard_deadline(self, verbs: DriverVerbs) -> None:
        end = NOW + timedelta(seconds=30)
        key, record = make_key(), make_record(hard_deadline_at=end)
        verbs.add(key, record)
        verbs.touch(key, NOW + timedelta(seconds=20), NOW + timedelta(seconds=20))
        assert verbs.replace(key, next_write(record), record.revision, end) == MISSING

    def test_touch_never_creates(self, verbs: DriverVerbs) -> None:
        key = make_key()
        assert verbs.touch(key, NOW, NOW) is False
        assert verbs.get(key) is None

    def test_touch_never_revives(self, verbs: DriverVerbs) -> None:
        deleted, expired = make_key(), make_key()
        verbs.add(deleted, make_record())
        verbs.delete(deleted)
        verbs.add(expired, make_record(**EXPIRED))
        assert verbs.touch(deleted, NOW, NOW) is False
        assert verbs.touch(expired, NOW, NOW) is False
        assert verbs.get(deleted) == Retired()

    def test_a_touch_is_no_conflict(self, verbs: DriverVerbs) -> None:
        key, record = make_key(), make_record()
        verbs.add(key, record)
        verbs.touch(key, NOW + timedelta(seconds=5), NOW + timedelta(seconds=5))
        assert verbs.replace(key, next_write(record), record.revision, NOW) == SAVED

    # delete

    def test_delete_leaves_a_retired_record(self, verbs: DriverVerbs) -> None:
        key = make_key()
        verbs.add(key, make_record())
        assert verbs.delete(key) is True
        assert verbs.get(key) == Retired()

    def test_delete_of_nothing_leaves_nothing(self, verbs: DriverVerbs) -> None:
        key = make_key()
        assert verbs.delete(key) is False
        assert verbs.get(key) is None

    def test_a_second_delete_finds_no_record(self, verbs: DriverVerbs) -> None:
        key = make_key()
        verbs.add(key, make_record())
        verbs.delete(key)
        assert verbs.delete(key) is False

    def test_delete_ends_an_expired_record(self, verbs: DriverVerbs) -> None:
        key = make_key()
        verbs.add(key, make_record(**EXPIRED))
        verbs.delete(key)
        assert not isinstance(verbs.get(key), Record)

    # purge_expired

    def test_purge_removes_only_what_expired_a_minute_ago(self, verbs: DriverVerbs) -> None:
        past = NOW - timedelta(seconds=IDLE_AGE) - EXPIRY_SLACK
        gone, within_slack, live = make_key(), make_key(), make_key()
        verbs.add(gone, make_record(touched_at=past - timedelta(seconds=1)))
        verbs.add(within_slack, make_record(touched_at=past + timedelta(seconds=1)))
        verbs.add(live, make_record())
        removed = verbs.purge_expired(NOW, 100)
        assert removed in (0, 1)
        assert (verbs.get(gone) is None) is bool(removed)
        assert isinstance(verbs.get(within_slack), Record)
        assert isinstance(verbs.get(live), Record)

    def test_purge_removes_at_most_the_limit(self, verbs: DriverVerbs) -> None:
        past = NOW - timedelta(days=1)
        for _ in range(5):
            verbs.add(make_key(), make_record(touched_at=past))
        removed = [verbs.purge_expired(NOW, 2) for _ in range(4)]
        assert removed in ([2, 2, 1, 0], [0, 0, 0, 0])

    def test_endless_records_are_not_purged(self, verbs: DriverVerbs) -> None:
        key, record = make_key(), make_record(idle_age=None, hard_deadline_at=None)
        verbs.add(key, record)
        verbs.purge_expired(NOW + timedelta(days=36500), 100)
        assert verbs.get(key) == record

    # check and close

    def test_check_finds_nothing_wrong(self, driver: Driver) -> None:
        assert [message for message in driver.check() if message.is_serious()] == []

    def test_a_closed_driver_opens_again(self, verbs: DriverVerbs) -> None:
        key, record = make_key(), make_record()
        verbs.add(key, record)
        verbs.close()
        assert verbs.get(key) == record
