"""What this package raises and Django doesn't know; `django_multisession.exceptions` has the whole tree."""

from __future__ import annotations

import enum


class OutageKind(enum.StrEnum):
    """Why a server that holds sessions gave no answer."""

    #: No connection, a lost one, or a server that is not ready yet.
    UNREACHABLE = "unreachable"
    #: It was asked, and its time was up.
    TIMED_OUT = "timed out"
    #: It answered that it won't: rights, a full memory, a replica.
    REFUSED = "refused"
    #: No connection was free, here or at the server.
    OVERLOADED = "overloaded"
    #: It holds a record in a format, or signed by a key, that this process doesn't know: a rolling
    #: deployment whose new part writes what its old part can't read.
    UNKNOWN_FORMAT = "unknown format"


class MultisessionError(Exception):
    """Root of what this package raises."""


class StoreUnavailable(MultisessionError):  # noqa: N818  (design.md names it; it is a state, like Django's SessionInterrupted)
    """The server that holds the sessions did not answer in time, or refused; nothing is known of the session.

    Attributes:
        kind: Why.
    """

    def __init__(self, message: str = "", kind: OutageKind = OutageKind.UNREACHABLE) -> None:
        super().__init__(message)
        self.kind = kind


class SessionConflict(MultisessionError):  # noqa: N818  (as above)
    """Other requests went on changing what this one tried to save or to end."""


class SessionTooLarge(MultisessionError):  # noqa: N818  (as above)
    """The session holds more bytes than ``MULTISESSION_MAX_SIZE`` allows; the message names its biggest entry."""


class EntryNotSerializable(MultisessionError, TypeError):  # noqa: N818  (as above)
    """The session holds a value that ``SESSION_SERIALIZER`` cannot take; the message names the entry."""


class BadPayload(MultisessionError, ValueError):  # noqa: N818  (as above)
    """Stored bytes that this site did not sign for this record, or that do not decode."""
