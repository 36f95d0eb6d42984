"""Two processes of a site whose clocks are a minute apart, and the sessions that both serve."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from django_multisession.core.records import EXPIRY_SLACK, Record
from django_multisession.drivers import base
from django_multisession.testing.engine.fixtures import storage_key
from tests.engine_fixtures import Engine

if TYPE_CHECKING:
    from pytest_django import Settings

    from tests.conftest import Clock

pytestmark = pytest.mark.once

APART = timedelta(minutes=1)
IDLE = timedelta(minutes=10)
#: A tenth of that.
TOUCH_INTERVAL = timedelta(minutes=1)
SECOND = timedelta(seconds=1)


class Processes:
    """One whose clock is right, and one whose clock is ahead, to each other's sessions."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine, self._clock = engine, clock
        self.now = clock.now

    def open(self, session_key: str | None, ahead: timedelta) -> Any:
        """Open a session in the process that is so far *ahead*, at its time."""
        self._clock.now = self.now + ahead
        return self._engine.SessionStore(session_key)

    def use(self, session_key: str, ahead: timedelta) -> bool:
        """Read the session there, as a page does; tell whether it lives."""
        session = self.open(session_key, ahead)
        lives: bool = session.get("name") == "ada"
        if session.modified:
            session.save()
        return lives

    def record(self, session_key: str) -> Record:
        stored = base.run(self._engine.driver.get(storage_key(session_key)))
        assert isinstance(stored, Record)
        return stored


@pytest.fixture
def processes(engine_of_each_kind: Engine, clock: Clock, settings: Settings) -> Processes:
    settings.MULTISESSION_IDLE_TIMEOUT = IDLE
    settings.MULTISESSION_ABSOLUTE_TIMEOUT = timedelta(hours=8)
    return Processes(engine_of_each_kind, clock)


@pytest.fixture
def session_key(processes: Processes) -> str:
    session = processes.open(None, ahead=timedelta(0))
    session["name"] = "ada"
    session.save()
    key: str = session.session_key
    return key


def test_a_session_in_use_lives_in_both_and_its_last_use_never_moves_back(
    processes: Processes, session_key: str
) -> None:
    begun_at = last_use = processes.now
    turn = 0
    while processes.now - begun_at < 3 * IDLE:
        processes.now += timedelta(seconds=37)
        turn += 1
        ahead = APART if turn % 3 == 0 else timedelta(0)
        assert processes.use(session_key, ahead)
        if turn % 5 == 0:
            session = processes.open(session_key, ahead)
            session["turn"] = turn
            session.save()
        touched_at = processes.record(session_key).touched_at
        assert touched_at >= last_use
        last_use = touched_at


@pytest.mark.parametrize("used_ahead", [timedelta(0), APART], ids=["right", "ahead"])
@pytest.mark.parametrize("read_ahead", [timedelta(0), APART], ids=["right", "ahead"])
def test_a_session_that_is_left_ends_early_or_late_by_what_clocks_differ_and_no_more(
    processes: Processes, session_key: str, used_ahead: timedelta, read_ahead: timedelta
) -> None:
    processes.now += timedelta(minutes=5)
    last_used_at: datetime = processes.now
    assert processes.use(session_key, used_ahead)
    processes.now = last_used_at + IDLE - APART - TOUCH_INTERVAL - SECOND
    session = processes.open(session_key, read_ahead)
    session.counts_as_use = False
    assert session.get("name") == "ada"
    processes.now = last_used_at + IDLE + APART + SECOND
    assert not processes.use(session_key, read_ahead)


def test_an_absolute_deadline_is_the_same_moment_by_the_clock_of_whoever_looks(
    processes: Processes, session_key: str
) -> None:
    session = processes.open(session_key, APART)
    session.set_expiry(processes.now + timedelta(hours=1))
    session.save()
    # A server keeps it for longer than that, by either clock.
    assert APART <= EXPIRY_SLACK
    for ahead in (timedelta(0), APART):
        processes.now = session.get_expiry_date() - ahead - SECOND
        assert processes.use(session_key, ahead)
        assert not processes.use(session_key, ahead + SECOND)
