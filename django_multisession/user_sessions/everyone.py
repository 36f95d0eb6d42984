"""The sessions of all users, for people who look after a site: by page, and by a user's id.

A user may be gone from the database and have sessions.
"""

from __future__ import annotations

from typing import NamedTuple

from django.http import HttpRequest

from django_multisession import user_sessions as of_one
from django_multisession.session import index
from django_multisession.session.state import Session
from django_multisession.session.steps import Steps
from django_multisession.user_sessions import UserSession

#: Records that are read for one page at most, if few of them are wanted.
MOST_READ = 1000


class Page(NamedTuple):
    """A part of the sessions of all users.

    Attributes:
        sessions: In the order of the store.
        cursor: Where the next page begins; None behind the last one.
    """

    sessions: list[UserSession]
    cursor: str | None


def list_page(request: HttpRequest, cursor: str, size: int) -> Page:
    """Return about *size* live sessions from *cursor* on, which is empty at first.

    A session that is there from the first page to the last is in one of them, or in several.

    Raises:
        ImproperlyConfigured: The engine can't list what it holds.
        StoreUnavailable: The server did not answer.
    """
    return of_one.perform(request, lambda session: _page(session, cursor, size))


def list_of(request: HttpRequest, user_id: str) -> list[UserSession]:
    """Do as `list_sessions` for the user with *user_id*, who may be gone."""
    return of_one.perform(request, lambda session: of_one.list_of(session, user_id))


def end(user_id: str, session_id: str) -> bool:
    """Do as `end_session` for the user with *user_id*, who may be gone."""
    return of_one.perform(None, lambda session: of_one.end_of(session, user_id, session_id))


def end_all_of(user_id: str) -> int:
    """Do as `end_all_sessions` for the user with *user_id*, who may be gone."""
    return of_one.end_all_but(user_id, None)


def _page(session: Session, cursor: str, size: int) -> Steps[Page]:
    own = yield from of_one.own_series(session)
    found: dict[str, UserSession] = {}
    following: str | None = cursor
    read = 0
    while following is not None and len(found) < size and read < MOST_READ:
        records, following = yield from index.everyone(session, following, size)
        read += size
        for each in records:
            user_id = each.record.user_id
            if user_id is not None:
                shown = of_one.shown(each, user_id, is_current=each.record.series == own)
                found[shown.id] = shown
    return Page(list(found.values()), following)
