from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from django_multisession.core.lifetime import (
    Custom,
    Life,
    Policy,
    asked_beyond_cap_ms,
    later_authentication,
    life,
    planned_end,
    touch_due_ms,
)
from django_multisession.core.records import (
    BEGINNING_MS,
    END_MS,
    NEVER,
    SLACK_MS,
    Facts,
    Record,
    assemble,
    encode_signed,
    to_datetime,
    to_milliseconds,
)
from django_multisession.session.custom_expiry import custom_expiry
from django_multisession.testing.rows import for_each

BEGAN = datetime(2026, 1, 1, 12, tzinfo=UTC)
BEGAN_MS = to_milliseconds(BEGAN)
IDLE, ABSOLUTE, ANONYMOUS = timedelta(hours=2), timedelta(days=30), timedelta(minutes=10)
IDLE_AGE = 7200
HARD = BEGAN + ABSOLUTE
SOON, LATE = BEGAN + timedelta(days=1), BEGAN + timedelta(days=90)
MILLISECOND = timedelta(milliseconds=1)

DEFAULT = Policy(idle_timeout=IDLE, absolute_timeout=ABSOLUTE, absolute_is_configured=False)
CONFIGURED = Policy(idle_timeout=IDLE, absolute_timeout=ABSOLUTE, absolute_is_configured=True)
NO_ABSOLUTE = Policy(idle_timeout=IDLE, absolute_timeout=None, absolute_is_configured=True)
REMEMBERED = dataclasses.replace(CONFIGURED, remembered_absolute_timeout=timedelta(days=60))
REMEMBERED_FOR_LESS = dataclasses.replace(CONFIGURED, remembered_absolute_timeout=IDLE)
ONLY_REMEMBERED = dataclasses.replace(DEFAULT, remembered_absolute_timeout=timedelta(days=60))
REMEMBERED_HARD = BEGAN + timedelta(days=60)
OFF = Policy(idle_timeout=None, absolute_timeout=None, absolute_is_configured=True)

_timeouts = st.none() | st.timedeltas(timedelta(seconds=1), timedelta(days=4000))
policies = st.builds(
    Policy,
    idle_timeout=_timeouts,
    absolute_timeout=_timeouts,
    absolute_is_configured=st.booleans(),
    remembered_absolute_timeout=_timeouts,
    anonymous_idle_timeout=_timeouts,
    touch_interval=_timeouts,
)
moments_ms = st.integers(0, 4 * 10**12)
customs = st.none() | st.integers(-(10**9), 10**9) | moments_ms.map(to_datetime)


def a_record(idle_ms: int, deadline_ms: int = NEVER) -> Record:
    facts = Facts(
        created_ms=BEGAN_MS,
        began_ms=BEGAN_MS,
        touched_ms=BEGAN_MS,
        idle_ms=idle_ms,
        deadline_ms=deadline_ms,
    )
    return assemble(facts, bytes(32), encode_signed(facts, b"", b"key1"))


def of_life(idle_age: int | None, absolute_deadline_at: datetime | None) -> Life:
    return Life(
        NEVER if idle_age is None else idle_age * 1000,
        NEVER if absolute_deadline_at is None else to_milliseconds(absolute_deadline_at),
    )


# The table in the module's docstring, row by row. A timedelta is a date by the time it gets here.


def is_due(policy: Policy, record: Record, now: int) -> bool:
    return now >= touch_due_ms(policy, record)


@for_each(
    ("policy", "custom", "idle_age", "absolute_deadline_at"),
    [
        # never called
        (DEFAULT, None, IDLE_AGE, HARD),
        (CONFIGURED, None, IDLE_AGE, HARD),
        (NO_ABSOLUTE, None, IDLE_AGE, None),
        (OFF, None, None, None),
        # 0
        (DEFAULT, 0, IDLE_AGE, HARD),
        (CONFIGURED, 0, IDLE_AGE, HARD),
        (NO_ABSOLUTE, 0, IDLE_AGE, None),
        (OFF, 0, None, None),
        # integer
        (DEFAULT, 300, 300, None),
        (CONFIGURED, 300, 300, HARD),
        (NO_ABSOLUTE, 300, 300, None),
        (OFF, 300, 300, None),
        (CONFIGURED, 10**8, 10**8, HARD),
        (DEFAULT, 10**8, 10**8, None),
        # date
        (DEFAULT, SOON, None, SOON),
        (CONFIGURED, SOON, None, SOON),
        (NO_ABSOLUTE, SOON, None, SOON),
        (OFF, SOON, None, SOON),
        (DEFAULT, LATE, None, LATE),
        (CONFIGURED, LATE, None, HARD),
        (NO_ABSOLUTE, LATE, None, LATE),
        # remembered: more than the absolute timeout is asked for
        (REMEMBERED, None, IDLE_AGE, HARD),
        (REMEMBERED, 0, IDLE_AGE, HARD),
        (REMEMBERED, 300, 300, HARD),
        (REMEMBERED, 30 * 86_400, 30 * 86_400, HARD),
        (REMEMBERED, 30 * 86_400 + 1, 30 * 86_400 + 1, REMEMBERED_HARD),
        (REMEMBERED, SOON, None, SOON),
        (REMEMBERED, HARD + MILLISECOND, None, HARD + MILLISECOND),
        (REMEMBERED, LATE, None, REMEMBERED_HARD),
        (REMEMBERED, -1, -1, HARD),
        (REMEMBERED_FOR_LESS, LATE, None, HARD),
        (ONLY_REMEMBERED, None, IDLE_AGE, HARD),
        (ONLY_REMEMBERED, 300, 300, REMEMBERED_HARD),
        (ONLY_REMEMBERED, LATE, None, REMEMBERED_HARD),
    ],
)
def test_set_expiry_means_what_the_table_says(
    policy: Policy, custom: Custom, idle_age: int | None, absolute_deadline_at: datetime | None
) -> None:
    expected = of_life(idle_age, absolute_deadline_at)
    assert life(policy, custom, began_ms=BEGAN_MS, is_anonymous=False) == expected


@for_each(
    ("policy", "custom", "asked"),
    [
        (CONFIGURED, None, None),
        (CONFIGURED, 0, None),
        (CONFIGURED, 30 * 86_400, None),
        (CONFIGURED, 30 * 86_400 + 1, timedelta(days=30, seconds=1)),
        (CONFIGURED, HARD, None),
        (CONFIGURED, LATE, LATE - BEGAN),
        (DEFAULT, LATE, None),
        (NO_ABSOLUTE, LATE, None),
        (REMEMBERED, REMEMBERED_HARD, None),
        (REMEMBERED, LATE, LATE - BEGAN),
    ],
)
def test_an_expiry_beyond_the_cap_is_found(
    policy: Policy, custom: Custom, asked: timedelta | None
) -> None:
    expected = None if asked is None else asked // MILLISECOND
    assert asked_beyond_cap_ms(policy, custom, BEGAN_MS) == expected


@for_each(
    ("idle_timeout", "is_anonymous", "custom", "idle_age"),
    [
        (IDLE, True, None, 600),
        (IDLE, False, None, IDLE_AGE),
        (None, True, None, 600),
        (None, False, None, None),
        (IDLE, True, 0, 600),
        (IDLE, True, 300, 300),
        (IDLE, True, 10**6, 10**6),
        (IDLE, True, SOON, None),
    ],
)
def test_the_anonymous_timeout_is_the_idle_timeout_of_sessions_without_a_user(
    idle_timeout: timedelta | None, is_anonymous: bool, custom: Custom, idle_age: int | None
) -> None:
    policy = Policy(
        idle_timeout=idle_timeout,
        absolute_timeout=ABSOLUTE,
        absolute_is_configured=False,
        anonymous_idle_timeout=ANONYMOUS,
    )
    found = life(policy, custom, began_ms=BEGAN_MS, is_anonymous=is_anonymous)
    assert found.idle_ms == of_life(idle_age, None).idle_ms


def test_without_an_anonymous_timeout_all_sessions_live_alike() -> None:
    anonymous, of_user = (
        life(DEFAULT, None, began_ms=BEGAN_MS, is_anonymous=is_anonymous)
        for is_anonymous in (True, False)
    )
    assert anonymous == of_user


def test_a_part_of_a_second_does_not_lengthen_an_idle_timeout() -> None:
    policy = Policy(
        idle_timeout=timedelta(seconds=1.9), absolute_timeout=None, absolute_is_configured=False
    )
    assert life(policy, None, began_ms=BEGAN_MS, is_anonymous=False).idle_ms == 1000


def test_an_absolute_timeout_past_the_end_of_the_calendar_is_never() -> None:
    policy = Policy(idle_timeout=IDLE, absolute_timeout=timedelta.max, absolute_is_configured=True)
    assert life(policy, None, began_ms=BEGAN_MS, is_anonymous=False).deadline_ms == NEVER


@for_each("zone", [UTC, timezone(timedelta(hours=-3))])
def test_a_date_is_kept_in_whole_milliseconds_as_every_time_of_a_record_is(
    zone: timezone,
) -> None:
    # Or what a save wrote is not what the next request compares with, and it writes again.
    custom = (SOON + timedelta(microseconds=1234)).astimezone(zone)
    planned = life(DEFAULT, custom, began_ms=BEGAN_MS, is_anonymous=False)
    assert planned.deadline_ms == to_milliseconds(SOON) + 1


@for_each(
    ("custom", "is_over"),
    [
        (datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-5))), False),
        (datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=5))), True),
    ],
)
def test_a_date_outside_the_calendar_of_utc_is_never_or_over(
    custom: datetime, is_over: bool
) -> None:
    planned = life(DEFAULT, custom, began_ms=BEGAN_MS, is_anonymous=False)
    assert planned.deadline_ms == (BEGINNING_MS if is_over else NEVER)
    assert planned.ends_ms(BEGAN_MS) == planned.deadline_ms
    ends_at = planned_end(planned, custom, used_at=BEGAN, began_at=BEGAN)
    assert ends_at == (custom if is_over else None)


@for_each("age", [float("inf"), float("-inf"), float("nan")])
def test_an_age_that_is_no_number_of_seconds_raises_nothing(age: float) -> None:
    # JSON carries all three through a store.
    assert isinstance(custom_expiry(age), int | None)


some_life = given(
    policy=policies,
    custom=customs,
    began_ms=moments_ms,
    used_ms=moments_ms,
    is_anonymous=st.booleans(),
)


@some_life
def test_a_session_never_ends_later_than_its_absolute_deadline(
    policy: Policy, custom: Custom, began_ms: int, used_ms: int, is_anonymous: bool
) -> None:
    found = life(policy, custom, began_ms=began_ms, is_anonymous=is_anonymous)
    assert found.ends_ms(used_ms) <= found.deadline_ms


@some_life
def test_nothing_outlives_a_configured_absolute_timeout(
    policy: Policy, custom: Custom, began_ms: int, used_ms: int, is_anonymous: bool
) -> None:
    if policy.absolute_timeout is not None and policy.absolute_is_configured:
        found = life(policy, custom, began_ms=began_ms, is_anonymous=is_anonymous)
        longest = max(
            policy.absolute_timeout, policy.remembered_absolute_timeout or policy.absolute_timeout
        )
        assert found.ends_ms(used_ms) <= began_ms + longest // MILLISECOND


@some_life
def test_a_later_use_never_shortens_a_session(
    policy: Policy, custom: Custom, began_ms: int, used_ms: int, is_anonymous: bool
) -> None:
    found = life(policy, custom, began_ms=began_ms, is_anonymous=is_anonymous)
    assert found.ends_ms(used_ms) <= found.ends_ms(used_ms + 60_000)


@given(policy=policies, custom=customs, began_ms=moments_ms)
def test_a_record_lives_as_long_as_the_life_it_was_stored_with(
    policy: Policy, custom: Custom, began_ms: int
) -> None:
    found = life(policy, custom, began_ms=began_ms, is_anonymous=False)
    record = a_record(*found)
    assert (record.idle_ms, record.deadline_ms) == found
    assert record.ends_ms == found.ends_ms(record.touched_ms)


# What a session that isn't stored yet says of its end


@some_life
def test_an_end_is_planned_as_it_is_stored(
    policy: Policy, custom: Custom, began_ms: int, used_ms: int, is_anonymous: bool
) -> None:
    planned = life(policy, custom, began_ms=began_ms, is_anonymous=is_anonymous)
    moments = {"used_at": to_datetime(used_ms), "began_at": to_datetime(began_ms)}
    ends_at, ends_ms = planned_end(planned, custom, **moments), planned.ends_ms(used_ms)
    assert ends_ms == (NEVER if ends_at is None else to_milliseconds(ends_at))


def test_a_planned_end_keeps_the_microseconds_that_a_record_has_not() -> None:
    # Django's own tests compare get_expiry_date() with what they gave.
    odd = timedelta(microseconds=1234)
    began = used = BEGAN + odd

    def end(policy: Policy, custom: Custom) -> datetime | None:
        planned = life(policy, custom, began_ms=BEGAN_MS + 1, is_anonymous=False)
        return planned_end(planned, custom, used_at=used, began_at=began)

    assert end(DEFAULT, None) == BEGAN + odd + IDLE
    assert end(DEFAULT, 300) == BEGAN + odd + timedelta(seconds=300)
    assert end(DEFAULT, SOON + odd) == SOON + odd
    assert end(CONFIGURED, LATE + odd) == HARD + odd
    assert end(OFF, None) is None


@for_each("age", [10**12, 10**14, 10**20])
def test_an_end_past_the_calendar_is_planned_as_never(age: int) -> None:
    planned = life(DEFAULT, age, began_ms=BEGAN_MS, is_anonymous=False)
    assert planned_end(planned, age, used_at=BEGAN, began_at=BEGAN) is None
    over = life(DEFAULT, -age, began_ms=BEGAN_MS, is_anonymous=False)
    ends_at = planned_end(over, -age, used_at=BEGAN, began_at=BEGAN)
    assert ends_at is not None
    assert ends_at < BEGAN


# Ages


@for_each("age", [10**12, 10**14, 10**20])
def test_an_age_past_the_end_of_the_calendar_is_never(age: int) -> None:
    found = life(DEFAULT, age, began_ms=BEGAN_MS, is_anonymous=False)
    assert found.ends_ms(BEGAN_MS) == NEVER


@for_each("age", [-1, -300, -(10**12), -(10**14), -(10**20)])
def test_a_negative_age_has_ended_immediately(age: int) -> None:
    found = life(DEFAULT, age, began_ms=BEGAN_MS, is_anonymous=False)
    assert found.ends_ms(BEGAN_MS) < BEGAN_MS


@for_each("age", [10**12, 10**14, 10**20, -(10**12), -(10**14), -(10**20)])
def test_every_age_fits_a_server_and_answers_whether_a_touch_is_due(age: int) -> None:
    found = life(DEFAULT, age, began_ms=BEGAN_MS, is_anonymous=False)
    # BSON holds no longer integer, and Lua no longer exact one.
    assert abs(found.idle_ms) < 2**53
    assert is_due(DEFAULT, a_record(*found), BEGAN_MS) is (age < 0)


# Touches


@for_each(
    ("idle_age", "touch_interval", "seconds"),
    [
        # A tenth of the idle age, at most a minute.
        (300, None, 30),
        (600, None, 60),
        (7200, None, 60),
        (1, None, 0.1),
        # The one that was chosen, at most half the idle age.
        (7200, 5, 5),
        (7200, 300, 300),
        (300, 149, 149),
        (300, 200, 150),
        (1, 60, 0.5),
        # No idle age and no date either: the session never ends, its cookie may.
        (None, None, 60),
        (None, 300, 300),
    ],
)
def test_a_touch_is_due_from_its_interval_on(
    idle_age: int | None, touch_interval: float | None, seconds: float
) -> None:
    policy = Policy(
        idle_timeout=IDLE,
        absolute_timeout=None,
        absolute_is_configured=True,
        touch_interval=None if touch_interval is None else timedelta(seconds=touch_interval),
    )
    record, due = a_record(of_life(idle_age, None).idle_ms), BEGAN_MS + round(seconds * 1000)
    assert touch_due_ms(policy, record) == due
    assert not is_due(policy, record, due - 1)
    assert is_due(policy, record, due)
    assert is_due(policy, record, due + 1)


def test_a_session_that_only_a_date_ends_is_never_due() -> None:
    record = a_record(NEVER, to_milliseconds(SOON))
    assert touch_due_ms(DEFAULT, record) == NEVER
    assert not is_due(DEFAULT, record, END_MS)


def test_a_session_touched_by_a_clock_that_is_ahead_is_not_due() -> None:
    assert not is_due(DEFAULT, a_record(300_000), BEGAN_MS - 3_600_000)


@given(policy=policies, idle_age=st.integers(1, 10**9))
def test_a_touch_is_due_long_before_the_idle_deadline(policy: Policy, idle_age: int) -> None:
    assert is_due(policy, a_record(idle_age * 1000), BEGAN_MS + idle_age * 500)


@given(policy=policies, idle_ms=st.just(NEVER) | st.integers(1, 10**9).map(lambda age: age * 1000))
def test_a_touch_is_never_due_at_the_moment_of_the_last_one(policy: Policy, idle_ms: int) -> None:
    assert not is_due(policy, a_record(idle_ms), BEGAN_MS)


# The milliseconds of a policy


def test_a_policy_has_its_timeouts_in_milliseconds_too() -> None:
    policy = Policy(
        idle_timeout=IDLE,
        absolute_timeout=ABSOLUTE,
        absolute_is_configured=True,
        anonymous_idle_timeout=ANONYMOUS,
        touch_interval=timedelta(seconds=0.5),
    )
    milliseconds = (policy.idle_ms, policy.absolute_ms, policy.anonymous_ms, policy.touch_ms)
    assert milliseconds == (7_200_000, 30 * 86_400_000, 600_000, 500)
    assert (OFF.idle_ms, OFF.absolute_ms, OFF.anonymous_ms, OFF.touch_ms) == (*[NEVER] * 3, None)
    assert DEFAULT.anonymous_ms == DEFAULT.idle_ms


def test_the_milliseconds_of_a_policy_follow_a_replaced_timeout() -> None:
    # Site.policy() replaces two of them where a subclass says how long its cookies live.
    longer = dataclasses.replace(DEFAULT, idle_timeout=2 * IDLE, absolute_timeout=None)
    assert (longer.idle_ms, longer.anonymous_ms) == (14_400_000, 14_400_000)
    assert longer.absolute_ms == NEVER


# Authentication


@for_each(
    ("stored", "again", "later"),
    [
        (BEGAN_MS, 0, BEGAN_MS),
        (BEGAN_MS, BEGAN_MS + 5, BEGAN_MS + 5),
        (BEGAN_MS + 5, BEGAN_MS, BEGAN_MS + 5),
        (NEVER, 0, NEVER),
        (NEVER, BEGAN_MS, BEGAN_MS),
        # By a clock that is ahead.
        (BEGAN_MS + SLACK_MS, BEGAN_MS, BEGAN_MS + SLACK_MS),
        (BEGAN_MS + SLACK_MS + 1, BEGAN_MS, BEGAN_MS),
        (BEGAN_MS + SLACK_MS + 1, 0, BEGAN_MS + SLACK_MS + 1),
    ],
)
def test_the_later_authentication_counts_and_an_unknown_one_never_does(
    stored: int, again: int, later: int
) -> None:
    assert later_authentication(stored, again, BEGAN_MS) == later


def test_a_request_that_outlives_a_minute_takes_no_later_authentication_back() -> None:
    later = BEGAN_MS + SLACK_MS + 1
    assert later_authentication(later, BEGAN_MS, later) == later
