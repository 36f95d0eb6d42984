"""The laws of authentication: when the user last proved who they are is signed, and never moves back."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.sessions.backends.base import UpdateError
from django.core.exceptions import PermissionDenied

from django_multisession.signals import session_key_changed
from django_multisession.testing.engine.faults import EngineFaultFixtures, FaultyDriver
from django_multisession.testing.engine.fixtures import (
    USER_ID,
    Open,
    heard,
    saved,
    stored,
)
from django_multisession.testing.rows import for_each
from django_multisession.testing.verbs import Clock, DriverVerbs, Run, SessionVerbs


def authenticated_at(session: SessionVerbs, run: Run | None) -> object:
    """Read it the way code in *run* does."""
    if run is None:
        return session.session.authenticated_at
    return run(session.session.aauthenticated_at())


class EngineAuthenticationLaws(EngineFaultFixtures):
    """A login and an authentication count from when code carried them out, on every key since."""

    def test_a_login_is_an_authentication_before_and_after_its_save(
        self, open_session: Open, clock: Clock, run: Run | None
    ) -> None:
        session = open_session(saved(open_session, a=1).key)
        assert authenticated_at(session, run) is None
        session[USER_ID] = "7"
        login_at = clock.now
        clock.advance(3)
        assert authenticated_at(session, run) == login_at
        session.save()
        clock.advance(60)
        assert authenticated_at(session, run) == login_at
        assert authenticated_at(open_session(session.key), run) == login_at

    def test_an_authentication_changes_the_key_and_nothing_else(
        self, open_session: Open, clock: Clock, run: Run | None, driver: DriverVerbs
    ) -> None:
        old = saved(open_session, cart=[1], **{USER_ID: "7"})
        before = stored(driver, old)
        clock.advance(3600)
        session = open_session(old.key)
        session.note_authentication()
        assert authenticated_at(session, run) == clock.now
        session.save()
        after = stored(driver, session)
        assert session.key != old.key
        assert (after.series, after.began_ms, after.created_ms, after.deadline_ms) == (
            before.series,
            before.began_ms,
            before.created_ms,
            before.deadline_ms,
        )
        assert after.authenticated_ms == clock.milliseconds
        assert open_session(old.key).entries() == {}
        assert open_session(session.key).entries() == {"cart": [1], USER_ID: "7"}

    def test_an_authentication_in_the_request_of_the_login_keeps_the_key_of_the_login(
        self, open_session: Open, run: Run | None, clock: Clock
    ) -> None:
        session = open_session(saved(open_session, a=1).key)
        session[USER_ID] = "7"
        key = session.key
        session.note_authentication()
        assert session.key == key
        session.save()
        assert authenticated_at(open_session(key), run) == clock.now

    @for_each("is_stored", [True, False])
    def test_only_a_user_is_authenticated_again(
        self, open_session: Open, *, is_stored: bool
    ) -> None:
        session = open_session(saved(open_session, a=1).key if is_stored else None)
        key = session.key
        with pytest.raises(PermissionDenied):
            session.note_authentication()
        assert session.key == key

    def test_another_user_does_not_inherit_an_authentication(
        self, open_session: Open, clock: Clock, run: Run | None
    ) -> None:
        session = open_session(saved(open_session, **{USER_ID: "7"}).key)
        session.note_authentication()
        session.flush()
        assert authenticated_at(session, run) is None
        session[USER_ID] = "8"
        login_at = clock.now
        clock.advance(5)
        session.save()
        assert authenticated_at(open_session(session.key), run) == login_at

    def test_an_authentication_is_told_once_with_its_reason(
        self, open_session: Open, clock: Clock
    ) -> None:
        old = saved(open_session, **{USER_ID: "7"}).key
        clock.advance(60)
        session = open_session(old)
        session.note_authentication()
        with heard(session_key_changed) as events:
            session.save()
            session["a"] = 1
            session.save()
            session.cycle_key()
            session.save()
        assert [each["reason"] for each in events] == ["authentication", "requested"]

    # Overlapping requests

    def test_an_authentication_takes_along_what_another_request_saved(
        self, open_session: Open, clock: Clock, run: Run | None
    ) -> None:
        key = saved(open_session, cart=[], **{USER_ID: "7"}).key
        clock.advance(3600)
        writer, session = open_session(key), open_session(key)
        session.note_authentication()
        writer["cart"].append("book")
        writer.save()
        session.save()
        found = open_session(session.key)
        assert found["cart"] == ["book"]
        assert authenticated_at(found, run) == clock.now

    def test_an_older_request_takes_no_authentication_back(
        self, open_session: Open, clock: Clock, run: Run | None
    ) -> None:
        key = saved(open_session, a=0, **{USER_ID: "7"}).key
        clock.advance(3600)
        late = open_session(key)
        late["a"] = 1
        session = open_session(key)
        session.note_authentication()
        session.save()
        with pytest.raises(UpdateError):
            late.save()
        assert authenticated_at(open_session(session.key), run) == clock.now

    def test_a_form_that_was_sent_twice_authenticates_one_session(
        self, open_session: Open, clock: Clock, run: Run | None, driver: DriverVerbs
    ) -> None:
        old = saved(open_session, cart=[1], **{USER_ID: "7"})
        series = stored(driver, old).series
        clock.advance(3600)
        first, second = open_session(old.key), open_session(old.key)
        second.note_authentication()
        clock.advance(1)
        first.note_authentication()
        first["first"] = 1
        first.save()
        clock.advance(1)
        second.save()
        found = open_session(second.key)
        assert found.entries() == {"cart": [1], "first": 1, USER_ID: "7"}
        assert authenticated_at(found, run) == clock.now - timedelta(seconds=1)
        assert stored(driver, second).series == series
        assert open_session(first.key).entries() == {}

    @for_each("end", ["flush", "login", "login-again", "delete"])
    def test_an_authentication_revives_no_session_that_ended_and_follows_no_login(
        self, open_session: Open, clock: Clock, end: str
    ) -> None:
        key = saved(open_session, a=1, **{USER_ID: "7"}).key
        session, moved = open_session(key), open_session(key)
        assert session["a"] == 1
        moved.cycle_key()
        moved.save()
        other = open_session(moved.key)
        if end.startswith("login"):
            other[USER_ID] = "8" if end == "login" else "7"
            other.save()
        else:
            getattr(other, end)()
        clock.advance(1)
        session.note_authentication()
        with pytest.raises(UpdateError):
            session.save()
        assert open_session(session.key).entries() == {}

    def test_a_change_alone_follows_no_session_to_its_new_key(self, open_session: Open) -> None:
        key = saved(open_session, a=1, **{USER_ID: "7"}).key
        session, moved = open_session(key), open_session(key)
        session.cycle_key()
        moved.cycle_key()
        moved.save()
        with pytest.raises(UpdateError):
            session.save()

    # Lost answers

    def test_an_authentication_whose_answer_did_not_arrive_is_there_after_the_next_save(
        self,
        open_faulty: Open,
        faulty: FaultyDriver,
        no_answer: BaseException,
        clock: Clock,
        run: Run | None,
    ) -> None:
        key = saved(open_faulty, a=1, **{USER_ID: "7"}).key
        clock.advance(3600)
        session = open_faulty(key)
        session.note_authentication()
        at = clock.now
        faulty.lose_answer("write", no_answer)
        with pytest.raises(type(no_answer)):
            session.save()
        clock.advance(1)
        assert authenticated_at(session, run) == at
        session["b"] = 2
        session.save()
        found = open_faulty(session.key)
        assert found.entries() == {"a": 1, "b": 2, USER_ID: "7"}
        assert authenticated_at(found, run) == at
        assert open_faulty(key).entries() == {}
