"""Cards: what a listing engine holds of the sessions of another one. Pure.

A card is a record that holds a session's user, series and times. Its payload begins with the storage key
of the session. Where a list reads the session's record, that proves what the list shows, and the card
isn't signed. Where clients hold the records, the card is signed, and holds what else a list shows.
"""

from __future__ import annotations

import hashlib
import re
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
from django_multisession.core.secret import SecretBytes

_NO_KEY = bytes(4)
_NO_SIGNATURE = bytes(32)
_LONGEST_PERIOD_MS = 60_000
_KEY = re.compile(r"[0-9a-f]{32,64}")
_FACTS = struct.Struct(">12sqqq")


def place_of(key: str) -> str:
    """Return where the card of the session under the storage key *key* lies.

    The listing engine may hold records of its own under the key itself, an end for example.
    """
    return noted_at(b"django_multisession.card.1", key.encode(), b"")


def facts_of(record: Record) -> Facts:
    """Return what the card of *record*, a session of a user, says."""
    # A save may note a use without the card: see `is_due`.
    idle_ms = record.idle_ms if record.idle_ms >= NEVER else record.idle_ms + _period(record)
    return Facts(
        record.created_ms,
        record.began_ms,
        record.touched_ms,
        idle_ms,
        record.deadline_ms,
        record.user,
        NEVER,
        record.series,
    )


def revision_of(key: str, facts: Facts, shown: bytes = b"") -> bytes:
    """Return the revision of the card of *facts*, and of what else it shows.

    It's no random token: a write that knows the record knows what card it goes over, and one that is
    sent again is the same one.
    """
    times = _FACTS.pack(facts.series, facts.began_ms, facts.idle_ms, facts.deadline_ms)
    user = facts.user or b""
    said = b"%b %b%d:%b%b" % (key.encode(), times, len(user), user, shown)
    return hashlib.blake2b(said, digest_size=REVISION_LENGTH).digest()


def payload_of(key: str, shown: bytes) -> bytes:
    """Return the payload of the card of the session under *key* that shows *shown*."""
    return b"%b %b" % (key.encode(), shown)


def shown_in(card: Record) -> SecretBytes:
    """Return what *card* shows."""
    return SecretBytes(card.payload.partition(b" ")[2])


def make_card(key: str, record: Record) -> Record:
    """Return the card of *record*, the session under *key*: not signed, and without anything else."""
    facts = facts_of(record)
    revision = revision_of(key, facts)
    signed = encode_signed(facts, payload_of(key, b""), _NO_KEY, revision=revision)
    return assemble(facts, _NO_SIGNATURE, signed)


def listed_in(place: str, found: Record) -> str | None:
    """Return the storage key of the session whose card is *found* at *place*; None if it isn't one.

    The listing engine may hold sessions too, from before it listed those of another engine.
    """
    key = found.payload.partition(b" ")[0].decode("ascii", "replace")
    return key if is_key(key) and place_of(key) == place else None


def is_key(text: str) -> bool:
    """Is *text* of the form of a storage key? A writer in a store may write anything there.

    memcached refuses the command that asks for a key with a space, and so for all keys of a list.
    """
    return _KEY.fullmatch(text) is not None


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
