"""The laws of a driver that several callers use at once: of every race exactly one wins."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any, TypeVar

import pytest

from django_multisession.drivers.base import Driver
from django_multisession.records import Answer, Outcome, Record, Retired
from django_multisession.testing.driver_fixtures import NOW, make_key, make_record, next_write

RACERS = 8
ROUNDS = 5

Result = TypeVar("Result")


def race(*starts: Callable[[], Result]) -> list[Result]:
    """Run *starts* in threads that set off together; return their results in order."""
    barrier = threading.Barrier(len(starts))

    def run(start: Callable[[], Result]) -> Result:
        barrier.wait(timeout=30)
        return start()

    with ThreadPoolExecutor(len(starts)) as pool:
        return list(pool.map(run, starts))


def arace(*starts: Callable[[], Coroutine[Any, Any, Result]]) -> list[Result]:
    """Run *starts* side by side in one event loop; return their results in order."""

    async def run() -> list[Result]:
        return await asyncio.gather(*(start() for start in starts))

    return asyncio.run(run())


class DriverRaceContract:
    """Laws that hold for callers at the same time. Subclasses provide the fixture `driver`."""

    @pytest.fixture
    def driver(self) -> Driver:
        """Return the driver under test."""
        raise NotImplementedError("subclasses of DriverRaceContract must provide fixture driver")

    def _race(self, driver: Driver, mode: str, calls: list[tuple[Any, ...]]) -> list[Any]:
        if mode == "sync":
            return race(*(_sync_call(driver, *call) for call in calls))
        return arace(*(_async_call(driver, *call) for call in calls))

    @pytest.mark.parametrize("mode", ["sync", "async"])
    def test_one_of_many_adds_wins(self, driver: Driver, mode: str) -> None:
        for _ in range(ROUNDS):
            key = make_key()
            records = [make_record() for _ in range(RACERS)]
            results = self._race(driver, mode, [("add", key, record) for record in records])
            assert results.count(True) == 1
            assert driver.get(key) == records[results.index(True)]

    @pytest.mark.parametrize("mode", ["sync", "async"])
    def test_one_of_many_replaces_wins_and_the_others_are_told(
        self, driver: Driver, mode: str
    ) -> None:
        for _ in range(ROUNDS):
            key, base = make_key(), make_record()
            driver.add(key, base)
            records = [next_write(base) for _ in range(RACERS)]
            results: list[Answer] = self._race(
                driver, mode, [("replace", key, record, base.revision, NOW) for record in records]
            )
            outcomes = [answer.outcome for answer in results]
            winner = records[outcomes.index(Outcome.SAVED)]
            assert outcomes.count(Outcome.SAVED) == 1
            assert outcomes.count(Outcome.CONFLICT) == RACERS - 1
            assert driver.get(key) == winner

    @pytest.mark.parametrize("mode", ["sync", "async"])
    def test_one_of_many_moves_wins_and_the_others_leave_nothing(
        self, driver: Driver, mode: str
    ) -> None:
        for _ in range(ROUNDS):
            key, base = make_key(), make_record()
            driver.add(key, base)
            moves = {make_key(): next_write(base) for _ in range(RACERS)}
            results: list[Answer] = self._race(
                driver,
                mode,
                [("move", key, new, record, base.revision, NOW) for new, record in moves.items()],
            )
            outcomes = [answer.outcome for answer in results]
            assert outcomes.count(Outcome.SAVED) == 1
            assert outcomes.count(Outcome.MISSING) == RACERS - 1
            live = [new for new in moves if isinstance(driver.get(new), Record)]
            assert live == [list(moves)[outcomes.index(Outcome.SAVED)]]
            assert driver.get(key) == Retired(moves[live[0]].revision)

    @pytest.mark.parametrize("mode", ["sync", "async"])
    def test_a_delete_is_final_whatever_else_arrives(self, driver: Driver, mode: str) -> None:
        for _ in range(ROUNDS):
            key, new, base = make_key(), make_key(), make_record()
            driver.add(key, base)
            later = NOW + timedelta(seconds=60)
            results = self._race(
                driver,
                mode,
                [
                    ("delete", key),
                    ("replace", key, next_write(base), base.revision, NOW),
                    ("touch", key, later, later),
                    ("move", key, new, next_write(base), base.revision, NOW),
                    ("add", key, make_record()),
                ],
            )
            assert isinstance(driver.get(key), Retired)
            # Either the session was ended, or it had moved before and the delete found nothing.
            moved = results[3].outcome is Outcome.SAVED
            assert results[0] is not moved
            assert isinstance(driver.get(new), Record) is moved

    @pytest.mark.parametrize("mode", ["sync", "async"])
    def test_touches_side_by_side_end_at_the_latest(self, driver: Driver, mode: str) -> None:
        key, base = make_key(), make_record()
        driver.add(key, base)
        times = [NOW + timedelta(seconds=second) for second in range(RACERS)]
        assert all(self._race(driver, mode, [("touch", key, time, NOW) for time in times]))
        stored = driver.get(key)
        assert isinstance(stored, Record)
        assert stored.touched_at == times[-1]


def _sync_call(driver: Driver, verb: str, *arguments: Any) -> Callable[[], Any]:
    return lambda: getattr(driver, verb)(*arguments)


def _async_call(
    driver: Driver, verb: str, *arguments: Any
) -> Callable[[], Coroutine[Any, Any, Any]]:
    return lambda: getattr(driver, f"a{verb}")(*arguments)
