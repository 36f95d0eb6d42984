"""A server that says what a test tells it to, instead of a Redis."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Self

Talk = Callable[[socket.socket], None]


class ScriptedServer:
    """Runs inside a ``with`` block.

    Args:
        talk: What it does with each connection, in a thread of its own.

    Attributes:
        connections: How many it took.
    """

    host = "127.0.0.1"

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self._listener = socket.create_server((self.host, 0))
        self._open: list[socket.socket] = []
        self.connections = 0
        self.ended = threading.Event()

    @property
    def port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port

    @property
    def url(self) -> str:
        return f"redis://{self.host}:{self.port}/0"

    def __enter__(self) -> Self:
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        for each in [self._listener, *self._open]:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._accepting.join(10)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                taken, _ = self._listener.accept()
                self._open.append(taken)
                self.connections += 1
                threading.Thread(target=self._serve, args=(taken,), daemon=True).start()

    def _serve(self, taken: socket.socket) -> None:
        with contextlib.suppress(OSError):
            self._talk(taken)
