"""What a verb sends: a call of PyMongo on the collection, made of its documents."""

from __future__ import annotations

from django_multisession.core.records import Record, Tombstone, server_life
from django_multisession.drivers.mongodb import documents
from django_multisession.drivers.mongodb.server import Command, ReturnDocument, UpdateOne


def insert(document: documents.Expression) -> Command:
    """Insert *document*."""
    return lambda sessions: sessions.insert_one(document)


def find(key: str) -> Command:
    """Find the document under *key*."""
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


def find_many(selection: documents.Expression, limit: int) -> Command:
    """Find the first *limit* documents of *selection* in the order of their keys."""
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


def update(selection: documents.Expression, change: documents.Change) -> Command:
    """Change the document that *selection* finds."""
    return lambda sessions: sessions.update_one(selection, change)


def move(
    old_key: str,
    new_key: str,
    record: Record,
    base: Record | Tombstone,
    left: Tombstone,
    now: int,
) -> Command:
    """Store *record* under *new_key*, and then *left* over *base*."""
    added = UpdateOne(
        documents.written(new_key, record),
        documents.added(record, server_life(record, now)),
        upsert=True,
    )
    selection = documents.over(old_key, base, now, record.touched_ms)
    retired = UpdateOne(selection, documents.retired(left))
    # In this order: a client that got neither key loses nothing if the server stops between them.
    return lambda sessions: sessions.bulk_write([added, retired], ordered=True)


def withdraw(key: str, record: Record) -> Command:
    """Remove *record*, unless another request has saved over it."""
    return lambda sessions: sessions.delete_one(documents.written(key, record))


def end(key: str, left: Tombstone) -> Command:
    """Leave *left* of what is under *key*, and bring what lies there then."""
    change = documents.ended(left)
    return lambda sessions: sessions.find_one_and_update(
        {"_id": key}, change, documents.BYTES, return_document=ReturnDocument.AFTER
    )


def end_many(selection: documents.Expression, left: Tombstone) -> Command:
    """Leave *left* of every document that *selection* finds."""
    change = documents.retired(left)
    return lambda sessions: sessions.update_many(selection, change)
