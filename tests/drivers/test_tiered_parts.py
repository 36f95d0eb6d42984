"""The driver laws over two servers that need an event loop's threads: memcached and a database."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.utils import timezone

from django_multisession.core.records import to_datetime
from django_multisession.drivers.base import Driver, Enumerable, Purging
from django_multisession.testing import DriverContract
from django_multisession.testing.driver.fixtures import NOW
from tests.engine_fixtures import use_engine

if TYPE_CHECKING:
    from pytest_django import Settings

    from tests.conftest import Running


@pytest.fixture
def driver(settings: Settings, running_servers: Running, monkeypatch: pytest.MonkeyPatch) -> Driver:
    monkeypatch.setattr(timezone, "now", lambda: to_datetime(NOW))
    return use_engine("tiered-memcached-database", settings, running_servers).driver


@pytest.mark.long
class TestMemcachedOverADatabase(DriverContract):
    @pytest.fixture
    def driver(self, driver: Driver) -> Driver:
        return driver


def test_what_the_back_can_do_is_what_the_engine_can_do(driver: Driver) -> None:
    assert driver.capabilities.survives_restart
    assert driver.capabilities.moves_atomically
    assert not driver.capabilities.is_native_async
    assert isinstance(driver, Purging)
    assert isinstance(driver, Enumerable)
