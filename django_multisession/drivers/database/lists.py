"""Verbs over many records: the sessions of a user, those that expired, and all that there are."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper as Connection

from django_multisession.core.records import Tombstone
from django_multisession.drivers.base import Ask, Page, Steps, batches
from django_multisession.drivers.database import table
from django_multisession.drivers.database.server import Command, DatabaseServer

#: Rows that a purge removes in one transaction: no request waits for a whole batch.
PURGED_TOGETHER = 500
#: Rows that one statement ends: no database takes fewer parameters than these need.
ENDED_TOGETHER = 500


class DatabaseLists:
    """What makes a driver `Purging`, `Indexed` and `Enumerable`."""

    server: DatabaseServer
    _clock: Callable[[], float]

    def purge_expired(self, now: int, limit: int) -> Steps[int]:
        """See Purging.purge_expired()."""
        removed = 0
        while removed < limit:
            size = min(PURGED_TOGETHER, limit - removed)
            command = Command(functools.partial(table.purge, now=now, limit=size))
            gone = yield from self._ask("purge_expired", command)
            removed += gone
            if gone < size:
                break
        return removed

    def count_expired(self, now: int) -> Steps[int]:
        """See Purging.count_expired()."""
        command = Command(lambda at: table.count_expired(at, now), is_write=False)
        return self._ask("count_expired", command)

    def of_user(self, user_id: str, now: int, *, cursor: str = "", limit: int = 100) -> Steps[Page]:
        """See Indexed.of_user()."""
        run = functools.partial(table.of_user, user_id=user_id, now=now, cursor=cursor, limit=limit)
        return self._ask("of_user", Command(run, is_write=False))

    def delete_many(
        self, keys: Sequence[str], left: Tombstone, *, user_id: str | None = None
    ) -> Steps[list[bool | Tombstone]]:
        """See Indexed.delete_many(); one statement for every `ENDED_TOGETHER`, and a look at the rest."""
        answers: list[bool | Tombstone] = []
        for batch in batches(keys, ENDED_TOGETHER):
            command = self._ending_of_many(tuple(batch), left, user_id)
            answers += yield from self._ask("delete_many", command)
        return answers

    def records(self, cursor: str, limit: int) -> Steps[Page]:
        """See Enumerable.records()."""
        command = Command(lambda at: table.page(at, cursor, limit), is_write=False)
        return self._ask("records", command)

    def _ask(self, verb: str, command: Command) -> Steps[Any]:
        return (yield Ask(self.server, verb, command))

    def _ending_of_many(
        self, keys: tuple[str, ...], left: Tombstone, user_id: str | None
    ) -> Command:
        def run(connection: Connection) -> list[bool | Tombstone]:
            ended = table.end_many(connection, keys, left, user_id, self._clock_ms)
            if ended == len(set(keys)):
                return [True] * len(keys)
            return table.answers_after_end(connection, keys, left, self._clock_ms)

        return Command(run, after_rollback=run)

    @property
    def _clock_ms(self) -> int:
        return int(self._clock() * 1000)
