"""The sites that ``manage.py demo`` starts: one process per engine, since each has one engine."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path

from shop.browser import Browser

MANAGE = Path(__file__).resolve().parent.parent / "manage.py"
STOP_SECONDS = 10.0
PORT_TRIES = 100
LOG_LINES = 25


class SiteFailed(RuntimeError):  # noqa: N818  (as Django's own: the name says it)
    """A site did not start; the message ends with its log."""


def listen(port: int) -> socket.socket:
    """Listen on *port* of this machine; 0 is any free one.

    Raises:
        OSError: Somebody else does.
    """
    return socket.create_server(("127.0.0.1", port), backlog=128)


def listen_from(first: int, count: int, *, strictly: bool) -> list[socket.socket]:
    """Listen on *count* ports from *first* on.

    Args:
        first: The lowest port.
        count: How many.
        strictly: These ports and no others; else the first free ones.
    """
    listeners: list[socket.socket] = []
    for port in range(first, first + (count if strictly else PORT_TRIES)):
        if len(listeners) == count:
            break
        try:
            listeners.append(listen(port))
        except OSError as problem:
            if strictly:
                _close(listeners)
                raise SiteFailed(f"Port {port} must be free ({problem}).") from problem
    if len(listeners) < count:
        _close(listeners)
        raise SiteFailed(
            f"{count} ports from {first} to {first + PORT_TRIES - 1} must be free "
            f"(found {len(listeners)}). Name others with --port."
        )
    return listeners


def _close(listeners: list[socket.socket]) -> None:
    for listener in listeners:
        listener.close()


class Site:
    """One engine's site, served by a child process that ends with this one.

    Args:
        engine: Its engine.
        interface: ``wsgi`` or ``asgi``.
        listener: The socket it serves; closed here when the child has it.
        log: Where its output goes; None for the terminal.
    """

    def __init__(
        self, engine: str, interface: str, listener: socket.socket, log: Path | None = None
    ) -> None:
        self.engine = engine
        self.interface = interface
        self.port: int = listener.getsockname()[1]
        self._listener = listener
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Return where to look at it."""
        return f"http://127.0.0.1:{self.port}/"

    @property
    def has_ended(self) -> bool:
        """Tell whether its process ended by itself."""
        return self._process is not None and self._process.poll() is not None

    def log_tail(self) -> str:
        """Return the end of what it printed."""
        if self._log is None or not self._log.exists():
            return ""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-LOG_LINES:])

    @contextlib.contextmanager
    def running(self, variables: dict[str, str]) -> Iterator[None]:
        """Serve with the environment *variables*; the site answers inside the block."""
        try:
            self._start(variables)
            self._wait()
            yield
        finally:
            self._stop()

    def _start(self, variables: dict[str, str]) -> None:
        descriptor = self._listener.fileno()
        with contextlib.ExitStack() as stack:
            # With the child's end the port then refuses, instead of letting callers wait.
            stack.enter_context(self._listener)
            output = stack.enter_context(self._log.open("wb")) if self._log else None
            self._process = subprocess.Popen(  # noqa: S603  (ourselves)
                [sys.executable, MANAGE, "serve", self.interface, str(descriptor)],
                env=variables,
                # Its end tells the child to stop, also when this process was killed.
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                pass_fds=[descriptor],
                # Ctrl-C in the terminal reaches the parent only.
                start_new_session=True,
            )

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _wait(self) -> None:
        # The socket listens already: the first request waits there until the site is up.
        try:
            Browser(self.port).get("/state.json")
        except (OSError, HTTPException) as problem:
            raise SiteFailed(
                f"The {self.engine} site must answer ({problem}). It printed:\n{self.log_tail()}"
            ) from problem
