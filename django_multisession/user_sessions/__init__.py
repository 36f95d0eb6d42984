"""The sessions of a user: list them, and end one, the others or all.

Each function has an async counterpart. All work on every engine that finds the sessions of a user: redis, mongodb,
database, memory, tiered where its back is one of these, and memcached and cookie where another engine lists their sessions.

>>> for session in list_sessions(request.user, request):
...     print(session.last_used_at, "this one" if session.is_current else session.id)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import datetime
from importlib import import_module
from typing import Any

from django.contrib.auth import get_user_model
from django.http import HttpRequest

from django_multisession.core.records import NEVER, SERIES_LENGTH, to_datetime
from django_multisession.session import devices, index, limit, of_user
from django_multisession.session.index import Found, NotIndexed
from django_multisession.session.read import read_entries
from django_multisession.session.state import Session
from django_multisession.session.steps import Result, Steps
from django_multisession.settings import conf
from django_multisession.settings.conf import config
from django_multisession.store import DriverSessionStore

__all__ = [
    "UserSession",
    "aat_limit",
    "aend_all_sessions",
    "aend_other_sessions",
    "aend_session",
    "alist_sessions",
    "at_limit",
    "end_all_sessions",
    "end_other_sessions",
    "end_session",
    "list_sessions",
]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class UserSession:
    """One session of a user, as a page shows it. It holds no key: nothing in it opens the session.

    Attributes:
        id: Names the session, also after it got a new key. A login makes a new one. Not a secret.
        user_id: What Django put into the session: the user's primary key as text.
        began_at: The login.
        last_used_at: Last use, as exact as `MULTISESSION_TOUCH_INTERVAL`.
        ends_at: When the session ends if it isn't used again; None for never.
        is_current: Is it the session of the request that was given?
        is_remembered: Does its cookie outlive the browser?
        user_agent: What the login's client called itself, cut to 256 characters; empty if that wasn't
            recorded. It is the client's own text.
        device: The user agent for people, as "Firefox on Linux"; empty if it isn't known. The client's
            text too: an app may call itself anything.
        address: The login's address, or the network that it is in; empty if it wasn't recorded.
    """

    id: str
    user_id: str
    began_at: datetime
    last_used_at: datetime
    ends_at: datetime | None
    is_current: bool
    is_remembered: bool
    user_agent: str
    device: str
    address: str


def list_sessions(user: Any, request: HttpRequest | None = None) -> list[UserSession]:
    """Return the live sessions of *user*, the last used one first.

    Args:
        user: An instance of the user model.
        request: Whose session `UserSession.is_current` marks.

    Raises:
        ImproperlyConfigured: The engine can't find the sessions of a user.
        StoreUnavailable: The server did not answer.
    """
    return perform(request, lambda session: list_of(session, id_of(user)))


async def alist_sessions(user: Any, request: HttpRequest | None = None) -> list[UserSession]:
    """See list_sessions()."""
    return await _aperform(request, lambda session: list_of(session, id_of(user)))


def end_session(user: Any, session_id: str) -> bool:
    """End the session of *user* that has the id *session_id*, under whatever key it lies by now.

    Returns:
        False if *user* has no such live session, also if another user has it: answer 404.

    Raises:
        ImproperlyConfigured: The engine can't find the sessions of a user.
        StoreUnavailable: The server did not answer.
    """
    return perform(None, lambda session: end_of(session, id_of(user), session_id))


async def aend_session(user: Any, session_id: str) -> bool:
    """See end_session()."""
    return await _aperform(None, lambda session: end_of(session, id_of(user), session_id))


def end_other_sessions(request: HttpRequest) -> int:
    """End the sessions of the request's user but for the request's own, which gets a new key.

    The new key is stored with the response. Does nothing if no user is logged in.

    Returns:
        How many sessions were ended.

    Raises:
        ImproperlyConfigured: The engine can't find the sessions of a user.
        SessionConflict: Other sessions of the user to end went on appearing. Some may be left.
        StoreUnavailable: The server did not answer. Some sessions may have been ended.
    """
    return perform(request, of_user.end_others)


async def aend_other_sessions(request: HttpRequest) -> int:
    """See end_other_sessions()."""
    return await _aperform(request, of_user.end_others)


def end_all_sessions(user: Any) -> int:
    """End every session of *user*, that of the current request too, and logins that are under way.

    A login that begins later is none of them.

    Returns:
        How many sessions were ended.

    Raises:
        ImproperlyConfigured: The engine can't find the sessions of a user.
        SessionConflict: Other sessions of the user to end went on appearing. Some may be left.
        StoreUnavailable: The server did not answer. Some sessions may have been ended.
    """
    return perform(None, lambda session: of_user.end_all(session, id_of(user)))


async def aend_all_sessions(user: Any) -> int:
    """See end_all_sessions()."""
    return await _aperform(None, lambda session: of_user.end_all(session, id_of(user)))


def at_limit(user: Any, request: HttpRequest | None = None) -> bool:
    """Return whether a login of *user* would be denied: for login forms and APIs.

    False unless ``MULTISESSION_AT_LIMIT`` is ``"deny"``. A login that is stored decides for itself.

    Args:
        user: An instance of the user model.
        request: Where the user would log in. The session that it holds already isn't counted twice.

    Raises:
        ImproperlyConfigured: The engine can't find the sessions of a user.
        StoreUnavailable: The server did not answer.
    """
    if config().max_sessions is None:
        return False
    return perform(request, lambda session: limit.is_reached(session, id_of(user)))


async def aat_limit(user: Any, request: HttpRequest | None = None) -> bool:
    """See at_limit()."""
    if config().max_sessions is None:
        return False
    return await _aperform(request, lambda session: limit.is_reached(session, id_of(user)))


def perform(request: HttpRequest | None, make: Callable[[Session], Steps[Result]]) -> Result:
    """Take the steps that *make* makes of the session of *request*, or of one of no client."""
    store = _store_of(request)
    return store._run(make(store._recognized))  # noqa: SLF001  (no verb of a session, for all to call)


async def _aperform(
    request: HttpRequest | None, make: Callable[[Session], Steps[Result]]
) -> Result:
    """See perform()."""
    store = _store_of(request)
    return await store._arun(make(store._recognized))  # noqa: SLF001  (as above)


def list_of(session: Session, user_id: str) -> Steps[list[UserSession]]:
    """Return the live sessions of the user with *user_id*, who may be gone."""
    own = yield from own_series(session)
    found = yield from index.find(session, user_id)
    return [shown(each, user_id, is_current=each.record.series == own) for each in found]


def own_series(session: Session) -> Steps[bytes | None]:
    """Return the public id of *session*, as it is stored; None where it isn't."""
    if session.key is not None:
        yield from read_entries(session)
    return of_user.series(session)


def is_current(request: HttpRequest, session_id: str) -> bool:
    """Return whether *session_id* names the session of *request*; lists no other."""
    series = perform(request, own_series)
    return series is not None and series == series_of(session_id)


def series_of(session_id: str) -> bytes | None:
    """Return the series that *session_id* names; None if it isn't a public id."""
    try:
        series = bytes.fromhex(session_id)
    except (TypeError, ValueError):
        return None
    # Upper case and white space make a second name of the same session.
    return series if len(series) == SERIES_LENGTH and series.hex() == session_id else None


def shown(found: Found, user_id: str, *, is_current: bool) -> UserSession:
    """Return *found* as a page shows it."""
    record = found.record
    return UserSession(
        id=record.series.hex(),
        user_id=user_id,
        began_at=record.began_at,
        last_used_at=record.touched_at,
        ends_at=None if found.ends_ms >= NEVER else to_datetime(found.ends_ms),
        is_current=is_current,
        is_remembered=not found.is_browser_length,
        user_agent=found.user_agent or "",
        device=devices.name_of(found.user_agent or ""),
        address=found.address,
    )


def end_of(session: Session, user_id: str, session_id: str) -> Steps[bool]:
    """End the session *session_id* of the user with *user_id*; False if there isn't such a session."""
    wanted = series_of(session_id)
    if wanted is None:
        return False
    ended = yield from of_user.end(session, user_id, lambda record: record.series == wanted, most=1)
    return ended > 0


def _store_of(request: HttpRequest | None) -> DriverSessionStore:
    engine = conf.given("SESSION_ENGINE")
    store = import_module(engine).SessionStore() if request is None else request.session
    if not isinstance(store, DriverSessionStore):
        raise NotIndexed(
            "SESSION_ENGINE must be one of django_multisession.engines to find the sessions of a "
            f"user (got {engine!r})."
        )
    return store


def end_all_but(user_id: str, spared: Session | None) -> int:
    """End the sessions of *user_id* but for *spared*; for `user_changes`."""
    return perform(None, lambda session: of_user.end_all_but(session, user_id, spared))


def id_of(user: Any) -> str:
    """Return what Django puts into the sessions of *user*."""
    # Not the key of a child model, which is that of another user.
    return str(get_user_model()._meta.pk.value_to_string(user))  # noqa: SLF001  (as Django's login() does)
