"""Cards: what a listing engine holds of the sessions of another one. Pure.

A card is a record that holds a session's user, series and times. Its payload is the storage key of the
session. It isn't signed: the record of the session proves what a list shows.
"""

from __future__ import annotations

import hashlib
import struct

from django_multisession.core.keys import noted_at
from django_multisession.core.records import (
    NEVER,
    REVISION_LENGTH,
    Facts,
    Record,
    Stored,
    assemble,
    encode_signed,
)

_CARD = b"card"
_NO_SIGNATURE = bytes(32)
_LONGEST_PERIOD_MS = 60_000
_FACTS = struct.Struct(">12sqqq")


def place_of(key: str) -> str:
    """Return where the card of the session under the storage key *key* lies.

    The listing engine may hold records of its own under the key itself, an end for example.
    """
    return noted_at(b"django_multisession.card.1", key.encode(), b"")


def make_card(key: str, record: Record) -> Record:
    """Return the card of *record*, the session under *key*, which has a user."""
    user = record.user or b""
    # A save may note a use without the card: see `is_due`.
    idle_ms = record.idle_ms if record.idle_ms >= NEVER else record.idle_ms + _period(record)
    facts = Facts(
        record.created_ms,
        record.began_ms,
        record.touched_ms,
        idle_ms,
        record.deadline_ms,
        user,
        NEVER,
        record.series,
    )
    # No token: a write that knows the record knows what card it goes over, and one that is sent
    # again is the same one.
    times = _FACTS.pack(record.series, record.began_ms, idle_ms, record.deadline_ms)
    revision = hashlib.blake2b(b"%b %b%b" % (key.encode(), times, user), digest_size=8).digest()
    signed = encode_signed(facts, key.encode(), _CARD)
    return assemble(facts, _NO_SIGNATURE, revision + signed[REVISION_LENGTH:])


def listed_in(place: str, found: Record) -> str | None:
    """Return the storage key of the session whose card is *found* at *place*; None if it isn't one.

    The listing engine may hold sessions too, from before it listed those of another engine.
    """
    if found.key_id != _CARD:
        return None
    key = found.payload.decode("ascii", "replace")
    return key if place_of(key) == place else None


def begins(base: Stored, record: Record) -> bool:
    """Does a write of *record* over *base* begin a session of its user?"""
    if not isinstance(base, Record):
        return record.user is not None
    return record.user is not None and (base.user, base.series) != (record.user, record.series)


def is_due(base: Record, record: Record) -> bool:
    """Is the card to be written where *record*, of a user, is saved over *base*?

    It is if the card would say anything else, and once in each period of use.
    """
    if _said(base) != _said(record):
        return True
    period = _period(record)
    return base.touched_ms // period != record.touched_ms // period


def _said(record: Record) -> tuple[object, ...]:
    return record.user, record.series, record.began_ms, record.idle_ms, record.deadline_ms


def _period(record: Record) -> int:
    return max(min(_LONGEST_PERIOD_MS, record.idle_ms // 10), 1)
