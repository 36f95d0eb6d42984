"""The async end of a connection to Redis: one for each event loop, which all its tasks share.

Commands are written in the order in which they are asked for, and replies come in that order: the
first reply belongs to the first command in flight. A task that gives up leaves its place behind, and
the reply to it is dropped. So a cancellation costs no connection, and no task waits for a free one.
"""

from __future__ import annotations

import asyncio
import collections
import contextvars
import socket
from collections.abc import Awaitable, Callable
from typing import Any, Final

from django_multisession.drivers.redis.protocol import (
    NO_REPLY,
    Address,
    Command,
    ProtocolError,
    Refused,
    beginning,
    is_no_master,
    make_reader,
    outage_of,
    overloaded,
    pack,
)
from django_multisession.exceptions import StoreUnavailable

#: How many commands may be in flight on a connection; more wait for a place, first come first served.
MAX_IN_FLIGHT: Final = 1000
#: Bytes of one loop turn's commands that are written before the turn is over: large records must
#: reach the flow control of the transport.
_MAX_UNWRITTEN: Final = 65536
#: Seconds until a second and a later attempt to connect. The first one follows a loss immediately.
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 1.0
#: Seconds for which a loop may read what came in time, while the loop was busy with something else.
_GRACE: Final = 0.01
#: Seconds that closing waits for sockets at most.
_LONGEST_FAREWELL: Final = 1.0
#: Seconds that a command may take until the first address is known.
_UNKNOWN_TIMEOUT: Final = 2.0

#: When a command was asked for, and who waits for its reply.
_InFlight = tuple[float, "asyncio.Future[Any]"]


class NotSent(ConnectionError):  # noqa: N818  (what the caller needs to know of the error)
    """The command was not written: the server has not seen it.

    Attributes:
        cause: Why no connection could be opened; None where one was lost.
    """

    def __init__(self, cause: Exception | None = None) -> None:
        super().__init__()
        self.cause = cause


class Lost(ConnectionError):  # noqa: N818  (as above)
    """The command was written, its reply did not come: the server may have run it."""


class Multiplexed:
    """One connection to Redis for all tasks of the running loop, opened when one asks.

    Args:
        locate: Returns where the server is; called for each connection, because a Sentinel may have
            moved the master.
        can_move: Whether *locate* may find another one, where the master says that it is one no
            longer. Such a connection is closed then.
        max_in_flight: How many commands may wait for their replies at the server.
    """

    def __init__(
        self,
        locate: Callable[[], Awaitable[Address]],
        *,
        can_move: bool = False,
        max_in_flight: int = MAX_IN_FLIGHT,
    ) -> None:
        self._locate = locate
        self.can_move = can_move
        self._max_in_flight = max_in_flight
        self._loop = asyncio.get_running_loop()
        self._time = self._loop.time
        # A connection outlives the request that opened it, and must not keep its context.
        self._context = contextvars.Context()
        self._connection: _Connection | None = None
        self._opening: asyncio.Task[None] | None = None
        self._waiting: collections.deque[tuple[float, asyncio.Future[Any], bytes]]
        self._waiting = collections.deque()
        # Connections whose sockets are not closed yet.
        self._leaving: set[asyncio.Future[None]] = set()
        self._address: Address | None = None
        self._timeout = _UNKNOWN_TIMEOUT
        self._timer: asyncio.Handle | None = None
        self._is_second_look = False
        self._failures = 0
        self._next_attempt = 0.0
        self._next_move = 0.0
        self._is_closed = False

    async def exchange(self, command: Command) -> Any:
        """Return the reply to *command*.

        Raises:
            Refused: The reply is an error, or the server takes no such connection.
            TimeoutError: No reply in time.
            NotSent: No connection could be opened, or it was lost before the command was written.
            Lost: The connection was lost after that.
            StoreUnavailable: No place on the connection became free in time.
        """
        packed = pack(command)
        future = self._loop.create_future()
        asked_at = self._time()
        connection = self._connection
        if (
            connection is None
            or connection.is_paused
            or self._waiting
            or len(connection.in_flight) >= self._max_in_flight
        ):
            if self._is_closed:
                raise NotSent
            self._waiting.append((asked_at, future, packed))
            self._open_if_needed()
        else:
            connection.send(asked_at, future, packed)
        if self._timer is None:
            self._watch(asked_at + self._timeout)
        reply = await future
        if isinstance(reply, Exception):
            try:
                raise reply
            finally:
                # Its traceback holds this frame.
                del reply, future
        return reply

    async def close(self) -> None:
        """Close the connection; what is asked of it fails."""
        self._is_closed = True
        if self._opening is not None and not self._opening.done():
            self._opening.cancel()
            await asyncio.wait([self._opening])
        self._fail_waiting(NotSent)
        if self._connection is not None:
            self._connection.end()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._leaving:
            await asyncio.wait(self._leaving, timeout=_LONGEST_FAREWELL)

    # What connections call.

    def lost(self, connection: _Connection) -> None:
        """Let go of *connection*."""
        if connection is not self._connection:
            return
        self._connection = None
        if not connection.is_proven:
            self._count_failure()
        if self._waiting:
            self._open_if_needed()

    def proven(self) -> None:
        """Take the next loss for an accident: the server does answer."""
        self._failures = 0
        self._next_attempt = 0.0

    def may_move(self) -> bool:
        """Is it time to ask again where the master is? Not where that was asked a moment ago."""
        now = self._time()
        if not self.can_move or now < self._next_move:
            return False
        self._next_move = now + _LONGEST_PAUSE
        return True

    def send_waiting(self) -> None:
        """Send what has waited longest, as far as there is room."""
        connection, waiting = self._connection, self._waiting
        while (
            waiting
            and connection is not None
            and not connection.is_paused
            and len(connection.in_flight) < self._max_in_flight
        ):
            asked_at, future, packed = waiting.popleft()
            if not future.done():
                connection.send(asked_at, future, packed)

    # Opening.

    def _open_if_needed(self) -> None:
        if self._connection is None and (self._opening is None or self._opening.done()):
            self._opening = self._context.run(self._loop.create_task, self._open())

    async def _open(self) -> None:
        """Open a connection for all that wait for one, or tell them why there is none."""
        try:
            if (pause := self._next_attempt - self._time()) > 0:
                await asyncio.sleep(pause)
            self._address = address = await self._locate()
            if address.timeout != self._timeout:
                self._timeout = address.timeout
                self._watch(self._time())
            async with asyncio.timeout(address.connect_timeout):
                connection = await _connect(address, self)
        except Exception as error:  # noqa: BLE001  (also of a site's own source of credentials)
            self._count_failure()
            self._fail_waiting(_failure_of(error))
        except BaseException:
            self._fail_waiting(NotSent)
            raise
        else:
            self._connection = connection
            # Not sooner: uvloop tells no protocol that its connection ended before it was made.
            self._leaving.add(connection.gone)
            connection.gone.add_done_callback(self._leaving.discard)
            self.send_waiting()

    def _count_failure(self) -> None:
        pause = min(_FIRST_PAUSE * 2**self._failures, _LONGEST_PAUSE)
        self._failures = min(self._failures + 1, 10)
        self._next_attempt = self._time() + pause

    def _fail_waiting(self, make_error: Callable[[], Exception]) -> None:
        while self._waiting:
            _, future, _ = self._waiting.popleft()
            if not future.done():
                future.set_result(make_error())

    # Deadlines. All commands have the same time, so the oldest is due first: one timer does.

    def _watch(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(due, self._look, context=self._context)

    def _look(self) -> None:
        """Fail what is overdue, and come back when the next may be."""
        self._timer = None
        now = self._time()
        due = self._next_due()
        if due is not None and due <= now:
            # Where the loop was busy, the reply may have come in time and not be read yet.
            self._is_second_look = not self._is_second_look
            if self._is_second_look:
                self._watch(now + _GRACE)
                return
            self._expire(now - self._timeout)
            due = self._next_due()
        self._is_second_look = False
        if due is not None:
            self._watch(due)

    def _next_due(self) -> float | None:
        heads = [self._waiting[0][0]] if self._waiting else []
        if self._connection is not None and self._connection.in_flight:
            heads.append(self._connection.in_flight[0][0])
        return min(heads) + self._timeout if heads else None

    def _expire(self, asked_until: float) -> None:
        connection, waiting, address = self._connection, self._waiting, self._address
        while waiting and waiting[0][0] <= asked_until:
            _, future, _ = waiting.popleft()
            if not future.done():
                if connection is None or address is None:
                    future.set_result(TimeoutError())
                else:
                    future.set_result(overloaded(address, self._timeout))
        if connection is not None:
            connection.expire(asked_until)


class _Connection(asyncio.Protocol):
    """A connection, and the commands whose replies are to come on it.

    Attributes:
        in_flight: The places of commands, in the order of their replies.
        is_paused: Whether its transport takes no more for now.
        is_proven: Whether the server has answered a command on it.
        gone: Done when its socket is closed.
    """

    def __init__(self, owner: Multiplexed, address: Address) -> None:
        self._owner = owner
        self._address = address
        self._loop = asyncio.get_running_loop()
        self._reader = make_reader()
        self._transport: Any = None
        self._unwritten: list[bytes] = []
        self._unwritten_size = 0
        self._is_ended = False
        self._refusal: Refused | None = None
        self.in_flight: collections.deque[_InFlight] = collections.deque()
        self.is_paused = False
        self.is_proven = False
        self.gone: asyncio.Future[None] = self._loop.create_future()

    def send(self, asked_at: float, future: asyncio.Future[Any], packed: bytes) -> None:
        """Write *packed* with whatever else this turn of the loop sends."""
        if not self._unwritten:
            self._loop.call_soon(self._write)
        self.in_flight.append((asked_at, future))
        self._unwritten.append(packed)
        self._unwritten_size += len(packed)
        if self._unwritten_size > _MAX_UNWRITTEN:
            self._write()

    async def begin(self) -> None:
        """Log in, and choose the database."""
        steps = beginning(self._address)
        try:
            command = next(steps)
            while True:
                future = self._loop.create_future()
                if self._is_ended:
                    raise ConnectionResetError
                self.send(0.0, future, pack(command))
                reply = await future
                if isinstance(reply, Exception) and not isinstance(reply, Refused):
                    raise ConnectionResetError
                command = steps.send(reply)
        except StopIteration:
            pass
        if self._is_ended:
            raise self._refusal or ConnectionResetError()

    def expire(self, asked_until: float) -> None:
        """Give up commands asked for *asked_until* then, and with them the connection.

        No later reply can come before theirs.
        """
        if not self.in_flight or self.in_flight[0][0] > asked_until:
            return
        written = len(self.in_flight) - len(self._unwritten)
        while self.in_flight and self.in_flight[0][0] <= asked_until:
            _, future = self.in_flight.popleft()
            written -= 1
            if not future.done():
                future.set_result(TimeoutError())
        self._end(max(written, 0), Lost)

    def end(self, make_error: Callable[[], Exception] = Lost) -> None:
        """Close it, and fail what is in flight."""
        self._end(len(self.in_flight) - len(self._unwritten), make_error)

    def _end(self, written: int, make_error: Callable[[], Exception]) -> None:
        if self._is_ended:
            return
        self._is_ended = True
        for number, (_, future) in enumerate(self.in_flight):
            if not future.done():
                future.set_result(make_error() if number < written else NotSent())
        self.in_flight.clear()
        self._unwritten.clear()
        if self._transport is not None:
            # Not close(): it would wait for a peer that may read no more.
            self._transport.abort()
        self._owner.lost(self)

    def _write(self) -> None:
        if self._unwritten:
            data = b"".join(self._unwritten)
            self._unwritten.clear()
            self._unwritten_size = 0
            self._transport.write(data)

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        if self._address.keepalive is not None and self._address.path is None:
            its_socket = transport.get_extra_info("socket")
            its_socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, value in self._address.keepalive.items():
                its_socket.setsockopt(socket.IPPROTO_TCP, option, value)

    def data_received(self, data: bytes) -> None:
        if self._is_ended:
            return
        gets, popleft = self._reader.gets, self.in_flight.popleft
        ending: Callable[[], Exception] | None = None
        try:
            self._reader.feed(data)
            while (reply := gets()) is not NO_REPLY:
                if reply.__class__ is Refused and not self.in_flight:
                    # No place on the server (maxclients), said before it was asked for anything.
                    self._refusal = reply
                _, future = popleft()
                if not future.done():
                    future.set_result(reply)
                if reply.__class__ is Refused:
                    ending = self._ending_of(reply) or ending
                else:
                    self.is_proven = True
        except (ProtocolError, IndexError):
            # Something else than Redis, or a reply that no command asked for.
            ending = Lost
        if ending is not None:
            self.end(ending)
            return
        if self.is_proven:
            self._owner.proven()
        self._owner.send_waiting()

    def _ending_of(self, refused: Refused) -> Callable[[], Exception] | None:
        """Return how commands behind *refused* fail, where the connection is of no more use."""
        if "max number of clients" in refused.text:
            # The server says so once, unasked, and hangs up.
            return _failure_of(refused)
        if is_no_master(refused) and self._owner.may_move():
            return Lost
        return None

    def pause_writing(self) -> None:
        self.is_paused = True

    def resume_writing(self) -> None:
        self.is_paused = False
        self._owner.send_waiting()

    def eof_received(self) -> None:
        self.end()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  (asyncio's signature)
        self.end()
        if not self.gone.done():
            self.gone.set_result(None)


async def _connect(address: Address, owner: Multiplexed) -> _Connection:
    """Return a connection to *address* that is ready for commands."""
    loop = asyncio.get_running_loop()
    connection = _Connection(owner, address)
    try:
        if address.path is not None:
            await loop.create_unix_connection(lambda: connection, address.path)
        else:
            tls = None if address.tls is None else address.tls()
            await loop.create_connection(
                lambda: connection,
                address.host,
                address.port,
                ssl=tls,
                server_hostname=address.server_hostname if tls is not None else None,
            )
        await connection.begin()
    except BaseException:
        connection.end()
        raise
    return connection


def _failure_of(error: Exception) -> Callable[[], Exception]:
    """Return what makes the error of each caller: tracebacks would add up in one for all."""
    if isinstance(error, Refused):
        return lambda: Refused(error.text)
    if isinstance(error, TimeoutError):
        return TimeoutError
    if isinstance(error, StoreUnavailable):
        return lambda: StoreUnavailable(str(error), error.kind)
    return lambda: NotSent(error)


def meaning_of(
    failure: Refused | OSError | StoreUnavailable, address: Address
) -> Refused | OSError | StoreUnavailable:
    """Return what *failure* of the shared connection to *address* is to one command on it.

    Where no connection could be opened, that is the outage: another attempt would find none either.
    """
    if isinstance(failure, NotSent) and failure.cause is not None:
        if isinstance(failure.cause, Refused | OSError):
            return outage_of(failure.cause, address)
        return StoreUnavailable(
            f"No connection to Redis at {address} could be opened ({type(failure.cause).__name__})."
        )
    return ConnectionResetError() if isinstance(failure, NotSent | Lost) else failure
