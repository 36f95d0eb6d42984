"""Adapters that let a law be written once and run sync and async; a clock that a law drives."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from django_multisession.core.records import (
    NEVER,
    Answer,
    Record,
    Stored,
    Tombstone,
    to_milliseconds,
)
from django_multisession.drivers import base
from django_multisession.drivers.base import Driver, Enumerable, Indexed, Purging, Result, Steps
from django_multisession.store import DriverSessionStore

Run = Callable[[Coroutine[Any, Any, Any]], Any]


class DriverVerbs:
    """The verbs of a driver, carried out by the sync ends of its servers or by the async ones.

    Args:
        driver: What is called.
        run: Runs a coroutine in the law's event loop; None for the sync ends.
    """

    def __init__(self, driver: Driver, run: Run | None) -> None:
        self._driver = driver
        self._run = run

    def add(self, key: str, record: Record) -> bool:
        """See Driver.add()."""
        return self._carry_out(self._driver.add(key, record))

    def get(self, key: str) -> Stored:
        """See Driver.get()."""
        return self._carry_out(self._driver.get(key))

    def replace(self, key: str, record: Record, base: Record, now: int) -> Answer:
        """See Driver.replace()."""
        return self._carry_out(self._driver.replace(key, record, base, now))

    def move(
        self,
        old_key: str,
        new_key: str,
        record: Record,
        base: Record | Tombstone,
        left: Tombstone,
        now: int,
    ) -> Answer:
        """See Driver.move()."""
        return self._carry_out(self._driver.move(old_key, new_key, record, base, left, now))

    def touch(self, key: str, base: Record, touched_ms: int, now: int) -> Answer:
        """See Driver.touch()."""
        return self._carry_out(self._driver.touch(key, base, touched_ms, now))

    def retire(
        self,
        key: str,
        base: Record | Tombstone,
        left: Tombstone,
        now: int,
        latest_use: int = NEVER,
    ) -> Answer:
        """See Driver.retire()."""
        return self._carry_out(self._driver.retire(key, base, left, now, latest_use))

    def withdraw(self, key: str, record: Record) -> None:
        """See Driver.withdraw()."""
        self._carry_out(self._driver.withdraw(key, record))

    def delete(self, key: str, left: Tombstone) -> bool | Tombstone:
        """See Driver.delete()."""
        return self._carry_out(self._driver.delete(key, left))

    def purge_expired(self, now: int, limit: int) -> int:
        """See Purging.purge_expired()."""
        return self._carry_out(self._purging().purge_expired(now, limit))

    def count_expired(self, now: int) -> int:
        """See Purging.count_expired()."""
        return self._carry_out(self._purging().count_expired(now))

    def of_user(
        self, user_id: str, now: int, *, limit: int = 100
    ) -> list[list[tuple[str, Record]]]:
        """Return every page of Indexed.of_user()."""
        pages: list[list[tuple[str, Record]]] = []
        cursor = ""
        while not pages or cursor:
            found, cursor = self._carry_out(
                self._indexed().of_user(user_id, now, cursor=cursor, limit=limit)
            )
            pages.append(found)
        return pages

    def delete_many(
        self, keys: Sequence[str], left: Tombstone, *, user_id: str | None = None
    ) -> list[bool | Tombstone]:
        """See Indexed.delete_many()."""
        return self._carry_out(self._indexed().delete_many(keys, left, user_id=user_id))

    def add_and_get(self, key: str, record: Record, other: str) -> tuple[bool, Stored]:
        """See Indexed.write_and_get(), of an add."""
        return self._carry_out(self._indexed().write_and_get(self._driver.add(key, record), other))

    def replace_and_get(
        self, key: str, record: Record, base: Record, now: int, other: str
    ) -> tuple[Answer, Stored]:
        """See Indexed.write_and_get(), of a replace."""
        writing = self._driver.replace(key, record, base, now)
        return self._carry_out(self._indexed().write_and_get(writing, other))

    def move_and_get(
        self,
        old_key: str,
        new_key: str,
        record: Record,
        base: Record | Tombstone,
        left: Tombstone,
        now: int,
        other: str,
    ) -> tuple[Answer, Stored]:
        """See Indexed.write_and_get(), of a move."""
        writing = self._driver.move(old_key, new_key, record, base, left, now)
        return self._carry_out(self._indexed().write_and_get(writing, other))

    def touch_and_get(
        self, key: str, base: Record, touched_ms: int, now: int, other: str
    ) -> tuple[Answer, Stored]:
        """See Indexed.write_and_get(), of a touch."""
        writing = self._driver.touch(key, base, touched_ms, now)
        return self._carry_out(self._indexed().write_and_get(writing, other))

    @property
    def notes(self) -> DriverVerbs:
        """The verbs of the driver that keeps the notes on users: this one, or what lists its sessions."""
        return DriverVerbs(getattr(self._driver, "notes", self._driver), self._run)

    def _indexed(self) -> Indexed:
        if not isinstance(self._driver, Indexed):
            pytest.skip("this driver finds no user's sessions")
        return self._driver

    def records(self, limit: int) -> list[tuple[str, Record]]:
        """Return the records of all pages of about *limit*; see Enumerable.records()."""
        if not isinstance(self._driver, Enumerable):
            pytest.skip("this driver lists nothing")
        found, cursor = [], ""
        while True:
            page = self._carry_out(self._driver.records(cursor, limit))
            found += page.records
            if not (cursor := page.cursor):
                return found

    def close(self) -> None:
        """See Driver.close()."""
        if self._run is None:
            self._driver.close()
        else:
            self._run(self._driver.aclose())

    def _purging(self) -> Purging:
        if not hasattr(self._driver, "purge_expired"):
            pytest.skip("this driver's server expires records by itself")
        return cast("Purging", self._driver)

    @property
    def is_purging(self) -> bool:
        """Has the driver something to purge?"""
        return isinstance(self._driver, Purging)

    def _carry_out(self, steps: Steps[Result]) -> Result:
        if self._run is None:
            return base.run(steps)
        answer: Result = self._run(base.arun(steps))
        return answer


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

    @property
    def milliseconds(self) -> int:
        """The same as drivers count: milliseconds since 1970."""
        return to_milliseconds(self.now)

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
