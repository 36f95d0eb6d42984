"""One session's line of keys: what lies under a key, and ending what the session became.

A new key leaves a tombstone under the old one that names its successor by storage key. Reads never
follow it: whoever has an old cookie doesn't learn the new one. An end does follow it.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

from django_multisession import signals
from django_multisession.core import marks
from django_multisession.core.keys import Verified
from django_multisession.core.records import (
    NEVER,
    SLACK_MS,
    Answer,
    Outcome,
    Reason,
    Record,
    Tombstone,
)
from django_multisession.core.secret import SecretBytes, SecretEntries
from django_multisession.drivers.base import log_unreadable
from django_multisession.exceptions import BadPayload, StoreUnavailable
from django_multisession.session.site import Site
from django_multisession.session.state import Session, Snapshot
from django_multisession.session.steps import Steps

#: How many keys an end follows at most.
MOST_HOPS = 16
#: What the signal says of sessions that were ended as their user's.
REVOKED = "revoked"


@dataclasses.dataclass(slots=True)
class Opened:
    """A live record with its entries.

    Not a tuple: an error reporter walks through those, and would show the entries.
    """

    snapshot: Snapshot
    entries: SecretEntries = dataclasses.field(repr=False)
    #: Did the client come with another engine's key, so that its cookie is to be set?
    is_adopted: bool = False


def find(session: Session, key: Verified) -> Steps[Opened | Tombstone | None]:
    """Return what lies under *key*; what doesn't open is missing."""
    stored = yield from session.site.driver.get(key.storage_key)
    return open_record(session, key, stored) if isinstance(stored, Record) else stored


def follow(session: Session, found: Tombstone) -> Steps[Opened | None]:
    """Return what the session that left *found* is now; None if it ended or another login took it over.

    For the end of a request that proved who its user is: a cookie alone leads to no successor.
    """
    place: Opened | Tombstone | None = found
    for _ in range(MOST_HOPS):
        if not isinstance(place, Tombstone) or place.reason is not Reason.MOVED:
            break
        place = yield from find(session, Verified("", place.successor))
    return place if isinstance(place, Opened) else None


def open_record(session: Session, key: Verified, record: Record) -> Opened | None:
    """Return the live *record* under *key* with its entries; None: no session."""
    site = session.site
    now = site.now()
    if record.touched_ms > now and is_used_in_the_future(record, now):
        log_unreadable(key.storage_key, "it was last used too far in the future")
        return None
    try:
        body = site.open(record, key)
        entries = site.loads(body)
    except BadPayload as problem:
        log_unreadable(key.storage_key, problem)
        return None
    # A timeout that was shortened since the record was written holds immediately.
    life = site.life(entries, record.began_ms)
    is_changed = life != (record.idle_ms, record.deadline_ms)
    if record.ends_ms <= now or (is_changed and life.ends_ms(record.touched_ms) <= now):
        is_absolute = min(life.deadline_ms, record.deadline_ms) <= now
        session.note(
            signals.session_expired,
            storage_key=key.storage_key,
            user_id=record.user_id,
            reason="absolute" if is_absolute else "idle",
        )
        return None
    by_fallback = site.is_signed_by_fallback(record)
    return Opened(Snapshot(key, record, body, site.touch_due_ms(record), by_fallback), entries)


class End(NamedTuple):
    """What became of an end.

    Attributes:
        place: Storage key under which it stopped.
        tombstone: What lies there now; None: there was nothing.
        is_made: Was a session ended?
    """

    place: str
    tombstone: Tombstone | None
    is_made: bool = False

    @property
    def revision(self) -> bytes:
        """Token of the write that left the tombstone."""
        return b"" if self.tombstone is None else self.tombstone.revision

    @property
    def met_login(self) -> bool:
        """Did a login take the session over, so that a newer cookie is the client's?"""
        return self.tombstone is not None and self.tombstone.reason is Reason.LOGIN


def end(
    session: Session,
    place: str,
    left: Tombstone,
    reason: str,
    spared: str = "",
    user_id: str | None = None,
) -> Steps[End]:
    """End what lies under the storage key *place*, or what the same login session became.

    Args:
        session: Whose events these are.
        place: Storage key to begin with.
        left: The tombstone to leave.
        reason: What the signal says.
        spared: Storage key of the request's own session, which the end of a key that it left
            doesn't reach.
        user_id: Whose session it is, where that is known.
    """
    for _ in range(MOST_HOPS):
        found = yield from session.site.driver.delete(place, left)
        if found is True:
            session.note(signals.session_ended, storage_key=place, user_id=user_id, reason=reason)
            return End(place, left, is_made=True)
        if not isinstance(found, Tombstone):
            return End(place, None)
        if found.reason is not Reason.MOVED or found.successor in ("", spared):
            return End(place, found)
        place = found.successor
    return End(place, None)


def retire(
    session: Session, place: str, base: Record, left: Tombstone, reason: str
) -> Steps[Answer]:
    """End the session of *base* under the storage key *place*, also if it was saved meanwhile.

    Nothing else that lies there is ended: where logins keep the key, it may be another user's by now.
    """
    site = session.site
    for _ in range(MOST_HOPS):
        answer = yield from site.driver.retire(place, base, left, site.now(), NEVER)
        stored = answer.stored
        if not (isinstance(stored, Record) and stored.series == base.series):
            break
        base = stored
    if answer.outcome is Outcome.SAVED:
        session.note(signals.session_ended, storage_key=place, user_id=base.user_id, reason=reason)
    return answer


def end_here(session: Session, place: str, left: Tombstone, reason: str) -> Steps[None]:
    """End what lies under the storage key *place*, and nothing that it became."""
    if (yield from session.site.driver.delete(place, left)) is True:
        session.note(signals.session_ended, storage_key=place, user_id=None, reason=reason)


def is_revoked(
    session: Session, user: bytes, mark: object, began_ms: int, series: bytes = b""
) -> bool:
    """Does *mark*, which lies where that of *user* does, end a login of *began_ms*? See `core.marks`.

    Args:
        session: Whose steps these are.
        user: The user.
        mark: What was found.
        began_ms: When the login began.
        series: Of its session, which may be spared.
    """
    site = session.site
    if not isinstance(mark, Record) or not marks.ends_login(mark, began_ms, site.now()):
        return False
    payload = open_note(site, site.place_of_mark(user), mark)
    return payload is not None and not marks.spares(payload, series)


def open_note(site: Site, place: str, record: Record) -> SecretBytes | None:
    """Return what *record* at *place*, a note beside the sessions, holds.

    None, with one line in the log, where this process can't open it: no login fails at that.
    """
    try:
        return site.open(record, Verified("", place))
    except (BadPayload, StoreUnavailable) as problem:
        log_unreadable(place, problem)
        return None


def is_used_in_the_future(record: Record, now: int) -> bool:
    """Was the last use, which isn't signed, written into the store to lengthen the session?

    A clock that was wrong and is set right leaves such times too, by up to an idle timeout. Where
    the signed start also lies ahead, the clock was set back and nothing was forged.
    """
    if record.idle_ms >= NEVER or record.began_ms > now:
        return False
    return record.touched_ms - now > record.idle_ms + SLACK_MS
