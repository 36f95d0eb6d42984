"""Verbs over many records, where another engine lists the sessions of a user."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from django_multisession.core.records import TOMBSTONE_MS, Record, Stored, Tombstone, is_tombstone
from django_multisession.core.secret import SecretBytes
from django_multisession.drivers.base import Ask, Steps, answer_in_batch, batches, read_known
from django_multisession.drivers.memcached.expiry import expiry_of
from django_multisession.drivers.memcached.server import Command, Items, MemcachedServer, Write

#: Records that one command ends. Each takes two round trips, and the command has one limit of time.
ENDED_TOGETHER = 50


class MemcachedLists:
    """What makes a driver one whose sessions another engine can list."""

    server: MemcachedServer
    _prefix: str
    _clock: Callable[[], float]

    def get_many(self, keys: Sequence[str]) -> Steps[list[Stored]]:
        """Return what is stored under each of *keys*; None for what this process can't read."""
        places = [*map(self._place, keys)]
        raws = yield from self._ask("get_many", lambda items: items.read_many(places))
        return [read_known(key, raws.get(place)) for key, place in zip(keys, places, strict=True)]

    def delete_many(
        self, keys: Sequence[str], left: Tombstone, *, user_id: str | None = None
    ) -> Steps[list[bool | Tombstone]]:
        """See Indexed.delete_many(); memcached takes them one by one, within the time of one command."""
        write = Write(left.raw, expiry_of(TOMBSTONE_MS, self._clock), answer=True)

        def end(items: Items, key: str) -> bool | Tombstone:
            def judge(raw: SecretBytes | None, _token: Any) -> Write | bool | Tombstone:
                if raw is None or is_tombstone(raw):
                    return answer_in_batch(key, raw, left)
                stored = read_known(key, raw) if user_id is not None else None
                is_meant = user_id is None or (
                    isinstance(stored, Record) and stored.user_id == user_id
                )
                return write if is_meant else False

            answer: bool | Tombstone = items.change(self._place(key), judge)
            return answer

        answers: list[bool | Tombstone] = []
        for batch in batches(keys, ENDED_TOGETHER):
            command = functools.partial(_end_each, batch, end)
            answers += yield from self._ask("delete_many", command)
        return answers

    def _ask(self, verb: str, command: Command) -> Steps[Any]:
        return (yield Ask(self.server, verb, command))

    def _place(self, key: str) -> bytes:
        return f"{self._prefix}{key}".encode()


def _end_each(
    keys: Sequence[str], end: Callable[[Items, str], bool | Tombstone], items: Items
) -> list[bool | Tombstone]:
    return [end(items, key) for key in keys]
