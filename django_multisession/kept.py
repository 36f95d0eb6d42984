"""What a session keeps of its record between two verbs, and what a save writes, where."""

from __future__ import annotations

import dataclasses

from django_multisession import keys
from django_multisession.records import Record


@dataclasses.dataclass(frozen=True, slots=True)
class Kept:
    """A record as it was last read or written. Its repr, which error pages show, holds no entries.

    Attributes:
        key: The key it lies under. While a new one waits for its save, that is the old one.
        record: What the server holds.
        serialized: Its entries.
        by_fallback: Was it sealed with another secret than the current one?
    """

    key: keys.Verified
    record: Record
    serialized: bytes = dataclasses.field(repr=False)
    by_fallback: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """Where a save writes: under *key*, over *base* or, without one, as a new record."""

    key: keys.Verified
    base: Kept | None

    @property
    def is_moved(self) -> bool:
        """Does the session get another key than the one it lies under?"""
        return self.base is not None and self.key.storage_key != self.base.key.storage_key


@dataclasses.dataclass(frozen=True, slots=True)
class Sent:
    """A save that was sent to the server.

    Attributes:
        target: Where it writes.
        base: What it writes over.
        composed: What it writes.
        is_login: Does it begin the session anew?
        is_cleared: Does it leave nothing of what others saved?
    """

    target: Target
    base: Kept
    composed: Kept
    is_login: bool
    is_cleared: bool
