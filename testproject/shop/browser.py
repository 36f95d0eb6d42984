"""A browser as small as the walk needs: a cookie jar, and a look at every Set-Cookie."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from http.client import HTTPConnection
from http.cookies import Morsel, SimpleCookie
from typing import Any, Self
from urllib.parse import urlencode

TIMEOUT_SECONDS = 30.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a site answered.

    Attributes:
        status: HTTP status.
        body: Decoded.
        cookies: Every cookie it set or removed.
    """

    status: int
    body: str
    cookies: Mapping[str, Morsel[str]] = dataclasses.field(repr=False)

    @property
    def state(self) -> dict[str, Any]:
        """Return what ``state.json`` told."""
        told: dict[str, Any] = json.loads(self.body)
        return told

    def removes(self, name: str) -> bool:
        """Tell whether the browser forgets the cookie *name* at this reply."""
        return name in self.cookies and self.cookies[name]["max-age"] == "0"


class Browser:
    """Somebody with one cookie jar.

    Args:
        port: Of the site on this machine.
        cookies: What the jar holds at the beginning.
    """

    def __init__(self, port: int, cookies: Mapping[str, str] | None = None) -> None:
        self.port = port
        self.cookies = dict(cookies or {})

    def copy(self) -> Self:
        """Return another browser that holds the same cookies: a thief, or a late request."""
        return type(self)(self.port, self.cookies)

    def get(self, path: str) -> Reply:
        """Fetch a page; a redirect is an answer."""
        return self._send("GET", path, None)

    def post(self, path: str, **fields: str) -> Reply:
        """Send a form as its page would, with the token against cross-site requests."""
        if self._csrf_token() is None:
            self.get("/")
        return self._send("POST", path, fields | {"csrfmiddlewaretoken": self._csrf_token() or ""})

    def receive(self, reply: Reply) -> None:
        """Take a reply's cookies into the jar, also those of a reply to somebody else's request."""
        for name, cookie in reply.cookies.items():
            if reply.removes(name):
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = cookie.value

    def _csrf_token(self) -> str | None:
        return next(
            (value for name, value in self.cookies.items() if name.startswith("csrftoken")), None
        )

    def _send(self, method: str, path: str, fields: Mapping[str, str] | None) -> Reply:
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
        body = None
        if fields is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            body = urlencode(fields)
        connection = HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_SECONDS)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            text = response.read().decode(errors="replace")
        finally:
            connection.close()
        cookies: SimpleCookie = SimpleCookie()
        for line in response.headers.get_all("Set-Cookie", []):
            cookies.load(line)
        reply = Reply(status=response.status, body=text, cookies=dict(cookies))
        self.receive(reply)
        return reply
