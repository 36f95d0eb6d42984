"""The laws of an engine's keys and logins."""

from __future__ import annotations

import logging

import pytest
from django.contrib.sessions.backends.base import UpdateError
from django.test import override_settings

from django_multisession.core import keys
from django_multisession.core.records import Reason, Tombstone
from django_multisession.settings import conf
from django_multisession.testing.engine.fixtures import (
    USER_ID,
    EngineFixtures,
    Open,
    saved,
    storage_key,
    stored,
)
from django_multisession.testing.rows import for_each
from django_multisession.testing.verbs import DriverVerbs


class EngineKeyLaws(EngineFixtures):
    """Which keys are accepted, and when a session gets a new one."""

    # Keys

    def test_a_key_is_forty_characters_and_never_two_alike(self, open_session: Open) -> None:
        found = {saved(open_session, a=1).key for _ in range(20)}
        assert len(found) == 20
        assert {len(key or "") for key in found} == {40}

    @for_each(
        "forged",
        ["", "short", "x" * 40, "x" * 5000, "é" * 40, "a\r\nset x 0 0 1" + "b" * 27, "\0" * 40],
        ids=["empty", "short", "unsigned", "long", "not-ascii", "injection", "nul"],
    )
    def test_a_forged_key_is_an_empty_session_and_one_log_line(
        self, open_session: Open, forged: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.clear()
        with caplog.at_level(logging.WARNING, "django.security.SuspiciousSession"):
            session = open_session(forged)
            assert session.entries() == {}
            assert session.session.is_empty()
        assert session.key is None
        assert len(caplog.records) == 1
        assert not forged or forged not in caplog.text

    def test_a_key_that_another_site_signed_is_refused(self, open_session: Open) -> None:
        key = saved(open_session, a=1).key
        with override_settings(SECRET_KEY="another site's" * 5):
            assert open_session(key).entries() == {}

    def test_a_key_that_leads_nowhere_is_not_adopted(self, open_session: Open) -> None:
        unknown = keys.make(conf.config().signing_keys).session_key
        session = open_session(unknown)
        session["a"] = 1
        session.save()
        assert session.key not in (None, unknown)
        assert open_session().exists(unknown) is False

    def test_reading_an_unknown_key_stores_nothing(
        self, open_session: Open, driver: DriverVerbs
    ) -> None:
        unknown = keys.make(conf.config().signing_keys)
        assert open_session(unknown.session_key).load() == {}
        assert driver.get(unknown.storage_key) is None

    def test_cycle_key_keeps_the_data_and_ends_the_old_key(
        self, open_session: Open, driver: DriverVerbs
    ) -> None:
        session = saved(open_session, a=1)
        old = session.key
        session.cycle_key()
        session.save()
        assert session.key != old
        assert open_session(session.key).entries() == {"a": 1}
        left = driver.get(storage_key(old))
        assert isinstance(left, Tombstone)
        assert (left.reason, left.successor) == (Reason.MOVED, storage_key(session.key))

    def test_until_the_save_a_cycled_key_ends_nothing(self, open_session: Open) -> None:
        key = saved(open_session, a=1).key
        session = open_session(key)
        session.cycle_key()
        assert session.exists(key) is False
        assert session.exists(session.key) is True
        assert open_session(key).entries() == {"a": 1}

    def test_a_flush_after_a_cycle_ends_the_old_session(self, open_session: Open) -> None:
        key = saved(open_session, a=1).key
        session = open_session(key)
        session.cycle_key()
        session.flush()
        assert open_session().exists(key) is False

    def test_a_new_session_after_a_cycle_leaves_no_old_key_alive(self, open_session: Open) -> None:
        key = saved(open_session, a=1).key
        session = open_session(key)
        session.cycle_key()
        session.create()
        assert open_session().exists(key) is False
        assert open_session().exists(session.key) is True

    def test_the_old_key_may_be_deleted_before_the_new_one_is_saved(
        self, open_session: Open
    ) -> None:
        key = saved(open_session, a=1).key
        session = open_session(key)
        session.cycle_key()
        session.delete(key)
        assert open_session().exists(key) is False
        session.save()
        assert open_session(session.key).entries() == {"a": 1}

    def test_a_cycled_session_that_was_deleted_is_not_saved_again(self, open_session: Open) -> None:
        key = saved(open_session, a=1).key
        session = open_session(key)
        session.cycle_key()
        session.delete(session.key)
        with pytest.raises(UpdateError):
            session.save()
        assert open_session().exists(key) is False

    def test_cycling_an_ended_session_in_flight_is_interrupted(self, open_session: Open) -> None:
        key = saved(open_session, a=1).key
        late = open_session(key)
        late.cycle_key()
        open_session(key).flush()
        with pytest.raises(UpdateError):
            late.save()
        assert open_session().exists(late.key) is False

    def test_a_fallback_can_be_retired_after_one_visit(self, open_session: Open) -> None:
        old_secret = "old secret " * 5
        with override_settings(SECRET_KEY=old_secret):
            key = saved(open_session, a=1).key
        with override_settings(SECRET_KEY="new secret " * 5, SECRET_KEY_FALLBACKS=[old_secret]):
            session = open_session(key)
            assert session["a"] == 1
            assert session.session.modified is True
            session.save()
            assert storage_key(session.key) == storage_key(key)
        with override_settings(SECRET_KEY="new secret " * 5):
            assert open_session(session.key)["a"] == 1

    # Login

    def test_a_login_made_by_hand_gets_a_new_key(self, open_session: Open) -> None:
        key = saved(open_session, cart=[1]).key
        session = open_session(key)
        session[USER_ID] = "7"
        session.save()
        assert session.key != key
        assert open_session(session.key).entries() == {"cart": [1], USER_ID: "7"}
        assert open_session().exists(key) is False

    def test_a_login_made_by_hand_after_clear_gets_a_new_key(self, open_session: Open) -> None:
        key = saved(open_session, a=1).key
        session = open_session(key)
        session.session.clear()
        session[USER_ID] = "7"
        session.save()
        assert session.key != key
        assert open_session().exists(key) is False

    def test_a_second_login_of_the_same_user_gets_a_new_key(self, open_session: Open) -> None:
        key = saved(open_session, **{USER_ID: "7"}).key
        session = open_session(key)
        session[USER_ID] = "7"
        session.save()
        assert session.key != key

    def test_cycle_on_login_can_be_switched_off(self, open_session: Open) -> None:
        with override_settings(MULTISESSION_ALWAYS_CYCLE_ON_LOGIN=False):
            key = saved(open_session, a=1).key
            session = open_session(key)
            session[USER_ID] = "7"
            session.save()
        assert storage_key(session.key) == storage_key(key)

    def test_two_logins_at_once_both_succeed_and_share_nothing_ended(
        self, open_session: Open
    ) -> None:
        key = saved(open_session, cart=[1], csrf="x").key
        first, second = open_session(key), open_session(key)
        for session, user in ((first, "7"), (second, "8")):
            assert USER_ID not in session
            session.cycle_key()
            session[USER_ID] = user
        first.save()
        second.save()
        assert open_session(first.key).entries() == {"cart": [1], "csrf": "x", USER_ID: "7"}
        assert open_session(second.key).entries() == {USER_ID: "8"}

    def test_a_stale_save_does_not_change_whose_session_it_is(
        self, open_session: Open, driver: DriverVerbs
    ) -> None:
        with override_settings(MULTISESSION_ALWAYS_CYCLE_ON_LOGIN=False):
            session = saved(open_session, cart=[1])
            stale = open_session(session.key)
            stale["cart"] = [2]
            login = open_session(session.key)
            login[USER_ID] = "7"
            login.save()
            with pytest.raises(UpdateError):
                stale.save()
        assert stored(driver, session).user_id == "7"

    def test_code_that_ends_every_session_but_its_own_keeps_one_with_a_new_key(
        self, open_session: Open
    ) -> None:
        # As after a change of password; its list of keys has the old one.
        session = saved(open_session, a=1)
        old_key = session.key
        session.cycle_key()
        open_session().delete(old_key)
        assert open_session(old_key).entries() == {}
        session.save()
        assert open_session(session.key).entries() == {"a": 1}

    def test_code_that_ends_its_own_session_too_ends_it(self, open_session: Open) -> None:
        session = saved(open_session, a=1)
        session.cycle_key()
        session.delete(session.key)
        with pytest.raises(UpdateError):
            session.save()
