"""Turns: one verb of a session object at a time, and no wait that can't end.

Every wait here has an end of its own (`PATIENCE`), so that a deadlock is a failure.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import copy
import pickle
import signal
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import pytest
from asgiref.sync import async_to_sync, sync_to_async

from django_multisession.engines import memory
from django_multisession.session import turns
from django_multisession.session.turns import Turn

Result = TypeVar("Result")

#: Seconds after which a wait counts as one without end.
PATIENCE = 30


@contextlib.contextmanager
def taken(turn: Turn) -> Iterator[bool]:
    """Take a turn; tell whether it is one of its own."""
    held = turn.enter()
    try:
        yield held is not None
    finally:
        turn.leave(held)


@contextlib.asynccontextmanager
async def ataken(turn: Turn) -> AsyncIterator[bool]:
    """See taken()."""
    held = await turn.aenter()
    try:
        yield held is not None
    finally:
        turn.aleave(held)


def takes(turn: Turn) -> bool:
    with taken(turn) as is_own:
        return is_own


async def atakes(turn: Turn) -> bool:
    async with ataken(turn) as is_own:
        return is_own


def run(coroutine: Coroutine[Any, Any, Result]) -> Result:
    async def act() -> Result:
        return await asyncio.wait_for(coroutine, PATIENCE)

    return asyncio.run(act())


@pytest.fixture(autouse=True)
def deadline() -> Iterator[None]:
    """Raise in the main thread where a law waits without end: a lock has no time limit."""

    def give_up(*_signal: object) -> None:
        raise TimeoutError("it waits without end")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(2 * PATIENCE)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def turn() -> Turn:
    return Turn()


@pytest.fixture
def thread() -> Iterator[Callable[..., Future[Any]]]:
    """Return what calls a function in another thread, which inherits nothing."""
    with ThreadPoolExecutor() as threads:
        yield threads.submit


async def settle() -> None:
    """Let every task go on until it waits."""
    for _ in range(10):
        await asyncio.sleep(0)


# One at a time


def test_tasks_take_turns_in_the_order_in_which_they_came(turn: Turn) -> None:
    order: list[str] = []

    async def take(number: int) -> None:
        async with ataken(turn):
            order.append(f"{number} begins")
            await settle()
            order.append(f"{number} ends")

    async def act() -> None:
        await asyncio.gather(*map(take, range(5)))

    run(act())
    assert order == [f"{number} {what}" for number in range(5) for what in ("begins", "ends")]


def test_of_several_threads_one_has_a_turn_at_a_time(
    turn: Turn, thread: Callable[..., Future[Any]]
) -> None:
    n = 0
    has_begun = threading.Barrier(4, timeout=PATIENCE)

    def add() -> None:
        nonlocal n
        has_begun.wait()
        for _ in range(50):
            with taken(turn) as is_own:
                assert is_own
                before = n
                # Where the interpreter would let another thread go on.
                threading.Event().wait(0)
                n = before + 1

    for done in [thread(add) for _ in range(4)]:
        done.result(PATIENCE)
    assert n == 200


def test_a_thread_waits_for_the_turn_of_another_one(
    turn: Turn, thread: Callable[..., Future[Any]]
) -> None:
    is_waiting = threading.Event()

    def take() -> bool:
        is_waiting.set()
        return takes(turn)

    with taken(turn):
        waiting = thread(take)
        assert is_waiting.wait(PATIENCE)
        assert not waiting.done()
    assert waiting.result(PATIENCE)


def test_turns_of_two_sessions_are_apart(turn: Turn, thread: Callable[..., Future[Any]]) -> None:
    other = Turn()

    async def act() -> None:
        async with ataken(turn):
            assert await atakes(other)

    with taken(turn):
        assert takes(other)
        assert thread(takes, other).result(PATIENCE)
        run(act())


# An interrupted turn


def test_a_turn_that_ends_by_an_exception_is_over(turn: Turn) -> None:
    async def act() -> None:
        with contextlib.suppress(LookupError):
            async with ataken(turn):
                raise LookupError
        assert await atakes(turn)

    with contextlib.suppress(LookupError), taken(turn):
        raise LookupError
    assert takes(turn)
    run(act())


@pytest.mark.parametrize("is_waiting", [True, False], ids=["waiting", "holding"])
def test_a_canceled_task_keeps_no_turn(turn: Turn, *, is_waiting: bool) -> None:
    async def hold() -> None:
        async with ataken(turn):
            await asyncio.Event().wait()

    async def act() -> None:
        holders = [asyncio.create_task(hold()) for _ in range(2)]
        await settle()
        next_one = asyncio.create_task(atakes(turn))
        await settle()
        holders[1 if is_waiting else 0].cancel()
        await settle()
        assert not next_one.done()
        holders[0 if is_waiting else 1].cancel()
        assert await next_one

    run(act())


def test_a_turn_may_be_left_in_another_context(turn: Turn) -> None:
    """As that of a coroutine is which is destroyed while it waits."""

    async def hold() -> None:
        async with ataken(turn):
            await asyncio.Event().wait()

    async def act() -> None:
        holding = hold()
        contextvars.copy_context().run(holding.send, None)
        holding.close()
        assert await asyncio.wait_for(atakes(turn), PATIENCE)

    run(act())


# A turn is re-entrant


def test_code_inside_a_turn_takes_part_in_it(turn: Turn) -> None:
    async def act() -> None:
        async with ataken(turn) as is_own:
            assert is_own
            assert not await atakes(turn)
            assert not await atakes(turn)
        assert await atakes(turn)

    with taken(turn) as is_own:
        assert is_own
        assert not takes(turn)
        assert not takes(turn)
    assert takes(turn)
    run(act())


def test_an_inner_use_does_not_end_the_outer_turn(
    turn: Turn, thread: Callable[..., Future[Any]]
) -> None:
    with taken(turn):
        assert not takes(turn)
        waiting = thread(takes, turn)
        assert not waiting.done()
        assert not takes(turn)
    assert waiting.result(PATIENCE)


def test_a_task_that_a_turn_starts_takes_part_in_it(turn: Turn) -> None:
    async def act() -> None:
        async with ataken(turn):
            assert not await asyncio.create_task(atakes(turn))
            assert not any(await asyncio.gather(atakes(turn), atakes(turn)))

    run(act())


def test_a_thread_that_a_turn_starts_with_its_context_takes_part_in_it(turn: Turn) -> None:
    with taken(turn), ThreadPoolExecutor() as threads:
        inherited = contextvars.copy_context()
        assert not threads.submit(inherited.run, takes, turn).result(PATIENCE)


def test_sync_code_behind_an_async_hook_of_a_sync_turn_takes_part_in_it(turn: Turn) -> None:
    async def hook() -> list[bool]:
        return [
            await sync_to_async(takes, thread_sensitive=is_sensitive)(turn)
            for is_sensitive in (True, False)
        ]

    with taken(turn):
        assert async_to_sync(hook)() == [False, False]


def test_async_code_behind_a_sync_hook_of_an_async_turn_takes_part_in_it(turn: Turn) -> None:
    def hook() -> bool:
        return async_to_sync(atakes)(turn)

    async def act() -> list[bool]:
        async with ataken(turn):
            return [
                await sync_to_async(hook, thread_sensitive=is_sensitive)()
                for is_sensitive in (True, False)
            ]

    assert run(act()) == [False, False]


def test_a_task_that_outlives_its_turn_takes_turns_of_its_own(turn: Turn) -> None:
    async def act() -> None:
        may_go_on = asyncio.Event()

        async def outlive() -> bool:
            await may_go_on.wait()
            return await atakes(turn)

        async with ataken(turn):
            outliving = asyncio.create_task(outlive())
        async with ataken(turn):
            may_go_on.set()
            await settle()
            assert not outliving.done()
        assert await outliving

    run(act())


def test_a_context_that_outlives_its_turn_takes_turns_of_its_own(
    turn: Turn, thread: Callable[..., Future[Any]]
) -> None:
    with taken(turn):
        inherited = contextvars.copy_context()
    with taken(turn):
        waiting = thread(inherited.run, takes, turn)
        assert not waiting.done()
    assert waiting.result(PATIENCE)


# Threads and coroutines


def test_a_thread_does_not_wait_for_a_coroutine(
    turn: Turn, thread: Callable[..., Future[Any]]
) -> None:
    async def act() -> None:
        async with ataken(turn):
            assert thread(takes, turn).result(PATIENCE)

    run(act())


def test_a_coroutine_does_not_wait_for_a_thread(
    turn: Turn, thread: Callable[..., Future[Any]]
) -> None:
    def take_in_a_loop() -> bool:
        return run(atakes(turn))

    with taken(turn):
        assert thread(take_in_a_loop).result(PATIENCE)


def test_a_coroutine_that_needs_the_thread_that_a_turn_waits_in_gets_it(turn: Turn) -> None:
    """The one thread of ``thread_sensitive`` code, which both need to end their turns."""

    async def task() -> bool:
        async with ataken(turn):
            await settle()
            return await sync_to_async(takes, thread_sensitive=True)(turn)

    async def act() -> list[bool]:
        # Another task of the request that uses the session in the same thread.
        in_thread = sync_to_async(takes, thread_sensitive=True)
        return [*await asyncio.gather(task(), in_thread(turn), task(), in_thread(turn))]

    assert run(act()) == [True] * 4


def test_sync_code_in_a_loop_does_not_wait_for_what_may_need_the_loop(
    turn: Turn, thread: Callable[..., Future[Any]]
) -> None:
    async def act() -> None:
        has_begun, may_end = asyncio.Event(), threading.Event()
        loop = asyncio.get_running_loop()

        def hold() -> None:
            with taken(turn):
                loop.call_soon_threadsafe(has_begun.set)
                assert may_end.wait(PATIENCE)

        holding = thread(hold)
        await has_begun.wait()
        # What it does is refused if it is I/O (`steps`).
        assert not takes(turn)
        may_end.set()
        holding.result(PATIENCE)
        assert takes(turn)

    run(act())


# Event loops


def test_a_turn_may_be_taken_in_one_event_loop_after_the_other(turn: Turn) -> None:
    for _ in range(3):
        assert run(atakes(turn))


def test_a_turn_that_its_event_loop_left_behind_is_no_turn_of_the_next_one(turn: Turn) -> None:
    loop = asyncio.new_event_loop()
    loop.run_until_complete(turn.aenter())
    loop.close()
    assert run(atakes(turn))


def test_a_task_does_not_wait_for_one_of_another_event_loop(
    turn: Turn, thread: Callable[..., Future[Any]]
) -> None:
    async def act() -> None:
        async with ataken(turn):
            assert thread(run, atakes(turn)).result(PATIENCE)
            # What this turn starts does not wait for it either.
            await asyncio.create_task(atakes(turn))
            await atakes(turn)
        assert await atakes(turn)

    run(act())


def test_a_loop_that_runs_is_found(thread: Callable[..., Future[Any]]) -> None:
    async def act() -> bool:
        return turns.running_loop() is asyncio.get_running_loop()

    assert turns.running_loop() is None
    assert asyncio.run(act())


def test_a_copy_of_a_session_has_turns_of_its_own() -> None:
    session = memory.SessionStore()
    session["a"] = [1]
    session.save()
    for copied in (copy.deepcopy(session), pickle.loads(pickle.dumps(session))):
        assert copied._turn is not session._turn
        assert copied["a"] == [1]
