"""The laws of `Indexed`: which records of a user are found."""

from __future__ import annotations

import secrets

import pytest

from django_multisession.core.records import NEVER, SAVED, Answer, Outcome, Reason, Record
from django_multisession.drivers.base import security_logger
from django_multisession.testing.driver.fixtures import (
    IDLE_MS,
    NOW,
    DriverFixtures,
    left_by,
    make_end,
    make_key,
    make_record,
    with_bytes,
)
from django_multisession.testing.rows import for_each
from django_multisession.testing.stored_records import changed, next_write
from django_multisession.testing.verbs import DriverVerbs


def make_user() -> str:
    """Return the id of a user of whom no other law has sessions."""
    return f"user-{secrets.token_hex(8)}"


def record_of(user_id: str | None, **changes: object) -> Record:
    """Return a record of *user_id*; see `make_record`."""
    return make_record(user_id=user_id, **changes)


def found(
    verbs: DriverVerbs, user_id: str, now: int = NOW, *, limit: int = 100
) -> dict[str, Record]:
    """Return what is found, by storage key."""
    return dict(each for page in verbs.of_user(user_id, now, limit=limit) for each in page)


class DriverIndexLaws(DriverFixtures):
    """A listing finds a user's live records, wherever writes have put them, and no others."""

    def test_no_session_is_found_of_an_unknown_user(self, verbs: DriverVerbs) -> None:
        assert verbs.of_user(make_user(), NOW) == [[]]

    @for_each(
        "user_id",
        ["7", "", "$where", "Zo\xeb \N{SNOWMAN}", "user:*", "a\0b", "x" * 300, "\udcff"],
    )
    def test_an_added_record_is_found_by_its_user(self, verbs: DriverVerbs, user_id: str) -> None:
        key, record = make_key(), record_of(user_id)
        verbs.add(key, record)
        assert found(verbs, user_id)[key] == record

    def test_only_the_records_of_the_user_are_found(self, verbs: DriverVerbs) -> None:
        mine, other = make_user(), make_user()
        key = make_key()
        verbs.add(key, record_of(mine))
        for stranger in (other, mine.upper(), mine + " ", mine[:-1], None):
            verbs.add(make_key(), record_of(stranger))
        assert found(verbs, mine).keys() == {key}

    def test_users_that_begin_alike_are_told_apart(self, verbs: DriverVerbs) -> None:
        users = ["x" * 300 + end for end in "ab"]
        keys = [make_key() for _ in users]
        for key, user_id in zip(keys, users, strict=True):
            verbs.add(key, record_of(user_id))
        assert [set(keys) & found(verbs, user_id).keys() for user_id in users] == [
            {key} for key in keys
        ]

    def test_an_expired_record_is_not_found(self, verbs: DriverVerbs) -> None:
        user, key = make_user(), make_key()
        verbs.add(key, record_of(user))
        assert found(verbs, user, NOW + IDLE_MS - 1).keys() == {key}
        assert found(verbs, user, NOW + IDLE_MS) == {}

    def test_an_endless_record_is_found(self, verbs: DriverVerbs) -> None:
        user, key = make_user(), make_key()
        verbs.add(key, record_of(user, idle_ms=NEVER, deadline_ms=NEVER))
        assert found(verbs, user, NOW + 1000 * IDLE_MS).keys() == {key}

    def test_a_touched_record_is_found_as_long_as_it_lives(self, verbs: DriverVerbs) -> None:
        user, key = make_user(), make_key()
        record = record_of(user)
        verbs.add(key, record)
        now = NOW
        for _ in range(20):
            now += IDLE_MS // 2
            verbs.touch(key, record, now, now)
            assert found(verbs, user, now).keys() == {key}
        assert found(verbs, user, now + IDLE_MS - 1).keys() == {key}

    def test_a_saved_record_is_found_as_long_as_it_lives(self, verbs: DriverVerbs) -> None:
        user, key = make_user(), make_key()
        record, now = record_of(user), NOW
        verbs.add(key, record)
        for _ in range(50):
            now += IDLE_MS // 25
            after = next_write(record, touched_ms=now)
            assert verbs.replace(key, after, record, now) == SAVED
            record = after
            # What a later write of the same user removes are ends that have come.
            verbs.add(make_key(), record_of(user, touched_ms=now - IDLE_MS))
            assert found(verbs, user, now) == {key: record}

    def test_a_save_by_another_user_takes_the_record_along(self, verbs: DriverVerbs) -> None:
        before, after, key = make_user(), make_user(), make_key()
        record = record_of(before)
        theirs = next_write(record, user_id=after)
        verbs.add(key, record)
        verbs.replace(key, theirs, record, NOW)
        assert found(verbs, before) == {}
        assert found(verbs, after) == {key: theirs}

    def test_a_save_that_logs_in_or_out_is_followed(self, verbs: DriverVerbs) -> None:
        user, key = make_user(), make_key()
        anonymous = record_of(None)
        of_user = next_write(anonymous, user_id=user)
        verbs.add(key, anonymous)
        verbs.replace(key, of_user, anonymous, NOW)
        assert found(verbs, user) == {key: of_user}
        verbs.replace(key, next_write(of_user, user_id=None), of_user, NOW)
        assert found(verbs, user) == {}

    @for_each("user_before", [True, False])
    def test_a_moved_record_is_found_under_its_new_key(
        self, verbs: DriverVerbs, user_before: bool
    ) -> None:
        user, old, new = make_user(), make_key(), make_key()
        record = record_of(user if user_before else None)
        moved = next_write(record, user_id=user)
        verbs.add(old, record)
        assert verbs.move(old, new, moved, record, left_by(moved, new), NOW) == SAVED
        assert found(verbs, user) == {new: moved}

    def test_a_record_that_moves_to_another_user_is_found_of_that_one(
        self, verbs: DriverVerbs
    ) -> None:
        before, after, old, new = make_user(), make_user(), make_key(), make_key()
        record = record_of(before)
        moved = next_write(record, user_id=after)
        verbs.add(old, record)
        verbs.move(old, new, moved, record, left_by(moved, new, Reason.LOGIN), NOW)
        assert found(verbs, before) == {}
        assert found(verbs, after) == {new: moved}

    def test_a_refused_move_is_not_found(self, verbs: DriverVerbs) -> None:
        user, old, new = make_user(), make_key(), make_key()
        record = record_of(user)
        moved = next_write(record)
        verbs.move(old, new, moved, record, left_by(moved, new), NOW)
        assert found(verbs, user) == {}

    def test_a_claim_is_found(self, verbs: DriverVerbs) -> None:
        user, old, new, end = make_user(), make_key(), make_key(), make_end(Reason.LEFT)
        verbs.add(old, record_of(user))
        verbs.delete(old, end)
        claiming = record_of(user)
        assert verbs.move(old, new, claiming, end, left_by(claiming, new), NOW) == SAVED
        assert found(verbs, user) == {new: claiming}

    @for_each("verb", ["delete", "retire", "withdraw"])
    def test_an_ended_record_is_not_found(self, verbs: DriverVerbs, verb: str) -> None:
        user, key, other = make_user(), make_key(), make_key()
        record = record_of(user)
        verbs.add(key, record)
        verbs.add(other, record_of(user))
        match verb:
            case "delete":
                verbs.delete(key, make_end())
            case "retire":
                verbs.retire(key, record, make_end(), NOW)
            case "withdraw":
                verbs.withdraw(key, record)
        assert found(verbs, user).keys() == {other}

    def test_pages_hold_every_record(self, verbs: DriverVerbs) -> None:
        user = make_user()
        keys = {make_key() for _ in range(300)}
        for key in keys:
            verbs.add(key, record_of(user))
        pages = verbs.of_user(user, NOW, limit=50)
        assert len(pages) > 1
        assert found(verbs, user, limit=50).keys() == keys

    # delete_many

    def test_many_ends_answer_as_one_does(self, verbs: DriverVerbs) -> None:
        user, end = make_user(), make_end()
        live, damaged, moved, ended, _absent = keys = [make_key() for _ in range(5)]
        record, successor = record_of(user), make_key()
        for key in (live, moved, ended):
            verbs.add(key, record)
        verbs.add(damaged, with_bytes(record, record.raw[:20]))
        after, earlier = next_write(record), make_end(Reason.LEFT)
        verbs.move(moved, successor, after, record, left_by(after, successor), NOW)
        verbs.delete(ended, earlier)
        there = left_by(after, successor)
        assert verbs.delete_many(keys, end) == [True, True, there, earlier, False]
        assert [verbs.get(key) for key in keys] == [end, end, there, earlier, None]
        assert found(verbs, user) == {successor: after}
        # As an attempt whose answer was lost.
        assert verbs.delete_many(keys, end) == [True, True, there, earlier, False]

    def test_many_ends_of_a_user_end_no_record_of_another(self, verbs: DriverVerbs) -> None:
        mine, theirs = make_user(), make_user()
        live, taken, anonymous, moved = keys = [make_key() for _ in range(4)]
        record, end, successor = record_of(mine), make_end(), make_key()
        verbs.add(live, record)
        strangers = {taken: record_of(theirs), anonymous: record_of(None)}
        for key, stranger in strangers.items():
            verbs.add(key, stranger)
        verbs.add(moved, record)
        after = next_write(record)
        verbs.move(moved, successor, after, record, left_by(after, successor), NOW)
        there = left_by(after, successor)
        assert verbs.delete_many(keys, end, user_id=mine) == [True, False, False, there]
        assert verbs.get(live) == end
        assert {key: verbs.get(key) for key in strangers} == strangers
        assert found(verbs, theirs) == {taken: strangers[taken]}

    @for_each("user_id", ["", "$where", "Zo\xeb \N{SNOWMAN}", "a\0b", "x" * 300, "\udcff"])
    def test_many_ends_know_every_user(self, verbs: DriverVerbs, user_id: str) -> None:
        key, other = make_key(), make_key()
        verbs.add(key, record_of(user_id))
        verbs.add(other, record_of(None))
        assert verbs.delete_many([other, key], make_end(), user_id=user_id) == [False, True]
        assert key not in found(verbs, user_id)

    def test_many_ends_take_any_number_of_keys(self, verbs: DriverVerbs) -> None:
        user, end = make_user(), make_end()
        keys = [make_key() for _ in range(1001)]
        for key in keys[::250]:
            verbs.add(key, record_of(user))
        answers = verbs.delete_many(keys, end, user_id=user)
        assert [number for number, answer in enumerate(answers) if answer] == [
            0,
            250,
            500,
            750,
            1000,
        ]
        assert found(verbs, user) == {}
        assert verbs.delete_many([], end) == []

    # write_and_get

    def test_an_add_brings_what_lies_under_another_key(self, verbs: DriverVerbs) -> None:
        other, there = make_key(), record_of(None)
        key, record = make_key(), record_of(make_user())
        assert verbs.add_and_get(key, record, other) == (True, None)
        verbs.notes.add(other, there)
        # By an attempt whose answer was lost.
        assert verbs.add_and_get(key, record, other)[0] is True
        assert verbs.add_and_get(make_key(), record, other) == (True, there)
        assert verbs.get(key) == record

    def test_a_move_and_a_replace_bring_what_lies_under_another_key(
        self, verbs: DriverVerbs
    ) -> None:
        other, there, user = make_key(), record_of(None), make_user()
        old, new, record = make_key(), make_key(), record_of(None)
        verbs.notes.add(other, there)
        verbs.add(old, record)
        # A driver may bring nothing with a save that says nothing new of a user's session.
        saved = next_write(record, user_id=user)
        assert verbs.replace_and_get(old, saved, record, NOW, other) == (SAVED, there)
        moved = next_write(saved)
        left = left_by(moved, new)
        assert verbs.move_and_get(old, new, moved, saved, left, NOW, other) == (SAVED, there)
        assert found(verbs, user) == {new: moved}

    def test_a_refused_write_answers_as_ever(self, verbs: DriverVerbs) -> None:
        other, there, user = make_key(), record_of(None), make_user()
        key, record, absent = make_key(), record_of(user), make_key()
        theirs = next_write(record)
        verbs.notes.add(other, there)
        verbs.add(key, theirs)
        conflict = Answer(Outcome.CONFLICT, theirs)
        mine, unlike = next_write(record), record_of(user, revision=b"unlike-8")
        assert verbs.add_and_get(key, unlike, other)[0] is False
        assert verbs.replace_and_get(key, mine, record, NOW, other)[0] == conflict
        left = left_by(mine, absent)
        assert verbs.move_and_get(key, absent, mine, record, left, NOW, other)[0] == conflict
        assert found(verbs, user) == {key: theirs}

    def test_what_a_newer_release_wrote_under_another_key_hides_no_write(
        self, verbs: DriverVerbs, caplog: pytest.LogCaptureFixture
    ) -> None:
        other, there, user = make_key(), record_of(None), make_user()
        old, new, record = make_key(), make_key(), record_of(user)
        verbs.notes.add(other, with_bytes(there, there.raw[:1] + b"\x02" + there.raw[2:]))
        caplog.clear()
        assert verbs.add_and_get(old, record, other) == (True, None)
        assert [line.name for line in caplog.records] == [security_logger.name]
        assert other in caplog.text
        moved = next_write(record)
        left = left_by(moved, new)
        assert verbs.move_and_get(old, new, moved, record, left, NOW, other) == (SAVED, None)
        assert found(verbs, user) == {new: moved}

    def test_the_tombstone_under_another_key_is_brought(self, verbs: DriverVerbs) -> None:
        other, end = make_key(), make_end()
        verbs.notes.add(other, record_of(None))
        verbs.notes.delete(other, end)
        assert verbs.add_and_get(make_key(), record_of(make_user()), other) == (True, end)

    def test_a_touch_brings_what_lies_under_another_key(self, verbs: DriverVerbs) -> None:
        other, there = make_key(), record_of(None)
        key, record, later = make_key(), record_of(make_user()), NOW + IDLE_MS // 2
        verbs.notes.add(other, there)
        verbs.add(key, record)
        assert verbs.touch_and_get(key, record, later, later, other) == (SAVED, there)
        assert verbs.get(key) == changed(record, touched_ms=later)
