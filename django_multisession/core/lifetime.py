"""When a session ends, and when its use is worth a write: pure functions of times.

A session has two deadlines. The idle deadline moves with every use; the absolute deadline does not.
It ends at the earlier of the two (OWASP Session Management, "Session Expiration"; NIST SP 800-63B
section 2: both, server side). ``set_expiry()`` keeps Django's meanings:

=================  ==============================  ==========================================
``set_expiry()``   idle deadline                   absolute deadline
=================  ==============================  ==========================================
never called       idle timeout                    absolute timeout
``0``              idle timeout                    absolute timeout (browser-length cookie)
integer            that many seconds               absolute timeout, if one is configured
date or timedelta  none: Django has none           that date, or the configured absolute
                                                   timeout if that is earlier
=================  ==============================  ==========================================

A session for which ``set_expiry()`` asks for more than the absolute timeout is a remembered one. Where
the site configured an absolute timeout for those, it takes the place of the other.
"""

from __future__ import annotations

import dataclasses
from datetime import datetime, timedelta
from typing import NamedTuple

from django_multisession.core.records import (
    BEGINNING_MS,
    END_MS,
    LONGEST_AGE,
    NEVER,
    SLACK_MS,
    Record,
    end_of,
    to_datetime,
    to_milliseconds,
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
        remembered_absolute_timeout: Absolute timeout of sessions for which ``set_expiry()`` asks for more
            than the absolute timeout; None is the same as for others.
        anonymous_idle_timeout: Idle timeout of sessions without a user; None is the same as for users.
        touch_interval: How far apart two touches of a session are at least, though never more than
            half of its idle age; None for the default, a tenth of its idle age, at most a minute.
        idle_is_configured: Did the site choose the idle timeout, or is it ``SESSION_COOKIE_AGE``?
    """

    idle_timeout: timedelta | None
    absolute_timeout: timedelta | None
    absolute_is_configured: bool
    remembered_absolute_timeout: timedelta | None = None
    anonymous_idle_timeout: timedelta | None = None
    touch_interval: timedelta | None = None
    idle_is_configured: bool = True
    #: The same in milliseconds, for requests.
    idle_ms: int = dataclasses.field(init=False, repr=False)
    absolute_ms: int = dataclasses.field(init=False, repr=False)
    #: What caps ``set_expiry()``: `NEVER` if nothing does.
    cap_ms: int = dataclasses.field(init=False, repr=False)
    remembered_cap_ms: int = dataclasses.field(init=False, repr=False)
    anonymous_ms: int = dataclasses.field(init=False, repr=False)
    touch_ms: int | None = dataclasses.field(init=False, repr=False)

    def __post_init__(self) -> None:
        idle, anonymous = self.idle_timeout, self.anonymous_idle_timeout
        touch, remembered = self.touch_interval, self.remembered_absolute_timeout
        absolute_ms = _whole_seconds(self.absolute_timeout)
        cap_ms = absolute_ms if self.absolute_is_configured else NEVER
        remembered_ms = cap_ms if remembered is None else _whole_seconds(remembered)
        if self.absolute_is_configured:
            remembered_ms = max(cap_ms, remembered_ms)
        for name, value in {
            "idle_ms": _whole_seconds(idle),
            "absolute_ms": absolute_ms,
            "cap_ms": min(cap_ms, remembered_ms),
            "remembered_cap_ms": remembered_ms,
            "anonymous_ms": _whole_seconds(idle if anonymous is None else anonymous),
            "touch_ms": None if touch is None else touch // _MILLISECOND,
        }.items():
            object.__setattr__(self, name, value)


class Life(NamedTuple):
    """How long a session may live: what a record says of it.

    Attributes:
        idle_ms: How long without use; `NEVER` for any time.
        deadline_ms: When it ends whatever happens; `NEVER` for never.
    """

    idle_ms: int
    deadline_ms: int

    def ends_ms(self, touched_ms: int) -> int:
        """Return when a session last used at *touched_ms* ends."""
        return end_of(touched_ms, self.idle_ms, self.deadline_ms)


def life(policy: Policy, custom: Custom, *, began_ms: int, is_anonymous: bool) -> Life:
    """Return how long a session may live.

    Args:
        policy: The site's timeouts.
        custom: What ``set_expiry()`` left in the session.
        began_ms: Login or creation, whichever came last.
        is_anonymous: Has the session no user?
    """
    idle = policy.anonymous_ms if is_anonymous else policy.idle_ms
    if not custom:
        # Most sessions: a call costs more than the rest.
        deadline = began_ms + policy.absolute_ms
        return Life(idle, NEVER if deadline > END_MS else deadline)
    asked = _asked_ms(custom, began_ms)
    is_remembered = asked > policy.cap_ms
    cap = _deadline(began_ms, policy.remembered_cap_ms if is_remembered else policy.cap_ms)
    if isinstance(custom, datetime):
        return Life(NEVER, min(_within_calendar(custom), cap))
    return Life(asked, cap)


def asked_beyond_cap_ms(policy: Policy, custom: Custom, began_ms: int) -> int | None:
    """Return how long a life ``set_expiry()`` asks for, if the absolute timeouts cut it short."""
    asked = _asked_ms(custom, began_ms) if custom else 0
    return asked if asked > policy.remembered_cap_ms else None


def longest_ms(policy: Policy) -> int:
    """Return for how long after its start a session may live by the timeouts of *policy*.

    ``set_expiry()`` may ask for more where the site configured no absolute timeout.
    """
    if policy.remembered_cap_ms < NEVER:
        return policy.remembered_cap_ms
    chosen = (policy.absolute_ms, policy.idle_ms, policy.anonymous_ms)
    return max((each for each in chosen if each < NEVER), default=0)


def planned_end(
    planned: Life, custom: Custom, *, used_at: datetime, began_at: datetime
) -> datetime | None:
    """Return when a session of the life *planned* ends, to the microsecond; None for never.

    Args:
        planned: See `life`.
        custom: See `life`.
        used_at: Its last use.
        began_at: See `life`.
    """
    ends: list[datetime | None] = []
    if planned.idle_ms < NEVER:
        ends.append(_later(used_at, planned.idle_ms))
    if planned.deadline_ms < NEVER:
        if isinstance(custom, datetime) and _within_calendar(custom) == planned.deadline_ms:
            ends.append(custom)
        else:
            ends.append(_later(began_at, planned.deadline_ms - to_milliseconds(began_at)))
    return min((end for end in ends if end is not None), default=None)


def later_authentication(stored_ms: int, again_ms: int, now: int) -> int:
    """Return the later of two moments at which a session's user proved who they are.

    Whichever write was carried out, and whatever another request saved meanwhile, a merge never moves
    it back. A moment that no clock within a minute shows yet was set by a wrong clock, and gives way.

    Args:
        stored_ms: What the record says; `NEVER` if that isn't known.
        again_ms: What this request adds; 0 for nothing.
        now: In milliseconds.
    """
    if again_ms and stored_ms > now + SLACK_MS:
        return again_ms
    return max(stored_ms, again_ms)


def touch_due_ms(policy: Policy, record: Record) -> int:
    """Return when the next touch of *record* is worth a write.

    A session that only a date ends has no deadline that a touch could move.
    """
    idle_ms, chosen_ms = record.idle_ms, policy.touch_ms
    if idle_ms >= NEVER:
        if record.deadline_ms < NEVER:
            return NEVER
        return record.touched_ms + (chosen_ms or _LONGEST_TOUCH_MS)
    if chosen_ms is None:
        return record.touched_ms + min(_LONGEST_TOUCH_MS, idle_ms // TOUCH_FRACTION)
    # A session with a short life of its own must not end between two touches.
    return record.touched_ms + min(chosen_ms, idle_ms // 2)


_MILLISECOND = timedelta(milliseconds=1)
_LONGEST_TOUCH_MS = LONGEST_TOUCH_INTERVAL // _MILLISECOND


def _asked_ms(custom: int | datetime, began_ms: int) -> int:
    """Return how long a session that began at *began_ms* lives by *custom*, used or not."""
    if isinstance(custom, datetime):
        return _within_calendar(custom) - began_ms
    return _clamped(custom) * 1000


def _deadline(began_ms: int, timeout_ms: int) -> int:
    deadline = began_ms + timeout_ms
    return NEVER if deadline > END_MS else deadline


def _whole_seconds(timeout: timedelta | None) -> int:
    """Return *timeout* in milliseconds; what no record can hold means the same: never."""
    return NEVER if timeout is None else _clamped(int(timeout.total_seconds())) * 1000


def _clamped(age: int) -> int:
    """Keep an age within what a record can hold; it means the same: never, or over already."""
    return max(-LONGEST_AGE, min(age, LONGEST_AGE))


def _within_calendar(moment: datetime) -> int:
    """Return *moment* in milliseconds; what is in no calendar of UTC is over, or never comes."""
    # In its own time zone it is in the calendar.
    found = to_milliseconds(moment)
    return NEVER if found > END_MS else max(found, BEGINNING_MS)


def _later(moment: datetime, milliseconds: int) -> datetime | None:
    try:
        return moment + timedelta(milliseconds=milliseconds)
    except OverflowError:
        return None if milliseconds > 0 else to_datetime(BEGINNING_MS)
