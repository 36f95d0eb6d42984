"""What this package raises.

::

    MultisessionError
    ├── StoreUnavailable     the server did not answer, or refused
    ├── SessionConflict      a save met other saves for as long as it was tried
    ├── SessionTooLarge      more than MULTISESSION_MAX_SIZE bytes
    ├── EntryNotSerializable also a TypeError
    ├── SessionLimitReached  also Django's PermissionDenied: a login has no room
    └── BadPayload           also a ValueError; never leaves the store

    SessionEnded             Django's UpdateError and SessionInterrupted in one

Django's own ``CreateError`` stays Django's.

No message holds a session key, a cookie or a payload (CVE-2023-20866).
"""

from __future__ import annotations

from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.exceptions import SessionInterrupted
from django.core.exceptions import PermissionDenied
from django.utils.translation import gettext as _

from django_multisession.core.errors import (
    BadPayload,
    EntryNotSerializable,
    MultisessionError,
    OutageKind,
    SessionConflict,
    SessionTooLarge,
    StoreUnavailable,
)

__all__ = [
    "BadPayload",
    "EntryNotSerializable",
    "MultisessionError",
    "OutageKind",
    "SessionConflict",
    "SessionEnded",
    "SessionLimitReached",
    "SessionTooLarge",
    "StoreUnavailable",
]


class SessionEnded(UpdateError, SessionInterrupted):  # noqa: N818  (named as its Django parents are)
    """The session was ended or moved elsewhere before this request could save it.

    Django's middleware turns an `UpdateError` into a 400; raised in a view it is a 400 by itself,
    because `SessionInterrupted` is a `BadRequest`.
    """

    def __init__(self) -> None:
        super().__init__(
            "The request's session was ended before the request completed. "
            "The user may have logged out or in elsewhere, for example."
        )


class SessionLimitReached(MultisessionError, PermissionDenied):  # noqa: N818  (named as its parents are)
    """A login has no room: the user has as many sessions as ``MULTISESSION_MAX_SESSIONS`` allows.

    Django answers 403, in a view and in the middleware. The session is what it was before the login.
    """

    def __init__(self) -> None:
        super().__init__(
            _("You are logged in on as many devices as are allowed. Log out on one of them first.")
        )
