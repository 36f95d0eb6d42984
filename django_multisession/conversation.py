"""What the store says to a driver, without saying how: one conversation, two ways to hold it.

A verb of the store that takes several steps (save: compare, write, meet a conflict, write again)
is a generator that yields calls and is sent their answers. `hold` runs it against a driver's
verbs, `ahold` against their a-twins, so nothing is decided twice for sync and async.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Callable, Generator
from datetime import datetime
from typing import Any, TypeVar

from django.utils.asyncio import async_unsafe

from django_multisession.drivers.base import Driver
from django_multisession.records import Answer, Record, Stored, Tombstone


@dataclasses.dataclass(frozen=True, slots=True)
class Call:
    """A driver's verb and its arguments."""

    verb: str
    arguments: tuple[Any, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Pause:
    """Time to let others go first."""

    seconds: float


Result = TypeVar("Result")
Steps = Generator[Call | Pause, Any, Result]

#: Hears what became of each call: None, or what the driver raised.
Hear = Callable[[Call | Pause, Exception | None], None]


def _hear_nothing(_call: Call | Pause, _error: Exception | None) -> None:
    """Who asks a driver outside of a session has nobody to tell."""


def add(key: str, record: Record) -> Steps[bool]:
    """See Driver.add()."""
    answer: bool = yield Call("add", (key, record))
    return answer


def get(key: str) -> Steps[Stored]:
    """See Driver.get()."""
    answer: Stored = yield Call("get", (key,))
    return answer


def replace(key: str, record: Record, base: Record, now: datetime) -> Steps[Answer]:
    """See Driver.replace()."""
    answer: Answer = yield Call("replace", (key, record, base, now))
    return answer


def move(
    old_key: str,
    new_key: str,
    record: Record,
    base: Record | Tombstone,
    left: Tombstone,
    now: datetime,
) -> Steps[Answer]:
    """See Driver.move()."""
    answer: Answer = yield Call("move", (old_key, new_key, record, base, left, now))
    return answer


def touch(key: str, base: Record, touched_at: datetime, now: datetime) -> Steps[Answer]:
    """See Driver.touch()."""
    answer: Answer = yield Call("touch", (key, base, touched_at, now))
    return answer


def delete(key: str, left: Tombstone) -> Steps[bool | Tombstone]:
    """See Driver.delete()."""
    answer: bool | Tombstone = yield Call("delete", (key, left))
    return answer


def purge_expired(now: datetime, limit: int) -> Steps[int]:
    """See Driver.purge_expired()."""
    answer: int = yield Call("purge_expired", (now, limit))
    return answer


def count_expired(now: datetime) -> Steps[int]:
    """See Driver.count_expired()."""
    answer: int = yield Call("count_expired", (now,))
    return answer


def pause(seconds: float) -> Steps[None]:
    """Wait for so many *seconds*; in async code other tasks go on."""
    yield Pause(seconds)


def hold(steps: Steps[Result], driver: Driver, hear: Hear = _hear_nothing) -> Result:
    """Run *steps* against the verbs of *driver*; what a verb raises is raised in *steps*."""
    try:
        call = next(steps)
        while True:
            try:
                answer = _ask(driver, call)
            except Exception as error:  # noqa: BLE001  (the steps decide which they mean)
                hear(call, error)
                call = steps.throw(error)
            else:
                hear(call, None)
                call = steps.send(answer)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]  # typeshed has no generic StopIteration


@async_unsafe("A session store cannot do I/O in an event loop; use its a-methods (aget, asave).")
def _ask(driver: Driver, call: Call | Pause) -> Any:
    if isinstance(call, Pause):
        return time.sleep(call.seconds)
    return getattr(driver, call.verb)(*call.arguments)


async def ahold(steps: Steps[Result], driver: Driver, hear: Hear = _hear_nothing) -> Result:
    """See hold()."""
    try:
        call = next(steps)
        while True:
            try:
                answer = await _aask(driver, call)
            except Exception as error:  # noqa: BLE001  (the steps decide which they mean)
                hear(call, error)
                call = steps.throw(error)
            else:
                hear(call, None)
                call = steps.send(answer)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]  # typeshed has no generic StopIteration


async def _aask(driver: Driver, call: Call | Pause) -> Any:
    """See _ask()."""
    if isinstance(call, Pause):
        return await asyncio.sleep(call.seconds)
    return await getattr(driver, f"a{call.verb}")(*call.arguments)
