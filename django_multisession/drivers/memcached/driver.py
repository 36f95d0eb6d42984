"""Sessions in memcached: one item for each record, and a compare-and-set for each write.

memcached compares a token that it gives with each read (its *cas*). A record that was read brings it
along (`records.Found`), so that a save is one round trip; a base without one is read first. Another
token says nothing of the revision, as a touch changes the one and not the other: what is stored is
then read and judged again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from django_multisession.core.problems import Problem
from django_multisession.core.records import (
    SAVED,
    TOMBSTONE_MS,
    Answer,
    Found,
    Record,
    Stored,
    Tombstone,
    answer_to_add,
    answer_to_delete,
    answer_to_replace,
    answer_to_retire,
    answer_to_touch,
    found,
    is_tombstone,
    server_life,
    touched,
)
from django_multisession.core.secret import SecretBytes
from django_multisession.drivers.base import (
    Capabilities,
    Steps,
    move_in_steps,
    read,
)
from django_multisession.drivers.memcached import options as opts
from django_multisession.drivers.memcached.checks import check
from django_multisession.drivers.memcached.expiry import NOW, expiry_of
from django_multisession.drivers.memcached.lists import MemcachedLists
from django_multisession.drivers.memcached.server import Items, MemcachedServer, Write


class MemcachedDriver(MemcachedLists):
    """Stores records in one memcached or several.

    Args:
        options: As ``MULTISESSION_MEMCACHED``. What is in ``OPTIONS`` may stand beside it.
        machine_clock: Seconds since 1970, also where the site's clock is driven. A record that lives
            longer than 30 days has its end told to memcached by it.

    Raises:
        ImproperlyConfigured: An option is unknown or wrong.
    """

    capabilities = Capabilities(
        survives_restart=False,
        moves_atomically=False,
        is_native_async=False,
        largest_record=opts.DEFAULT_ITEM_SIZE - opts.ITEM_OVERHEAD,
    )

    def __init__(self, options: Mapping[str, Any], machine_clock: Callable[[], float]) -> None:
        addresses, self._prefix, reach = opts.read(options)
        self.capabilities = dataclasses.replace(
            self.capabilities, largest_record=reach.item_size - opts.ITEM_OVERHEAD
        )
        self.server = MemcachedServer(addresses, reach)
        self._clock = machine_clock

    def add(self, key: str, record: Record) -> Steps[bool]:
        """See Driver.add(). Only a key that is taken, or an answer that was lost, is looked at."""
        place = self._place(key)
        expiry = expiry_of(server_life(record, record.touched_ms), self._clock)

        def command(items: Items) -> bool:
            is_added = items.add(place, record.raw, expiry)
            return is_added or answer_to_add(read(key, items.read(place)[0]), record)

        return self._ask("add", command)

    def get(self, key: str) -> Steps[Stored]:
        """See Driver.get()."""
        place = self._place(key)
        raw, token = yield from self._ask("get", lambda items: items.read(place))
        return found(read(key, raw), token)

    def replace(self, key: str, record: Record, base: Record, now: int) -> Steps[Answer]:
        """See Driver.replace()."""
        return self._write_over(
            "replace",
            key,
            base,
            lambda stored: answer_to_replace(stored, record, base, now),
            lambda _: record,
            server_life(record, now),
        )

    def move(
        self,
        old_key: str,
        new_key: str,
        record: Record,
        base: Record | Tombstone,
        left: Tombstone,
        now: int,
    ) -> Steps[Answer]:
        """See Driver.move(). The keys may lie in two memcacheds."""
        return move_in_steps(self, old_key, new_key, record, base, left, now)

    def touch(self, key: str, base: Record, touched_ms: int, now: int) -> Steps[Answer]:
        """See Driver.touch()."""
        return self._write_over(
            "touch",
            key,
            base,
            lambda stored: answer_to_touch(stored, base, touched_ms, now),
            lambda stored: touched(stored, touched_ms),
            server_life(touched(base, touched_ms), now),
        )

    def retire(
        self, key: str, base: Record | Tombstone, left: Tombstone, now: int, latest_use: int
    ) -> Steps[Answer]:
        """See Driver.retire()."""
        return self._write_over(
            "retire",
            key,
            base,
            lambda stored: answer_to_retire(stored, base, left, now, latest_use),
            lambda _: left,
            TOMBSTONE_MS,
        )

    def withdraw(self, key: str, record: Record) -> Steps[None]:
        """See Driver.withdraw()."""

        def judge(raw: SecretBytes | None, _token: Any) -> Write | None:
            stored = read(key, raw)
            is_added = isinstance(stored, Record) and stored.revision == record.revision
            # memcached's own delete compares nothing.
            return Write(b"", NOW, None) if is_added else None

        return self._ask("withdraw", lambda items: items.change(self._place(key), judge))

    def delete(self, key: str, left: Tombstone) -> Steps[bool | Tombstone]:
        """See Driver.delete(); two round trips, as memcached must be shown what it writes over."""
        write = Write(left.raw, expiry_of(TOMBSTONE_MS, self._clock), answer=True)

        def judge(raw: SecretBytes | None, _token: Any) -> Write | bool | Tombstone:
            if raw is None:
                return False
            return answer_to_delete(read(key, raw), left) if is_tombstone(raw) else write

        return self._ask("delete", lambda items: items.change(self._place(key), judge))

    def check(self) -> list[Problem]:
        """See Driver.check()."""
        return check(self.server, self._prefix)

    def close(self) -> None:
        """See Driver.close()."""
        self.server.close()

    async def aclose(self) -> None:
        """See close()."""
        await self.server.aclose()

    def _write_over(
        self,
        verb: str,
        key: str,
        base: Record | Tombstone,
        answer_to: Callable[[Stored], Answer | None],
        made_of: Callable[[Any], Record | Tombstone],
        life: int,
    ) -> Steps[Answer]:
        """Store what *made_of* makes of what is stored, once *answer_to* has no answer to that."""
        place, expiry = self._place(key), expiry_of(life, self._clock)

        def write(stored: Stored) -> Answer | Write:
            answer = answer_to(stored)
            return answer or Write(made_of(stored).raw, expiry, SAVED)

        def command(items: Items) -> Any:
            if isinstance(base, Found) and base.token:
                # What speaks against a base as it was read may have changed since.
                first = write(base)
                if isinstance(first, Write) and items.write_over(place, base.token, first):
                    return SAVED
            return items.change(place, lambda raw, token: write(found(read(key, raw), token)))

        return self._ask(verb, command)
