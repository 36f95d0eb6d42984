"""Logins, new keys and ends of one user's sessions at the same time, on real servers."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.models import User
from django.db import connections
from django.http import HttpRequest

from django_multisession.exceptions import SessionEnded
from django_multisession.user_sessions import (
    end_all_sessions,
    end_other_sessions,
    list_sessions,
)
from tests.engine_fixtures import Engine
from tests.user_sessions.conftest import log_in, make_user

THREADS = 24
ROUNDS = 3

pytestmark = [pytest.mark.long, pytest.mark.parametrize("number", range(ROUNDS))]


def concurrently(work: list[Callable[[], object]]) -> list[object]:
    """Do all of *work* at the same time, each part in a thread of its own."""
    barrier = threading.Barrier(len(work))

    def begin(part: Callable[[], object]) -> object:
        try:
            barrier.wait(60)
            return part()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(work)) as pool:
        return [future.result() for future in [pool.submit(begin, part) for part in work]]


def logged_in(engine: Engine, user: User) -> str:
    store = engine.SessionStore()
    log_in(store, user)
    store.save()
    assert store.session_key is not None
    return store.session_key


def is_logged_in(engine: Engine, key: object) -> bool:
    return isinstance(key, str) and SESSION_KEY in engine.SessionStore(key)


def test_sessions_that_get_new_keys_while_all_are_ended_end(engine: Engine, number: int) -> None:
    user, stranger = make_user(), make_user()
    keys = [logged_in(engine, user) for _ in range(THREADS)]
    theirs = logged_in(engine, stranger)

    def moved(key: str) -> str | None:
        store = engine.SessionStore(key)
        with contextlib.suppress(SessionEnded):
            for _ in range(3):
                store.cycle_key()
                store.save()
        return store.session_key

    after = concurrently(
        [
            *((lambda key=key: moved(key)) for key in keys),
            lambda: end_all_sessions(user),
        ]
    )
    assert not any(is_logged_in(engine, key) for key in [*keys, *after])
    assert list_sessions(user) == []
    assert is_logged_in(engine, theirs)


def test_a_login_beside_the_end_of_all_is_ended_or_began_later(engine: Engine, number: int) -> None:
    user = make_user()
    begun, ended = threading.Barrier(THREADS), threading.Event()

    def login() -> str | None:
        store = engine.SessionStore()
        log_in(store, user)
        # Each has begun before one is stored, and all before the end of all.
        begun.wait(60)
        with contextlib.suppress(SessionEnded):
            store.save()
            return store.session_key
        return None

    def end_all() -> int:
        begun.wait(60)
        ended.wait(0.003)
        return end_all_sessions(user)

    after = concurrently([*[login] * (THREADS - 1), end_all])
    assert not any(is_logged_in(engine, key) for key in after)
    assert list_sessions(user) == []
    assert is_logged_in(engine, logged_in(engine, user))


def test_of_sessions_that_end_each_other_one_at_most_is_left(engine: Engine, number: int) -> None:
    user = make_user()
    keys = [logged_in(engine, user) for _ in range(THREADS)]

    def end_others(key: str) -> str | None:
        request = HttpRequest()
        request.session = engine.SessionStore(key)
        with contextlib.suppress(SessionEnded):
            end_other_sessions(request)
            request.session.save()
        return request.session.session_key

    after = concurrently([lambda key=key: end_others(key) for key in keys])  # type: ignore[misc]
    live = [key for key in after if is_logged_in(engine, key)]
    assert len(live) <= 1
    assert len(list_sessions(user)) == len(live)
