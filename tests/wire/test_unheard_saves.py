"""Code that goes on with a session whose save was made, although its answer was lost."""

from __future__ import annotations

import asyncio
import itertools
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from django_multisession.exceptions import SessionEnded, StoreUnavailable
from django_multisession.session.respond import CookieAnswer
from django_multisession.signals import session_merged
from django_multisession.store import DriverSessionStore
from django_multisession.testing.engine.fixtures import heard
from django_multisession.testing.verbs import Run
from tests.engine_fixtures import Engine
from tests.faults.cancelling import cancelled_at
from tests.proxy import TCPProxy
from tests.wire.conftest import on_each_kind, shorten_waits, under_none
from tests.wire.unheard import (
    GETTING,
    Open,
    Unheard,
    begun,
    open_session,
    run,
    save_unheard,
)

__all__ = ["open_session", "run", "save_unheard"]

if TYPE_CHECKING:
    from pytest_django import Settings

    from tests.conftest import Clock

pytestmark = [under_none, on_each_kind]


def test_the_next_save_adds_nothing_twice(open_session: Open, save_unheard: Unheard) -> None:
    key = begun(open_session, visits=1)
    session = open_session(key)
    session["visits"] = 3
    save_unheard(session)
    other = open_session(key)
    assert other["visits"] == 3
    other["visits"] = 13
    other.save()
    session["name"] = "after"
    session.save()
    assert open_session(key).entries() == {"visits": 13, "name": "after"}


@pytest.mark.long
def test_the_first_of_many_refused_saves_is_known_too(
    open_session: Open,
    save_unheard: Unheard,
    proxy: TCPProxy,
    engine: Engine,
    settings: Settings,
) -> None:
    key = begun(open_session, visits=1)
    session = open_session(key)
    session["visits"] = 3
    save_unheard(session)
    shorten_waits(engine, settings)
    proxy.refuse()
    for visits in range(4, 10):
        session["visits"] = visits
        with pytest.raises(StoreUnavailable):
            session.save()
    proxy.accept()
    session.save()
    assert open_session(key).entries() == {"visits": 9}


def test_a_change_that_is_taken_back_is_taken_back_in_the_store(
    open_session: Open, save_unheard: Unheard
) -> None:
    key = begun(open_session, name="before")
    session = open_session(key)
    session["name"] = "after"
    save_unheard(session)
    session["name"] = "before"
    assert session.respond() is CookieAnswer.SET
    assert open_session(key).entries() == {"name": "before"}


def test_a_save_that_no_other_save_met_is_no_merge(
    open_session: Open, save_unheard: Unheard
) -> None:
    session = open_session(begun(open_session, visits=1))
    session["visits"] = 3
    save_unheard(session)
    session["visits"] = 4
    with heard(session_merged) as merges:
        session.save()
    assert merges == []
    assert open_session(session.key).entries() == {"visits": 4}


def test_a_nested_change_that_is_taken_back_is_taken_back_in_the_store(
    open_session: Open, save_unheard: Unheard
) -> None:
    session = open_session(begun(open_session, cart=["tea"]))
    session["cart"].append("ink")
    save_unheard(session)
    session["cart"].remove("ink")
    assert session.respond() is CookieAnswer.SET
    assert open_session(session.key).entries() == {"cart": ["tea"]}


def test_a_session_that_is_cleared_after_it_keeps_nothing_of_what_others_saved(
    open_session: Open, save_unheard: Unheard
) -> None:
    session = open_session(begun(open_session, name="before"))
    session["name"] = "after"
    save_unheard(session)
    other = open_session(session.key)
    other["cart"] = "tea"
    other.save()
    session.session.clear()
    session.save()
    assert open_session(session.key).entries() == {}


def test_a_use_after_it_is_noted(
    open_session: Open, save_unheard: Unheard, settings: Settings, clock: Clock
) -> None:
    settings.MULTISESSION_IDLE_TIMEOUT = timedelta(minutes=30)
    key = begun(open_session, name="before")
    session = open_session(key)
    session["name"] = "after"
    save_unheard(session)
    clock.advance(seconds=20 * 60)
    assert session.respond() is CookieAnswer.SET
    clock.advance(seconds=20 * 60)
    assert open_session(key).entries() == {"name": "after"}


def test_it_does_not_move_the_last_use_back(
    open_session: Open, save_unheard: Unheard, settings: Settings, clock: Clock
) -> None:
    settings.MULTISESSION_IDLE_TIMEOUT = timedelta(minutes=30)
    key = begun(open_session, name="before")
    session = open_session(key)
    session["name"] = "after"
    save_unheard(session)
    clock.advance(seconds=20 * 60)
    used = open_session(key)
    assert used["name"] == "after"
    assert used.respond() is CookieAnswer.SET
    clock.advance(seconds=11 * 60)
    session["cart"] = "tea"
    session.save()
    assert open_session(key).entries() == {"name": "after", "cart": "tea"}


def test_it_is_settled_although_the_server_fails_in_the_middle_of_that(
    open_session: Open, save_unheard: Unheard, engine: Engine, proxy: TCPProxy
) -> None:
    session = open_session(key := begun(open_session, visits=1))
    session["visits"] = 3
    save_unheard(session)
    open_session(key).flush()
    session["name"] = "after"
    # The write is answered; the look at what is there then is not.
    proxy.cut_next_answer(GETTING[engine.kind], times=2)
    with pytest.raises(StoreUnavailable):
        session.save()
    with pytest.raises(SessionEnded):
        session.save()
    assert open_session(key).entries() == {}


@pytest.mark.parametrize("is_late", [False, True], ids=["unanswered", "answered"])
@pytest.mark.parametrize("run", ["async"], indirect=True)
def test_a_save_that_was_cancelled_at_any_await_is_known_if_it_was_made(
    *, open_session: Open, run: Run, is_late: bool
) -> None:
    # Whoever keeps an exception keeps the frames it went through.
    kept: list[BaseException] = []

    async def save(session: DriverSessionStore) -> None:
        try:
            await session.asave()
        except asyncio.CancelledError as cancelled:
            kept.append(cancelled)
            raise

    async def be_cancelled(turn: int, session: DriverSessionStore) -> bool:
        was_cancelled, _ = await cancelled_at(turn, save(session), is_late=is_late)
        return was_cancelled

    for turn in itertools.count():
        key = begun(open_session, visits=1)
        session = open_session(key)
        session["visits"] = 3
        was_cancelled = run(be_cancelled(turn, session.session))
        session["visits"] = 4
        session.save()
        assert open_session(key).entries() == {"visits": 4}
        if not was_cancelled:
            assert turn > 0
            return


def test_a_use_that_could_not_be_noted_sets_no_cookie(
    open_session: Open, proxy: TCPProxy, clock: Clock, engine: Engine, settings: Settings
) -> None:
    """It may be an old one: another request may have logged in meanwhile."""
    session = open_session(begun(open_session, name="ada"))
    clock.advance(seconds=5 * 60)
    session = open_session(session.key)
    assert session["name"] == "ada"
    shorten_waits(engine, settings)
    proxy.refuse()
    assert session.respond() is CookieAnswer.KEEP
    proxy.accept()
    session = open_session(session.key)
    assert session["name"] == "ada"
    assert session.respond() is CookieAnswer.SET
