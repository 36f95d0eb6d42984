"""One async client per event loop, closed with its loop.

An async client is bound to the loop that first used it. Under ASGI there is one loop; under WSGI
every ``async_to_sync`` makes one, and test runners make many. Closing must not be left to the
garbage collector (it warns and cannot await), and a weak dictionary keyed by loop frees nothing,
because the clients point back at their loop. What does end with a loop are its async generators:
``asyncio.run``, asgiref and every server finalize them (``loop.shutdown_asyncgens``). So each
client lives in one.
"""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, Generic, TypeVar

Client = TypeVar("Client")


class _Slot(Generic[Client]):
    """The client of one loop and the generator that will close it."""

    __slots__ = ("client", "lifetime", "loop")

    def __init__(
        self,
        client: Client,
        loop: asyncio.AbstractEventLoop,
        lifetime: AsyncGenerator[None],
    ) -> None:
        self.client = client
        self.loop = loop
        self.lifetime = lifetime


class ClientPerLoop(Generic[Client]):
    """Opens one client per running event loop and closes it when the loop ends.

    Args:
        open_client: Makes a client; does no I/O.
        close_client: Closes one, in its own loop.
    """

    def __init__(
        self, open_client: Callable[[], Client], close_client: Callable[[Client], Awaitable[None]]
    ) -> None:
        self._open_client = open_client
        self._close_client = close_client
        self._slots: dict[int, _Slot[Client]] = {}
        self._lock = threading.Lock()
        _instances.add(self)

    async def get(self) -> Client:
        """Return the client of the running loop."""
        loop = asyncio.get_running_loop()
        slot = self._slots.get(id(loop))
        # A new loop may have the address of a dead one that was never shut down properly.
        if slot is None or slot.loop is not loop:
            slot = await self._open(loop)
        return slot.client

    async def aclose(self) -> None:
        """Close the client of the running loop, if it has one."""
        slot = self._slots.get(id(asyncio.get_running_loop()))
        if slot is not None and slot.loop is asyncio.get_running_loop():
            await slot.lifetime.aclose()

    def close(self) -> None:
        """Have every client closed: in its own loop, immediately if that runs and else when it ends."""
        with self._lock:
            slots, self._slots = list(self._slots.values()), {}
        for slot in slots:
            if slot.loop.is_running():
                finishing = _finish(slot.lifetime)
                try:
                    asyncio.run_coroutine_threadsafe(finishing, slot.loop)
                except RuntimeError:
                    # The loop ended since it was asked, and has closed its client itself.
                    finishing.close()

    def __len__(self) -> int:
        """Return how many clients are open."""
        return len(self._slots)

    async def _open(self, loop: asyncio.AbstractEventLoop) -> _Slot[Client]:
        client = self._open_client()
        slot = _Slot(client, loop, self._lifetime(client, id(loop)))
        with self._lock:
            self._slots = {
                key: other for key, other in self._slots.items() if not other.loop.is_closed()
            }
            self._slots[id(loop)] = slot
            _unfinished.difference_update(
                [other for other in list(_unfinished) if other.loop.is_closed()]
            )
            _unfinished.add(slot)
        # Starts the generator, and so registers it with the loop. It does not suspend: no other
        # coroutine of this loop can find the slot half made, or open a second client.
        await anext(slot.lifetime)
        return slot

    async def _lifetime(self, client: Client, key: int) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            with self._lock:
                slot = self._slots.get(key)
                if slot is not None and slot.client is client:
                    del self._slots[key]
            try:
                await self._close_client(client)
            finally:
                _unfinished.difference_update(
                    [other for other in list(_unfinished) if other.client is client]
                )

    def _forget(self) -> None:
        """Let go of what a fork copied: its sockets belong to the parent."""
        self._slots = {}
        self._lock = threading.Lock()


async def _finish(lifetime: AsyncGenerator[None]) -> None:
    await lifetime.aclose()


# A loop knows its generators weakly. One that no one else holds (its driver was closed while the loop
# was at rest) would be closed by a task that the end of the loop does not wait for.
_unfinished: set[_Slot[Any]] = set()
# Kept alive for good: collected, they would be finalized by their loop, and that is the parent's too.
# Both share its selector, from which the child would take the parent's sockets.
_of_parents: list[_Slot[Any]] = []
_instances: weakref.WeakSet[ClientPerLoop[Any]] = weakref.WeakSet()


def _forget_all() -> None:
    _of_parents.extend(_unfinished)
    _unfinished.clear()
    for instance in list(_instances):
        instance._forget()  # noqa: SLF001  (this module's own)


os.register_at_fork(after_in_child=_forget_all)
