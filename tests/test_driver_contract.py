"""The driver laws, on every driver and every kind of server."""

from __future__ import annotations

import pytest

from django_multisession.drivers.base import Driver
from django_multisession.testing import DriverContract, DriverRaceContract
from tests.engine_fixtures import Engine


class TestDriver(DriverContract):
    @pytest.fixture
    def driver(self, engine: Engine) -> Driver:
        return engine.driver


class TestDriverRaces(DriverRaceContract):
    @pytest.fixture
    def driver(self, engine: Engine) -> Driver:
        return engine.driver
