"""The sessions of this thread or task: the request's own, and those that were given a new key.

Code that ends "every session but mine" after a change of password (django-allauth does) ends the old
key too, by a store object of its own. To end the key that a session is about to leave means to have
it leave, and not to end the session. Nor does the end of a key that the request's own session left
a moment ago reach what that session is now.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from contextvars import ContextVar
from typing import TYPE_CHECKING

from django.core.signals import request_finished

if TYPE_CHECKING:
    from django_multisession.session.state import Session

# Weak: it outlives no request.
_moving: ContextVar[tuple[weakref.ref[Session], ...]] = ContextVar("moving", default=())
_own: ContextVar[weakref.ref[Session] | None] = ContextVar("own", default=None)


def moving_sessions() -> Iterable[Session]:
    """Return the sessions of this thread or task that were given a new key."""
    known = (reference() for reference in _moving.get())
    return tuple(session for session in known if session is not None)


def note_moving(session: Session) -> None:
    """Note that *session* was given a new key."""
    alive = (known for known in _moving.get() if known() not in (None, session))
    _moving.set((weakref.ref(session), *alive))


def note_read(session: Session) -> None:
    """Note that *session* was read: the first one in a context is the request's own."""
    known = _own.get()
    if known is None or known() is None:
        _own.set(weakref.ref(session))


def own_session() -> Session | None:
    """Return the session that this thread or task read first."""
    known = _own.get()
    return None if known is None else known()


def _forget(**_kwargs: object) -> None:
    """Forget the sessions of a request that is over: its thread serves others, and runs other code."""
    _own.set(None)
    if _moving.get():
        _moving.set(())


request_finished.connect(_forget, dispatch_uid="django_multisession.session.context")
