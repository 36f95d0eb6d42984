"""The laws of an engine's ``SessionStore``. Each runs sync and async."""

from __future__ import annotations

import dataclasses
import logging
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from django_multisession import conf
from django_multisession.core import signing
from django_multisession.core.records import SAVED, new_revision
from django_multisession.drivers.base import Driver
from django_multisession.testing.engine_claim_laws import EngineClaimLaws
from django_multisession.testing.engine_clock_laws import EngineClockLaws
from django_multisession.testing.engine_cost_laws import EngineCostLaws
from django_multisession.testing.engine_end_laws import EngineEndLaws
from django_multisession.testing.engine_fixtures import (
    USER_ID,
    Open,
    saved,
    storage_key,
    stored,
)
from django_multisession.testing.engine_hook_laws import EngineHookLaws
from django_multisession.testing.engine_key_laws import EngineKeyLaws
from django_multisession.testing.engine_loss_laws import EngineLossLaws
from django_multisession.testing.engine_overlap_laws import EngineOverlapLaws
from django_multisession.testing.engine_response_laws import EngineResponseLaws
from django_multisession.testing.engine_revival_laws import EngineRevivalLaws
from django_multisession.testing.engine_saving_laws import EngineSavingLaws
from django_multisession.testing.engine_signal_laws import EngineSignalLaws
from django_multisession.testing.engine_turn_laws import EngineTurnLaws
from django_multisession.testing.engine_value_laws import EngineValueLaws


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
):
    """Laws of saves, ends, keys, logins, overlaps, responses, cycles, signals and tampering.

    Subclasses provide the fixture `session_store`.
    """

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
        driver.replace(storage_key(session.key), tampered, record, timezone.now())
        with caplog.at_level(logging.WARNING, "django.security.SuspiciousSession"):
            assert open_session(session.key).entries() == {}
        assert len(caplog.records) == 1
        assert "precious" not in caplog.text
        assert (session.key or "") not in caplog.text

    @pytest.mark.parametrize("sealed", ["by-another-site", "not-a-dict", "not-serialized"])
    def test_a_sealed_record_that_holds_no_entries_of_ours_is_no_session(
        self,
        open_session: Open,
        driver: Driver,
        sealed: str,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        session = saved(open_session, a=1)
        key, record = storage_key(session.key), stored(driver, session)
        body = {"by-another-site": b"\x00{}", "not-a-dict": b"\x00[1]", "not-serialized": b"\x00{"}
        site = signing.derive(b"another") if sealed == "by-another-site" else None
        record_keys = [site] if site else conf.config().record_keys
        payload = signing.sign(body[sealed], signing.Binding.of(key, record), record_keys)
        tampered = dataclasses.replace(
            record, revisions=new_revision(record.revisions), payload=payload
        )
        driver.replace(key, tampered, record, timezone.now())
        with caplog.at_level(logging.WARNING, "django.security.SuspiciousSession"):
            assert open_session(session.key).entries() == {}
        assert len(caplog.records) == 1

    def test_a_last_use_in_the_far_future_is_no_endless_session(
        self, open_session: Open, driver: Driver
    ) -> None:
        session = saved(open_session, a=1)
        record = stored(driver, session)
        tampered = dataclasses.replace(
            record,
            revisions=new_revision(record.revisions),
            touched_at=record.touched_at + timedelta(days=36500),
        )
        driver.replace(storage_key(session.key), tampered, record, timezone.now())
        assert open_session(session.key).entries() == {}

    def test_a_record_copied_under_another_key_does_not_open(
        self, open_session: Open, driver: Driver
    ) -> None:
        victim, mine = saved(open_session, **{USER_ID: "1"}), saved(open_session, a=1)
        base = stored(driver, mine)
        copy = dataclasses.replace(
            stored(driver, victim), revisions=new_revision(), touched_at=base.touched_at
        )
        answer = driver.replace(storage_key(mine.key), copy, base, timezone.now())
        assert answer == SAVED
        assert open_session(mine.key).entries() == {}
