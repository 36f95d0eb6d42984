"""The index of a user's sessions: a sorted set of storage keys, by when each ends at the latest. Pure.

A script that writes a record writes its user's index in the same step, and only where that changes:
the ends in it are rounded up, so that of many saves one does. What has ended goes with the next write,
the whole index with its last session. A listing removes what it finds gone. Nothing else reads it.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from django_multisession.core.records import NEVER, Record, Tombstone, server_life

#: What follows the prefix of the keys; no storage key begins like that.
NAME = "user:"

#: An end is rounded up to a multiple of this part of the idle timeout.
_PART = 8
_SHORTEST_STEP = 1000


class Change(NamedTuple):
    """What a script does to the index, behind its own keys and arguments.

    Attributes:
        places: The index that an entry leaves, and the one that an entry enters.
        values: The entry that leaves, or nothing; the one that enters, or nothing, with its end; now,
            by which entries go that have ended; how long the index is kept at least.
    """

    places: tuple[str, ...] = ()
    values: tuple[str | int, ...] = ()


UNCHANGED = Change()


def place_of(prefix: str, user: bytes) -> str:
    """Return the key of the index of *user*: short, whatever the user is."""
    # The scripts have no other hash; nothing is protected by it.
    return f"{prefix}{NAME}{hashlib.sha1(user, usedforsecurity=False).hexdigest()}"


def entering(prefix: str, key: str, record: Record, now: int) -> Change:
    """Enter *record*, which is stored under *key*, or enter it again."""
    if record.user is None:
        return UNCHANGED
    place = place_of(prefix, record.user)
    return Change((place, place), ("", key, *_times(record, now)))


def leaving(prefix: str, key: str, base: Record | Tombstone) -> Change:
    """Remove *base*, which goes from *key*."""
    if isinstance(base, Tombstone) or base.user is None:
        return UNCHANGED
    place = place_of(prefix, base.user)
    return Change((place, place), (key, "", 0, 0, 0))


def saved(prefix: str, key: str, base: Record, record: Record, now: int) -> Change:
    """Follow *record*, written over *base*: most saves change neither its user nor its rounded end."""
    # Every save asks: without a call.
    step = max(record.idle_ms // _PART, _SHORTEST_STEP)
    if (
        base.ends_ms // step == record.ends_ms // step
        and base.idle_ms == record.idle_ms
        and base.user == record.user
    ):
        return UNCHANGED
    return moved(prefix, key, base, key, record, now)


def moved(
    prefix: str, old: str, base: Record | Tombstone, new: str, record: Record, now: int
) -> Change:
    """Follow *record* from *base* under *old* to *new*."""
    left, entered = leaving(prefix, old, base), entering(prefix, new, record, now)
    if UNCHANGED in (left, entered):
        return left if entered == UNCHANGED else entered
    return Change((left.places[0], entered.places[1]), (old, *entered.values[1:]))


def latest_end(record: Record) -> int:
    """Return when *record* ends, rounded up; `NEVER` for a session without end."""
    if record.ends_ms >= NEVER:
        return NEVER
    step = max(record.idle_ms // _PART, _SHORTEST_STEP)
    return (record.ends_ms // step + 1) * step


def _times(record: Record, now: int) -> tuple[int, int, int]:
    ends = latest_end(record)
    life = NEVER if ends >= NEVER else server_life(record, now) + ends - record.ends_ms
    return ends, now, life
