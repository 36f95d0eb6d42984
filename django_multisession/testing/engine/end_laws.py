"""The laws of ends: they reach what a session has become, and leave a newer login its cookie."""

from __future__ import annotations

import pytest
from django.contrib.sessions.backends.base import UpdateError

from django_multisession.session.respond import CookieAnswer
from django_multisession.testing.engine.faults import (
    EngineFaultFixtures,
    FaultyDriver,
    answer_of,
    log_in,
    move,
)
from django_multisession.testing.engine.fixtures import USER_ID, Open, saved, storage_key
from django_multisession.testing.rows import for_each
from django_multisession.testing.verbs import Clock

KEEP = CookieAnswer.KEEP
#: Longer than a tombstone is kept.
TOMBSTONE_LIFE = 61


class EngineEndLaws(EngineFaultFixtures):
    """A logout, a delete and a login end a session wherever it was moved to."""

    # Ends follow a session to its new key

    @for_each("state", ["unread", "read", "late", "interrupted", "cycled"])
    def test_a_logout_follows_the_session_to_its_new_key(
        self, open_session: Open, open_elsewhere: Open, state: str
    ) -> None:
        key = saved(open_session, **{USER_ID: "7"}).key
        logout = open_session(key)
        if state in {"read", "interrupted", "cycled"}:
            assert logout.get(USER_ID) == "7"
        if state == "cycled":
            logout.cycle_key()
        moved = move(open_elsewhere(key))
        if state == "late":
            assert logout.entries() == {}
        elif state == "interrupted":
            logout["a"] = 1
            with pytest.raises(UpdateError):
                logout.save()
        logout.flush()
        assert open_session().exists(moved) is False

    def test_a_delete_by_the_old_key_follows_the_session_to_its_new_key(
        self, open_session: Open, open_elsewhere: Open
    ) -> None:
        key = saved(open_session, **{USER_ID: "7"}).key
        moved = move(open_session(key))
        again = move(open_session(moved))
        open_elsewhere().delete(key)
        assert open_session().exists(again) is False

    def test_a_logout_does_not_follow_the_session_into_a_login(
        self, open_session: Open, open_elsewhere: Open
    ) -> None:
        key = saved(open_session, a=1).key
        logout, login = open_session(key), open_elsewhere(key)
        assert logout.get("a") == 1
        log_in(login)
        logout.flush()
        assert open_session(login.key).get(USER_ID) == "7"

    def test_a_login_ends_what_its_session_has_become(
        self, open_session: Open, open_elsewhere: Open
    ) -> None:
        key = saved(open_session, a=1).key
        login = open_session(key)
        assert login.get("a") == 1
        moved = move(open_elsewhere(key))
        log_in(login)
        assert open_session().exists(moved) is False
        assert open_session(login.key).get(USER_ID) == "7"

    def test_what_a_login_ended_sets_no_cookie_and_its_logout_keeps_the_logins(
        self, open_session: Open, open_elsewhere: Open
    ) -> None:
        key = saved(open_session, a=1).key
        login, other = open_session(key), open_elsewhere(key)
        assert login.get("a") == 1
        move(other)
        log_in(login)
        other["a"] = 2
        assert answer_of(other) in (None, KEEP)
        other.flush()
        assert other.respond() is KEEP
        assert open_session(login.key).get(USER_ID) == "7"

    # Cookies of ended sessions

    @for_each("end", ["logout", "login"])
    def test_load_then_cycle_then_write_on_an_ended_session_sets_no_cookie(
        self, open_session: Open, open_elsewhere: Open, end: str
    ) -> None:
        key = saved(open_session, a=1).key
        if end == "login":
            log_in(open_elsewhere(key))
        else:
            open_elsewhere(key).flush()
        late = open_session(key)
        late.load()
        late.cycle_key()
        late["a"] = 2
        assert answer_of(late) in (None, KEEP)
        assert open_session().exists(late.key) is False

    @for_each("is_read", [True, False], ids=["read", "unread"])
    def test_a_logout_that_meets_a_newer_login_keeps_the_cookie(
        self, open_session: Open, open_elsewhere: Open, *, is_read: bool
    ) -> None:
        key = saved(open_session, a=1).key
        late, login = open_session(key), open_elsewhere(key)
        if is_read:
            assert late.get("a") == 1
        log_in(login)
        late.flush()
        assert late.respond() is KEEP
        assert open_session(login.key).get(USER_ID) == "7"

    @for_each("verb", ["load", "flush"])
    def test_a_request_older_than_a_tombstone_lives_keeps_the_cookie_where_it_finds_nothing(
        self, open_faulty: Open, open_elsewhere: Open, faulty: FaultyDriver, clock: Clock, verb: str
    ) -> None:
        key = saved(open_faulty, a=1).key
        late = open_faulty(key)
        log_in(open_elsewhere(key))
        clock.advance(TOMBSTONE_LIFE)
        faulty.forget(storage_key(key))
        if verb == "flush":
            late.flush()
        else:
            assert late.entries() == {}
        assert late.respond() is KEEP
