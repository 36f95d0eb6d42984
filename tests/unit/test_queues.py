"""Within one process, saves of one session that met another save go one after the other."""

from __future__ import annotations

import asyncio
import threading

from django_multisession.session import queues
from django_multisession.session.queues import Locks


def test_the_first_does_not_wait() -> None:
    held: Locks = []
    assert queues.enter("a", 0.01, held) is False
    assert len(held) == 1
    held[0].release()


def test_the_next_waits_until_the_first_is_over() -> None:
    first: Locks = []
    second: Locks = []
    queues.enter("a", 1, first)
    waited: list[bool] = []
    thread = threading.Thread(target=lambda: waited.append(queues.enter("a", 60, second)))
    thread.start()
    assert waited == []
    first[0].release()
    thread.join()
    assert waited == [True]
    second[0].release()


def test_one_whose_wait_is_too_long_goes_on_and_holds_nothing() -> None:
    first: Locks = []
    second: Locks = []
    queues.enter("a", 1, first)
    assert queues.enter("a", 0.001, second) is True
    assert second == []
    first[0].release()


def test_other_sessions_are_not_waited_for() -> None:
    held: Locks = []
    assert (queues.enter("a", 1, held), queues.enter("b", 1, held)) == (False, False)
    for lock in held:
        lock.release()


def test_nothing_is_kept_of_a_queue_that_is_over() -> None:
    held: Locks = []
    queues.enter("a place of this test", 1, held)
    held.pop().release()
    assert "a place of this test" not in queues._threads


def test_tasks_go_one_after_the_other() -> None:
    async def run() -> list[bool]:
        first: Locks = []
        second: Locks = []
        waited = [await queues.aenter("a", 1, first)]
        following = asyncio.create_task(queues.aenter("a", 60, second))
        await asyncio.sleep(0)
        first[0].release()
        waited.append(await following)
        second[0].release()
        return waited

    assert asyncio.run(run()) == [False, True]


def test_a_task_whose_wait_is_too_long_goes_on_and_holds_nothing() -> None:
    async def run() -> tuple[bool, Locks]:
        first: Locks = []
        second: Locks = []
        await queues.aenter("a", 1, first)
        has_waited = await queues.aenter("a", 0.001, second)
        first[0].release()
        return has_waited, second

    assert asyncio.run(run()) == (True, [])
