"""Threads of laws: Django's connections are a thread's own, and are closed by it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from django.db import connections

Result = TypeVar("Result")


def closing_databases(work: Callable[[], Result]) -> Result:
    """Do *work*, the last one of its thread."""
    try:
        return work()
    finally:
        connections.close_all()


def close_databases(pool: ThreadPoolExecutor, threads: int) -> None:
    """Close the connections of all *threads* of *pool*."""
    barrier = threading.Barrier(threads)

    def close(_number: int) -> None:
        # Each thread gets one of these: it waits for the others.
        barrier.wait(timeout=30)
        connections.close_all()

    list(pool.map(close, range(threads)))
