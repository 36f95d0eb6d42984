"""The laws of `add` and `replace`, and what `get` finds after them."""

from __future__ import annotations

from typing import Any

from django_multisession.core.records import (
    LONGEST_AGE,
    MISSING,
    NEVER,
    SAVED,
    Answer,
    Outcome,
    Record,
    touched,
)
from django_multisession.drivers.base import Driver
from django_multisession.testing.driver.fixtures import (
    DAY,
    EXPIRED,
    NOW,
    SECOND,
    DriverFixtures,
    make_end,
    make_key,
    make_record,
)
from django_multisession.testing.rows import for_each
from django_multisession.testing.stored_records import changed, next_write
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

    @for_each(
        "changes",
        [
            {"user": None},
            {"user": b""},
            {"user": b"$where"},
            {"user": "Zoë \N{SNOWMAN} \N{GRINNING FACE}".encode()},
            {"user": b"\x00\xff\xed\xa0\x80"},
            {"idle_ms": NEVER},
            {"deadline_ms": NEVER},
            {"idle_ms": NEVER, "deadline_ms": NEVER},
            {"revision": b"aaaaaaaa", "earlier": b"bbbbbbbbccccccccdddddddd"},
            {"payload": b""},
            {"payload": b"\x00\xff\r\n$set" * 3},
        ],
    )
    def test_every_value_survives(self, verbs: DriverVerbs, changes: dict[str, Any]) -> None:
        key, record = make_key(), make_record(**changes)
        assert verbs.add(key, record)
        assert verbs.get(key) == record

    def test_the_largest_record_survives(self, driver: Driver, verbs: DriverVerbs) -> None:
        key, payload = make_key(), bytes(range(256)) * 4096
        most = driver.capabilities.largest_record
        if most is not None:
            payload = payload[: most - len(make_record(payload=b"").raw)]
        record = make_record(payload=payload)
        assert verbs.add(key, record)
        assert verbs.get(key) == record

    def test_add_stores_only_where_nothing_is(self, verbs: DriverVerbs) -> None:
        key, record = make_key(), make_record()
        verbs.add(key, record)
        assert verbs.add(key, make_record(payload=b"other")) is False
        assert verbs.get(key) == record

    def test_add_stores_nothing_over_a_tombstone(self, verbs: DriverVerbs) -> None:
        key, end = make_key(), make_end()
        verbs.add(key, make_record())
        verbs.delete(key, end)
        assert verbs.add(key, make_record()) is False
        assert verbs.get(key) == end

    def test_an_add_that_is_sent_again_was_stored(self, verbs: DriverVerbs) -> None:
        key, record = make_key(), make_record()
        verbs.add(key, record)
        assert verbs.add(key, record) is True

    def test_a_record_that_ends_in_the_past_is_stored(self, verbs: DriverVerbs) -> None:
        key, record = make_key(), make_record(deadline_ms=NOW - DAY)
        assert verbs.add(key, record) is True

    # replace

    def test_replace_stores_over_the_expected_revision(self, verbs: DriverVerbs) -> None:
        key, record = make_key(), make_record()
        verbs.add(key, record)
        later = next_write(record, payload=b"later", user=None, idle_ms=NEVER)
        assert verbs.replace(key, later, record, NOW) == SAVED
        assert verbs.get(key) == later

    def test_replace_never_creates(self, verbs: DriverVerbs) -> None:
        key, record = make_key(), make_record()
        assert verbs.replace(key, next_write(record), record, NOW) == MISSING
        assert verbs.get(key) is None

    def test_replace_never_revives_what_was_deleted(self, verbs: DriverVerbs) -> None:
        key, record, end = make_key(), make_record(), make_end()
        verbs.add(key, record)
        verbs.delete(key, end)
        answer = verbs.replace(key, next_write(record), record, NOW)
        assert answer == Answer(Outcome.MISSING, end)
        assert verbs.get(key) == end

    @for_each("ended", [EXPIRED, {"deadline_ms": NOW}], ids=["idle", "hard"])
    def test_replace_never_revives_what_has_expired(
        self, verbs: DriverVerbs, ended: dict[str, Any]
    ) -> None:
        key, record = make_key(), make_record(**ended)
        verbs.add(key, record)
        later = next_write(record, touched_ms=NOW, deadline_ms=NEVER)
        assert verbs.replace(key, later, record, NOW) == MISSING
        assert verbs.get(key) in (None, record)

    def test_replace_over_another_revision_is_a_conflict(self, verbs: DriverVerbs) -> None:
        key, record = make_key(), make_record()
        theirs = next_write(record, payload=b"theirs")
        verbs.add(key, record)
        verbs.replace(key, theirs, record, NOW)
        answer = verbs.replace(key, next_write(record), record, NOW)
        assert answer == Answer(Outcome.CONFLICT, theirs)
        assert verbs.get(key) == theirs

    def test_replace_over_a_later_last_use_is_a_conflict(self, verbs: DriverVerbs) -> None:
        key, record = make_key(), make_record()
        later = NOW + 5 * SECOND
        verbs.add(key, record)
        verbs.touch(key, record, later, later)
        used = changed(record, touched_ms=later)
        answer = verbs.replace(key, next_write(record), record, later)
        assert answer == Answer(Outcome.CONFLICT, used)
        assert verbs.get(key) == used
        mine = next_write(used)
        assert verbs.replace(key, mine, record, later) == SAVED
        assert verbs.get(key) == mine

    # A base that was read: its driver may have put something on it.

    def test_a_record_that_was_read_equals_what_was_written(self, verbs: DriverVerbs) -> None:
        key, record = make_key(), make_record()
        verbs.add(key, record)
        first, second = read(verbs, key), read(verbs, key)
        assert first == second == record
        assert hash(first) == hash(record)
        assert first.raw == record.raw

    def test_a_save_over_what_was_read_is_done_once(self, verbs: DriverVerbs) -> None:
        key, record = make_key(), make_record()
        verbs.add(key, record)
        base = read(verbs, key)
        mine, theirs = next_write(base), next_write(base, payload=b"theirs")
        assert verbs.replace(key, theirs, base, NOW) == SAVED
        assert verbs.replace(key, mine, base, NOW) == Answer(Outcome.CONFLICT, theirs)
        assert verbs.replace(key, theirs, base, NOW) == SAVED
        assert verbs.get(key) == theirs

    def test_a_touch_in_between_is_no_other_revision(self, verbs: DriverVerbs) -> None:
        key, record = make_key(), make_record()
        later = NOW + 5 * SECOND
        verbs.add(key, record)
        base = read(verbs, key)
        assert verbs.touch(key, record, later, later) == SAVED
        mine = next_write(base, touched_ms=later)
        assert verbs.replace(key, mine, base, later) == SAVED
        assert verbs.get(key) == mine

    def test_what_is_made_of_a_record_that_was_read_is_a_base(self, verbs: DriverVerbs) -> None:
        key, record = make_key(), make_record()
        later = NOW + 5 * SECOND
        verbs.add(key, record)
        base = read(verbs, key)
        assert verbs.touch(key, base, later, later) == SAVED
        used = touched(base, later)
        assert read(verbs, key) == used
        mine = next_write(used)
        assert verbs.replace(key, mine, used, later) == SAVED
        assert verbs.get(key) == mine

    def test_the_record_of_a_conflict_is_a_base(self, verbs: DriverVerbs) -> None:
        key, record = make_key(), make_record()
        verbs.add(key, record)
        verbs.replace(key, next_write(record, payload=b"theirs"), record, NOW)
        found = verbs.replace(key, next_write(record), record, NOW).stored
        assert isinstance(found, Record)
        mine = next_write(found)
        assert verbs.replace(key, mine, found, NOW) == SAVED
        assert verbs.get(key) == mine

    def test_a_record_that_was_read_and_then_ended_is_no_base(self, verbs: DriverVerbs) -> None:
        key, end = make_key(), make_end()
        verbs.add(key, make_record())
        base = read(verbs, key)
        verbs.delete(key, end)
        assert verbs.replace(key, next_write(base), base, NOW) == Answer(Outcome.MISSING, end)
        assert verbs.touch(key, base, NOW + SECOND, NOW) == Answer(Outcome.MISSING, end)
        assert verbs.retire(key, base, make_end(), NOW) == Answer(Outcome.MISSING, end)
        assert verbs.get(key) == end

    @for_each("idle_ms", [LONGEST_AGE * SECOND, -LONGEST_AGE * SECOND])
    def test_the_longest_age_can_be_read(self, verbs: DriverVerbs, idle_ms: int) -> None:
        key, record = make_key(), make_record(idle_ms=idle_ms)
        verbs.add(key, record)
        assert verbs.get(key) == record

    def test_a_replace_that_is_sent_again_was_stored(self, verbs: DriverVerbs) -> None:
        key, record = make_key(), make_record()
        mine = next_write(record)
        verbs.add(key, record)
        verbs.replace(key, mine, record, NOW)
        assert verbs.replace(key, mine, record, NOW) == SAVED

    def test_a_replace_sent_again_after_another_save_leaves_that_save(
        self, verbs: DriverVerbs
    ) -> None:
        key, record = make_key(), make_record()
        mine = next_write(record)
        theirs = next_write(mine, payload=b"theirs")
        verbs.add(key, record)
        verbs.replace(key, mine, record, NOW)
        verbs.replace(key, theirs, mine, NOW)
        assert verbs.replace(key, mine, record, NOW) == SAVED
        assert verbs.get(key) == theirs


def read(verbs: DriverVerbs, key: str) -> Record:
    """Return the record under *key*, as its driver read it."""
    found = verbs.get(key)
    assert isinstance(found, Record)
    return found
