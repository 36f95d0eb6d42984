"""Report what happened to sessions, by a signal and by a line in a log.

Logged where it is decided; the signal is sent when the verb is over (`store`), so that the steps in
between do nothing but decide, and a receiver sees the session as it is afterwards.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, NamedTuple

from django.dispatch import Signal

from django_multisession import signals
from django_multisession.core.locks import ForkSafeLock
from django_multisession.drivers.base import security_logger

logger = logging.getLogger("django_multisession")


class Limit(NamedTuple):
    """How many lines of a kind are written in so many seconds, by each process."""

    lines: int
    seconds: float


ONCE = Limit(1, math.inf)
ONCE_A_MINUTE = Limit(1, 60)
#: An end follows each beginning of an outage, as often as a server hesitates.
TEN_A_MINUTE = Limit(10, 60)
#: Anyone can send forged keys, and a line says no more than that one came.
SIXTY_A_MINUTE = Limit(60, 60)


class LineCounter:
    """Counts what was written of each kind of line. Thread-safe."""

    def __init__(self) -> None:
        self._lock = ForkSafeLock()
        self._windows: dict[str, tuple[float, int]] = {}

    def admits(self, line: str, limit: Limit, now: float) -> bool:
        """May *line* be written at *now*, by a clock that is never set?"""
        with self._lock:
            since, count = self._windows.get(line, (now, 0))
            if now - since >= limit.seconds:
                since, count = now, 0
            self._windows[line] = since, count + 1
            return count < limit.lines


_counter = LineCounter()


def _is_due(line: str, limit: Limit) -> bool:
    return _counter.admits(line, limit, time.monotonic())


@dataclasses.dataclass(frozen=True, slots=True)
class Telling:
    """How a kind of event is reported; *line* is filled with the event's arguments."""

    logger: logging.Logger
    level: int
    line: str
    limit: Limit | None = None


TELLINGS: Mapping[Signal, Telling] = {
    signals.session_created: Telling(logger, logging.DEBUG, "Session %(storage_key)s was created."),
    signals.session_adopted: Telling(
        logger, logging.DEBUG, "Session %(storage_key)s was adopted from %(engine)s."
    ),
    signals.session_key_changed: Telling(
        logger,
        logging.DEBUG,
        "Session %(old_storage_key)s got a new key (%(reason)s) and is %(storage_key)s now.",
    ),
    signals.session_expired: Telling(
        logger, logging.DEBUG, "Session %(storage_key)s had expired (%(reason)s)."
    ),
    signals.session_ended: Telling(
        logger, logging.DEBUG, "Session %(storage_key)s was ended (%(reason)s)."
    ),
    signals.invalid_session_key: Telling(
        security_logger,
        logging.WARNING,
        "A session key that this site did not sign was refused.",
        SIXTY_A_MINUTE,
    ),
    signals.session_merged: Telling(
        logger,
        logging.DEBUG,
        "Two requests' changes of session %(storage_key)s were merged "
        "(resolved: %(resolved_entries)s; lost: %(lost_entries)s).",
    ),
    signals.session_interrupted: Telling(
        logger,
        logging.INFO,
        "Changes of session %(storage_key)s were not saved: it had been ended or moved.",
    ),
    signals.outage_began: Telling(
        logger, logging.ERROR, "Sessions are unavailable: %(reason)s", TEN_A_MINUTE
    ),
    signals.outage_ended: Telling(
        logger,
        logging.WARNING,
        "Sessions are available again, after %(duration)s.",
        TEN_A_MINUTE,
    ),
}


#: Each returning visitor sends such a cookie once after a switch from another engine.
OLD_COOKIE = Telling(
    logger,
    logging.INFO,
    "A session cookie of another engine was refused, and its user logs in again. "
    "Further ones are logged once a minute. See docs/howto/move-from-django.",
    ONCE_A_MINUTE,
)


class Event(NamedTuple):
    """Something that happened to a session, or to the server."""

    signal: Signal
    arguments: Mapping[str, Any]


def log(signal: Signal, arguments: Mapping[str, Any]) -> None:
    """Write the line that an event gets."""
    telling = TELLINGS[signal]
    if signal is signals.invalid_session_key and arguments["is_of_another_engine"]:
        telling = OLD_COOKIE
    if telling.logger.isEnabledFor(telling.level):
        if telling.limit is not None and not _is_due(telling.line, telling.limit):
            return
        # logging takes an empty mapping for a positional argument.
        telling.logger.log(telling.level, telling.line, *([arguments] if arguments else []))


def log_unnoted_use() -> None:
    """Log that a use could not be noted: at each read, where a server only reads."""
    if _is_due("use", ONCE_A_MINUTE):
        logger.warning("The use of a session could not be noted: the server did not answer.")


def log_source_failure(engine: str, error: str) -> None:
    """Log that the engine whose sessions are adopted gave no answer."""
    if _is_due("source", ONCE_A_MINUTE):
        logger.error(
            "Sessions of %s can't be adopted: %s. Their clients are anonymous until it answers.",
            engine,
            error,
        )


def log_dropped(storage_key: str, names: tuple[str, ...]) -> None:
    """Log that an adopted session lost entries."""
    if _is_due("dropped", SIXTY_A_MINUTE):
        logger.warning(
            "Session %s was adopted without its entries %s: SESSION_SERIALIZER can't take them.",
            storage_key,
            ", ".join(map(repr, names)),
        )


def log_cut_short(asked_ms: int, longest_ms: int) -> None:
    """Log once that ``set_expiry()`` asks for more than sessions may live."""
    if _is_due("expiry", ONCE):
        logger.warning(
            "set_expiry() asked for %d seconds, and the absolute timeout ends sessions after %d. "
            "Set or raise MULTISESSION_REMEMBERED_ABSOLUTE_TIMEOUT for longer ones. This is logged once. "
            "See docs/howto/session-lifetime.",
            asked_ms // 1000,
            longest_ms // 1000,
        )


#: A server may refuse one kind of verb and answer the others: a replica reads, one whose memory is
#: full reads and deletes. Its outage ends when it answers the kind again with which that began.
_KINDS = {
    **dict.fromkeys(("get", "count_expired"), "read"),
    **dict.fromkeys(("delete", "retire", "withdraw", "purge_expired"), "end"),
    **dict.fromkeys(("add", "replace", "move", "touch"), "store"),
    # The answers of another engine say nothing of this one's server.
    **dict.fromkeys(("load_foreign", "end_foreign"), "foreign"),
}


class OutageWatch:
    """Tells the first answer that was missing, and the first that came again. Thread-safe.

    Attributes:
        is_on: Did the server last not answer? An attribute, since every answer asks it.
    """

    def __init__(self) -> None:
        self._lock = ForkSafeLock()
        self._began: tuple[str, int] | None = None
        self.is_on = False

    def note_failure(self, verb: str, now: int) -> bool:
        """Note that the server did not answer *verb*; is this where an outage begins?"""
        with self._lock:
            is_first = self._began is None
            if is_first:
                self._began, self.is_on = (_KINDS.get(verb, "store"), now), True
            return is_first

    def note_answer(self, verb: str, now: Callable[[], int]) -> timedelta | None:
        """Note that the server answered; return how long it had not, if this is where that ends."""
        began_at = self._take_beginning(_KINDS.get(verb, "store"))
        return None if began_at is None else timedelta(milliseconds=now() - began_at)

    def _take_beginning(self, kind: str) -> int | None:
        # Of several concurrent threads, one reports the end of the outage.
        with self._lock:
            if self._began is None or self._began[0] != kind:
                return None
            began_at, self._began, self.is_on = self._began[1], None, False
        return began_at
