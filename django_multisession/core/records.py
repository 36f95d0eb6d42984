"""What a driver stores, as bytes and as values: the one place that writes and reads a record.

======  ======  ==========================================================
offset  bytes   what
======  ======  ==========================================================
0       3       mark and version; kind: a record or a tombstone
3       8       when it ends; 0 for a tombstone
11      8       last use
19      32      signature of what follows (see `signing`)
51      8       revision: random token of the last write
59      24      the revisions before, newest first: with it, the *lineage*
83      4       length of the header
87      …       header: which key signed it, times, series, user; what a later
                release appends to it is skipped
…       …       payload
======  ======  ==========================================================

Numbers are big-endian, times milliseconds since 1970. A server compares and moves what lies at
fixed offsets, and computes no deadline; the rest is opaque to it. A touch rewrites the end and the
last use, which therefore aren't signed: a reader computes the end again.

Milliseconds end in ``_ms``; `NEVER` stands for no end. Datetimes live at the edges.
"""

from __future__ import annotations

import enum
import functools
import struct
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from os import urandom
from typing import Any, NamedTuple

from django_multisession.core.errors import OutageKind, StoreUnavailable
from django_multisession.core.secret import SecretBytes

#: A moment that does not come, and an age that nothing reaches. Lua's numbers hold it exactly.
NEVER = 1 << 53

#: How long a tombstone is kept: longer than a request takes.
TOMBSTONE_MS = 60_000
TOMBSTONE_TIMEOUT = timedelta(milliseconds=TOMBSTONE_MS)

#: How much longer a server keeps a record than the record lives. The store's comparison with its
#: own clock decides; the server may only collect what every clock within a minute calls expired.
SLACK_MS = 60_000
EXPIRY_SLACK = timedelta(milliseconds=SLACK_MS)

#: How many revisions a record remembers: its last writes, newest first.
REVISIONS_KEPT = 4

#: Bytes of a record that every server takes: most records have less, and no driver is asked.
FITS_EVERYWHERE = 2048

#: Seconds. From any moment that a clock shows, a longer age ends past Python's calendar: it means
#: the same as this one.
LONGEST_AGE = 10**12

#: Of Python's calendar.
BEGINNING = datetime.min.replace(tzinfo=UTC)
END = datetime.max.replace(tzinfo=UTC, microsecond=999_000)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
BEGINNING_MS = (BEGINNING - _EPOCH) // _MILLISECOND
END_MS = (END - _EPOCH) // _MILLISECOND

_MARK = b"\xd5"
_VERSION = 1
#: What a record and a tombstone begin with.
RECORD_HEAD = _MARK + bytes((_VERSION, 1))
TOMBSTONE_HEAD = _MARK + bytes((_VERSION, 2))
#: Where a server finds the end, the last use and the revision.
ENDS_AT, USED_AT, REVISION_AT = 3, 11, 51
#: Bytes of a revision, and of a series.
REVISION_LENGTH, SERIES_LENGTH = 8, 12

_PREFIX = struct.Struct(">3sqq32s")
_TIMES = struct.Struct(">qq")
_LINEAGE_AND_HEADER = ">8s24sI4sqqqqq12sI"
_HEADER = struct.Struct(_LINEAGE_AND_HEADER)
_RECORD = struct.Struct(">3sqq32s" + _LINEAGE_AND_HEADER[1:])
_RECORD_SIZE = _RECORD.size
#: Bytes of a record beside its user and its payload.
RECORD_OVERHEAD = _RECORD_SIZE
_TOMBSTONE = struct.Struct(">3sqq32s8sB")
#: From here on it is signed.
SIGNED_FROM = _PREFIX.size
_NO_SIGNATURE = bytes(32)
_NO_EARLIER = bytes((REVISIONS_KEPT - 1) * REVISION_LENGTH)
#: Where the header begins: its length doesn't count what lies before.
HEADER_AT = 87
#: Length of the user that stands for none.
_NO_USER = 0xFFFF_FFFF


class Unreadable(ValueError):  # noqa: N818  (it names what the bytes are)
    """Bytes that are no record; says what is wrong with them."""


class Record(NamedTuple):
    """One stored session.

    Attributes:
        head: `RECORD_HEAD`.
        ends_ms: When it ends: the idle or the absolute deadline, whichever comes first.
        touched_ms: Last use.
        signature: See `signing`.
        revision: Random token of the last write; what a conditional save compares.
        earlier: The three revisions before, newest first.
        header_length: Bytes of the header, the user's included.
        key_id: Which key signed it.
        created_ms: When the session was first stored.
        began_ms: Login or creation, whichever came last; the absolute timeout counts from here.
        deadline_ms: When the session ends whatever happens.
        idle_ms: How long it lives without use.
        authenticated_ms: When its user last proved who they are; `NEVER` without one, or if that
            isn't known.
        series: Public id of the login's session: kept by new keys, new at login.
        user_length: Bytes of the user.
        user: What Django put into ``_auth_user_id``, encoded, or None.
        payload: The serialized entries, perhaps compressed; opaque to drivers.
        raw: All of it, as it is stored.
    """

    head: bytes
    ends_ms: int
    touched_ms: int
    signature: bytes
    revision: bytes
    earlier: bytes
    header_length: int
    key_id: bytes
    created_ms: int
    began_ms: int
    deadline_ms: int
    idle_ms: int
    authenticated_ms: int
    series: bytes
    user_length: int
    user: bytes | None
    payload: SecretBytes
    raw: SecretBytes

    def __repr__(self) -> str:
        return f"<record of revision {self.revision.hex()}>"

    def is_live(self, now: int) -> bool:
        """Has neither deadline come?"""
        return now < self.ends_ms

    def holds(self, written: Record) -> bool:
        """Is *written* this record, or one of those this was written over?"""
        return written.revision == self.revision or written.revision in self.revisions

    @property
    def revisions(self) -> tuple[bytes, ...]:
        """Return the lineage: the last writes, newest first."""
        earlier, step = self.earlier, REVISION_LENGTH
        found = (earlier[at : at + step] for at in range(0, len(earlier), step))
        return (self.revision, *(each for each in found if any(each)))

    @property
    def user_id(self) -> str | None:
        """What Django put into ``_auth_user_id``, or None; see `bytes_of_user`."""
        return None if self.user is None else self.user.decode("utf-8", "surrogatepass")

    # For people, and for pages that show a time.

    @property
    def created_at(self) -> datetime:
        """When the session was first stored."""
        return to_datetime(self.created_ms)

    @property
    def began_at(self) -> datetime:
        """Login or creation, whichever came last."""
        return to_datetime(self.began_ms)

    @property
    def touched_at(self) -> datetime:
        """Last use."""
        return to_datetime(self.touched_ms)

    @property
    def absolute_deadline_at(self) -> datetime | None:
        """When the session ends whatever happens, or None for never."""
        return None if self.deadline_ms >= NEVER else to_datetime(self.deadline_ms)

    @property
    def expires_at(self) -> datetime | None:
        """The earlier of the idle and the absolute deadline, or None where neither is set."""
        return None if self.ends_ms >= NEVER else to_datetime(self.ends_ms)

    @property
    def idle_age(self) -> int | None:
        """Seconds without use after which the session ends, or None for never."""
        return None if self.idle_ms >= NEVER else self.idle_ms // 1000


class Found(Record):
    """A record as it was read, with what its server needs to write over just that.

    It equals the record and has the same bytes. A record that is made of it has no token, and one
    that was written has none: a driver that needs one reads it first.

    Attributes:
        token: A memcached's cas or the like; only the driver that put it there knows what it is.
    """

    token: Any = None


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


_REASONS = tuple(Reason)


class Tombstone(NamedTuple):
    """What is left for `TOMBSTONE_TIMEOUT` of a session that was ended or moved: the fact.

    Attributes:
        revision: Random token of the write that left it: of a move the revision of the moved
            record, otherwise one of its own. A write that was sent again because its answer was
            lost finds itself here.
        reason: Why the session is no longer under its key.
        successor: Storage key of what took its place, if anything did; not a secret.
    """

    revision: bytes
    reason: Reason
    successor: str = ""

    @property
    def raw(self) -> bytes:
        """Return it as it is stored."""
        reason = _REASONS.index(self.reason)
        head = _TOMBSTONE.pack(TOMBSTONE_HEAD, 0, 0, _NO_SIGNATURE, self.revision, reason)
        return head + self.successor.encode()


#: What is stored under a key.
Stored = Record | Tombstone | None


def found(stored: Stored, token: Any) -> Stored:
    """Return *stored* as it was read with *token*, which only a record takes along."""
    if not isinstance(stored, Record):
        return stored
    read = Found._make(stored)
    read.token = token
    return read


class Outcome(enum.Enum):
    """How a conditional write went."""

    SAVED = "saved"
    MISSING = "missing"
    CONFLICT = "conflict"


class Answer(NamedTuple):
    """What conditional writes answer.

    Attributes:
        outcome: Saved, missing (absent, expired, unreadable or a tombstone) or conflict.
        stored: What was found instead: with a conflict always, with a missing record the tombstone
            where there is one.
    """

    outcome: Outcome
    stored: Record | Tombstone | None = None


SAVED = Answer(Outcome.SAVED)
MISSING = Answer(Outcome.MISSING)


# Bytes


def decode(raw: bytes) -> Record | Tombstone:
    """Return what *raw* is.

    Raises:
        Unreadable: It is neither a record nor a tombstone.
        StoreUnavailable: It is of a version that this process doesn't know.
    """
    head = raw[:3]
    if head == RECORD_HEAD:
        try:
            fields = _RECORD.unpack_from(raw)
        except struct.error:
            raise Unreadable("it is cut short") from None
        record = _record(fields, raw)
        if fields[1] != end_of(fields[2], fields[11], fields[10]):
            raise Unreadable("its end doesn't follow from its times")
        return record
    if head == TOMBSTONE_HEAD:
        return _decode_tombstone(raw)
    if len(head) == len(RECORD_HEAD) and head[:1] == _MARK and head[1] > _VERSION:
        # A newer release wrote it: to call it no session would log its client out.
        raise StoreUnavailable(
            f"A session record is of version {head[1]}, which this release can't read "
            f"(it reads version {_VERSION}).",
            OutageKind.UNKNOWN_FORMAT,
        )
    raise Unreadable("it is no record")


def is_tombstone(raw: bytes) -> bool:
    """Is *raw* a tombstone, of whatever version?"""
    return raw[:1] == _MARK and raw[2:3] == TOMBSTONE_HEAD[2:]


def _record(fields: tuple[Any, ...], raw: bytes) -> Record:
    """Return the record *raw*, whose parts of fixed length are *fields*."""
    at, length, payload_at = _RECORD_SIZE, fields[14], HEADER_AT + fields[6]
    user = None
    if length != _NO_USER:
        user = raw[at : at + length]
        at += length
    if not at <= payload_at <= len(raw):
        raise Unreadable("it is cut short")
    kept = raw if type(raw) is SecretBytes else SecretBytes(raw)
    return _make((*fields, user, SecretBytes(raw[payload_at:]), kept))


#: As `Record._make`, without its frame of Python: every record that is read or written is made by it.
_make: Callable[[tuple[Any, ...]], Record] = functools.partial(tuple.__new__, Record)


def _decode_tombstone(raw: bytes) -> Tombstone:
    try:
        *_, revision, reason = _TOMBSTONE.unpack_from(raw)
        return Tombstone(revision, _REASONS[reason], raw[_TOMBSTONE.size :].decode("ascii"))
    except (struct.error, UnicodeDecodeError):
        raise Unreadable("it is cut short") from None
    except IndexError:
        raise Unreadable("its reason is unknown") from None


class Facts(NamedTuple):
    """What a record says beside its revision, its payload and its signature; see `Record`."""

    created_ms: int
    began_ms: int
    touched_ms: int
    idle_ms: int
    deadline_ms: int
    user: bytes | None = None
    authenticated_ms: int = NEVER
    series: bytes = bytes(SERIES_LENGTH)


def encode_signed(
    facts: Facts,
    payload: bytes,
    key_id: bytes,
    before: Record | None = None,
    revision: bytes | None = None,
) -> bytes:
    """Return the part of a new record that is signed: a write of *payload* over *before*.

    The write's *revision* is drawn, unless it's given.
    """
    user = facts.user
    earlier = _NO_EARLIER if before is None else (before.revision + before.earlier)[:24]
    header = _HEADER.pack(
        # Random and no counter: after a failover to an older copy that would be issued twice.
        revision or urandom(REVISION_LENGTH),
        earlier,
        _RECORD_SIZE - HEADER_AT + (0 if user is None else len(user)),
        key_id,
        facts.created_ms,
        facts.began_ms,
        facts.deadline_ms,
        facts.idle_ms,
        facts.authenticated_ms,
        facts.series,
        _NO_USER if user is None else len(user),
    )
    return header + (user or b"") + payload


def assemble(facts: Facts, signature: bytes, signed: bytes) -> Record:
    """Return the record of *facts* whose *signed* part has that *signature*."""
    ends = end_of(facts.touched_ms, facts.idle_ms, facts.deadline_ms)
    raw = _PREFIX.pack(RECORD_HEAD, ends, facts.touched_ms, signature) + signed
    return _record(_RECORD.unpack_from(raw), raw)


def touched(record: Record, touched_ms: int) -> Record:
    """Return *record* with another last use, and the end that follows from it."""
    ends = end_of(touched_ms, record.idle_ms, record.deadline_ms)
    raw = record.raw[:ENDS_AT] + _TIMES.pack(ends, touched_ms) + record.raw[19:]
    return record._replace(ends_ms=ends, touched_ms=touched_ms, raw=SecretBytes(raw))


def times_of(record: Record) -> bytes:
    """Return the end and the last use as they are stored, next to each other."""
    return record.raw[ENDS_AT:19]


def new_revision() -> bytes:
    """Return a new random token."""
    return urandom(REVISION_LENGTH)


def new_series() -> bytes:
    """Return a new random id for a login's session."""
    return urandom(SERIES_LENGTH)


def bytes_of_user(user_id: str) -> bytes:
    """Return what a record stores of Django's ``_auth_user_id``: of any text, also of lone surrogates."""
    return user_id.encode("utf-8", "surrogatepass")


# Times


def end_of(touched_ms: int, idle_ms: int, deadline_ms: int) -> int:
    """Return when a session ends that was last used at *touched_ms*; past the calendar is `NEVER`."""
    ends = touched_ms + idle_ms
    if deadline_ms < ends:  # noqa: PLR1730  (every request asks; min() takes twice as long)
        ends = deadline_ms
    return ends if ends <= END_MS else NEVER


def server_life(record: Record, now: int) -> int:
    """Return for how many milliseconds from *now* a server keeps *record*; `NEVER`: without end.

    Never less than `SLACK_MS`: a record that ends in the past (``set_expiry()`` with a past date)
    is stored and expires by comparison.
    """
    if record.ends_ms >= NEVER:
        return NEVER
    return max(record.ends_ms - now, 0) + SLACK_MS


def to_milliseconds(moment: datetime) -> int:
    """Return whole milliseconds since 1970."""
    return (moment - _EPOCH) // _MILLISECOND


def to_datetime(milliseconds: int) -> datetime:
    """Return the moment that many *milliseconds* after 1970, or the calendar's first or last one."""
    return _EPOCH + max(BEGINNING_MS, min(milliseconds, END_MS)) * _MILLISECOND


# What a write finds


def answer_to_add(stored: Stored, record: Record) -> bool:
    """Return the answer to an `add` that found *stored*: is it what an earlier attempt stored?"""
    return isinstance(stored, Record) and stored.holds(record)


def answer_to_replace(stored: Stored, record: Record, base: Record, now: int) -> Answer | None:
    """Return the answer to a `replace` that finds *stored*; None means that it is carried out."""
    if isinstance(stored, Record) and stored.holds(record):
        return SAVED
    return _answer_over_record(stored, base, now, record.touched_ms)


def answer_to_retire(
    stored: Stored,
    base: Record | Tombstone,
    left: Tombstone,
    now: int,
    latest_use: int = NEVER,
) -> Answer | None:
    """Return the answer to a `retire`, or a `move`, that finds *stored* in its place; None as above."""
    if isinstance(stored, Tombstone) and stored.revision == left.revision:
        return SAVED
    if isinstance(base, Record):
        return _answer_over_record(stored, base, now, latest_use)
    if isinstance(stored, Tombstone):
        return None if stored.revision == base.revision else Answer(Outcome.CONFLICT, stored)
    if stored is None or not stored.is_live(now):
        return MISSING
    return Answer(Outcome.CONFLICT, stored)


def answer_to_touch(stored: Stored, base: Record, touched_ms: int, now: int) -> Answer | None:
    """Return the answer to a `touch` that finds *stored*; None as above."""
    answer = _answer_over_record(stored, base, now, NEVER)
    if answer is None and isinstance(stored, Record) and stored.touched_ms >= touched_ms:
        return SAVED
    return answer


def answer_to_delete(stored: Stored, left: Tombstone) -> bool | Tombstone:
    """Return the answer to a `delete` under whose key *stored* lies after it."""
    if not isinstance(stored, Tombstone):
        return False
    return stored.revision == left.revision or stored


def _answer_over_record(stored: Stored, base: Record, now: int, latest_use: int) -> Answer | None:
    if isinstance(stored, Tombstone):
        return Answer(Outcome.MISSING, stored)
    if stored is None or not stored.is_live(now):
        return MISSING
    # A later last use is another request's: a save must not take it back.
    is_base = stored.revision == base.revision and stored.touched_ms <= latest_use
    return None if is_base else Answer(Outcome.CONFLICT, stored)
