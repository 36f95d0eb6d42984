"""The laws of `respond()`: what a response saves, and what becomes of the cookie."""

from __future__ import annotations

import pytest
from django.contrib.sessions.backends.base import UpdateError
from django.test import override_settings

from django_multisession.session.respond import CookieAnswer
from django_multisession.testing.driver.fixtures import make_end
from django_multisession.testing.engine.fixtures import (
    EngineFixtures,
    Open,
    saved,
    storage_key,
    stored,
)
from django_multisession.testing.rows import for_each
from django_multisession.testing.verbs import Clock, DriverVerbs

KEEP, SET, REMOVE = CookieAnswer.KEEP, CookieAnswer.SET, CookieAnswer.REMOVE

saved_always = override_settings(SESSION_SAVE_EVERY_REQUEST=True)


class EngineResponseLaws(EngineFixtures):
    """A response saves what its request changed, and says nothing of a session that was ended."""

    def test_what_a_request_set_is_saved_and_its_cookie_set(self, open_session: Open) -> None:
        session = open_session()
        session["a"] = 1
        assert session.respond() is SET
        assert open_session(session.key)["a"] == 1

    def test_a_request_that_read_keeps_its_cookie(self, open_session: Open) -> None:
        session = open_session(saved(open_session, a=1).key)
        assert session["a"] == 1
        assert session.respond() is KEEP

    def test_a_touch_that_is_due_sets_the_cookie(
        self, open_session: Open, driver: DriverVerbs, clock: Clock
    ) -> None:
        key = saved(open_session, a=1).key
        clock.advance(120)
        session = open_session(key)
        assert session["a"] == 1
        assert session.respond() is SET
        assert stored(driver, session).touched_at == clock.now

    @for_each("key", [None, "f" * 40], ids=["no-key", "forged"])
    def test_a_request_without_a_session_removes_the_cookie_and_stores_nothing(
        self, open_session: Open, key: str | None
    ) -> None:
        session = open_session(key)
        assert session.respond() is REMOVE
        with saved_always:
            assert session.respond() is REMOVE
        assert session.key is None

    def test_a_server_error_saves_nothing(self, open_session: Open) -> None:
        key = saved(open_session, a=1).key
        session = open_session(key)
        session["a"] = 2
        assert session.respond(may_save=False) is KEEP
        assert open_session(key)["a"] == 1

    def test_a_flush_removes_the_cookie_also_under_a_server_error(self, open_session: Open) -> None:
        session = open_session(saved(open_session, a=1).key)
        session.flush()
        assert session.respond(may_save=False) is REMOVE

    def test_a_request_that_read_an_ended_session_keeps_its_cookie(
        self, open_session: Open, driver: DriverVerbs
    ) -> None:
        session = open_session(saved(open_session, a=1).key)
        driver.delete(storage_key(session.key), make_end())
        assert session.entries() == {}
        assert session.respond() is KEEP
        with saved_always:
            assert session.respond() is KEEP

    def test_a_touch_that_finds_its_record_gone_keeps_the_cookie(
        self, open_session: Open, driver: DriverVerbs, clock: Clock
    ) -> None:
        session = open_session(saved(open_session, a=1).key)
        clock.advance(120)
        assert session["a"] == 1
        driver.delete(storage_key(session.key), make_end())
        assert session.respond() is KEEP

    def test_a_change_that_finds_its_record_gone_is_interrupted(
        self, open_session: Open, driver: DriverVerbs
    ) -> None:
        session = open_session(saved(open_session, a=1).key)
        session["a"] = 2
        driver.delete(storage_key(session.key), make_end())
        with pytest.raises(UpdateError):
            session.respond()

    def test_what_was_discarded_is_not_saved(self, open_session: Open) -> None:
        key = saved(open_session, a=1).key
        session = open_session(key)
        session["a"] = 2
        session.session.modified = False
        assert session.respond() is KEEP
        assert open_session(key)["a"] == 1

    def test_of_the_keys_that_a_client_sent_the_first_live_one_is_taken(
        self, open_session: Open, driver: DriverVerbs
    ) -> None:
        ended, live = saved(open_session, a=1).key, saved(open_session, a=2).key
        driver.delete(storage_key(ended), make_end())
        for first, *others in ([ended, live], [live, ended], ["f" * 40, ended, live]):
            session = open_session(first)
            session.session.offer_keys([key for key in others if key])
            assert session["a"] == 2
            assert session.key == live
            assert session.respond() is KEEP
