"""The engine laws, for a browser that has every cookie as soon as it is made."""

from __future__ import annotations

import pytest

from django_multisession.store import DriverSessionStore
from django_multisession.testing import EngineContract, EngineExpiryContract
from tests.cookie.browser import store_of_one_browser


class TestEngine(EngineContract):
    @pytest.fixture
    def session_store(self, cookie_engine: str) -> type[DriverSessionStore]:
        return store_of_one_browser()

    # A key holds its session.
    test_a_key_is_forty_characters_and_never_two_alike = None  # type: ignore[assignment]  # no test


class TestEngineExpiry(EngineExpiryContract):
    @pytest.fixture
    def session_store(self, cookie_engine: str) -> type[DriverSessionStore]:
        return store_of_one_browser()
