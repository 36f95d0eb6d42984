"""Decorators for views."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

from asgiref.sync import iscoroutinefunction

from django_multisession.store import DriverSessionStore

View = TypeVar("View", bound=Callable[..., Any])


def session_not_extended(view: View) -> View:
    """Keep requests to *view* from extending the session: polling, health checks.

    It sets ``request.session.counts_as_use``. Class-based views take it through
    ``method_decorator()``.
    """
    if iscoroutinefunction(view):

        @functools.wraps(view)
        async def wrapper(request: Any, *args: Any, **kwargs: Any) -> Any:
            _exempt(request)
            return await view(request, *args, **kwargs)
    else:

        @functools.wraps(view)
        def wrapper(request: Any, *args: Any, **kwargs: Any) -> Any:
            _exempt(request)
            return view(request, *args, **kwargs)

    return cast("View", wrapper)


def _exempt(request: Any) -> None:
    session = getattr(request, "session", None)
    # Another project's engine has nothing to exempt from, and some pages have no session.
    if isinstance(session, DriverSessionStore):
        session.counts_as_use = False
