"""What the laws of periodic cycling stand on: a session that was cycled, and who heard of late keys."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import override_settings

from django_multisession import signals
from django_multisession.responding import CookieAnswer
from django_multisession.testing.engine_fixtures import (
    EngineFixtures,
    Open,
    heard,
    saved,
)
from django_multisession.testing.verbs import Clock

AFTER, GRACE = 900, 60
CYCLING = {"MULTISESSION_CYCLE_AFTER": AFTER, "MULTISESSION_CYCLE_GRACE": GRACE}
KEEP, SET, REMOVE = CookieAnswer.KEEP, CookieAnswer.SET, CookieAnswer.REMOVE

cycling = override_settings(**CYCLING)


class EngineCyclingFixtures(EngineFixtures):
    """A session with an old and a new key."""

    @pytest.fixture
    def late_keys(self) -> Iterator[list[dict[str, Any]]]:
        """Return what was told of late keys."""
        with heard(signals.late_key_used) as events:
            yield events

    @pytest.fixture
    def cycled(self, open_session: Open, clock: Clock) -> Iterator[tuple[str, str]]:
        """Return the old and the new key of a session that a request read when a cycle was due."""
        with cycling:
            key = saved(open_session, a=1).key
            clock.advance(AFTER)
            reader = open_session(key)
            assert reader["a"] == 1
            assert reader.respond() is SET
            assert key is not None
            assert reader.key not in (None, key)
            yield key, reader.key or ""

    @staticmethod
    def come_with(open_session: Open, key: str | None) -> str | None:
        """Let a request read the session of *key*; return the key that the client has then."""
        visit = open_session(key)
        assert visit["a"] == 1
        visit.respond()
        return visit.key
