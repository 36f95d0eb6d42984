from __future__ import annotations

import asyncio
import contextvars
import gc
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from asgiref.sync import sync_to_async
from django.core.signals import request_finished

from django_multisession.engines.memory import SessionStore
from django_multisession.session import context
from django_multisession.session.context import (
    moving_sessions,
    note_moving,
    note_read,
    own_session,
)
from django_multisession.session.state import Session


def session() -> Session:
    return SessionStore()._inner


def end_request() -> None:
    """Do what the signal does, and not what Django's receivers do to another test's database."""
    names = [receiver[0][0] for receiver in request_finished.receivers]
    assert "django_multisession.session.context" in names
    context._forget()


def in_own_context(law: Callable[[], None]) -> None:
    """Carry out *law* where no session of another test is known, which an error may keep alive."""
    contextvars.Context().run(law)


def test_a_context_knows_the_sessions_that_were_given_a_new_key_in_it() -> None:
    def law() -> None:
        first, second = session(), session()
        note_moving(first)
        note_moving(second)
        note_moving(first)
        assert len(tuple(moving_sessions())) == 2
        assert set(moving_sessions()) == {first, second}

    in_own_context(law)


def test_a_session_is_not_kept_alive_by_its_context() -> None:
    def law() -> None:
        kept, gone = session(), session()
        note_moving(gone)
        note_moving(kept)
        is_there = weakref.ref(gone)
        del gone
        # By reference counting: a request's session waits for no collection.
        assert is_there() is None
        assert moving_sessions() == (kept,)

    gc.disable()
    try:
        in_own_context(law)
    finally:
        gc.enable()


def test_a_task_knows_the_sessions_of_its_parent_and_no_sibling_knows_its_own() -> None:
    async def act() -> None:
        of_parent, of_child = session(), session()
        note_moving(of_parent)
        has_noted = asyncio.Event()

        async def note() -> None:
            note_moving(of_child)
            has_noted.set()
            assert set(moving_sessions()) == {of_parent, of_child}

        async def look() -> None:
            await has_noted.wait()
            assert moving_sessions() == (of_parent,)

        await asyncio.gather(look(), note())
        assert moving_sessions() == (of_parent,)

    in_own_context(lambda: asyncio.run(act()))


def test_what_a_parent_notes_later_is_not_its_childs() -> None:
    async def act() -> None:
        has_noted = asyncio.Event()

        async def look() -> None:
            await has_noted.wait()
            assert moving_sessions() == ()

        looking = asyncio.create_task(look())
        await asyncio.sleep(0)
        later = session()
        note_moving(later)
        has_noted.set()
        await looking

    in_own_context(lambda: asyncio.run(act()))


def test_a_thread_that_serves_another_request_knows_none_of_it() -> None:
    """One thread serves a request after the other, in whatever context."""
    with ThreadPoolExecutor(1) as threads:

        def request() -> None:
            assert moving_sessions() == ()
            note_moving(own := session())
            assert moving_sessions() == (own,)

        for _ in range(2):
            threads.submit(request).result()
        # Without a context of its own: what it left behind is gone with its request's session.
        assert threads.submit(moving_sessions).result() == ()


def test_sync_code_of_an_async_request_shares_what_its_request_knows() -> None:
    async def act() -> None:
        noted = session()
        await sync_to_async(note_moving)(noted)
        assert moving_sessions() == (noted,)
        assert await sync_to_async(moving_sessions)() == (noted,)

    in_own_context(lambda: asyncio.run(act()))


def test_nothing_is_known_of_a_request_that_is_over() -> None:
    def law() -> None:
        moving = session()
        note_moving(moving)
        end_request()
        assert moving_sessions() == ()

    in_own_context(law)


def test_the_first_session_that_is_read_is_the_requests_own() -> None:
    def law() -> None:
        own, other = session(), session()
        note_read(own)
        note_read(other)
        assert own_session() is own
        end_request()
        assert own_session() is None

    in_own_context(law)
