"""Adapters that let a law be written once and run sync and async; a clock that a law drives."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

from django_multisession.core.records import Answer, Record, Stored, Tombstone
from django_multisession.drivers.base import Driver
from django_multisession.store import DriverSessionStore

Run = Callable[[Coroutine[Any, Any, Any]], Any]


class DriverVerbs:
    """The verbs of a driver, or of its a-twins in one event loop.

    Args:
        driver: What is called.
        run: Runs a coroutine in the law's event loop; None for the sync verbs.
    """

    def __init__(self, driver: Driver, run: Run | None) -> None:
        self._driver = driver
        self._run = run

    def add(self, key: str, record: Record) -> bool:
        """See Driver.add()."""
        answer: bool = self._call("add", key, record)
        return answer

    def get(self, key: str) -> Stored:
        """See Driver.get()."""
        answer: Stored = self._call("get", key)
        return answer

    def replace(self, key: str, record: Record, base: Record, now: datetime) -> Answer:
        """See Driver.replace()."""
        answer: Answer = self._call("replace", key, record, base, now)
        return answer

    def move(
        self,
        old_key: str,
        new_key: str,
        record: Record,
        base: Record | Tombstone,
        left: Tombstone,
        now: datetime,
    ) -> Answer:
        """See Driver.move()."""
        answer: Answer = self._call("move", old_key, new_key, record, base, left, now)
        return answer

    def touch(self, key: str, base: Record, touched_at: datetime, now: datetime) -> Answer:
        """See Driver.touch()."""
        answer: Answer = self._call("touch", key, base, touched_at, now)
        return answer

    def delete(self, key: str, left: Tombstone) -> bool | Tombstone:
        """See Driver.delete()."""
        answer: bool | Tombstone = self._call("delete", key, left)
        return answer

    def purge_expired(self, now: datetime, limit: int) -> int:
        """See Driver.purge_expired()."""
        answer: int = self._call("purge_expired", now, limit)
        return answer

    def count_expired(self, now: datetime) -> int:
        """See Driver.count_expired()."""
        answer: int = self._call("count_expired", now)
        return answer

    def close(self) -> None:
        """See Driver.close()."""
        self._call("close")

    def _call(self, verb: str, *arguments: Any) -> Any:
        if self._run is None:
            return getattr(self._driver, verb)(*arguments)
        return self._run(getattr(self._driver, f"a{verb}")(*arguments))


class SessionVerbs:
    """What a view does with ``request.session``, sync or async.

    Args:
        session: What is called.
        run: Runs a coroutine in the law's event loop; None for the sync verbs.
    """

    #: Verbs that have other names as a-twins than their own behind an "a".
    _TWINS = {"__getitem__": "aget", "__setitem__": "aset", "__contains__": "ahas_key"}  # noqa: RUF012  (constant)

    def __init__(self, session: DriverSessionStore, run: Run | None) -> None:
        self.session = session
        self._run = run

    @property
    def key(self) -> str | None:
        """The session key."""
        return self.session.session_key

    def __getitem__(self, name: str) -> Any:
        return self._call("__getitem__", name)

    def __setitem__(self, name: str, value: Any) -> None:
        self._call("__setitem__", name, value)

    def __contains__(self, name: str) -> bool:
        return bool(self._call("__contains__", name))

    def __getattr__(self, verb: str) -> Callable[..., Any]:
        """Return *verb* (``save``, ``cycle_key``, …), to be called as if it were sync."""
        return lambda *arguments, **keywords: self._call(verb, *arguments, **keywords)

    def entries(self) -> dict[str, Any]:
        """Return everything in the session."""
        return dict(self._call("items"))

    def _call(self, verb: str, *arguments: Any, **keywords: Any) -> Any:
        if self._run is None:
            return getattr(self.session, verb)(*arguments, **keywords)
        twin = getattr(self.session, self._TWINS.get(verb, f"a{verb}"))
        return self._run(twin(*arguments, **keywords))


@dataclasses.dataclass(slots=True)
class Clock:
    """What ``django.utils.timezone.now()`` answers in a law; it stands still until advanced.

    It starts in the past on purpose: a record's own times count, never the server's idea of now.
    """

    now: datetime = datetime(2026, 1, 1, 12, tzinfo=UTC)

    def advance(self, seconds: float) -> datetime:
        """Move on by *seconds*, and return the new time."""
        self.now += timedelta(seconds=seconds)
        return self.now


def open_runner(mode: str) -> tuple[Run | None, Callable[[], None]]:
    """Return what runs coroutines in *mode* (None for ``"sync"``), and what ends it."""
    if mode == "sync":
        return None, lambda: None
    runner = asyncio.Runner()
    return runner.run, runner.close
