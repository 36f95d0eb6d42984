"""Steps are told all that happens to what they ask, and the same by both runners."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
from django.contrib.sessions.backends.base import CreateError, UpdateError
from django.core.exceptions import SynchronousOnlyOperation

from django_multisession.core import keys, records, signing
from django_multisession.core.records import (
    MISSING,
    NEVER,
    Answer,
    Facts,
    Outcome,
    Reason,
    Record,
    Tombstone,
    assemble,
    encode_signed,
)
from django_multisession.drivers.base import Ask, Driver
from django_multisession.drivers.memory import Command, MemoryDriver, MemoryServer
from django_multisession.exceptions import StoreUnavailable
from django_multisession.session import queues, steps
from django_multisession.session.events import OutageWatch
from django_multisession.session.steps import Pause, Queue, Steps, hook, pause, queue
from django_multisession.settings.conf import config
from django_multisession.store import DriverSessionStore
from django_multisession.testing.engine.faults import FaultyDriver, move
from django_multisession.testing.engine.fixtures import USER_ID, storage_key
from django_multisession.testing.rows import for_each
from django_multisession.testing.stored_records import facts_of
from django_multisession.testing.verbs import SessionVerbs, open_runner
from tests.conftest import Clock
from tests.unit.test_events import asked

NOW = 1_767_268_800_000
FACTS = Facts(
    created_ms=NOW, began_ms=NOW, touched_ms=NOW, idle_ms=60_000, deadline_ms=records.NEVER
)
RECORD = assemble(FACTS, bytes(32), encode_signed(FACTS, b"signed", b"key1"))
LEFT = Tombstone(b"second  ", Reason.ENDED)
#: Every verb of a driver that a session asks for.
CALLS: dict[str, tuple[Any, ...]] = {
    "add": ("key", RECORD),
    "get": ("key",),
    "replace": ("key", RECORD, RECORD, NOW),
    "move": ("key", "new key", RECORD, RECORD, LEFT, NOW),
    "touch": ("key", RECORD, NOW, NOW),
    "retire": ("key", RECORD, LEFT, NOW, NEVER),
    "withdraw": ("key", RECORD),
    "delete": ("key", LEFT),
    "purge_expired": (NOW, 10),
    "count_expired": (NOW,),
}


class Performer:
    """A store object: hooks, and ears."""

    def __init__(self) -> None:
        self.noted: list[tuple[str, BaseException | None]] = []
        self.hooked: list[str] = []
        # Answers are noted during an outage only.
        self.outage_watch = OutageWatch()
        self.outage_watch.note_failure(asked("get"), NOW)

    def note_answer(self, ask: Ask, error: BaseException | None, /) -> None:
        self.noted.append((ask.verb, error))

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


class FailingServer(MemoryServer):
    """Goes away after *answers* answers to reads."""

    def __init__(self, error: BaseException, answers: int) -> None:
        super().__init__(100, time.monotonic)
        self._error = error
        self._answers = answers
        self.asked = 0

    def send(self, command: Command, /) -> Any:
        if command.verb == "get":
            self.asked += 1
            if self.asked > self._answers:
                raise self._error
        return super().send(command)


class FailingDriver(MemoryDriver):
    """Its server goes away after *answers* answers to reads."""

    server: FailingServer

    def __init__(self, error: BaseException, answers: int = 0) -> None:
        self.server = FailingServer(error, answers)


# Answers


@both
def test_steps_are_sent_the_answers_of_the_driver(run: Runner) -> None:
    driver = MemoryDriver()

    def taken() -> Steps[list[Any]]:
        return [
            (yield from driver.add("key", RECORD)),
            (yield from driver.add("key", RECORD)),
            (yield from driver.get("key")),
            (yield from driver.replace("absent", RECORD, RECORD, NOW)),
            (yield from driver.delete("key", LEFT)),
            (yield from driver.get("key")),
            (yield from driver.touch("key", RECORD, NOW, NOW)),
            (yield from driver.purge_expired(NOW, 10)),
        ]

    touched = Answer(Outcome.MISSING, LEFT)
    assert run(taken(), Performer()) == [True, True, RECORD, MISSING, True, LEFT, touched, 0]


@both
def test_the_result_of_the_steps_is_returned(run: Runner) -> None:
    result = object()

    def taken() -> Steps[object]:
        yield from MemoryDriver().get("key")
        return result

    assert run(taken(), Performer()) is result


@both
def test_steps_without_a_step_ask_nothing(run: Runner) -> None:
    def taken() -> Steps[str]:
        yield from ()
        return "done"

    performer = Performer()
    assert run(taken(), performer) == "done"
    assert performer.noted == []


@both
def test_a_pause_is_over_when_the_steps_go_on(run: Runner) -> None:
    def taken() -> Steps[str]:
        yield from pause(0.0)
        return "done"

    assert list(pause(0.5)) == [Pause(0.5)]
    assert run(taken(), Performer()) == "done"


@for_each("verb", CALLS)
def test_a_verb_asks_its_server_and_returns_what_that_replied(verb: str) -> None:
    driver = MemoryDriver()
    asked = getattr(driver, verb)(*CALLS[verb])
    assert next(asked) == Ask(driver.server, verb, Command(verb, CALLS[verb]))
    answer = object()
    with pytest.raises(StopIteration) as stop:
        asked.send(answer)
    assert stop.value.value is answer


@for_each("verb", sorted(set(CALLS) - {"purge_expired", "count_expired"}))
def test_a_verb_takes_what_the_contract_says(verb: str) -> None:
    inspect.signature(getattr(Driver, verb)).bind(None, *CALLS[verb])


@both
def test_the_store_object_notes_each_answer_and_nothing_else(run: Runner) -> None:
    error = StoreUnavailable("down")
    driver = FailingDriver(error, answers=1)

    def taken() -> Steps[None]:
        yield from driver.get("key")
        yield from hook("load")
        yield from pause(0.0)
        yield from queue("place", 0.0)
        with contextlib.suppress(StoreUnavailable):
            yield from driver.get("key")
        yield from driver.delete("key", LEFT)

    performer = Performer()
    run(taken(), performer)
    assert performer.noted == [("get", None), ("get", error), ("delete", None)]


@both
def test_what_steps_make_of_an_answer_is_not_noted_as_the_servers_failure(run: Runner) -> None:
    # A record of a newer version is an outage of its session and none of the server.
    def taken() -> Steps[None]:
        yield from MemoryDriver().get("key")
        raise StoreUnavailable("a newer release wrote it")

    performer = Performer()
    with pytest.raises(StoreUnavailable):
        run(taken(), performer)
    assert performer.noted == [("get", None)]


# Queues


@both
def test_a_place_in_a_queue_is_held_until_the_verb_is_over(run: Runner) -> None:
    held: list[bool] = []

    def note() -> None:
        locks = (*queues._threads.values(), *queues._tasks.values())
        held.append(any(cast("Any", lock).locked() for lock in locks))

    def taken() -> Steps[bool]:
        has_waited = yield from queue("place", 1.0)
        note()
        yield from MemoryDriver().get("key")
        note()
        return has_waited

    assert list(queue("place", 1.0)) == [Queue("place", 1.0)]
    assert run(taken(), Performer()) is False
    note()
    assert held == [True, True, False]


@both
@for_each("error", [StoreUnavailable("down"), KeyboardInterrupt()])
def test_a_place_in_a_queue_is_given_up_however_the_verb_ends(
    run: Runner, error: BaseException
) -> None:
    def failing() -> Steps[None]:
        yield from queue("place", 1.0)
        raise error

    def taken() -> Steps[bool]:
        return (yield from queue("place", 60.0))

    with pytest.raises(type(error)):
        run(failing(), Performer())
    # It would wait for a minute.
    assert run(taken(), Performer()) is False


def test_a_save_waits_for_the_one_before_it_in_the_queue() -> None:
    is_in_front, may_end = threading.Event(), threading.Event()

    class Waiting(Performer):
        def wait(self) -> None:
            is_in_front.set()
            may_end.wait()

    def first() -> Steps[None]:
        yield from queue("place", 1.0)
        yield from hook("wait")

    def second() -> Steps[bool]:
        return (yield from queue("place", 60.0))

    thread = threading.Thread(target=steps.run, args=(first(), Waiting()))
    thread.start()
    is_in_front.wait()
    threading.Timer(0.01, may_end.set).start()
    assert steps.run(second(), Performer()) is True
    thread.join()


# Hooks


@for_each(("run", "called"), [(steps.run, "load"), (run_async, "aload")], ids=["sync", "async"])
def test_a_hook_is_called_and_its_a_counterpart_is_awaited(run: Runner, called: str) -> None:
    performer = Performer()
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

    assert run(taken(), Performer()) == "hook"


# Exceptions


@both
@for_each("error", [StoreUnavailable("down"), KeyError("x"), StopIteration(), StopAsyncIteration()])
def test_what_a_driver_raises_is_raised_in_the_steps(run: Runner, error: Exception) -> None:
    driver = FailingDriver(error)

    def taken() -> Steps[Exception | None]:
        try:
            yield from driver.get("key")
        except Exception as caught:  # noqa: BLE001  (whatever is thrown in)
            return caught
        return None

    caught = run(taken(), Performer())
    # A StopIteration must not end the steps as if they were done (PEP 479).
    assert caught is error or (
        isinstance(error, StopIteration)
        and isinstance(caught, RuntimeError)
        and caught.__cause__ is error
    )


@both
def test_steps_that_caught_an_error_go_on(run: Runner) -> None:
    driver = FailingDriver(StoreUnavailable("down"))

    def taken() -> Steps[Any]:
        try:
            yield from driver.get("key")
        except StoreUnavailable:
            yield from driver.add("key", RECORD)
        return (yield from driver.delete("key", LEFT))

    assert run(taken(), Performer()) is True


@both
def test_an_error_that_the_steps_let_go_reaches_the_caller(run: Runner) -> None:
    error = StoreUnavailable("down")
    driver = FailingDriver(error, answers=1)

    def taken() -> Steps[None]:
        yield from driver.get("key")
        yield from driver.get("key")

    with pytest.raises(StoreUnavailable) as caught:
        run(taken(), Performer())
    assert caught.value is error
    assert driver.server.asked == 2


@both
def test_an_error_of_the_steps_themselves_reaches_the_caller(run: Runner) -> None:
    def taken() -> Steps[None]:
        yield from MemoryDriver().get("key")
        raise LookupError("mine")

    with pytest.raises(LookupError, match=r"^mine$"):
        run(taken(), Performer())


@both
def test_what_steps_do_at_their_end_is_done_when_a_driver_fails(run: Runner) -> None:
    done = []
    driver = FailingDriver(StoreUnavailable("down"))

    def taken() -> Steps[None]:
        try:
            yield from driver.get("key")
        finally:
            done.append("tidied")

    with pytest.raises(StoreUnavailable):
        run(taken(), Performer())
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


@for_each("error", [KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError])
@for_each("run", [steps.run, run_without_a_loop], ids=["sync", "async"])
def test_steps_are_told_what_ended_their_command_before_the_caller_is(
    run: Runner, error: type[BaseException]
) -> None:
    told: list[type[BaseException]] = []
    faulty = FaultyDriver(MemoryDriver())
    faulty.lose_answer("get", error())
    performer = Performer()

    def taken() -> Steps[Any]:
        try:
            yield from faulty.get("x" * 32)
        except BaseException as reached:
            told.append(type(reached))
            raise

    # Held here, so that its end is not the garbage collector's doing.
    running = taken()
    with pytest.raises(error):
        run(running, performer)
    assert told == [error]
    assert [(verb, type(noted)) for verb, noted in performer.noted] == [("get", error)]


class SlowServer(MemoryServer):
    """Answers no read."""

    async def asend(self, command: Command, /) -> Any:
        if command.verb == "get":
            await asyncio.Event().wait()
        return self.send(command)


def slow_driver() -> MemoryDriver:
    driver = MemoryDriver()
    driver.server = SlowServer(100, time.monotonic)
    return driver


def cancel(taken: Steps[Any], performer: Performer) -> asyncio.Task[Any]:
    """Cancel *taken* where they wait for the first time; return how they ended."""

    async def act() -> asyncio.Task[Any]:
        task = asyncio.create_task(steps.arun(taken, performer))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        return task

    return asyncio.run(act())


@for_each(
    "step",
    [lambda: slow_driver().get("key"), lambda: hook("block"), lambda: pause(3600)],
    ids=["ask", "hook", "pause"],
)
def test_a_cancellation_reaches_the_steps_and_their_caller(step: Callable[[], Any]) -> None:
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

    assert cancel(taken(), Waiting()).cancelled()
    assert told == [asyncio.CancelledError]


def test_steps_may_put_something_right_after_a_cancellation() -> None:
    done, driver = [], slow_driver()

    def taken() -> Steps[None]:
        try:
            yield from driver.get("key")
        except asyncio.CancelledError:
            done.append((yield from driver.delete("key", LEFT)))
            raise

    assert cancel(taken(), Performer()).cancelled()
    assert done == [False]


# A running event loop


@pytest.fixture
def safe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DJANGO_ALLOW_ASYNC_UNSAFE", raising=False)


REFUSING = FailingDriver(AssertionError())


@pytest.mark.parametrize(
    "step",
    [lambda: REFUSING.get("key"), lambda: pause(3600), lambda: queue("place", 60)],
    ids=["ask", "pause", "queue"],
)
def test_a_sync_run_in_a_running_loop_is_refused_before_it_blocks(
    safe: None, step: Callable[[], Any]
) -> None:
    async def block() -> None:
        steps.run(step(), Performer())

    with pytest.raises(SynchronousOnlyOperation, match="aget, asave"):
        asyncio.run(block())
    assert REFUSING.server.asked == 0


def test_a_sync_run_without_a_call_blocks_no_loop_and_is_not_refused(safe: None) -> None:
    # An untouched or forged session asks nothing. A hook may or may not: what it asks is refused.
    def taken() -> Steps[Any]:
        return (yield from hook("load"))

    async def act() -> Any:
        return steps.run(taken(), Performer())

    assert asyncio.run(act()) == ("loaded",)


# Both runners over whole verbs


def written_again(record: Record, place: str) -> Record:
    """Return what another request's save of the same entries stores over *record*."""
    binding = signing.binding(config().namespace)
    keys = config().record_keys
    return signing.sign(facts_of(record), record.payload, place, binding, keys, record)


class RecordingDriver(FaultyDriver):
    """Notes what it is asked, and what it answers."""

    def __init__(self) -> None:
        super().__init__(MemoryDriver())
        self.trace: list[Any] = []
        #: So many saves find that another request's was first.
        self.others = 0

    def _run(self, verb: str, arguments: tuple[Any, ...]) -> Any:
        if verb == "replace" and self.others:
            self.others -= 1
            key, _, _, now = arguments
            found = super()._run("get", (key,))
            super()._run("replace", (key, written_again(found, key), found, now))
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
    monkeypatch.setattr(records, "urandom", lambda size: next(numbers[0]).to_bytes(size, "big"))
    monkeypatch.setattr(keys, "urandom", lambda size: next(numbers[0]).to_bytes(size, "little"))
    monkeypatch.setattr(steps._random, "uniform", lambda _least, _most: 0.0)

    def begin() -> None:
        numbers[:] = [itertools.count(1)]

    return begin


@for_each("scene", SCENES)
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

            def note_answer(self, ask: Ask, error: BaseException | None) -> None:
                driver.trace.append((ask.verb, ask.command, repr(error)))
                super().note_answer(ask, error)

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
