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

_moving: ContextVar[weakref.WeakSet[Session] | None] = ContextVar("moving", default=None)
_own: ContextVar[weakref.ref[Session] | None] = ContextVar("own", default=None)


def moving_sessions() -> Iterable[Session]:
    """Return the sessions of this thread or task that were given a new key."""
    return tuple(_moving.get() or ())


def note_moving(session: Session) -> None:
    """Note that *session* was given a new key."""
    # A new set: tasks share the one that their parent had. Weak: it outlives no request.
    _moving.set(weakref.WeakSet((session, *(_moving.get() or ()))))


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
    if _moving.get() is not None:
        _moving.set(None)


request_finished.connect(_forget, dispatch_uid="django_multisession.session.context")
