"""The laws of odd times: clocks that were set back, times beyond the calendar, requests that poll."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from django.test import override_settings

from django_multisession.testing.engine.faults import EngineFaultFixtures, FaultyDriver
from django_multisession.testing.engine.fixtures import USER_ID, Open, saved, storage_key, stored
from django_multisession.testing.rows import for_each
from django_multisession.testing.stored_records import changed
from django_multisession.testing.verbs import Clock, DriverVerbs

MINUTE = 60
IDLE = {"MULTISESSION_IDLE_TIMEOUT": 30 * MINUTE}


class EngineClockLaws(EngineFaultFixtures):
    """No clock and no setting ends a session early or makes a request fail."""

    # Requests that are not use

    def test_a_save_that_is_not_use_keeps_what_another_request_gained(
        self, open_session: Open, clock: Clock, driver: DriverVerbs
    ) -> None:
        with override_settings(**IDLE):
            session = saved(open_session, a=1)
            poll = open_session(session.key)
            poll.session.counts_as_use = False
            assert poll.get("a") == 1
            clicked_at = clock.advance(25 * MINUTE)
            click = open_session(session.key)
            assert click.get("a") == 1
            click.respond()
            clock.advance(MINUTE)
            poll["b"] = 2
            poll.respond()
            assert stored(driver, session).touched_at == clicked_at
            clock.advance(6 * MINUTE)
            assert open_session(session.key).entries() == {"a": 1, "b": 2}

    def test_a_new_key_from_a_request_that_is_not_use_keeps_what_another_request_gained(
        self, open_session: Open, clock: Clock
    ) -> None:
        with override_settings(**IDLE):
            key = saved(open_session, a=1).key
            poll = open_session(key)
            poll.session.counts_as_use = False
            poll.cycle_key()
            clock.advance(25 * MINUTE)
            click = open_session(key)
            assert click.get("a") == 1
            click.respond()
            clock.advance(MINUTE)
            poll.save()
            clock.advance(6 * MINUTE)
            assert open_session(poll.key).entries() == {"a": 1}

    # Clocks that were set back

    @for_each(
        "timeouts",
        [{}, IDLE, {"MULTISESSION_ABSOLUTE_TIMEOUT": 3600}],
        ids=["default", "idle", "absolute"],
    )
    def test_a_clock_that_was_set_back_by_years_logs_no_one_out(
        self, open_session: Open, clock: Clock, timeouts: dict[str, Any]
    ) -> None:
        with override_settings(**timeouts):
            key = saved(open_session, **{USER_ID: "7"}).key
            clock.now = datetime(2020, 1, 1, tzinfo=UTC)
            session = open_session(key)
            assert session.get(USER_ID) == "7"
            session["a"] = 1
            session.respond()
            assert open_session(key).entries() == {USER_ID: "7", "a": 1}

    @for_each("younger", [MINUTE, 20 * MINUTE])
    def test_a_clock_that_was_set_back_by_a_day_logs_no_one_out(
        self, open_session: Open, clock: Clock, younger: int
    ) -> None:
        with override_settings(MULTISESSION_IDLE_TIMEOUT=3600):
            key = saved(open_session, **{USER_ID: "7"}).key
            clock.advance(younger)
            open_session(key).get("a")
            clock.now -= timedelta(days=1)
            assert open_session(key).get(USER_ID) == "7"
            # What was stored by the clock before is used and saved by the one after.
            session = open_session(key)
            session["a"] = 1
            session.save()
            clock.advance(MINUTE)
            assert open_session(key).entries() == {USER_ID: "7", "a": 1}

    def test_a_clock_that_was_set_back_and_forward_again_logs_no_one_out(
        self, open_session: Open, clock: Clock
    ) -> None:
        with override_settings(MULTISESSION_IDLE_TIMEOUT=3600):
            key = saved(open_session, a=1).key
            before = clock.now
            clock.now -= timedelta(minutes=30)
            session = open_session(key)
            session["b"] = 2
            session.save()
            clock.now = before
            clock.advance(59 * MINUTE)
            assert open_session(key).entries() == {"a": 1, "b": 2}

    # Times beyond the calendar

    @for_each("idle_ms", [10**17, 2**62], ids=["10e17", "2e62"])
    def test_an_idle_age_beyond_the_calendar_is_no_session(
        self, open_faulty: Open, faulty: FaultyDriver, driver: DriverVerbs, idle_ms: int
    ) -> None:
        session = saved(open_faulty, a=1)
        tampered = changed(stored(driver, session), idle_ms=idle_ms)
        faulty.roll_back(storage_key(session.key), tampered)
        assert open_faulty(session.key).entries() == {}

    @for_each(
        "expiry",
        [10**9, 10**12, 10**20, datetime.max.replace(tzinfo=UTC)],
        ids=["30-years", "10e12", "10e20", "last-moment"],
    )
    def test_an_expiry_beyond_the_calendar_is_never(
        self, open_session: Open, clock: Clock, expiry: Any
    ) -> None:
        session = open_session()
        session["a"] = 1
        session.set_expiry(expiry)
        session.respond()
        clock.advance(365 * 24 * 3600)
        found = open_session(session.key)
        assert found["a"] == 1
        found.respond()
        assert found.get_expiry_age() > 0

    @for_each("expiry", [timedelta.max, timedelta(days=10**7)])
    def test_a_timedelta_beyond_the_calendar_is_never(
        self, open_session: Open, clock: Clock, expiry: timedelta
    ) -> None:
        session = open_session()
        session["a"] = 1
        session.set_expiry(expiry)
        session.respond()
        clock.advance(365 * 24 * 3600)
        assert open_session(session.key)["a"] == 1

    def test_a_timedelta_before_the_calendar_is_over(self, open_session: Open) -> None:
        session = open_session()
        session["a"] = 1
        session.set_expiry(timedelta.min)
        session.save()
        assert open_session(session.key).entries() == {}
