"""Records in this process's memory: for development and tests. They end with the process."""

from __future__ import annotations

import collections
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from django_multisession.core.problems import Problem
from django_multisession.core.records import (
    MISSING,
    NEVER,
    RECORD_HEAD,
    SAVED,
    SLACK_MS,
    TOMBSTONE_MS,
    Answer,
    Record,
    Stored,
    Tombstone,
    Unreadable,
    answer_to_add,
    answer_to_delete,
    answer_to_replace,
    answer_to_retire,
    answer_to_touch,
    decode,
    is_tombstone,
    server_life,
    touched,
)
from django_multisession.drivers.base import (
    Ask,
    Capabilities,
    Page,
    Result,
    Steps,
    answer_in_batch,
    is_of,
    page_of,
    read,
    write_then_get,
)
from django_multisession.exceptions import StoreUnavailable

DEFAULT_MAX_RECORDS = 10_000

_NEVER_GONE = float("inf")


class Slot(NamedTuple):
    """What is kept under a key.

    Attributes:
        raw: The bytes of a record or a tombstone.
        gone_at: Until when, by the server's clock.
    """

    raw: bytes
    gone_at: float


class Command(NamedTuple):
    """A verb and its arguments."""

    verb: str
    arguments: tuple[Any, ...]


class MemoryServer:
    """Keeps at most *max_records* records; the least recently used go first.

    Args:
        max_records: How many.
        clock: Measures in seconds how long records are kept, never whether they are expired.
    """

    def __init__(self, max_records: int, clock: Callable[[], float]) -> None:
        self._max_records = max_records
        self._clock = clock
        self._lock = threading.Lock()
        self.slots: collections.OrderedDict[str, Slot] = collections.OrderedDict()

    def send(self, command: Command, /) -> Any:
        """See Server.send(). One command is carried out at a time."""
        with self._lock:
            return getattr(self, command.verb)(*command.arguments)

    async def asend(self, command: Command, /) -> Any:
        """See send(). There is nothing to wait for."""
        return self.send(command)

    def close(self) -> None:
        """See Server.close(). There is no client; the records stay."""

    async def aclose(self) -> None:
        """See close()."""

    # Commands

    def add(self, key: str, record: Record) -> bool:
        """See Driver.add()."""
        if self._find(key) is None:
            self._keep(key, record, server_life(record, record.touched_ms))
            return True
        return answer_to_add(self.get(key), record)

    def get(self, key: str) -> Stored:
        """See Driver.get()."""
        return read(key, self._find(key))

    def replace(self, key: str, record: Record, base: Record, now: int) -> Answer:
        """See Driver.replace()."""
        answer = answer_to_replace(self.get(key), record, base, now)
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
        now: int,
    ) -> Answer:
        """See Driver.move()."""
        answer = answer_to_retire(self.get(old_key), base, left, now, record.touched_ms)
        if answer is None:
            if self._find(new_key) is not None:
                return MISSING
            self._keep(new_key, record, server_life(record, now))
            self._keep(old_key, left, TOMBSTONE_MS)
        return answer or SAVED

    def touch(self, key: str, base: Record, touched_ms: int, now: int) -> Answer:
        """See Driver.touch()."""
        stored = self.get(key)
        answer = answer_to_touch(stored, base, touched_ms, now)
        if answer is None and isinstance(stored, Record):
            used = touched(stored, touched_ms)
            self._keep(key, used, server_life(used, now))
        return answer or SAVED

    def retire(
        self, key: str, base: Record | Tombstone, left: Tombstone, now: int, latest_use: int
    ) -> Answer:
        """See Driver.retire()."""
        answer = answer_to_retire(self.get(key), base, left, now, latest_use)
        if answer is None:
            self._keep(key, left, TOMBSTONE_MS)
        return answer or SAVED

    def withdraw(self, key: str, record: Record) -> None:
        """See Driver.withdraw()."""
        stored = self.get(key)
        if isinstance(stored, Record) and stored.revision == record.revision:
            del self.slots[key]

    def delete(self, key: str, left: Tombstone) -> bool | Tombstone:
        """See Driver.delete()."""
        raw = self._find(key)
        if raw is None:
            return False
        if is_tombstone(raw):
            return answer_to_delete(read(key, raw), left)
        self._keep(key, left, TOMBSTONE_MS)
        return True

    def purge_expired(self, now: int, limit: int) -> int:
        """See Purging.purge_expired()."""
        expired = self._expired(now)[:limit]
        for key in expired:
            del self.slots[key]
        return len(expired)

    def count_expired(self, now: int) -> int:
        """See Purging.count_expired()."""
        return len(self._expired(now))

    def of_user(self, user_id: str, now: int, cursor: str, limit: int) -> Page:
        """See Indexed.of_user(). Looks at every record."""
        now_kept = self._clock()
        there = [
            (key, slot.raw)
            for key, slot in self.slots.items()
            if key > cursor and slot.gone_at > now_kept and slot.raw.startswith(RECORD_HEAD)
        ]
        found = sorted(page_of(there, "", is_of(user_id, now)).records)
        return Page(found[:limit], found[limit - 1][0] if len(found) > limit else "")

    def delete_many(
        self, keys: Sequence[str], left: Tombstone, user_id: str | None
    ) -> list[bool | Tombstone]:
        """See Indexed.delete_many()."""
        answers: list[bool | Tombstone] = []
        for key in keys:
            raw = self._find(key)
            is_meant = raw is not None and not is_tombstone(raw) and _is_of(raw, user_id)
            if is_meant:
                self._keep(key, left, TOMBSTONE_MS)
            answers.append(is_meant or answer_in_batch(key, raw, left))
        return answers

    def records(self, cursor: str, limit: int) -> Page:
        """See Enumerable.records()."""
        keys = sorted(key for key in self.slots if key > cursor)[:limit]
        return page_of([(key, self.slots[key].raw) for key in keys], keys[-1] if keys else "")

    def _find(self, key: str) -> bytes | None:
        slot = self.slots.get(key)
        if slot is None:
            return None
        if slot.gone_at != _NEVER_GONE and slot.gone_at <= self._clock():
            del self.slots[key]
            return None
        self.slots.move_to_end(key)
        return slot.raw

    def _expired(self, now: int) -> list[str]:
        # What a newer release wrote is not ours to judge.
        found = (
            (key, read(key, slot.raw))
            for key, slot in self.slots.items()
            if slot.raw.startswith(RECORD_HEAD)
        )
        return [
            key
            for key, stored in found
            if isinstance(stored, Record) and stored.ends_ms < now - SLACK_MS
        ]

    def _keep(self, key: str, stored: Record | Tombstone, life: int) -> None:
        gone_at = _NEVER_GONE if life >= NEVER else self._clock() + life / 1000
        self.slots[key] = Slot(stored.raw, gone_at)
        self.slots.move_to_end(key)
        while len(self.slots) > self._max_records:
            self.slots.popitem(last=False)


def _is_of(raw: bytes, user_id: str | None) -> bool:
    if user_id is None:
        return True
    try:
        stored = decode(raw)
    except (Unreadable, StoreUnavailable):
        return False
    return isinstance(stored, Record) and stored.user_id == user_id


class SlotsDriver:
    """Keeps at most *max_records* records; see `MemoryServer`.

    Nothing is shared with callers: what is kept are bytes. Expired records are kept until they are
    purged or crowded out.
    """

    capabilities = Capabilities(survives_restart=False, moves_atomically=True, is_native_async=True)

    def __init__(
        self,
        max_records: int = DEFAULT_MAX_RECORDS,
        server_clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.server = MemoryServer(max_records, server_clock)

    def __len__(self) -> int:
        """Return how many records are kept, tombstones included."""
        return len(self.server.slots)

    def add(self, key: str, record: Record) -> Steps[bool]:
        """See Driver.add()."""
        return self._ask("add", key, record)

    def get(self, key: str) -> Steps[Stored]:
        """See Driver.get()."""
        return self._ask("get", key)

    def replace(self, key: str, record: Record, base: Record, now: int) -> Steps[Answer]:
        """See Driver.replace()."""
        return self._ask("replace", key, record, base, now)

    def move(
        self,
        old_key: str,
        new_key: str,
        record: Record,
        base: Record | Tombstone,
        left: Tombstone,
        now: int,
    ) -> Steps[Answer]:
        """See Driver.move()."""
        return self._ask("move", old_key, new_key, record, base, left, now)

    def touch(self, key: str, base: Record, touched_ms: int, now: int) -> Steps[Answer]:
        """See Driver.touch()."""
        return self._ask("touch", key, base, touched_ms, now)

    def retire(
        self,
        key: str,
        base: Record | Tombstone,
        left: Tombstone,
        now: int,
        latest_use: int,
    ) -> Steps[Answer]:
        """See Driver.retire()."""
        return self._ask("retire", key, base, left, now, latest_use)

    def withdraw(self, key: str, record: Record) -> Steps[None]:
        """See Driver.withdraw()."""
        return self._ask("withdraw", key, record)

    def delete(self, key: str, left: Tombstone) -> Steps[bool | Tombstone]:
        """See Driver.delete()."""
        return self._ask("delete", key, left)

    def purge_expired(self, now: int, limit: int) -> Steps[int]:
        """See Purging.purge_expired()."""
        return self._ask("purge_expired", now, limit)

    def count_expired(self, now: int) -> Steps[int]:
        """See Purging.count_expired()."""
        return self._ask("count_expired", now)

    def check(self) -> list[Problem]:
        """See Driver.check()."""
        return []

    def close(self) -> None:
        """See Driver.close()."""

    async def aclose(self) -> None:
        """See close()."""

    def _ask(self, verb: str, *arguments: Any) -> Steps[Any]:
        return (yield Ask(self.server, verb, Command(verb, arguments)))


class MemoryDriver(SlotsDriver):
    """Finds the sessions of a user, and lists them all."""

    def of_user(self, user_id: str, now: int, *, cursor: str = "", limit: int = 100) -> Steps[Page]:
        """See Indexed.of_user()."""
        return self._ask("of_user", user_id, now, cursor, limit)

    def delete_many(
        self, keys: Sequence[str], left: Tombstone, *, user_id: str | None = None
    ) -> Steps[list[bool | Tombstone]]:
        """See Indexed.delete_many()."""
        return self._ask("delete_many", tuple(keys), left, user_id)

    def write_and_get(self, write: Steps[Result], key: str) -> Steps[tuple[Result, Stored]]:
        """See Indexed.write_and_get()."""
        return write_then_get(self, write, key)

    def records(self, cursor: str, limit: int) -> Steps[Page]:
        """See Enumerable.records()."""
        return self._ask("records", cursor, limit)
