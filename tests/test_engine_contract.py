"""The engine laws, on every engine and every kind of server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from django_multisession.engine import close_drivers
from django_multisession.engines import memory
from django_multisession.store import DriverSessionStore
from django_multisession.testing import EngineContract, EngineExpiryContract
from tests.engine_fixtures import ENCRYPTED, Engine

if TYPE_CHECKING:
    from pytest_django import Settings


class TestEngine(EngineContract):
    @pytest.fixture
    def session_store(self, engine: Engine) -> type[DriverSessionStore]:
        return engine.SessionStore


class TestEngineExpiry(EngineExpiryContract):
    @pytest.fixture
    def session_store(self, engine: Engine) -> type[DriverSessionStore]:
        return engine.SessionStore


class TestEncryptedEngine(EngineContract):
    """Encryption at rest changes no law; what it encrypts is the same to each driver."""

    # They look into the payload.
    test_what_an_overridden_encode_returns_is_the_stored_payload = None  # type: ignore[assignment]  # no test
    test_overlaps_merge_what_an_overridden_decode_returns = None  # type: ignore[assignment]  # as above

    @pytest.fixture(params=[ENCRYPTED])
    def session_store(self, settings: Settings) -> type[DriverSessionStore]:
        settings.MULTISESSION_ENCRYPTION_KEYS = {"2026-11": "a" * 40}
        close_drivers()
        return memory.SessionStore
