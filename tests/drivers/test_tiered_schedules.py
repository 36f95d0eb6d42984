"""No schedule of a few verbs reads an ended session or loses a save, whatever the front does."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from django_multisession.core.records import Outcome, Record, Stored
from django_multisession.drivers.base import Steps
from django_multisession.drivers.tiered import copies, front
from django_multisession.drivers.tiered.driver import TieredDriver
from django_multisession.testing.rows import for_each
from tests.drivers.tiered_schedules import FRONTS, PROGRAMS, Budget, Search
from tests.selection import left_to_release

BUDGETS = {
    "undisturbed": Budget(),
    "failing": Budget(failures=1),
    "emptied": Budget(empties=1),
    "waiting": Budget(waits=1),
    "cut-off": Budget(cuts=1),
}
Patch = Callable[[pytest.MonkeyPatch], None]


#: What the front holds as a rule.
USUAL = ("nothing", "copy", "due-copy", "lease")


def break_no_promise(programs: tuple[str, ...], budget: Budget, fronts: Iterable[str]) -> None:
    search = Search(programs, budget)
    for there in fronts:
        assert search.broken(FRONTS[there]) == [], there


PAIRS = list(itertools.combinations_with_replacement(PROGRAMS, 2))


@for_each(
    ("programs", "name"),
    [
        (pair, name)
        for pair in PAIRS
        for name in BUDGETS
        if "read_and_save" not in pair or name == "undisturbed"
    ],
)
def test_two_requests_break_no_promise(programs: tuple[str, ...], name: str) -> None:
    break_no_promise(programs, BUDGETS[name], USUAL)


@for_each("third", ["read", "save", "delete", "move", "touch"])
def test_three_requests_break_no_promise(third: str) -> None:
    break_no_promise(("read", "save", third), Budget(), ["nothing"])


TRIPLES = (
    ("read", "read", "delete"),
    ("read", "read", "save"),
    ("read", "save", "save"),
    ("read", "save", "delete"),
    ("read", "save", "move"),
    ("read", "touch", "save"),
    ("read", "delete", "move"),
)


@pytest.mark.long
@pytest.mark.parametrize("budget", BUDGETS.values(), ids=BUDGETS)
@pytest.mark.parametrize(
    "programs",
    [*PAIRS, *left_to_release(TRIPLES, {("read", "save", "delete")})],
    ids="-".join,
)
def test_no_requests_break_a_promise(programs: tuple[str, ...], budget: Budget) -> None:
    break_no_promise(programs, budget, FRONTS)


# Each rule, with what breaks without it


def _fills_without_a_lease(patch: pytest.MonkeyPatch) -> None:
    def lease(_front: front.Front, _key: str, found: Any) -> Steps[Record | None]:
        return copies.make_hold()
        yield

    def fill(self: front.Front, key: str, _: Record, stored: Record, asked_ms: int) -> Steps[None]:
        place = front._place(key)
        yield from self.ask(self.driver.add(place, copies.make_copy(stored, asked_ms)))

    patch.setattr(front.Front, "lease", lease)
    patch.setattr(front.Front, "fill", fill)


def _ends_in_the_back_last(patch: pytest.MonkeyPatch) -> None:
    def end(self: TieredDriver, key: str, ending: Steps[Any]) -> Steps[Any]:
        yield from self._front.bar(key)
        return (yield from ending)

    patch.setattr(TieredDriver, "_end", end)


def _lets_no_save_follow(patch: pytest.MonkeyPatch) -> None:
    def follow(*_: Any) -> Steps[None]:
        return
        yield

    patch.setattr(front.Front, "follow", follow)


def _leaves_what_a_save_meets(patch: pytest.MonkeyPatch) -> None:
    def follow(
        self: front.Front, key: str, base: Record, stored: Stored, asked_ms: int
    ) -> Steps[None]:
        if isinstance(stored, Record):
            copy = copies.make_copy(stored, asked_ms, over=base)
            yield from self.ask(self.driver.replace(front._place(key), copy, base, 0))

    patch.setattr(front.Front, "follow", follow)


def _puts_a_save_over_a_lease(patch: pytest.MonkeyPatch) -> None:
    def follow(
        self: front.Front, key: str, base: Record, stored: Stored, asked_ms: int
    ) -> Steps[None]:
        if not isinstance(stored, Record):
            return
        copy = copies.make_copy(stored, asked_ms, over=base)
        place = front._place(key)
        answer = yield from self.ask(self.driver.replace(place, copy, base, 0))
        if getattr(answer, "outcome", None) is Outcome.CONFLICT:
            yield from self.ask(self.driver.replace(place, copy, answer.stored, 0))

    patch.setattr(front.Front, "follow", follow)


def _keeps_copies_for_an_hour(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(copies, "COPY_MS", 3_600_000)


@pytest.mark.parametrize(
    ("without", "programs", "budget", "there"),
    [
        (_fills_without_a_lease, ("read", "delete"), Budget(), "nothing"),
        (_fills_without_a_lease, ("read", "save"), Budget(), "nothing"),
        (_ends_in_the_back_last, ("read", "delete"), Budget(), "nothing"),
        (_lets_no_save_follow, ("read", "save"), Budget(), "copy"),
        (_leaves_what_a_save_meets, ("read", "save"), Budget(), "nothing"),
        (_puts_a_save_over_a_lease, ("read", "save", "delete"), Budget(empties=1), "copy"),
        (_keeps_copies_for_an_hour, ("read", "delete"), Budget(failures=1), "nothing"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_promise_is_broken_without_a_rule(
    monkeypatch: pytest.MonkeyPatch,
    without: Patch,
    programs: tuple[str, ...],
    budget: Budget,
    there: str,
) -> None:
    without(monkeypatch)
    assert Search(programs, budget).broken(FRONTS[there])
