"""The keys that a client sent are verified at their first use, once, whoever uses the session."""

from __future__ import annotations

import logging
import threading
from datetime import UTC, datetime
from typing import Any
from unittest import mock

import pytest
from django.test import override_settings
from django.utils import timezone

from django_multisession.engines.memory import SessionStore
from django_multisession.testing.engine.faults import run_in_threads
from django_multisession.testing.rows import for_each

SECURITY_LOG = logging.getLogger("django.security.SuspiciousSession")


@pytest.fixture
def key() -> str:
    session = SessionStore()
    session["name"] = "Ada"
    session.save()
    assert session.session_key is not None
    return session.session_key


def test_a_log_filter_that_uses_the_session_finds_its_entries(key: str) -> None:
    session = SessionStore("x" * 40)
    session.offer_keys([key])
    found: list[Any] = []

    def look(_record: logging.LogRecord) -> bool:
        found.append(session.get("name"))
        return True

    SECURITY_LOG.addFilter(look)
    try:
        assert session.get("name") == "Ada"
    finally:
        SECURITY_LOG.removeFilter(look)
    assert found == ["Ada"]


def test_two_threads_that_use_a_session_first_find_its_entries(key: str) -> None:
    both = threading.Barrier(2)

    class Meeting(SessionStore):
        def get_namespace(self) -> str:
            both.wait(10)
            return ""

    session = Meeting(key)
    found: list[Any] = []
    run_in_threads(*[lambda: found.append(session.get("name"))] * 2)
    assert found == ["Ada", "Ada"]


def test_a_clock_that_a_test_drives_is_followed() -> None:
    then = datetime(2020, 2, 29, tzinfo=UTC)
    site = SessionStore()._inner.site
    with mock.patch.object(timezone, "now", return_value=then):
        assert site.now() == then.timestamp() * 1000

    class Frozen(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return then if tz else then.replace(tzinfo=None)

    with mock.patch.object(timezone, "datetime", Frozen):
        assert site.now() == then.timestamp() * 1000


@for_each("uses_zones", [True, False])
def test_djangos_clock_is_read_without_a_date(uses_zones: bool) -> None:
    with override_settings(USE_TZ=uses_zones, TIME_ZONE="America/Chicago"):
        before = datetime.now(UTC).timestamp() * 1000 - 1
        now = SessionStore()._inner.site.now()
        assert before <= now <= datetime.now(UTC).timestamp() * 1000 + 1
