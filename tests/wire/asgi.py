"""What an ASGI server does to a Django site: starts it, asks it, and tells it that a client has gone."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Mapping
from http.cookies import SimpleCookie
from typing import Any

from django.conf import settings
from django.core.asgi import get_asgi_application


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
        headers = [(b"host", b"testserver")]
        if key is not None:
            headers.append((b"cookie", f"{settings.SESSION_COOKIE_NAME}={key}".encode()))
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "scheme": "http",
            "method": "GET",
            "path": f"/a{page}/",
            "query_string": query.encode(),
            "headers": headers,
        }
        messages = [{"type": "http.request", "body": b"", "more_body": False}]

        async def receive() -> Mapping[str, Any]:
            if messages:
                return messages.pop()
            await exchange.has_client_gone.wait()
            return {"type": "http.disconnect"}

        await self._application(scope, receive, exchange.send)
        return exchange
