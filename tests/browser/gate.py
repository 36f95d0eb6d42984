"""A gate in front of a site: it lets requests wait, with the cookies they came with, or answers."""

from __future__ import annotations

import threading
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

SECONDS = 60
#: Of one connection, which ends here with each answer.
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "date", "server"}


class Gate:
    """Passes requests on to the site at *url*, and its answers back.

    Args:
        url: Where the site is.

    Attributes:
        held_cookie: Whether the answer that was held sets a cookie.
    """

    def __init__(self, url: str) -> None:
        self.held_cookie = False
        self._port = urlsplit(url).port
        self._held_path: str | None = None
        self._holds_answers = False
        self._arrived = threading.Event()
        self._may_pass = threading.Event()
        gate = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                gate._pass_on(self)

            def do_POST(self) -> None:
                gate._pass_on(self)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (its name there)
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    @property
    def url(self) -> str:
        """Return the address to visit instead."""
        return f"http://127.0.0.1:{self._server.server_port}/"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()
        self._server.shutdown()
        self._thread.join(SECONDS)
        self._server.server_close()

    def hold(self, path: str, *, answers: bool = False) -> None:
        """Let the next request for *path* wait at the gate, or its answer."""
        self._held_path, self._holds_answers = path, answers

    def wait_until_held(self) -> None:
        """Return when that is there."""
        assert self._arrived.wait(SECONDS)

    def release(self) -> None:
        """Let it go on."""
        self._may_pass.set()

    def _pass_on(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        is_held = request.path == self._held_path
        if is_held and not self._holds_answers:
            self._wait()
        connection = HTTPConnection("127.0.0.1", self._port, timeout=SECONDS)
        try:
            connection.request(request.command, request.path, body, dict(request.headers))
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if is_held and self._holds_answers:
            self.held_cookie = answer.getheader("Set-Cookie") is not None
            self._wait()
        request.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in HOP_BY_HOP:
                request.send_header(name, value)
        request.end_headers()
        request.wfile.write(content)

    def _wait(self) -> None:
        self._arrived.set()
        assert self._may_pass.wait(SECONDS)
