"""What a page of the admin is asked for: whose sessions, in which state, from where on."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any, NamedTuple, Self

from django.core import signing
from django.utils.http import urlencode
from django.utils.translation import gettext_lazy as _

from django_multisession.user_sessions import UserSession

_SALT = "django_multisession.session_admin.cursor"


class State(enum.Enum):
    """Which of the live sessions are shown."""

    ALL = ""
    REMEMBERED = "remembered"
    SHORT = "short"
    CURRENT = "current"

    @property
    def label(self) -> Any:
        """What people read."""
        return {
            State.ALL: _("All"),
            State.REMEMBERED: _("Remembered"),
            State.SHORT: _("Until the browser closes"),
            State.CURRENT: _("The one you use now"),
        }[self]

    def has(self, session: UserSession) -> bool:
        """Is *session* in this state?"""
        match self:
            case State.REMEMBERED:
                return session.is_remembered
            case State.SHORT:
                return not session.is_remembered
            case State.CURRENT:
                return session.is_current
        return True


class Selection(NamedTuple):
    """What the address of a page says.

    Attributes:
        user: A user's name or id; empty for all users.
        state: Which of the sessions.
        cursor: Where the page begins in the store. It was signed: a driver is given none of a stranger's.
        number: Which page of one user's sessions, from 1 on.
        user_id: A user's id, in the links of pages: a name that is typed may be another user's id.
    """

    user: str = ""
    state: State = State.ALL
    cursor: str = ""
    number: int = 1
    user_id: str = ""

    @classmethod
    def read(cls, given: Mapping[str, str]) -> Self:
        """Return what *given* asks for. What can't be read counts as left out."""
        try:
            state = State(given.get("state", ""))
        except ValueError:
            state = State.ALL
        try:
            cursor = signing.loads(given.get("from", ""), salt=_SALT)
        except signing.BadSignature:
            cursor = ""
        number = given.get("p", "")
        is_number = number.isascii() and number.isdigit() and len(number) < 6  # noqa: PLR2004  (no page is farther)
        return cls(
            given.get("user", "").strip(),
            state,
            cursor,
            max(1, int(number)) if is_number else 1,
            given.get("user_id", ""),
        )

    @property
    def first(self) -> Self:
        """The first page of the same sessions."""
        return self._replace(cursor="", number=1)

    @property
    def address(self) -> str:
        """The query that asks for it."""
        asked = {
            "user": self.user,
            "user_id": self.user_id,
            "state": self.state.value,
            "from": signing.dumps(self.cursor, salt=_SALT) if self.cursor else "",
            "p": str(self.number) if self.number > 1 else "",
        }
        return "?" + urlencode({name: value for name, value in asked.items() if value})
