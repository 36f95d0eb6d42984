"""Decorators for views."""

from __future__ import annotations

import functools
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

from asgiref.sync import iscoroutinefunction
from django.contrib.auth import get_user_model
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponseBase, JsonResponse
from django.shortcuts import resolve_url
from django.urls import NoReverseMatch
from django.utils import timezone
from django.utils.cache import add_never_cache_headers
from django.utils.http import escape_leading_slashes, url_has_allowed_host_and_scheme
from django.utils.translation import gettext, gettext_lazy

from django_multisession.core.merging import USER_ID_ENTRY
from django_multisession.core.records import EXPIRY_SLACK
from django_multisession.session.custom_expiry import aware
from django_multisession.settings import conf
from django_multisession.store import DriverSessionStore

#: What a client that asks for JSON is told, as the APIs of Django REST framework tell it.
NOT_LOGGED_IN = "not_authenticated"
ASK_AGAIN = "reauthentication_required"
ASK_AGAIN_DETAIL = gettext_lazy("Authenticate again to do this.")

FORBIDDEN = 403

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


def recently_authenticated(within: timedelta) -> Callable[[View], View]:
    """Run a view only for a user who logged in or was authenticated again less than *within* ago.

    An anonymous visitor goes to ``LOGIN_URL``, and any other one to
    ``MULTISESSION_REAUTHENTICATION_URL``, each with ``next``. A client that prefers JSON receives a 403
    with a code.

    Args:
        within: How long an authentication is good for.

    Raises:
        ValueError: *within* isn't a positive timedelta.
    """
    require_age(within)

    def decorate(view: View) -> View:
        if iscoroutinefunction(view):

            @functools.wraps(view)
            async def asks_async(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
                refused = await arefusal(request, within)
                return refused or await view(request, *args, **kwargs)

            return cast("View", asks_async)

        @functools.wraps(view)
        def asks(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            refused = refusal(request, within)
            return refused or view(request, *args, **kwargs)

        return cast("View", asks)

    return decorate


def require_age(within: object) -> None:
    """Raise `ValueError` if *within* isn't a positive timedelta: a typing error must open no view."""
    if not isinstance(within, timedelta) or within <= timedelta(0):
        raise ValueError(f"The age of an authentication is a positive timedelta (got {within!r}).")


def refusal(request: HttpRequest, within: timedelta) -> HttpResponseBase | None:
    """Return the response to a request whose user must authenticate; None: it may go on."""
    user = request.user
    if user.is_authenticated and is_recent(request, user, within):
        return None
    return _answer(request, is_logged_in=user.is_authenticated)


async def arefusal(request: HttpRequest, within: timedelta) -> HttpResponseBase | None:
    """See refusal()."""
    user = await request.auser()
    if user.is_authenticated and await _is_recent_async(request, user, within):
        return None
    return _answer(request, is_logged_in=user.is_authenticated)


def is_recent(request: Any, user: Any, within: timedelta) -> bool:
    """Did *user* log in to the session of *request*, or authenticate again, less than *within* ago?

    The time is the session's. It says nothing of a user whom a token or an impersonation names.
    """
    session = session_of(request)
    at = session.authenticated_at
    return _is_less_than(at, within) and _is_of(session.get(USER_ID_ENTRY), user)


async def _is_recent_async(request: HttpRequest, user: Any, within: timedelta) -> bool:
    """See is_recent()."""
    session = session_of(request)
    at = await session.aauthenticated_at()
    return _is_less_than(at, within) and _is_of(await session.aget(USER_ID_ENTRY), user)


def _is_less_than(at: datetime | None, within: timedelta) -> bool:
    # A clock that was ahead by more than others may be must not open the view until they catch up.
    return at is not None and -EXPIRY_SLACK <= aware(timezone.now()) - at < within


def is_own_session(request: HttpRequest) -> bool:
    """Does the session belong to the request's user, and not to one whom a token or code names?"""
    return _is_of(session_of(request).get(USER_ID_ENTRY), request.user)


def _is_of(user_id: Any, user: Any) -> bool:
    """Does a session with *user_id* belong to *user*? Compared as Django reads it."""
    key = get_user_model()._meta.pk  # noqa: SLF001  (as Django's login() does)
    return bool(key.to_python(user_id) == getattr(user, key.attname))


def session_of(request: Any) -> DriverSessionStore:
    """Return the session of *request*.

    Raises:
        ImproperlyConfigured: It's not one of this package's engines.
    """
    if isinstance(request.session, DriverSessionStore):
        return request.session
    raise ImproperlyConfigured(
        "SESSION_ENGINE must be one of django_multisession.engines to say when a user authenticated "
        f"(got {conf.given('SESSION_ENGINE')!r})."
    )


def _answer(request: HttpRequest, *, is_logged_in: bool) -> HttpResponseBase:
    """Return what asks a visitor to log in, or a user to authenticate again."""
    response: HttpResponseBase
    login_url = _reauthentication_url() if is_logged_in else resolve_url(conf.given("LOGIN_URL"))
    if prefers_json(request):
        code = ASK_AGAIN if is_logged_in else NOT_LOGGED_IN
        detail = ASK_AGAIN_DETAIL if is_logged_in else gettext("Log in to do this.")
        told = {"code": code, "detail": str(detail), "url": login_url}
        response = JsonResponse(told, status=FORBIDDEN)
    else:
        response = redirect_to_login(_way_back(request, login_url), login_url)
    add_never_cache_headers(response)
    return response


def prefers_json(request: HttpRequest) -> bool:
    """Does the client prefer JSON to a page? One that takes anything doesn't."""
    return request.get_preferred_type(["text/html", "application/json"]) == "application/json"


def _reauthentication_url() -> str:
    name = conf.config().reauthentication_url
    try:
        return resolve_url(name)
    except NoReverseMatch:
        raise ImproperlyConfigured(
            f"MULTISESSION_REAUTHENTICATION_URL names no view (got {name!r}). Include "
            "django_multisession.user_sessions.urls, or name the view with which your site "
            "authenticates a user again."
        ) from None


def _way_back(request: HttpRequest, login_url: str) -> str:
    """Return the address to come back to: after a form, the page that has it.

    Its answer can't be asked for again by GET, and what was sent is gone.
    """
    host, path = request.get_host(), request.get_full_path()
    page = request.headers.get("Referer", "")
    is_form = request.method not in {"GET", "HEAD"}
    if is_form and url_has_allowed_host_and_scheme(page, {host}, require_https=request.is_secure()):
        parts = urlsplit(page)
        # A path that began with two slashes would name a host.
        path = escape_leading_slashes(parts.path or "/") + (
            f"?{parts.query}" if parts.query else ""
        )
    scheme, netloc = urlsplit(login_url)[:2]
    is_here = (scheme or request.scheme, netloc or host) == (request.scheme, host)
    return path if is_here else request.build_absolute_uri(path)
