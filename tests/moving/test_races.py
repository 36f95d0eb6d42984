"""Requests and ends that overlap an adoption, step by step: every interleaving of two of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest

from django_multisession import way_back
from django_multisession.core.secret import SecretText
from django_multisession.engines.memory import SessionStore
from django_multisession.session import read
from django_multisession.session.steps import Steps
from tests.moving.conftest import DJANGOS, Old, leave

if TYPE_CHECKING:
    from pytest_django import Settings

    from tests.conftest import Clock


@pytest.fixture
def session_middleware() -> str:
    """These tests visit no page."""
    return "django_multisession.middleware.SessionMiddleware"


@pytest.fixture
def old_cache(settings: Settings) -> Old:
    settings.SESSION_ENGINE = SessionStore.__module__
    return leave(settings, "cache")


def taking(steps: Steps[Any]) -> Iterator[None]:
    """Take *steps* one at a time."""
    try:
        ask: Any = next(steps)
        while True:
            yield
            ask = steps.send(ask.server.send(ask.command))
    except StopIteration:
        return


def schedules(first: int, second: int) -> Iterator[tuple[int, ...]]:
    """Yield every order of so many steps of two processes."""
    if not first or not second:
        yield (0,) * first + (1,) * second
        return
    for rest in schedules(first - 1, second):
        yield (0, *rest)
    for rest in schedules(first, second - 1):
        yield (1, *rest)


def play(schedule: tuple[int, ...], *processes: Iterator[None]) -> None:
    for which in schedule:
        next(processes[which], None)
    for process in processes:
        for _ in process:
            pass


def begun(old: Old) -> str:
    session = old.store()
    session["cart"] = ["tea"]
    session.save()
    return str(session.session_key)


def test_two_requests_adopt_one_session_in_whatever_order(old_cache: Old, clock: Clock) -> None:
    for schedule in itertools.islice(schedules(7, 7), 0, None, 17):
        key = begun(old_cache)
        one, other = SessionStore(key), SessionStore(key)
        play(
            schedule,
            taking(read.read(one._recognized)),
            taking(read.read(other._recognized)),
        )
        for session in (one, other):
            assert session.get("cart") == ["tea"], schedule
        assert one.session_key == other.session_key != key


def test_an_end_by_the_old_key_reaches_an_adoption_in_whatever_order(
    old_cache: Old, clock: Clock
) -> None:
    for schedule in itertools.islice(schedules(7, 7), 0, None, 17):
        key = begun(old_cache)
        reading, ending = SessionStore(key), SessionStore()
        play(
            schedule,
            taking(read.read(reading._recognized)),
            taking(ending._delete(ending._verify_one(key))),
        )
        assert SessionStore(key).load() == {}, schedule
        # A save of the request that read it before finds the end.
        assert not SessionStore(reading.session_key).exists(reading.session_key), schedule


# The way back


@pytest.fixture
def back_in_cache(settings: Settings) -> Any:
    """The store of the engine that the site is back on."""
    leave(settings, "cache")
    settings.MULTISESSION_MIGRATE_FROM = SessionStore.__module__
    settings.SESSION_ENGINE = f"{DJANGOS}.cache"
    return import_module(settings.SESSION_ENGINE).SessionStore


class Bringing:
    """A request that brings a session back, step by step."""

    def __init__(self, store: Any, key: str) -> None:
        self.found: Any = None
        self.steps = taking(self._bring(store, key))

    def _bring(self, store: Any, key: str) -> Any:
        self.found = yield from way_back._bring(store, SecretText(key))


def begun_here() -> str:
    session = SessionStore()
    session["cart"] = ["tea"]
    session.save()
    return str(session.session_key)


def test_two_requests_bring_one_session_back_in_whatever_order(
    back_in_cache: Any, clock: Clock
) -> None:
    # Every order of so many steps is one of 184,756.
    for schedule in itertools.islice(schedules(10, 10), 0, None, 367):
        key = begun_here()
        one, other = Bringing(back_in_cache, key), Bringing(back_in_cache, key)
        play(schedule, one.steps, other.steps)
        assert one.found.session_key == other.found.session_key, schedule
        assert one.found.load() == {"cart": ["tea"]}, schedule


@pytest.mark.parametrize("steps_before", range(10))
def test_a_late_request_revives_no_session_that_came_back_and_was_ended(
    back_in_cache: Any, clock: Clock, steps_before: int
) -> None:
    key = begun_here()
    late, other = Bringing(back_in_cache, key), Bringing(back_in_cache, key)
    for _ in range(steps_before):
        next(late.steps, None)
    play((), other.steps)
    assert other.found.load() == {"cart": ["tea"]}
    other.found.flush()
    play((), late.steps)
    assert late.found is None or late.found.load() == {}
    assert Bringing(back_in_cache, key).found is None
