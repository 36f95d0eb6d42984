"""A browser in front of Django's own request handlers, WSGI or ASGI."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Coroutine, Mapping
from http.cookies import Morsel
from typing import Any, Self

from django.conf import settings
from django.http import HttpResponseBase
from django.test import AsyncClient, Client

from django_multisession.core import keys
from django_multisession.settings.conf import config
from tests.web.visits import Body, page

Run = Callable[[Coroutine[Any, Any, Any]], Any]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What the site answered.

    Attributes:
        status: HTTP status.
        body: The page.
        headers: The other headers.
        cookies: Every Set-Cookie.
    """

    status: int
    body: bytes
    headers: Mapping[str, str]
    cookies: Mapping[str, Morsel[str]]

    @property
    def answer(self) -> Any:
        """What the body of the page returned."""
        return json.loads(self.body)["answer"]

    @property
    def cookie(self) -> Morsel[str] | None:
        """The Set-Cookie of the session, if there was one."""
        return self.cookies.get(settings.SESSION_COOKIE_NAME)

    @property
    def new_key(self) -> str | None:
        """The session key that the browser was given, if it was given one."""
        if self.cookie is None or _is_deletion(self.cookie):
            return None
        return self.cookie.value

    @property
    def deletes_the_cookie(self) -> bool:
        return self.cookie is not None and _is_deletion(self.cookie)

    @property
    def varies_by_cookie(self) -> bool:
        return "cookie" in self.headers.get("Vary", "").lower()


def _is_deletion(cookie: Morsel[str]) -> bool:
    return cookie.value == "" and cookie["max-age"] == 0


class _AsyncClient(AsyncClient):
    """Sends the cookies it is told to send, and no second, empty header for a jar of its own."""

    def _base_scope(self, **request: Any) -> dict[str, Any]:
        scope: dict[str, Any] = super()._base_scope(**request)  # type: ignore[misc]  # django-stubs lacks it
        scope["headers"] = [header for header in scope["headers"] if header != (b"cookie", b"")]
        return scope


class Browser:
    """Somebody with one cookie jar.

    Every request goes through a handler of its own, so that settings may change in between.

    Args:
        is_async: Speaks to Django through ASGI, to async views.
        run: Runs the coroutine of one request.
        cookies: What the jar holds at the beginning.
    """

    def __init__(
        self, *, is_async: bool, run: Run, cookies: Mapping[str, str] | None = None
    ) -> None:
        self.is_async = is_async
        self.cookies = dict(cookies or {})
        self.run = run

    def copy(self) -> Self:
        """Return a browser with the same cookies: another tab whose request was sent already."""
        return type(self)(is_async=self.is_async, run=self.run, cookies=self.cookies)

    def stranger(self) -> Self:
        """Return a browser that was never here."""
        return type(self)(is_async=self.is_async, run=self.run)

    @property
    def key(self) -> str | None:
        """The session key in the jar."""
        return self.cookies.get(settings.SESSION_COOKIE_NAME)

    @key.setter
    def key(self, value: str) -> None:
        self.cookies[settings.SESSION_COOKIE_NAME] = value

    @property
    def storage_key(self) -> str:
        """What the driver calls the session whose key is in the jar."""
        verified = keys.verify(self.key or "", config().signing_keys)
        assert verified is not None
        return verified.storage_key

    def path(self, view: str, name: str = "") -> str:
        """Return the path of a view that has a sync and an async twin."""
        return f"/{'a' if self.is_async else ''}{view}/" + (f"{name}/" if name else "")

    def visit(self, body: Body) -> Reply:
        """Ask for a page that does *body*."""
        reply: Reply = self.run(self.visiting(body))
        return reply

    def get(self, path: str, **headers: str) -> Reply:
        reply: Reply = self.run(self.asking("get", path, None, headers))
        return reply

    def post(self, path: str, fields: Mapping[str, str], **headers: str) -> Reply:
        reply: Reply = self.run(self.asking("post", path, fields, headers))
        return reply

    async def visiting(self, body: Body) -> Reply:
        """See visit(); awaited in the body of another page, it happens meanwhile."""
        with page(body) as name:
            return await self.asking("get", self.path("visit", name), None, {})

    async def asking(
        self, method: str, path: str, fields: Mapping[str, str] | None, headers: Mapping[str, str]
    ) -> Reply:
        sent = ({"cookie": self._cookie_header()} if self.cookies else {}) | dict(headers)
        # A 500 is an answer, as it is to a browser.
        if self.is_async:
            asgi = _AsyncClient(raise_request_exception=False, enforce_csrf_checks=True)
            response = await getattr(asgi, method)(path, fields, headers=sent)
        else:
            wsgi = Client(raise_request_exception=False, enforce_csrf_checks=True)
            response = getattr(wsgi, method)(path, fields, headers=sent)
        return self._receive(response)

    def _cookie_header(self) -> str:
        line = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        # Servers hand the bytes of a header on as Latin-1; they need not be UTF-8.
        return line.encode(errors="surrogateescape").decode("latin-1")

    def _receive(self, response: HttpResponseBase) -> Reply:
        for name, cookie in response.cookies.items():
            if _is_deletion(cookie):
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = cookie.value
        return Reply(
            status=response.status_code,
            body=getattr(response, "content", b""),
            headers=dict(response.headers),
            cookies=dict(response.cookies),
        )
