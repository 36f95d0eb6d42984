"""A TCP proxy in front of a real server: counts what a client asks for, and breaks connections.

It reads just enough of Redis's, MongoDB's and memcached's protocols to tell one request from the next. It lives
in an event loop in a thread of its own, where everything it knows changes; its methods may be
called from any thread, and have taken effect when they return.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self, TypeVar

from servers import free_port

Answer = TypeVar("Answer")

# What a client sends to set a connection up or to end it, whatever it is used for.
REDIS_SETUP = frozenset({"hello", "auth", "client", "select", "ping"})
MONGODB_SETUP = frozenset(
    {"hello", "ismaster", "ping", "endsessions", "buildinfo", "saslstart", "saslcontinue"}
)
# What a MongoDB client's monitor sends at its own times, whether anybody uses the client or not.
MONITORING = frozenset({"hello", "ismaster"})
OP_QUERY, OP_MSG = 2004, 2013
MORE_TO_COME = 2
HEADER = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One command, as far as it is understood."""

    number: int
    name: str
    size: int
    counted: bool
    monitoring: bool = False
    answered: bool = True


class Wire(Protocol):
    """How one protocol frames its messages."""

    def end(self, data: bytes) -> int | None:
        """Return where the first message ends; None when it is not complete."""

    def request(self, raw: bytes) -> Request:
        """Understand one message of a client."""

    def answered(self, raw: bytes, waiting: dict[int, Request]) -> int | None:
        """Return the number of the request that this message answers."""


class Redis:
    """RESP 2 and 3."""

    def __init__(self) -> None:
        self._number = 0

    def end(self, data: bytes) -> int | None:
        return _end_of_value(data, 0)

    def request(self, raw: bytes) -> Request:
        self._number += 1
        name = raw.split(b"\r\n", 3)[2].decode().upper()
        counted = name.lower() not in REDIS_SETUP
        return Request(number=self._number, name=name, size=len(raw), counted=counted)

    def answered(self, raw: bytes, waiting: dict[int, Request]) -> int | None:
        return None if raw.startswith(b">") else next(iter(waiting), None)


def _end_of_value(data: bytes, start: int) -> int | None:
    line_end = data.find(b"\r\n", start)
    if line_end < 0:
        return None
    kind, head = data[start : start + 1], data[start + 1 : line_end]
    end: int | None = line_end + 2
    if kind in {b"$", b"=", b"!"}:
        end = line_end + 2 + (int(head) + 2 if int(head) >= 0 else 0)
        return end if end <= len(data) else None
    # Attributes (|) are not among these: Redis sends none.
    parts = {b"*": 1, b"~": 1, b">": 1, b"%": 2}.get(kind)
    for _ in range(parts * int(head) if parts else 0):
        end = None if end is None else _end_of_value(data, end)
    return end


class Memcached:
    """The text protocol: a line, and a block of data where the line announces one."""

    #: What tells the size of its block, and which word of the line has it.
    _SIZES: ClassVar = {b"add": 4, b"cas": 4, b"set": 4, b"VALUE": 3}

    def __init__(self) -> None:
        self._number = 0

    def end(self, data: bytes) -> int | None:
        start = 0
        while (line_end := data.find(b"\r\n", start)) >= 0:
            words = data[start:line_end].split()
            start = line_end + 2
            if words and (at := self._SIZES.get(words[0])) is not None:
                start += int(words[at]) + 2
            # What was found, and the statistics, end with a line of their own.
            if not words or words[0] not in {b"VALUE", b"STAT"}:
                return start if start <= len(data) else None
        return None

    def request(self, raw: bytes) -> Request:
        self._number += 1
        name = raw.split(maxsplit=1)[0].decode()
        return Request(number=self._number, name=name, size=len(raw), counted=True)

    def answered(self, raw: bytes, waiting: dict[int, Request]) -> int | None:
        return next(iter(waiting), None)


class MongoDB:
    """OP_MSG, and the OP_QUERY in which a client says hello."""

    def end(self, data: bytes) -> int | None:
        size = _integer(data, 0)
        if len(data) >= HEADER and size < HEADER:
            raise ValueError(f"A message must have a header of {HEADER} bytes (got {size}).")
        return size if HEADER <= size <= len(data) else None

    def request(self, raw: bytes) -> Request:
        operation = _integer(raw, 12)
        if operation not in {OP_QUERY, OP_MSG}:
            raise ValueError(f"A message must be OP_MSG, not compressed (got {operation}).")
        name = "hello" if operation == OP_QUERY else _command_name(raw)
        return Request(
            number=_integer(raw, 4),
            name=name,
            size=len(raw),
            counted=name.lower() not in MONGODB_SETUP,
            monitoring=name.lower() in MONITORING,
            answered=operation == OP_QUERY or not _integer(raw, 16) & MORE_TO_COME,
        )

    def answered(self, raw: bytes, waiting: dict[int, Request]) -> int | None:
        return _integer(raw, 8)


def _integer(data: bytes, start: int) -> int:
    return int.from_bytes(data[start : start + 4], "little", signed=True)


def _command_name(raw: bytes) -> str:
    """Return the first key of the body: the section of kind 0, wherever it is."""
    start = 20
    while raw[start] != 0:
        start += 1 + _integer(raw, start + 1)
    # Its kind, its length, the type of its first value.
    start += 1 + 4 + 1
    return raw[start : raw.index(b"\0", start)].decode()


def _wire_of(start: bytes) -> Wire:
    # A first MongoDB message that begins like one of the others would have 12 kB; a hello is small.
    if start[:1] == b"*" and start[1:].isdigit():
        return Redis()
    return Memcached() if start.isalpha() else MongoDB()


class _End(asyncio.Protocol):
    """One end of a link: hands on what happens to its socket."""

    def __init__(self, link: _Link, receive: Callable[[bytes], None]) -> None:
        self._link = link
        self._receive = receive
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._link.connected(self)

    def data_received(self, data: bytes) -> None:
        self._receive(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self._link.lost(self)


class _Link:
    """One client's connection, and the one to the server that belongs to it."""

    def __init__(self, proxy: TCPProxy) -> None:
        self._proxy = proxy
        self.client = _End(self, self._from_client)
        self.server = _End(self, self._from_server)
        self._connecting: asyncio.Task[None] | None = None
        self._wire: Wire | None = None
        self._sent = bytearray()
        self._received = bytearray()
        self._unsent = bytearray()
        self._waiting: dict[int, Request] = {}
        self._in_burst = False
        self._cut: Request | None = None
        self._finished = asyncio.Event()
        self.swallowed = False

    async def finish(self) -> None:
        """Close both ends, and wait until they are."""
        self.close()
        await self._finished.wait()
        if self._connecting is not None:
            await asyncio.gather(self._connecting, return_exceptions=True)

    def connected(self, end: _End) -> None:
        if end is self.client:
            self._proxy.opened(self)
            self._connecting = asyncio.ensure_future(self._connect())
        elif self.client.transport is None:
            self.close()
        elif self.server.transport is not None:
            self.server.transport.write(bytes(self._unsent))

    def lost(self, end: _End) -> None:
        other = self.server if end is self.client else self.client
        if other.transport is not None:
            other.transport.close()
        if end is self.client and self._connecting is not None:
            self._connecting.cancel()
        if other.transport is None:
            self._finished.set()
            self._proxy.gone(self)

    def close(self) -> None:
        for end in (self.client, self.server):
            if end.transport is not None:
                end.transport.abort()

    async def _connect(self) -> None:
        try:
            await asyncio.get_running_loop().create_connection(
                lambda: self.server, *self._proxy.upstream
            )
        except OSError:
            self.close()

    def _from_client(self, data: bytes) -> None:
        if self._proxy.hanging:
            self.swallowed = True
            return
        self._sent += data
        if self._wire is None and len(self._sent) > 1:
            self._wire = _wire_of(bytes(self._sent[:2]))
        if self._wire is not None:
            for raw in _take(self._sent, self._wire):
                self._ask(self._wire.request(raw))
        if self.server.transport is None:
            self._unsent += data
        else:
            self.server.transport.write(data)

    def _ask(self, request: Request) -> None:
        waited = any(other.counted for other in self._waiting.values())
        self._proxy.asked(
            request, begins=request.counted and request.answered and not (waited or self._in_burst)
        )
        self._in_burst = self._in_burst and not request.counted
        if request.answered:
            self._waiting[request.number] = request
            if self._cut is None and self._proxy.takes_cut(request):
                self._cut = request

    def _from_server(self, data: bytes) -> None:
        if self._proxy.hanging:
            self.swallowed = True
            return
        if self._wire is None:
            # Unasked, Redis only says that it has no connection left.
            if self.client.transport is not None:
                self.client.transport.write(data)
            return
        self._received += data
        for raw in _take(self._received, self._wire):
            number = self._wire.answered(raw, self._waiting)
            request = self._waiting.pop(number, None) if number is not None else None
            if request is not None and request is self._cut:
                self.close()
                return
            # Half a command is here already: its client did not wait for this answer.
            self._in_burst = bool(self._sent)
            if self.client.transport is not None:
                self.client.transport.write(raw)


def _take(buffer: bytearray, wire: Wire) -> list[bytes]:
    """Take the complete messages out of what has been received."""
    taken = []
    while buffer and (end := wire.end(bytes(buffer))) is not None:
        taken.append(bytes(buffer[:end]))
        del buffer[:end]
    return taken


class TCPProxy:
    """Listens on a free port of 127.0.0.1, inside a ``with`` block.

    Args:
        host: The server's.
        port: The server's.
    """

    host = "127.0.0.1"

    def __init__(self, host: str, port: int) -> None:
        self.upstream = host, port
        self.port = 0
        self.hanging = False
        self._links: set[_Link] = set()
        self._listener: socket.socket | None = None
        self._accepting: set[asyncio.Task[Any]] = set()
        self._cut: Callable[[Request], bool] = lambda _: False
        self._cuts_left = 0
        self._failures: list[BaseException] = []
        self._zero()

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(self._failed)
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.accept()
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.refuse()
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
        if self._failures:
            raise self._failures[0]

    @property
    def commands(self) -> list[str]:
        """Return what was asked for since the last reset, in order, without setting up."""
        return list(self._commands)

    @property
    def round_trips(self) -> int:
        """Return how often a client sent commands and then had to wait for an answer.

        A pipeline counts once, unless it is so long that the server answers its beginning before
        its end has arrived.
        """
        return self._round_trips

    @property
    def bytes_to_server(self) -> int:
        """Return how many bytes clients sent, without what a MongoDB client's monitor sends."""
        return self._bytes

    @property
    def connections(self) -> int:
        """Return how many connections are open, a MongoDB client's monitor included."""
        return self._run(self._settled())

    @property
    def total_connections(self) -> int:
        """Return how many connections were opened since the last reset."""
        self._run(self._settled())
        return self._opened

    def reset(self) -> None:
        """Count from zero."""
        self._run(self._later(self._zero))

    def cut_next_answer(self, command: str | None = None, times: int = 1) -> None:
        """Lose answers: the server does what it is asked, the client's connection is closed.

        Args:
            command: Whose answer; of whatever is counted next, when it is not given.
            times: How many of them.
        """

        def matches(request: Request) -> bool:
            if command is None:
                return request.counted
            return request.name.lower() == command.lower()

        def cut() -> None:
            self._cut, self._cuts_left = matches, times

        self._run(self._later(cut))

    def refuse(self) -> None:
        """Close every connection and refuse new ones, as where no server runs."""
        self._run(self._refuse())

    def accept(self) -> None:
        """Accept connections again, on the same port."""
        self._run(self._accept())

    def hang(self) -> None:
        """Accept everything and deliver nothing."""
        self._run(self._later(lambda: setattr(self, "hanging", True)))

    def resume(self) -> None:
        """Deliver again. Connections that lost something are closed: their streams are broken."""
        self._run(self._resume())

    def opened(self, link: _Link) -> None:
        """Count a connection."""
        self._links.add(link)
        self._opened += 1

    def gone(self, link: _Link) -> None:
        """Forget a connection."""
        self._links.discard(link)

    def asked(self, request: Request, *, begins: bool) -> None:
        """Count a request.

        Args:
            request: It.
            begins: Whether its connection was waiting for nothing.
        """
        if not request.monitoring:
            self._bytes += request.size
        if request.counted:
            self._commands.append(request.name)
        self._round_trips += begins

    def takes_cut(self, request: Request) -> bool:
        """Tell whether the answer to this request is one to be lost; that counts it."""
        if not self._cuts_left or not self._cut(request):
            return False
        self._cuts_left -= 1
        return True

    def _zero(self) -> None:
        self._commands: list[str] = []
        self._round_trips = self._bytes = self._opened = 0

    def _failed(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self._failures.append(context.get("exception") or RuntimeError(context["message"]))

    def _run(self, steps: Coroutine[Any, Any, Answer]) -> Answer:
        return asyncio.run_coroutine_threadsafe(steps, self._loop).result(timeout=30)

    async def _later(self, step: Callable[[], None]) -> None:
        step()

    async def _settled(self) -> int:
        # What has reached our sockets by now is read in the next turn and handled in the one after.
        for _ in range(4):
            await asyncio.sleep(0)
        return sum(link.client.transport is not None for link in self._links)

    async def _accept(self) -> None:
        if self._listener is None:
            self.port = self.port or free_port(self)
            self._listener = socket.create_server((self.host, self.port), backlog=1000)
            self._listener.setblocking(False)
            self._loop.add_reader(self._listener, self._take, self._listener)

    def _take(self, listener: socket.socket) -> None:
        # By hand: asyncio.Server before Python 3.12 loses, open, what it accepts while it closes.
        with contextlib.suppress(BlockingIOError):
            accepted, _ = listener.accept()
            steps = self._loop.connect_accepted_socket(lambda: _Link(self).client, accepted)
            task = self._loop.create_task(steps)
            self._accepting.add(task)
            task.add_done_callback(self._accepting.discard)

    async def _refuse(self) -> None:
        if self._listener is not None:
            self._loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None
        await asyncio.gather(*self._accepting, return_exceptions=True)
        await self._close(list(self._links))

    async def _resume(self) -> None:
        self.hanging = False
        await self._close([link for link in self._links if link.swallowed])

    async def _close(self, links: list[_Link]) -> None:
        await asyncio.gather(*(link.finish() for link in links))
