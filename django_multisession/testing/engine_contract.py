"""The laws of an engine's ``SessionStore``: saving, ending, keys. Each runs sync and async."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.sessions.backends.base import CreateError, UpdateError
from django.test import override_settings
from django.utils import timezone

from django_multisession import conf, keys
from django_multisession.drivers.base import Driver
from django_multisession.exceptions import EntryNotSerializable, SessionTooLarge
from django_multisession.records import Record, Retired, new_revision
from django_multisession.store import DriverSessionStore
from django_multisession.testing.verbs import Clock, Run, SessionVerbs, open_runner

Open = Callable[..., SessionVerbs]
USER_ID, BACKEND, HASH = "_auth_user_id", "_auth_user_backend", "_auth_user_hash"


class EngineFixtures:
    """What the laws of an engine stand on. Subclasses provide the fixture `session_store`."""

    @pytest.fixture
    def session_store(self) -> type[DriverSessionStore]:
        """Return the ``SessionStore`` under test."""
        raise NotImplementedError("subclasses of EngineContract must provide session_store")

    @pytest.fixture
    def clock(self, monkeypatch: pytest.MonkeyPatch) -> Clock:
        """Drive ``timezone.now()``."""
        clock = Clock()
        monkeypatch.setattr(timezone, "now", lambda: clock.now)
        return clock

    @pytest.fixture(params=["sync", "async"])
    def run(self, request: pytest.FixtureRequest) -> Iterator[Run | None]:
        """Return what runs a law's coroutines: None for the sync verbs."""
        run, close = open_runner(request.param)
        yield run
        close()

    @pytest.fixture
    def open_session(
        self, session_store: type[DriverSessionStore], clock: Clock, run: Run | None
    ) -> Open:
        """Return what opens a session by its key, as a request does by its cookie."""
        return lambda key=None: SessionVerbs(session_store(key), run)

    @pytest.fixture
    def driver(self, session_store: type[DriverSessionStore]) -> Driver:
        """Return the driver under the engine."""
        return session_store.get_driver()


def stored(driver: Driver, session: SessionVerbs) -> Record:
    """Return the record of *session*."""
    record = driver.get(storage_key(session.key))
    assert isinstance(record, Record)
    return record


def storage_key(session_key: str | None) -> str:
    """Return the storage key that *session_key* leads to."""
    verified = keys.verify(session_key or "", conf.config().signing_keys)
    assert verified is not None
    return verified.storage_key


def saved(open_session: Open, **entries: Any) -> SessionVerbs:
    """Return a session that a first request stored with *entries*."""
    session = open_session()
    session.update(entries)
    session.save()
    return session


class EngineContract(EngineFixtures):
    """Laws of saving and ending sessions and of their keys."""

    # Saving

    def test_what_was_saved_is_there_for_the_next_request(self, open_session: Open) -> None:
        session = saved(open_session, cart=[1, {"two": 2}], name="Zoë")
        assert open_session(session.key).entries() == {"cart": [1, {"two": 2}], "name": "Zoë"}

    def test_a_new_session_is_not_stored_before_it_is_saved(
        self, open_session: Open, driver: Driver
    ) -> None:
        session = open_session()
        session["a"] = 1
        assert session.key is None

    def test_an_explicit_save_stores_an_empty_session(self, open_session: Open) -> None:
        session = open_session()
        session.save()
        assert open_session().exists(session.key) is True

    def test_a_change_is_saved(self, open_session: Open) -> None:
        key = saved(open_session, a=1, b=2, c=3).key
        session = open_session(key)
        session["a"] = 10
        session.pop("b")
        session.save()
        assert open_session(key).entries() == {"a": 10, "c": 3}

    def test_a_nested_change_is_seen_and_saved(self, open_session: Open) -> None:
        key = saved(open_session, cart=[]).key
        session = open_session(key)
        session["cart"].append("shoes")
        assert session.session.modified is True
        session.save()
        assert open_session(key)["cart"] == ["shoes"]

    def test_an_equal_value_is_no_change(self, open_session: Open, driver: Driver) -> None:
        first = saved(open_session, a=1, b=[1])
        session = open_session(first.key)
        session["a"] = 1
        session["b"] = [1]
        assert session.session.modified is False
        before = stored(driver, first)
        session.save()
        assert stored(driver, first).revisions == before.revisions

    def test_true_is_not_one(self, open_session: Open) -> None:
        key = saved(open_session, a=1).key
        session = open_session(key)
        session["a"] = True
        session.save()
        assert open_session(key)["a"] is True

    def test_a_read_session_is_not_modified(self, open_session: Open) -> None:
        session = open_session(saved(open_session, a=1, cart=[1]).key)
        assert (session["a"], session["cart"]) == (1, [1])
        assert session.session.modified is False

    def test_clear_replaces_everything_without_reading(self, open_session: Open) -> None:
        key = saved(open_session, a=1).key
        session = open_session(key)
        session.session.clear()
        session["b"] = 2
        session.save()
        assert open_session(key).entries() == {"b": 2}

    def test_a_second_load_does_not_move_what_a_save_compares_with(
        self, open_session: Open
    ) -> None:
        key = saved(open_session, a=1).key
        mine, theirs = open_session(key), open_session(key)
        mine["a"] = 2
        theirs["b"] = 3
        theirs.save()
        assert mine.load() == {"a": 1, "b": 3}
        assert mine.entries() == {"a": 2}

    def test_of_two_saves_the_later_wins(self, open_session: Open) -> None:
        key = saved(open_session, a=0).key
        first, second = open_session(key), open_session(key)
        first["a"] = 1
        second["a"] = 2
        first.save()
        second.save()
        assert open_session(key)["a"] == 2

    def test_save_with_must_create_refuses_a_stored_key(self, open_session: Open) -> None:
        session = saved(open_session, a=1)
        with pytest.raises(CreateError):
            session.save(must_create=True)

    def test_an_entry_that_cannot_be_serialized_is_named(self, open_session: Open) -> None:
        session = saved(open_session, a=1)
        session["culprit"] = object()
        with pytest.raises(EntryNotSerializable, match="'culprit'"):
            session.save()

    def test_a_session_over_the_limit_names_its_biggest_entry(self, open_session: Open) -> None:
        session = saved(open_session, a=1)
        session["novel"] = "x" * 3000
        with (
            override_settings(MULTISESSION_MAX_SIZE=2048),
            pytest.raises(SessionTooLarge, match="'novel' with 30"),
        ):
            session.save()
        assert open_session(session.key).entries() == {"a": 1}

    # Ending

    def test_a_flushed_session_is_gone(self, open_session: Open, driver: Driver) -> None:
        session = saved(open_session, a=1)
        key = session.key
        session.flush()
        assert session.key is None
        assert session.session.is_empty()
        assert open_session().exists(key) is False
        assert driver.get(storage_key(key)) == Retired()

    def test_a_save_never_revives_an_ended_session(
        self, open_session: Open, driver: Driver
    ) -> None:
        key = saved(open_session, a=1).key
        late = open_session(key)
        late["a"] = 2
        open_session(key).flush()
        for _ in range(2):
            with pytest.raises(UpdateError):
                late.save()
        assert driver.get(storage_key(key)) == Retired()

    def test_a_save_that_changes_nothing_tells_of_the_end(self, open_session: Open) -> None:
        key = saved(open_session, a=1).key
        late = open_session(key)
        assert late["a"] == 1
        open_session(key).flush()
        with pytest.raises(UpdateError):
            late.save()

    def test_an_ended_session_is_empty_and_keeps_its_cookie(self, open_session: Open) -> None:
        key = saved(open_session, a=1).key
        open_session(key).flush()
        late = open_session(key)
        assert late.entries() == {}
        # Django's middleware deletes the cookie of an empty session, and with it a new login's.
        assert late.session.is_empty() is False
        assert late.session.modified is False

    @pytest.mark.parametrize("verb", ["save", "create"])
    def test_an_ended_session_cannot_be_written_again(self, open_session: Open, verb: str) -> None:
        key = saved(open_session, a=1).key
        open_session(key).flush()
        late = open_session(key)
        if verb == "save":
            late["a"] = 2
        with pytest.raises(UpdateError):
            getattr(late, verb)()

    def test_an_ended_device_can_log_in_at_once(self, open_session: Open) -> None:
        key = saved(open_session, a=1).key
        open_session(key).flush()
        late = open_session(key)
        late.cycle_key()
        late[USER_ID] = "7"
        late.save()
        assert late.key != key
        assert open_session(late.key).entries() == {USER_ID: "7"}

    def test_delete_ends_another_session(self, open_session: Open) -> None:
        mine, other = saved(open_session, a=1), saved(open_session, b=2)
        mine.delete(other.key)
        assert open_session().exists(other.key) is False
        assert open_session().exists(mine.key) is True

    # Keys

    def test_a_key_is_forty_characters_and_never_two_alike(self, open_session: Open) -> None:
        found = {saved(open_session, a=1).key for _ in range(20)}
        assert len(found) == 20
        assert {len(key or "") for key in found} == {40}

    @pytest.mark.parametrize(
        "forged",
        ["", "short", "x" * 40, "x" * 5000, "é" * 40, "a\r\nset x 0 0 1" + "b" * 27, "\0" * 40],
        ids=["empty", "short", "unsigned", "long", "not-ascii", "injection", "nul"],
    )
    def test_a_forged_key_is_an_empty_session_and_one_log_line(
        self, open_session: Open, forged: str, caplog: pytest.LogCaptureFixture
    ) -> None:
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
        self, open_session: Open, driver: Driver
    ) -> None:
        unknown = keys.make(conf.config().signing_keys)
        assert open_session(unknown.session_key).load() == {}
        assert driver.get(unknown.storage_key) is None

    def test_cycle_key_keeps_the_data_and_ends_the_old_key(
        self, open_session: Open, driver: Driver
    ) -> None:
        session = saved(open_session, a=1)
        old = session.key
        session.cycle_key()
        session.save()
        assert session.key != old
        assert open_session(session.key).entries() == {"a": 1}
        assert isinstance(driver.get(storage_key(old)), Retired)

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
        with override_settings(SECRET_KEY="new secret " * 5):
            assert open_session(session.key)["a"] == 1
        assert (session.key or "")[:22] == (key or "")[:22]

    # Login

    def test_a_login_made_by_hand_gets_a_new_key(self, open_session: Open) -> None:
        key = saved(open_session, cart=[1]).key
        session = open_session(key)
        session[USER_ID] = "7"
        session.save()
        assert session.key != key
        assert open_session(session.key).entries() == {"cart": [1], USER_ID: "7"}
        assert open_session().exists(key) is False

    def test_a_second_login_of_the_same_user_gets_a_new_key(self, open_session: Open) -> None:
        key = saved(open_session, **{USER_ID: "7"}).key
        session = open_session(key)
        session[USER_ID] = "7"
        session.save()
        assert session.key != key

    def test_cycle_on_login_can_be_switched_off(self, open_session: Open) -> None:
        with override_settings(MULTISESSION_CYCLE_ON_LOGIN=False):
            key = saved(open_session, a=1).key
            session = open_session(key)
            session[USER_ID] = "7"
            session.save()
        assert session.key == key

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
        self, open_session: Open, driver: Driver
    ) -> None:
        with override_settings(MULTISESSION_CYCLE_ON_LOGIN=False):
            session = saved(open_session, cart=[1])
            stale = open_session(session.key)
            stale["cart"] = [2]
            login = open_session(session.key)
            login[USER_ID] = "7"
            login.save()
            with pytest.raises(UpdateError):
                stale.save()
        assert stored(driver, session).user_id == "7"

    # What a server or an attacker may have done to a record

    @pytest.mark.parametrize(
        "damage",
        [
            lambda record: {"payload": record.payload[:-1]},
            lambda record: {"payload": b""},
            lambda record: {"payload": record.payload[33:]},
            lambda record: {"payload": b"\x09" + record.payload[1:]},
            lambda record: {"user_id": "1"},
            lambda record: {"user_id": None},
            lambda record: {"began_at": record.began_at + timedelta(days=1)},
            lambda record: {"created_at": record.created_at + timedelta(days=1)},
            lambda record: {"hard_deadline_at": record.hard_deadline_at + timedelta(days=1)},
            lambda record: {"hard_deadline_at": None},
            lambda record: {"idle_age": record.idle_age * 2},
        ],
        ids=[
            "cut-short",
            "empty",
            "unsealed",
            "unknown-version",
            "other-owner",
            "no-owner",
            "began-later",
            "created-later",
            "later-deadline",
            "no-deadline",
            "longer-idle",
        ],
    )
    def test_a_record_that_was_tampered_with_is_no_session(
        self, open_session: Open, driver: Driver, damage: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        session = saved(open_session, a="precious", **{USER_ID: "7"})
        record = stored(driver, session)
        tampered = dataclasses.replace(
            record, revisions=new_revision(record.revisions), **damage(record)
        )
        driver.replace(storage_key(session.key), tampered, record.revision, timezone.now())
        with caplog.at_level(logging.WARNING, "django.security.SuspiciousSession"):
            assert open_session(session.key).entries() == {}
        assert len(caplog.records) == 1
        assert "precious" not in caplog.text
        assert (session.key or "") not in caplog.text

    def test_a_record_copied_under_another_key_does_not_open(
        self, open_session: Open, driver: Driver
    ) -> None:
        victim, mine = saved(open_session, **{USER_ID: "1"}), saved(open_session, a=1)
        copy = dataclasses.replace(stored(driver, victim), revisions=new_revision())
        driver.replace(storage_key(mine.key), copy, stored(driver, mine).revision, timezone.now())
        assert open_session(mine.key).entries() == {}
