"""Records as MongoDB documents, and the expressions that change them on the server: pure.

A record is one document::

    {_id: <storage key>, payload, revisions, created_at, began_at, touched_at, idle_age,
     hard_deadline_at, user_id, expires_at, collect_at}

and a tombstone ``{_id, tombstone: <revision>, reason, successor, expires_at, collect_at}``.
``expires_at`` is by the site's clock, for purging; a tombstone "expires" a minute before it may go.
``collect_at`` is by the server's, for its TTL monitor: a site's clock may lie years away (driven
clocks in tests). No expression computes a deadline: the driver does, from the base of a write.

Every condition is an aggregation expression over typed fields: whatever stands in the store, no
expression fails, because a failing one looks like an outage. Values go in as ``$literal``: a user
id may begin with a dollar sign.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django_multisession.core.records import (
    BEGINNING,
    END,
    EXPIRY_SLACK,
    LONGEST_AGE,
    TOMBSTONE_TIMEOUT,
    Reason,
    Record,
    Stored,
    Tombstone,
    from_milliseconds,
    is_readable_age,
    last_idle_moment,
    server_life,
)
from django_multisession.drivers.base import log_unreadable

Expression = dict[str, Any]

_MILLISECOND = timedelta(milliseconds=1)

_DATES = ("created_at", "began_at", "touched_at")


class _Unreadable(Exception):  # noqa: N818  (never leaves this module)
    """A document that `fields` did not make; says which field is wrong."""


def fields(record: Record) -> dict[str, Any]:
    """Return what a document holds of *record* beside ``_id`` and ``collect_at``."""
    return {
        "payload": record.payload,
        "revisions": list(record.revisions),
        "created_at": record.created_at,
        "began_at": record.began_at,
        "touched_at": record.touched_at,
        "idle_age": record.idle_age,
        "hard_deadline_at": record.hard_deadline_at,
        "user_id": record.user_id,
        "expires_at": record.expires_at,
    }


def read(key: str, document: Mapping[str, Any] | None) -> Stored:
    """Return what *document* stands for; None, with one log line, if it cannot be read."""
    if document is None:
        return None
    try:
        return _read(document)
    except _Unreadable as problem:
        log_unreadable(key, problem)
        return None


def _read(document: Mapping[str, Any]) -> Record | Tombstone:
    if "tombstone" in document:
        return Tombstone(
            revision=_field(document, "tombstone", str),
            reason=_reason(document),
            successor=_field(document, "successor", str),
        )
    revisions = _field(document, "revisions", list)
    if not revisions or not all(isinstance(revision, str) for revision in revisions):
        raise _Unreadable("revisions holds something else than strings")
    idle_age = _field(document, "idle_age", int, type(None))
    if not is_readable_age(idle_age):
        raise _Unreadable("idle_age is beyond the calendar")
    return Record(
        payload=bytes(_field(document, "payload", bytes)),
        revisions=tuple(revisions),
        # Plain int: PyMongo's Int64 looks different in a repr.
        idle_age=None if idle_age is None else int(idle_age),
        hard_deadline_at=_field(document, "hard_deadline_at", datetime, type(None)),
        user_id=_field(document, "user_id", str, type(None)),
        **{name: _field(document, name, datetime) for name in _DATES},
    )


def _reason(document: Mapping[str, Any]) -> Reason:
    try:
        return Reason(_field(document, "reason", str))
    except ValueError:
        raise _Unreadable("reason is unknown") from None


def _field(document: Mapping[str, Any], name: str, *types: type) -> Any:
    if name not in document:
        raise _Unreadable(f"{name} is missing")
    value = document[name]
    # A date outside Python's calendar arrives as PyMongo's DatetimeMS; True is an int, but no age.
    if not isinstance(value, types) or isinstance(value, bool):
        raise _Unreadable(f"{name} is of type {type(value).__name__}")
    return value


def added(key: str, record: Record, now: datetime | None = None) -> list[Expression]:
    """Make the document of *record* in an upsert; leave one that is there as it is.

    That one was matched by our own revision: an earlier attempt stored it, or a later write whose
    predecessor that attempt was.
    """
    is_new = {"$eq": [_type("payload"), "missing"]}
    document = _document(key, record, server_life(record, now or record.touched_at))
    return [{"$replaceWith": {"$cond": [is_new, document, "$$ROOT"]}}]


def replaced(key: str, record: Record, base: Record, now: datetime) -> list[Expression]:
    """Put the document of *record* in the place of *base*."""
    document = _document(key, record, server_life(record, now))
    return [{"$replaceWith": {"$cond": [_follows(record, base, now), document, "$$ROOT"]}}]


def touched(base: Record, touched_at: datetime, now: datetime) -> list[Expression]:
    """Move the last use of *base* forward to *touched_at*, and what follows from it."""
    record = dataclasses.replace(base, touched_at=touched_at)
    is_due = {"$and": [_follows(record, base, now), {"$lt": [_TOUCHED_AT, touched_at]}]}
    changes = {
        "touched_at": touched_at,
        "expires_at": record.expires_at,
        "collect_at": _collect_at(server_life(record, now)),
    }
    document = {"$mergeObjects": ["$$ROOT", changes]}
    return [{"$replaceWith": {"$cond": [is_due, document, "$$ROOT"]}}]


def moved(left: Tombstone) -> list[Expression]:
    """Leave *left* of a document."""
    return [{"$replaceWith": _tombstone(left)}]


def deleted(left: Tombstone) -> list[Expression]:
    """Leave *left* of a document, unless it is a tombstone."""
    is_tombstone = {"$eq": [_type("tombstone"), "string"]}
    return [{"$replaceWith": {"$cond": [is_tombstone, "$$ROOT", _tombstone(left)]}}]


def is_movable(
    record: Record, base: Record | Tombstone, left: Tombstone, now: datetime
) -> Expression:
    """Say whether a document is *base*, or what this very move has left of it."""
    is_base = (
        _is_tombstone_of(base.revision)
        if isinstance(base, Tombstone)
        else _follows(record, base, now)
    )
    return {"$or": [is_base, _is_tombstone_of(left.revision)]}


def without_payload_of_own(revision: str) -> Expression:
    """Return a projection that brings no payload back to the write *revision* that sent it."""
    return _without_payload({"$in": [{"$literal": revision}, _REVISIONS]})


def without_payload_of_base(base: Record) -> Expression:
    """Return a projection that brings no payload back to a touch of *base*."""
    return _without_payload({"$eq": [_REVISION, {"$literal": base.revision}]})


def _without_payload(is_known: Expression) -> Expression:
    names = (
        "tombstone",
        "reason",
        "successor",
        "revisions",
        *_DATES,
        "idle_age",
        "hard_deadline_at",
        "user_id",
    )
    payload = {"$cond": [is_known, {"$literal": b""}, "$payload"]}
    return {"payload": payload, **dict.fromkeys(names, 1)}


def _follows(record: Record, base: Record, now: datetime) -> Expression:
    """Say whether a document is *base*, live, and used no later than *record* was."""
    return {
        "$and": [
            _IS_READABLE,
            {"$eq": [_REVISION, {"$literal": base.revision}]},
            {"$gt": [_USED_MILLISECONDS, last_idle_moment(base, now)]},
            {"$lte": [_TOUCHED_AT, record.touched_at]},
        ]
    }


def _is_tombstone_of(revision: str) -> Expression:
    return {"$eq": ["$tombstone", {"$literal": revision}]}


def _tombstone(left: Tombstone) -> Expression:
    return {
        "_id": "$_id",
        "tombstone": {"$literal": left.revision},
        "reason": {"$literal": left.reason.value},
        "successor": {"$literal": left.successor},
        "expires_at": _from_now(TOMBSTONE_TIMEOUT - EXPIRY_SLACK),
        "collect_at": _from_now(TOMBSTONE_TIMEOUT),
    }


def _document(key: str, record: Record, life: timedelta | None) -> Expression:
    literal = {"$literal": {"_id": key, **fields(record)}}
    return {"$mergeObjects": [literal, {"collect_at": _collect_at(life)}]}


def _collect_at(life: timedelta | None) -> Expression | None:
    return None if life is None else _from_now(life)


def _from_now(life: timedelta) -> Expression:
    return {"$add": ["$$NOW", life // _MILLISECOND]}


def _type(name: str) -> Expression:
    return {"$type": f"${name}"}


def _is_date(name: str) -> Expression:
    # BSON dates reach 292 million years; arithmetic on those overflows.
    return _is_within(name, ["date"], BEGINNING, END)


def _is_within(name: str, types: list[str], least: Any, greatest: Any) -> Expression:
    value = f"${name}"
    return {
        "$and": [
            _is_one_of(name, *types),
            {"$gte": [value, least]},
            {"$lte": [value, greatest]},
        ]
    }


def _is_one_of(name: str, *types: str) -> Expression:
    return {"$in": [_type(name), list(types)]}


def _is_null(name: str) -> Expression:
    return _is_one_of(name, "null")


#: The revisions, or none if that is not what stands there.
_REVISIONS: Expression = {"$cond": [{"$isArray": "$revisions"}, "$revisions", []]}
_REVISION: Expression = {"$arrayElemAt": [_REVISIONS, 0]}

_TOUCHED_AT: Expression = {"$cond": [_is_date("touched_at"), "$touched_at", BEGINNING]}
_USED_MILLISECONDS: Expression = {"$subtract": [_TOUCHED_AT, from_milliseconds(0)]}

#: As `_read`, which it must agree with: a save that the server refuses must not read as a conflict.
_IS_READABLE: Expression = {
    "$and": [
        {"$eq": [_type("tombstone"), "missing"]},
        {"$eq": [_type("payload"), "binData"]},
        {"$gt": [{"$size": _REVISIONS}, 0]},
        {
            "$allElementsTrue": [
                {
                    "$map": {
                        "input": _REVISIONS,
                        "as": "revision",
                        "in": {"$eq": [{"$type": "$$revision"}, "string"]},
                    }
                }
            ]
        },
        *(_is_date(name) for name in _DATES),
        {
            "$or": [
                _is_null("idle_age"),
                _is_within("idle_age", ["int", "long"], -LONGEST_AGE, LONGEST_AGE),
            ]
        },
        {"$or": [_is_null("hard_deadline_at"), _is_date("hard_deadline_at")]},
        _is_one_of("user_id", "string", "null"),
    ]
}
