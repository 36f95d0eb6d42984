"""Connections to one memcached: pymemcache's protocol, one time limit for all that a command takes.

pymemcache's own pool and its client of several servers aren't used. The pool keeps a connection that
an interrupt left half read. The client of several servers moves the keys of one that fails to others,
where a session reads as none and its user is logged out.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import weakref
from collections.abc import Callable
from time import monotonic
from typing import Any, TypeVar

from django.core.exceptions import ImproperlyConfigured

try:
    from pymemcache.client.base import Client
except ImportError as error:
    raise ImproperlyConfigured(
        "Install django-multisession[memcached] to use this engine."
    ) from error

from django_multisession.drivers.memcached.errors import is_lost
from django_multisession.drivers.memcached.options import Address, Reach, name_of

Reply = TypeVar("Reply")


class _TimedSocket:
    """A socket each of whose calls ends by the moment `until`, or a tenth of the time later."""

    __slots__ = ("_socket", "_timeout", "until")

    def __init__(self, socket: Any, until: float) -> None:
        self._socket = socket
        self._timeout = 0.0
        self.until = until

    def recv(self, size: int) -> bytes:
        """See socket.recv()."""
        left = self.until - monotonic()
        if not 0.9 * self._timeout < left < 1.1 * self._timeout:
            self._limit(left)
        received: bytes = self._socket.recv(size)
        return received

    def sendall(self, data: bytes) -> None:
        """See socket.sendall()."""
        left = self.until - monotonic()
        if not 0.9 * self._timeout < left < 1.1 * self._timeout:
            self._limit(left)
        self._socket.sendall(data)

    def close(self) -> None:
        """See socket.close()."""
        self._socket.close()

    def _limit(self, left: float) -> None:
        # A system call, which the usual command is spared.
        if left <= 0:
            raise TimeoutError
        self._timeout = left
        self._socket.settimeout(left)


class Connection(Client):  # type: ignore[misc]  # pymemcache's is untyped
    """One connection; it carries out one command at a time."""

    def __init__(self, address: Address, reach: Reach) -> None:
        self.sock: Any = None
        super().__init__(address, **reach.client)
        self._reach = reach
        self._until = 0.0

    def limit(self, until: float) -> None:
        """Have what is sent from now on end by the moment *until*."""
        self._until = until
        if self.sock is not None:
            self.sock.until = until

    def _connect(self) -> None:
        left = self._until - monotonic()
        if left <= 0:
            raise TimeoutError
        self.connect_timeout = min(left, self._reach.connect_timeout)
        super()._connect()
        self.sock = _TimedSocket(self.sock, self._until)
        if self._reach.login:
            # As memcached's doc/protocol.txt says; it takes any key.
            self.set(b"login", self._reach.login, noreply=False)


class Node:
    """One memcached and the idle connections to it; a forked process has its own."""

    def __init__(self, address: Address, reach: Reach) -> None:
        self.name = name_of(address)
        #: Of the hash that says which keys are this memcached's.
        self.salt = hashlib.blake2b(self.name.encode(), digest_size=16).digest()
        self._address, self._reach = address, reach
        self._idle: list[Connection] = []
        _nodes.add(self)

    def exchange(self, call: Callable[[Connection], Reply], until: float) -> Reply:
        """Return what *call* makes of a connection, which whatever it raises closes."""
        idle = self._idle
        try:
            # One operation for all threads: no lock.
            connection = idle.pop()
        except IndexError:
            connection = Connection(self._address, self._reach)
        connection.limit(until)
        try:
            reply = call(connection)
        except BaseException as error:
            # An interrupt may have left a reply unread.
            connection.close()
            if is_lost(error):
                # Where a server ended one connection, it ended those before.
                self.close()
            raise
        idle.append(connection)
        if idle is not self._idle:
            _close_all(idle)
        return reply

    def close(self) -> None:
        """Close the connections; those in use when they come back. It stays usable."""
        idle, self._idle = self._idle, []
        _close_all(idle)


def _close_all(idle: list[Connection]) -> None:
    # Two threads may be at it.
    with contextlib.suppress(IndexError):
        while True:
            idle.pop().close()


_nodes: weakref.WeakSet[Node] = weakref.WeakSet()


def _forget_all() -> None:
    # Closes the copies that a fork made. The parent's stay open.
    for node in list(_nodes):
        node.close()


os.register_at_fork(after_in_child=_forget_all)
