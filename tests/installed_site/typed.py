"""What mypy must know of the installed package."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import assert_type

from django_multisession.core.records import Answer, Record, Tombstone
from django_multisession.drivers.base import Driver
from django_multisession.drivers.memory import MemoryDriver
from django_multisession.engines.memory import SessionStore


def renew(driver: Driver, record: Record) -> Answer:
    return driver.replace("key", record, base=record, now=datetime.now(UTC))


def end(driver: MemoryDriver, left: Tombstone) -> None:
    assert_type(driver.delete("key", left), bool | Tombstone)


assert_type(SessionStore.get_driver(), Driver)
