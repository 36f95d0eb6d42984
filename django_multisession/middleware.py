"""Django's session middleware, native in both worlds. Optional: the engines work under Django's own.

docs/reference/middleware.md lists what it does beyond Django's.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from asgiref.sync import sync_to_async
from django.contrib.sessions.backends.base import SessionBase
from django.contrib.sessions.middleware import SessionMiddleware as DjangoSessionMiddleware
from django.core.handlers.wsgi import WSGIRequest, get_str_from_wsgi
from django.db import connections
from django.http import HttpRequest, HttpResponse, HttpResponseBase, parse_cookie
from django.template import TemplateDoesNotExist, loader
from django.utils.cache import patch_cache_control, patch_vary_headers
from django.utils.http import http_date

from django_multisession import way_back
from django_multisession.core.lifetime import LONGEST_TIMEOUT
from django_multisession.core.secret import SecretText
from django_multisession.exceptions import SessionLimitReached, StoreUnavailable
from django_multisession.session.respond import CookieAnswer
from django_multisession.session.turns import running_loop
from django_multisession.settings import conf
from django_multisession.store import DriverSessionStore

logger = logging.getLogger("django_multisession")

#: Seconds after which a client that met an outage may ask again (RFC 9110, section 10.2.3).
RETRY_AFTER = 5
#: A client that polls says so: its request isn't use. It can shorten its own session only.
POLL_HEADER = "HTTP_X_SESSION_POLL"
OUTAGE_TEMPLATE = "503.html"

SERVER_ERROR = 500
SERVICE_UNAVAILABLE = 503

#: Seconds. No browser keeps a cookie for longer (RFC 6265bis: 400 days).
LONGEST_COOKIE = int(LONGEST_TIMEOUT.total_seconds())
LONG_AGO = "Thu, 01 Jan 1970 00:00:00 GMT"


class SessionMiddleware(DjangoSessionMiddleware):
    """Gives each request its session, and each response what becomes of the cookie.

    It takes the place of `django.contrib.sessions.middleware.SessionMiddleware` in ``MIDDLEWARE``.
    Sessions of engines that are not ours are left to Django's code.
    """

    def __init__(self, get_response: Any) -> None:
        super().__init__(get_response)
        self._is_ours = issubclass(self.SessionStore, DriverSessionStore)

    def process_request(self, request: HttpRequest) -> None:
        """Give the request its session, unread."""
        if not self._is_ours:
            super().process_request(request)
            return
        name = conf.kept.get("SESSION_COOKIE_NAME") or conf.live.SESSION_COOKIE_NAME
        if name not in request.COOKIES:
            request.session = self.SessionStore()
            return
        sent = session_keys(request, name)
        session: Any = self.SessionStore(sent[0] if sent else None)
        if len(sent) > 1:
            session.offer_keys(sent[1:])
        if POLL_HEADER in request.META:
            # Known before any other middleware reads the session.
            session.counts_as_use = False
        request.session = session

    def __call__(self, request: HttpRequest) -> Any:
        """Do what `MiddlewareMixin` does; an outage that an error page meets is a 503 too."""
        if self.async_mode:
            return self.__acall__(request)
        # A subclass may answer by itself.
        response: Any = self.process_request(request)  # type: ignore[func-returns-value]  # as above
        if not self._is_ours and (key := self._key_to_bring(request)):
            self._give(request, way_back.bring(self.SessionStore, key))
        try:
            response = response or self.get_response(request)
        except StoreUnavailable:
            # Django's answer to an error, the site's handler500, asked for the session.
            response = unavailable()
        return self.process_response(request, response)

    async def __acall__(self, request: HttpRequest) -> HttpResponseBase:
        """See __call__(); without the threads of `MiddlewareMixin`."""
        response: Any = self.process_request(request)  # type: ignore[func-returns-value]  # as above
        if not self._is_ours and (key := self._key_to_bring(request)):
            self._give(request, await way_back.abring(self.SessionStore, key))
        try:
            response = response or await self.get_response(request)  # type: ignore[misc]  # async here
        except StoreUnavailable:
            response = unavailable()
        return await self.aprocess_response(request, response)

    def process_response(  # type: ignore[override]  # streaming responses pass here too
        self, request: HttpRequest, response: HttpResponseBase
    ) -> HttpResponseBase:
        """Save what the request changed, and set, remove or leave the cookie.

        Raises:
            SessionEnded: The request changed a session that was ended; Django answers 400.
        """
        session = getattr(request, "session", None)
        if not isinstance(session, DriverSessionStore):
            return self._respond_foreign(request, response)
        was_accessed = session.accessed
        may_save = response.status_code < SERVER_ERROR
        try:
            if running_loop() is None:
                answer = session.respond(may_save=may_save)
            else:
                answer = _off_the_loop(session, may_save=may_save)
        except StoreUnavailable:
            discard(response)
            return unavailable()
        except BaseException as error:
            # Django answers by itself, or the client has disconnected.
            refuse(request, response, error)
            raise
        return finished(request, session, response, answer, was_accessed=was_accessed)

    async def aprocess_response(
        self, request: HttpRequest, response: HttpResponseBase
    ) -> HttpResponseBase:
        """See process_response()."""
        session = getattr(request, "session", None)
        if not isinstance(session, DriverSessionStore):
            return await sync_to_async(self._respond_foreign)(request, response)
        was_accessed = session.accessed
        try:
            answer = await session.arespond(may_save=response.status_code < SERVER_ERROR)
        except StoreUnavailable:
            discard(response)
            return unavailable()
        except BaseException as error:
            # Django answers by itself, or the client has disconnected.
            refuse(request, response, error)
            raise
        return finished(request, session, response, answer, was_accessed=was_accessed)

    def _key_to_bring(self, request: HttpRequest) -> SecretText | None:
        """Return the key with which a session of this package's engine may go back to another's."""
        if not way_back.is_due():
            return None
        return SecretText(request.COOKIES.get(conf.live.SESSION_COOKIE_NAME, "")) or None

    def _give(self, request: HttpRequest, brought: SessionBase | None) -> None:
        # Since Django 6.1 an empty session is false.
        if brought is not None:
            request.session = brought

    def _respond_foreign(
        self, request: HttpRequest, response: HttpResponseBase
    ) -> HttpResponseBase:
        """Respond by Django's code, and with the cookie of a session that came back."""
        session, name = getattr(request, "session", None), conf.live.SESSION_COOKIE_NAME
        if way_back.is_change_of_unknown(session) and response.status_code < SERVER_ERROR:
            # As in any outage: its cookie would replace that of a session that may be live.
            discard(response)
            with contextlib.suppress(Exception):
                session.delete()  # type: ignore[union-attr]  # what the view itself saved
            return unavailable()
        response = super().process_response(request, response)  # type: ignore[arg-type]  # as above
        if way_back.keeps_cookie(session) and _is_removed(response, name):
            del response.cookies[name]
        is_due = response.status_code < SERVER_ERROR and name not in response.cookies
        if is_due and isinstance(session, SessionBase) and way_back.needs_cookie(session):
            # Not by a save: that of a page which only reads would take back what another one wrote.
            is_short = session.get_expire_at_browser_close()
            age = None if is_short else max(0, session.get_expiry_age())
            set_cookie(response, session.session_key or "", age)
            patch_vary_headers(response, ("Cookie",))
            patch_cache_control(response, private=True, no_store=True)
        return response

    def process_exception(
        self,
        request: HttpRequest,  # noqa: ARG002  (Django's signature)
        exception: Exception,
    ) -> HttpResponse | None:
        """Answer 503 where a view met an outage."""
        return unavailable() if isinstance(exception, StoreUnavailable) else None


def _is_removed(response: HttpResponseBase, name: str) -> bool:
    return name in response.cookies and not response.cookies[name].value


def _off_the_loop(session: DriverSessionStore, *, may_save: bool) -> CookieAnswer:
    """Respond for an async view under ``decorator_from_middleware``.

    Django calls `process_response` in the event loop there, and what it does can't be awaited. As with
    Django's engines, the loop stands still meanwhile. A thread has the right to do I/O.
    """
    context = contextvars.copy_context()

    def respond() -> CookieAnswer:
        try:
            return context.run(lambda: session.respond(may_save=may_save))
        finally:
            # Those that a receiver of a signal opened here: the thread ends.
            connections.close_all()

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(respond).result()


def session_keys(request: HttpRequest, name: str) -> list[str]:
    """Return what the client sent as session keys in cookies called *name*, in its order.

    A browser sends every cookie of one name, the one with the longest path first; Django keeps the
    last. And Django strips Unicode white space from names, so that a cookie which any subdomain
    can set is taken for one named ``__Host-…`` (RFC 6265bis, section 4.1.3), which none can.
    """
    value = request.COOKIES[name]
    header = request.META.get("HTTP_COOKIE", "")
    if not header.isascii() and isinstance(request, WSGIRequest):
        # Under WSGI it is decoded as Latin-1. Django decodes it again.
        header = get_str_from_wsgi(request.environ, "HTTP_COOKIE", "")
    if not header or (header.startswith(f"{name}={value}") and header.count(name) == 1):
        # One cookie of the name, in the form in which browsers send it back; or the test's own.
        return [value]
    if parse_cookie(header).get(name) != value:
        # Code of this site put it there.
        return [value]
    # A cookie without a name ("Set-Cookie: sessionid" makes it) isn't the session's.
    pairs = (pair.strip(" \t") for pair in header.split(";") if "=" in pair)
    return [
        parse_cookie(pair)[name] for pair in pairs if pair.partition("=")[0].rstrip(" \t") == name
    ]


def finished(
    request: HttpRequest,
    session: DriverSessionStore,
    response: HttpResponseBase,
    answer: CookieAnswer,
    *,
    was_accessed: bool,
) -> HttpResponseBase:
    """Return *response* with the cookie and the headers that *answer* asks for."""
    if session.has_met_outage and response.status_code == SERVER_ERROR:
        # A middleware below met the outage: Django made an error page of it.
        discard(response)
        return unavailable()
    if session.is_unreachable:
        patch_cache_control(response, private=True, no_store=True)
    sets_cookie = True
    if answer is CookieAnswer.KEEP:
        sets_cookie = False
    elif answer is CookieAnswer.SET:
        age = session.cookie_age()
        # Neither an age below zero nor one beyond the calendar, by set_expiry(), is a cookie's.
        bounded = None if age is None else min(max(0, age), LONGEST_COOKIE)
        set_cookie(response, session.session_key or "", bounded)
    elif conf.live.SESSION_COOKIE_NAME in request.COOKIES:
        set_cookie(response, "", 0)
    else:
        sets_cookie = False
    if sets_cookie:
        # A shared cache that kept it would give one user's session to another (RFC 9111, 7.3).
        if "Cache-Control" in response.headers:
            patch_cache_control(response, private=True, no_store=True)
        else:
            response.headers["Cache-Control"] = "private, no-store"
    if sets_cookie or was_accessed:
        # Most responses have none yet.
        if "Vary" in response.headers:
            patch_vary_headers(response, ("Cookie",))
        else:
            response.headers["Vary"] = "Cookie"
    return response


def set_cookie(response: HttpResponseBase, value: str, max_age: int | None) -> None:
    """Set the session's cookie, for *max_age* seconds, or until the browser closes.

    One that is removed (0) has the same attributes: browsers match path, domain and ``Secure``.
    """
    name, path, domain, is_secure, is_http_only, same_site = conf.cookie()
    response.set_cookie(
        name,
        value,
        max_age=max_age,
        expires=LONG_AGO if max_age == 0 else None if max_age is None else _date_in(max_age),
        path=path,
        domain=domain,
        secure=bool(is_secure),
        httponly=bool(is_http_only),
        samesite=same_site or None,
    )


def _date_in(seconds: int) -> str:
    """Return the date in so many *seconds*."""
    return _date_at(int(time.time()) + seconds)


#: Responses of one second share it: making it is a tenth of what a change costs.
_date_at = functools.lru_cache(maxsize=8)(http_date)


def discard(response: HttpResponseBase) -> None:
    """Close what *response*, which another one replaces, has open: files, streams.

    Not by ``response.close()``, which also tells Django that the request is over.
    """
    # There is no public name for them.
    for close in getattr(response, "_resource_closers", ()):
        with contextlib.suppress(Exception):
            close()


def refuse(request: HttpRequest, response: HttpResponseBase, error: BaseException) -> None:
    """Prepare the answer to *error*, which takes the place of *response*."""
    discard(response)
    if isinstance(error, SessionLimitReached):
        from django.contrib.auth.models import AnonymousUser

        # The page that Django answers with must not greet the user whose login was denied.
        request.user = AnonymousUser()


def unavailable() -> HttpResponse:
    """Return the answer to whom an outage of the session's server keeps from being served."""
    try:
        # Without a request: a context processor would ask for the session again.
        page, content_type = loader.get_template(OUTAGE_TEMPLATE).render(), None
    except Exception as error:
        # Most sites have none. One that is broken must not turn the outage into another error.
        if not isinstance(error, TemplateDoesNotExist):
            logger.exception("%s cannot be rendered.", OUTAGE_TEMPLATE)
        page, content_type = "The service is unavailable. Please try again soon.\n", "text/plain"
    return HttpResponse(
        page,
        content_type=content_type,
        status=SERVICE_UNAVAILABLE,
        headers={"Retry-After": str(RETRY_AFTER), "Cache-Control": "private, no-store"},
    )
