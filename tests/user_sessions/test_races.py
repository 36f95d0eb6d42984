"""Logins, new keys, logouts and ends of one user's sessions at the same time, on real servers."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import itertools
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.models import User
from django.db import connections
from django.http import HttpRequest

from django_multisession import user_sessions
from django_multisession.exceptions import SessionEnded
from django_multisession.store import DriverSessionStore
from django_multisession.user_sessions import list_sessions
from tests.engine_fixtures import Engine
from tests.user_sessions.conftest import log_in, make_user

TOGETHER = 50
ROUNDS = 3

pytestmark = [pytest.mark.long, pytest.mark.parametrize("number", range(ROUNDS))]

Work = Callable[[], Coroutine[Any, Any, Any]]


@dataclasses.dataclass(frozen=True)
class Calls:
    """Carries out verbs and their async counterparts: in threads, or in the tasks of one loop."""

    is_async: bool

    async def __call__(self, owner: Any, name: str, *arguments: Any) -> Any:
        if self.is_async:
            return await getattr(owner, f"a{name}")(*arguments)
        return getattr(owner, name)(*arguments)

    def barrier(self, parties: int) -> Callable[[], Coroutine[Any, Any, None]]:
        """Return what waits until so many wait."""
        kind = asyncio.Barrier if self.is_async else threading.Barrier
        barrier: Any = kind(parties)

        async def wait() -> None:
            waiting = barrier.wait()
            if self.is_async:
                await waiting

        return wait

    def concurrently(self, work: list[Work]) -> list[Any]:
        """Do all of *work* at the same time, each part in a thread or a task of its own."""
        if self.is_async:
            return asyncio.run(_gathered(work))
        barrier = threading.Barrier(len(work))

        def begin(part: Work) -> Any:
            try:
                barrier.wait(60)
                part().send(None)
            except StopIteration as stop:
                return stop.value
            finally:
                connections.close_all()
            raise AssertionError("A sync verb waited.")

        with ThreadPoolExecutor(len(work)) as pool:
            return [future.result() for future in [pool.submit(begin, part) for part in work]]


async def _gathered(work: list[Work]) -> list[Any]:
    return await asyncio.gather(*[part() for part in work])


@pytest.fixture(params=["sync", "async"])
def calls(request: pytest.FixtureRequest) -> Calls:
    return Calls(request.param == "async")


def logged_in(engine: Engine, user: User) -> str:
    store = engine.SessionStore()
    log_in(store, user)
    store.save()
    assert store.session_key is not None
    return store.session_key


def is_logged_in(engine: Engine, key: object) -> bool:
    return isinstance(key, str) and SESSION_KEY in engine.SessionStore(key)


def place_of(engine: Engine, key: object) -> str:
    """Return the storage key of the session: a cookie's key is another one after each save."""
    verified = engine.SessionStore(str(key))._recognized.key
    assert verified is not None
    return verified.storage_key


def ids_of(user: User) -> set[str]:
    return {each.id for each in list_sessions(user)}


def request_of(store: DriverSessionStore) -> HttpRequest:
    request = HttpRequest()
    request.session = store
    return request


async def cycled(calls: Calls, store: DriverSessionStore, times: int = 3) -> str | None:
    with contextlib.suppress(SessionEnded):
        for _ in range(times):
            await calls(store, "cycle_key")
            await calls(store, "save")
    return store.session_key


async def begun_login(calls: Calls, engine: Engine, user: User) -> DriverSessionStore:
    store = engine.SessionStore()
    if calls.is_async:
        await store.aset(SESSION_KEY, str(user.pk))
    else:
        log_in(store, user)
    return store


async def saved(calls: Calls, store: DriverSessionStore) -> str | None:
    with contextlib.suppress(SessionEnded):
        await calls(store, "save")
        return store.session_key
    return None


def test_sessions_that_get_new_keys_while_all_are_ended_end(
    engine: Engine, calls: Calls, number: int
) -> None:
    user, stranger = make_user(), make_user()
    keys = [logged_in(engine, user) for _ in range(TOGETHER)]
    theirs = logged_in(engine, stranger)
    after = calls.concurrently(
        [
            *(functools.partial(cycled, calls, engine.SessionStore(key)) for key in keys),
            functools.partial(calls, user_sessions, "end_all_sessions", user),
        ]
    )
    assert not any(is_logged_in(engine, key) for key in [*keys, *after])
    assert list_sessions(user) == []
    assert is_logged_in(engine, theirs)


def test_a_login_beside_the_end_of_all_is_ended_or_began_later(
    engine: Engine, calls: Calls, number: int
) -> None:
    user = make_user()
    wait = calls.barrier(TOGETHER)

    async def login() -> str | None:
        store = await begun_login(calls, engine, user)
        # Each has begun before one is stored, and all before the end of all.
        await wait()
        return await saved(calls, store)

    async def end_all() -> None:
        await wait()
        # A login of the same millisecond may be a later one.
        if calls.is_async:
            await asyncio.sleep(0.003)
        else:
            threading.Event().wait(0.003)
        await calls(user_sessions, "end_all_sessions", user)

    after = calls.concurrently([*[login] * (TOGETHER - 1), end_all])
    assert not any(is_logged_in(engine, key) for key in after)
    assert list_sessions(user) == []
    assert is_logged_in(engine, logged_in(engine, user))


def test_of_sessions_that_end_each_other_one_at_most_is_left(
    engine: Engine, calls: Calls, number: int
) -> None:
    user = make_user()
    keys = [logged_in(engine, user) for _ in range(TOGETHER)]

    async def end_others(key: str) -> str | None:
        request = request_of(engine.SessionStore(key))
        with contextlib.suppress(SessionEnded):
            await calls(user_sessions, "end_other_sessions", request)
            await calls(request.session, "save")
        return request.session.session_key

    after = calls.concurrently([functools.partial(end_others, key) for key in keys])
    live = [key for key in after if is_logged_in(engine, key)]
    assert len(live) <= 1
    assert len(list_sessions(user)) == len(live)


def test_whatever_happens_beside_the_end_of_all_each_session_that_was_there_ends(
    engine: Engine, calls: Calls, number: int
) -> None:
    user, stranger = make_user(), make_user()
    keys = [logged_in(engine, user) for _ in range(TOGETHER)]
    theirs = [logged_in(engine, stranger) for _ in range(5)]
    before, before_theirs = ids_of(user), ids_of(stranger)

    async def change(key: str) -> str | None:
        store = engine.SessionStore(key)
        with contextlib.suppress(SessionEnded):
            if calls.is_async:
                await store.aset("page", 2)
            else:
                store["page"] = 2
            await calls(store, "save")
        return store.session_key

    async def logout(key: str) -> str | None:
        store = engine.SessionStore(key)
        await calls(store, "flush")
        return store.session_key

    async def end_others(key: str) -> str | None:
        request = request_of(engine.SessionStore(key))
        with contextlib.suppress(SessionEnded):
            await calls(user_sessions, "end_other_sessions", request)
            await calls(request.session, "save")
        return request.session.session_key

    async def login() -> str | None:
        return await saved(calls, await begun_login(calls, engine, user))

    kinds: list[Callable[[str], Coroutine[Any, Any, Any]]] = [
        change,
        logout,
        end_others,
        lambda key: cycled(calls, engine.SessionStore(key)),
        lambda _key: login(),
        lambda _key: calls(user_sessions, "list_sessions", user),
    ]
    actors = zip(itertools.cycle(kinds), keys[: TOGETHER - 11])
    work: list[Work] = [functools.partial(do, key) for do, key in actors]
    work += [functools.partial(change, key) for key in theirs]
    work += [
        functools.partial(calls, user_sessions, "end_session", user, each)
        for each in sorted(before)[:5]
    ]
    work.append(functools.partial(calls, user_sessions, "end_all_sessions", user))
    after = calls.concurrently(work)
    assert ids_of(user) & before == set()
    assert not any(is_logged_in(engine, key) for key in keys)
    # What lives of the user is a login that began later.
    live = {place_of(engine, key) for key in after if is_logged_in(engine, key)}
    live -= {place_of(engine, key) for key in theirs}
    assert len(live) == len(ids_of(user))
    assert ids_of(stranger) == before_theirs
    assert all(is_logged_in(engine, key) for key in theirs)
