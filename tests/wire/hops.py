"""Who leaves the event loop for a thread: noted where asgiref, asyncio and threading let them."""

from __future__ import annotations

import asyncio
import dataclasses
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from asgiref.sync import SyncToAsync


@dataclasses.dataclass(slots=True)
class Hops:
    """What left for a thread.

    Attributes:
        functions: The names of what `sync_to_async` called.
        calls: How often the loop called anything in a thread: for `sync_to_async`, and for others.
            Not to look an address up, as PyMongo does for each connection, at its monitor's times.
        threads: How many threads were started for anything else.
    """

    functions: list[str] = dataclasses.field(default_factory=list)
    calls: int = 0
    threads: int = 0


def hops(*functions: str) -> Hops:
    """Return those of a request in which `sync_to_async` calls *functions*, and nothing else hops."""
    return Hops(functions=list(functions), calls=len(functions))


@contextmanager
def watched() -> Iterator[Hops]:
    """Note what leaves the running event loop, as long as the block lasts."""
    seen = Hops()
    loop = asyncio.get_running_loop()
    loop_thread = threading.current_thread()
    call_in_thread, start = loop.run_in_executor, threading.Thread.start
    call_synchronously = SyncToAsync.__call__
    is_executor_at_it = False

    async def noting_function(adapter: Any, *arguments: Any, **named: Any) -> Any:
        seen.functions.append(adapter.func.__name__)
        return await call_synchronously(adapter, *arguments, **named)

    def noting_call(executor: Any, function: Any, *arguments: Any) -> Any:
        nonlocal is_executor_at_it
        seen.calls += function is not socket.getaddrinfo
        is_executor_at_it = True
        try:
            return call_in_thread(executor, function, *arguments)
        finally:
            is_executor_at_it = False

    def noting_start(thread: threading.Thread) -> None:
        if threading.current_thread() is loop_thread and not is_executor_at_it:
            seen.threads += 1
        start(thread)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SyncToAsync, "__call__", noting_function)
        patch.setattr(loop, "run_in_executor", noting_call)
        patch.setattr(threading.Thread, "start", noting_start)
        yield seen
