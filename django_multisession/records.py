"""What a driver stores, and what it answers: values without behaviour that needs a server."""

from __future__ import annotations

import dataclasses
import enum
import secrets
from datetime import UTC, datetime, timedelta

#: How long the fact that a session was ended or moved is kept: longer than a request takes.
RETIRED_TIMEOUT = timedelta(seconds=60)

#: How much longer a server keeps a record than the record lives. The store's comparison with its
#: own clock decides; the server may only collect what every clock within a minute calls expired.
EXPIRY_SLACK = timedelta(seconds=60)

#: How many revisions a record remembers: its last writes, newest first.
REVISIONS_KEPT = 4

#: Of Python's calendar.
BEGINNING = datetime.min.replace(tzinfo=UTC)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One stored session.

    Attributes:
        payload: The sealed entries; opaque to drivers.
        revisions: Random tokens of the last writes, newest first, at most `REVISIONS_KEPT`.
        created_at: When the session was first stored.
        began_at: Login or creation, whichever came last; the absolute timeout counts from here.
        keyed_at: When the client got the session's key: creation, login, or its first request with
            a key that a periodic cycle gave. Until that request: the cycle.
        old_key: Storage key of the retired record that leads here, until that request; else None.
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
    keyed_at: datetime
    touched_at: datetime
    idle_age: int | None
    hard_deadline_at: datetime | None
    user_id: str | None = None
    old_key: str | None = None

    @property
    def revision(self) -> str:
        """Token of the last write; what a conditional save compares."""
        return self.revisions[0]

    @property
    def expires_at(self) -> datetime | None:
        """The earlier of the idle and the hard deadline, or None where neither is set.

        Computed and not a field: a longer life written into the store has nothing to lengthen
        but `touched_at`, which ends at the sealed hard deadline.
        """
        return earliest(add_age(self.touched_at, self.idle_age), self.hard_deadline_at)

    def is_live(self, now: datetime) -> bool:
        """Has neither deadline come?"""
        return self.expires_at is None or now < self.expires_at

    def holds(self, written: Record) -> bool:
        """Is *written* this record, or one of those this was written over?"""
        return written.revision in self.revisions


@dataclasses.dataclass(frozen=True, slots=True)
class Retired:
    """What is left for a minute of a session that was ended or moved: the fact.

    Attributes:
        revision: Revision of the record that a `move` stored in its place; empty after a `delete`.
            A move that was sent again because its answer was lost finds itself here.
        forward: The new key, encrypted for who has the old one; empty where nobody may follow. It
            is kept for as long as the session that was moved.
    """

    revision: str = ""
    forward: bytes = dataclasses.field(default=b"", repr=False)


#: What is stored under a key.
Stored = Record | Retired | None


class Outcome(enum.Enum):
    """How a conditional write went."""

    SAVED = "saved"
    MISSING = "missing"
    CONFLICT = "conflict"


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What `replace` and `move` answer.

    Attributes:
        outcome: Saved, missing (absent, expired or retired) or conflict.
        stored: On a conflict the record that was found instead, where it is known.
    """

    outcome: Outcome
    stored: Record | None = None


SAVED = Answer(Outcome.SAVED)
MISSING = Answer(Outcome.MISSING)


def answer_of_replace(stored: Stored, written: Record, now: datetime) -> Answer:
    """Judge a `replace` by what is stored under its key after it."""
    if not isinstance(stored, Record):
        return MISSING
    if stored.holds(written):
        return SAVED
    return Answer(Outcome.CONFLICT, stored) if stored.is_live(now) else MISSING


def answer_of_move(stored_at_old: Stored, written: Record, now: datetime) -> Answer:
    """Judge a `move` by what is stored under its old key after it."""
    if isinstance(stored_at_old, Retired):
        return SAVED if stored_at_old.revision == written.revision else MISSING
    if stored_at_old is None or not stored_at_old.is_live(now):
        return MISSING
    return Answer(Outcome.CONFLICT, stored_at_old)


def new_revision(earlier: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Put a new random token before *earlier*, keeping the last `REVISIONS_KEPT`.

    Random and not a counter: after a fail-over to an older copy a counter would be issued twice.
    """
    return (secrets.token_hex(8), *earlier)[:REVISIONS_KEPT]


def earliest(*moments: datetime | None) -> datetime | None:
    """Return the earliest of *moments*; None means never."""
    return min((moment for moment in moments if moment is not None), default=None)


def add_age(moment: datetime, age: int | None) -> datetime | None:
    """Return *moment* plus *age* seconds; None where *age* is None or past the end of the calendar.

    What lies before the calendar's beginning is its beginning: over already, and not for ever.
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
    return from_milliseconds(to_milliseconds(moment))


def retired_life(record: Record, now: datetime, forward: bytes) -> timedelta | None:
    """Return how long from *now* what a `move` to *record* leaves behind shall be kept.

    What leads to another key is kept as long as the session can live, however long its client comes
    with the old one; where no hard deadline bounds that, as long as without further use.
    """
    if not forward:
        return RETIRED_TIMEOUT
    if record.hard_deadline_at is None:
        return server_life(record, now)
    return max(record.hard_deadline_at - now, timedelta(0)) + EXPIRY_SLACK


def server_life(record: Record, now: datetime) -> timedelta | None:
    """Return how long from *now* a server shall keep *record*; None is forever.

    Never less than `EXPIRY_SLACK`: a record that ends in the past (``set_expiry()`` with a past
    date) is stored and expires by comparison.
    """
    expires_at = record.expires_at
    if expires_at is None:
        return None
    return max(expires_at - now, timedelta(0)) + EXPIRY_SLACK
