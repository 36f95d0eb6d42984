from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_multisession.core.records import (
    EXPIRY_SLACK,
    LONGEST_AGE,
    MISSING,
    REVISIONS_KEPT,
    SAVED,
    Answer,
    Outcome,
    Reason,
    Record,
    Stored,
    Tombstone,
    add_age,
    answer_to_delete,
    answer_to_move,
    answer_to_replace,
    answer_to_touch,
    earliest,
    from_milliseconds,
    is_readable_age,
    last_idle_moment,
    new_revision,
    server_life,
    to_milliseconds,
    truncate,
)

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
SECOND, MILLISECOND = timedelta(seconds=1), timedelta(milliseconds=1)

moments = st.datetimes(
    min_value=datetime(2, 1, 1),  # noqa: DTZ001  (hypothesis adds the zone)
    max_value=datetime(9998, 12, 31),  # noqa: DTZ001  (as above)
    timezones=st.just(UTC) | st.timedeltas(timedelta(hours=-23), timedelta(hours=23)).map(timezone),
)


def a_record(**changes: object) -> Record:
    record = Record(
        payload=b"signed",
        revisions=("mine", "third", "second", "first"),
        created_at=NOW,
        began_at=NOW,
        touched_at=NOW,
        idle_age=60,
        hard_deadline_at=NOW + timedelta(hours=1),
    )
    return dataclasses.replace(record, **changes)  # type: ignore[arg-type]  # by name


BASE = a_record(revisions=("third", "second", "first"))
MINE = a_record()
THEIRS = a_record(revisions=("theirs", "third", "second", "first"))
OVER_MINE = a_record(revisions=("later", "mine", "third", "second"))
USED_LATER = dataclasses.replace(BASE, touched_at=NOW + SECOND)
LONG_AFTER = NOW + timedelta(hours=2)

LEFT = Tombstone("mine", Reason.MOVED, "new")
FOUND = Tombstone("found", Reason.ENDED)
OTHER = Tombstone("third", Reason.LOGIN, "other")


def conflict_with(stored: Record | Tombstone) -> Answer:
    return Answer(Outcome.CONFLICT, stored)


def missing_with(stored: Tombstone) -> Answer:
    return Answer(Outcome.MISSING, stored)


@pytest.mark.parametrize(
    ("stored", "now", "answer"),
    [
        (None, NOW, MISSING),
        (FOUND, NOW, missing_with(FOUND)),
        (LEFT, NOW, missing_with(LEFT)),
        (BASE, NOW, None),
        (BASE, LONG_AFTER, MISSING),
        (USED_LATER, NOW, conflict_with(USED_LATER)),
        (MINE, NOW, SAVED),
        (OVER_MINE, NOW, SAVED),
        (THEIRS, NOW, conflict_with(THEIRS)),
        # It was saved before it expired; the answer was lost and asked for again.
        (MINE, LONG_AFTER, SAVED),
        (OVER_MINE, LONG_AFTER, SAVED),
        (THEIRS, LONG_AFTER, MISSING),
    ],
)
def test_a_replace_is_judged_by_what_it_finds(
    stored: Stored, now: datetime, answer: Answer | None
) -> None:
    assert answer_to_replace(stored, MINE, BASE, now) == answer


def test_only_the_newest_revision_of_what_was_written_makes_a_replace_saved() -> None:
    # The older ones are common to every write over the same base.
    assert answer_to_replace(THEIRS, MINE, BASE, NOW) == conflict_with(THEIRS)


@pytest.mark.parametrize(
    ("stored", "now", "answer"),
    [
        (None, NOW, MISSING),
        (FOUND, NOW, missing_with(FOUND)),
        # It has the base's revision, but it isn't the base.
        (OTHER, NOW, missing_with(OTHER)),
        (LEFT, NOW, SAVED),
        (LEFT, LONG_AFTER, SAVED),
        (BASE, NOW, None),
        (BASE, LONG_AFTER, MISSING),
        (USED_LATER, NOW, conflict_with(USED_LATER)),
        (THEIRS, NOW, conflict_with(THEIRS)),
        (THEIRS, LONG_AFTER, MISSING),
    ],
)
def test_a_move_is_judged_by_what_it_finds_under_its_old_key(
    stored: Stored, now: datetime, answer: Answer | None
) -> None:
    assert answer_to_move(stored, MINE, BASE, LEFT, now) == answer


@pytest.mark.parametrize(
    ("stored", "now", "answer"),
    [
        (None, NOW, MISSING),
        (FOUND, NOW, None),
        (FOUND, LONG_AFTER, None),
        (OTHER, NOW, conflict_with(OTHER)),
        (LEFT, NOW, SAVED),
        (BASE, NOW, conflict_with(BASE)),
        (a_record(revisions=("found",)), NOW, conflict_with(a_record(revisions=("found",)))),
        (BASE, LONG_AFTER, MISSING),
    ],
)
def test_a_claim_is_judged_by_what_it_finds_under_its_old_key(
    stored: Stored, now: datetime, answer: Answer | None
) -> None:
    assert answer_to_move(stored, MINE, FOUND, LEFT, now) == answer


@pytest.mark.parametrize(
    ("stored", "now", "answer"),
    [
        (None, NOW, MISSING),
        (FOUND, NOW, missing_with(FOUND)),
        (BASE, NOW, None),
        (BASE, LONG_AFTER, MISSING),
        (USED_LATER, NOW, SAVED),
        (dataclasses.replace(BASE, touched_at=NOW + 2 * SECOND), NOW, SAVED),
        (THEIRS, NOW, conflict_with(THEIRS)),
        (THEIRS, LONG_AFTER, MISSING),
    ],
)
def test_a_touch_is_judged_by_what_it_finds(
    stored: Stored, now: datetime, answer: Answer | None
) -> None:
    assert answer_to_touch(stored, BASE, NOW + SECOND, now) == answer


@pytest.mark.parametrize(
    ("stored", "answer"), [(None, False), (LEFT, True), (FOUND, FOUND), (OTHER, OTHER)]
)
def test_a_delete_is_judged_by_what_lies_under_its_key_after_it(
    stored: Stored, answer: bool | Tombstone
) -> None:
    assert answer_to_delete(stored, LEFT) == answer


def test_a_revision_is_random_and_new() -> None:
    assert len({new_revision()[0] for _ in range(10_000)}) == 10_000


def test_a_new_revision_stands_first_and_the_last_ones_are_kept() -> None:
    revisions: tuple[str, ...] = ()
    written: list[str] = []
    for _ in range(6):
        revisions = new_revision(revisions)
        written.insert(0, revisions[0])
        assert list(revisions) == written[:REVISIONS_KEPT]
    assert len(revisions) == REVISIONS_KEPT == 4
    assert a_record(revisions=revisions).revision == written[0]


def test_no_repr_of_a_record_shows_its_payload() -> None:
    shown = repr(a_record(payload=b"hunter2"))
    assert "hunter2" not in shown
    assert "hunter2" not in repr(Answer(Outcome.CONFLICT, a_record(payload=b"hunter2")))


def test_a_record_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        MINE.user_id = "8"  # type: ignore[misc]  # that is what is tried


@pytest.mark.parametrize(
    ("idle_age", "hard_deadline_at", "expires_at"),
    [
        (60, NOW + timedelta(hours=1), NOW + timedelta(seconds=60)),
        (7200, NOW + timedelta(hours=1), NOW + timedelta(hours=1)),
        (None, NOW + timedelta(hours=1), NOW + timedelta(hours=1)),
        (60, None, NOW + timedelta(seconds=60)),
        (0, None, NOW),
        (None, None, None),
    ],
)
def test_a_record_expires_at_the_earlier_of_its_deadlines(
    idle_age: int | None, hard_deadline_at: datetime | None, expires_at: datetime | None
) -> None:
    record = a_record(idle_age=idle_age, hard_deadline_at=hard_deadline_at)
    assert record.expires_at == expires_at


def test_the_idle_deadline_counts_from_the_last_use_alone() -> None:
    record = a_record(touched_at=NOW + 30 * SECOND)
    assert record.expires_at == NOW + 90 * SECOND


def test_a_record_is_live_until_the_moment_it_expires_and_not_at_it() -> None:
    assert MINE.is_live(NOW + 60 * SECOND - MILLISECOND)
    assert not MINE.is_live(NOW + 60 * SECOND)
    assert not MINE.is_live(NOW + 60 * SECOND + MILLISECOND)


def test_a_record_without_deadlines_is_always_live() -> None:
    record = a_record(idle_age=None, hard_deadline_at=None)
    assert record.is_live(datetime.max.replace(tzinfo=UTC))


@given(st.lists(st.none() | moments))
def test_the_earliest_of_moments_is_one_of_them_and_none_is_never(
    given_moments: list[datetime | None],
) -> None:
    found = earliest(*given_moments)
    times = [moment for moment in given_moments if moment is not None]
    assert (found is None) is (not times)
    assert all(found <= moment for moment in times if found)
    assert found is None or found in times


@given(moment=moments, age=st.integers(-(10**9), 10**9))
def test_an_age_is_added_in_seconds(moment: datetime, age: int) -> None:
    if 33 < moment.year < 9900:
        assert add_age(moment, age) == moment + age * SECOND


def test_no_age_is_never() -> None:
    assert add_age(NOW, None) is None


@pytest.mark.parametrize("age", [10**12, 10**14, 10**30, 10**400])
def test_an_age_past_the_end_of_the_calendar_is_never(age: int) -> None:
    assert add_age(NOW, age) is None


@pytest.mark.parametrize("age", [-1, -60, -(10**9), -(10**12), -(10**14), -(10**30)])
def test_a_record_of_negative_age_has_expired_however_negative_it_is(age: int) -> None:
    assert not a_record(idle_age=age, hard_deadline_at=None).is_live(NOW)


@pytest.mark.parametrize(
    ("age", "is_readable"),
    [
        (None, True),
        (0, True),
        (LONGEST_AGE, True),
        (-LONGEST_AGE, True),
        (LONGEST_AGE + 1, False),
        (-LONGEST_AGE - 1, False),
        (2**62, False),
    ],
)
def test_an_age_is_read_where_it_is_no_longer_than_the_longest(
    age: int | None, is_readable: bool
) -> None:
    assert is_readable_age(age) is is_readable


@given(
    idle_age=st.none() | st.integers(-LONGEST_AGE, LONGEST_AGE) | st.integers(-100, 100),
    hard=st.none() | st.timedeltas(timedelta(seconds=-100), timedelta(seconds=100)),
    used=st.timedeltas(timedelta(seconds=-100), timedelta(seconds=100)),
    since=st.timedeltas(timedelta(seconds=-100), timedelta(seconds=100)),
)
def test_a_record_is_live_where_its_last_use_is_after_its_last_idle_moment(
    idle_age: int | None, hard: timedelta | None, used: timedelta, since: timedelta
) -> None:
    base = a_record(idle_age=idle_age, hard_deadline_at=None if hard is None else NOW + hard)
    stored = dataclasses.replace(base, touched_at=truncate(NOW + used))
    now = NOW + since
    is_live = to_milliseconds(stored.touched_at) > last_idle_moment(base, now)
    assert is_live is stored.is_live(now)


@given(moments)
def test_a_moment_is_cut_to_the_millisecond_it_is_in(moment: datetime) -> None:
    cut = truncate(moment)
    assert timedelta(0) <= moment - cut < MILLISECOND
    assert cut.microsecond % 1000 == 0
    assert cut.tzinfo is UTC
    assert truncate(cut) == cut


def test_times_before_1970_are_cut_downwards_too() -> None:
    moment = datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
    assert truncate(moment) == moment.replace(microsecond=999_000)
    assert to_milliseconds(moment) == -1


@given(moments)
def test_milliseconds_read_back_as_the_moment_that_was_cut(moment: datetime) -> None:
    assert from_milliseconds(to_milliseconds(moment)) == truncate(moment)


@given(st.integers(-62_135_596_800_000, 253_402_300_799_999))
def test_every_millisecond_of_the_calendar_reads_back(milliseconds: int) -> None:
    assert to_milliseconds(from_milliseconds(milliseconds)) == milliseconds


@pytest.mark.parametrize("milliseconds", [10**15, -(10**15), 2**63, -(2**63), 10**40])
def test_milliseconds_outside_the_calendar_are_an_overflow(milliseconds: int) -> None:
    with pytest.raises(OverflowError):
        from_milliseconds(milliseconds)


def test_a_server_keeps_a_record_for_its_remaining_life_and_the_slack() -> None:
    assert server_life(MINE, NOW + 20 * SECOND) == 40 * SECOND + EXPIRY_SLACK


def test_a_server_keeps_a_record_without_deadlines_forever() -> None:
    assert server_life(a_record(idle_age=None, hard_deadline_at=None), NOW) is None


@given(st.timedeltas(timedelta(days=-3000), timedelta(days=3000)))
def test_a_server_never_keeps_a_record_for_less_than_the_slack(since: timedelta) -> None:
    life = server_life(MINE, NOW + since)
    assert life is not None
    assert life >= EXPIRY_SLACK


@given(st.timedeltas(timedelta(0), timedelta(hours=2)))
def test_a_server_keeps_a_record_at_least_until_every_clock_within_the_slack_calls_it_expired(
    since: timedelta,
) -> None:
    now = NOW + since
    life, expires_at = server_life(MINE, now), MINE.expires_at
    assert life is not None
    assert expires_at is not None
    assert now + life >= expires_at + EXPIRY_SLACK
