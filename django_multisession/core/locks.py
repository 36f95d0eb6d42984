"""A lock that survives a fork."""

from __future__ import annotations

import os
import threading
import weakref


class ForkSafeLock:
    """A lock that is free in a forked child, whichever thread of the parent held it.

    A fork copies the lock and not the thread that would release it.

    Attributes:
        lock: The lock of this process, for code that is called too often for two calls more.
    """

    __slots__ = ("__weakref__", "lock")

    def __init__(self) -> None:
        self.lock = threading.Lock()
        _locks.add(self)

    def __enter__(self) -> None:
        self.lock.acquire()

    def __exit__(self, *_exception: object) -> None:
        self.lock.release()

    def _renew(self) -> None:
        self.lock = threading.Lock()


_locks: weakref.WeakSet[ForkSafeLock] = weakref.WeakSet()


def _renew_all() -> None:
    for lock in list(_locks):
        lock._renew()  # noqa: SLF001  (this module's own)


os.register_at_fork(after_in_child=_renew_all)
