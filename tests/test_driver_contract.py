"""The driver laws, on every driver and every kind of server."""

from __future__ import annotations

import pytest
from django.utils import timezone

from django_multisession.core.records import to_datetime
from django_multisession.drivers.base import Driver
from django_multisession.testing import DriverContract, DriverRaceContract
from django_multisession.testing.driver.fixtures import NOW
from tests.engine_fixtures import Engine


@pytest.fixture(autouse=True)
def time_of_laws(monkeypatch: pytest.MonkeyPatch, engine: Engine) -> None:
    """Let the engine's clock show the time of the laws where it judges copies by it."""
    if engine.kind == "tiered":
        monkeypatch.setattr(timezone, "now", lambda: to_datetime(NOW))


class TestDriver(DriverContract):
    @pytest.fixture
    def driver(self, engine: Engine) -> Driver:
        return engine.driver


class TestDriverRaces(DriverRaceContract):
    @pytest.fixture
    def driver(self, engine: Engine) -> Driver:
        return engine.driver
