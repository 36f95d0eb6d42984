"""A tiered driver whose two servers take commands of different kinds.

memcached and a database also need an event loop's threads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.utils import timezone

from django_multisession.core.records import SAVED, to_datetime
from django_multisession.drivers.base import Driver, Enumerable, Purging, is_indexed
from django_multisession.drivers.base import run as carry_out
from django_multisession.testing import DriverContract
from django_multisession.testing.driver.fixtures import NOW, left_by, make_key, make_record
from django_multisession.testing.rows import for_each
from django_multisession.testing.stored_records import next_write
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


@for_each("parts", ["memcached-redis", "mongodb-redis"])
def test_a_login_over_a_session_passes_a_front_of_another_kind(
    settings: Settings, running_servers: Running, parts: str
) -> None:
    driver = use_engine(f"tiered-{parts}", settings, running_servers).driver
    key, new, record = make_key(), make_key(), make_record(user=None)
    login = next_write(record, user=b"7")
    assert carry_out(driver.add(key, record))
    assert is_indexed(driver)
    moving = driver.move(key, new, login, record, left_by(login, new), NOW)
    assert carry_out(driver.write_and_get(moving, make_key())) == (SAVED, None)
    assert carry_out(driver.get(new)) == login
