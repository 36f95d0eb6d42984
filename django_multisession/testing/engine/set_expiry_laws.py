"""The laws of ``set_expiry()``, on a clock that the law drives."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.test import override_settings

from django_multisession.session.respond import Deadlines
from django_multisession.testing.engine.fixtures import (
    EngineFixtures,
    Open,
    saved,
)
from django_multisession.testing.rows import for_each
from django_multisession.testing.verbs import Clock, SessionVerbs

HOUR = 3600
DAY = 24 * HOUR
TIMEOUTS = {"MULTISESSION_IDLE_TIMEOUT": HOUR, "MULTISESSION_ABSOLUTE_TIMEOUT": 10 * HOUR}


def visit(open_session: Open, key: str | None) -> SessionVerbs:
    """Do what a page that only reads does under Django's middleware."""
    session = open_session(key)
    session.get("a")
    if session.session.modified and not session.session.is_empty():
        session.save()
    return session


class EngineSetExpiryLaws(EngineFixtures):
    """Every form keeps Django's meaning."""

    @for_each(
        ("value", "age"),
        [(300, 300), (timedelta(seconds=300), 300), (0, HOUR), (None, HOUR)],
        ids=["integer", "timedelta", "browser", "none"],
    )
    def test_set_expiry_sets_the_age_that_the_cookie_gets(
        self, open_session: Open, value: Any, age: int
    ) -> None:
        with override_settings(**TIMEOUTS):
            session = open_session()
            session.set_expiry(value)
            assert session.get_expiry_age() == age
            assert session.get_expire_at_browser_close() is (value == 0)

    def test_an_integer_expiry_replaces_the_idle_age(
        self, open_session: Open, clock: Clock
    ) -> None:
        with override_settings(**TIMEOUTS):
            key = _with_expiry(open_session, 2 * HOUR)
            clock.advance(2 * HOUR - 1)
            assert visit(open_session, key).entries()["a"] == 1
            clock.advance(2 * HOUR - 1)
            assert visit(open_session, key).entries()["a"] == 1
            clock.advance(2 * HOUR)
            assert open_session(key).entries() == {}

    @for_each("form", ["timedelta", "datetime"])
    def test_a_date_expiry_is_an_absolute_deadline(
        self, open_session: Open, clock: Clock, form: str
    ) -> None:
        with override_settings(**TIMEOUTS):
            span = timedelta(seconds=5 * HOUR)
            key = _with_expiry(open_session, span if form == "timedelta" else clock.now + span)
            clock.advance(5 * HOUR - 1)
            assert visit(open_session, key).entries()["a"] == 1
            clock.advance(1)
            assert open_session(key).entries() == {}

    def test_a_configured_absolute_timeout_caps_every_expiry(
        self, open_session: Open, clock: Clock
    ) -> None:
        with override_settings(**TIMEOUTS):
            by_date, by_age = (
                _with_expiry(open_session, expiry) for expiry in (timedelta(days=365), 365 * DAY)
            )
            for key in (by_date, by_age):
                assert open_session(key).get_expiry_age() == 10 * HOUR
            clock.advance(10 * HOUR)
            for key in (by_date, by_age):
                assert open_session(key).entries() == {}

    def test_the_default_absolute_timeout_gives_way_to_set_expiry(
        self, open_session: Open, clock: Clock
    ) -> None:
        keys = [_with_expiry(open_session, expiry) for expiry in (timedelta(days=365), 365 * DAY)]
        clock.advance(364 * DAY)
        assert [open_session(key)["a"] for key in keys] == [1, 1]

    def test_an_expiry_in_the_past_ends_the_session(self, open_session: Open) -> None:
        keys = [_with_expiry(open_session, expiry) for expiry in (timedelta(seconds=-10), -10)]
        assert [open_session(key).entries() for key in keys] == [{}, {}]

    def test_set_expiry_on_a_stored_session_moves_its_end(
        self, open_session: Open, clock: Clock
    ) -> None:
        with override_settings(**TIMEOUTS):
            key = saved(open_session, a=1).key
            session = open_session(key)
            session.set_expiry(60)
            session.save()
            clock.advance(60)
            assert open_session(key).entries() == {}

    def test_the_deadlines_are_told(self, open_session: Open, clock: Clock) -> None:
        with override_settings(**TIMEOUTS):
            session = saved(open_session, a=1)
            idle_end, hard_end = (_later(clock, hours) for hours in (1, 10))
            assert session.deadlines() == Deadlines(idle_end, hard_end)
            assert open_session(session.key).deadlines() == Deadlines(idle_end, hard_end)
            assert open_session().deadlines() == Deadlines(None, None)


def _with_expiry(open_session: Open, expiry: Any) -> str | None:
    session = open_session()
    session["a"] = 1
    session.set_expiry(expiry)
    session.save()
    return session.key


def _later(clock: Clock, hours: int) -> datetime:
    return clock.now + timedelta(hours=hours)
