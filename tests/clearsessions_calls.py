"""Calls ``clearsessions`` in this process, on any engine or on a driver of the test's own.

Also such an engine: ``SESSION_ENGINE = "tests.clearsessions_calls"``.
"""

from __future__ import annotations

import io
import json
from typing import Any

from django.core.management import call_command

from django_multisession.drivers.base import Driver
from django_multisession.drivers.memory import MemoryDriver
from django_multisession.management.commands import clearsessions
from django_multisession.store import DriverSessionStore
from tests.drivers.mongodb_driving import record

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


def add_expired(driver: Driver, number: int) -> None:
    """Add *number* records that are over in any year to come."""
    for index in range(number):
        driver.add(f"key-{index}", record())
