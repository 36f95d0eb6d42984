"""Turns: the steps of one session object are taken one verb at a time.

Without turns, a request that saves in two coroutines takes its own save for another request's: a
counter counts twice, a login loses an entry. A turn spans a whole verb, reads included.

- A turn is re-entrant: a hook, a resolver or a receiver that uses the session takes part in the turn
  it is called in, and so do tasks that it starts and threads to which it hands its context, as
  ``asyncio.to_thread()`` and ``sync_to_async()`` do. A plain ``threading.Thread`` waits.
- A thread never waits for a coroutine, nor a coroutine for a thread: where the coroutine needs that
  thread (``sync_to_async(thread_sensitive=True)``), both would wait without end. Between the two,
  the comparison of states decides (see `state`).
"""

from __future__ import annotations

import asyncio
import threading
from contextvars import ContextVar, Token

#: What each turn that the running code takes part in is held by.
_holding: ContextVar[tuple[object, ...]] = ContextVar("holding", default=())

Held = Token[tuple[object, ...]]
AsyncHeld = tuple[Held, asyncio.Lock]


class Turn:
    """The turn of one session object, for threads and, apart from them, for coroutines."""

    __slots__ = ("_coroutines", "_holder", "_loop", "_task_holder", "_threads")

    def __init__(self) -> None:
        self._threads = threading.Lock()
        self._holder: object | None = None
        self._coroutines: asyncio.Lock | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task_holder: object | None = None

    def __reduce__(self) -> tuple[type[Turn], tuple[()]]:
        """Give a copy of a session turns of its own; a lock can't be copied."""
        return Turn, ()

    def enter(self) -> Held | None:
        """Wait for this thread's turn; None where it takes part in one already."""
        holding = _holding.get()
        if self._holder in holding:
            return None
        if not self._threads.acquire(False):
            if running_loop() is not None:
                # Whoever holds the turn may need this loop to end it.
                return None
            self._threads.acquire()
        holder = self._holder = object()
        return _holding.set((*holding, holder))

    def leave(self, held: Held | None) -> None:
        """End what `enter` began."""
        if held is not None:
            self._holder = None
            # A pending coroutine that is collected ends in another context than it began in. What
            # is left in that one names a turn that is over.
            try:  # noqa: SIM105  (a context manager would cost more than the rest)
                _holding.reset(held)
            except ValueError:
                pass
            self._threads.release()

    async def aenter(self) -> AsyncHeld | None:
        """Wait for this task's turn; None where it takes part in one already."""
        holding = _holding.get()
        if self._task_holder in holding:
            return None
        lock = self._lock()
        await lock.acquire()
        self._task_holder = object()
        return _holding.set((*holding, self._task_holder)), lock

    def aleave(self, held: AsyncHeld | None) -> None:
        """End what `aenter` began."""
        if held is not None:
            self._task_holder = None
            try:  # noqa: SIM105  (as above)
                _holding.reset(held[0])
            except ValueError:
                pass
            held[1].release()

    def _lock(self) -> asyncio.Lock:
        loop = running_loop()
        if self._coroutines is None or self._loop is not loop:
            # A lock belongs to a loop. Tasks of another one are no coroutines of this request.
            self._coroutines, self._loop = asyncio.Lock(), loop
        return self._coroutines


#: Returns the event loop that runs in this thread, or None. Of asyncio's two functions for that, the
#: one that raises costs a sync request ten times as much, several times.
running_loop = asyncio._get_running_loop  # noqa: SLF001  (asyncio's ``__all__`` names it)
