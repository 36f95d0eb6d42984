"""Records as MongoDB documents, and the expressions that change them on the server: pure.

A record is one document::

    {_id: <storage key>, payload, revisions, created_at, began_at, keyed_at, touched_at, idle_age,
     hard_deadline_at, user_id, old_key, expires_at, collect_at}

and a retired one ``{_id, retired: <revision>, forward, expires_at, collect_at}``. ``expires_at`` is
by the site's clock, for purging; a retired record "expires" a minute before it may go. ``collect_at`` is by the
server's, for its TTL monitor: a site's clock may lie years away (driven clocks in tests).

Every condition is an aggregation expression over typed fields: whatever stands in the store, no
expression fails, because a failing one looks like an outage. Values go in as ``$literal``: a user
id may begin with a dollar sign.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from django_multisession.drivers.base import log_unreadable
from django_multisession.records import (
    EXPIRY_SLACK,
    RETIRED_TIMEOUT,
    Record,
    Retired,
    Stored,
    server_life,
)

Expression = dict[str, Any]

#: What Python's calendar holds. BSON dates reach 292 million years; arithmetic on those overflows.
_FIRST_MOMENT = datetime.min.replace(tzinfo=UTC)
_LAST_MOMENT = datetime.max.replace(tzinfo=UTC, microsecond=999000)
_MILLISECOND = timedelta(milliseconds=1)

_DATES = ("created_at", "began_at", "keyed_at", "touched_at")


class _Unreadable(Exception):  # noqa: N818  (never leaves this module)
    """A document that `fields` did not make; says which field is wrong."""


def fields(record: Record) -> dict[str, Any]:
    """Return what a document holds of *record* beside ``_id`` and ``collect_at``."""
    return {
        "payload": record.payload,
        "revisions": list(record.revisions),
        "created_at": record.created_at,
        "began_at": record.began_at,
        "keyed_at": record.keyed_at,
        "touched_at": record.touched_at,
        "idle_age": record.idle_age,
        "hard_deadline_at": record.hard_deadline_at,
        "user_id": record.user_id,
        "old_key": record.old_key,
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


def _read(document: Mapping[str, Any]) -> Record | Retired:
    if "retired" in document:
        return Retired(_field(document, "retired", str), bytes(_field(document, "forward", bytes)))
    revisions = _field(document, "revisions", list)
    if not revisions or not all(isinstance(revision, str) for revision in revisions):
        raise _Unreadable("revisions holds something else than strings")
    idle_age = _field(document, "idle_age", int, type(None))
    return Record(
        payload=bytes(_field(document, "payload", bytes)),
        revisions=tuple(revisions),
        # Plain int: PyMongo's Int64 looks different in a repr.
        idle_age=None if idle_age is None else int(idle_age),
        hard_deadline_at=_field(document, "hard_deadline_at", datetime, type(None)),
        user_id=_field(document, "user_id", str, type(None)),
        old_key=_field(document, "old_key", str, type(None)),
        **{name: _field(document, name, datetime) for name in _DATES},
    )


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


def replaced(key: str, record: Record, expected: str, now: datetime) -> list[Expression]:
    """Put the document of *record* in the place of one that is live and at revision *expected*."""
    document = _document(key, record, server_life(record, now))
    return [{"$replaceWith": {"$cond": [is_current(expected, now), document, "$$ROOT"]}}]


def touched(touched_at: datetime) -> list[Expression]:
    """Move the last use to the later of the stored one and *touched_at*, and what follows from it."""
    life = {"$max": [{"$subtract": ["$expires_at", "$touched_at"]}, 0]}
    return [
        {"$set": {"touched_at": {"$max": ["$touched_at", touched_at]}}},
        {"$set": {"expires_at": _EXPIRES_AT}},
        {
            "$set": {
                "collect_at": {
                    "$cond": [{"$eq": ["$expires_at", None]}, None, _from_now(EXPIRY_SLACK, life)]
                }
            }
        },
    ]


def retired(
    revision: str = "", forward: bytes = b"", life: timedelta | None = RETIRED_TIMEOUT
) -> list[Expression]:
    """Leave of a document, for *life*, only that it was ended, or moved by the write *revision*."""
    return [
        {
            "$replaceWith": {
                "_id": "$_id",
                "retired": {"$literal": revision},
                "forward": {"$literal": forward},
                **_going_after(life),
            }
        }
    ]


def forgotten(life: timedelta) -> list[Expression]:
    """Let a document go after *life*, if it would stay longer."""
    sooner = _going_after(life)
    # As in `_EXPIRES_AT`, null means for ever and is passed over.
    return [{"$set": {name: {"$min": [f"${name}", sooner[name]]} for name in sooner}}]


def _going_after(life: timedelta | None) -> Expression:
    if life is None:
        return {"expires_at": None, "collect_at": None}
    return {"expires_at": _from_now(life - EXPIRY_SLACK), "collect_at": _from_now(life)}


def is_live(now: datetime) -> Expression:
    """Say whether a document is a readable record that has not expired at *now*."""
    return {"$and": [_IS_READABLE, _has_not_expired(now)]}


def is_current(expected: str, now: datetime) -> Expression:
    """Say whether a document is a readable, live record whose last write was *expected*."""
    newest = {"$arrayElemAt": [_REVISIONS, 0]}
    return {"$and": [is_live(now), {"$eq": [newest, {"$literal": expected}]}]}


def is_movable(expected: str, now: datetime, revision: str) -> Expression:
    """Say whether the move *revision* may retire a document, or has done so."""
    return {"$or": [is_current(expected, now), {"$eq": ["$retired", {"$literal": revision}]}]}


def is_retired() -> Expression:
    """Say whether a document is a retired record."""
    return {"$eq": [_type("retired"), "string"]}


def is_not_retired() -> Expression:
    """Say whether a document is anything else."""
    return {"$not": [is_retired()]}


def without_own_payload(revision: str) -> Expression:
    """Return a projection that brings no payload back to the write *revision* that sent it."""
    is_own = {"$in": [{"$literal": revision}, _REVISIONS]}
    names = (
        "retired",
        "forward",
        "revisions",
        *_DATES,
        "idle_age",
        "hard_deadline_at",
        "user_id",
        "old_key",
    )
    payload = {"$cond": [is_own, {"$literal": b""}, "$payload"]}
    return {"payload": payload, **dict.fromkeys(names, 1)}


def _document(key: str, record: Record, life: timedelta | None) -> Expression:
    collect_at = None if life is None else _from_now(life)
    literal = {"$literal": {"_id": key, **fields(record)}}
    return {"$mergeObjects": [literal, {"collect_at": collect_at}]}


def _from_now(life: timedelta, *more: Expression) -> Expression:
    return {"$add": ["$$NOW", life // _MILLISECOND, *more]}


def _type(name: str) -> Expression:
    return {"$type": f"${name}"}


def _is_date(name: str) -> Expression:
    value = f"${name}"
    return {
        "$and": [
            {"$eq": [_type(name), "date"]},
            {"$gte": [value, _FIRST_MOMENT]},
            {"$lte": [value, _LAST_MOMENT]},
        ]
    }


def _is_one_of(name: str, *types: str) -> Expression:
    return {"$in": [_type(name), list(types)]}


def _has_not_expired(now: datetime) -> Expression:
    return {"$or": [{"$eq": [_EXPIRES_AT, None]}, {"$gt": [_EXPIRES_AT, now]}]}


#: The revisions, or none if that is not what stands there.
_REVISIONS: Expression = {"$cond": [{"$isArray": "$revisions"}, "$revisions", []]}

_TOUCHED_AT: Expression = {"$cond": [_is_date("touched_at"), "$touched_at", _FIRST_MOMENT]}
_IDLE_AGE: Expression = {"$cond": [_is_one_of("idle_age", "int", "long"), "$idle_age", None]}


def _seconds_to(moment: datetime) -> Expression:
    return {"$divide": [{"$subtract": [moment, _TOUCHED_AT]}, 1000]}


#: As `Record.expires_at`, which it must equal: what stands in the store as ``expires_at`` decides
#: only when a document may be purged. `$min` passes over nulls.
_EXPIRES_AT: Expression = {
    "$min": [
        {
            "$switch": {
                "branches": [
                    {"case": {"$eq": [_IDLE_AGE, None]}, "then": None},
                    {"case": {"$gt": [_IDLE_AGE, _seconds_to(_LAST_MOMENT)]}, "then": None},
                    {
                        "case": {"$lt": [_IDLE_AGE, _seconds_to(_FIRST_MOMENT)]},
                        "then": _FIRST_MOMENT,
                    },
                ],
                "default": {"$add": [_TOUCHED_AT, {"$multiply": [_IDLE_AGE, 1000]}]},
            }
        },
        "$hard_deadline_at",
    ]
}

#: As `_read`, which it must agree with: a save that the server refuses must not read as a conflict.
_IS_READABLE: Expression = {
    "$and": [
        {"$eq": [_type("retired"), "missing"]},
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
        _is_one_of("idle_age", "int", "long", "null"),
        {"$or": [{"$eq": [_type("hard_deadline_at"), "null"]}, _is_date("hard_deadline_at")]},
        _is_one_of("user_id", "string", "null"),
        _is_one_of("old_key", "string", "null"),
    ]
}
