"""The laws of `move`, over a record and over a tombstone."""

from __future__ import annotations

from django_multisession.core.records import (
    MISSING,
    SAVED,
    Answer,
    Outcome,
    Reason,
    Record,
    Tombstone,
)
from django_multisession.testing.driver.fixtures import (
    EXPIRED,
    NOW,
    SECOND,
    DriverFixtures,
    left_by,
    make_end,
    make_key,
    make_record,
)
from django_multisession.testing.rows import for_each
from django_multisession.testing.stored_records import changed, next_write
from django_multisession.testing.verbs import DriverVerbs


class DriverMoveLaws(DriverFixtures):
    """What a move stores and leaves, and what it leaves alone."""

    # move

    @for_each("reason", Reason)
    def test_move_stores_the_new_and_leaves_its_tombstone_under_the_old(
        self, verbs: DriverVerbs, reason: Reason
    ) -> None:
        old, new, record = make_key(), make_key(), make_record()
        moved = next_write(record, payload=b"moved", user=b"8")
        verbs.add(old, record)
        left = Tombstone(moved.revision, reason, new)
        assert verbs.move(old, new, moved, record, left, NOW) == SAVED
        assert verbs.get(new) == moved
        assert verbs.get(old) == left

    def test_move_of_nothing_stores_nothing(self, verbs: DriverVerbs) -> None:
        old, new, record = make_key(), make_key(), make_record()
        assert move(verbs, old, new, next_write(record), record) == MISSING
        assert verbs.get(old) is None
        assert not isinstance(verbs.get(new), Record)

    def test_move_of_what_was_deleted_stores_nothing(self, verbs: DriverVerbs) -> None:
        old, new, record, end = make_key(), make_key(), make_record(), make_end()
        verbs.add(old, record)
        verbs.delete(old, end)
        answer = move(verbs, old, new, next_write(record), record)
        assert answer == Answer(Outcome.MISSING, end)
        assert verbs.get(old) == end
        assert not isinstance(verbs.get(new), Record)

    def test_move_of_what_has_expired_stores_nothing(self, verbs: DriverVerbs) -> None:
        old, new, record = make_key(), make_key(), make_record(**EXPIRED)
        verbs.add(old, record)
        moved = next_write(record, touched_ms=NOW)
        assert move(verbs, old, new, moved, record) == MISSING
        assert not isinstance(verbs.get(new), Record)

    def test_move_over_another_revision_is_a_conflict(self, verbs: DriverVerbs) -> None:
        old, new, record = make_key(), make_key(), make_record()
        theirs = next_write(record, payload=b"theirs")
        verbs.add(old, record)
        verbs.replace(old, theirs, record, NOW)
        answer = move(verbs, old, new, next_write(record), record)
        assert answer == Answer(Outcome.CONFLICT, theirs)
        assert verbs.get(old) == theirs
        assert not isinstance(verbs.get(new), Record)

    def test_move_over_a_later_last_use_is_a_conflict(self, verbs: DriverVerbs) -> None:
        old, new, record = make_key(), make_key(), make_record()
        later = NOW + 5 * SECOND
        verbs.add(old, record)
        verbs.touch(old, record, later, later)
        used = changed(record, touched_ms=later)
        answer = move(verbs, old, new, next_write(record), record)
        assert answer == Answer(Outcome.CONFLICT, used)
        assert verbs.get(old) == used
        assert verbs.get(new) is None

    def test_a_second_move_finds_the_tombstone_of_the_first(self, verbs: DriverVerbs) -> None:
        old, new, other, record = make_key(), make_key(), make_key(), make_record()
        moved = next_write(record)
        verbs.add(old, record)
        move(verbs, old, new, moved, record)
        answer = move(verbs, old, other, next_write(record), record)
        assert answer == Answer(Outcome.MISSING, left_by(moved, new))
        assert verbs.get(old) == left_by(moved, new)
        assert verbs.get(other) is None

    def test_a_move_after_a_conflict_can_be_done(self, verbs: DriverVerbs) -> None:
        old, new, record = make_key(), make_key(), make_record()
        theirs = next_write(record, payload=b"theirs")
        verbs.add(old, record)
        verbs.replace(old, theirs, record, NOW)
        move(verbs, old, new, next_write(record), record)
        again = next_write(theirs, payload=b"again")
        assert move(verbs, old, new, again, theirs) == SAVED
        assert verbs.get(new) == again
        assert verbs.get(old) == left_by(again, new)

    def test_a_move_that_is_sent_again_was_stored(self, verbs: DriverVerbs) -> None:
        old, new, record = make_key(), make_key(), make_record()
        moved = next_write(record)
        verbs.add(old, record)
        move(verbs, old, new, moved, record)
        assert move(verbs, old, new, moved, record) == SAVED
        assert verbs.get(new) == moved

    @for_each("is_ended", [False, True], ids=["record", "tombstone"])
    def test_a_move_onto_a_taken_key_changes_nothing(
        self, verbs: DriverVerbs, *, is_ended: bool
    ) -> None:
        old, new, record, theirs = make_key(), make_key(), make_record(), make_record()
        verbs.add(old, record)
        verbs.add(new, theirs)
        if is_ended:
            verbs.delete(new, make_end())
        there = verbs.get(new)
        assert move(verbs, old, new, next_write(record), record) == MISSING
        assert verbs.get(old) == record
        assert verbs.get(new) == there

    def test_a_moved_record_can_be_replaced_and_deleted(self, verbs: DriverVerbs) -> None:
        old, new, record, end = make_key(), make_key(), make_record(), make_end()
        moved = next_write(record)
        verbs.add(old, record)
        move(verbs, old, new, moved, record)
        later = next_write(moved, payload=b"later")
        assert verbs.replace(new, later, moved, NOW) == SAVED
        assert verbs.delete(new, end) is True
        assert verbs.get(new) == end

    # A claim: a move whose base is a tombstone.

    def test_a_claim_moves_over_a_tombstone_once(self, verbs: DriverVerbs) -> None:
        old, new, other, end = make_key(), make_key(), make_key(), make_end()
        mine, theirs = make_record(), make_record()
        verbs.add(old, make_record())
        verbs.delete(old, end)
        assert claim(verbs, old, new, mine, end) == SAVED
        assert verbs.get(new) == mine
        assert verbs.get(old) == left_by(mine, new)
        answer = claim(verbs, old, other, theirs, end)
        assert answer == Answer(Outcome.CONFLICT, left_by(mine, new))
        assert verbs.get(other) is None
        assert verbs.get(old) == left_by(mine, new)

    def test_what_a_claim_left_can_be_claimed(self, verbs: DriverVerbs) -> None:
        old, new, other, end = make_key(), make_key(), make_key(), make_end()
        mine, theirs = make_record(), make_record()
        verbs.add(old, make_record())
        verbs.delete(old, end)
        claim(verbs, old, new, mine, end)
        assert claim(verbs, old, other, theirs, left_by(mine, new)) == SAVED
        assert verbs.get(old) == left_by(theirs, other)

    def test_a_claim_of_nothing_stores_nothing(self, verbs: DriverVerbs) -> None:
        old, new = make_key(), make_key()
        assert claim(verbs, old, new, make_record(), make_end()) == MISSING
        assert verbs.get(old) is None
        assert verbs.get(new) is None

    def test_a_claim_that_finds_a_live_record_is_a_conflict(self, verbs: DriverVerbs) -> None:
        old, new, record = make_key(), make_key(), make_record()
        verbs.add(old, record)
        answer = claim(verbs, old, new, make_record(), make_end())
        assert answer == Answer(Outcome.CONFLICT, record)
        assert verbs.get(old) == record
        assert verbs.get(new) is None

    def test_a_claim_by_the_revision_of_a_live_record_is_a_conflict(
        self, verbs: DriverVerbs
    ) -> None:
        old, new, record = make_key(), make_key(), make_record()
        verbs.add(old, record)
        answer = claim(verbs, old, new, make_record(), left_by(record, old))
        assert answer == Answer(Outcome.CONFLICT, record)
        assert verbs.get(old) == record

    def test_a_claim_that_finds_an_expired_record_stores_nothing(self, verbs: DriverVerbs) -> None:
        old, new = make_key(), make_key()
        verbs.add(old, make_record(**EXPIRED))
        assert claim(verbs, old, new, make_record(), make_end()) == MISSING
        assert verbs.get(new) is None

    def test_a_claim_that_is_sent_again_was_stored(self, verbs: DriverVerbs) -> None:
        old, new, mine, end = make_key(), make_key(), make_record(), make_end()
        verbs.add(old, make_record())
        verbs.delete(old, end)
        claim(verbs, old, new, mine, end)
        assert claim(verbs, old, new, mine, end) == SAVED
        assert verbs.get(new) == mine
        assert verbs.get(old) == left_by(mine, new)

    def test_a_claim_sent_again_after_another_save_leaves_that_save(
        self, verbs: DriverVerbs
    ) -> None:
        old, new, mine, end = make_key(), make_key(), make_record(), make_end()
        later = next_write(mine, payload=b"later")
        verbs.add(old, make_record())
        verbs.delete(old, end)
        claim(verbs, old, new, mine, end)
        verbs.replace(new, later, mine, NOW)
        assert claim(verbs, old, new, mine, end) == SAVED
        assert verbs.get(new) == later

    def test_a_claim_onto_a_taken_key_changes_nothing(self, verbs: DriverVerbs) -> None:
        old, new, theirs, end = make_key(), make_key(), make_record(), make_end()
        verbs.add(old, make_record())
        verbs.delete(old, end)
        verbs.add(new, theirs)
        assert claim(verbs, old, new, make_record(), end) == MISSING
        assert verbs.get(old) == end
        assert verbs.get(new) == theirs


def move(verbs: DriverVerbs, old: str, new: str, moved: Record, base: Record) -> Answer:
    """Move *base* from *old* to *new*, where it becomes *moved*."""
    return verbs.move(old, new, moved, base, left_by(moved, new), NOW)


def claim(verbs: DriverVerbs, old: str, new: str, record: Record, base: Tombstone) -> Answer:
    """Store *record* under *new* as what follows the session that left *base* under *old*."""
    return verbs.move(old, new, record, base, left_by(record, new), NOW)
