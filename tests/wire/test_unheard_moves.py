"""Code that goes on with a session that got its new key, although nobody heard so."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from django_multisession.records import Record
from django_multisession.responding import CookieAnswer
from django_multisession.signals import session_cycled, session_ended
from django_multisession.testing.engine_fixtures import USER_ID, heard, storage_key
from django_multisession.testing.verbs import Run
from tests.drivers.redis_fixtures import within_deadline
from tests.engine_fixtures import Engine
from tests.wire.conftest import Count, under_none
from tests.wire.unheard import MOVING, Open, Unheard, begun, open_session, run, save_unheard

__all__ = ["open_session", "run", "save_unheard"]

if TYPE_CHECKING:
    from tests.conftest import Clock

pytestmark = under_none


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
    with heard(session_cycled) as cycles:
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


def test_a_login_after_it_begins_the_session_anew(
    open_session: Open, save_unheard: Unheard, engine: Engine, clock: Clock
) -> None:
    session = open_session(begun(open_session, cart="tea"))
    session.cycle_key()
    save_unheard(session, MOVING[engine.kind])
    clock.advance(seconds=60)
    session.cycle_key()
    session[USER_ID] = "7"
    with heard(session_cycled) as cycles:
        session.save()
    assert [cycle["reason"] for cycle in cycles] == ["requested", "login"]
    record = engine.driver.get(storage_key(session.key))
    assert isinstance(record, Record)
    assert record.began_at == clock.now


def test_a_move_is_gone_on_from_when_nothing_is_left_where_it_began(
    open_session: Open, save_unheard: Unheard, engine: Engine, clock: Clock
) -> None:
    key = begun(open_session, cart="tea")
    session = open_session(key)
    session.cycle_key()
    save_unheard(session, MOVING[engine.kind])
    engine.driver.forget(storage_key(key), timedelta(0))
    clock.advance(seconds=5 * 60)
    session["name"] = "after"
    if engine.kind == "redis":
        within_deadline(lambda: engine.driver.get(storage_key(key)) is None)
    session.save()
    assert open_session(session.key).entries() == {"cart": "tea", "name": "after"}


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
    with pytest.raises(Exception, match="ended") as interrupted:
        session.save()
    assert type(interrupted.value).__name__ == "SessionEnded"
    assert open_session(session.key).entries() == {}


@pytest.mark.parametrize("run", ["async"], indirect=True)
def test_two_coroutines_that_save_a_new_key_go_on_with_it(
    open_session: Open, run: Run, save_unheard: Unheard
) -> None:
    session = open_session(begun(open_session, cart="tea"))
    session.cycle_key()

    async def save_thrice() -> None:
        await asyncio.gather(*(session.session.asave() for _ in range(3)))

    with heard(session_cycled) as cycles:
        run(save_thrice())
    assert len(cycles) == 1
    assert open_session(session.key).entries() == {"cart": "tea"}
