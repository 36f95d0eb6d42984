"""The engine laws, on every engine and every kind of server."""

from __future__ import annotations

import pytest

from django_multisession.store import DriverSessionStore
from django_multisession.testing import EngineContract, EngineExpiryContract
from tests.engine_fixtures import Engine


class TestEngine(EngineContract):
    @pytest.fixture
    def session_store(self, engine: Engine) -> type[DriverSessionStore]:
        return engine.SessionStore


class TestEngineExpiry(EngineExpiryContract):
    @pytest.fixture
    def session_store(self, engine: Engine) -> type[DriverSessionStore]:
        return engine.SessionStore
