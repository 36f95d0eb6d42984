"""When a session ends, and when its use is worth a write: pure functions of times.

A session has two deadlines. The idle deadline moves with every use; the hard deadline does not.
It ends at the earlier of the two (OWASP Session Management, "Session Expiration"; NIST SP 800-63B
section 2: both, server side). ``set_expiry()`` keeps Django's meanings:

=================  ==============================  ==========================================
``set_expiry()``   idle deadline                   hard deadline
=================  ==============================  ==========================================
never called       idle timeout                    absolute timeout
``0``              idle timeout                    absolute timeout (browser-length cookie)
integer            that many seconds               absolute timeout, if one is configured
date or timedelta  none: Django has none           that date, or the configured absolute
                                                   timeout if that is earlier
=================  ==============================  ==========================================
"""

from __future__ import annotations

import dataclasses
from datetime import datetime, timedelta

from django_multisession.core.records import (
    BEGINNING,
    LONGEST_AGE,
    Record,
    add_age,
    earliest,
    truncate,
)

#: What ``set_expiry()`` left: nothing, seconds of inactivity (0: until the browser closes), a date.
Custom = int | datetime | None

DEFAULT_ABSOLUTE_TIMEOUT = timedelta(days=30)
#: What a setting may say at most, a century: from any moment that a clock shows, it ends well before
#: the calendar does, in which Python and cookies count.
LONGEST_TIMEOUT = timedelta(days=36_525)
LONGEST_TOUCH_INTERVAL = timedelta(seconds=60)
#: By default a touch is due after this part of the idle timeout.
TOUCH_FRACTION = 10


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The timeouts of a site.

    Attributes:
        idle_timeout: Ends a session after so long without use; None switches it off.
        absolute_timeout: Ends a session so long after it began; None switches it off.
        absolute_is_configured: Did the site choose the absolute timeout? The default one gives way
            to ``set_expiry()``, a chosen one caps it.
        anonymous_timeout: Idle timeout of sessions without a user; None is the same as for users.
        touch_interval: How far apart two touches of a session are at least, though never more than
            half of its idle age; None for the default, a tenth of its idle age, at most a minute.
        idle_is_configured: Did the site choose the idle timeout, or is it ``SESSION_COOKIE_AGE``?
    """

    idle_timeout: timedelta | None
    absolute_timeout: timedelta | None
    absolute_is_configured: bool
    anonymous_timeout: timedelta | None = None
    touch_interval: timedelta | None = None
    idle_is_configured: bool = True


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """How long a session may live: what a record says of it.

    Attributes:
        idle_age: Seconds without use, or None for any number.
        hard_deadline_at: When it ends whatever happens, or None for never.
    """

    idle_age: int | None
    hard_deadline_at: datetime | None

    @classmethod
    def of(cls, record: Record) -> Life:
        """Return the life that *record* was stored with."""
        return cls(idle_age=record.idle_age, hard_deadline_at=record.hard_deadline_at)

    def as_stored(self) -> Life:
        """Return the life that a record can hold: in UTC and whole milliseconds."""
        hard_deadline_at = self.hard_deadline_at
        if hard_deadline_at is not None:
            try:
                hard_deadline_at = truncate(hard_deadline_at)
            except OverflowError:
                # In its own time zone it is in the calendar, in UTC it is not.
                is_past = hard_deadline_at.year == BEGINNING.year
                hard_deadline_at = BEGINNING if is_past else None
        return Life(idle_age=self.idle_age, hard_deadline_at=hard_deadline_at)

    def ends_at(self, touched_at: datetime) -> datetime | None:
        """Return when a session last used at *touched_at* ends, or None for never."""
        return earliest(add_age(touched_at, self.idle_age), self.hard_deadline_at)


def life(policy: Policy, custom: Custom, *, began_at: datetime, is_anonymous: bool) -> Life:
    """Return how long a session may live.

    Args:
        policy: The site's timeouts.
        custom: What ``set_expiry()`` left in the session.
        began_at: Login or creation, whichever came last.
        is_anonymous: Has the session no user?
    """
    idle_timeout = policy.idle_timeout
    if is_anonymous and policy.anonymous_timeout is not None:
        idle_timeout = policy.anonymous_timeout
    idle_age = None if idle_timeout is None else _clamped(int(idle_timeout.total_seconds()))
    absolute_age = (
        None if policy.absolute_timeout is None else int(policy.absolute_timeout.total_seconds())
    )
    hard_deadline_at = add_age(began_at, absolute_age)
    if not custom:
        return Life(idle_age=idle_age, hard_deadline_at=hard_deadline_at)
    cap = hard_deadline_at if policy.absolute_is_configured else None
    if isinstance(custom, datetime):
        return Life(idle_age=None, hard_deadline_at=earliest(custom, cap))
    return Life(idle_age=_clamped(custom), hard_deadline_at=cap)


def is_touch_due(policy: Policy, record: Record, now: datetime) -> bool:
    """Is the last touch of *record* long enough ago for another one to be worth a write?

    A session that only a date ends has no deadline that a touch could move.
    """
    if record.idle_age is None and record.hard_deadline_at is not None:
        return False
    return now - record.touched_at >= _touch_interval(policy, record.idle_age)


def _clamped(age: int) -> int:
    """Keep an age within what a record can hold; it means the same: never, or over already."""
    return max(-LONGEST_AGE, min(age, LONGEST_AGE))


def _touch_interval(policy: Policy, idle_age: int | None) -> timedelta:
    if idle_age is None:
        return policy.touch_interval or LONGEST_TOUCH_INTERVAL
    idle = timedelta(seconds=idle_age)
    if policy.touch_interval is None:
        return min(LONGEST_TOUCH_INTERVAL, idle / TOUCH_FRACTION)
    # A session with a short life of its own must not end between two touches.
    return min(policy.touch_interval, idle / 2)
