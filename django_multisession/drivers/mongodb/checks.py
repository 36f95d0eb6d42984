"""What `check()` finds at a MongoDB server: its release, its indexes, the rights of its user."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from django_multisession.core.problems import Problem, Severity
from django_multisession.drivers import releases
from django_multisession.drivers.base import Driver, run
from django_multisession.drivers.mongodb.server import INDEXES, MongoDBServer
from django_multisession.drivers.trial import make_keys, trial
from django_multisession.exceptions import OutageKind, StoreUnavailable

OLDEST_VERSION = (5, 0)
#: Of documents of this package.
FIELDS = frozenset(
    {"_id", "record", "ends_ms", "touched_ms", "user_id", "is_tombstone", "collect_at"}
)
#: What that version calls itself in its answer to "hello". A strict Stable API has no buildInfo.
OLDEST_WIRE_VERSION = 13


def check(server: MongoDBServer, driver: Driver) -> list[Problem]:
    """Return what is wrong with *server*, the one of *driver*; creates the indexes as a request does."""
    try:
        hello = server.send_alone(lambda sessions: sessions.database.command("hello"))
        if hello["maxWireVersion"] < OLDEST_WIRE_VERSION:
            facts = server.send_alone(lambda sessions: sessions.database.client.server_info())
            return [_too_old(facts["version"])]
        indexes = server.send_alone(_listing_indexes)
        # Such an index refuses the trial's records as well.
        if not (foreign := _foreign_indexes(indexes, server.collection)):
            _prove_rights(server, driver)
            indexes = server.send_alone(_listing_indexes)
        version = _version_of(server)
    except StoreUnavailable as failure:
        return [_unreachable(failure)]
    return [
        *_known_hole(version),
        *_wrong_indexes(indexes, server.collection),
        *foreign,
    ]


def _listing_indexes(sessions: Any) -> Any:
    return sessions.index_information()


def _prove_rights(server: MongoDBServer, driver: Driver) -> None:
    """Store, change and end a record; leave nothing.

    Raises:
        StoreUnavailable: The server refused one of the commands.
    """
    keys = make_keys()
    try:
        run(trial(driver, *keys))
    finally:
        # Without its index, the TTL monitor would collect nothing.
        with contextlib.suppress(StoreUnavailable):
            server.send_alone(lambda sessions: sessions.delete_many({"_id": {"$in": [*keys]}}))


def _unreachable(failure: StoreUnavailable) -> Problem:
    return Problem(
        "multisession.W111",
        str(failure),
        "Give its user the documented rights, or correct USERNAME and PASSWORD."
        if failure.kind is OutageKind.REFUSED
        else "Start it, or correct MULTISESSION_MONGODB: URI, user, password, TLS.",
        Severity.WARNING,
    )


def _too_old(version: str) -> Problem:
    return Problem(
        "multisession.E113",
        f"MongoDB must be {releases.dotted(OLDEST_VERSION)} or newer (got {version}).",
        "Upgrade the server.",
    )


def _version_of(server: MongoDBServer) -> releases.Version | None:
    """Return the release of *server*; None where a strict Stable API keeps it from saying so."""
    try:
        facts = server.send_alone(lambda sessions: sessions.database.client.server_info())
    except StoreUnavailable as failure:
        if failure.kind is not OutageKind.REFUSED:
            raise
        return None
    return tuple(facts["versionArray"][:3])


def _known_hole(version: releases.Version | None) -> list[Problem]:
    fixed = None if version is None else releases.fix_for(version, releases.MONGODB)
    if version is None or fixed is None:
        return []
    return [
        Problem(
            "multisession.W115",
            f"MongoDB {releases.dotted(version)} has CVE-2025-14847. Clients that haven't logged in "
            "can read its memory, and with it sessions.",
            f"Upgrade the server to {releases.dotted(fixed)} or later.",
            Severity.WARNING,
        )
    ]


def _wrong_indexes(found: Mapping[str, Mapping[str, Any]], collection: str) -> list[Problem]:
    # A collection that is not there yet gets its indexes with its first record.
    if not found:
        return []
    return [
        Problem(
            "multisession.W112",
            f"MongoDB collection {collection} must have an index on {', '.join(fields)}"
            f"{_described(how)} (got {_found_instead(found, fields)}).",
            (
                "Drop an index on the same fields that differs, then restart the site with a user "
                f"who may create indexes, or create it: createIndex({_spelled(fields)}, {how!r})."
            ),
            Severity.WARNING,
        )
        for fields, how in INDEXES.items()
        if how not in _indexes_on(found, fields)
    ]


def _foreign_indexes(found: Mapping[str, Mapping[str, Any]], collection: str) -> list[Problem]:
    """Report unique indexes: all records have the same value, null, in a field that isn't theirs."""
    return [
        Problem(
            "multisession.E114",
            f"MongoDB collection {collection} has the unique index {name}, which isn't one of this "
            "package. MongoDB refuses all sessions but the first.",
            'Set MULTISESSION_MONGODB["COLLECTION"] to a name that no other application uses, or '
            "drop the index.",
        )
        for name, index in found.items()
        if index.get("unique") and "_id" not in dict(index["key"]) and not _leaves_out(index)
    ]


def _leaves_out(index: Mapping[str, Any]) -> bool:
    """Does *index* hold no document that lacks its fields, and so none of this package?"""
    filtered = dict(index.get("partialFilterExpression", {}))
    if not (index.get("sparse") or filtered):
        return False
    return FIELDS.isdisjoint({*dict(index["key"]), *filtered})


def _indexes_on(
    found: Mapping[str, Mapping[str, Any]], fields: tuple[str, ...]
) -> list[dict[str, Any]]:
    """Return, for every index on *fields*, those of its options that change what it does."""
    kinds = ("expireAfterSeconds", "partialFilterExpression", "sparse", "unique")
    return [
        {kind: index[kind] for kind in kinds if kind in index}
        for index in found.values()
        if list(index["key"]) == [(field, 1) for field in fields]
    ]


def _spelled(fields: tuple[str, ...]) -> str:
    return f"{{{', '.join(f'{field}: 1' for field in fields)}}}"


def _found_instead(found: Mapping[str, Mapping[str, Any]], fields: tuple[str, ...]) -> str:
    others = _indexes_on(found, fields)
    return f"one{_described(others[0])}" if others else "none"


def _described(how: Mapping[str, Any]) -> str:
    return f" with {dict(how)!r}" if how else " without options"
