"""What a driver stores, and what it answers: values without behaviour that needs a server."""

from __future__ import annotations

import dataclasses
import enum
import secrets
from datetime import UTC, datetime, timedelta

#: How long a tombstone is kept: longer than a request takes.
TOMBSTONE_TIMEOUT = timedelta(seconds=60)

#: How much longer a server keeps a record than the record lives. The store's comparison with its
#: own clock decides; the server may only collect what every clock within a minute calls expired.
EXPIRY_SLACK = timedelta(seconds=60)

#: How many revisions a record remembers: its last writes, newest first.
REVISIONS_KEPT = 4

#: Seconds. From any moment that a clock shows, a longer age ends past Python's calendar: it means
#: the same as this one, so no record is written with it, and none is read (a date that a server's
#: clients add it to overflows).
LONGEST_AGE = 10**12

#: Of Python's calendar.
BEGINNING = datetime.min.replace(tzinfo=UTC)
END = datetime.max.replace(tzinfo=UTC, microsecond=999_000)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One stored session.

    Attributes:
        payload: The signed entries; opaque to drivers.
        revisions: Random tokens of the last writes, newest first, at most `REVISIONS_KEPT`.
        created_at: When the session was first stored.
        began_at: Login or creation, whichever came last; the absolute timeout counts from here.
        touched_at: Last use.
        idle_age: Seconds without use after which the session ends, or None for never.
        hard_deadline_at: When the session ends whatever happens, or None for never.
        user_id: What Django put into ``_auth_user_id``, or None.

    All times are aware, in UTC, and whole milliseconds: what BSON dates and Redis numbers can hold.
    """

    payload: bytes = dataclasses.field(repr=False)
    revisions: tuple[str, ...]
    created_at: datetime
    began_at: datetime
    touched_at: datetime
    idle_age: int | None
    hard_deadline_at: datetime | None
    user_id: str | None = None

    @property
    def revision(self) -> str:
        """Token of the last write; what a conditional save compares."""
        return self.revisions[0]

    @property
    def expires_at(self) -> datetime | None:
        """The earlier of the idle and the hard deadline, or None where neither is set.

        Computed and not a field: a longer life written into the store has nothing to lengthen
        but `touched_at`, which ends at the signed hard deadline.
        """
        return earliest(add_age(self.touched_at, self.idle_age), self.hard_deadline_at)

    def is_live(self, now: datetime) -> bool:
        """Has neither deadline come?"""
        return self.expires_at is None or now < self.expires_at

    def holds(self, written: Record) -> bool:
        """Is *written* this record, or one of those this was written over?"""
        return written.revision in self.revisions


class Reason(enum.StrEnum):
    """Why a session is no longer under a key."""

    #: A login took the session over; an end does not follow it.
    LOGIN = "login"
    #: The same login session has another key; an end follows it.
    MOVED = "moved"
    #: Its own client logged out.
    LEFT = "left"
    #: It was ended from elsewhere: another device, an admin, code that named the key.
    ENDED = "ended"


@dataclasses.dataclass(frozen=True, slots=True)
class Tombstone:
    """What is left for `TOMBSTONE_TIMEOUT` of a session that was ended or moved: the fact.

    Attributes:
        revision: Random token of the write that left it: of a move the revision of the moved
            record, otherwise one of its own. A write that was sent again because its answer was
            lost finds itself here.
        reason: Why the session is no longer under its key.
        successor: Storage key of what took its place, if anything did; not a secret.
    """

    revision: str
    reason: Reason
    successor: str = ""


#: What is stored under a key.
Stored = Record | Tombstone | None


class Outcome(enum.Enum):
    """How a conditional write went."""

    SAVED = "saved"
    MISSING = "missing"
    CONFLICT = "conflict"


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What `replace`, `move` and `touch` answer.

    Attributes:
        outcome: Saved, missing (absent, expired, unreadable or a tombstone) or conflict.
        stored: What was found instead: with a conflict always, with a missing record the tombstone
            where there is one.
    """

    outcome: Outcome
    stored: Record | Tombstone | None = None


SAVED = Answer(Outcome.SAVED)
MISSING = Answer(Outcome.MISSING)


def answer_to_replace(stored: Stored, record: Record, base: Record, now: datetime) -> Answer | None:
    """Return the answer to a `replace` that finds *stored*; None means that it is carried out."""
    if isinstance(stored, Record) and stored.holds(record):
        return SAVED
    return _answer_over_record(stored, base, now, record.touched_at)


def answer_to_move(
    stored: Stored, record: Record, base: Record | Tombstone, left: Tombstone, now: datetime
) -> Answer | None:
    """Return the answer to a `move` that finds *stored* under its old key; None as above."""
    if isinstance(stored, Tombstone) and stored.revision == left.revision:
        return SAVED
    if isinstance(base, Record):
        return _answer_over_record(stored, base, now, record.touched_at)
    if isinstance(stored, Tombstone):
        return None if stored.revision == base.revision else Answer(Outcome.CONFLICT, stored)
    if stored is None or not stored.is_live(now):
        return MISSING
    return Answer(Outcome.CONFLICT, stored)


def answer_to_touch(
    stored: Stored, base: Record, touched_at: datetime, now: datetime
) -> Answer | None:
    """Return the answer to a `touch` that finds *stored*; None as above."""
    answer = _answer_over_record(stored, base, now)
    if answer is None and isinstance(stored, Record) and stored.touched_at >= truncate(touched_at):
        return SAVED
    return answer


def answer_to_delete(stored: Stored, left: Tombstone) -> bool | Tombstone:
    """Return the answer to a `delete` under whose key *stored* lies after it."""
    if not isinstance(stored, Tombstone):
        return False
    return stored.revision == left.revision or stored


def _answer_over_record(
    stored: Stored, base: Record, now: datetime, latest_use: datetime = END
) -> Answer | None:
    if isinstance(stored, Tombstone):
        return Answer(Outcome.MISSING, stored)
    if stored is None or not stored.is_live(now):
        return MISSING
    # A later last use is another request's: a save must not take it back.
    is_base = stored.revision == base.revision and stored.touched_at <= latest_use
    return None if is_base else Answer(Outcome.CONFLICT, stored)


def new_revision(earlier: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Put a new random token before *earlier*, keeping the last `REVISIONS_KEPT`.

    Random and not a counter: after a fail-over to an older copy a counter would be issued twice.
    """
    return (secrets.token_hex(8), *earlier)[:REVISIONS_KEPT]


def earliest(*moments: datetime | None) -> datetime | None:
    """Return the earliest of *moments*; None means never."""
    return min((moment for moment in moments if moment is not None), default=None)


def is_readable_age(age: int | None) -> bool:
    """Can a stored idle age be read: is it None, or no longer than `LONGEST_AGE`?"""
    return age is None or abs(age) <= LONGEST_AGE


def add_age(moment: datetime, age: int | None) -> datetime | None:
    """Return *moment* plus *age* seconds; None where *age* is None or past the end of the calendar.

    What lies before the calendar's beginning is its beginning: over already, and not endless.
    """
    if age is None:
        return None
    try:
        return moment + timedelta(seconds=age)
    except OverflowError:
        return None if age > 0 else BEGINNING


def to_milliseconds(moment: datetime) -> int:
    """Return whole milliseconds since 1970."""
    return (moment - _EPOCH) // _MILLISECOND


def from_milliseconds(milliseconds: int) -> datetime:
    """Return the moment that many *milliseconds* after 1970.

    Raises:
        OverflowError: The moment is not in the calendar.
    """
    return _EPOCH + milliseconds * _MILLISECOND


def truncate(moment: datetime) -> datetime:
    """Return *moment* in UTC and cut to whole milliseconds, as every time in a record is."""
    if moment.tzinfo is UTC:
        # What Django's clock returns: every request asks it several times.
        return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    return from_milliseconds(to_milliseconds(moment))


def server_life(record: Record, now: datetime) -> timedelta | None:
    """Return how long from *now* a server keeps *record*; None means without end.

    Never less than `EXPIRY_SLACK`: a record that ends in the past (``set_expiry()`` with a past
    date) is stored and expires by comparison.
    """
    expires_at = record.expires_at
    if expires_at is None:
        return None
    return max(expires_at - now, timedelta(0)) + EXPIRY_SLACK


def last_idle_moment(record: Record, now: datetime) -> int:
    """Return the milliseconds since 1970 after which *record* must have been used to be live at *now*.

    For servers, whose stored last use may be later than the one of *record*: they compare it with
    this and compute no deadline. It is in the calendar, or just before it where any use is enough.
    """
    before_all, last = to_milliseconds(BEGINNING) - 1, to_milliseconds(END)
    if record.hard_deadline_at is not None and record.hard_deadline_at <= now:
        return last
    if record.idle_age is None:
        return before_all
    return max(before_all, min(to_milliseconds(now) - record.idle_age * 1000, last))
