"""Report what happened to sessions, by a signal and by a line in a log.

Logged where it is decided; the signal is sent when the verb is over (`store`), so that the steps in
between do nothing but decide, and a receiver sees the session as it is afterwards.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, NamedTuple

from django.dispatch import Signal

from django_multisession import signals
from django_multisession.core.locks import ForkSafeLock
from django_multisession.core.records import Record
from django_multisession.drivers.base import Ask, Server, security_logger
from django_multisession.drivers.log_lines import (
    ONCE,
    ONCE_A_MINUTE,
    SIXTY_A_MINUTE,
    TEN_A_MINUTE,
    Line,
)

logger = logging.getLogger("django_multisession")


#: The line of each kind of event, filled with the event's arguments.
LINES: Mapping[Signal, Line] = {
    signals.session_created: Line(logger, logging.DEBUG, "Session %(storage_key)s was created."),
    signals.session_adopted: Line(
        logger, logging.DEBUG, "Session %(storage_key)s was adopted from %(engine)s."
    ),
    signals.session_key_changed: Line(
        logger,
        logging.DEBUG,
        "Session %(old_storage_key)s got a new key (%(reason)s) and is %(storage_key)s now.",
    ),
    signals.session_expired: Line(
        logger, logging.DEBUG, "Session %(storage_key)s had expired (%(reason)s)."
    ),
    signals.session_ended: Line(
        logger, logging.DEBUG, "Session %(storage_key)s was ended (%(reason)s)."
    ),
    signals.invalid_session_key: Line(
        security_logger,
        logging.WARNING,
        "A session key that this site did not sign was refused.",
        SIXTY_A_MINUTE,
    ),
    signals.session_merged: Line(
        logger,
        logging.DEBUG,
        "Two requests' changes of session %(storage_key)s were merged "
        "(resolved: %(resolved_entries)s; lost: %(lost_entries)s).",
    ),
    signals.new_device: Line(
        logger,
        logging.INFO,
        "User %(user_id)s logged in with a new device: session %(storage_key)s.",
    ),
    signals.session_interrupted: Line(
        logger,
        logging.INFO,
        "Changes of session %(storage_key)s were not saved: it had been ended or moved.",
    ),
    signals.outage_began: Line(
        logger, logging.ERROR, "Sessions are unavailable: %(reason)s", TEN_A_MINUTE
    ),
    signals.outage_ended: Line(
        logger,
        logging.WARNING,
        "Sessions are available again, after %(duration)s.",
        TEN_A_MINUTE,
    ),
}


#: Each returning visitor sends such a cookie once after a switch from another engine.
OLD_COOKIE = Line(
    logger,
    logging.INFO,
    "A session cookie of another engine was refused, and its user logs in again. "
    "Further ones are logged once a minute. See docs/howto/move-from-django.",
    ONCE_A_MINUTE,
)
#: The engine whose sessions are adopted gave no answer.
SOURCE_FAILURE = Line(
    logger,
    logging.ERROR,
    "Sessions of %s can't be adopted: %s. Their clients are anonymous until it answers.",
    ONCE_A_MINUTE,
)
#: An adopted session lost entries.
DROPPED = Line(
    logger,
    logging.WARNING,
    "Session %s was adopted without its entries %s: SESSION_SERIALIZER can't take them.",
    TEN_A_MINUTE,
)
#: At each read, where a server only reads.
UNNOTED_USE = Line(
    logger,
    logging.WARNING,
    "The use of a session could not be noted: the server did not answer.",
    ONCE_A_MINUTE,
)
#: The server did not answer after a login was stored.
LIMIT_NOT_KEPT = Line(
    logger,
    logging.ERROR,
    "MULTISESSION_MAX_SESSIONS was not kept at the login of session %s: %s "
    "The user's next login keeps it.",
    TEN_A_MINUTE,
)
#: Of a ``set_expiry()`` that asks for more than sessions may live.
CUT_SHORT = Line(
    logger,
    logging.WARNING,
    "set_expiry() asked for %d seconds, and the absolute timeout ends sessions after %d. "
    "Set or raise MULTISESSION_REMEMBERED_ABSOLUTE_TIMEOUT for longer ones. This is logged once. "
    "See docs/howto/session-lifetime.",
    ONCE,
)


class Event(NamedTuple):
    """Something that happened to a session, or to the server."""

    signal: Signal
    arguments: Mapping[str, Any]


class Login(NamedTuple):
    """A login that was stored: its device is compared when the verb is over.

    Attributes:
        storage_key: Where it was stored.
        user_id: Whose it is.
        record: What was stored there.
        user_agent: What it recorded.
        address: Likewise; empty if it recorded none.
    """

    storage_key: str
    user_id: str
    record: Record
    user_agent: str
    address: str


def log(signal: Signal, arguments: Mapping[str, Any]) -> None:
    """Write the line that an event gets."""
    line = LINES[signal]
    if signal is signals.invalid_session_key and arguments["is_of_another_engine"]:
        line = OLD_COOKIE
    if line.logger.isEnabledFor(line.level):
        # logging takes an empty mapping for a positional argument.
        line.write(*([arguments] if arguments else []))


#: A server may refuse one kind of verb and answer the others: a replica reads, one whose memory is
#: full reads and deletes. Its outage ends when it answers the kind again with which that began. Any
#: other verb is a kind of its own.
_KINDS = {
    **dict.fromkeys(("get", "count_expired", "of_user", "records"), "read"),
    **dict.fromkeys(("delete", "delete_many", "retire", "withdraw", "purge_expired"), "end"),
    **dict.fromkeys(("add", "replace", "move", "touch"), "store"),
    # The answers of another engine say nothing of this one's server.
    **dict.fromkeys(("load_foreign", "end_foreign"), "foreign"),
}


class OutageWatch:
    """Reports the first answer that was missing, and the first that came again. Thread-safe.

    An engine may ask several servers. Each has outages of its own.

    Attributes:
        is_on: Did a server last not answer? An attribute, since every answer asks it.
    """

    def __init__(self) -> None:
        self._lock = ForkSafeLock()
        self._began: dict[Server, tuple[str, int]] = {}
        self.is_on = False

    def note_failure(self, ask: Ask, now: int) -> bool:
        """Note that a server did not answer *ask*; is this where an outage begins?"""
        with self._lock:
            is_first = ask.server not in self._began
            if is_first:
                self._began[ask.server] = _kind_of(ask), now
                self.is_on = True
            return is_first

    def note_answer(self, ask: Ask, now: Callable[[], int]) -> timedelta | None:
        """Note that a server answered; return how long it had not, if this is where that ends."""
        began_at = self._take_beginning(ask)
        return None if began_at is None else timedelta(milliseconds=now() - began_at)

    def _take_beginning(self, ask: Ask) -> int | None:
        # Of several concurrent threads, one reports the end of the outage.
        with self._lock:
            kind, began_at = self._began.get(ask.server, ("", 0))
            if kind != _kind_of(ask):
                return None
            del self._began[ask.server]
            self.is_on = bool(self._began)
        return began_at


def _kind_of(ask: Ask) -> str:
    return _KINDS.get(ask.verb, ask.verb)
