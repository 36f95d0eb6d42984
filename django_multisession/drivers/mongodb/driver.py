"""Sessions in MongoDB: one document per record, one command for each verb, no transactions.

A standalone server has no transactions, and they cost round trips. What must be atomic is one
document, and the condition of a write is its filter (`documents`). A write that finds nothing
to go over is followed by a read, which says why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from django_multisession.core.problems import Problem
from django_multisession.core.records import (
    MISSING,
    SAVED,
    Answer,
    Outcome,
    Record,
    Stored,
    Tombstone,
    answer_to_add,
    answer_to_delete,
    answer_to_replace,
    answer_to_retire,
    answer_to_touch,
    server_life,
    touched,
)
from django_multisession.drivers.base import Ask, Capabilities, Result, Steps, read, write_then_get
from django_multisession.drivers.mongodb import commands, documents
from django_multisession.drivers.mongodb.checks import check
from django_multisession.drivers.mongodb.lists import MongoDBLists
from django_multisession.drivers.mongodb.server import MongoDBServer
from django_multisession.exceptions import StoreUnavailable


class MongoDBDriver(MongoDBLists):
    """Stores records in a MongoDB collection.

    Args:
        options: ``MULTISESSION_MONGODB``: ``URI``; ``DATABASE`` (the URI's, else "multisession");
            ``COLLECTION`` ("django_multisession"); PyMongo's client options by their own names.
        machine_clock: Seconds since 1970, also where the site's clock is driven. The TTL monitor
            collects an inserted record by it; nothing else depends on it.
    """

    capabilities = Capabilities(survives_restart=True, moves_atomically=False, is_native_async=True)

    def __init__(self, options: Mapping[str, Any], machine_clock: Callable[[], float]) -> None:
        self.server = MongoDBServer(options)
        self._clock = machine_clock

    def add(self, key: str, record: Record) -> Steps[bool]:
        """See Driver.add(). Only a key that is taken is looked at."""
        life, clock_ms = server_life(record, record.touched_ms), int(self._clock() * 1000)
        document = documents.inserted(key, record, life, clock_ms)
        result = yield Ask(self.server, "add", commands.insert(document))
        if result is not None:
            return True
        return answer_to_add((yield from self._find("add", key)), record)

    def get(self, key: str) -> Steps[Stored]:
        """See Driver.get()."""
        return self._find("get", key)

    def replace(self, key: str, record: Record, base: Record, now: int) -> Steps[Answer]:
        """See Driver.replace()."""
        selection = documents.over(key, base, now, record.touched_ms)
        change = documents.saved(record, server_life(record, now))
        if (yield from self._change("replace", selection, change)):
            return SAVED
        stored = yield from self._find("replace", key)
        return answer_to_replace(stored, record, base, now) or MISSING

    def move(
        self,
        old_key: str,
        new_key: str,
        record: Record,
        base: Record | Tombstone,
        left: Tombstone,
        now: int,
    ) -> Steps[Answer]:
        """See Driver.move(); one command, and two more where it is refused."""
        command = commands.move(old_key, new_key, record, base, left, now)
        result = yield Ask(self.server, "move", command)
        if result is not None and result.upserted_count + result.matched_count == 2:  # noqa: PLR2004  (new and old)
            return SAVED
        document = documents.first_of((yield Ask(self.server, "move", commands.find(old_key))))
        # With nothing there, an earlier attempt may have been made, and its tombstone be gone.
        is_to_withdraw = result is not None and (result.upserted_count or document is not None)
        try:
            stored = read(old_key, documents.bytes_of(document))
        except StoreUnavailable:
            if is_to_withdraw:
                yield Ask(self.server, "move", commands.withdraw(new_key, record))
            raise
        # Where nothing speaks against it, the new key was taken.
        answer = answer_to_retire(stored, base, left, now, record.touched_ms) or MISSING
        if is_to_withdraw and answer.outcome is not Outcome.SAVED:
            yield Ask(self.server, "move", commands.withdraw(new_key, record))
        return answer

    def touch(self, key: str, base: Record, touched_ms: int, now: int) -> Steps[Answer]:
        """See Driver.touch()."""
        used = touched(base, touched_ms)
        selection = documents.over(key, base, now, touched_ms - 1)
        change = documents.used(used, server_life(used, now))
        if (yield from self._change("touch", selection, change)):
            return SAVED
        stored = yield from self._find("touch", key)
        return answer_to_touch(stored, base, touched_ms, now) or MISSING

    def retire(
        self,
        key: str,
        base: Record | Tombstone,
        left: Tombstone,
        now: int,
        latest_use: int,
    ) -> Steps[Answer]:
        """See Driver.retire()."""
        selection, change = documents.over(key, base, now, latest_use), documents.retired(left)
        if (yield from self._change("retire", selection, change)):
            return SAVED
        stored = yield from self._find("retire", key)
        return answer_to_retire(stored, base, left, now, latest_use) or MISSING

    def withdraw(self, key: str, record: Record) -> Steps[None]:
        """See Driver.withdraw()."""
        yield Ask(self.server, "withdraw", commands.withdraw(key, record))

    def delete(self, key: str, left: Tombstone) -> Steps[bool | Tombstone]:
        """See Driver.delete()."""
        document = yield Ask(self.server, "delete", commands.end(key, left))
        return answer_to_delete(read(key, documents.bytes_of(document)), left)

    def write_and_get(self, write: Steps[Result], key: str) -> Steps[tuple[Result, Stored]]:
        """See Indexed.write_and_get()."""
        return write_then_get(self, write, key)

    def check(self) -> list[Problem]:
        """See Driver.check()."""
        return check(self.server, self)

    def close(self) -> None:
        """See Driver.close()."""
        self.server.close()

    async def aclose(self) -> None:
        """See close()."""
        await self.server.aclose()

    def _change(
        self, verb: str, selection: documents.Expression, change: documents.Change
    ) -> Steps[bool]:
        """Change what *selection* finds; return whether there was anything."""
        result = yield Ask(self.server, verb, commands.update(selection, change))
        return bool(result is not None and result.matched_count)

    def _find(self, verb: str, key: str) -> Steps[Stored]:
        raw = documents.bytes_of(
            documents.first_of((yield Ask(self.server, verb, commands.find(key))))
        )
        return read(key, raw)
