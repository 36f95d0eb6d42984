"""The laws of a driver's writes: `add`, `replace` and `move`, and what `get` finds after them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from django_multisession.records import MISSING, SAVED, Answer, Outcome, Record, Retired
from django_multisession.testing.driver_fixtures import (
    EXPIRED,
    NOW,
    DriverFixtures,
    make_key,
    make_record,
    next_write,
)
from django_multisession.testing.verbs import DriverVerbs


class DriverWriteLaws(DriverFixtures):
    """What a write stores, and what it leaves alone."""

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

    @pytest.mark.parametrize("is_ended", [False, True], ids=["record", "retired"])
    def test_a_move_onto_a_taken_key_changes_nothing(
        self, verbs: DriverVerbs, *, is_ended: bool
    ) -> None:
        old, new, record, theirs = make_key(), make_key(), make_record(), make_record()
        verbs.add(old, record)
        verbs.add(new, theirs)
        if is_ended:
            verbs.delete(new)
        there = verbs.get(new)
        assert verbs.move(old, new, next_write(record), record.revision, NOW) != SAVED
        assert verbs.get(old) == record
        assert verbs.get(new) == there

    def test_a_moved_record_can_be_replaced_and_deleted(self, verbs: DriverVerbs) -> None:
        old, new, record = make_key(), make_key(), make_record()
        moved = next_write(record)
        verbs.add(old, record)
        verbs.move(old, new, moved, record.revision, NOW)
        later = next_write(moved, payload=b"later")
        assert verbs.replace(new, later, moved.revision, NOW) == SAVED
        assert verbs.delete(new) is True
        assert verbs.get(new) == Retired()

    @pytest.mark.parametrize("hard_deadline_at", [NOW + timedelta(days=30), None])
    def test_a_move_leaves_the_way_to_the_new_key_behind(
        self, verbs: DriverVerbs, hard_deadline_at: datetime | None
    ) -> None:
        old, new = make_key(), make_key()
        record = make_record(hard_deadline_at=hard_deadline_at, idle_age=None)
        moved = next_write(record, old_key=old, keyed_at=NOW)
        # Any bytes: it is encrypted.
        forward = bytes(range(256))
        verbs.add(old, record)
        assert verbs.move(old, new, moved, record.revision, NOW, forward) == SAVED
        assert verbs.get(old) == Retired(moved.revision, forward)
        assert verbs.get(new) == moved
        assert verbs.move(old, new, moved, record.revision, NOW, forward) == SAVED
        assert verbs.delete(old) is False
        assert verbs.get(old) == Retired(moved.revision, forward)

    def test_the_record_behind_an_old_key_goes_back_to_having_none(
        self, verbs: DriverVerbs
    ) -> None:
        key, record = make_key(), make_record(old_key=make_key())
        verbs.add(key, record)
        assert verbs.get(key) == record
        seen = next_write(record, old_key=None)
        assert verbs.replace(key, seen, record.revision, NOW) == SAVED
        assert verbs.get(key) == seen

    # forget

    def test_what_is_to_be_forgotten_later_is_still_there(self, verbs: DriverVerbs) -> None:
        old, new, record = make_key(), make_key(), make_record()
        moved = next_write(record, old_key=old)
        verbs.add(old, record)
        verbs.move(old, new, moved, record.revision, NOW, b"forward")
        verbs.forget(old, timedelta(minutes=2))
        assert verbs.get(old) == Retired(moved.revision, b"forward")
        assert verbs.get(new) == moved

    def test_a_record_is_not_forgotten(self, verbs: DriverVerbs) -> None:
        key, record = make_key(), make_record()
        verbs.add(key, record)
        verbs.forget(key, timedelta(seconds=-1))
        assert verbs.get(key) == record
        absent = make_key()
        verbs.forget(absent, timedelta(minutes=1))
        assert verbs.get(absent) is None
