"""Cancels a request where it waits for the n-th time, as a server does whose client has gone."""

from __future__ import annotations

import asyncio
import functools
import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any, TypeVar

Result = TypeVar("Result")


@types.coroutine
def cancelled_at(
    turn: int, request: Coroutine[Any, Any, Result]
) -> Generator[Any, Any, tuple[bool, Result | None]]:
    """Run *request*, and cancel its task where it waits for the *turn*-th time, from 0.

    Returns:
        Whether it waited so often, and what it returned: None if it was cancelled. In Python 3.11
        ``asyncio.wait_for()`` forgets a cancellation in the turn in which what it waits for ends.
    """
    task = asyncio.current_task()
    assert task is not None
    waits = 0
    step: Callable[[], Any] = functools.partial(request.send, None)
    try:
        while True:
            waited_for = step()
            if waits == turn:
                # Now, while the task runs: whatever it waits for next is cancelled.
                task.cancel()
            waits += 1
            try:
                sent = yield waited_for
            except BaseException as error:  # noqa: BLE001  (the request decides)
                step = functools.partial(request.throw, error)
            else:
                step = functools.partial(request.send, sent)
    except StopIteration as stop:
        return turn < waits, stop.value
    except asyncio.CancelledError:
        assert turn < waits, "nobody else cancels it"
        return True, None
