"""Records in this process's memory: for development and tests. They end with the process."""

from __future__ import annotations

import collections
import dataclasses
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta

from django.core.checks import CheckMessage

from django_multisession.core.records import (
    EXPIRY_SLACK,
    MISSING,
    SAVED,
    TOMBSTONE_TIMEOUT,
    Answer,
    Record,
    Stored,
    Tombstone,
    answer_to_delete,
    answer_to_move,
    answer_to_replace,
    answer_to_touch,
    is_readable_age,
    server_life,
    truncate,
)
from django_multisession.drivers.base import log_unreadable

DEFAULT_MAX_RECORDS = 10_000


@dataclasses.dataclass(frozen=True, slots=True)
class _Slot:
    stored: Record | Tombstone
    gone_at: float


class MemoryDriver:
    """Keeps at most *max_records* records; the least recently used go first.

    Nothing is shared with callers: records are frozen and hold bytes. The clock is that of a
    server: it measures how long records are kept, never whether they are expired.
    """

    # Expired ones are dropped when they are next read, and until then they are kept.
    has_native_expiry = False

    def __init__(
        self,
        max_records: int = DEFAULT_MAX_RECORDS,
        server_clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_records = max_records
        self._server_clock = server_clock
        self._lock = threading.Lock()
        self._slots: collections.OrderedDict[str, _Slot] = collections.OrderedDict()

    def __len__(self) -> int:
        """Return how many records are kept, tombstones included."""
        return len(self._slots)

    def add(self, key: str, record: Record) -> bool:
        """See Driver.add()."""
        with self._lock:
            stored = self._find(key)
            if stored is None:
                self._keep(key, record, server_life(record, record.touched_at))
                return True
            return isinstance(stored, Record) and stored.holds(record)

    def get(self, key: str) -> Stored:
        """See Driver.get()."""
        with self._lock:
            return self._read(key)

    def replace(self, key: str, record: Record, base: Record, now: datetime) -> Answer:
        """See Driver.replace()."""
        with self._lock:
            answer = answer_to_replace(self._read(key), record, base, now)
            if answer is None:
                self._keep(key, record, server_life(record, now))
            return answer or SAVED

    def move(
        self,
        old_key: str,
        new_key: str,
        record: Record,
        base: Record | Tombstone,
        left: Tombstone,
        now: datetime,
    ) -> Answer:
        """See Driver.move()."""
        with self._lock:
            answer = answer_to_move(self._read(old_key), record, base, left, now)
            if answer is None:
                if self._find(new_key) is not None:
                    return MISSING
                self._keep(new_key, record, server_life(record, now))
                self._keep(old_key, left, TOMBSTONE_TIMEOUT)
            return answer or SAVED

    def touch(self, key: str, base: Record, touched_at: datetime, now: datetime) -> Answer:
        """See Driver.touch()."""
        with self._lock:
            stored = self._read(key)
            answer = answer_to_touch(stored, base, touched_at, now)
            if answer is None and isinstance(stored, Record):
                touched = dataclasses.replace(stored, touched_at=truncate(touched_at))
                self._keep(key, touched, server_life(touched, now))
            return answer or SAVED

    def delete(self, key: str, left: Tombstone) -> bool | Tombstone:
        """See Driver.delete()."""
        with self._lock:
            if isinstance(self._find(key), Record):
                self._keep(key, left, TOMBSTONE_TIMEOUT)
            return answer_to_delete(self._find(key), left)

    def purge_expired(self, now: datetime, limit: int) -> int:
        """See Driver.purge_expired()."""
        with self._lock:
            expired = self._expired(now)[:limit]
            for key in expired:
                del self._slots[key]
            return len(expired)

    def count_expired(self, now: datetime) -> int:
        """See Driver.count_expired()."""
        with self._lock:
            return len(self._expired(now))

    def check(self) -> list[CheckMessage]:
        """See Driver.check()."""
        return []

    def close(self) -> None:
        """See Driver.close(). There is no client; the records stay."""

    # The a-twins do no I/O, so they have nothing to await.

    async def aadd(self, key: str, record: Record) -> bool:
        """See add()."""
        return self.add(key, record)

    async def aget(self, key: str) -> Stored:
        """See get()."""
        return self.get(key)

    async def areplace(self, key: str, record: Record, base: Record, now: datetime) -> Answer:
        """See replace()."""
        return self.replace(key, record, base, now)

    async def amove(
        self,
        old_key: str,
        new_key: str,
        record: Record,
        base: Record | Tombstone,
        left: Tombstone,
        now: datetime,
    ) -> Answer:
        """See move()."""
        return self.move(old_key, new_key, record, base, left, now)

    async def atouch(self, key: str, base: Record, touched_at: datetime, now: datetime) -> Answer:
        """See touch()."""
        return self.touch(key, base, touched_at, now)

    async def adelete(self, key: str, left: Tombstone) -> bool | Tombstone:
        """See delete()."""
        return self.delete(key, left)

    async def apurge_expired(self, now: datetime, limit: int) -> int:
        """See purge_expired()."""
        return self.purge_expired(now, limit)

    async def acount_expired(self, now: datetime) -> int:
        """See count_expired()."""
        return self.count_expired(now)

    async def aclose(self) -> None:
        """See close()."""

    def _read(self, key: str) -> Stored:
        """Find what is stored under *key*; what no server could give back reads as nothing."""
        stored = self._find(key)
        if isinstance(stored, Record) and not is_readable_age(stored.idle_age):
            log_unreadable(key, "its idle_age is beyond the calendar")
            return None
        return stored

    def _find(self, key: str) -> Stored:
        slot = self._slots.get(key)
        if slot is None:
            return None
        if slot.gone_at <= self._server_clock():
            del self._slots[key]
            return None
        self._slots.move_to_end(key)
        return slot.stored

    def _expired(self, now: datetime) -> list[str]:
        return [
            key
            for key, slot in self._slots.items()
            if isinstance(slot.stored, Record)
            and slot.stored.expires_at is not None
            and slot.stored.expires_at < now - EXPIRY_SLACK
        ]

    def _keep(self, key: str, stored: Record | Tombstone, life: timedelta | None) -> None:
        gone_at = float("inf") if life is None else self._server_clock() + life.total_seconds()
        self._slots[key] = _Slot(stored, gone_at)
        self._slots.move_to_end(key)
        while len(self._slots) > self._max_records:
            self._slots.popitem(last=False)
