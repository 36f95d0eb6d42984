"""The laws of an engine's time: idle and absolute expiry, touches, ``set_expiry()``, purging."""

from __future__ import annotations

from datetime import timedelta

from django.test import override_settings

from django_multisession.session.respond import Deadlines
from django_multisession.testing.engine.fixtures import (
    USER_ID,
    Open,
    saved,
    storage_key,
    stored,
)
from django_multisession.testing.engine.set_expiry_laws import (
    DAY,
    HOUR,
    TIMEOUTS,
    EngineSetExpiryLaws,
    visit,
)
from django_multisession.testing.rows import for_each
from django_multisession.testing.verbs import Clock, DriverVerbs


class EngineExpiryContract(EngineSetExpiryLaws):
    """Laws of time, on a clock that the law drives."""

    def test_a_session_ends_after_the_idle_timeout(self, open_session: Open, clock: Clock) -> None:
        with override_settings(**TIMEOUTS):
            key = saved(open_session, a=1).key
            clock.advance(HOUR - 1)
            assert open_session(key).entries() == {"a": 1}
            clock.advance(1)
            ended = open_session(key)
            assert ended.entries() == {}
            assert ended.key is None
            assert open_session().exists(key) is False

    def test_reading_is_use(self, open_session: Open, clock: Clock) -> None:
        with override_settings(**TIMEOUTS):
            key = saved(open_session, a=1).key
            for _ in range(3):
                clock.advance(HOUR - 1)
                assert visit(open_session, key).entries() == {"a": 1}

    def test_a_session_ends_at_the_absolute_timeout_however_much_it_is_used(
        self, open_session: Open, clock: Clock
    ) -> None:
        with override_settings(**TIMEOUTS):
            session = saved(open_session, a=1)
            for hour in range(19):
                clock.advance(HOUR / 2)
                session = open_session(session.key)
                session["hour"] = hour
                if hour == 9:
                    session.cycle_key()
                session.save()
            clock.advance(HOUR / 2 - 1)
            assert visit(open_session, session.key).entries() == {"a": 1, "hour": 18}
            clock.advance(1)
            assert open_session(session.key).entries() == {}

    def test_a_login_begins_the_absolute_timeout_anew(
        self, open_session: Open, clock: Clock
    ) -> None:
        with override_settings(**TIMEOUTS, MULTISESSION_TOUCH_INTERVAL=60):
            session = saved(open_session, a=1)
            for _ in range(12):
                clock.advance(HOUR / 2)
                session = visit(open_session, session.key)
            session[USER_ID] = "7"
            session.save()
            for _ in range(19):
                clock.advance(HOUR / 2)
                visit(open_session, session.key)
            assert open_session(session.key)[USER_ID] == "7"
            clock.advance(HOUR / 2)
            assert open_session(session.key).entries() == {}

    def test_a_save_keeps_the_session_alive(self, open_session: Open, clock: Clock) -> None:
        with override_settings(**TIMEOUTS):
            key = saved(open_session, a=1).key
            for number in range(3):
                clock.advance(HOUR - 1)
                session = open_session(key)
                session["a"] = number
                session.save()
            clock.advance(HOUR - 1)
            assert open_session(key)["a"] == 2

    def test_touches_are_as_far_apart_as_the_interval(
        self, open_session: Open, clock: Clock, driver: DriverVerbs
    ) -> None:
        with override_settings(**TIMEOUTS, MULTISESSION_TOUCH_INTERVAL=60):
            session = saved(open_session, a=1)
            clock.advance(59)
            assert visit(open_session, session.key).session.modified is False
            assert stored(driver, session).touched_at == clock.now - timedelta(seconds=59)
            clock.advance(1)
            visit(open_session, session.key)
            assert stored(driver, session).touched_at == clock.now

    def test_by_default_touches_are_a_tenth_of_the_idle_timeout_apart(
        self, open_session: Open, clock: Clock
    ) -> None:
        with override_settings(MULTISESSION_IDLE_TIMEOUT=100):
            key = saved(open_session, a=1).key
            clock.advance(9)
            assert visit(open_session, key).session.modified is False
            clock.advance(1)
            assert open_session(key)["a"] == 1
            touched = open_session(key)
            touched.get("a")
            assert touched.session.modified is True

    def test_a_touch_does_not_rewrite_the_payload(
        self, open_session: Open, clock: Clock, driver: DriverVerbs
    ) -> None:
        session = saved(open_session, a=1)
        before = stored(driver, session)
        clock.advance(60)
        visit(open_session, session.key)
        after = stored(driver, session)
        assert (after.payload, after.revisions) == (before.payload, before.revisions)
        assert after.touched_at == clock.now

    def test_a_request_can_opt_out_of_being_use(
        self, open_session: Open, clock: Clock, driver: DriverVerbs
    ) -> None:
        session = saved(open_session, a=1)
        before = stored(driver, session).touched_at
        clock.advance(HOUR)
        poll = open_session(session.key)
        poll.session.counts_as_use = False
        poll.get("a")
        assert poll.session.modified is False
        poll["a"] = 2
        poll.save()
        assert stored(driver, session).touched_at == before
        assert open_session(session.key)["a"] == 2

    def test_a_browser_length_session_is_touched_without_renewing_its_cookie(
        self, open_session: Open, clock: Clock, driver: DriverVerbs
    ) -> None:
        with override_settings(**TIMEOUTS):
            session = open_session()
            session["a"] = 1
            session.set_expiry(0)
            session.save()
            clock.advance(HOUR / 2)
            assert visit(open_session, session.key).session.modified is False
            assert stored(driver, session).touched_at == clock.now
            clock.advance(HOUR)
            assert open_session(session.key).entries() == {}

    def test_anonymous_sessions_may_end_earlier(self, open_session: Open, clock: Clock) -> None:
        with override_settings(**TIMEOUTS, MULTISESSION_ANONYMOUS_IDLE_TIMEOUT=600):
            anonymous, known = saved(open_session, a=1), saved(open_session, **{USER_ID: "7"})
            clock.advance(600)
            assert open_session(anonymous.key).entries() == {}
            assert open_session(known.key).entries() == {USER_ID: "7"}

    @for_each("switched_off", ["MULTISESSION_IDLE_TIMEOUT", "MULTISESSION_ABSOLUTE_TIMEOUT"])
    def test_none_switches_a_timeout_off(
        self, open_session: Open, clock: Clock, switched_off: str
    ) -> None:
        with override_settings(**{**TIMEOUTS, switched_off: None}):
            key = saved(open_session, a=1).key
            for _ in range(19):
                clock.advance(HOUR / 2)
                visit(open_session, key)
            assert open_session(key).entries() == {"a": 1}
            clock.advance(HOUR)
            assert open_session(key).entries() == {}

    def test_without_timeouts_a_session_does_not_end(
        self, open_session: Open, clock: Clock
    ) -> None:
        with override_settings(MULTISESSION_IDLE_TIMEOUT=None, MULTISESSION_ABSOLUTE_TIMEOUT=None):
            session = saved(open_session, a=1)
            assert session.deadlines() == Deadlines(None, None)
            clock.advance(1000 * DAY)
            assert open_session(session.key).entries() == {"a": 1}

    def test_shortened_timeouts_hold_for_stored_sessions(
        self, open_session: Open, clock: Clock
    ) -> None:
        key = saved(open_session, a=1).key
        clock.advance(HOUR)
        with override_settings(MULTISESSION_IDLE_TIMEOUT=HOUR):
            assert open_session(key).entries() == {}

    # Purging

    def test_clear_expired_removes_what_has_expired_and_keeps_what_lives(
        self, open_session: Open, clock: Clock, driver: DriverVerbs
    ) -> None:
        with override_settings(**TIMEOUTS):
            expired = saved(open_session, a=1)
            clock.advance(2 * HOUR)
            live = saved(open_session, b=2)
            live.clear_expired()
            assert open_session(live.key).entries() == {"b": 2}
            assert open_session(expired.key).entries() == {}
            # Of what has expired nothing is left but what the server keeps for its own expiry.
            assert not driver.is_purging or driver.count_expired(clock.milliseconds) == 0
            if driver.is_purging:
                assert driver.get(storage_key(expired.key)) is None
