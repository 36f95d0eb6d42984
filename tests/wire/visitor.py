"""A client that visits the site, through Django's handler for WSGI or the one for ASGI."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Self

from asgiref.sync import async_to_sync, sync_to_async
from django.conf import settings
from django.test import AsyncClient, Client

from tests.web.visits import Body, page, run_at_once
from tests.wire.outages import DEADLINE_SECONDS

#: Django's HttpResponse, and what its test clients add to it.
Response = Any
Scenario = Callable[..., Coroutine[Any, Any, None]]


class _AsyncClient(AsyncClient):
    """Sends no second, empty header for an empty jar: Django would join the two by a comma."""

    def _base_scope(self, **request: Any) -> dict[str, Any]:
        scope: dict[str, Any] = super()._base_scope(**request)  # type: ignore[misc]  # no stub
        scope["headers"] = [header for header in scope["headers"] if header != (b"cookie", b"")]
        return scope


class Visitor:
    """A browser with one cookie jar.

    Args:
        is_async: Visits async pages, through ASGI.
        key: The session key in the jar, to begin with.
    """

    def __init__(self, *, is_async: bool, key: str | None = None) -> None:
        self.is_async = is_async
        client = _AsyncClient if is_async else Client
        self._client: Any = client(raise_request_exception=False)
        if key is not None:
            self.key = key

    @property
    def key(self) -> str | None:
        """Return the session key in the jar, if there is one."""
        cookie = self._client.cookies.get(settings.SESSION_COOKIE_NAME)
        return cookie.value or None if cookie is not None else None

    @key.setter
    def key(self, value: str) -> None:
        self._client.cookies[settings.SESSION_COOKIE_NAME] = value

    def copy(self) -> Self:
        """Return another tab, with the same session key at this moment."""
        return type(self)(is_async=self.is_async, key=self.key)

    def stranger(self) -> Self:
        """Return a client that was never here."""
        return type(self)(is_async=self.is_async)

    async def call(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Call *function* in the thread of sync code."""
        if self.is_async:
            await sync_to_async(function)(*arguments)
        else:
            function(*arguments)

    async def get(self, page: str, **query: str) -> Response:
        """Visit *page*; under ASGI its async twin."""
        return await self._get(page, query, {})

    async def _get(
        self, page: str, query: Mapping[str, str], headers: Mapping[str, str]
    ) -> Response:
        if self.is_async:
            response: Response = await self._client.get(f"/a{page}/", query, headers=headers)
        else:
            response = self._client.get(f"/{page}/", query, headers=headers)
        return response

    async def send(self, *session_keys: str, to: str, **query: str) -> Response:
        """Visit the page *to* with several cookies of one name, and none from the jar."""
        name = settings.SESSION_COOKIE_NAME
        cookie = "; ".join(f"{name}={session_key}" for session_key in session_keys)
        return await self.stranger()._get(to, query, {"Cookie": cookie})

    async def open(self, body: Body) -> Response:
        """Visit the page whose body is *body*."""
        with page(body) as name:
            return await self.get(f"visit/{name}")

    async def begin(self, name: str) -> None:
        """Begin a session, in as many tries as a busy machine needs to reach the server in time."""
        await self._visit_until(lambda _: True, "write", name=name)

    async def read_until_well(self) -> Response:
        """Read until the session is there again; how long a client takes to notice is its own affair."""
        return await self._visit_until(lambda shown: shown.json()["name"] is not None, "read")

    async def see(self, page: str, expected: Mapping[str, Any]) -> None:
        """Visit *page* until it shows *expected*, as a busy machine may miss a short limit of time."""
        await self._visit_until(lambda shown: shown.json() == expected, page)

    async def _visit_until(
        self, is_well: Callable[[Response], bool], page: str, **query: str
    ) -> Response:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while True:
            response = await self.get(page, **query)
            if response.status_code == 200 and is_well(response):
                return response
            assert time.monotonic() < deadline, response

    def run(self, scenario: Coroutine[Any, Any, None]) -> None:
        """Run *scenario*, with all its visits in one event loop under ASGI, and in none under WSGI.

        Users are read where the test made them: in its own thread, by its own connection.
        """
        if self.is_async:
            async_to_sync(_wait_for)(scenario)
        else:
            run_at_once(scenario)


async def _wait_for(scenario: Coroutine[Any, Any, None]) -> None:
    await scenario


def session_cookie(response: Response) -> str | None:
    """Return what the session's cookie is set to: nothing where it is deleted, None where it is left alone."""
    cookie = response.cookies.get(settings.SESSION_COOKIE_NAME)
    return None if cookie is None else cookie.value


def as_visited(scenario: Scenario) -> Callable[..., None]:
    """Make a test of a scenario, which is written once and run as its `visitor` runs things."""

    @functools.wraps(scenario)
    def test(**fixtures: Any) -> None:
        fixtures["visitor"].run(scenario(**fixtures))

    return test
