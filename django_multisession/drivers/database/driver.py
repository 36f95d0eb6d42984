"""Sessions in a database of Django's: one row per session, one statement for each verb.

The condition of a write is its ``WHERE`` (`rows`). A write that finds nothing to go over is followed
by a read, which says why. In a transaction that read locks: under REPEATABLE READ another one shows
what was there when the transaction began.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper as Connection

from django_multisession.core.problems import Problem
from django_multisession.core.records import (
    MISSING,
    SAVED,
    Answer,
    Record,
    Stored,
    Tombstone,
    answer_to_add,
    answer_to_delete,
    answer_to_replace,
    answer_to_retire,
    answer_to_touch,
    touched,
)
from django_multisession.drivers.base import Capabilities, Result, Steps, write_then_get
from django_multisession.drivers.database import rows, table
from django_multisession.drivers.database.checks import check
from django_multisession.drivers.database.lists import DatabaseLists
from django_multisession.drivers.database.server import Command, DatabaseServer


class DatabaseDriver(DatabaseLists):
    """Stores records in a table.

    Args:
        options: ``MULTISESSION_DATABASE``: ``ALIAS``.
        clock: Seconds since 1970 by the site's clock. It ends tombstones, and nothing else.
    """

    capabilities = Capabilities(survives_restart=True, moves_atomically=True, is_native_async=False)

    def __init__(self, options: Mapping[str, Any], clock: Callable[[], float]) -> None:
        self.server = DatabaseServer(options.get("ALIAS"))
        self._clock = clock

    @property
    def lasting(self) -> LastingDriver:
        """See drivers.base.lasting()."""
        return LastingDriver(self.server, self._clock)

    def add(self, key: str, record: Record) -> Steps[bool]:
        """See Driver.add()."""

        def run(connection: Connection) -> bool:
            if table.insert(connection, key, record, self._clock_ms):
                return True
            stored = self._find(connection, key)
            if stored is not None:
                return answer_to_add(stored, record)
            table.clear(connection, key, self._clock_ms)
            return table.insert(connection, key, record, self._clock_ms)

        return self._ask("add", Command(run))

    def get(self, key: str) -> Steps[Stored]:
        """See Driver.get()."""
        command = Command(lambda at: table.find(at, key, self._clock_ms), is_write=False)
        return self._ask("get", command)

    def replace(self, key: str, record: Record, base: Record, now: int) -> Steps[Answer]:
        """See Driver.replace()."""

        def run(connection: Connection) -> Answer:
            if self._put(connection, key, record, base, now, record.touched_ms):
                return SAVED
            stored = self._find(connection, key)
            return answer_to_replace(stored, record, base, now) or MISSING

        return self._ask("replace", Command(run))

    def move(
        self,
        old_key: str,
        new_key: str,
        record: Record,
        base: Record | Tombstone,
        left: Tombstone,
        now: int,
    ) -> Steps[Answer]:
        """See Driver.move(). It writes in one transaction."""

        def run(connection: Connection) -> Answer:
            with transaction.atomic(using=connection.alias):
                if self._put(connection, old_key, left, base, now, record.touched_ms):
                    if table.insert(connection, new_key, record, self._clock_ms):
                        return SAVED
                    transaction.set_rollback(True, using=connection.alias)
                    return MISSING
            # After the transaction. On MariaDB a refused write keeps one of its two locks on the row. A
            # locking read would wait for the transaction that holds the other one.
            stored = self._find(connection, old_key)
            return answer_to_retire(stored, base, left, now, record.touched_ms) or MISSING

        return self._ask("move", Command(run, after_rollback=run))

    def touch(self, key: str, base: Record, touched_ms: int, now: int) -> Steps[Answer]:
        """See Driver.touch()."""

        def run(connection: Connection) -> Answer:
            if self._put(connection, key, touched(base, touched_ms), base, now, touched_ms - 1):
                return SAVED
            stored = self._find(connection, key)
            return answer_to_touch(stored, base, touched_ms, now) or MISSING

        return self._ask("touch", Command(run))

    def retire(
        self,
        key: str,
        base: Record | Tombstone,
        left: Tombstone,
        now: int,
        latest_use: int,
    ) -> Steps[Answer]:
        """See Driver.retire()."""

        def run(connection: Connection) -> Answer:
            if self._put(connection, key, left, base, now, latest_use):
                return SAVED
            stored = self._find(connection, key)
            return answer_to_retire(stored, base, left, now, latest_use) or MISSING

        return self._ask("retire", Command(run, after_rollback=self._ending(key, left).run))

    def withdraw(self, key: str, record: Record) -> Steps[None]:
        """See Driver.withdraw()."""
        return self._ask("withdraw", Command(lambda at: table.withdraw(at, key, record)))

    def delete(self, key: str, left: Tombstone) -> Steps[bool | Tombstone]:
        """See Driver.delete()."""
        return self._ask("delete", self._ending(key, left))

    def write_and_get(self, write: Steps[Result], key: str) -> Steps[tuple[Result, Stored]]:
        """See Indexed.write_and_get()."""
        return write_then_get(self, write, key)

    def check(self) -> list[Problem]:
        """See Driver.check()."""
        return check(self.server)

    def close(self) -> None:
        """See Driver.close()."""

    async def aclose(self) -> None:
        """See close()."""

    def _ending(self, key: str, left: Tombstone) -> Command:
        def run(connection: Connection) -> bool | Tombstone:
            if table.end(connection, key, left, self._clock_ms):
                return True
            return answer_to_delete(self._find(connection, key), left)

        return Command(run, after_rollback=run)

    def _put(
        self,
        connection: Connection,
        key: str,
        stored: Record | Tombstone,
        base: Record | Tombstone,
        now: int,
        latest_use: int,
    ) -> bool:
        clock_ms = self._clock_ms
        compared = rows.over(base, now, latest_use, clock_ms)
        return table.put(connection, key, stored, compared, clock_ms)

    def _find(self, connection: Connection, key: str) -> Stored:
        return table.find(connection, key, self._clock_ms, locks=True)


class LastingDriver(DatabaseDriver):
    """A driver over *server* whose writes are sent again after a rollback."""

    def __init__(self, server: DatabaseServer, clock: Callable[[], float]) -> None:
        self.server, self._clock = server, clock

    def _ask(self, verb: str, command: Command) -> Steps[Any]:
        again = command.after_rollback or command.run
        return super()._ask(verb, command._replace(after_rollback=again))
