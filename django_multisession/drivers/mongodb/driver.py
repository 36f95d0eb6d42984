"""Sessions in MongoDB: one document per record, one command for each verb, no transactions.

A standalone server has no transactions, and they cost round trips. What must be atomic is one
document, and the condition of a write is its filter (`mongodb_documents`). A write that finds nothing
to go over is followed by a read, which says why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
from django_multisession.drivers.base import (
    Ask,
    Capabilities,
    Page,
    Result,
    Steps,
    answer_in_batch,
    batches,
    is_of,
    page_of,
    read,
    write_then_get,
)
from django_multisession.drivers.mongodb import documents
from django_multisession.drivers.mongodb.checks import check
from django_multisession.drivers.mongodb.server import (
    Command,
    MongoDBServer,
    ReturnDocument,
    UpdateOne,
)
from django_multisession.exceptions import StoreUnavailable

#: Records that one command ends.
ENDED_TOGETHER = 500


class MongoDBDriver:
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
        result = yield Ask(self.server, "add", lambda sessions: sessions.insert_one(document))
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
        result = yield Ask(self.server, "move", _moving(old_key, new_key, record, base, left, now))
        if result is not None and result.upserted_count + result.matched_count == 2:  # noqa: PLR2004  (new and old)
            return SAVED
        document = documents.first_of((yield Ask(self.server, "move", _finding(old_key))))
        # With nothing there, an earlier attempt may have been made, and its tombstone be gone.
        is_to_withdraw = result is not None and (result.upserted_count or document is not None)
        try:
            stored = read(old_key, documents.bytes_of(document))
        except StoreUnavailable:
            if is_to_withdraw:
                yield Ask(self.server, "move", _withdrawing(new_key, record))
            raise
        # Where nothing speaks against it, the new key was taken.
        answer = answer_to_retire(stored, base, left, now, record.touched_ms) or MISSING
        if is_to_withdraw and answer.outcome is not Outcome.SAVED:
            yield Ask(self.server, "move", _withdrawing(new_key, record))
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
        yield Ask(self.server, "withdraw", _withdrawing(key, record))

    def delete(self, key: str, left: Tombstone) -> Steps[bool | Tombstone]:
        """See Driver.delete()."""
        change = documents.ended(left)
        document = yield Ask(
            self.server,
            "delete",
            lambda sessions: sessions.find_one_and_update(
                {"_id": key}, change, documents.BYTES, return_document=ReturnDocument.AFTER
            ),
        )
        return answer_to_delete(read(key, documents.bytes_of(document)), left)

    def of_user(self, user_id: str, now: int, *, cursor: str = "", limit: int = 100) -> Steps[Page]:
        """See Indexed.of_user()."""
        selection = documents.of_user(user_id, now, cursor)
        reply = yield Ask(self.server, "of_user", _listing(selection, limit))
        found = documents.all_of(reply)
        raws = ((str(each["_id"]), documents.bytes_of(each)) for each in found)
        last = str(found[-1]["_id"]) if len(found) == limit else ""
        return page_of(raws, last, is_of(user_id, now))

    def delete_many(
        self, keys: Sequence[str], left: Tombstone, *, user_id: str | None = None
    ) -> Steps[list[bool | Tombstone]]:
        """See Indexed.delete_many(); one command for every `ENDED_TOGETHER`, and a look at the rest."""
        answers: list[bool | Tombstone] = []
        for batch in batches(keys, ENDED_TOGETHER):
            selection = documents.ending(batch, user_id)
            result = yield Ask(self.server, "delete_many", _ending(selection, left))
            if result is not None and result.modified_count == len(set(batch)):
                answers += [True] * len(batch)
                continue
            looking = _listing(documents.all_in(batch), len(batch))
            reply = yield Ask(self.server, "delete_many", looking)
            found = {str(each["_id"]): each for each in documents.all_of(reply)}
            answers += [
                answer_in_batch(key, documents.bytes_of(found.get(key)), left) for key in batch
            ]
        return answers

    def write_and_get(self, write: Steps[Result], key: str) -> Steps[tuple[Result, Stored]]:
        """See Indexed.write_and_get()."""
        return write_then_get(self, write, key)

    def records(self, cursor: str, limit: int) -> Steps[Page]:
        """See Enumerable.records()."""
        reply = yield Ask(self.server, "records", _listing(documents.behind(cursor), limit))
        batch = documents.all_of(reply)
        found = [(str(each["_id"]), documents.bytes_of(each) or b"") for each in batch]
        return page_of(found, found[-1][0] if found else "")

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
        result = yield Ask(
            self.server, verb, lambda sessions: sessions.update_one(selection, change)
        )
        return bool(result is not None and result.matched_count)

    def _find(self, verb: str, key: str) -> Steps[Stored]:
        raw = documents.bytes_of(documents.first_of((yield Ask(self.server, verb, _finding(key)))))
        return read(key, raw)


def _ending(selection: documents.Expression, left: Tombstone) -> Command:
    change = documents.retired(left)
    return lambda sessions: sessions.update_many(selection, change)


def _finding(key: str) -> Command:
    # No find_one(), whose cursor costs a tenth of a read.
    return lambda sessions: sessions.database.command(
        "find",
        sessions.name,
        filter={"_id": key},
        projection=documents.BYTES,
        limit=1,
        singleBatch=True,
        codec_options=sessions.codec_options,
    )


def _listing(selection: documents.Expression, limit: int) -> Command:
    return lambda sessions: sessions.database.command(
        "find",
        sessions.name,
        filter=selection,
        projection=documents.BYTES,
        sort={"_id": 1},
        limit=limit,
        # As many as fit into a reply: one cursor less to keep.
        batchSize=limit,
        singleBatch=True,
        codec_options=sessions.codec_options,
    )


def _moving(
    old_key: str,
    new_key: str,
    record: Record,
    base: Record | Tombstone,
    left: Tombstone,
    now: int,
) -> Command:
    added = UpdateOne(
        documents.written(new_key, record),
        documents.added(record, server_life(record, now)),
        upsert=True,
    )
    selection = documents.over(old_key, base, now, record.touched_ms)
    retired = UpdateOne(selection, documents.retired(left))
    # In this order: a client that got neither key loses nothing if the server stops between them.
    return lambda sessions: sessions.bulk_write([added, retired], ordered=True)


def _withdrawing(key: str, record: Record) -> Command:
    # Not where another request has saved over it.
    return lambda sessions: sessions.delete_one(documents.written(key, record))
