"""Code that goes on with a session whose save was made, although nobody heard so."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from django_multisession.exceptions import StoreUnavailable
from django_multisession.responding import CookieAnswer
from django_multisession.signals import session_cycled, session_merged
from django_multisession.store import DriverSessionStore
from django_multisession.testing.engine_fixtures import USER_ID, heard
from django_multisession.testing.verbs import Run, SessionVerbs, open_runner
from tests.engine_fixtures import Engine
from tests.faults.cancelling import cancelled_at
from tests.proxy import TCPProxy
from tests.wire.conftest import Count, shorten_waits, under_none

if TYPE_CHECKING:
    from pytest_django import Settings

    from tests.conftest import Clock

pytestmark = under_none

#: What the proxy calls a write over a record, and a move of one.
REPLACING = {"redis": "evalsha", "mongodb": "findAndModify"}
MOVING = {"redis": "evalsha", "mongodb": "update"}

Open = Callable[..., SessionVerbs]
Unheard = Callable[..., None]


@pytest.fixture(params=["sync", "async"])
def run(request: pytest.FixtureRequest) -> Iterator[Run | None]:
    run, close = open_runner(request.param)
    yield run
    close()


@pytest.fixture
def open_session(engine: Engine, settings: Settings, run: Run | None) -> Iterator[Open]:
    settings.MULTISESSION_RESOLVERS = {"visits": "django_multisession.resolvers.sum_of_changes"}
    settings.MULTISESSION_CYCLE_AFTER = None
    shorten_waits(engine, settings)
    # Redis gets its scripts, MongoDB its indexes.
    warm = SessionVerbs(engine.SessionStore(), run)
    for turn in range(2):
        warm["turn"] = turn
        warm.save()
    warm.cycle_key()
    warm.save()
    yield lambda key=None: SessionVerbs(engine.SessionStore(key), run)
    if run is not None:
        run(engine.driver.aclose())


@pytest.fixture
def save_unheard(engine: Engine, proxy: TCPProxy) -> Unheard:
    """Save a session, and lose the answer as often as the driver asks for it."""

    def save(session: SessionVerbs, command: str | None = None) -> None:
        command = command or REPLACING[engine.kind]
        proxy.reset()
        proxy.cut_next_answer(command, times=2)
        with pytest.raises(StoreUnavailable):
            session.save()
        assert [name.lower() for name in proxy.commands].count(command.lower()) == 2

    return save


def begun(open_session: Open, **entries: Any) -> str:
    """Return the key of a session that an earlier request stored."""
    session = open_session()
    session.update(entries)
    session.save()
    assert session.key is not None
    return session.key


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


def test_the_first_of_two_unheard_saves_is_known_too(
    open_session: Open, save_unheard: Unheard, proxy: TCPProxy
) -> None:
    key = begun(open_session, visits=1)
    session = open_session(key)
    session["visits"] = 3
    save_unheard(session)
    proxy.refuse()
    session["visits"] = 4
    with pytest.raises(StoreUnavailable):
        session.save()
    proxy.accept()
    session.save()
    assert open_session(key).entries() == {"visits": 4}


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


def test_a_save_that_nobody_else_met_is_no_merge(open_session: Open, save_unheard: Unheard) -> None:
    session = open_session(begun(open_session, visits=1))
    session["visits"] = 3
    save_unheard(session)
    session["visits"] = 4
    with heard(session_merged) as merges:
        session.save()
    assert merges == []
    assert open_session(session.key).entries() == {"visits": 4}


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
    open_session: Open, proxy: TCPProxy, clock: Clock
) -> None:
    """It may be an old one: somebody may have logged in elsewhere meanwhile."""
    session = open_session(begun(open_session, name="ada"))
    clock.advance(seconds=5 * 60)
    session = open_session(session.key)
    assert session["name"] == "ada"
    proxy.refuse()
    assert session.respond() is CookieAnswer.KEEP
    proxy.accept()
    session = open_session(session.key)
    assert session["name"] == "ada"
    assert session.respond() is CookieAnswer.SET
