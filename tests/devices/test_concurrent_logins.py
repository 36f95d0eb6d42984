"""Fifty concurrent logins from a new device, on real servers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.db import connections

from tests.devices.conftest import Visitor, told
from tests.engine_fixtures import use_engine
from tests.unit.test_devices import CHROME, FIREFOX
from tests.user_sessions.conftest import Functions

if TYPE_CHECKING:
    from pytest_django import Settings

    from tests.conftest import Running

LOGINS, THREADS = 50, 8


@pytest.mark.parametrize("name", ["redis-8.2", "mongodb-standalone", "database-postgresql"])
def test_at_least_one_of_concurrent_logins_from_a_new_device_is_told(
    name: str, settings: Settings, running_servers: Running, user: User
) -> None:
    engine = use_engine(name, settings, running_servers)
    visitor = Visitor(engine, Functions(None))
    visitor.log_in(user)

    def log_in(_number: int) -> Any:
        try:
            return visitor.log_in(user, CHROME).session_key
        finally:
            connections.close_all()

    with told(engine) as sent, ThreadPoolExecutor(THREADS) as threads:
        keys = set(threads.map(log_in, range(LOGINS)))
    assert len(keys) == LOGINS
    # Those that looked before an earlier one was stored are told, too.
    assert 1 <= len(sent) < LOGINS
    assert {each["user_agent"] for each in sent} == {CHROME}
    with told(engine) as sent:
        for agent in (CHROME, FIREFOX):
            visitor.log_in(user, agent)
    assert sent == []
