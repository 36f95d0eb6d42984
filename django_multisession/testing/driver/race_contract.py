"""The laws of a driver that several callers use at once: of every race exactly one wins."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import pytest

from django_multisession.core.records import SAVED, Answer, Outcome, Record
from django_multisession.drivers.base import Driver, arun, run
from django_multisession.testing.driver.fixtures import (
    NOW,
    SECOND,
    left_by,
    make_end,
    make_key,
    make_record,
)
from django_multisession.testing.stored_records import next_write
from django_multisession.testing.threads import closing_databases

RACERS = 8
ROUNDS = 5

Result = TypeVar("Result")


def race(ready: Callable[[], object], *starts: Callable[[], Result]) -> list[Result]:
    """Run *starts* in threads that set off together; return their results in order.

    Args:
        ready: Each thread calls it first, to connect.
        starts: The calls that race.
    """
    barrier = threading.Barrier(len(starts))

    def start_together(start: Callable[[], Result]) -> Result:
        # What fails now fails again in *start*.
        with contextlib.suppress(Exception):
            ready()
        barrier.wait(timeout=30)
        return start()

    with ThreadPoolExecutor(len(starts)) as pool:
        return list(pool.map(closing_databases, [partial(start_together, each) for each in starts]))


def arace(*starts: Callable[[], Coroutine[Any, Any, Result]]) -> list[Result]:
    """Run *starts* side by side in one event loop; return their results in order."""

    async def gather() -> list[Result]:
        return await asyncio.gather(*(start() for start in starts))

    return asyncio.run(gather())


class DriverRaceContract:
    """Laws that hold for callers at the same time. Subclasses provide the fixture `driver`."""

    @pytest.fixture
    def driver(self) -> Driver:
        """Return the driver under test."""
        raise NotImplementedError("subclasses of DriverRaceContract must provide fixture driver")

    def _race(self, driver: Driver, mode: str, calls: list[tuple[Any, ...]]) -> list[Any]:
        if mode == "sync":
            starts = (_sync_call(driver, *call) for call in calls)
            return race(lambda: run(driver.get(make_key())), *starts)
        return arace(*(_async_call(driver, *call) for call in calls))

    @pytest.mark.parametrize("mode", ["sync", "async"])
    def test_one_of_many_adds_wins(self, driver: Driver, mode: str) -> None:
        for _ in range(ROUNDS):
            key = make_key()
            records = [make_record() for _ in range(RACERS)]
            results = self._race(driver, mode, [("add", key, record) for record in records])
            assert results.count(True) == 1
            assert run(driver.get(key)) == records[results.index(True)]

    @pytest.mark.parametrize("mode", ["sync", "async"])
    def test_one_of_many_replaces_wins_and_the_others_are_told(
        self, driver: Driver, mode: str
    ) -> None:
        for _ in range(ROUNDS):
            key, base = make_key(), make_record()
            run(driver.add(key, base))
            records = [next_write(base) for _ in range(RACERS)]
            results: list[Answer] = self._race(
                driver, mode, [("replace", key, record, base, NOW) for record in records]
            )
            outcomes = [answer.outcome for answer in results]
            winner = records[outcomes.index(Outcome.SAVED)]
            assert outcomes.count(Outcome.SAVED) == 1
            assert outcomes.count(Outcome.CONFLICT) == RACERS - 1
            assert run(driver.get(key)) == winner

    @pytest.mark.parametrize("mode", ["sync", "async"])
    def test_one_of_many_moves_wins_and_the_others_leave_nothing(
        self, driver: Driver, mode: str
    ) -> None:
        for _ in range(ROUNDS):
            key, base = make_key(), make_record()
            run(driver.add(key, base))
            moves = {make_key(): next_write(base) for _ in range(RACERS)}
            results: list[Answer] = self._race(
                driver,
                mode,
                [
                    ("move", key, new, record, base, left_by(record, new), NOW)
                    for new, record in moves.items()
                ],
            )
            outcomes = [answer.outcome for answer in results]
            assert outcomes.count(Outcome.SAVED) == 1
            assert outcomes.count(Outcome.MISSING) == RACERS - 1
            live = [new for new in moves if isinstance(run(driver.get(new)), Record)]
            assert live == [list(moves)[outcomes.index(Outcome.SAVED)]]
            assert run(driver.get(key)) == left_by(moves[live[0]], live[0])

    @pytest.mark.parametrize("mode", ["sync", "async"])
    def test_a_delete_is_final_whatever_else_arrives(self, driver: Driver, mode: str) -> None:
        for _ in range(ROUNDS):
            key, new, base, end = make_key(), make_key(), make_record(), make_end()
            moved = next_write(base)
            run(driver.add(key, base))
            later = NOW + 60 * SECOND
            results = self._race(
                driver,
                mode,
                [
                    ("delete", key, end),
                    ("replace", key, next_write(base), base, NOW),
                    ("touch", key, base, later, later),
                    ("move", key, new, moved, base, left_by(moved, new), NOW),
                    ("add", key, make_record()),
                ],
            )
            # Either the session was ended, or it had moved before and the delete found that.
            has_moved = results[3].outcome is Outcome.SAVED
            assert results[0] == (left_by(moved, new) if has_moved else True)
            assert run(driver.get(key)) == (left_by(moved, new) if has_moved else end)
            assert isinstance(run(driver.get(new)), Record) is has_moved

    @pytest.mark.parametrize("mode", ["sync", "async"])
    def test_one_of_many_claims_of_a_tombstone_wins(self, driver: Driver, mode: str) -> None:
        for _ in range(ROUNDS):
            key, end = make_key(), make_end()
            run(driver.add(key, make_record()))
            run(driver.delete(key, end))
            claims = {make_key(): make_record() for _ in range(RACERS)}
            results: list[Answer] = self._race(
                driver,
                mode,
                [
                    ("move", key, new, record, end, left_by(record, new), NOW)
                    for new, record in claims.items()
                ],
            )
            outcomes = [answer.outcome for answer in results]
            winner = list(claims)[outcomes.index(Outcome.SAVED)]
            there = left_by(claims[winner], winner)
            assert [answer for answer in results if answer.outcome is not Outcome.SAVED] == [
                Answer(Outcome.CONFLICT, there)
            ] * (RACERS - 1)
            assert [new for new in claims if run(driver.get(new)) is not None] == [winner]
            assert run(driver.get(key)) == there

    @pytest.mark.parametrize("mode", ["sync", "async"])
    def test_one_of_many_deletes_ends_and_the_others_find_its_tombstone(
        self, driver: Driver, mode: str
    ) -> None:
        for _ in range(ROUNDS):
            key, ends = make_key(), [make_end() for _ in range(RACERS)]
            run(driver.add(key, make_record()))
            results = self._race(driver, mode, [("delete", key, end) for end in ends])
            winner = ends[results.index(True)]
            assert run(driver.get(key)) == winner
            assert [result for result in results if result is not True] == [winner] * (RACERS - 1)

    @pytest.mark.parametrize("mode", ["sync", "async"])
    def test_touches_side_by_side_end_at_the_latest(self, driver: Driver, mode: str) -> None:
        key, base = make_key(), make_record()
        run(driver.add(key, base))
        times = [NOW + second * SECOND for second in range(RACERS)]
        touches = [("touch", key, base, time, NOW) for time in times]
        assert self._race(driver, mode, touches) == [SAVED] * RACERS
        stored = run(driver.get(key))
        assert isinstance(stored, Record)
        assert stored.touched_ms == times[-1]


def _sync_call(driver: Driver, verb: str, *arguments: Any) -> Callable[[], Any]:
    return lambda: run(getattr(driver, verb)(*arguments))


def _async_call(
    driver: Driver, verb: str, *arguments: Any
) -> Callable[[], Coroutine[Any, Any, Any]]:
    return lambda: arun(getattr(driver, verb)(*arguments))
