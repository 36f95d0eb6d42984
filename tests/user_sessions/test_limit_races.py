"""Fifty logins of one user at the same time, on real servers: the limit holds once each has its answer."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest
from django.contrib.auth import SESSION_KEY

from django_multisession.exceptions import SessionEnded, SessionLimitReached
from django_multisession.testing.verbs import open_runner
from django_multisession.user_sessions import list_sessions
from tests.engine_fixtures import Engine, use_engine
from tests.user_sessions.conftest import INDEXED, log_in, make_user
from tests.user_sessions.test_races import Calls

if TYPE_CHECKING:
    from django.contrib.auth.models import User
    from pytest_django import Settings

    from tests.conftest import Running

LOGINS, MOST = 50, 3

pytestmark = [
    pytest.mark.long,
    pytest.mark.parametrize("at_limit", ["oldest", "least_used", "deny"]),
]


@pytest.fixture(params=(*INDEXED, "mongodb-replica-set", "database-mariadb"))
def engine(request: pytest.FixtureRequest, settings: Settings, running_servers: Running) -> Engine:
    return use_engine(request.param, settings, running_servers)


@pytest.fixture(autouse=True)
def limits(settings: Settings, at_limit: str) -> None:
    settings.MULTISESSION_MAX_SESSIONS, settings.MULTISESSION_AT_LIMIT = MOST, at_limit


def logged_in(engine: Engine, user: User) -> str | None:
    store = engine.SessionStore()
    log_in(store, user)
    with contextlib.suppress(SessionEnded, SessionLimitReached):
        store.save()
        return store.session_key
    return None


async def alogged_in(engine: Engine, user: User) -> str | None:
    store = engine.SessionStore()
    log_in(store, user)
    with contextlib.suppress(SessionEnded, SessionLimitReached):
        await store.asave()
        return store.session_key
    return None


def check(engine: Engine, user: User, keys: list[str | None], before: list[str | None]) -> None:
    def live(among: list[str | None]) -> list[str]:
        return [key for key in among if key and SESSION_KEY in engine.SessionStore(key)]

    assert len(list_sessions(user)) == len(live([*before, *keys])) == MOST
    if engine.name and before and len(live(before)) == MOST:
        assert not any(keys)


@pytest.mark.parametrize("number", range(3))
def test_fifty_threads_leave_as_many_sessions_as_are_allowed(
    engine: Engine, number: int, at_limit: str
) -> None:
    user, stranger = make_user(), make_user()
    theirs = logged_in(engine, stranger)

    async def login() -> str | None:
        return logged_in(engine, user)

    threads = Calls(is_async=False)
    keys = threads.concurrently([login] * LOGINS)
    check(engine, user, keys, [])
    again = threads.concurrently([login] * LOGINS)
    check(engine, user, again, keys)
    assert any(again) is (at_limit != "deny")
    assert theirs
    assert SESSION_KEY in engine.SessionStore(theirs)


def test_fifty_coroutines_leave_as_many_sessions_as_are_allowed(
    engine: Engine, at_limit: str
) -> None:
    user = make_user()

    async def all_of_them() -> list[str | None]:
        return await asyncio.gather(*(alogged_in(engine, user) for _ in range(LOGINS)))

    run, close = open_runner("async")
    assert run is not None
    try:
        keys = run(all_of_them())
        check(engine, user, keys, [])
        again = run(all_of_them())
        check(engine, user, again, keys)
    finally:
        close()
    assert any(again) is (at_limit != "deny")
