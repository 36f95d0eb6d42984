"""Requests and ends that overlap an adoption, step by step: every interleaving of two of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from django_multisession.engines.memory import SessionStore
from django_multisession.session import read
from django_multisession.session.steps import Steps
from tests.moving.conftest import Old, leave

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
    for schedule in schedules(7, 7):
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
    for schedule in schedules(7, 7):
        key = begun(old_cache)
        reading, ending = SessionStore(key), SessionStore()
        play(
            schedule,
            taking(read.read(reading._recognized)),
            taking(ending._delete(key)),
        )
        assert SessionStore(key).load() == {}, schedule
        # A save of the request that read it before finds the end.
        assert not SessionStore(reading.session_key).exists(reading.session_key), schedule
