"""A TCP proxy before a Redis: counts commands and bytes, and cuts answers off."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Callable
from typing import Self

_HEADER = re.compile(rb"[*$](\d+)\r\n")


class RedisProxy:
    """Runs inside a ``with`` block, in threads.

    Attributes:
        commands: The names of the commands that clients sent.
        words: The last one, with its arguments.
        bytes_answered: How much the server answered.
        answers_to_lose: How many answers are still to be thrown away, each with its connection.
    """

    def __init__(self, port: int) -> None:
        self._server_port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self.commands: list[str] = []
        self.words: list[bytes] = []
        self.bytes_answered = 0
        self.answers_to_lose = 0

    host = "127.0.0.1"

    @property
    def port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port

    @property
    def url(self) -> str:
        return f"redis://{self.host}:{self.port}/0"

    def forget(self) -> None:
        self.commands.clear()
        self.bytes_answered = 0

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        for each in [self._listener, *self._sockets]:
            _shut(each)
        for thread in self._threads:
            thread.join(10)

    def _start(self, target: Callable[..., None], *arguments: socket.socket) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    server = socket.create_connection(("127.0.0.1", self._server_port))
                except OSError:
                    _shut(client)
                    continue
                self._sockets += [client, server]
                self._start(self._pass_commands, client, server)
                self._start(self._pass_answers, server, client)

    def _pass_commands(self, client: socket.socket, server: socket.socket) -> None:
        unread = b""
        with contextlib.suppress(OSError):
            while received := client.recv(65536):
                unread = self._count(unread + received)
                server.sendall(received)
        _shut(client)
        _shut(server)

    def _pass_answers(self, server: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while received := server.recv(65536):
                if self.answers_to_lose:
                    self.answers_to_lose -= 1
                    break
                self.bytes_answered += len(received)
                client.sendall(received)
        _shut(server)
        _shut(client)

    def _count(self, unread: bytes) -> bytes:
        """Count the whole commands in *unread* and return what is left."""
        while header := _HEADER.match(unread):
            position, words = header.end(), []
            for _ in range(int(header[1])):
                length = _HEADER.match(unread, position)
                if length is None or len(unread) < length.end() + int(length[1]) + 2:
                    return unread
                position = length.end() + int(length[1]) + 2
                words.append(unread[length.end() : position - 2])
            self.words = words
            self.commands.append(words[0].decode())
            unread = unread[position:]
        return unread


def _shut(each: socket.socket) -> None:
    with contextlib.suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()
