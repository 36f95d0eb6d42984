"""The driver laws, within what the cookies of one client hold."""

from __future__ import annotations

import pytest

from django_multisession.drivers.base import Driver
from django_multisession.engines.cookie import SessionStore
from django_multisession.testing import DriverContract, DriverRaceContract


class TestDriver(DriverContract):
    @pytest.fixture
    def driver(self, cookie_engine: str) -> Driver:
        return SessionStore.get_driver()


class TestDriverRaces(DriverRaceContract):
    @pytest.fixture
    def driver(self, cookie_engine: str) -> Driver:
        return SessionStore.get_driver()
