"""Somebody who visits the site, through Django's handler for WSGI or the one for ASGI."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from typing import Any, Self

from asgiref.sync import async_to_sync
from django.conf import settings
from django.test import AsyncClient, Client

from tests.web.visits import run_at_once

#: Django's HttpResponse, and what its test clients add to it.
Response = Any
Scenario = Callable[..., Coroutine[Any, Any, None]]


class Visitor:
    """A browser with one cookie jar.

    Args:
        is_async: Visits async pages, through ASGI.
        key: The session key in the jar, to begin with.
    """

    def __init__(self, *, is_async: bool, key: str | None = None) -> None:
        self.is_async = is_async
        self._client: Any = (AsyncClient if is_async else Client)(raise_request_exception=False)
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
        """Return somebody who was never here."""
        return type(self)(is_async=self.is_async)

    async def get(self, page: str, **query: str) -> Response:
        """Visit *page*; under ASGI its async twin."""
        if self.is_async:
            response: Response = await self._client.get(f"/a{page}/", query)
        else:
            response = self._client.get(f"/{page}/", query)
        return response

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
