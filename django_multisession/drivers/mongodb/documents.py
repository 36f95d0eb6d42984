"""Records as MongoDB documents, and how one is written: pure.

One document per record: the bytes of `core.records`, and beside them what the bytes can't be asked::

    {_id: <storage key>, record: <bytes>, ends_ms, touched_ms, user_id, collect_at}

and of a tombstone ``{_id, record, is_tombstone, collect_at}``. Only ``record`` is read. The other
fields say where a write may go and when a document goes, never what a session is.

A server compares no piece of binary data, but its bits: so a condition on the kind, the version and
the revision is one on the bytes themselves, and no write goes over what a newer release wrote.
``collect_at`` is by the server's clock, which only a pipeline has: changes are pipelines. Their
values that are text are ``$literal``: a user may begin with a dollar sign. An insert has no pipeline
and takes the clock of the machine: an upsert costs the server half as much again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django_multisession.core.records import (
    END_MS,
    RECORD_HEAD,
    REVISION_AT,
    REVISION_LENGTH,
    TOMBSTONE_HEAD,
    TOMBSTONE_MS,
    Record,
    Tombstone,
    bytes_of_user,
    to_datetime,
)
from django_multisession.core.secret import SecretBytes

Expression = dict[str, Any]
Change = list[Expression]

#: The bits of the head and of the revision.
_COMPARED = int.from_bytes(
    b"\xff" * len(RECORD_HEAD) + bytes(REVISION_AT - len(RECORD_HEAD)) + b"\xff" * REVISION_LENGTH
)

#: Milliseconds: some four thousand years. A document that lives longer is kept without end: BSON's
#: dates go on behind Python's calendar, and PyMongo fails at them.
_LONGEST_LIFE = END_MS // 2

#: What is brought back of a document.
BYTES = {"record": 1}


def first_of(reply: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the document that a ``find`` brought: an empty one where it can't be decoded."""
    if "cursor" not in reply:
        return {}
    batch = reply["cursor"]["firstBatch"]
    return batch[0] if batch else None


def all_of(reply: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the documents that a ``find`` brought: none where one can't be decoded."""
    return list(reply["cursor"]["firstBatch"]) if "cursor" in reply else []


def bytes_of(document: Mapping[str, Any] | None) -> bytes | None:
    """Return the bytes that *document* holds: none, which are unreadable, where it holds others."""
    if document is None:
        return None
    raw = document.get("record")
    # Error pages show what frames hold.
    return SecretBytes(raw) if isinstance(raw, bytes) else b""


# Where a write may go


def over(key: str, base: Record | Tombstone, now: int, latest_use: int | None = None) -> Expression:
    """Select *base*: a record while it is live at *now*, last used at *latest_use* or before."""
    if isinstance(base, Tombstone):
        return {"_id": key, "record": _begins(TOMBSTONE_HEAD, base.revision)}
    selection = {**written(key, base), "ends_ms": {"$gt": now}}
    if latest_use is not None:
        selection["touched_ms"] = {"$lte": latest_use}
    return selection


def written(key: str, record: Record) -> Expression:
    """Select what the very write that makes *record* has stored; a touch may have moved its times."""
    return {"_id": key, "record": _begins(RECORD_HEAD, record.revision)}


def _begins(head: bytes, revision: bytes) -> Expression:
    expected = head + bytes(REVISION_AT - len(head)) + revision
    others = (int.from_bytes(expected) ^ _COMPARED).to_bytes(len(expected))
    return {"$bitsAllSet": expected, "$bitsAllClear": others}


def behind(key: str) -> Expression:
    """Select whatever is behind *key*."""
    return {"_id": {"$gt": key}}


def of_user(user_id: str, now: int, after: str) -> Expression:
    """Select the records of *user_id* that are live at *now*, behind the key *after*."""
    return {"user_id": _is_user(user_id), "_id": {"$gt": after}, "ends_ms": {"$gt": now}}


def all_in(keys: Sequence[str]) -> Expression:
    """Select whatever lies under *keys*."""
    return {"_id": {"$in": list(keys)}}


def ending(keys: Sequence[str], user_id: str | None) -> Expression:
    """Select the records under *keys*, or those of *user_id* among them, and no tombstone."""
    selection = {**all_in(keys), "is_tombstone": {"$ne": True}}
    return selection if user_id is None else {**selection, "user_id": _is_user(user_id)}


def _is_user(user_id: str) -> Expression:
    # The index is one of text alone, and a server takes it where a query asks for that.
    return {"$eq": _text_of(bytes_of_user(user_id)), "$type": "string"}


# What is written


def inserted(key: str, record: Record, life: int, clock_ms: int) -> Expression:
    """Return the document of *record*, whole; *clock_ms* is what its life is counted from."""
    return {
        "_id": key,
        "record": record.raw,
        "user_id": _user_id(record),
        "ends_ms": record.ends_ms,
        "touched_ms": record.touched_ms,
        "collect_at": None if life > _LONGEST_LIFE else to_datetime(clock_ms + life),
    }


def added(record: Record, life: int) -> Change:
    """Make the document of *record* in an upsert; leave the one that it finds.

    That one was stored by an earlier attempt; another request may have touched it since.
    """
    is_new = {"$eq": [{"$type": "$record"}, "missing"]}
    return [{"$replaceWith": {"$cond": [is_new, _document(record, life), "$$ROOT"]}}]


def saved(record: Record, life: int) -> Change:
    """Put the document of *record* in the place of another."""
    return [{"$replaceWith": _document(record, life)}]


def used(record: Record, life: int) -> Change:
    """Put the bytes of *record* in the place of the same record before a touch."""
    return [{"$set": {**_times(record, life), "record": record.raw}}]


def retired(left: Tombstone) -> Change:
    """Leave *left* of a document."""
    return [{"$replaceWith": _tombstone(left)}]


def ended(left: Tombstone) -> Change:
    """Leave *left* of a document, unless it is a tombstone."""
    is_tombstone = {"$eq": ["$is_tombstone", True]}
    return [{"$replaceWith": {"$cond": [is_tombstone, "$$ROOT", _tombstone(left)]}}]


def _document(record: Record, life: int) -> Expression:
    return {
        "_id": "$_id",
        "record": record.raw,
        "user_id": {"$literal": _user_id(record)},
        **_times(record, life),
    }


def _times(record: Record, life: int) -> Expression:
    return {
        "ends_ms": record.ends_ms,
        "touched_ms": record.touched_ms,
        "collect_at": None if life > _LONGEST_LIFE else _from_now(life),
    }


def _tombstone(left: Tombstone) -> Expression:
    return {
        "_id": "$_id",
        "record": left.raw,
        "is_tombstone": True,
        "collect_at": _from_now(TOMBSTONE_MS),
    }


def _from_now(life: int) -> Expression:
    return {"$add": ["$$NOW", life]}


def _user_id(record: Record) -> str | None:
    return None if record.user is None else _text_of(record.user)


def _text_of(user: bytes) -> str:
    # BSON has no text that isn't UTF-8; the record's own bytes are what counts.
    return user.decode("utf-8", "replace")
