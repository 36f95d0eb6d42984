"""The laws of `retire` and `withdraw`, and of a move that is made of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from django_multisession.core.records import (
    MISSING,
    SAVED,
    Answer,
    Outcome,
    Reason,
    Record,
    Tombstone,
)
from django_multisession.drivers.base import Driver, Steps, move_in_steps
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
from django_multisession.testing.driver.move_laws import DriverMoveLaws
from django_multisession.testing.rows import for_each
from django_multisession.testing.stored_records import changed, next_write
from django_multisession.testing.verbs import DriverVerbs, open_runner


class DriverStepLaws(DriverFixtures):
    """What a retirement leaves, what a withdrawal takes back, and what they leave alone."""

    # retire

    @for_each("reason", Reason)
    def test_retire_leaves_its_tombstone(self, verbs: DriverVerbs, reason: Reason) -> None:
        key, record = make_key(), make_record()
        left = Tombstone(make_end().revision, reason, make_key())
        verbs.add(key, record)
        assert verbs.retire(key, record, left, NOW) == SAVED
        assert verbs.get(key) == left

    def test_retire_leaves_its_tombstone_in_the_place_of_another(self, verbs: DriverVerbs) -> None:
        key, end = make_key(), make_end()
        left = left_by(make_record(), make_key())
        verbs.add(key, make_record())
        verbs.delete(key, end)
        assert verbs.retire(key, end, left, NOW) == SAVED
        assert verbs.get(key) == left

    def test_retire_of_nothing_leaves_nothing(self, verbs: DriverVerbs) -> None:
        key = make_key()
        assert verbs.retire(key, make_record(), make_end(), NOW) == MISSING
        assert verbs.retire(key, make_end(), make_end(), NOW) == MISSING
        assert verbs.get(key) is None

    def test_retire_of_what_has_expired_leaves_it(self, verbs: DriverVerbs) -> None:
        key, record = make_key(), make_record(**EXPIRED)
        verbs.add(key, record)
        assert verbs.retire(key, record, make_end(), NOW) == MISSING
        assert verbs.retire(key, make_end(), make_end(), NOW) == MISSING
        assert verbs.get(key) in (None, record)

    def test_retire_over_another_revision_is_a_conflict(self, verbs: DriverVerbs) -> None:
        key, record = make_key(), make_record()
        theirs = next_write(record, payload=b"theirs")
        verbs.add(key, record)
        verbs.replace(key, theirs, record, NOW)
        assert verbs.retire(key, record, make_end(), NOW) == Answer(Outcome.CONFLICT, theirs)
        assert verbs.get(key) == theirs

    def test_retire_of_what_was_ended_answers_the_tombstone(self, verbs: DriverVerbs) -> None:
        key, record, end = make_key(), make_record(), make_end()
        verbs.add(key, record)
        verbs.delete(key, end)
        assert verbs.retire(key, record, make_end(), NOW) == Answer(Outcome.MISSING, end)
        assert verbs.get(key) == end

    @for_each("is_ended", [False, True], ids=["record", "tombstone"])
    def test_retire_over_another_tombstone_is_a_conflict(
        self, verbs: DriverVerbs, *, is_ended: bool
    ) -> None:
        key, record = make_key(), make_record()
        verbs.add(key, record)
        if is_ended:
            verbs.delete(key, make_end())
        there = verbs.get(key)
        # By the revision of the record too: a tombstone is expected.
        for base in (make_end(), left_by(record, key)):
            assert verbs.retire(key, base, make_end(), NOW) == Answer(Outcome.CONFLICT, there)
            assert verbs.get(key) == there

    def test_retire_that_is_sent_again_was_done(self, verbs: DriverVerbs) -> None:
        key, record, end = make_key(), make_record(), make_end()
        left = left_by(make_record(), make_key())
        verbs.add(key, record)
        for base, leaving in ((record, end), (end, left)):
            verbs.retire(key, base, leaving, NOW)
            assert verbs.retire(key, base, leaving, NOW) == SAVED
            assert verbs.get(key) == leaving

    def test_retire_counts_the_stored_last_use(self, verbs: DriverVerbs) -> None:
        key, record, end = make_key(), make_record(), make_end()
        later = record.ends_ms + SECOND
        verbs.add(key, record)
        verbs.touch(key, record, record.ends_ms - SECOND, NOW)
        assert verbs.retire(key, record, end, later) == SAVED
        assert verbs.get(key) == end

    # withdraw

    def test_withdraw_undoes_an_add(self, verbs: DriverVerbs) -> None:
        key, record = make_key(), make_record()
        verbs.add(key, record)
        verbs.withdraw(key, record)
        assert verbs.get(key) is None
        assert verbs.add(key, make_record()) is True

    def test_withdraw_leaves_what_was_saved_over(self, verbs: DriverVerbs) -> None:
        key, record = make_key(), make_record()
        theirs = next_write(record)
        verbs.add(key, record)
        verbs.replace(key, theirs, record, NOW)
        verbs.withdraw(key, record)
        assert verbs.get(key) == theirs

    def test_withdraw_leaves_what_another_added(self, verbs: DriverVerbs) -> None:
        key, theirs = make_key(), make_record()
        verbs.add(key, theirs)
        verbs.withdraw(key, make_record())
        assert verbs.get(key) == theirs

    def test_withdraw_leaves_a_tombstone(self, verbs: DriverVerbs) -> None:
        key, record, end = make_key(), make_record(), make_end()
        verbs.add(key, record)
        verbs.delete(key, end)
        verbs.withdraw(key, record)
        assert verbs.get(key) == end

    def test_withdraw_takes_what_a_touch_has_moved(self, verbs: DriverVerbs) -> None:
        key, record = make_key(), make_record()
        verbs.add(key, record)
        verbs.touch(key, record, NOW + SECOND, NOW)
        assert verbs.get(key) == changed(record, touched_ms=NOW + SECOND)
        verbs.withdraw(key, record)
        assert verbs.get(key) is None

    def test_withdraw_of_nothing_leaves_nothing(self, verbs: DriverVerbs) -> None:
        key, record = make_key(), make_record()
        for _ in range(2):
            verbs.withdraw(key, record)
            assert verbs.get(key) is None


class MovingInSteps:
    """A driver whose moves are made in steps, as on a server that changes one record at a time."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def __getattr__(self, name: str) -> Any:
        """Return what the driver has under *name*."""
        return getattr(self._driver, name)

    def move(
        self,
        old_key: str,
        new_key: str,
        record: Record,
        base: Record | Tombstone,
        left: Tombstone,
        now: int,
    ) -> Steps[Answer]:
        """See Driver.move()."""
        return move_in_steps(self._driver, old_key, new_key, record, base, left, now)


class DriverStepMoveContract(DriverMoveLaws):
    """The laws of a move, for a move in steps. Subclasses provide the fixture `driver`."""

    @pytest.fixture(params=["sync", "async"])
    def verbs(self, driver: Driver, request: pytest.FixtureRequest) -> Iterator[DriverVerbs]:
        """Return the verbs of the driver; its moves are made in steps."""
        run, close = open_runner(request.param)
        yield DriverVerbs(MovingInSteps(driver), run)
        close()
