"""Two overlapping requests, on every engine and every kind of server.

A longer run is one command; it and its result are in docs/reference/overlapping-requests.md.
"""

from __future__ import annotations

import os

import pytest

from django_multisession.store import DriverSessionStore
from django_multisession.testing import InterleavingContract
from tests.engine_fixtures import ONE_OF_EACH_KIND, Engine

#: On one server of each kind, and on its other versions: CI's time is short.
ROUNDS, ROUNDS_OF_OTHER_VERSIONS = 3, 1


class TestInterleavings(InterleavingContract):
    @pytest.fixture
    def session_store(self, engine: Engine) -> type[DriverSessionStore]:
        return engine.SessionStore

    @pytest.fixture
    def rounds(self, engine: Engine) -> int:
        usual = ROUNDS if engine.name in ONE_OF_EACH_KIND else ROUNDS_OF_OTHER_VERSIONS
        return int(os.environ.get("INTERLEAVING_ROUNDS", usual))
