"""Queues: within one process, saves of one session that met another save go one after the other.

Without them, a hundred saves of one big session try again and again: each reads, merges, compresses
and signs it for nothing. A queue is a courtesy and no lock: the server's comparison of revisions
decides, and a save that waits for too long goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import weakref
from typing import Protocol

from django_multisession.session.turns import running_loop

_threads: weakref.WeakValueDictionary[str, threading.Lock] = weakref.WeakValueDictionary()
_tasks: weakref.WeakValueDictionary[tuple[int, str], asyncio.Lock] = weakref.WeakValueDictionary()


class _Lock(Protocol):
    def release(self) -> None: ...


Locks = list[_Lock]


def enter(place: str, seconds: float, held: Locks) -> bool:
    """Queue this thread's save of the session under the storage key *place*.

    Args:
        place: Storage key of the session.
        seconds: How long to wait at most.
        held: Gets what is to be released when the save is over.

    Returns:
        True if the save had to wait, so that what it knew before is old.
    """
    queue = _threads.setdefault(place, threading.Lock())
    if queue.acquire(blocking=False):
        held.append(queue)
        return False
    if queue.acquire(timeout=seconds):
        held.append(queue)
    return True


async def aenter(place: str, seconds: float, held: Locks) -> bool:
    """See enter()."""
    loop = running_loop()
    if loop is None:
        return False
    queue = _tasks.setdefault((id(loop), place), asyncio.Lock())
    has_to_wait = queue.locked()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await queue.acquire()
        held.append(queue)
    return has_to_wait


def _forget() -> None:
    """Drop the queues in a forked child: the threads that wait in them stayed behind."""
    _threads.clear()
    _tasks.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
