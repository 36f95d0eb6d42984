"""Cancels a request where it waits for the n-th time: before what it waits for is there, or after."""

from __future__ import annotations

import asyncio
import functools
import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any, TypeVar

Result = TypeVar("Result")


@types.coroutine
def cancelled_at(
    turn: int, request: Coroutine[Any, Any, Result], *, is_late: bool
) -> Generator[Any, Any, tuple[bool, Result | None]]:
    """Run *request*, and cancel its task where it waits for the *turn*-th time, from 0.

    Args:
        turn: Where.
        request: What.
        is_late: Once what it waits for is there, and before it is told.

    Returns:
        Whether it waited so often, and what it returned: None if it was cancelled.
    """
    task = asyncio.current_task()
    assert task is not None
    waits = 0
    step: Callable[[], Any] = functools.partial(request.send, None)
    try:
        while True:
            waited_for = step()
            if waits == turn and is_late and waited_for is not None:
                # Called before the task's own callback, which is not there yet.
                waited_for.add_done_callback(lambda _: task.cancel())
            elif waits == turn:
                # It runs: whatever it waits for next is cancelled.
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
