"""The laws of a move, for a move in steps."""

from __future__ import annotations

import pytest

from django_multisession.drivers.base import Driver
from django_multisession.testing import DriverRaceContract, DriverStepMoveContract
from django_multisession.testing.driver.step_laws import MovingInSteps
from tests.engine_fixtures import Engine


class TestMovesInSteps(DriverStepMoveContract):
    @pytest.fixture
    def driver(self, engine: Engine) -> Driver:
        return engine.driver


class TestRacesInSteps(DriverRaceContract):
    @pytest.fixture
    def driver(self, engine: Engine) -> Driver:
        return MovingInSteps(engine.driver)
