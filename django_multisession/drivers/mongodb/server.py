"""How MongoDB is reached: clients, time limits, the one retry, and what an error means.

PyMongo's texts are never passed on: a BulkWriteError holds the whole command, payload included,
and a complaint about a URI may hold a piece of its password.
"""

from __future__ import annotations

import logging
import os
import re
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from datetime import UTC
from typing import Any, Final

from django.core.exceptions import ImproperlyConfigured

try:
    import pymongo
    from bson.codec_options import CodecOptions, DatetimeConversion
    from bson.errors import InvalidBSON
    from pymongo import ReturnDocument, UpdateOne
    from pymongo import timeout as time_limit
    from pymongo.errors import (
        AutoReconnect,
        BulkWriteError,
        ConnectionFailure,
        DuplicateKeyError,
        NotPrimaryError,
        OperationFailure,
        PyMongoError,
        ServerSelectionTimeoutError,
        WaitQueueTimeoutError,
        WriteConcernError,
    )
except ImportError as error:
    raise ImproperlyConfigured(
        "Install django-multisession[mongodb] to use this engine."
    ) from error

from django_multisession.drivers.loops import ClientPerLoop
from django_multisession.drivers.mongodb.options import (
    client_options,
    complaint,
    hosts_of,
    require_uri,
    time_left,
)
from django_multisession.drivers.options import flat
from django_multisession.exceptions import OutageKind, StoreUnavailable

__all__ = [
    "DEFAULT_COLLECTION",
    "INDEXES",
    "Command",
    "MongoDBServer",
    # Imported by way of this module, which says what to install where PyMongo is missing.
    "ReturnDocument",
    "UpdateOne",
]

#: Runs one command on a collection of either kind; on an async one it returns an awaitable.
Command = Callable[[Any], Any]

DEFAULT_DATABASE = "multisession"
#: Express, Rails and Laravel name theirs "sessions", with unique indexes that no record here fits.
DEFAULT_COLLECTION = "django_multisession"

#: What is indexed, and how: for the TTL monitor, for the sessions of one user in the order of their
#: pages. None begins with a field that a write is conditional on: the server would weigh that index
#: against the one of ``_id`` each time.
INDEXES: Final[Mapping[tuple[str, ...], Mapping[str, Any]]] = {
    ("collect_at",): {"expireAfterSeconds": 0},
    ("user_id", "_id"): {"partialFilterExpression": {"user_id": {"$type": "string"}}},
}

#: The URI has no say in this: what one server alone acknowledged is lost in a fail-over, and what
#: a secondary has not seen yet reads as a session that has ended.
_HANDLING: Final[Mapping[str, Any]] = {
    # Whatever stands in the store must be readable, if only to be found wanting.
    "codec_options": CodecOptions[dict[str, Any]](
        tz_aware=True,
        tzinfo=UTC,
        datetime_conversion=DatetimeConversion.DATETIME_AUTO,
        unicode_decode_error_handler="replace",
    ),
    "read_preference": pymongo.ReadPreference.PRIMARY,
    # Where timeoutMS is set, PyMongo leaves wtimeout out.
    "write_concern": pymongo.WriteConcern("majority", wtimeout=2000),
}

_DUPLICATE_KEY = 11000
#: What a primary that steps down, or shuts down, says of a write that no majority has yet: it may
#: be kept or undone.
_ENDS_AS_PRIMARY = frozenset({91, 189, 11600, 11602})
#: TooManyLogicalSessions, TemporarilyUnavailable, IngressRequestRateLimitExceeded.
_OVERLOADED = frozenset({261, 365, 462})
#: What to do about a refusal, by the server's name for it.
_ADVICE = {
    "AuthenticationFailed": "Correct USERNAME or PASSWORD.",
    "Unauthorized": "Give its user the rights that the documentation lists.",
    "NotWritablePrimary": "It is a secondary: name all members, or the replica set.",
}
#: How a server names the command that a user may not run. What follows holds the command's values.
_REFUSED_COMMAND = re.compile(r"not authorized on \S+ to execute command \{ (\w+):")
_RESEND = object()

logger = logging.getLogger(__name__)

#: As long as a client waits at most to be let go; the loop it belongs to is ending.
CLOSE_SECONDS = 2


class MongoDBServer:
    """Sends commands to a collection, through one client per process and one per event loop.

    Opening a client does no I/O; a forked process opens its own.

    Args:
        options: As ``MULTISESSION_MONGODB``. What is in ``OPTIONS`` may stand beside it.

    Raises:
        ImproperlyConfigured: PyMongo does not take the options.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = options = flat(options)
        #: Name of the collection.
        self.collection: str = options.get("COLLECTION", DEFAULT_COLLECTION)
        self._sessions: Any = None
        self._lock = threading.Lock()
        self._async_sessions: ClientPerLoop[Any] = ClientPerLoop(
            lambda: self._open(pymongo.AsyncMongoClient),
            lambda sessions: _close(sessions.database.client),
        )
        # Taken by the first command that was answered, and kept: one attempt per process.
        self._index_turn = threading.Lock()
        _servers.add(self)
        require_uri(options["URI"])
        # A typo shows now and not in a request. Nothing is sent: no client connects by itself.
        database = self._open(pymongo.MongoClient).database
        database.client.close()
        self._place = f"{hosts_of(options['URI'])}/{database.name}"

    def send(self, command: Command, /) -> Any:
        """Send *command*, and the first time the indexes too.

        Returns:
            What PyMongo returns; None if a key is taken; an empty document if a document is none.

        Raises:
            StoreUnavailable: It was not answered, or refused.
        """
        reply = self.send_alone(command)
        # After the command: now the server is known to answer, so the attempt is not wasted.
        if self._index_turn.acquire(blocking=False):
            for fields in INDEXES:
                try:
                    self.send_alone(_creating_index(fields))
                except StoreUnavailable as failure:
                    _warn_of_index(fields, failure)
                    if failure.kind is not OutageKind.REFUSED:
                        break
        return reply

    async def asend(self, command: Command, /) -> Any:
        """See send()."""
        reply = await self._asend_alone(command)
        if self._index_turn.acquire(blocking=False):
            for fields in INDEXES:
                try:
                    await self._asend_alone(_creating_index(fields))
                except StoreUnavailable as failure:
                    _warn_of_index(fields, failure)
                    if failure.kind is not OutageKind.REFUSED:
                        break
                except BaseException:
                    # Cancelled with its request: the next one tries.
                    self._index_turn.release()
                    raise
        return reply

    def send_alone(self, command: Command) -> Any:
        """Send *command*; again if the connection was lost or the primary changed.

        Returns and raises as `send`.
        """
        sessions = self._opened()
        tries, began_at = 0, time.monotonic()
        while True:
            tries += 1
            try:
                if tries == 1:
                    return command(sessions)
                with time_left(sessions, began_at):
                    return command(sessions)
            except (PyMongoError, InvalidBSON) as error:
                reply = _instead(error, tries, self._place)
            if reply is not _RESEND:
                return _returned(reply)

    async def _asend_alone(self, command: Command) -> Any:
        sessions = await self._async_sessions.get()
        tries, began_at = 0, time.monotonic()
        while True:
            tries += 1
            try:
                if tries == 1:
                    return await command(sessions)
                with time_left(sessions, began_at):
                    return await command(sessions)
            except (PyMongoError, InvalidBSON) as error:
                reply = _instead(error, tries, self._place)
            if reply is not _RESEND:
                return _returned(reply)

    def close(self) -> None:
        """Close every client; the next command opens another."""
        with self._lock:
            sessions, self._sessions = self._sessions, None
        if sessions is not None:
            sessions.database.client.close()
        self._async_sessions.close()

    async def aclose(self) -> None:
        """Close the client of the running event loop."""
        await self._async_sessions.aclose()

    def _opened(self) -> Any:
        sessions = self._sessions
        if sessions is None:
            with self._lock:
                if self._sessions is None:
                    self._sessions = self._open(pymongo.MongoClient)
                sessions = self._sessions
        return sessions

    def _open(self, client_class: Callable[..., Any]) -> Any:
        options = self._options
        try:
            client = client_class(options["URI"], connect=False, **client_options(options))
            database = (
                client.get_database(options["DATABASE"])
                if "DATABASE" in options
                else client.get_default_database(DEFAULT_DATABASE)
            )
            return database.get_collection(self.collection, **_HANDLING)
        except (PyMongoError, TypeError, ValueError, OSError) as error:
            problem = complaint(options, error)
        raise ImproperlyConfigured(problem)

    def _forget(self) -> None:
        """Drop what a fork copied: the sockets belong to the parent, and no thread releases the lock."""
        self._sessions = None
        self._lock = threading.Lock()


def _instead(error: PyMongoError | InvalidBSON, tries: int, place: str) -> Any:
    """Return what an error stands for: a reply, `_RESEND`, or the exception to raise."""
    if isinstance(error, InvalidBSON):
        return {}
    duplicates = _duplicates_of(error)
    if duplicates:
        foreign = [fields for fields in duplicates if "_id" not in fields]
        return _refused_by_index(foreign[0], place) if foreign else None
    # After a timeout the time is spent, and the server may be at it still.
    is_lost = isinstance(error, AutoReconnect) and not error.timeout
    # A server that is no longer the primary refuses immediately. PyMongo asks it again after a bulk
    # write that was refused in this way.
    most_tries = 3 if isinstance(error, NotPrimaryError) else 2
    if tries < most_tries and (is_lost or _is_unconfirmed(error)):
        return _RESEND
    kind, name = _kind_of(error), _name_of(error)
    what = "did not answer"
    if kind is OutageKind.REFUSED:
        found = _REFUSED_COMMAND.search(str(error)) if name == "Unauthorized" else None
        what = f"refused '{found[1]}'" if found else "refused"
    advice = _ADVICE.get(name, "")
    return StoreUnavailable(f"MongoDB at {place} {what} ({name}). {advice}".rstrip(), kind)


def _name_of(error: PyMongoError) -> str:
    """Return what the server calls *error*, or PyMongo where no server was asked; no value of it."""
    names = (failure["codeName"] for failure in _failures_of(error) if "codeName" in failure)
    return next(names, type(error).__name__)


def _kind_of(error: PyMongoError) -> OutageKind:
    codes = _codes_of(error)
    if isinstance(error, WaitQueueTimeoutError) or codes & _OVERLOADED:
        return OutageKind.OVERLOADED
    if isinstance(error, ServerSelectionTimeoutError):
        return OutageKind.UNREACHABLE
    if error.timeout:
        return OutageKind.TIMED_OUT
    if isinstance(error, ConnectionFailure) or codes & _ENDS_AS_PRIMARY:
        return OutageKind.UNREACHABLE
    return OutageKind.REFUSED


def _codes_of(error: PyMongoError) -> set[int]:
    if isinstance(error, BulkWriteError):
        return {failure["code"] for failure in _failures_of(error) if "code" in failure}
    if isinstance(error, OperationFailure) and error.code is not None:
        return {error.code}
    return set()


def _failures_of(error: PyMongoError) -> list[Mapping[str, Any]]:
    """Return what the server said of each failure; nothing where no server was asked."""
    details = (error.details if isinstance(error, OperationFailure) else None) or {}
    if isinstance(error, BulkWriteError):
        return [*details.get("writeErrors", ()), *details.get("writeConcernErrors", ())]
    return [details] if details else []


def _duplicates_of(error: PyMongoError) -> list[list[str]]:
    """Return the fields of each unique index that refused a write, where nothing else did."""
    if isinstance(error, DuplicateKeyError):
        failures = [error.details or {}]
    elif isinstance(error, BulkWriteError) and error.details:
        failures = error.details.get("writeErrors", [])
    else:
        return []
    if any(failure.get("code", _DUPLICATE_KEY) != _DUPLICATE_KEY for failure in failures):
        return []
    return [list(failure.get("keyPattern", ["_id"])) for failure in failures]


def _refused_by_index(fields: list[str], place: str) -> StoreUnavailable:
    return StoreUnavailable(
        f"MongoDB at {place} refused a write: a unique index on {', '.join(fields)} isn't one of "
        "this package.",
        OutageKind.REFUSED,
    )


def _is_unconfirmed(error: Exception) -> bool:
    """Did the primary make a write, and step down before a majority had it?"""
    failures: list[Any] = []
    if isinstance(error, WriteConcernError):
        failures = [error.details]
    elif isinstance(error, BulkWriteError) and error.details and not error.details["writeErrors"]:
        failures = error.details["writeConcernErrors"]
    return any(failure and failure.get("code") in _ENDS_AS_PRIMARY for failure in failures)


def _returned(reply: Any) -> Any:
    # Raised here and not where PyMongo's error was caught: it is not even its context.
    if isinstance(reply, StoreUnavailable):
        raise reply
    return reply


def _creating_index(fields: tuple[str, ...]) -> Command:
    # One command each: one index that can't be created would keep the others from being created.
    return lambda sessions: sessions.create_index([*fields], **INDEXES[fields])


def _warn_of_index(fields: tuple[str, ...], failure: StoreUnavailable) -> None:
    logger.warning(
        "The index on %s of the session collection could not be created: %s "
        "'manage.py check --deploy' reports which are missing.",
        ", ".join(fields),
        failure,
    )


_servers: weakref.WeakSet[MongoDBServer] = weakref.WeakSet()


def _forget_all() -> None:
    for server in list(_servers):
        server._forget()  # noqa: SLF001  (this module's own)


os.register_at_fork(after_in_child=_forget_all)


async def _close(client: Any) -> None:
    # It says goodbye to the server (endSessions), which without a limit may wait without end.
    with time_limit(CLOSE_SECONDS):
        await client.close()
