"""The driver laws, on every driver and every kind of server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.utils import timezone

from django_multisession.core.records import to_datetime
from django_multisession.drivers.base import Driver
from django_multisession.testing import DriverContract, DriverRaceContract
from django_multisession.testing.driver.fixtures import NOW
from tests.engine_fixtures import LISTED, LISTED_COOKIE, Engine, use_engine

if TYPE_CHECKING:
    from pytest_django import Settings

    from tests.conftest import Running


@pytest.fixture(autouse=True)
def time_of_laws(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Let the engine's clock show the time of the laws where it judges copies by it."""
    if "engine" in request.fixturenames and request.getfixturevalue("engine").kind == "tiered":
        monkeypatch.setattr(timezone, "now", lambda: to_datetime(NOW))


class TestDriver(DriverContract):
    @pytest.fixture
    def driver(self, engine: Engine) -> Driver:
        return engine.driver


class TestDriverRaces(DriverRaceContract):
    @pytest.fixture
    def driver(self, engine: Engine) -> Driver:
        return engine.driver


@pytest.fixture(params=[LISTED, pytest.param(LISTED_COOKIE, marks=pytest.mark.long)])
def listed(request: pytest.FixtureRequest, settings: Settings, running_servers: Running) -> Driver:
    """Return the driver of an engine whose sessions another one lists."""
    return use_engine(request.param, settings, running_servers).driver


class TestListedDriver(DriverContract):
    @pytest.fixture
    def driver(self, listed: Driver) -> Driver:
        return listed


class TestListedDriverRaces(DriverRaceContract):
    @pytest.fixture
    def driver(self, listed: Driver) -> Driver:
        return listed
