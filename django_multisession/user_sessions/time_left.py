"""How much time a session has left: a question that isn't use of it, and the answer that is."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, JsonResponse
from django.middleware.csrf import get_token
from django.shortcuts import resolve_url
from django.utils import timezone
from django.utils.cache import patch_vary_headers
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.http import require_http_methods

from django_multisession.core.merging import USER_ID_ENTRY
from django_multisession.decorators import session_of
from django_multisession.exceptions import StoreUnavailable
from django_multisession.session.custom_expiry import aware
from django_multisession.settings import conf
from django_multisession.store import DriverSessionStore

SERVICE_UNAVAILABLE = 503
SECOND = timedelta(seconds=1)


class LeftAlone:
    """Stands in for the session of a request whose response neither saves it nor sets its cookie.

    Every session middleware takes a request without ``session.accessed`` for one without a session. The
    rest is the session's, for whatever else reads or writes it: nothing saves what is written.
    """

    def __init__(self, session: DriverSessionStore) -> None:
        self._session = session

    def __getattr__(self, name: str) -> Any:
        if name == "accessed":
            raise AttributeError(name)
        return getattr(self._session, name)

    def __getitem__(self, name: str) -> Any:
        return self._session[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self._session[name] = value

    def __delitem__(self, name: str) -> None:
        del self._session[name]

    def __contains__(self, name: object) -> bool:
        return name in self._session


@login_not_required
@require_http_methods(["GET", "POST"])
@never_cache
@csrf_protect
def time_left(request: HttpRequest) -> JsonResponse:
    """Answer a GET, which isn't use of the session, or a POST, which is.

    Both return ``logged_in``, ``idle`` and ``absolute`` (seconds, or None for never), ``login_url`` and,
    where the browser has the cookie for it, ``csrf_token``.
    """
    session = session_of(request)
    if request.method == "GET":
        session.counts_as_use = False
        request.session = LeftAlone(session)  # type: ignore[assignment]  # see there
    try:
        answer = seconds_left(session, request.user)
    except StoreUnavailable:
        return JsonResponse({"code": "unavailable"}, status=SERVICE_UNAVAILABLE)
    answer["login_url"] = resolve_url(conf.given("LOGIN_URL"))
    if "CSRF_COOKIE" in request.META:
        # A login in another tab has changed the one that the page has.
        answer["csrf_token"] = get_token(request)
    response = JsonResponse(answer)
    patch_vary_headers(response, ("Cookie",))
    return response


def seconds_left(session: DriverSessionStore, user: Any) -> dict[str, Any]:
    """Return how long *session* lives if it isn't used again.

    Args:
        session: The request's own.
        user: The request's: Django may refuse the one of the session.

    Raises:
        StoreUnavailable: The server did not answer: that is no end.
    """
    ends = session.deadlines()
    if session.is_unreachable:
        raise StoreUnavailable("The session could not be read.")
    is_logged_in = session.get(USER_ID_ENTRY) is not None and user.is_authenticated
    return {
        "logged_in": is_logged_in,
        "idle": _seconds(ends.idle_deadline_at) if is_logged_in else None,
        "absolute": _seconds(ends.absolute_deadline_at) if is_logged_in else None,
    }


def _seconds(end: datetime | None) -> int | None:
    return None if end is None else max(0, (end - aware(timezone.now())) // SECOND)
