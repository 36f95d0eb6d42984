"""Records in this process's memory: for development and tests. They end with the process."""

from __future__ import annotations

import collections
import dataclasses
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta

from django.core.checks import CheckMessage

from django_multisession.records import (
    EXPIRY_SLACK,
    MISSING,
    RETIRED_TIMEOUT,
    SAVED,
    Answer,
    Record,
    Retired,
    Stored,
    answer_of_move,
    answer_of_replace,
    retired_life,
    server_life,
)

DEFAULT_MAX_RECORDS = 10_000


@dataclasses.dataclass(frozen=True, slots=True)
class _Slot:
    stored: Record | Retired
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
        """Return how many records are kept, retired ones included."""
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
            return self._find(key)

    def replace(self, key: str, record: Record, expected: str, now: datetime) -> Answer:
        """See Driver.replace()."""
        with self._lock:
            stored = self._find(key)
            if _is_replaceable(stored, expected, now):
                self._keep(key, record, server_life(record, now))
                return SAVED
            return answer_of_replace(stored, record, now)

    def move(
        self,
        old_key: str,
        new_key: str,
        record: Record,
        expected: str,
        now: datetime,
        forward: bytes = b"",
    ) -> Answer:
        """See Driver.move()."""
        with self._lock:
            stored = self._find(old_key)
            if _is_replaceable(stored, expected, now):
                if self._find(new_key) is not None:
                    return MISSING
                self._keep(new_key, record, server_life(record, now))
                retired = Retired(record.revision, forward)
                self._keep(old_key, retired, retired_life(record, now, forward))
                return SAVED
            return answer_of_move(stored, record, now)

    def touch(self, key: str, touched_at: datetime, now: datetime) -> bool:
        """See Driver.touch()."""
        with self._lock:
            stored = self._find(key)
            if not isinstance(stored, Record) or not stored.is_live(now):
                return False
            touched = dataclasses.replace(stored, touched_at=max(stored.touched_at, touched_at))
            self._keep(key, touched, server_life(touched, now))
            return True

    def delete(self, key: str) -> bool:
        """See Driver.delete()."""
        with self._lock:
            if not isinstance(self._find(key), Record):
                return False
            self._keep(key, Retired(), RETIRED_TIMEOUT)
            return True

    def forget(self, key: str, life: timedelta) -> None:
        """See Driver.forget()."""
        with self._lock:
            stored = self._find(key)
            gone_at = self._server_clock() + life.total_seconds()
            if isinstance(stored, Retired) and gone_at < self._slots[key].gone_at:
                self._slots[key] = _Slot(stored, gone_at)

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

    async def areplace(self, key: str, record: Record, expected: str, now: datetime) -> Answer:
        """See replace()."""
        return self.replace(key, record, expected, now)

    async def amove(
        self,
        old_key: str,
        new_key: str,
        record: Record,
        expected: str,
        now: datetime,
        forward: bytes = b"",
    ) -> Answer:
        """See move()."""
        return self.move(old_key, new_key, record, expected, now, forward)

    async def atouch(self, key: str, touched_at: datetime, now: datetime) -> bool:
        """See touch()."""
        return self.touch(key, touched_at, now)

    async def adelete(self, key: str) -> bool:
        """See delete()."""
        return self.delete(key)

    async def aforget(self, key: str, life: timedelta) -> None:
        """See forget()."""
        self.forget(key, life)

    async def apurge_expired(self, now: datetime, limit: int) -> int:
        """See purge_expired()."""
        return self.purge_expired(now, limit)

    async def acount_expired(self, now: datetime) -> int:
        """See count_expired()."""
        return self.count_expired(now)

    async def aclose(self) -> None:
        """See close()."""

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

    def _keep(self, key: str, stored: Record | Retired, life: timedelta | None) -> None:
        gone_at = float("inf") if life is None else self._server_clock() + life.total_seconds()
        self._slots[key] = _Slot(stored, gone_at)
        self._slots.move_to_end(key)
        while len(self._slots) > self._max_records:
            self._slots.popitem(last=False)


def _is_replaceable(stored: Stored, expected: str, now: datetime) -> bool:
    return isinstance(stored, Record) and stored.is_live(now) and stored.revision == expected
