from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_multisession.core.lifetime import Custom, Life, Policy, is_touch_due, life
from django_multisession.core.records import Record
from django_multisession.session.custom_expiry import custom_expiry

BEGAN = datetime(2026, 1, 1, 12, tzinfo=UTC)
IDLE, ABSOLUTE, ANONYMOUS = timedelta(hours=2), timedelta(days=30), timedelta(minutes=10)
IDLE_AGE = 7200
HARD = BEGAN + ABSOLUTE
SOON, LATE = BEGAN + timedelta(days=1), BEGAN + timedelta(days=90)
MILLISECOND = timedelta(milliseconds=1)

DEFAULT = Policy(idle_timeout=IDLE, absolute_timeout=ABSOLUTE, absolute_is_configured=False)
CONFIGURED = Policy(idle_timeout=IDLE, absolute_timeout=ABSOLUTE, absolute_is_configured=True)
NO_ABSOLUTE = Policy(idle_timeout=IDLE, absolute_timeout=None, absolute_is_configured=True)
OFF = Policy(idle_timeout=None, absolute_timeout=None, absolute_is_configured=True)

_timeouts = st.none() | st.timedeltas(timedelta(seconds=1), timedelta(days=4000))
policies = st.builds(
    Policy,
    idle_timeout=_timeouts,
    absolute_timeout=_timeouts,
    absolute_is_configured=st.booleans(),
    anonymous_timeout=_timeouts,
    touch_interval=_timeouts,
)
_moments = st.integers(0, 4 * 10**12).map(
    lambda milliseconds: datetime(1970, 1, 1, tzinfo=UTC) + milliseconds * MILLISECOND
)
customs = st.none() | st.integers(-(10**9), 10**9) | _moments


def a_record(idle_age: int | None, hard_deadline_at: datetime | None = None) -> Record:
    return Record(
        payload=b"",
        revisions=("a",),
        created_at=BEGAN,
        began_at=BEGAN,
        touched_at=BEGAN,
        idle_age=idle_age,
        hard_deadline_at=hard_deadline_at,
    )


# The table in the module's docstring, row by row. A timedelta is a date by the time it gets here.


@pytest.mark.parametrize(
    ("policy", "custom", "idle_age", "hard_deadline_at"),
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
    ],
)
def test_set_expiry_means_what_the_table_says(
    policy: Policy, custom: Custom, idle_age: int | None, hard_deadline_at: datetime | None
) -> None:
    expected = Life(idle_age=idle_age, hard_deadline_at=hard_deadline_at)
    assert life(policy, custom, began_at=BEGAN, is_anonymous=False) == expected


@pytest.mark.parametrize(
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
        anonymous_timeout=ANONYMOUS,
    )
    found = life(policy, custom, began_at=BEGAN, is_anonymous=is_anonymous)
    assert found.idle_age == idle_age


def test_without_an_anonymous_timeout_all_sessions_live_alike() -> None:
    anonymous, of_user = (
        life(DEFAULT, None, began_at=BEGAN, is_anonymous=is_anonymous)
        for is_anonymous in (True, False)
    )
    assert anonymous == of_user


def test_a_part_of_a_second_does_not_lengthen_an_idle_timeout() -> None:
    policy = Policy(
        idle_timeout=timedelta(seconds=1.9), absolute_timeout=None, absolute_is_configured=False
    )
    assert life(policy, None, began_at=BEGAN, is_anonymous=False).idle_age == 1


def test_an_absolute_timeout_past_the_end_of_the_calendar_is_never() -> None:
    policy = Policy(idle_timeout=IDLE, absolute_timeout=timedelta.max, absolute_is_configured=True)
    assert life(policy, None, began_at=BEGAN, is_anonymous=False).hard_deadline_at is None


@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=-3))])
def test_a_date_is_kept_in_utc_and_whole_milliseconds_as_every_time_of_a_record_is(
    zone: timezone,
) -> None:
    # Or what a save wrote is not what the next request compares with, and it writes again.
    custom = (SOON + timedelta(microseconds=1234)).astimezone(zone)
    planned = life(DEFAULT, custom, began_at=BEGAN, is_anonymous=False)
    found = planned.as_stored().hard_deadline_at
    assert found is not None
    assert found == SOON + MILLISECOND
    assert found.tzinfo is UTC


@pytest.mark.parametrize(
    ("custom", "is_over"),
    [
        (datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-5))), False),
        (datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=5))), True),
    ],
)
def test_a_date_outside_the_calendar_of_utc_is_never_or_over(
    custom: datetime, is_over: bool
) -> None:
    planned = life(DEFAULT, custom, began_at=BEGAN, is_anonymous=False).as_stored()
    ends_at = planned.ends_at(BEGAN)
    assert (ends_at is not None and ends_at <= BEGAN) is is_over


@pytest.mark.parametrize("age", [float("inf"), float("-inf"), float("nan")])
def test_an_age_that_is_no_number_of_seconds_raises_nothing(age: float) -> None:
    # JSON carries all three through a store.
    assert isinstance(custom_expiry(age), int | None)


@given(
    policy=policies, custom=customs, began_at=_moments, used_at=_moments, is_anonymous=st.booleans()
)
def test_a_session_never_ends_later_than_its_hard_deadline(
    policy: Policy, custom: Custom, began_at: datetime, used_at: datetime, is_anonymous: bool
) -> None:
    found = life(policy, custom, began_at=began_at, is_anonymous=is_anonymous)
    ends_at = found.ends_at(used_at)
    if found.hard_deadline_at is not None:
        assert ends_at is not None
        assert ends_at <= found.hard_deadline_at


@given(
    policy=policies, custom=customs, began_at=_moments, used_at=_moments, is_anonymous=st.booleans()
)
def test_nothing_outlives_a_configured_absolute_timeout(
    policy: Policy, custom: Custom, began_at: datetime, used_at: datetime, is_anonymous: bool
) -> None:
    if policy.absolute_timeout is not None and policy.absolute_is_configured:
        found = life(policy, custom, began_at=began_at, is_anonymous=is_anonymous)
        ends_at = found.ends_at(used_at)
        assert ends_at is not None
        assert ends_at <= began_at + policy.absolute_timeout


@given(
    policy=policies, custom=customs, began_at=_moments, used_at=_moments, is_anonymous=st.booleans()
)
def test_a_later_use_never_shortens_a_session(
    policy: Policy, custom: Custom, began_at: datetime, used_at: datetime, is_anonymous: bool
) -> None:
    found = life(policy, custom, began_at=began_at, is_anonymous=is_anonymous)
    before, after = found.ends_at(used_at), found.ends_at(used_at + timedelta(minutes=1))
    assert (before is None) is (after is None)
    assert before is None or after is None or before <= after


@given(policy=policies, custom=customs, began_at=_moments)
def test_a_record_lives_as_long_as_the_life_it_was_stored_with(
    policy: Policy, custom: Custom, began_at: datetime
) -> None:
    found = life(policy, custom, began_at=began_at, is_anonymous=False)
    record = a_record(found.idle_age, found.hard_deadline_at)
    assert Life.of(record) == found
    assert record.expires_at == found.ends_at(record.touched_at)


@pytest.mark.parametrize("age", [10**12, 10**14, 10**20])
def test_an_age_past_the_end_of_the_calendar_is_never(age: int) -> None:
    found = life(DEFAULT, age, began_at=BEGAN, is_anonymous=False)
    assert found.ends_at(BEGAN) is None


@pytest.mark.parametrize("age", [-1, -300, -(10**12), -(10**14), -(10**20)])
def test_a_negative_age_has_ended_immediately(age: int) -> None:
    ends_at = life(DEFAULT, age, began_at=BEGAN, is_anonymous=False).ends_at(BEGAN)
    assert ends_at is not None
    assert ends_at < BEGAN


@pytest.mark.parametrize(
    "age", [10**12, 10**14, 10**20, -(10**12), -(10**14), -(10**20)], ids="{:.0e}".format
)
def test_every_age_fits_a_server_and_answers_whether_a_touch_is_due(age: int) -> None:
    found = life(DEFAULT, age, began_at=BEGAN, is_anonymous=False)
    # BSON holds no longer integer, and Lua no longer exact one.
    assert found.idle_age is None or abs(found.idle_age) < 2**53
    record = a_record(found.idle_age, found.hard_deadline_at)
    assert is_touch_due(DEFAULT, record, BEGAN) is (age < 0)


# Touches


@pytest.mark.parametrize(
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
    idle_age: int | None, touch_interval: int | None, seconds: float
) -> None:
    policy = Policy(
        idle_timeout=IDLE,
        absolute_timeout=None,
        absolute_is_configured=True,
        touch_interval=None if touch_interval is None else timedelta(seconds=touch_interval),
    )
    record, due_at = a_record(idle_age), BEGAN + timedelta(seconds=seconds)
    assert not is_touch_due(policy, record, due_at - MILLISECOND)
    assert is_touch_due(policy, record, due_at)
    assert is_touch_due(policy, record, due_at + MILLISECOND)


def test_a_session_that_only_a_date_ends_is_never_due() -> None:
    assert not is_touch_due(DEFAULT, a_record(None, SOON), SOON - MILLISECOND)


def test_a_session_touched_by_a_clock_that_is_ahead_is_not_due() -> None:
    assert not is_touch_due(DEFAULT, a_record(300), BEGAN - timedelta(hours=1))


@given(policy=policies, idle_age=st.integers(1, 10**9))
def test_a_touch_is_due_long_before_the_idle_deadline(policy: Policy, idle_age: int) -> None:
    halfway = BEGAN + timedelta(seconds=idle_age) / 2
    assert is_touch_due(policy, a_record(idle_age), halfway)


@given(policy=policies, idle_age=st.none() | st.integers(1, 10**9))
def test_a_touch_is_never_due_at_the_moment_of_the_last_one(
    policy: Policy, idle_age: int | None
) -> None:
    assert not is_touch_due(policy, a_record(idle_age), BEGAN)
