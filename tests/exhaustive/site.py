"""The site around the sessions: settings, clock, tokens and turns that the search decides.

Nothing random and nothing timed is left in what is searched. A request is then a function of its
verbs and of the answers it got, which is what lets `requests` remember it.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Sequence
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

from django.test import override_settings
from django.utils import timezone

from django_multisession.core import keys, records
from django_multisession.core.records import Stored, to_milliseconds
from django_multisession.drivers.base import Ask, Steps
from django_multisession.drivers.listed.driver import StoredListedDriver
from django_multisession.drivers.listed.listing import Listing
from django_multisession.drivers.memory import (
    DEFAULT_MAX_RECORDS,
    Command,
    MemoryDriver,
    MemoryServer,
)
from django_multisession.drivers.quiet import Quiet
from django_multisession.engines.memory import SessionStore as MemorySessionStore
from django_multisession.session import index
from django_multisession.session.events import OutageWatch
from django_multisession.session.site import Site

START = datetime(2030, 1, 1, tzinfo=UTC)
IDLE_TIMEOUT = timedelta(minutes=30)
#: What the two events of the clock add: a touch is due and tombstones are gone; a session is over.
MINUTE, LONG = 61.0, IDLE_TIMEOUT.total_seconds() + 1

SETTINGS: dict[str, Any] = {
    "SECRET_KEY": "k" * 50,
    "MULTISESSION_IDLE_TIMEOUT": IDLE_TIMEOUT,
    "MULTISESSION_CONFLICT_RESOLVERS": {"n": "django_multisession.resolvers.sum_of_changes"},
}

#: A call that finds nothing.
NOTHING = Command("get", ("nothing",))
#: What the verbs of the engine that lists the sessions of another one begin with.
LISTING = "listing "
#: A call that a request begins a transaction with: all that is stored.
SNAPSHOT = "snapshot"


class Clock:
    """Seconds since `START`, for the request that runs now."""

    seconds = 0.0

    def now(self) -> datetime:
        return START + timedelta(seconds=self.seconds)


class Tokens:
    """Random parts and revisions, named by the request and by how many it made before."""

    prefix, made = "?", 0

    def _next(self) -> str:
        self.made += 1
        return f"{self.prefix}{self.made}"

    def bytes(self, length: int) -> bytes:
        return self._next().encode().ljust(length, b"-")


clock, tokens = Clock(), Tokens()


class Suspension:
    """What a coroutine waits for: a call's answer, its turn, or the choice of its next verb."""

    def __init__(self, what: Any) -> None:
        self.what = what

    def __await__(self) -> Generator[Any, Any, Any]:
        return (yield self.what)


class Lock:
    """In place of `asyncio.Lock`: the search chooses which task goes first, not an event loop."""

    def __init__(self) -> None:
        self.is_held = False

    def locked(self) -> bool:
        return self.is_held

    async def acquire(self) -> bool:
        while self.is_held:
            await Suspension(self)
        self.is_held = True
        return True

    def release(self) -> None:
        self.is_held = False

    async def __aenter__(self) -> None:
        await self.acquire()

    async def __aexit__(self, *_error: object) -> None:
        self.release()


class Server(MemoryServer):
    """The project's memory server, which answers for many records too."""

    def __init__(self) -> None:
        super().__init__(DEFAULT_MAX_RECORDS, lambda: clock.seconds)

    def get_many(self, keys: Sequence[str]) -> list[Stored]:
        return [self.get(key) for key in keys]


class Transaction:
    """A transaction of the request's database that is rolled back, as `DatabaseServer` sees it.

    Its commands are carried out in a copy of the store that no other request sees. A database makes
    another request wait for the rows that were written, so every schedule there is one of these.
    """

    def __init__(self, slots: Any) -> None:
        self._server = Server()
        self._server.slots = collections.OrderedDict(slots)
        self.is_open = True
        self.undone: list[Command] = []

    def send(self, command: Command) -> Any:
        reply = self._server.send(command)
        if command[0] in SENT_AGAIN:
            self.undone.append(SENT_AGAIN[command[0]](command))
        return reply


#: The verbs that are sent again after a rollback, and as what.
SENT_AGAIN: dict[str, Callable[[Command], Command]] = {
    "delete": lambda command: command,
    "move": lambda command: command,
    "retire": lambda command: Command("delete", (command.arguments[0], command.arguments[2])),
}
transaction: ContextVar[Transaction | None] = ContextVar("transaction", default=None)


@contextlib.asynccontextmanager
async def rolled_back() -> AsyncIterator[None]:
    """Carry out what is sent in this block in a transaction, and roll it back."""
    opened = Transaction(await Suspension(Command(SNAPSHOT, ())))
    transaction.set(opened)
    try:
        yield
    finally:
        opened.is_open = False


async def send_undone() -> None:
    """Send again what a rollback undid: before the next verb, and at the end of the request."""
    found = transaction.get()
    while found is not None and found.undone:
        await Suspension(found.undone[0])
        del found.undone[0]


class SuspendingServer:
    """The async end of a server: each command suspends its coroutine and is handed out."""

    async def asend(self, command: Command, /) -> Any:
        found = transaction.get()
        if found is not None and found.is_open:
            return found.send(command)
        await send_undone()
        return await Suspension(command)


class SuspendingDriver(MemoryDriver):
    """The driver that sessions are given: each of its verbs is one command.

    Args:
        server: Where the commands go.
        engine: What their verbs begin with.
    """

    def __init__(self, server: Any, engine: str = "") -> None:
        self.server, self._engine = server, engine

    def get_many(self, keys: Sequence[str]) -> Steps[Any]:
        return self._ask("get_many", tuple(keys))

    def _ask(self, verb: str, *arguments: Any) -> Steps[Any]:
        return (yield Ask(self.server, verb, Command(self._engine + verb, arguments)))


class SessionStore(MemorySessionStore):
    """The store class under test."""

    driver: Any = SuspendingDriver(SuspendingServer())

    @classmethod
    def get_driver(cls) -> Any:
        return cls.driver


def listed_driver() -> StoredListedDriver:
    """Return a driver whose sessions lie in one engine, and a card of each in another."""
    notes = SuspendingDriver(SuspendingServer(), LISTING)
    listing = Listing(notes, lambda: to_milliseconds(clock.now()))
    return StoredListedDriver(SuspendingDriver(SuspendingServer()), listing)


async def _no_sleep(_seconds: float, result: Any = None) -> Any:
    return result  # the search chooses at each call which request goes first


@contextlib.contextmanager
def controlled(*, is_listed: bool = False, **settings: Any) -> Iterator[None]:
    """Let the search decide what time it is and which tokens are made; log nothing.

    Args:
        is_listed: Does another engine list the sessions?
        settings: Settings that differ.
    """
    replacements: list[tuple[Any, str, Any]] = [
        (timezone, "now", clock.now),
        (keys, "urandom", tokens.bytes),
        (records, "urandom", tokens.bytes),
        (asyncio, "sleep", _no_sleep),
        (asyncio, "Lock", Lock),
        # A save gives up after so many seconds of conflicts; here after `explore.MOST_STEPS`.
        (Site, "monotonic", lambda _site: 0.0),
        # The process keeps these for all requests, to log an outage once.
        (OutageWatch, "note_failure", lambda *_arguments: False),
        (OutageWatch, "note_answer", lambda *_arguments: None),
        # And that the engine that lists didn't answer, to leave it alone for a while.
        (Quiet, "is_silent", lambda *_arguments: False),
    ]
    if is_listed:
        replacements.append((SessionStore, "driver", listed_driver()))
    if "MULTISESSION_MAX_SESSIONS" in settings:
        # A list takes a call for each record: a session that moves meanwhile may be missing.
        replacements.append((index, "PAGE", 1))
    level = logging.root.manager.disable
    with contextlib.ExitStack() as stack:
        for place, name, value in replacements:
            stack.enter_context(mock.patch.object(place, name, value))
        stack.enter_context(override_settings(**SETTINGS | settings))
        stack.callback(logging.disable, level)
        logging.disable(logging.CRITICAL)
        yield


def let_run(name: str, made: int, seconds: float) -> None:
    """Let the request *name*, which has made so many tokens, run at *seconds*."""
    tokens.prefix, tokens.made, clock.seconds = name, made, seconds
