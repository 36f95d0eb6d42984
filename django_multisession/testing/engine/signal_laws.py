"""The laws of signals: what happens to a session is told once, to who listens, without a secret."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from django.contrib.sessions.backends.base import UpdateError
from django.test import override_settings

from django_multisession.signals import (
    invalid_session_key,
    new_device,
    outage_began,
    outage_ended,
    session_adopted,
    session_created,
    session_ended,
    session_expired,
    session_interrupted,
    session_key_changed,
    session_merged,
)
from django_multisession.store import DriverSessionStore
from django_multisession.testing.engine.fixtures import (
    USER_ID,
    EngineFixtures,
    Open,
    heard,
    saved,
    storage_key,
)
from django_multisession.testing.rows import for_each
from django_multisession.testing.verbs import Clock, Run

EVERY_SIGNAL = (
    invalid_session_key,
    outage_began,
    outage_ended,
    new_device,
    session_adopted,
    session_created,
    session_key_changed,
    session_ended,
    session_expired,
    session_interrupted,
    session_merged,
)


class EngineSignalLaws(EngineFixtures):
    """Each event once, when its verb is over."""

    def test_a_new_session_is_told(self, open_session: Open) -> None:
        with heard(*EVERY_SIGNAL) as events:
            key = saved(open_session, **{USER_ID: "7"}).key
            open_session(key)["a"] = 1
        assert events == [{"storage_key": storage_key(key), "user_id": "7"}]

    @for_each("is_login", [True, False], ids=["login", "requested"])
    def test_a_new_key_is_told_when_it_is_saved(
        self, open_session: Open, *, is_login: bool
    ) -> None:
        old = saved(open_session, a=1).key
        session = open_session(old)
        with heard(*EVERY_SIGNAL) as events:
            session.cycle_key()
            if is_login:
                session[USER_ID] = "7"
            assert events == []
            session.save()
        assert events == [
            {
                "storage_key": storage_key(session.key),
                "old_storage_key": storage_key(old),
                "user_id": "7" if is_login else None,
                "reason": "login" if is_login else "requested",
            }
        ]

    @for_each(("reason", "seconds"), [("idle", 600), ("absolute", 3600)])
    def test_an_expired_session_is_told_to_who_comes_with_it(
        self, open_session: Open, clock: Clock, reason: str, seconds: int
    ) -> None:
        timeouts = {"MULTISESSION_IDLE_TIMEOUT": 600, "MULTISESSION_ABSOLUTE_TIMEOUT": 3600}
        if reason == "absolute":
            timeouts["MULTISESSION_IDLE_TIMEOUT"] = 7200
        with override_settings(**timeouts), heard(*EVERY_SIGNAL[2:]) as events:
            key = saved(open_session, **{USER_ID: "7"}).key
            events.clear()
            # The clock is driven; the server's TTL, which is real time, has not come yet.
            clock.advance(seconds)
            assert open_session(key).entries() == {}
        assert events == [{"storage_key": storage_key(key), "user_id": "7", "reason": reason}]

    def test_the_end_of_a_session_is_told_with_how_it_came(self, open_session: Open) -> None:
        left, removed = saved(open_session, a=1).key, saved(open_session, a=1).key
        with heard(*EVERY_SIGNAL) as events:
            open_session(left).flush()
            open_session().delete(removed)
            # Nothing ends twice.
            open_session().delete(removed)
        assert events == [
            {"storage_key": storage_key(left), "user_id": None, "reason": "flushed"},
            {"storage_key": storage_key(removed), "user_id": None, "reason": "deleted"},
        ]

    @for_each("key", ["f" * 40, "short", "0123456789abcdef" * 2])
    def test_a_forged_key_is_told_without_it(self, open_session: Open, key: str) -> None:
        with heard(*EVERY_SIGNAL) as events:
            session = open_session(key)
            assert session.entries() == {}
            session.respond()
        assert events == [{"is_of_another_engine": len(key) == 32}]

    def test_a_merge_is_told_with_the_entries_that_both_had_changed(
        self, open_session: Open
    ) -> None:
        key = saved(open_session, both=0, cart=[], apart=0).key
        first, second = open_session(key), open_session(key)
        first.update({"both": 1, "cart": ["tea"], "theirs": 1})
        second.update({"both": 2, "cart": ["milk"], "apart": 2})
        first.save()
        resolvers = {"cart": "django_multisession.resolvers.union"}
        with (
            override_settings(MULTISESSION_CONFLICT_RESOLVERS=resolvers),
            heard(*EVERY_SIGNAL) as events,
        ):
            second.save()
        assert events == [
            {
                "storage_key": storage_key(key),
                "resolved_entries": ("cart",),
                "lost_entries": ("both",),
            }
        ]
        assert open_session(key).entries() == {
            "both": 2,
            "cart": ["tea", "milk"],
            "apart": 2,
            "theirs": 1,
        }

    def test_a_save_that_meets_no_other_is_no_merge(self, open_session: Open) -> None:
        session = open_session(saved(open_session, a=1).key)
        session["a"] = 2
        with heard(session_merged) as events:
            session.save()
        assert events == []

    def test_an_interrupted_request_is_told(self, open_session: Open) -> None:
        key = saved(open_session, a=1).key
        session = open_session(key)
        session["a"] = 2
        open_session(key).flush()
        with heard(*EVERY_SIGNAL) as events:
            with pytest.raises(UpdateError):
                session.save()
            with override_settings(MULTISESSION_ON_INTERRUPTED="ignore"):
                session.respond()
        told = {"storage_key": storage_key(key)}
        assert events == [told, told]

    def test_a_receiver_that_raises_harms_nobody(
        self, open_session: Open, caplog: pytest.LogCaptureFixture
    ) -> None:
        def refuse(**_arguments: Any) -> None:
            raise ZeroDivisionError

        session_created.connect(refuse)
        try:
            with heard(session_created) as events:
                key = saved(open_session, a=1).key
        finally:
            session_created.disconnect(refuse)
        assert open_session(key).entries() == {"a": 1}
        assert len(events) == 1
        assert "ZeroDivisionError" in caplog.text

    def test_a_receiver_may_be_async(
        self, open_session: Open, run: Run | None, session_store: type[DriverSessionStore]
    ) -> None:
        events = []

        async def receive(sender: type, **arguments: Any) -> None:
            events.append((sender, arguments))

        session_created.connect(receive)
        try:
            key = saved(open_session, a=1).key
        finally:
            session_created.disconnect(receive)
        assert events == [
            (
                session_store,
                {"signal": session_created, "storage_key": storage_key(key), "user_id": None},
            )
        ]

    def test_no_log_line_holds_a_key_or_a_value(
        self, open_session: Open, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG, "django_multisession")
        session = saved(open_session, a="precious")
        seen = [session.key]
        session = open_session(session.key)
        session.cycle_key()
        session.respond()
        seen.append(session.key)
        session.flush()
        said = [line for line in caplog.messages if storage_key(seen[0]) in line]
        assert len(said) == 2
        assert not any(text in caplog.text for text in (*filter(None, seen), "precious"))
