"""Logins of one user, interleaved command by command: the limit holds in every order."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.models import User

from django_multisession.drivers.base import Ask
from django_multisession.engine import close_drivers
from django_multisession.exceptions import SessionEnded, SessionLimitReached
from django_multisession.session import end, save
from django_multisession.store import DriverSessionStore
from django_multisession.user_sessions import list_sessions
from tests.engine_fixtures import Engine, use_engine
from tests.user_sessions.conftest import log_in, make_user

if TYPE_CHECKING:
    from pytest_django import Settings

    from tests.conftest import Clock, Running

# CI searches more of these orders: the bounds `limit-…` of the exhaustive test.
pytestmark = [pytest.mark.long, pytest.mark.release]

POLICIES = ["oldest", "least_used", "deny"]


@pytest.fixture
def engine(
    clock: Clock, settings: Settings, running_servers: Running, request: pytest.FixtureRequest
) -> Engine:
    settings.MULTISESSION_MAX_SESSIONS = 1
    settings.MULTISESSION_AT_LIMIT = request.getfixturevalue("at_limit")
    return use_engine("memory", settings, running_servers)


@dataclasses.dataclass
class Act:
    """A login or a logout that goes on by one command at a time.

    Attributes:
        store: Its session.
        steps: What is left of it.
        is_over: Has its client an answer?
        is_refused: Was that a refusal?
    """

    store: DriverSessionStore
    steps: Iterator[Any]
    step: Any = None
    is_over: bool = False
    is_refused: bool = False

    def go_on(self) -> None:
        """Carry out one command."""
        reply = self.step.server.send(self.step.command) if isinstance(self.step, Ask) else None
        self.advance(reply)

    def advance(self, reply: Any) -> None:
        try:
            self.step = self.steps.send(reply)  # type: ignore[attr-defined]  # a generator
        except StopIteration:
            self.is_over = True
        except (SessionEnded, SessionLimitReached):
            self.is_over = self.is_refused = True


def login(engine: Engine, user: User) -> Act:
    store = engine.SessionStore()
    log_in(store, user)
    return begun(store, save.save(store._recognized))


def logout(engine: Engine, key: str) -> Act:
    store = engine.SessionStore(key)
    store.load()
    return begun(store, end.flush(store._recognized))


def begun(store: DriverSessionStore, steps: Iterator[Any]) -> Act:
    act = Act(store, steps)
    act.advance(None)
    return act


def play(acts: Sequence[Act], schedule: Sequence[int]) -> list[int]:
    """Let *acts* go on in the order of *schedule*, then the first that isn't over.

    Returns:
        Which of them went on at each turn.
    """
    turns: list[int] = []
    while not all(act.is_over for act in acts):
        wanted = schedule[len(turns)] if len(turns) < len(schedule) else 0
        open_acts = [number for number, act in enumerate(acts) if not act.is_over]
        number = wanted if wanted in open_acts else open_acts[0]
        acts[number].go_on()
        turns.append(number)
    return turns


def schedules_after(turns: list[int], fixed: int, others: int) -> Iterator[list[int]]:
    """Yield the schedules that leave *turns* at a turn from the one of number *fixed* on."""
    for at in range(fixed, len(turns)):
        for other in range(turns[at] + 1, others):
            yield [*turns[:at], other]


def each_schedule(make: Any, number: int) -> Iterator[Sequence[Act]]:
    """Yield what *make* makes, played in every order."""
    waiting: list[list[int]] = [[]]
    while waiting:
        schedule = waiting.pop()
        acts = make()
        turns = play(acts, schedule)
        # One that was over already took no turn: that order was played.
        if turns[: len(schedule)] == schedule:
            waiting += schedules_after(turns, len(schedule), number)
            yield acts


def live(acts: Sequence[Act], engine: Engine) -> list[bool]:
    return [SESSION_KEY in engine.SessionStore(act.store.session_key) for act in acts]


@pytest.mark.parametrize("was_here", [False, True])
@pytest.mark.parametrize("at_limit", POLICIES)
def test_of_two_logins_in_any_order_one_stays(
    engine: Engine, at_limit: str, was_here: bool
) -> None:
    def make() -> list[Act]:
        users.append(make_user())
        if was_here:
            # There is a record of the seats then.
            store = engine.SessionStore()
            log_in(store, users[-1])
            store.save()
            store.flush()
        return [login(engine, users[-1]) for _ in range(2)]

    users: list[User] = []
    orders = 0
    for acts in each_schedule(make, 2):
        orders += 1
        assert len(list_sessions(users[-1])) == 1
        assert sorted(live(acts, engine)) == [False, True]
        if at_limit == "deny":
            # A client is let in, and stays in.
            assert [not act.is_refused for act in acts] == live(acts, engine)
        close_drivers()
    assert orders > 200


@pytest.mark.parametrize("at_limit", POLICIES)
def test_two_logins_beside_an_older_session_leave_one(engine: Engine, at_limit: str) -> None:
    def make() -> list[Act]:
        user = make_user()
        store = engine.SessionStore()
        log_in(store, user)
        store.save()
        users.append((user, str(store.session_key)))
        return [login(engine, user) for _ in range(2)]

    users: list[tuple[User, str]] = []
    for acts in each_schedule(make, 2):
        user, older = users[-1]
        assert len(list_sessions(user)) == 1
        assert (SESSION_KEY in engine.SessionStore(older)) is (at_limit == "deny")
        assert [act.is_refused for act in acts] == [True, True] or at_limit != "deny"
        close_drivers()


@pytest.mark.parametrize("at_limit", POLICIES)
def test_a_login_beside_a_logout_leaves_one_at_most(engine: Engine, at_limit: str) -> None:
    def make() -> list[Act]:
        user = make_user()
        store = engine.SessionStore()
        log_in(store, user)
        store.save()
        users.append(user)
        return [login(engine, user), logout(engine, str(store.session_key))]

    users: list[User] = []
    kept = set()
    for acts in each_schedule(make, 2):
        found = len(list_sessions(users[-1]))
        assert found == live(acts[:1], engine).count(True) == (not acts[0].is_refused)
        kept.add(found)
        close_drivers()
    # The login that looks before the logout is denied.
    assert kept == ({0, 1} if at_limit == "deny" else {1})
