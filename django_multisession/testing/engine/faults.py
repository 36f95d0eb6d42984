"""What the laws of faults stand on: other tabs, and a driver that loses, delays and rolls back."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, cast

import pytest
from django.contrib.sessions.backends.base import UpdateError

from django_multisession.core.records import Record
from django_multisession.drivers import base
from django_multisession.drivers.base import Ask, Driver, Steps
from django_multisession.exceptions import StoreUnavailable
from django_multisession.session.respond import CookieAnswer
from django_multisession.store import DriverSessionStore
from django_multisession.testing.engine.fixtures import USER_ID, EngineFixtures, Open
from django_multisession.testing.threads import closing_databases
from django_multisession.testing.verbs import Clock, Run, SessionVerbs

#: The verbs of a driver that carry a command.
VERBS = frozenset({"add", "get", "replace", "move", "touch", "retire", "withdraw", "delete"})
#: Those that store a record.
WRITES = frozenset({"add", "replace", "move"})

#: Seconds that a thread waits for another one, which may wait for its turn.
THREAD_PATIENCE = 0.2

_THREAD = ThreadPoolExecutor(1, "faults")


class Command(NamedTuple):
    """A verb of the driver behind, and its arguments."""

    verb: str
    arguments: tuple[Any, ...]


class FaultyDriver:
    """A driver, and its server, in front of another one. It makes the faults that a law asks for.

    Its async end runs the verb of the driver behind it synchronously, and blocks the event loop
    meanwhile. So the order of a law's events is the same on every engine.
    """

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._places: dict[str, str] = {}
        self._losses: dict[str, BaseException] = {}
        self._delays: list[int] = []
        self._until: list[int] = []
        self._carried_out = 0
        self._in_threads = threading.Condition()
        self.added: list[str] = []

    def lose_answer(self, verb: str, error: BaseException) -> None:
        """Carry out the next *verb*, and raise *error* in place of its answer.

        ``"write"`` stands for every verb that stores: a law doesn't say by which one.
        """
        self._losses[verb] = error

    def forget(self, storage_key: str) -> None:
        """Lose what lies under *storage_key*, as a server does with an old tombstone."""
        self._places[storage_key] = f"{len(self._places):08x}" + storage_key[8:]

    def roll_back(self, storage_key: str, record: Record) -> None:
        """Put an older copy, *record*, under *storage_key*, as a failover does."""
        self.forget(storage_key)
        assert base.run(self._driver.add(self._places[storage_key], record))

    def delay(self, turns: Sequence[int]) -> None:
        """Let the answers of the next commands arrive so many *turns* of the event loop later."""
        self._delays = list(turns)

    def hold_in_threads(self, until: Sequence[int]) -> None:
        """Hold each of the next answers until so many commands were carried out from now on."""
        self._until, self._carried_out = list(until), 0

    def wait_for_commands(self, number: int) -> None:
        """Wait until *number* commands were carried out since `hold_in_threads` was called.

        Not for long: a thread may wait for the turn of the one that waits here.
        """
        with self._in_threads:
            self._in_threads.wait_for(lambda: self._carried_out >= number, THREAD_PATIENCE)

    def stored(self, storage_key: str) -> Any:
        """Return what lies under *storage_key*."""
        return self._run("get", (storage_key,))

    def live_added(self) -> list[str]:
        """Return the storage keys that were added and hold a record."""
        return [key for key in self.added if isinstance(self.stored(key), Record)]

    def __getattr__(self, name: str) -> Any:
        if name in VERBS:
            return functools.partial(self._ask, name)
        return getattr(self._driver, name)

    def _ask(self, verb: str, *arguments: Any) -> Steps[Any]:
        return (yield Ask(self, verb, Command(verb, arguments)))

    def _run(self, verb: str, arguments: tuple[Any, ...]) -> Any:
        placed = [
            self._places.get(each, each) if isinstance(each, str) else each for each in arguments
        ]
        answer: Any = base.run(getattr(self._driver, verb)(*placed))
        if verb == "add" or (verb == "move" and arguments[1] not in self.added):
            self.added.append(arguments[verb == "move"])
        return answer

    def send(self, command: Command, /) -> Any:
        """See Server.send()."""
        answer = self._run(*command)
        with self._in_threads:
            self._carried_out += 1
            self._in_threads.notify_all()
            until = self._until.pop(0) if self._until else 0
        self.wait_for_commands(until)
        self._lose(command.verb)
        return answer

    async def asend(self, command: Command, /) -> Any:
        """See send()."""
        turns = self._delays.pop(0) if self._delays else 0
        # Django refuses a query in the thread of an event loop.
        answer = _THREAD.submit(self._run, *command).result()
        for _ in range(turns):
            await asyncio.sleep(0)
        self._lose(command.verb)
        return answer

    def close(self) -> None:
        """See Driver.close()."""
        self._driver.close()

    async def aclose(self) -> None:
        """See close()."""
        await self._driver.aclose()

    def _lose(self, verb: str) -> None:
        error = self._losses.pop("write" if verb in WRITES else verb, None)
        if error is not None:
            raise error


class _VerbsElsewhere(SessionVerbs):
    """Each verb runs in a context of its own, as those of another request do."""

    def _call(self, verb: str, *arguments: Any, **keywords: Any) -> Any:
        return contextvars.Context().run(super()._call, verb, *arguments, **keywords)


def _elsewhere(run: Run | None) -> Run | None:
    if run is None:
        return None
    return cast("Run", functools.partial(cast("Any", run), context=contextvars.Context()))


class EngineFaultFixtures(EngineFixtures):
    """Sessions of other tabs, and sessions over a driver that makes faults."""

    @pytest.fixture
    def open_elsewhere(
        self, session_store: type[DriverSessionStore], clock: Clock, run: Run | None
    ) -> Open:
        """Return what opens a session as a request of another tab does."""
        return lambda key=None: _VerbsElsewhere(session_store(key), _elsewhere(run))

    @pytest.fixture
    def faulty(self, session_store: type[DriverSessionStore]) -> FaultyDriver:
        """Return a driver that makes faults, in front of the engine's."""
        return FaultyDriver(session_store.get_driver())

    @pytest.fixture
    def faulty_store(
        self, session_store: type[DriverSessionStore], faulty: FaultyDriver
    ) -> type[DriverSessionStore]:
        """Return the engine's ``SessionStore`` over the driver that makes faults."""
        members = {"get_driver": classmethod(lambda _cls: faulty)}
        return cast("type[DriverSessionStore]", type("SessionStore", (session_store,), members))

    @pytest.fixture
    def open_faulty(
        self, faulty_store: type[DriverSessionStore], clock: Clock, run: Run | None
    ) -> Open:
        """Return what opens a session over the driver that makes faults."""
        return lambda key=None: SessionVerbs(faulty_store(key), run)

    @pytest.fixture(params=["lost", "canceled"])
    def no_answer(self, request: pytest.FixtureRequest, run: Run | None) -> BaseException:
        """Return what a verb raises whose answer does not arrive."""
        if request.param == "lost":
            return StoreUnavailable("the answer was lost")
        return KeyboardInterrupt() if run is None else asyncio.CancelledError()


def answer_of(session: SessionVerbs) -> CookieAnswer | None:
    """Return what a response does with the cookie; None for one that is an error."""
    try:
        answer: CookieAnswer = session.respond()
    except (UpdateError, StoreUnavailable):
        return None
    return answer


def log_in(session: SessionVerbs, user: str = "7") -> None:
    """Do what Django's ``login()`` does."""
    session.cycle_key()
    session[USER_ID] = user
    session.save()


def move(session: SessionVerbs) -> str | None:
    """Give *session* a new key, store it there and return the key."""
    session.cycle_key()
    session.save()
    return session.key


def run_in_threads(*works: Callable[[], None]) -> None:
    """Run *works* in a thread each, and raise what the first of them raised."""
    errors: list[BaseException] = []

    def perform(work: Callable[[], None]) -> None:
        try:
            closing_databases(work)
        except BaseException as error:  # noqa: BLE001  (raised in the law's own thread)
            errors.append(error)

    threads = [threading.Thread(target=perform, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
