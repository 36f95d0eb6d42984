"""What mypy must know of the installed package."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import assert_type

from django_multisession.drivers.base import Driver
from django_multisession.drivers.memory import MemoryDriver
from django_multisession.engines.memory import SessionStore
from django_multisession.records import Answer, Record


def renew(driver: Driver, record: Record) -> Answer:
    return driver.replace("key", record, expected="revision", now=datetime.now(UTC))


assert_type(MemoryDriver().delete("key"), bool)
assert_type(SessionStore.get_driver(), Driver)
