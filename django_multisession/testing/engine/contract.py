"""The laws of an engine's ``SessionStore``. Each runs sync and async."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

import pytest

from django_multisession.core import signing
from django_multisession.core.records import SAVED, touched
from django_multisession.settings import conf
from django_multisession.testing.engine.authentication_laws import EngineAuthenticationLaws
from django_multisession.testing.engine.claim_laws import EngineClaimLaws
from django_multisession.testing.engine.clock_laws import EngineClockLaws
from django_multisession.testing.engine.cost_laws import EngineCostLaws
from django_multisession.testing.engine.end_laws import EngineEndLaws
from django_multisession.testing.engine.fixtures import (
    USER_ID,
    Open,
    saved,
    storage_key,
    stored,
)
from django_multisession.testing.engine.hook_laws import EngineHookLaws
from django_multisession.testing.engine.key_laws import EngineKeyLaws
from django_multisession.testing.engine.loss_laws import EngineLossLaws
from django_multisession.testing.engine.overlap_laws import EngineOverlapLaws
from django_multisession.testing.engine.response_laws import EngineResponseLaws
from django_multisession.testing.engine.revival_laws import EngineRevivalLaws
from django_multisession.testing.engine.saving_laws import EngineSavingLaws
from django_multisession.testing.engine.signal_laws import EngineSignalLaws
from django_multisession.testing.engine.turn_laws import EngineTurnLaws
from django_multisession.testing.engine.value_laws import EngineValueLaws
from django_multisession.testing.rows import for_each
from django_multisession.testing.stored_records import facts_of, next_write
from django_multisession.testing.verbs import Clock, DriverVerbs


class EngineContract(
    EngineSavingLaws,
    EngineKeyLaws,
    EngineOverlapLaws,
    EngineResponseLaws,
    EngineSignalLaws,
    EngineRevivalLaws,
    EngineEndLaws,
    EngineClaimLaws,
    EngineTurnLaws,
    EngineValueLaws,
    EngineCostLaws,
    EngineHookLaws,
    EngineLossLaws,
    EngineClockLaws,
    EngineAuthenticationLaws,
):
    """Laws of saves, ends, keys, logins, overlaps, responses, cycles, signals and tampering.

    Subclasses provide the fixture `session_store`.
    """

    @for_each(
        "damage",
        [
            lambda record: {"payload": record.payload[:-1]},
            lambda record: {"payload": b""},
            lambda record: {"payload": b"\x09" + record.payload[1:]},
            lambda record: {"series": b"another-one."},
            lambda record: {"authenticated_ms": record.authenticated_ms + 1},
            lambda record: {"user_id": "1"},
            lambda record: {"user_id": None},
            lambda record: {"began_at": record.began_at + timedelta(days=1)},
            lambda record: {"created_at": record.created_at + timedelta(days=1)},
            lambda record: {
                "absolute_deadline_at": record.absolute_deadline_at + timedelta(days=1)
            },
            lambda record: {"absolute_deadline_at": None},
            lambda record: {"idle_age": record.idle_age * 2},
        ],
        ids=[
            "cut-short",
            "empty",
            "unknown-version",
            "other-series",
            "authenticated-later",
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
        self,
        open_session: Open,
        driver: DriverVerbs,
        clock: Clock,
        damage: Any,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        caplog.clear()
        session = saved(open_session, a="precious", **{USER_ID: "7"})
        record = stored(driver, session)
        tampered = next_write(record, **damage(record))
        driver.replace(storage_key(session.key), tampered, record, clock.milliseconds)
        with caplog.at_level(logging.WARNING, "django.security.SuspiciousSession"):
            assert open_session(session.key).entries() == {}
        assert len(caplog.records) == 1
        assert "precious" not in caplog.text
        assert (session.key or "") not in caplog.text

    @for_each("sealed", ["by-another-site", "not-a-dict", "not-serialized"])
    def test_a_sealed_record_that_holds_no_entries_of_ours_is_no_session(
        self,
        open_session: Open,
        driver: DriverVerbs,
        clock: Clock,
        sealed: str,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        caplog.clear()
        session = saved(open_session, a=1)
        key, record = storage_key(session.key), stored(driver, session)
        payload = {
            "by-another-site": b"\x00{}",
            "not-a-dict": b"\x00[1]",
            "not-serialized": b"\x00{",
        }
        config = conf.config()
        namespace = "another" if sealed == "by-another-site" else config.namespace
        tampered = signing.sign(
            facts_of(record),
            payload[sealed],
            key,
            signing.binding(namespace),
            config.record_keys,
            record,
        )
        driver.replace(key, tampered, record, clock.milliseconds)
        with caplog.at_level(logging.WARNING, "django.security.SuspiciousSession"):
            assert open_session(session.key).entries() == {}
        assert len(caplog.records) == 1

    def test_a_last_use_in_the_far_future_is_no_endless_session(
        self, open_session: Open, driver: DriverVerbs, clock: Clock
    ) -> None:
        session = saved(open_session, a=1)
        record = stored(driver, session)
        later = record.touched_ms + 36500 * 86_400_000
        assert driver.touch(storage_key(session.key), record, later, clock.milliseconds) == SAVED
        assert open_session(session.key).entries() == {}

    def test_a_record_copied_under_another_key_does_not_open(
        self, open_session: Open, driver: DriverVerbs, clock: Clock
    ) -> None:
        victim, mine = saved(open_session, **{USER_ID: "1"}), saved(open_session, a=1)
        base = stored(driver, mine)
        copy = touched(stored(driver, victim), base.touched_ms)
        answer = driver.replace(storage_key(mine.key), copy, base, clock.milliseconds)
        assert answer == SAVED
        assert open_session(mine.key).entries() == {}
