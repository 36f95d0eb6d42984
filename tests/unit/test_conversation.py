from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from django.core.exceptions import SynchronousOnlyOperation

from django_multisession import conversation
from django_multisession.conversation import Call, Steps
from django_multisession.drivers.base import Driver
from django_multisession.drivers.memory import MemoryDriver
from django_multisession.exceptions import StoreUnavailable
from django_multisession.records import MISSING, Answer, Outcome, Reason, Record, Tombstone

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
RECORD = Record(
    payload=b"sealed",
    revisions=("first",),
    created_at=NOW,
    began_at=NOW,
    touched_at=NOW,
    idle_age=60,
    hard_deadline_at=None,
)
END = Tombstone("second", Reason.ENDED)
CALLS: dict[str, tuple[Any, ...]] = {
    "add": ("key", RECORD),
    "get": ("key",),
    "replace": ("key", RECORD, RECORD, NOW),
    "move": ("key", "new key", RECORD, RECORD, END, NOW),
    "touch": ("key", RECORD, NOW, NOW),
    "delete": ("key", END),
    "purge_expired": (NOW, 10),
    "count_expired": (NOW,),
}

Runner = Callable[[Steps[Any], Driver], Any]


def hold_async(steps: Steps[Any], driver: Driver) -> Any:
    return asyncio.run(conversation.ahold(steps, driver))


#: A law of one runner is a law of the other.
both = pytest.mark.parametrize("run", [conversation.hold, hold_async], ids=["sync", "async"])


class FailingDriver(MemoryDriver):
    """Its server goes away after *answers* answers."""

    def __init__(self, error: BaseException, answers: int = 0) -> None:
        super().__init__()
        self._error = error
        self._answers = answers
        self.asked = 0

    def get(self, key: str) -> Any:
        self.asked += 1
        if self.asked > self._answers:
            raise self._error
        return super().get(key)


@both
def test_steps_are_sent_the_answers_of_the_driver(run: Runner) -> None:
    def steps() -> Steps[list[Any]]:
        return [
            (yield from conversation.add("key", RECORD)),
            (yield from conversation.add("key", RECORD)),
            (yield from conversation.get("key")),
            (yield from conversation.replace("absent", RECORD, RECORD, NOW)),
            (yield from conversation.delete("key", END)),
            (yield from conversation.get("key")),
            (yield from conversation.touch("key", RECORD, NOW, NOW)),
            (yield from conversation.purge_expired(NOW, 10)),
        ]

    answers = run(steps(), MemoryDriver())
    touched = Answer(Outcome.MISSING, END)
    assert answers == [True, True, RECORD, MISSING, True, END, touched, 0]


@both
def test_the_result_of_the_steps_is_returned(run: Runner) -> None:
    result = object()

    def steps() -> Steps[object]:
        yield from conversation.get("key")
        return result

    assert run(steps(), MemoryDriver()) is result


@both
def test_steps_without_a_call_ask_nothing(run: Runner) -> None:
    def steps() -> Steps[str]:
        yield from ()
        return "done"

    driver = FailingDriver(AssertionError())
    assert run(steps(), driver) == "done"
    assert driver.asked == 0


@both
@pytest.mark.parametrize("error", [StoreUnavailable("down"), KeyError("x"), StopIteration()])
def test_what_a_driver_raises_is_raised_in_the_steps(run: Runner, error: Exception) -> None:
    def steps() -> Steps[Exception | None]:
        try:
            yield from conversation.get("key")
        except Exception as caught:  # noqa: BLE001  (whatever is thrown in)
            return caught
        return None

    caught = run(steps(), FailingDriver(error))
    # A StopIteration must not end the steps as if they were done (PEP 479).
    assert caught is error or (
        isinstance(error, StopIteration)
        and isinstance(caught, RuntimeError)
        and caught.__cause__ is error
    )


@both
def test_steps_that_caught_an_error_go_on(run: Runner) -> None:
    def steps() -> Steps[Any]:
        try:
            yield from conversation.get("key")
        except StoreUnavailable:
            yield from conversation.add("key", RECORD)
        return (yield from conversation.delete("key", END))

    assert run(steps(), FailingDriver(StoreUnavailable("down"))) is True


@both
def test_an_error_that_the_steps_let_go_reaches_the_caller(run: Runner) -> None:
    error = StoreUnavailable("down")

    def steps() -> Steps[None]:
        yield from conversation.get("key")
        yield from conversation.get("key")

    driver = FailingDriver(error, answers=1)
    with pytest.raises(StoreUnavailable) as caught:
        run(steps(), driver)
    assert caught.value is error
    assert driver.asked == 2


@both
def test_an_error_of_the_steps_themselves_reaches_the_caller(run: Runner) -> None:
    def steps() -> Steps[None]:
        yield from conversation.get("key")
        raise LookupError("mine")

    with pytest.raises(LookupError, match=r"^mine$"):
        run(steps(), MemoryDriver())


@both
def test_what_steps_do_at_their_end_is_done_when_a_driver_fails(run: Runner) -> None:
    done = []

    def steps() -> Steps[None]:
        try:
            yield from conversation.get("key")
        finally:
            done.append("tidied")

    with pytest.raises(StoreUnavailable):
        run(steps(), FailingDriver(StoreUnavailable("down")))
    assert done == ["tidied"]


def test_a_cancelled_conversation_is_cancelled() -> None:
    class SlowDriver(MemoryDriver):
        async def aget(self, key: str) -> Any:
            await asyncio.Event().wait()

    def steps() -> Steps[str]:
        try:
            yield from conversation.get("key")
        except Exception:  # noqa: BLE001  (what steps catch must not swallow a cancellation)
            return "swallowed"
        return "answered"

    async def cancel() -> None:
        task = asyncio.create_task(conversation.ahold(steps(), SlowDriver()))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())


def test_a_sync_conversation_in_a_running_loop_is_refused_before_it_asks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("DJANGO_ALLOW_ASYNC_UNSAFE", raising=False)
    driver = FailingDriver(AssertionError())

    async def block() -> None:
        conversation.hold(conversation.get("key"), driver)

    with pytest.raises(SynchronousOnlyOperation):
        asyncio.run(block())
    assert driver.asked == 0


def test_a_sync_conversation_without_a_call_may_be_held_in_a_running_loop() -> None:
    # An untouched or forged session asks nothing, so it blocks nothing.
    def steps() -> Steps[str]:
        yield from ()
        return "done"

    async def hold() -> str:
        return conversation.hold(steps(), MemoryDriver())

    assert asyncio.run(hold()) == "done"


@pytest.mark.parametrize("verb", CALLS)
def test_a_step_calls_the_verb_it_is_named_after(verb: str) -> None:
    steps = getattr(conversation, verb)(*CALLS[verb])
    assert next(steps) == Call(verb, CALLS[verb])
    answer = object()
    with pytest.raises(StopIteration) as stop:
        steps.send(answer)
    assert stop.value.value is answer


@pytest.mark.parametrize("verb", CALLS)
def test_a_step_takes_what_the_drivers_verb_takes(verb: str) -> None:
    of_driver = list(inspect.signature(getattr(Driver, verb)).parameters.values())[1:]
    of_step = list(inspect.signature(getattr(conversation, verb)).parameters.values())
    assert of_step == of_driver
