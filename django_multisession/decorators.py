"""Decorators for views."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest

View = TypeVar("View", bound=Callable[..., Any])


def touch_exempt(view: View) -> View:
    """Mark *view* as one that isn't use of the session: it doesn't keep the session alive.

    For pages that poll and for health checks. It sets ``counts_as_use`` of the request's session to
    False, and saves what the view changes as usual.

    Args:
        view: A sync or an async function. For a class, use Django's ``method_decorator``.
    """
    if iscoroutinefunction(view):

        @functools.wraps(view)
        async def exempt_async(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            _exempt(request)
            return await view(request, *args, **kwargs)

        return cast("View", exempt_async)

    @functools.wraps(view)
    def exempt(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        _exempt(request)
        return view(request, *args, **kwargs)

    return cast("View", exempt)


def _exempt(request: HttpRequest) -> None:
    session = getattr(request, "session", None)
    # Sessions of Django's engines take the attribute, and don't ask for it.
    if session is not None:
        session.counts_as_use = False
