"""Calls ``clearsessions`` in this process, on any engine or on a driver of the test's own.

Also such an engine: ``SESSION_ENGINE = "tests.clearsessions_calls"``.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import call_command

from django_multisession.drivers import base
from django_multisession.drivers.base import Driver
from django_multisession.drivers.memory import MemoryDriver
from django_multisession.management.commands import clearsessions
from django_multisession.store import DriverSessionStore
from tests.drivers.mongodb_driving import record

if TYPE_CHECKING:
    from pytest_django import Settings

Put = Callable[..., MemoryDriver]

driver: Driver = MemoryDriver()


class SessionStore(DriverSessionStore):
    @classmethod
    def get_driver(cls) -> Driver:
        return driver


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def clear(*options: str, stderr: io.StringIO | None = None, **given: Any) -> tuple[str, str]:
    """Run the command; return what it printed where."""
    stdout, stderr = io.StringIO(), stderr or io.StringIO()
    call_command(clearsessions.Command(), *options, stdout=stdout, stderr=stderr, **given)
    return stdout.getvalue(), stderr.getvalue()


def clear_json(*options: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(clear("--json", *options)[0])
    return told


@pytest.fixture
def put(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Put:
    """What makes a driver the engine's, with as many expired records as are asked for."""
    settings.SESSION_ENGINE = __name__

    def put(driver: MemoryDriver, expired: int = 0) -> MemoryDriver:
        monkeypatch.setattr(sys.modules[__name__], "driver", driver)
        for index in range(expired):
            # Over in any year to come.
            base.run(driver.add(f"key-{index}", record()))
        return driver

    return put
