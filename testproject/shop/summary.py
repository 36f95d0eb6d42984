"""What the page tells of a session. Never its whole key: who has that, has the session."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import AnonymousUser

from shop.environment import ABSOLUTE_TIMEOUT, IDLE_TIMEOUT

SHOWN_CHARACTERS = 6
LONGEST_VALUE = 120

MEANINGS = {
    "cart": "what you put into the cart: product → count",
    "key_at_login": "the beginnings of the key before and after the last login",
    "_auth_user_id": "Django: who is logged in",
    "_auth_user_backend": "Django: how they logged in",
    "_auth_user_hash": "Django: ends the session when the password changes",
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """What a request finds.

    Attributes:
        session_key: The session's key, or None if there is no session.
        entries: What it holds.
        age_left: Seconds until it ends if nobody uses it after this request.
        absolute_deadline_at: When it ends whatever happens; None for never, and if it is not stored.
        user: Who is logged in.
    """

    session_key: str | None = dataclasses.field(repr=False)
    entries: Mapping[str, Any]
    age_left: int
    absolute_deadline_at: datetime | None
    user: AbstractBaseUser | AnonymousUser


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry of the session, for the table."""

    name: str
    value: str
    meaning: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Countdown:
    """A deadline.

    Attributes:
        seconds: Left from now.
        out_of: How many there were at the beginning.
    """

    seconds: int
    out_of: int

    @property
    def text(self) -> str:
        """Return the time left as ``9:58``; the page's script goes on from there."""
        return f"{self.seconds // 60}:{self.seconds % 60:02}"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What the page tells of a session.

    Attributes:
        key: The key's first characters, or None if there is no session.
        entries: What it holds.
        idle: Until it ends if nobody uses it.
        absolute: Until it ends whatever happens.
    """

    key: str | None
    entries: list[Entry]
    idle: Countdown | None
    absolute: Countdown | None


def beginning(session_key: str | None) -> str | None:
    """Return the first characters of *session_key* and an ellipsis."""
    return f"{session_key[:SHOWN_CHARACTERS]}…" if session_key else None


def summarize(visit: Visit, now: datetime) -> Summary:
    """Tell what there is to tell of the session that *visit* found at *now*."""
    absolute = None
    if visit.absolute_deadline_at is not None:
        # Rounded up: "0:00" is shown when it is over and not before.
        seconds = math.ceil((visit.absolute_deadline_at - now).total_seconds())
        absolute = _countdown(seconds, ABSOLUTE_TIMEOUT)
    return Summary(
        key=beginning(visit.session_key),
        entries=[
            Entry(name=name, value=_shown(name, value), meaning=MEANINGS.get(name, ""))
            for name, value in visit.entries.items()
        ],
        idle=_countdown(visit.age_left, IDLE_TIMEOUT) if absolute else None,
        absolute=absolute,
    )


def _countdown(seconds: int, timeout: timedelta) -> Countdown:
    out_of = int(timeout.total_seconds())
    return Countdown(seconds=min(max(seconds, 0), out_of), out_of=out_of)


def _shown(name: str, value: Any) -> str:
    if name == "_auth_user_hash":
        return beginning(str(value)) or ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…"
