"""Steps are told all that happens to their calls, and the same by both runners."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import inspect
import itertools
import secrets
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from django.contrib.sessions.backends.base import CreateError, UpdateError
from django.core.exceptions import SynchronousOnlyOperation

from django_multisession.core.records import (
    MISSING,
    Answer,
    Outcome,
    Reason,
    Record,
    Tombstone,
    new_revision,
)
from django_multisession.drivers.base import Driver
from django_multisession.drivers.memory import MemoryDriver
from django_multisession.exceptions import StoreUnavailable
from django_multisession.session import save, steps
from django_multisession.session.steps import Call, Hook, Pause, Step, Steps, ask, hook, pause
from django_multisession.store import DriverSessionStore
from django_multisession.testing.engine_faults import FaultyDriver, move
from django_multisession.testing.engine_fixtures import USER_ID, storage_key
from django_multisession.testing.verbs import SessionVerbs, open_runner
from tests.conftest import Clock

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
RECORD = Record(
    payload=b"signed",
    revisions=("first",),
    created_at=NOW,
    began_at=NOW,
    touched_at=NOW,
    idle_age=60,
    hard_deadline_at=None,
)
LEFT = Tombstone("second", Reason.ENDED)
#: Every verb of a driver that a session asks for.
CALLS: dict[str, tuple[Any, ...]] = {
    "add": ("key", RECORD),
    "get": ("key",),
    "replace": ("key", RECORD, RECORD, NOW),
    "move": ("key", "new key", RECORD, RECORD, LEFT, NOW),
    "touch": ("key", RECORD, NOW, NOW),
    "delete": ("key", LEFT),
    "purge_expired": (NOW, 10),
    "count_expired": (NOW,),
}


class Performer:
    """A store object: a driver, hooks, and ears."""

    def __init__(self, driver: Any) -> None:
        self._driver = driver
        self.noted: list[tuple[Step, BaseException | None]] = []
        self.hooked: list[str] = []

    def get_driver(self) -> Driver:
        return cast("Driver", self._driver)

    def note_answer(self, step: Step, error: BaseException | None, /) -> None:
        self.noted.append((step, error))

    def load(self, *arguments: Any) -> Any:
        self.hooked.append("load")
        return ("loaded", *arguments)

    async def aload(self, *arguments: Any) -> Any:
        await asyncio.sleep(0)
        self.hooked.append("aload")
        return ("loaded", *arguments)

    def fail(self) -> None:
        raise LookupError("hook")

    async def afail(self) -> None:
        raise LookupError("hook")


Runner = Callable[[Steps[Any], Performer], Any]


def run_async(taken: Steps[Any], performer: Performer) -> Any:
    return asyncio.run(steps.arun(taken, performer))


#: A law of one runner is a law of the other.
both = pytest.mark.parametrize("run", [steps.run, run_async], ids=["sync", "async"])


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


# Answers


@both
def test_steps_are_sent_the_answers_of_the_driver(run: Runner) -> None:
    def taken() -> Steps[list[Any]]:
        return [
            (yield from ask(Driver.add, "key", RECORD)),
            (yield from ask(Driver.add, "key", RECORD)),
            (yield from ask(Driver.get, "key")),
            (yield from ask(Driver.replace, "absent", RECORD, RECORD, NOW)),
            (yield from ask(Driver.delete, "key", LEFT)),
            (yield from ask(Driver.get, "key")),
            (yield from ask(Driver.touch, "key", RECORD, NOW, NOW)),
            (yield from ask(Driver.purge_expired, NOW, 10)),
        ]

    answers = run(taken(), Performer(MemoryDriver()))
    touched = Answer(Outcome.MISSING, LEFT)
    assert answers == [True, True, RECORD, MISSING, True, LEFT, touched, 0]


@both
def test_the_result_of_the_steps_is_returned(run: Runner) -> None:
    result = object()

    def taken() -> Steps[object]:
        yield from ask(Driver.get, "key")
        return result

    assert run(taken(), Performer(MemoryDriver())) is result


@both
def test_steps_without_a_call_ask_nothing(run: Runner) -> None:
    def taken() -> Steps[str]:
        yield from ()
        return "done"

    driver = FailingDriver(AssertionError())
    assert run(taken(), Performer(driver)) == "done"
    assert driver.asked == 0


@both
def test_a_pause_is_over_when_the_steps_go_on(run: Runner) -> None:
    def taken() -> Steps[str]:
        yield from pause(0.0)
        return "done"

    performer = Performer(MemoryDriver())
    assert run(taken(), performer) == "done"
    assert performer.noted == [(Pause(0.0), None)]


@pytest.mark.parametrize("verb", CALLS)
def test_a_call_names_the_drivers_verb_and_takes_what_it_takes(verb: str) -> None:
    of_driver = getattr(Driver, verb)
    inspect.signature(of_driver).bind(None, *CALLS[verb])
    asked = ask(of_driver, *CALLS[verb])
    assert next(asked) == Call(verb, CALLS[verb])
    answer = object()
    with pytest.raises(StopIteration) as stop:
        asked.send(answer)
    assert stop.value.value is answer


@both
def test_the_store_object_notes_every_step_and_how_it_went(run: Runner) -> None:
    error = StoreUnavailable("down")

    def taken() -> Steps[None]:
        yield from ask(Driver.get, "key")
        yield from hook("load")
        with contextlib.suppress(StoreUnavailable):
            yield from ask(Driver.get, "key")

    performer = Performer(FailingDriver(error, answers=1))
    run(taken(), performer)
    call = Call("get", ("key",))
    assert performer.noted == [(call, None), (Hook("load"), None), (call, error)]


# Hooks


@pytest.mark.parametrize(
    ("run", "called"), [(steps.run, "load"), (run_async, "aload")], ids=["sync", "async"]
)
def test_a_hook_is_called_and_its_a_counterpart_is_awaited(run: Runner, called: str) -> None:
    performer = Performer(MemoryDriver())
    assert run(hook("load", 1, "a"), performer) == ("loaded", 1, "a")
    assert performer.hooked == [called]


@both
def test_what_a_hook_raises_is_raised_in_the_steps(run: Runner) -> None:
    def taken() -> Steps[str]:
        try:
            yield from hook("fail")
        except LookupError as error:
            return str(error)
        return "nothing was raised"

    assert run(taken(), Performer(MemoryDriver())) == "hook"


# Exceptions


@both
@pytest.mark.parametrize(
    "error", [StoreUnavailable("down"), KeyError("x"), StopIteration(), StopAsyncIteration()]
)
def test_what_a_driver_raises_is_raised_in_the_steps(run: Runner, error: Exception) -> None:
    def taken() -> Steps[Exception | None]:
        try:
            yield from ask(Driver.get, "key")
        except Exception as caught:  # noqa: BLE001  (whatever is thrown in)
            return caught
        return None

    caught = run(taken(), Performer(FailingDriver(error)))
    # A StopIteration must not end the steps as if they were done (PEP 479).
    assert caught is error or (
        isinstance(error, StopIteration)
        and isinstance(caught, RuntimeError)
        and caught.__cause__ is error
    )


@both
def test_steps_that_caught_an_error_go_on(run: Runner) -> None:
    def taken() -> Steps[Any]:
        try:
            yield from ask(Driver.get, "key")
        except StoreUnavailable:
            yield from ask(Driver.add, "key", RECORD)
        return (yield from ask(Driver.delete, "key", LEFT))

    assert run(taken(), Performer(FailingDriver(StoreUnavailable("down")))) is True


@both
def test_an_error_that_the_steps_let_go_reaches_the_caller(run: Runner) -> None:
    error = StoreUnavailable("down")

    def taken() -> Steps[None]:
        yield from ask(Driver.get, "key")
        yield from ask(Driver.get, "key")

    driver = FailingDriver(error, answers=1)
    with pytest.raises(StoreUnavailable) as caught:
        run(taken(), Performer(driver))
    assert caught.value is error
    assert driver.asked == 2


@both
def test_an_error_of_the_steps_themselves_reaches_the_caller(run: Runner) -> None:
    def taken() -> Steps[None]:
        yield from ask(Driver.get, "key")
        raise LookupError("mine")

    with pytest.raises(LookupError, match=r"^mine$"):
        run(taken(), Performer(MemoryDriver()))


@both
def test_what_steps_do_at_their_end_is_done_when_a_driver_fails(run: Runner) -> None:
    done = []

    def taken() -> Steps[None]:
        try:
            yield from ask(Driver.get, "key")
        finally:
            done.append("tidied")

    with pytest.raises(StoreUnavailable):
        run(taken(), Performer(FailingDriver(StoreUnavailable("down"))))
    assert done == ["tidied"]


# Interruptions


def run_without_a_loop(taken: Steps[Any], performer: Performer) -> Any:
    """Run a coroutine that never waits, without a loop that takes its exceptions for its own."""
    coroutine = steps.arun(taken, performer)
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    pytest.fail("it waited")


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError]
)
@pytest.mark.parametrize("run", [steps.run, run_without_a_loop], ids=["sync", "async"])
def test_steps_are_told_what_ended_their_command_before_the_caller_is(
    run: Runner, error: type[BaseException]
) -> None:
    told: list[type[BaseException]] = []
    faulty = FaultyDriver(MemoryDriver())
    faulty.lose_answer("get", error())

    def taken() -> Steps[Any]:
        try:
            yield from ask(Driver.get, "x" * 64)
        except BaseException as reached:
            told.append(type(reached))
            raise

    # Held here, so that its end is not the garbage collector's doing.
    running = taken()
    with pytest.raises(error):
        run(running, Performer(faulty))
    assert told == [error]


class SlowDriver(MemoryDriver):
    """Never answers."""

    async def aget(self, key: str) -> Any:
        await asyncio.Event().wait()


def cancel(taken: Steps[Any], performer: Performer) -> asyncio.Task[Any]:
    """Cancel *taken* where they wait for the first time; return how they ended."""

    async def act() -> asyncio.Task[Any]:
        task = asyncio.create_task(steps.arun(taken, performer))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        return task

    return asyncio.run(act())


@pytest.mark.parametrize(
    "step",
    [lambda: ask(Driver.get, "key"), lambda: hook("block"), lambda: pause(3600)],
    ids=["call", "hook", "pause"],
)
def test_a_cancellation_reaches_the_steps_and_their_caller(step: Callable[[], Steps[Any]]) -> None:
    class Waiting(Performer):
        async def ablock(self) -> None:
            await asyncio.Event().wait()

    told = []

    def taken() -> Steps[str]:
        try:
            yield from step()
        except Exception:  # noqa: BLE001  (what steps catch must not swallow a cancellation)
            return "swallowed"
        except BaseException as error:
            told.append(type(error))
            raise
        return "answered"

    assert cancel(taken(), Waiting(SlowDriver())).cancelled()
    assert told == [asyncio.CancelledError]


def test_steps_may_put_something_right_after_a_cancellation() -> None:
    done = []

    def taken() -> Steps[None]:
        try:
            yield from ask(Driver.get, "key")
        except asyncio.CancelledError:
            done.append((yield from ask(Driver.delete, "key", LEFT)))
            raise

    assert cancel(taken(), Performer(SlowDriver())).cancelled()
    assert done == [False]


# A running event loop


@pytest.fixture
def safe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DJANGO_ALLOW_ASYNC_UNSAFE", raising=False)


@pytest.mark.parametrize(
    "step", [lambda: ask(Driver.get, "key"), lambda: pause(3600)], ids=["call", "pause"]
)
def test_a_sync_run_in_a_running_loop_is_refused_before_it_blocks(
    safe: None, step: Callable[[], Steps[Any]]
) -> None:
    driver = FailingDriver(AssertionError())

    async def block() -> None:
        steps.run(step(), Performer(driver))

    with pytest.raises(SynchronousOnlyOperation, match="aget, asave"):
        asyncio.run(block())
    assert driver.asked == 0


def test_a_sync_run_without_a_call_blocks_no_loop_and_is_not_refused(safe: None) -> None:
    # An untouched or forged session asks nothing. A hook may or may not: what it asks is refused.
    def taken() -> Steps[Any]:
        return (yield from hook("load"))

    async def act() -> Any:
        return steps.run(taken(), Performer(MemoryDriver()))

    assert asyncio.run(act()) == ("loaded",)


# Both runners over whole verbs


class RecordingDriver(FaultyDriver):
    """Notes what it is asked, and what it answers."""

    def __init__(self) -> None:
        super().__init__(cast("Driver", MemoryDriver()))
        self.trace: list[Any] = []
        #: So many saves find that another request's was first.
        self.others = 0

    def _run(self, verb: str, arguments: tuple[Any, ...]) -> Any:
        if verb == "replace" and self.others:
            self.others -= 1
            key, _, _, now = arguments
            found = super()._run("get", (key,))
            theirs = dataclasses.replace(found, revisions=new_revision(found.revisions))
            super()._run("replace", (key, theirs, found, now))
        answer = super()._run(verb, arguments)
        self.trace.append((verb, arguments, answer))
        return answer


Open = Callable[..., SessionVerbs]


def add(session: SessionVerbs) -> None:
    session["m"] = 3
    session.save()


class Scenes:
    """What a request does, each with what another one did before its first save."""

    def __init__(self, open_session: Open, driver: RecordingDriver, clock: Clock) -> None:
        self._open = open_session
        self._driver = driver
        self._clock = clock
        stored = open_session()
        stored.update({"n": 1, "cart": []})
        stored.save()
        self.key = stored.key
        self.mine = open_session(self.key)

    def _theirs(self, act: Callable[[SessionVerbs], object]) -> None:
        act(self._open(self.key))

    def new(self) -> None:
        session = self._open()
        session["a"] = 1
        session.respond()

    def read(self) -> None:
        self._clock.advance(seconds=3600)
        assert self.mine["n"] == 1
        self.mine.respond()

    def nested_change(self) -> None:
        self.mine["cart"].append(1)
        self.mine.respond()

    def merge(self) -> None:
        self.mine["n"] = 2

        self._theirs(add)
        self.mine.respond()

    def contention(self) -> None:
        self._driver.others = 3
        self.mine["n"] = 2
        self.mine.save()

    def login(self) -> None:
        self.mine.cycle_key()
        self.mine[USER_ID] = "7"
        self.mine.respond()

    def login_after_a_logout(self) -> None:
        self.mine["n"]
        self._theirs(lambda other: other.flush())
        self.login()

    def login_after_a_move(self) -> None:
        self.mine["n"]
        self._theirs(move)
        self.login()

    def logout_after_a_move(self) -> None:
        self._theirs(move)
        self.mine.flush()
        self.mine["next"] = 1
        self.mine.respond()

    def late_write(self) -> None:
        self.mine["n"] = 2
        self._theirs(lambda other: other.flush())
        self.mine.respond()

    def create(self) -> None:
        self.mine["n"]
        self.mine.create()
        self.mine.save(must_create=True)

    def delete(self) -> None:
        other = self._open()
        other.delete(self.key)
        assert not other.exists(self.key)

    def lost_save(self) -> None:
        self.mine["n"] = 2
        self._driver.lose_answer("write", StoreUnavailable("lost"))
        with pytest.raises(StoreUnavailable):
            self.mine.save()
        self.mine.save()

    def lost_login(self) -> None:
        self.mine.cycle_key()
        self.mine[USER_ID] = "7"
        self._driver.lose_answer("write", StoreUnavailable("lost"))
        with pytest.raises(StoreUnavailable):
            self.mine.save()
        self.mine.save()


SCENES = [name for name in vars(Scenes) if not name.startswith("_")]


@pytest.fixture
def counted_tokens(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Make tokens of numbers, which the returned function has begin again."""
    numbers: list[Iterator[int]] = []
    monkeypatch.setattr(secrets, "token_hex", lambda size: f"{next(numbers[0]):0{2 * size}x}")
    monkeypatch.setattr(secrets, "token_urlsafe", lambda size: f"{next(numbers[0]):0{size}}")
    monkeypatch.setattr(save._random, "uniform", lambda _least, _most: 0.0)

    def begin() -> None:
        numbers[:] = [itertools.count()]

    return begin


@pytest.mark.parametrize("scene", SCENES)
def test_both_runners_send_the_same_calls_for_the_same_answers(
    scene: str, counted_tokens: Callable[[], None], clock: Clock
) -> None:
    began = clock.now

    def play(mode: str) -> list[Any]:
        counted_tokens()
        clock.now = began
        driver = RecordingDriver()
        run, close = open_runner(mode)

        class SessionStore(DriverSessionStore):
            @classmethod
            def get_driver(cls) -> Driver:
                return cast("Driver", driver)

            def load(self) -> Any:
                driver.trace.append("load")
                return super().load()

            async def aload(self) -> Any:
                driver.trace.append("load")
                return await super().aload()

            def note_answer(self, step: Step, error: BaseException | None) -> None:
                driver.trace.append((step, repr(error)))
                super().note_answer(step, error)

        scenes = Scenes(lambda key=None: SessionVerbs(SessionStore(key), run), driver, clock)
        try:
            getattr(scenes, scene)()
        except (UpdateError, CreateError) as error:
            driver.trace.append(repr(error))
        finally:
            close()
        key = scenes.mine.key
        return [*driver.trace, key and storage_key(key), scenes.mine.session._inner.state]

    of_sync = play("sync")
    assert len(of_sync) > 4
    assert play("async") == of_sync
