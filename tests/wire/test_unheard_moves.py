"""Code that goes on with a session whose new key was stored, although the answer was lost."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from django_multisession.core.records import Record
from django_multisession.drivers import base
from django_multisession.exceptions import SessionEnded
from django_multisession.session.respond import CookieAnswer
from django_multisession.signals import session_ended, session_key_changed
from django_multisession.testing.engine.fixtures import USER_ID, heard, storage_key
from django_multisession.testing.verbs import Run
from tests.engine_fixtures import Count, Engine
from tests.wire.conftest import on_each_kind, under_none
from tests.wire.unheard import (
    MOVING,
    Open,
    Unheard,
    begun,
    collect,
    open_session,
    run,
    save_unheard,
)

__all__ = ["open_session", "run", "save_unheard"]

if TYPE_CHECKING:
    from pytest_django import Settings

    from tests.conftest import Clock

pytestmark = [under_none, on_each_kind]


@pytest.mark.parametrize("is_login", [True, False], ids=["login", "cycle_key"])
def test_a_move_is_gone_on_from_and_told_once(
    *,
    open_session: Open,
    save_unheard: Unheard,
    engine: Engine,
    count_stored: Count,
    is_login: bool,
) -> None:
    before = count_stored()
    key = begun(open_session, cart="tea")
    session = open_session(key)
    session.cycle_key()
    if is_login:
        session[USER_ID] = "7"
    save_unheard(session, MOVING[engine.kind])
    session["name"] = "ada"
    with heard(session_key_changed) as cycles:
        assert session.respond() is CookieAnswer.SET
    reasons = [cycle["reason"] for cycle in cycles]
    assert reasons == ["login" if is_login else "requested"]
    assert open_session(session.key).entries() == session.entries()
    assert session.entries().items() >= {"cart": "tea", "name": "ada"}.items()
    assert open_session(key).entries() == {}
    # The session, and what is left where it was.
    assert count_stored() == before + 2


def test_a_session_that_got_another_key_since_lies_under_that_one(
    open_session: Open, save_unheard: Unheard, engine: Engine
) -> None:
    key = begun(open_session, cart="tea")
    session = open_session(key)
    session.cycle_key()
    save_unheard(session, MOVING[engine.kind])
    between = session.key
    session.cycle_key()
    session[USER_ID] = "7"
    session.save()
    assert open_session(session.key).entries() == {"cart": "tea", USER_ID: "7"}
    assert open_session(between).entries() == open_session(key).entries() == {}


def test_a_login_after_it_begins_a_new_session(
    open_session: Open, save_unheard: Unheard, engine: Engine, clock: Clock
) -> None:
    session = open_session(begun(open_session, cart="tea"))
    session.cycle_key()
    save_unheard(session, MOVING[engine.kind])
    clock.advance(seconds=60)
    session.cycle_key()
    session[USER_ID] = "7"
    with heard(session_key_changed) as cycles:
        session.save()
    assert [cycle["reason"] for cycle in cycles] == ["requested", "login"]
    record = base.run(engine.driver.get(storage_key(session.key)))
    assert isinstance(record, Record)
    assert record.began_at == clock.now


def test_a_session_that_moved_long_ago_is_gone_on_with_where_its_own_move_put_it(
    open_session: Open, save_unheard: Unheard, engine: Engine, settings: Settings
) -> None:
    """The tombstone is gone by then, but the record under the new key shows this request's write."""
    key = begun(open_session, cart="tea")
    session = open_session(key)
    session.cycle_key()
    save_unheard(session, MOVING[engine.kind])
    moved = session.key
    collect(engine, settings, storage_key(key))
    assert base.run(engine.driver.get(storage_key(key))) is None
    session["name"] = "after"
    session.save()
    assert open_session(moved).entries() == {"cart": "tea", "name": "after"}


def test_a_session_that_moved_long_ago_and_was_ended_stays_ended(
    open_session: Open, save_unheard: Unheard, engine: Engine, settings: Settings
) -> None:
    key = begun(open_session, cart="tea")
    session = open_session(key)
    session.cycle_key()
    save_unheard(session, MOVING[engine.kind])
    moved = session.key
    open_session(moved).flush()
    for place in (key, moved):
        collect(engine, settings, storage_key(place))
    session["name"] = "after"
    with pytest.raises(SessionEnded):
        session.save()
    assert open_session(moved).entries() == open_session(key).entries() == {}


def test_a_login_by_hand_after_it_gets_a_key_of_its_own(
    open_session: Open, save_unheard: Unheard, engine: Engine, clock: Clock
) -> None:
    session = open_session(begun(open_session, cart="tea"))
    session.cycle_key()
    save_unheard(session, MOVING[engine.kind])
    between = session.key
    clock.advance(seconds=60)
    session[USER_ID] = "7"
    session.save()
    assert session.key != between
    record = base.run(engine.driver.get(storage_key(session.key)))
    assert isinstance(record, Record)
    assert record.began_at == clock.now
    assert open_session(between).entries() == {}


@pytest.mark.parametrize("verb", ["flush", "delete"])
def test_an_end_after_it_ends_the_session_where_it_lies(
    open_session: Open, save_unheard: Unheard, engine: Engine, verb: str
) -> None:
    session = open_session(begun(open_session, cart="tea"))
    session.cycle_key()
    session[USER_ID] = "7"
    save_unheard(session, MOVING[engine.kind])
    between = session.key
    with heard(session_ended) as ends:
        getattr(session, verb)()
    assert len(ends) == 1
    assert open_session(between).entries() == {}


def test_a_save_that_was_made_and_then_ended_stays_ended(
    open_session: Open, save_unheard: Unheard, engine: Engine
) -> None:
    session = open_session(begun(open_session, cart="tea"))
    session.cycle_key()
    save_unheard(session, MOVING[engine.kind])
    open_session(session.key).flush()
    session["name"] = "late"
    with pytest.raises(SessionEnded):
        session.save()
    assert open_session(session.key).entries() == {}


@pytest.mark.parametrize("run", ["async"], indirect=True)
def test_a_login_while_another_coroutine_saves_gets_a_key_of_its_own(
    open_session: Open, run: Run
) -> None:
    session = open_session(begun(open_session, cart="tea"))
    before = session.key
    session["name"] = "ada"

    async def save_and_log_in() -> None:
        saving = asyncio.ensure_future(session.session.asave())
        await asyncio.sleep(0)
        await session.session.acycle_key()
        await session.session.aset(USER_ID, "7")
        await saving
        await session.session.asave()

    run(save_and_log_in())
    assert session.key != before
    assert open_session(before).entries() == {}
    assert open_session(session.key).entries() == {"cart": "tea", "name": "ada", USER_ID: "7"}


@pytest.mark.parametrize("run", ["async"], indirect=True)
def test_a_flush_while_another_coroutine_saves_ends_the_session(
    open_session: Open, run: Run
) -> None:
    session = open_session(begun(open_session, cart="tea"))
    before = session.key
    session["name"] = "ada"

    async def save_and_flush() -> CookieAnswer:
        saving = asyncio.ensure_future(session.session.asave())
        await asyncio.sleep(0)
        await session.session.aflush()
        await saving
        return await session.session.arespond()

    assert run(save_and_flush()) is CookieAnswer.REMOVE
    assert open_session(before).entries() == {}


@pytest.mark.parametrize("run", ["async"], indirect=True)
def test_two_coroutines_that_save_a_new_key_go_on_with_it(
    open_session: Open, run: Run, save_unheard: Unheard
) -> None:
    session = open_session(begun(open_session, cart="tea"))
    session.cycle_key()

    async def save_thrice() -> None:
        await asyncio.gather(*(session.session.asave() for _ in range(3)))

    with heard(session_key_changed) as cycles:
        run(save_thrice())
    assert len(cycles) == 1
    assert open_session(session.key).entries() == {"cart": "tea"}
