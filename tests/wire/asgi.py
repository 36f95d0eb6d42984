"""What an ASGI server does to a Django site: starts it, asks it, and tells it that a client has gone."""

from __future__ import annotations

import asyncio
import dataclasses
import io
import json
import time
from collections.abc import Callable, Mapping
from http.cookies import SimpleCookie
from typing import Any

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpResponseBase

from tests.wire.outages import DEADLINE_SECONDS


@dataclasses.dataclass(slots=True)
class Exchange:
    """One request, and what was answered so far; a status of 0 is no answer."""

    status: int = 0
    body: bytes = b""
    cookies: SimpleCookie = dataclasses.field(default_factory=SimpleCookie)
    has_client_gone: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)

    @property
    def shown(self) -> Any:
        """Return what the page shows."""
        return json.loads(self.body)

    @property
    def key(self) -> str:
        """Return the session key that the client was given."""
        return self.cookies[settings.SESSION_COOKIE_NAME].value

    async def send(self, message: Mapping[str, Any]) -> None:
        """Take a part of the answer from the site."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            for name, value in message["headers"]:
                if name.lower() == b"set-cookie":
                    self.cookies.load(value.decode())
        else:
            self.body += message.get("body", b"")


class ASGISite:
    """The site of the settings at this moment."""

    def __init__(self) -> None:
        self._application = get_asgi_application()

    async def get(
        self,
        page: str,
        *,
        query: str = "",
        key: str | None = None,
        exchange: Exchange | None = None,
    ) -> Exchange:
        """Visit the async twin of *page* with the session key *key*."""
        exchange = exchange or Exchange()
        messages = [{"type": "http.request", "body": b"", "more_body": False}]

        async def receive() -> Mapping[str, Any]:
            if messages:
                return messages.pop()
            await exchange.has_client_gone.wait()
            return {"type": "http.disconnect"}

        await self._application(_scope(page, query, key), receive, exchange.send)
        return exchange

    async def read_until_well(self, key: str) -> None:
        """Read the session *key* until it is there again.

        PyMongo leaks a socket where its loop ends while it connects; now it is connected.
        """
        deadline = time.monotonic() + DEADLINE_SECONDS
        while True:
            exchange = await self.get("read", key=key)
            if exchange.status == 200 and exchange.shown["name"] is not None:
                return
            assert time.monotonic() < deadline

    async def respond(
        self, page: str, *, query: str = "", key: str | None = None
    ) -> HttpResponseBase:
        """See get(); but only the middleware and the view, without what Django does around them."""
        request, _ = self._application.create_request(_scope(page, query, key), io.BytesIO())
        assert request is not None
        response: HttpResponseBase = await self._application.get_response_async(request)
        return response


def _scope(page: str, query: str, key: str | None) -> dict[str, Any]:
    headers = [(b"host", b"testserver")]
    if key is not None:
        headers.append((b"cookie", f"{settings.SESSION_COOKIE_NAME}={key}".encode()))
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "http",
        "method": "GET",
        "path": f"/a{page}/",
        "query_string": query.encode(),
        "headers": headers,
    }


async def until(is_so: Callable[[], bool]) -> None:
    """Give way to the other tasks of the loop until it is so."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
