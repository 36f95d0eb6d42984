"""The laws of ended sessions: no verb brings one back, and none adds under a presented key."""

from __future__ import annotations

import pytest
from django.contrib.sessions.backends.base import CreateError, UpdateError

from django_multisession.core import keys
from django_multisession.settings import conf
from django_multisession.testing.engine.faults import (
    EngineFaultFixtures,
    FaultyDriver,
    log_in,
)
from django_multisession.testing.engine.fixtures import USER_ID, Open, saved, storage_key
from django_multisession.testing.rows import for_each
from django_multisession.testing.verbs import Clock

#: Longer than a tombstone is kept.
TOMBSTONE_LIFE = 61


class EngineRevivalLaws(EngineFaultFixtures):
    """No verb brings back a session that another request ended."""

    # No verb revives an ended session

    @for_each("end", ["flush", "delete", "login"])
    def test_create_does_not_store_an_ended_session_again(
        self, open_session: Open, open_elsewhere: Open, end: str
    ) -> None:
        key = saved(open_session, **{USER_ID: "7"}).key
        session = open_session(key)
        assert session.get(USER_ID) == "7"
        if end == "flush":
            open_elsewhere(key).flush()
        elif end == "delete":
            open_elsewhere().delete(key)
        else:
            log_in(open_elsewhere(key))
        with pytest.raises(UpdateError):
            session.create()

    def test_a_waiting_move_of_an_ended_session_stays_conditional_after_a_delete_of_its_old_key(
        self, open_session: Open, open_elsewhere: Open
    ) -> None:
        key = saved(open_session, **{USER_ID: "7"}).key
        session = open_session(key)
        session.cycle_key()
        waiting = session.key
        open_elsewhere(key).flush()
        open_session().delete(key)
        with pytest.raises(UpdateError):
            session.save()
        assert open_session().exists(waiting) is False

    def test_a_logout_ends_a_session_whose_old_key_was_deleted_before_its_move_was_saved(
        self, open_session: Open, open_elsewhere: Open
    ) -> None:
        key = saved(open_session, **{USER_ID: "7"}).key
        session = open_session(key)
        session.cycle_key()
        waiting = session.key
        # To end the key that a session is about to leave is the move itself.
        open_session().delete(key)
        open_elsewhere(key).flush()
        session["a"] = 1
        with pytest.raises(UpdateError):
            session.save()
        assert open_session().exists(waiting) is False

    def test_must_create_does_not_store_an_ended_session_again_after_the_tombstones_minute(
        self, open_faulty: Open, open_elsewhere: Open, faulty: FaultyDriver, clock: Clock
    ) -> None:
        key = saved(open_faulty, **{USER_ID: "7"}).key
        session = open_faulty(key)
        assert session.get(USER_ID) == "7"
        open_elsewhere(key).flush()
        clock.advance(TOMBSTONE_LIFE)
        faulty.forget(storage_key(key))
        with pytest.raises((CreateError, UpdateError)):
            session.save(must_create=True)
        assert open_faulty().exists(key) is False

    def test_must_create_on_a_waiting_key_is_the_conditional_move(
        self, open_session: Open, open_elsewhere: Open
    ) -> None:
        key = saved(open_session, **{USER_ID: "7"}).key
        session = open_session(key)
        session.cycle_key()
        waiting = session.key
        open_elsewhere(key).flush()
        with pytest.raises(UpdateError):
            session.save(must_create=True)
        assert open_session().exists(waiting) is False

    # create() and must_create on a key that a client presented

    def test_must_create_stores_nothing_under_a_presented_key(self, open_session: Open) -> None:
        planted = keys.make(conf.config().signing_keys).session_key
        session = open_session(planted)
        session.save(must_create=True)
        assert session.key not in (None, planted)
        assert open_session().exists(planted) is False
        assert open_session().exists(session.key) is True

    def test_a_create_error_leaves_the_live_session_as_it_is(self, open_session: Open) -> None:
        key = saved(open_session, a=1).key
        session = open_session(key)
        with pytest.raises(CreateError):
            session.save(must_create=True)
        session["b"] = 2
        session.save()
        assert open_session(key).entries() == {"a": 1, "b": 2}

    def test_create_is_a_move_of_what_was_read(self, open_session: Open) -> None:
        key = saved(open_session, a=1).key
        session = open_session(key)
        assert session.get("a") == 1
        session.create()
        assert session.key != key
        assert open_session(session.key).entries() == {"a": 1}
        assert open_session().exists(key) is False

    def test_a_logout_after_create_leaves_no_key_alive(self, open_session: Open) -> None:
        key = saved(open_session, **{USER_ID: "7"}).key
        session = open_session(key)
        session.create()
        created = session.key
        session.flush()
        assert [open_session().exists(each) for each in (key, created)] == [False, False]
