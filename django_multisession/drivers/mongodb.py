"""Sessions in MongoDB: one document per record, every verb one command, no transactions.

A standalone server has no transactions, and they cost round trips. What must be atomic is one
document, changed by a pipeline that checks before it writes (`mongodb_documents`).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.core.checks import CheckMessage

from django_multisession.core.records import (
    EXPIRY_SLACK,
    MISSING,
    SAVED,
    Answer,
    Record,
    Stored,
    Tombstone,
    answer_to_delete,
    answer_to_move,
    answer_to_replace,
    answer_to_touch,
)
from django_multisession.drivers import mongodb_documents as documents
from django_multisession.drivers.mongodb_checks import check
from django_multisession.drivers.mongodb_connection import (
    DEFAULT_COLLECTION,
    Command,
    Connection,
    ReturnDocument,
    UpdateOne,
    time_limit,
)

#: A command holds 16 MiB; so many keys are 80 kB, and gone well within the time limit.
_PURGED_AT_ONCE = 1000
#: No request waits for a count. MongoDB counts some million entries of an index in a second.
_COUNTING_SECONDS = 60


class MongoDBDriver:
    """Stores records in a MongoDB collection.

    Args:
        options: ``MULTISESSION_MONGODB``: ``URI``; ``DATABASE`` (the URI's, else "multisession");
            ``COLLECTION`` ("sessions"); PyMongo's client options by their own names.
    """

    has_native_expiry = True

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._collection_name = options.get("COLLECTION", DEFAULT_COLLECTION)
        self._connection = Connection(options)

    def add(self, key: str, record: Record) -> bool:
        """See Driver.add()."""
        return self._connection.ask(_adding(key, record)) is not None

    async def aadd(self, key: str, record: Record) -> bool:
        """See add()."""
        return await self._connection.aask(_adding(key, record)) is not None

    def get(self, key: str) -> Stored:
        """See Driver.get()."""
        return documents.read(key, self._connection.ask(_getting(key)))

    async def aget(self, key: str) -> Stored:
        """See get()."""
        return documents.read(key, await self._connection.aask(_getting(key)))

    def replace(self, key: str, record: Record, base: Record, now: datetime) -> Answer:
        """See Driver.replace()."""
        found = self._connection.ask(_replacing(key, record, base, now))
        return answer_to_replace(documents.read(key, found), record, base, now) or MISSING

    async def areplace(self, key: str, record: Record, base: Record, now: datetime) -> Answer:
        """See replace()."""
        found = await self._connection.aask(_replacing(key, record, base, now))
        return answer_to_replace(documents.read(key, found), record, base, now) or MISSING

    def move(
        self,
        old_key: str,
        new_key: str,
        record: Record,
        base: Record | Tombstone,
        left: Tombstone,
        now: datetime,
    ) -> Answer:
        """See Driver.move(); one command, and two more where it is refused."""
        result = self._connection.ask(_moving(old_key, new_key, record, base, left, now))
        if _has_moved(result):
            return SAVED
        stored = self.get(old_key)
        if _is_to_withdraw(result, stored, left):
            self._connection.ask(_withdrawing(new_key, record))
        # Where nothing speaks against it, the new key was taken.
        return answer_to_move(stored, record, base, left, now) or MISSING

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
        moving = _moving(old_key, new_key, record, base, left, now)
        result = await self._connection.aask(moving)
        if _has_moved(result):
            return SAVED
        stored = await self.aget(old_key)
        if _is_to_withdraw(result, stored, left):
            await self._connection.aask(_withdrawing(new_key, record))
        return answer_to_move(stored, record, base, left, now) or MISSING

    def touch(self, key: str, base: Record, touched_at: datetime, now: datetime) -> Answer:
        """See Driver.touch()."""
        found = self._connection.ask(_touching(key, base, touched_at, now))
        return answer_to_touch(documents.read(key, found), base, touched_at, now) or MISSING

    async def atouch(self, key: str, base: Record, touched_at: datetime, now: datetime) -> Answer:
        """See touch()."""
        found = await self._connection.aask(_touching(key, base, touched_at, now))
        return answer_to_touch(documents.read(key, found), base, touched_at, now) or MISSING

    def delete(self, key: str, left: Tombstone) -> bool | Tombstone:
        """See Driver.delete()."""
        found = self._connection.ask(_deleting(key, left))
        return answer_to_delete(documents.read(key, found), left)

    async def adelete(self, key: str, left: Tombstone) -> bool | Tombstone:
        """See delete()."""
        found = await self._connection.aask(_deleting(key, left))
        return answer_to_delete(documents.read(key, found), left)

    def purge_expired(self, now: datetime, limit: int) -> int:
        """See Driver.purge_expired(); removes what the TTL monitor has not come to yet."""
        purged = 0
        # Until none is found: others (another purge, the TTL monitor) may remove what this one found.
        while purged < limit and (
            found := self._connection.ask(_finding_expired(now, limit - purged))
        ):
            purged += self._connection.ask(_removing_expired(now, found)).deleted_count
        return purged

    async def apurge_expired(self, now: datetime, limit: int) -> int:
        """See purge_expired()."""
        purged = 0
        while purged < limit and (
            found := await self._connection.aask(_finding_expired(now, limit - purged))
        ):
            removed = await self._connection.aask(_removing_expired(now, found))
            purged += removed.deleted_count
        return purged

    def count_expired(self, now: datetime) -> int:
        """See Driver.count_expired(); tombstones that are over count too."""
        self._connection.ask(_pinging)
        with time_limit(_COUNTING_SECONDS):
            return int(self._connection.ask(_counting_expired(now)))

    async def acount_expired(self, now: datetime) -> int:
        """See count_expired()."""
        await self._connection.aask(_pinging)
        with time_limit(_COUNTING_SECONDS):
            return int(await self._connection.aask(_counting_expired(now)))

    def check(self) -> list[CheckMessage]:
        """See Driver.check()."""
        return check(self._connection, self._collection_name)

    def close(self) -> None:
        """See Driver.close()."""
        self._connection.close()

    async def aclose(self) -> None:
        """See close()."""
        await self._connection.aclose()


def _adding(key: str, record: Record) -> Command:
    # Matches the record that an attempt with a lost answer stored; any other is in the way of the
    # upsert, and MongoDB says that its key is taken.
    selection = {"_id": key, "revisions": record.revision}
    pipeline = documents.added(key, record)
    return lambda sessions: sessions.update_one(selection, pipeline, upsert=True)


def _getting(key: str) -> Command:
    return lambda sessions: sessions.find_one({"_id": key})


def _replacing(key: str, record: Record, base: Record, now: datetime) -> Command:
    pipeline = documents.replaced(key, record, base, now)
    return _changing(key, pipeline, documents.without_payload_of_own(record.revision))


def _changing(
    key: str, pipeline: list[dict[str, Any]], projection: dict[str, Any] | None = None
) -> Command:
    """Change a document, if the conditions in *pipeline* hold, and bring what it is after that."""
    return lambda sessions: sessions.find_one_and_update(
        {"_id": key}, pipeline, projection, return_document=ReturnDocument.AFTER
    )


def _moving(
    old_key: str,
    new_key: str,
    record: Record,
    base: Record | Tombstone,
    left: Tombstone,
    now: datetime,
) -> Command:
    added = UpdateOne(
        {"_id": new_key, "revisions": record.revision},
        documents.added(new_key, record, now),
        upsert=True,
    )
    moved = UpdateOne(
        {"_id": old_key, "$expr": documents.is_movable(record, base, left, now)},
        documents.moved(left),
    )
    # In this order: a client that got neither key loses nothing if the server stops between them.
    return lambda sessions: sessions.bulk_write([added, moved], ordered=True)


def _has_moved(result: Any) -> bool:
    """Were both records written, now or by an attempt whose answer was lost?"""
    return result is not None and result.upserted_count + result.matched_count == 2  # noqa: PLR2004  (new and old)


def _is_to_withdraw(result: Any, stored_at_old: Stored, left: Tombstone) -> bool:
    """Is what lies under the new key this refused move's, and to be deleted?"""
    if result is None:
        # The new key was taken.
        return False
    if isinstance(stored_at_old, Tombstone) and stored_at_old.revision == left.revision:
        return False
    # An earlier attempt may have been made, and its tombstone be gone by now.
    return stored_at_old is not None or result.upserted_count > 0


def _withdrawing(new_key: str, record: Record) -> Command:
    # Not where somebody has saved over it.
    return lambda sessions: sessions.delete_one({"_id": new_key, "revisions.0": record.revision})


def _touching(key: str, base: Record, touched_at: datetime, now: datetime) -> Command:
    pipeline = documents.touched(base, touched_at, now)
    return _changing(key, pipeline, documents.without_payload_of_base(base))


def _deleting(key: str, left: Tombstone) -> Command:
    return _changing(key, documents.deleted(left))


def _expired(now: datetime) -> dict[str, Any]:
    return {"expires_at": {"$lt": now - EXPIRY_SLACK}}


def _pinging(sessions: Any) -> Any:
    """Wait for an answer no longer than usual: a server that is down must not be waited for longer."""
    return sessions.database.command("ping")


def _counting_expired(now: datetime) -> Command:
    return lambda sessions: sessions.count_documents(_expired(now))


def _finding_expired(now: datetime, limit: int) -> Command:
    selection = _expired(now)
    limit = min(limit, _PURGED_AT_ONCE)

    def find(sessions: Any) -> Any:
        return sessions.find(selection, {"_id": 1}, limit=limit, batch_size=limit).to_list()

    return find


def _removing_expired(now: datetime, found: list[dict[str, Any]]) -> Command:
    selection = {
        "_id": {"$in": [document["_id"] for document in found]},
        # Once more: a touch in between saves a record.
        **_expired(now),
    }
    # By the keys: MongoDB would rather walk through all that has expired, again for every batch.
    return lambda sessions: sessions.delete_many(selection, hint="_id_")
