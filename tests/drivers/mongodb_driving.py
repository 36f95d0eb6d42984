"""Drives MongoDB drivers in their sync or their async verbs, and looks at what they stored."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Self

import pymongo
from pymongo.monitoring import (
    CommandFailedEvent,
    CommandListener,
    CommandStartedEvent,
    CommandSucceededEvent,
)

from django_multisession.core.records import Record
from django_multisession.drivers.base import arun, run
from django_multisession.drivers.mongodb.driver import MongoDBDriver
from django_multisession.engine import machine_clock
from django_multisession.testing.driver.fixtures import HOUR, NOW, make_record

__all__ = ["HOUR", "NOW"]

DATABASE = "multisession_tests"

Document = dict[str, Any]


def record(**changes: Any) -> Record:
    """Return a record that lives for an hour from `NOW`, by its idle age."""
    life: dict[str, Any] = {"idle_ms": HOUR, "deadline_ms": NOW + 24 * HOUR}
    return make_record(**(life | changes))


class Commands(CommandListener):
    """Remembers what clients sent."""

    def __init__(self) -> None:
        self.sent: list[Mapping[str, Any]] = []

    @property
    def names(self) -> list[str]:
        return [next(iter(command)) for command in self.sent]

    def started(self, event: CommandStartedEvent) -> None:
        self.sent.append(dict(event.command))

    def succeeded(self, event: CommandSucceededEvent) -> None: ...

    def failed(self, event: CommandFailedEvent) -> None: ...


class Driving:
    """Carries out a driver's verbs in one of the two ways, and closes the drivers it opened.

    Args:
        way: "sync" or "async"; async verbs share one event loop.
    """

    def __init__(self, way: str) -> None:
        self.way = way
        self.runner = asyncio.Runner()
        self._drivers: list[MongoDBDriver] = []

    def open(self, url: str, **options: Any) -> MongoDBDriver:
        """Open a driver on a collection of its own, with time enough for a busy machine."""
        ours = {
            "URI": url,
            "DATABASE": DATABASE,
            "COLLECTION": f"sessions_{uuid.uuid4().hex[:12]}",
            "timeoutMS": 30000,
        }
        driver = MongoDBDriver(ours | options, machine_clock)
        self._drivers.append(driver)
        return driver

    def ask(self, driver: MongoDBDriver, verb: str, *arguments: Any) -> Any:
        """Carry out *verb*."""
        steps = getattr(driver, verb)(*arguments)
        return run(steps) if self.way == "sync" else self.runner.run(arun(steps))

    def close(self, driver: MongoDBDriver) -> None:
        """Close *driver*."""
        if self.way == "sync":
            driver.close()
        else:
            self.runner.run(driver.aclose())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.runner.close()
        for driver in self._drivers:
            driver.close()


class Looking:
    """Reads and writes a driver's collection with a client of its own."""

    def __init__(self, url: str, driver: MongoDBDriver) -> None:
        self.client: pymongo.MongoClient[Document] = pymongo.MongoClient(url, tz_aware=True)
        self.sessions = self.client[DATABASE][driver.server.collection]

    def document(self, key: str) -> Document | None:
        return self.sessions.find_one({"_id": key})

    def server_time(self) -> datetime:
        hello = self.client.admin.command("hello", codec_options=self.client.codec_options)
        time: datetime = hello["localTime"]
        return time

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sessions.drop()
        self.client.close()
