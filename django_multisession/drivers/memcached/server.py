"""The memcacheds of an engine as the driver sees them: a command in, a reply out, or StoreUnavailable."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import os
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Any, NamedTuple, TypeVar

from django_multisession.core.locks import ForkSafeLock
from django_multisession.core.secret import SecretBytes
from django_multisession.drivers.memcached.connections import Connection, Node
from django_multisession.drivers.memcached.errors import failure_of, is_lost
from django_multisession.drivers.memcached.options import Address, Reach
from django_multisession.exceptions import OutageKind, StoreUnavailable

#: How many commands of event loops are under way; pymemcache's client holds a thread for each.
THREADS = 32

Reply = TypeVar("Reply")


class Write(NamedTuple):
    """What to store in the place of what was read.

    Attributes:
        raw: Bytes of a record or a tombstone.
        expiry: See `expiry.expiry_of`.
        answer: Of the verb, once it is stored.
    """

    raw: bytes
    expiry: int
    answer: Any


class Items:
    """The items of every memcached, within the time that one verb may take.

    Each key has one memcached, and none takes its place: what another one doesn't hold is no answer.
    """

    def __init__(self, nodes: Sequence[Node], until: float) -> None:
        self._nodes = nodes
        self._until = until

    def read(self, place: bytes) -> tuple[SecretBytes | None, Any]:
        """Return what is stored under *place*, and the token for writing over just that."""
        raw, token = self._exchange(place, lambda connection: connection.gets(place))
        if raw is None:
            return None, None
        if token == b"0":
            raise StoreUnavailable(
                f"memcached at {self._node_of(place).name} must run without -C: no save is safe.",
                OutageKind.REFUSED,
            )
        return SecretBytes(raw), token

    def read_many(self, places: Sequence[bytes]) -> dict[bytes, SecretBytes]:
        """Return what is stored under each of *places* where anything is: one command for each memcached."""
        parts: dict[Node, list[bytes]] = {}
        for place in places:
            parts.setdefault(self._node_of(place), []).append(place)
        found: dict[bytes, SecretBytes] = {}
        for node, part in parts.items():
            replies = exchange(node, functools.partial(Connection.get_many, keys=part), self._until)
            found |= {place: SecretBytes(raw) for place, raw in replies.items()}
        return found

    def add(self, place: bytes, raw: bytes, expiry: int) -> bool:
        """Store *raw* where nothing is."""
        is_added: bool = self._exchange(
            place, lambda connection: connection.add(place, raw, expiry, noreply=False)
        )
        return is_added

    def write_over(self, place: bytes, token: Any, write: Write) -> bool:
        """Store *write* in the place of what was read with *token*."""
        is_stored = self._exchange(
            place, lambda connection: connection.cas(place, write.raw, token, write.expiry)
        )
        # False: something else is there. None: nothing is.
        return is_stored is True

    def change(self, place: bytes, judge: Callable[[SecretBytes | None, Any], Any]) -> Any:
        """Read what is stored and have *judge* answer it, until that isn't a write or is done."""
        while True:
            raw, token = self.read(place)
            answer = judge(raw, token)
            if not isinstance(answer, Write):
                return answer
            if self.write_over(place, token, answer):
                return answer.answer

    def _exchange(self, place: bytes, call: Callable[[Connection], Reply]) -> Reply:
        return exchange(self._node_of(place), call, self._until)

    def _node_of(self, place: bytes) -> Node:
        nodes = self._nodes
        if len(nodes) == 1:
            return nodes[0]
        # The highest hash: a memcached that is added or removed moves no key between the others.
        return max(
            nodes,
            key=lambda node: hashlib.blake2b(place, digest_size=8, key=node.salt).digest(),
        )


def exchange(node: Node, call: Callable[[Connection], Reply], until: float) -> Reply:
    """Return what *call* makes of a connection to *node*; once more if the connection was lost.

    Raises:
        StoreUnavailable: There was no answer, or an error.
    """
    for is_last in (False, True):
        try:
            return node.exchange(call, until)
        except Exception as error:  # noqa: BLE001  (a reply that is none raises ValueError, KeyError and more)
            if is_lost(error) and not is_last:
                continue
            failure = failure_of(error, node.name)
            break
    # Here, where no error is its context: pymemcache's frames hold payloads.
    raise failure


Command = Callable[[Items], Any]


class MemcachedServer:
    """Sends commands to some memcacheds from threads; from event loops by way of threads.

    Args:
        addresses: Of each of them.
        reach: How they are reached.
    """

    def __init__(self, addresses: Sequence[Address], reach: Reach) -> None:
        self.nodes = [Node(address, reach) for address in addresses]
        #: Bytes of the largest item that each takes.
        self.item_size = reach.item_size
        self._timeout = reach.timeout
        self._lock = ForkSafeLock()
        self._threads: ThreadPoolExecutor | None = None
        _servers.add(self)

    def send(self, command: Command, /) -> Any:
        """Return the reply to *command*.

        Raises:
            StoreUnavailable: There is none.
        """
        return command(Items(self.nodes, self.limit()))

    async def asend(self, command: Command, /) -> Any:
        """See send(). All of a command takes one hop to a thread."""
        until = self.limit()
        return await asyncio.get_running_loop().run_in_executor(
            self._opened(), self._carry_out, command, until
        )

    def limit(self) -> float:
        """Return the moment by which a command that begins now must end."""
        return monotonic() + self._timeout

    def close(self) -> None:
        """Close the connections, and end the threads when they have nothing to do."""
        with self._lock:
            threads, self._threads = self._threads, None
        if threads is not None:
            threads.shutdown(wait=False)
        for node in self.nodes:
            node.close()

    async def aclose(self) -> None:
        """See close(); loops share the connections."""
        self.close()

    def _carry_out(self, command: Command, until: float) -> Any:
        if monotonic() >= until:
            raise StoreUnavailable(
                f"No thread was free for memcached ({THREADS} commands are under way).",
                OutageKind.OVERLOADED,
            )
        return command(Items(self.nodes, until))

    def _opened(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._threads is None:
                self._threads = ThreadPoolExecutor(THREADS, "multisession-memcached")
            return self._threads

    def _forget(self) -> None:
        """Drop the threads, which a fork didn't copy."""
        self._threads = None


_servers: weakref.WeakSet[MemcachedServer] = weakref.WeakSet()


def _forget_all() -> None:
    for server in list(_servers):
        server._forget()  # noqa: SLF001  (this module's own)


os.register_at_fork(after_in_child=_forget_all)
