"""Steps of a verb, and the two ways to take them.

A verb that takes several steps (compare, write, meet a conflict, write again) is a generator that
yields what it needs done and is sent the answers. `run` does that synchronously, `arun`
asynchronously, so that nothing is decided twice. Whatever interrupts the I/O is raised in the steps,
a cancellation too: they leave the session in a state that is true whether or not the command was
carried out.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Generator
from typing import Any, NamedTuple, Protocol, TypeVar

from asgiref.sync import async_to_sync, iscoroutinefunction, sync_to_async
from django.utils.asyncio import async_unsafe

from django_multisession.drivers.base import Ask
from django_multisession.session import queues
from django_multisession.session.events import OutageWatch
from django_multisession.session.turns import running_loop

Result = TypeVar("Result")

#: For how many seconds a try that meets others lets these go first, at least and at most.
FIRST_PAUSE, LONGEST_PAUSE = 0.004, 0.25

_random = secrets.SystemRandom()


class Hook(NamedTuple):
    """A method of Django's that a subclass overrides; an async run awaits its a-counterpart."""

    name: str
    arguments: tuple[Any, ...] = ()


class Call(NamedTuple):
    """A function of the site, sync or async, which may do I/O."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...] = ()


class Pause(NamedTuple):
    """Time in which other requests go first, in seconds."""

    seconds: float


class Queue(NamedTuple):
    """A place in the queue of the saves of one session, until the verb is over (see `queues`).

    Attributes:
        place: Storage key of the session.
        seconds: How long to wait for it at most.
    """

    place: str
    seconds: float


#: Steps of a driver's verb are steps of the session's verb too.
Step = Ask | Hook | Call | Pause | Queue
Steps = Generator[Step, Any, Result]


class Performer(Protocol):
    """What steps are taken with: a store object, with its hooks beside this method."""

    @property
    def outage_watch(self) -> OutageWatch:
        """Of the engine's server."""

    def note_answer(self, ask: Ask, error: BaseException | None, /) -> None:
        """Note that a server answered *ask*, or that *error* came instead."""


def pause(seconds: float) -> Steps[None]:
    """Let other requests go first for so many *seconds*."""
    yield Pause(seconds)


def back_off(least: float, times: int) -> Steps[None]:
    """Let other requests go first for a random time: up to *least* seconds, doubled so many *times*.

    It is never longer than `LONGEST_PAUSE`.
    """
    yield from pause(_random.uniform(0, min(least * 2 ** min(times, 16), LONGEST_PAUSE)))


def queue(place: str, seconds: float) -> Steps[bool]:
    """Let the saves go first that wait already for the session under *place*; True if some did."""
    has_waited: bool = yield Queue(place, seconds)
    return has_waited


def hook(name: str, *arguments: Any) -> Steps[Any]:
    """Call the method *name* of the store object, which a subclass overrides."""
    return (yield Hook(name, arguments))


def run(steps: Steps[Result], performer: Performer) -> Result:
    """Take *steps* with the sync ends of servers and the hooks of *performer*."""
    held: queues.Locks = []
    replies: list[Any] = []  # no name: error pages show what frames hold
    try:
        step = next(steps)
        while True:
            try:
                # Most steps ask; a call less for each.
                if isinstance(step, Ask):
                    if running_loop() is not None:
                        _require_no_loop()
                    replies.append(step.server.send(step.command))
                    if performer.outage_watch.is_on:
                        performer.note_answer(step, None)
                else:
                    replies.append(_do(step, performer, held))
            except BaseException as error:  # noqa: BLE001  (raised in the steps)
                if isinstance(step, Ask):
                    performer.note_answer(step, error)
                step = steps.throw(error)
            else:
                step = steps.send(replies.pop())
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]  # typeshed has no generic StopIteration
    finally:
        for lock in held:
            lock.release()


async def arun(steps: Steps[Result], performer: Performer) -> Result:
    """See run()."""
    held: queues.Locks = []
    replies: list[Any] = []  # no name: error pages show what frames hold
    try:
        step = next(steps)
        while True:
            try:
                if isinstance(step, Ask):
                    replies.append(await step.server.asend(step.command))
                    if performer.outage_watch.is_on:
                        performer.note_answer(step, None)
                else:
                    replies.append(await _ado(step, performer, held))
            except BaseException as error:  # noqa: BLE001  (raised in the steps)
                if isinstance(step, Ask):
                    performer.note_answer(step, error)
                step = steps.throw(error)
            else:
                step = steps.send(replies.pop())
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]  # as above
    finally:
        for lock in held:
            lock.release()


def _do(step: Hook | Call | Pause | Queue, performer: Performer, held: queues.Locks) -> Any:
    if isinstance(step, Hook):
        return getattr(performer, step.name)(*step.arguments)
    _require_no_loop()
    if isinstance(step, Call):
        is_async = iscoroutinefunction(step.function)
        return (async_to_sync(step.function) if is_async else step.function)(*step.arguments)
    if isinstance(step, Pause):
        return time.sleep(step.seconds)
    return queues.enter(step.place, step.seconds, held)


@async_unsafe("A session store cannot do I/O in an event loop; use its a-methods (aget, asave).")
def _require_no_loop() -> None:
    """Raise Django's error where an event loop runs in this thread, unless the site permits it."""


async def _ado(step: Hook | Call | Pause | Queue, performer: Performer, held: queues.Locks) -> Any:
    if isinstance(step, Hook):
        return await getattr(performer, f"a{step.name}")(*step.arguments)
    if isinstance(step, Call):
        is_async = iscoroutinefunction(step.function)
        return await (step.function if is_async else sync_to_async(step.function))(*step.arguments)
    if isinstance(step, Pause):
        return await asyncio.sleep(step.seconds)
    return await queues.aenter(step.place, step.seconds, held)
