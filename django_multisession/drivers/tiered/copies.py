"""What the front holds: copies of the back's records, and what keeps their places. Pure.

Under a key of the front lies nothing, a tombstone, or a record of the front's own:

- a *copy*: a record of the back, and when the back was asked for it;
- a *hold*: when its writer began to ask. For a while only that writer may replace it by a copy.

The times of these records count from their writes, and the front is sent the time 0 with each verb.
So no clock calls one expired, and each is compared until it is replaced.
"""

from __future__ import annotations

from typing import Any

from django_multisession.core.records import (
    NEVER,
    Facts,
    Record,
    Unreadable,
    assemble,
    decode,
    encode_signed,
)
from django_multisession.drivers.quiet import is_within
from django_multisession.exceptions import StoreUnavailable

#: For how long a copy is good after the back was asked for it.
COPY_MS = 30_000
#: For how long a reader may ask the back before another one takes over.
LEASE_MS = 5_000

_COPY, _HOLD = b"copy", b"hold"
_NO_SIGNATURE = bytes(32)


def make_copy(record: Record, asked_ms: int, over: Record | None = None) -> Record:
    """Return a copy of *record*, with its lineage: a write of the back is one of the front.

    Args:
        record: What the back holds.
        asked_ms: When it was asked.
        over: What the copy is written over, or the record of which that is a copy. A copy of the
            same revision would pass for written already, so it gets a revision of its own.
    """
    is_again = over is not None and over.revision == record.revision
    signed = encode_signed(_facts(asked_ms), record.raw, _COPY, record if is_again else None)
    if not is_again:
        lineage = record.revision + record.earlier
        signed = lineage + signed[len(lineage) :]
    return assemble(_facts(asked_ms), _NO_SIGNATURE, signed)


def make_hold(asked_ms: int = 0) -> Record:
    """Return a hold that began at *asked_ms*; without it, anyone may take it over."""
    facts = _facts(asked_ms)
    return assemble(facts, _NO_SIGNATURE, encode_signed(facts, b"", _HOLD))


def copied_in(found: Any) -> Record | None:
    """Return the record of which *found* is a copy, if it is one that this process can read."""
    if not isinstance(found, Record) or found.key_id != _COPY:
        return None
    try:
        copied = decode(found.payload)
    except (Unreadable, StoreUnavailable):
        return None
    return copied if isinstance(copied, Record) else None


def good_copy_in(found: Any, now: int) -> Record | None:
    """Return the record of which *found* is a copy, if that needn't be confirmed by the back.

    Of an expired record the back may know a later use.
    """
    copied = copied_in(found)
    if copied is None or not (is_within(COPY_MS, found.created_ms, now) and copied.is_live(now)):
        return None
    return copied


def is_leased(found: Record, now: int) -> bool:
    """Is *found* a hold whose writer may be asking the back?"""
    return found.key_id == _HOLD and is_within(LEASE_MS, found.created_ms, now)


def _facts(asked_ms: int) -> Facts:
    return Facts(created_ms=asked_ms, began_ms=0, touched_ms=0, idle_ms=COPY_MS, deadline_ms=NEVER)
