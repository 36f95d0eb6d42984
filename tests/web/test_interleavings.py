"""Two overlapping requests, through Django's handlers and its middleware or ours, to the cookie.

The table is `django_multisession.testing.interleaving.table`; what is between a request's phases here is
a site.
"""

from __future__ import annotations

import asyncio
import collections
import os
import threading
import types
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol

import pytest
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.test import override_settings
from django.utils import timezone

from django_multisession.testing.interleaving.contract import faults
from django_multisession.testing.interleaving.model import KEPT, NAMES, OK, REMOVED, SET, Pair
from django_multisession.testing.interleaving.play import (
    CONCURRENT,
    PAIRS,
    PATIENCE,
    allowed,
    orders_of,
)
from django_multisession.testing.interleaving.requests import Elsewhere, act, end, use
from django_multisession.testing.interleaving.stage import SETTINGS, Stage, WatchedDriver
from django_multisession.testing.interleaving.table import SILENT, Action
from django_multisession.testing.verbs import Clock
from tests.conftest import Running
from tests.engine_fixtures import Engine, use_engine
from tests.web import people
from tests.web.browser import Browser
from tests.web.conftest import DJANGOS, OURS
from tests.web.visits import Visit, run_at_once

if TYPE_CHECKING:
    from pytest_django import Settings

#: What an engine does is shown without a site too; so not every engine in every way.
SITES = [
    pytest.param(("memory", DJANGOS, "sync"), id="memory-djangos-sync"),
    pytest.param(("memory", DJANGOS, "async"), id="memory-djangos-async"),
    pytest.param(("memory", OURS, "sync"), id="memory-ours-sync"),
    pytest.param(("memory", OURS, "async"), id="memory-ours-async"),
    pytest.param(("redis-8.2", DJANGOS, "async"), id="redis-djangos-async", marks=pytest.mark.once),
    pytest.param(("redis-8.2", OURS, "sync"), id="redis-ours-sync", marks=pytest.mark.once),
    pytest.param(("redis-8.2", OURS, "async"), id="redis-ours-async", marks=pytest.mark.once),
    pytest.param(
        ("mongodb-standalone", DJANGOS, "sync"), id="mongodb-djangos-sync", marks=pytest.mark.once
    ),
    pytest.param(
        ("mongodb-standalone", OURS, "async"), id="mongodb-ours-async", marks=pytest.mark.once
    ),
]

#: CI's time is short, and the suite without a site plays three.
ROUNDS = 1

#: Status, what became of the cookie, and its key if it was set.
Answer = tuple[int, str, str]


@pytest.fixture(params=SITES)
def kind_of_site(request: pytest.FixtureRequest) -> tuple[str, str, str]:
    """Engine, middleware, and WSGI or ASGI."""
    chosen: tuple[str, str, str] = request.param
    return chosen


@pytest.fixture
def engine(
    kind_of_site: tuple[str, str, str], settings: Settings, running_servers: Running
) -> Engine:
    return use_engine(kind_of_site[0], settings, running_servers)


@pytest.fixture
def session_middleware(kind_of_site: tuple[str, str, str]) -> str:
    return kind_of_site[1]


@pytest.fixture
def browser(kind_of_site: tuple[str, str, str]) -> Iterator[Browser]:
    if kind_of_site[2] == "sync":
        yield Browser(is_async=False, run=run_at_once)
        return
    with asyncio.Runner() as runner:
        yield Browser(is_async=True, run=runner.run)


@pytest.fixture
def driver(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[WatchedDriver]:
    """The engine's driver, noting what the site stores."""
    with override_settings(**SETTINGS):
        watched = WatchedDriver(engine.driver)
        monkeypatch.setattr(engine.SessionStore, "get_driver", classmethod(lambda _: watched))
        yield watched


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(timezone, "now", lambda: clock.now)
    return clock


@pytest.fixture
def third_person(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(people._IDS, "cyd", 3)


class Turns:
    """Whose phase comes next; when the order is played out, everybody's."""

    def __init__(self, order: str) -> None:
        self._order = list("AB" if order == CONCURRENT else order)

    def is_turn_of(self, name: str) -> bool:
        return not self._order or self._order[0] == name

    def pass_on(self) -> None:
        if self._order:
            del self._order[0]

    def leave(self, name: str) -> None:
        """Be done, maybe before all phases of *name* were played."""
        self._order = [each for each in self._order if each != name]


class Baton(Protocol):
    async def take(self, name: str) -> None: ...

    async def pass_on(self) -> None: ...

    async def leave(self, name: str) -> None: ...


class BatonOfThreads:
    """Waits in its thread; nothing in it suspends."""

    def __init__(self, order: str) -> None:
        self._turns = Turns(order)
        self._changed = threading.Condition()

    async def take(self, name: str) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self._turns.is_turn_of(name), PATIENCE)

    async def pass_on(self) -> None:
        with self._changed:
            self._turns.pass_on()
            self._changed.notify_all()

    async def leave(self, name: str) -> None:
        with self._changed:
            self._turns.leave(name)
            self._changed.notify_all()


class BatonOfTasks:
    """See BatonOfThreads."""

    def __init__(self, order: str) -> None:
        self._turns = Turns(order)
        self._changed = asyncio.Condition()

    async def take(self, name: str) -> None:
        async with asyncio.timeout(PATIENCE), self._changed:
            await self._changed.wait_for(lambda: self._turns.is_turn_of(name))

    async def pass_on(self) -> None:
        async with self._changed:
            self._turns.pass_on()
            self._changed.notify_all()

    async def leave(self, name: str) -> None:
        async with self._changed:
            self._turns.leave(name)
            self._changed.notify_all()


class Page:
    """The site as a page sees it."""

    def __init__(self, visit: Any) -> None:
        self._visit = visit
        self.session: Any = visit.session

    async def log_in(self, user_id: str) -> None:
        await self._visit.log_in(name_of(user_id))

    async def log_out(self) -> None:
        await self._visit.log_out()


#: The page of what is no request: nothing asks for its session.
NOBODYS = Page(types.SimpleNamespace(session=None))


async def answer(
    action: Action, name: str, browser: Browser, elsewhere: Elsewhere, baton: Baton
) -> Answer:
    """Ask for the page that does *action* whenever it is the turn of *name*."""

    async def body(visit: Visit) -> None:
        page = Page(visit)
        await use(action, page)
        await baton.pass_on()
        await baton.take(name)
        await act(action, name, page, elsewhere)
        await baton.pass_on()
        await baton.take(name)

    await baton.take(name)
    try:
        if action in SILENT:
            await baton.pass_on()
            await baton.take(name)
            await act(action, name, NOBODYS, elsewhere)
            await baton.pass_on()
            await baton.take(name)
            await end(action, elsewhere)
            return OK, KEPT, ""
        reply = await browser.visiting(body)
    finally:
        await baton.leave(name)
    if reply.new_key is not None:
        return reply.status, SET, reply.new_key
    return reply.status, REMOVED if reply.deletes_the_cookie else KEPT, ""


def answers(
    pair: Pair, order: str, stage: Stage, browser: Browser, threads: Executor
) -> list[Answer]:
    """Let two tabs of *browser* ask for the pages of *pair*, in *order*."""
    browser.key = stage.key
    parts = [
        (action, name, browser.copy()) for action, name in zip(pair.actions, NAMES, strict=True)
    ]
    if browser.is_async:

        async def both() -> list[Answer]:
            baton = BatonOfTasks(order)
            return await asyncio.gather(*(answer(*part, stage.elsewhere, baton) for part in parts))

        found: list[Answer] = browser.run(both())
        return found
    baton = BatonOfThreads(order)

    def ask(part: tuple[Action, str, Browser]) -> Answer:
        return run_at_once(answer(*part, stage.elsewhere, baton))

    return list(threads.map(ask, parts))


def name_of(user_id: str) -> str:
    return next(name for name, its in people._IDS.items() if str(its) == user_id)


def login(user_id: str) -> dict[str, str]:
    person = people.person(name_of(user_id))
    return {
        SESSION_KEY: user_id,
        BACKEND_SESSION_KEY: people.BACKEND,
        HASH_SESSION_KEY: person.get_session_auth_hash(),
    }


@pytest.mark.long
@pytest.mark.parametrize("action", Action, ids=lambda action: action.name.lower())
def test_two_whole_requests_leave_what_the_table_says_in_every_order(
    engine: Engine,
    driver: WatchedDriver,
    third_person: None,
    session_middleware: str,
    clock: Clock,
    browser: Browser,
    action: Action,
) -> None:
    wrong: collections.Counter[str] = collections.Counter()
    with ThreadPoolExecutor(len(NAMES)) as threads:
        for _ in range(int(os.environ.get("INTERLEAVING_ROUNDS", ROUNDS))):
            for pair in PAIRS:
                if pair.actions[0] is not action:
                    continue
                for order in orders_of(pair):
                    stage = Stage(
                        pair,
                        engine.SessionStore,
                        driver,
                        clock,
                        is_async=browser.is_async,
                        login=login,
                    )
                    told = answers(pair, order, stage, browser, threads)
                    is_djangos = session_middleware == DJANGOS
                    may_be = allowed(pair, order, has_touches_interrupted=is_djangos)
                    wrong.update(faults(pair, order, stage.outcome(*told), may_be))
    assert not wrong, "\n\n".join(f"{times} x {fault}" for fault, times in wrong.items())
