"""Connections to Redis for threads: one command at a time on each.

A thread may be interrupted anywhere: by a signal handler that raises, by a greenlet's or a thread's
end. So nothing is counted. A connection that was lost on the way is found by its absence, and only
one whose whole reply was read is free again.
"""

from __future__ import annotations

import collections
import contextlib
import errno
import math
import os
import socket
import struct
import threading
import time
import weakref
from collections.abc import Callable
from time import monotonic
from typing import Any, Final

from django_multisession.core.secret import SecretBytes
from django_multisession.drivers.redis.protocol import (
    NO_REPLY,
    Address,
    Command,
    ProtocolError,
    beginning,
    make_reader,
    overloaded,
    pack,
)

_BUFFER_BYTES = 16384
#: A command of so many bytes has room in a fresh connection's buffer: sending it does not wait.
_SMALL = 8192
#: Seconds after which a waiting thread looks by itself: a signal may have ended who was to wake it.
_ROUND = 0.25
#: Seconds after which a place in the queue is given up whose thread no longer looks.
_STALE = 8 * _ROUND
#: Seconds between two attempts at a Unix socket whose server has too many to accept.
_PAUSE = 0.01


class Connection:
    """One connection to a server, open or not.

    Args:
        home: The list of free connections that it belongs to.

    Attributes:
        home: See above.
        is_open: Has it not been closed?
        is_connected: May it be spoken on?
    """

    __slots__ = (
        "__weakref__",
        "_buffer",
        "_feed",
        "_gets",
        "_has_more",
        "_limit",
        "_receive",
        "_send",
        "_socket",
        "_timeout",
        "home",
        "is_connected",
        "is_open",
    )

    def __init__(self, home: list[Connection]) -> None:
        self.home = home
        self.is_open = True
        self.is_connected = False
        self._socket: socket.socket | None = None

    def connect(self, address: Address, latest: float = math.inf) -> None:
        """Connect to *address* and log in, until *latest* if that comes first.

        Raises:
            OSError: It cannot be reached, or not in time.
            Refused: It takes no such login, database or name.
        """
        deadline = min(monotonic() + address.connect_timeout, latest)
        # Python's own timeout until the end: it bounds a TLS handshake as a whole.
        opened = self._socket = _opened(address, deadline)
        if address.tls is not None:
            context = address.tls()
            host = address.server_hostname or address.host
            opened.settimeout(_left(deadline))
            opened = self._socket = context.wrap_socket(
                opened, server_hostname=host, do_handshake_on_connect=False
            )
            opened.do_handshake()
        reader = make_reader()
        self._buffer = bytearray(_BUFFER_BYTES)
        self._send, self._receive = opened.send, opened.recv_into
        self._feed, self._gets, self._has_more = reader.feed, reader.gets, reader.has_data
        self._timeout = address.timeout
        self._limit: Callable[[float], None] = opened.settimeout
        self._begin(address, deadline)
        if address.tls is None:
            self._limit = _kernel_limit(opened) or self._limit
        self._limit(self._timeout)
        self.is_connected = True

    def _begin(self, address: Address, deadline: float) -> None:
        commands = beginning(address)
        reply: Any = None
        with contextlib.suppress(StopIteration):
            while True:
                # Frames show their locals, and this may be a password.
                asked = SecretBytes(pack(commands.send(reply)))
                reply = self._converse(memoryview(asked), deadline)

    def exchange(self, command: Command, deadline: float | None) -> Any:
        """Send *command* and return its reply, or the `Refused` that it is.

        Raises:
            TimeoutError: It took longer than the address allows, or than to *deadline*.
            ConnectionError: The connection is lost.
        """
        began = monotonic()
        try:
            packed = pack(command)
            if deadline is not None or len(packed) > _SMALL:
                return self._bounded(packed, deadline or began + self._timeout)
            sent = self._send(packed)
            count = self._receive(self._buffer) if sent == len(packed) else -1
            if count < 0:
                return self._bounded(packed[sent:], began + self._timeout)
            if not count:
                raise ConnectionResetError
            self._feed(self._buffer, 0, count)
            reply = self._gets()
            if reply is NO_REPLY:
                return self._bounded(b"", began + self._timeout)
        except OSError as error:
            meant = _meaning(error)
            if meant is error:
                raise
        else:
            if self._has_more():
                raise ProtocolError
            return reply
        raise meant

    def _bounded(self, rest: bytes, deadline: float) -> Any:
        """Send *rest*, if any, and return the reply, with the limits of time set again each time."""
        reply = self._converse(memoryview(rest), deadline)
        self._limit(self._timeout)
        return reply

    def _converse(self, rest: memoryview, deadline: float) -> Any:
        while rest:
            self._limit(_left(deadline))
            rest = rest[self._send(rest) :]
        reply: Any = NO_REPLY
        while reply is NO_REPLY:
            self._limit(_left(deadline))
            count = self._receive(self._buffer)
            if not count:
                raise ConnectionResetError
            self._feed(self._buffer, 0, count)
            reply = self._gets()
        if self._has_more():
            raise ProtocolError
        return reply

    def close(self) -> None:
        """Close it; no command may be sent on it."""
        self.is_open = False
        if self._socket is not None:
            self._socket.close()

    def __del__(self) -> None:
        # An interrupted thread lost it between two steps, maybe before its first.
        opened: socket.socket | None = getattr(self, "_socket", None)
        if opened is not None:
            opened.close()


class _Waiter:
    """A thread's place in the queue for a connection.

    Attributes:
        looked_at: When it last looked.
    """

    __slots__ = ("_bell", "looked_at")

    def __init__(self) -> None:
        self._bell = threading.Lock()
        self._bell.acquire()
        self.looked_at = 0.0

    def wait(self, seconds: float) -> None:
        self._bell.acquire(timeout=seconds)

    def ring(self) -> None:
        """Wake its thread. Call it only with the lock of the queue held."""
        if self._bell.locked():
            self._bell.release()


class ConnectionPool:
    """At most *most* connections, and a queue of threads that wait for one.

    Args:
        find: Returns where to connect to; called for each connection.
        most: How many may be open.
        patience: Seconds to wait for a free one, or None for no end.

    Attributes:
        address: Where it connected to last, or will.
    """

    def __init__(
        self, address: Address, find: Callable[[], Address], most: int, patience: float | None
    ) -> None:
        self.address = address
        self._find, self._most, self._patience = find, most, patience
        self._start_afresh()
        _instances.add(self)

    def _start_afresh(self) -> None:
        self._free: list[Connection] = []
        self._known: list[weakref.ref[Connection]] = []
        self._queue: collections.deque[_Waiter] = collections.deque()
        # Not a ForkSafeLock: between its acquiring and its return a signal handler may raise.
        self._lock = threading.Lock()

    def exchange(self, command: Command, deadline: float | None = None) -> Any:
        """Send *command* and return its reply, or the `Refused` that it is.

        Args:
            command: What to send.
            deadline: Until when, by `time.monotonic`, if that is not the address's timeout from
                now on.

        Raises:
            TimeoutError: The reply took too long.
            OSError: The connection is lost, or there is none.
            Refused: The server takes no such login.
            StoreUnavailable: No connection became free.
        """
        connection = None
        try:
            if not self._queue:
                try:  # noqa: SIM105  (a context manager would cost a microsecond)
                    connection = self._free.pop()
                except IndexError:
                    pass
            if connection is None:
                latest = self._latest() if deadline is None else deadline
                connection = self._more()
                if not connection.is_connected:
                    self.address = self._find()
                    connection.connect(self.address, latest)
                deadline = min(latest, monotonic() + self.address.timeout)
            reply = connection.exchange(command, deadline)
        except BaseException as error:
            if connection is not None:
                # First of all, and without a call: a second signal may come with each.
                connection.is_open = False
                connection.close()
                self._clear_up_after(connection, error)
            raise
        # From the reply to here the interpreter hears no signal. Nor may it: a connection is either given
        # back or closed.
        home = connection.home
        home.append(connection)
        # A kept traceback of a later interruption must not keep the connection as well.
        connection = None
        if home is not self._free:
            _close_all(home)
        if self._queue:
            self._wake()
        return reply

    def _latest(self) -> float:
        """Return until when a command may wait, connect and be answered: the longest of its times."""
        if self._patience is None:
            return math.inf
        address = self.address
        return monotonic() + max(address.timeout, address.connect_timeout, self._patience)

    def close(self) -> None:
        """Close the free connections, and those in use when they come back; it stays usable."""
        closing, self._free = self._free, []
        _close_all(closing)
        if self._queue:
            self._wake()

    def _clear_up_after(self, connection: Connection, error: BaseException) -> None:
        # The server went, and so the others are as dead: once for all of their age.
        if isinstance(error, ConnectionError) and connection.home is self._free:
            self.close()
        elif self._queue:
            self._wake()

    def _more(self) -> Connection:
        """Return a connection when it is this thread's turn: a free one, or one to connect."""
        began, waiter = monotonic(), _Waiter()
        try:
            while True:
                connection = self._take(waiter)
                if connection is not None:
                    return connection
                waited = monotonic() - began
                self._wait_at(waiter, waited)
        except BaseException:
            with self._lock:
                if waiter in self._queue:
                    self._queue.remove(waiter)
                self._ring()
            raise

    def _wait_at(self, waiter: _Waiter, waited: float) -> None:
        if self._patience is None:
            waiter.wait(_ROUND)
        elif waited < self._patience:
            waiter.wait(min(self._patience - waited, _ROUND))
        else:
            raise overloaded(self.address, self._patience)

    def _take(self, waiter: _Waiter) -> Connection | None:
        """Return a connection if *waiter* is the first in the queue and there is one."""
        connection = None
        try:
            with self._lock:
                waiter.looked_at = monotonic()
                if waiter not in self._queue:
                    self._queue.append(waiter)
                # An interruption of an interruption leaves a place at which no thread waits.
                while waiter.looked_at - self._queue[0].looked_at > _STALE:
                    self._queue.popleft()
                if self._queue[0] is not waiter:
                    return None
                connection = self._free_or_new()
                if connection is not None:
                    self._queue.popleft()
                    self._ring()
        except BaseException:
            if connection is not None:
                connection.is_open = False
                connection.close()
            raise
        return connection

    def _free_or_new(self) -> Connection | None:
        try:
            return self._free.pop()
        except IndexError:
            pass
        self._known = [known for known in self._known if _is_open(known)]
        if len(self._known) >= self._most:
            return None
        connection = Connection(self._free)
        self._known.append(weakref.ref(connection))
        return connection

    def _wake(self) -> None:
        with self._lock:
            self._ring()

    def _ring(self) -> None:
        if self._queue:
            self._queue[0].ring()

    def _leave_to_parent(self) -> None:
        _of_parent.append(
            [connection for known in self._known if (connection := known()) is not None]
        )
        self._start_afresh()


def _is_open(known: weakref.ref[Connection]) -> bool:
    connection = known()
    return connection is not None and connection.is_open


def _close_all(connections: list[Connection]) -> None:
    while True:
        try:
            connection = connections.pop()
        except IndexError:
            return
        # See ConnectionPool.exchange().
        connection.is_open = False
        connection.close()


def _opened(address: Address, deadline: float) -> socket.socket:
    """Return a socket that is connected to *address*."""
    if address.path is not None:
        return _opened_path(address.path, deadline)
    found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    while True:
        family, kind, protocol, _, place = found.pop(0)
        # An address that does not answer leaves the others their share.
        share = _left(deadline) / (len(found) + 1)
        opened = socket.socket(family, kind, protocol)
        try:
            opened.settimeout(share)
            opened.connect(place)
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if address.keepalive is not None:
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                for option, value in address.keepalive.items():
                    opened.setsockopt(socket.IPPROTO_TCP, option, value)
        except BaseException as error:
            opened.close()
            if not found or not isinstance(error, OSError):
                raise
        else:
            return opened


def _opened_path(path: str, deadline: float) -> socket.socket:
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        while True:
            opened.settimeout(_left(deadline))
            try:
                opened.connect(path)
            except BlockingIOError:
                # A Unix socket does not wait for room in the server's backlog.
                time.sleep(_PAUSE)
            else:
                return opened
    except BaseException:
        opened.close()
        raise


def _left(deadline: float) -> float:
    """Return the seconds until *deadline*.

    Raises:
        TimeoutError: There are none.
    """
    left = deadline - monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _meaning(error: OSError) -> OSError:
    """Return a TimeoutError where the time is up, and a ConnectionError for all else."""
    if isinstance(error, BlockingIOError):
        return TimeoutError()
    # ETIMEDOUT is the kernel's word for a peer that is gone.
    if isinstance(error, ConnectionError) or (
        isinstance(error, TimeoutError) and error.errno != errno.ETIMEDOUT
    ):
        return error
    return ConnectionAbortedError()


def _kernel_limit(opened: socket.socket) -> Callable[[float], None] | None:
    """Make *opened* block and return what sets its limit of time in seconds, or None.

    With a timeout of Python's own each send and each receive is preceded by a poll(). Sockets of
    gevent and eventlet never block, Windows wants another format, and a kernel may refuse.
    """
    if os.name != "posix":
        return None

    def limit(seconds: float) -> None:
        # Zero would be no limit.
        value = struct.pack("ll", *divmod(max(1, int(seconds * 1_000_000)), 1_000_000))
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, value)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, value)

    opened.settimeout(None)
    if not os.get_blocking(opened.fileno()):
        return None
    try:
        limit(1)
    except OSError:
        return None
    return limit


#: Connections of a process that this one was forked from: kept, so that no finalizer touches them.
_of_parent: Final[list[list[Connection]]] = []
_instances: weakref.WeakSet[ConnectionPool] = weakref.WeakSet()


def _leave_all_to_parent() -> None:
    for pool in list(_instances):
        pool._leave_to_parent()  # noqa: SLF001  (this module's own)


os.register_at_fork(after_in_child=_leave_all_to_parent)
