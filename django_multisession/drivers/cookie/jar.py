"""What the cookies of one client hold: what came with a request, and what its response takes along."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from django_multisession.core.records import (
    NEVER,
    TOMBSTONE_MS,
    USED_AT,
    Record,
    Tombstone,
    is_tombstone,
)
from django_multisession.drivers.memory import DEFAULT_MAX_RECORDS, MemoryServer, Slot


class Move(NamedTuple):
    """A move whose answer is awaited: what lies under the new key if it is carried out."""

    old_key: str
    left: Tombstone
    record: Record


class Jar(MemoryServer):
    """The records that one client's cookies hold.

    Attributes:
        moves: New key → the move to it, until it is known to be made or not.
        ends: Key → until when what was moved there may live.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(DEFAULT_MAX_RECORDS, clock)
        self.moves: dict[str, Move] = {}
        self.ends: dict[str, int] = {}

    def hold(self, key: str, raw: bytes) -> None:
        """Hold the record *raw*, which came with the request: of two of one session the later used.

        What ended in this request stays ended.
        """
        slot = self.slots.get(key)
        if slot is None or (not is_tombstone(slot.raw) and _use(slot.raw) < _use(raw)):
            self.slots[key] = Slot(raw, float("inf"))

    def raw(self, key: str) -> bytes | None:
        """Return the bytes of the record under *key*; None if there is none, or it was ended."""
        slot = self.slots.get(key)
        return None if slot is None or is_tombstone(slot.raw) else slot.raw

    def make(self, move: Move, new_key: str) -> None:
        """Carry *move* out."""
        self._keep(new_key, move.record, NEVER)
        self._keep(move.old_key, move.left, TOMBSTONE_MS)


def _use(raw: bytes) -> bytes:
    """Return the last use of the record *raw*, so that two of them compare."""
    return raw[USED_AT : USED_AT + 8]
