"""The exception of code whose session was ended while it ran."""

from __future__ import annotations

from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.exceptions import SessionInterrupted


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
