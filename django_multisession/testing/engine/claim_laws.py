"""The laws of claims: an ended session has one successor at most, and a newer login is not replaced."""

from __future__ import annotations

import pytest
from django.contrib.sessions.backends.base import UpdateError

from django_multisession.session.respond import CookieAnswer
from django_multisession.testing.engine.faults import (
    EngineFaultFixtures,
    answer_of,
    log_in,
)
from django_multisession.testing.engine.fixtures import USER_ID, Open, saved
from django_multisession.testing.rows import for_each

KEEP, SET = CookieAnswer.KEEP, CookieAnswer.SET


class EngineClaimLaws(EngineFaultFixtures):
    """The first write after an end claims the tombstone; the next one is interrupted."""

    def test_the_first_write_after_an_end_from_elsewhere_gets_a_new_session(
        self, open_session: Open, open_elsewhere: Open
    ) -> None:
        key = saved(open_session, a=1).key
        open_elsewhere().delete(key)
        first, second = open_session(key), open_session(key)
        assert first.entries() == {}
        first["state"] = "x"
        assert first.respond() is SET
        assert first.key not in (None, key)
        assert open_session(first.key).entries() == {"state": "x"}
        second["state"] = "y"
        with pytest.raises(UpdateError):
            second.respond()

    def test_of_two_racing_claims_one_is_interrupted(
        self, open_session: Open, open_elsewhere: Open
    ) -> None:
        key = saved(open_session, a=1).key
        open_elsewhere().delete(key)
        racing = [open_session(key), open_session(key)]
        assert [session.entries() for session in racing] == [{}, {}]
        for session in racing:
            session["state"] = "x"
        racing[0].save()
        with pytest.raises(UpdateError):
            racing[1].save()
        assert open_session(racing[0].key).entries() == {"state": "x"}

    @for_each("verb", ["create", "must_create"])
    def test_the_first_new_session_after_an_end_from_elsewhere_is_stored(
        self, open_session: Open, open_elsewhere: Open, verb: str
    ) -> None:
        key = saved(open_session, a=1).key
        open_elsewhere().delete(key)
        session = open_session(key)
        if verb == "create":
            session.create()
        else:
            session.save(must_create=True)
        assert session.key not in (None, key)
        assert open_session().exists(session.key) is True

    def test_a_change_of_what_was_read_is_interrupted_by_an_end_from_elsewhere(
        self, open_session: Open, open_elsewhere: Open
    ) -> None:
        session = open_session(saved(open_session, a=1).key)
        session["a"] = 2
        open_elsewhere().delete(session.key)
        with pytest.raises(UpdateError):
            session.respond()

    def test_a_login_whose_claim_is_refused_is_stored_all_the_same(
        self, open_session: Open, open_elsewhere: Open
    ) -> None:
        key = saved(open_session, a=1).key
        open_elsewhere().delete(key)
        logins = [open_session(key), open_elsewhere(key)]
        for login in logins:
            assert login.entries() == {}
        for login in logins:
            log_in(login)
        assert [open_session(login.key).get(USER_ID) for login in logins] == ["7", "7"]

    def test_a_write_after_the_logout_of_another_tab_is_interrupted(
        self, open_session: Open, open_elsewhere: Open
    ) -> None:
        key = saved(open_session, a=1).key
        open_elsewhere(key).flush()
        for _ in range(2):
            session = open_session(key)
            assert session.entries() == {}
            session["state"] = "x"
            with pytest.raises(UpdateError):
                session.respond()

    def test_a_request_that_logged_out_itself_gets_a_new_session_for_what_it_writes(
        self, open_session: Open
    ) -> None:
        key = saved(open_session, **{USER_ID: "7"}).key
        session = open_session(key)
        session.flush()
        session["message"] = "Goodbye!"
        assert session.respond() is SET
        assert session.key not in (None, key)
        assert open_session(session.key).entries() == {"message": "Goodbye!"}

    def test_what_is_written_after_a_logout_does_not_replace_a_newer_login(
        self, open_session: Open, open_elsewhere: Open
    ) -> None:
        key = saved(open_session, a=1).key
        logout, login = open_session(key), open_elsewhere(key)
        assert login.get("a") == 1
        logout.flush()
        log_in(login)
        logout["message"] = "Goodbye!"
        assert answer_of(logout) in (None, KEEP)
        assert open_session(login.key).get(USER_ID) == "7"

    def test_what_is_written_after_a_logout_that_met_a_newer_login_is_not_stored(
        self, open_session: Open, open_elsewhere: Open
    ) -> None:
        key = saved(open_session, a=1).key
        logout, login = open_session(key), open_elsewhere(key)
        assert logout.get("a") == 1
        log_in(login)
        logout.flush()
        logout["message"] = "Goodbye!"
        assert answer_of(logout) in (None, KEEP)
