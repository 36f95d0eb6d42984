"""Sessions in a durable store, with copies of those in use in a fast one.

The back decides every write. `docs/explanation/tiered.md` has the protocol, and why it holds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from django_multisession.core.problems import Problem
from django_multisession.core.records import Answer, Outcome, Record, Stored, Tombstone, touched
from django_multisession.drivers.base import Driver, Enumerable, Indexed, Purging, Result, Steps
from django_multisession.drivers.listed.driver import unlisted
from django_multisession.drivers.tiered.copies import good_copy_in
from django_multisession.drivers.tiered.front import Front
from django_multisession.exceptions import StoreUnavailable


class TieredDriver:
    """Keeps sessions in *back*, and copies of them in *front*.

    Args:
        front: May fail and may be emptied at any time.
        back: Where the sessions are.
        clock: Seconds since 1970: how old a copy is.
    """

    def __init__(self, front: Driver, back: Driver, clock: Callable[[], float]) -> None:
        # No list has copies, and logins look for notes on users in the back.
        front, back = unlisted(front), unlisted(back)
        is_native_async = front.capabilities.is_native_async and back.capabilities.is_native_async
        self.capabilities = dataclasses.replace(back.capabilities, is_native_async=is_native_async)
        self.server = back.server
        self._back = back
        self._clock = clock
        self._front = Front(front, self._now)
        if isinstance(back, Purging):
            self._purging = back
            self.purge_expired, self.count_expired = self._purge_expired, back.count_expired
        if isinstance(back, Enumerable):
            self.records = back.records
        if isinstance(back, Indexed):
            # No copy is asked for what must be the newest.
            self.of_user, self.write_and_get = back.of_user, back.write_and_get
            self._indexed, self.delete_many = back, self._delete_many

    def add(self, key: str, record: Record) -> Steps[bool]:
        """See Driver.add()."""
        return self._back.add(key, record)

    def get(self, key: str) -> Steps[Stored]:
        """See Driver.get()."""
        now = self._now()
        if self._front.is_silent(now):
            return (yield from self._back.get(key))
        found = yield from self._front.find(key)
        copied = good_copy_in(found, now)
        if copied is not None:
            return copied
        lease = yield from self._front.lease(key, found)
        asked_ms = self._now()
        stored = yield from self._back.get(key)
        if lease is not None and isinstance(stored, Record) and stored.is_live(asked_ms):
            yield from self._front.fill(key, lease, stored, asked_ms)
        return stored

    def replace(self, key: str, record: Record, base: Record, now: int) -> Steps[Answer]:
        """See Driver.replace()."""
        return self._write(key, base, record, self._back.replace(key, record, base, now))

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
        moving = self._back.move(old_key, new_key, record, base, left, now)
        # Of what has ended there is no copy.
        return self._end((old_key,), moving) if isinstance(base, Record) else moving

    def touch(self, key: str, base: Record, touched_ms: int, now: int) -> Steps[Answer]:
        """See Driver.touch()."""
        used = touched(base, max(base.touched_ms, touched_ms))
        return self._write(key, base, used, self._back.touch(key, base, touched_ms, now))

    def retire(
        self,
        key: str,
        base: Record | Tombstone,
        left: Tombstone,
        now: int,
        latest_use: int,
    ) -> Steps[Answer]:
        """See Driver.retire()."""
        retiring = self._back.retire(key, base, left, now, latest_use)
        return self._end((key,), retiring) if isinstance(base, Record) else retiring

    def withdraw(self, key: str, record: Record) -> Steps[None]:
        """See Driver.withdraw()."""
        return self._end((key,), self._back.withdraw(key, record))

    def delete(self, key: str, left: Tombstone) -> Steps[bool | Tombstone]:
        """See Driver.delete()."""
        return self._end((key,), self._back.delete(key, left))

    def check(self) -> list[Problem]:
        """See Driver.check()."""
        return [*self._front.driver.check(), *self._back.check()]

    def close(self) -> None:
        """See Driver.close()."""
        self._front.driver.close()
        self._back.close()

    async def aclose(self) -> None:
        """See close()."""
        await self._front.driver.aclose()
        await self._back.aclose()

    def _write(
        self, key: str, base: Record, written: Record, writing: Steps[Answer]
    ) -> Steps[Answer]:
        """Write in the back by *writing*, then have the front follow."""
        asked_ms = self._now()
        try:
            answer = yield from writing
        except StoreUnavailable:
            # It may have been written.
            yield from self._front.follow(key, base, None, asked_ms)
            raise
        stored = written if answer.outcome is Outcome.SAVED else answer.stored
        yield from self._front.follow(key, base, stored, asked_ms)
        return answer

    def _end(self, keys: Sequence[str], ending: Steps[Result]) -> Steps[Result]:
        """End in the front, in the back by *ending*, and what was read in between in the front."""
        before = yield from self._front.bar(*keys)
        try:
            answer = yield from ending
        except StoreUnavailable:
            yield from self._front.bar(*keys, before=before)
            raise
        yield from self._front.bar(*keys, before=before)
        return answer

    def _delete_many(
        self, keys: Sequence[str], left: Tombstone, *, user_id: str | None = None
    ) -> Steps[list[bool | Tombstone]]:
        """See Indexed.delete_many()."""
        return self._end(keys, self._indexed.delete_many(keys, left, user_id=user_id))

    def _purge_expired(self, now: int, limit: int) -> Steps[int]:
        """See Purging.purge_expired(). It may empty the front, whose records lie in 1970."""
        removed = yield from self._purging.purge_expired(now, limit)
        front = self._front.driver
        if removed < limit and isinstance(front, Purging):
            while (yield from self._front.ask(front.purge_expired(now, limit))) == limit:
                pass
        return removed

    def _now(self) -> int:
        return int(self._clock() * 1000)
