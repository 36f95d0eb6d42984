"""Every schedule of a few verbs of a tiered driver, over two servers in memory.

A schedule is a sequence of commands that the two servers carry out, and of what goes wrong: one of
the front's commands fails, or is carried out late; the front is emptied; half a minute passes; a
request is cut off. States that are equal are searched once.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
from collections.abc import Callable, Generator, Iterator
from typing import Any, NamedTuple

import pytest

from django_multisession.core import records
from django_multisession.core.records import (
    SAVED,
    Outcome,
    Reason,
    Record,
    Stored,
    Tombstone,
    decode,
)
from django_multisession.drivers.base import Ask, Steps
from django_multisession.drivers.memory import Command, MemoryDriver, MemoryServer, Slot
from django_multisession.drivers.tiered.copies import COPY_MS, make_copy, make_hold
from django_multisession.drivers.tiered.driver import TieredDriver
from django_multisession.exceptions import OutageKind, StoreUnavailable
from django_multisession.testing.driver.fixtures import NOW, make_record
from django_multisession.testing.stored_records import changed

KEY, NEW_KEY = "a" * 32, "b" * 32
PLACE = f"copy:{KEY}"

#: What a store holds: key and bytes.
Slots = frozenset[tuple[str, bytes]]
#: A request: the verbs that it calls, and what was promised to its client in the end.
Program = Callable[[TieredDriver], Generator[Ask, Any, Any]]


def _revision(name: str) -> bytes:
    return name.encode().ljust(8, b".")


def _next(record: Record, name: str) -> Record:
    earlier = (record.revision + record.earlier)[: len(record.earlier)]
    return changed(record, revision=_revision(name), earlier=earlier, payload=name.encode())


BEFORE = changed(make_record(), revision=_revision("before"))
BASE = _next(BEFORE, "base")
AFTER = _next(BASE, "after")
MOVED = changed(AFTER, revision=_revision("moved"))
USED_MS = NOW + 1000

#: Promises: the session was ended or left its key; a write was stored.
ENDED = "ended"


# Requests


def read(driver: TieredDriver) -> Steps[Stored]:
    return (yield from driver.get(KEY))


def save(driver: TieredDriver) -> Steps[object]:
    """Save over what was read before; a conflict is gone on from once, as a merge does."""
    answer = yield from driver.replace(KEY, AFTER, BASE, NOW)
    if answer.outcome is Outcome.CONFLICT and isinstance(answer.stored, Record):
        again = _next(answer.stored, "again")
        answer = yield from driver.replace(KEY, again, answer.stored, NOW)
        return again.revision if answer == SAVED else None
    return AFTER.revision if answer == SAVED else None


def read_and_save(driver: TieredDriver) -> Steps[object]:
    stored = yield from driver.get(KEY)
    if not isinstance(stored, Record):
        return None
    mine = _next(stored, "mine")
    answer = yield from driver.replace(KEY, mine, stored, NOW)
    return mine.revision if answer == SAVED else None


def touch(driver: TieredDriver) -> Steps[object]:
    yield from driver.touch(KEY, BASE, USED_MS, NOW)
    return None


def delete(driver: TieredDriver) -> Steps[object]:
    yield from driver.delete(KEY, Tombstone(_revision("end"), Reason.ENDED))
    return ENDED


def move(driver: TieredDriver) -> Steps[object]:
    left = Tombstone(MOVED.revision, Reason.MOVED, NEW_KEY)
    answer = yield from driver.move(KEY, NEW_KEY, MOVED, BASE, left, NOW)
    return ENDED if answer == SAVED else None


PROGRAMS = {each.__name__: each for each in (read, save, read_and_save, touch, delete, move)}

#: What the front may hold as the requests begin.
FRONTS: dict[str, Record | Tombstone | None] = {
    "nothing": None,
    "copy": make_copy(BASE, NOW),
    "due-copy": make_copy(BASE, NOW - COPY_MS),
    "confirmed-copy": make_copy(BASE, NOW, over=BASE),
    "due-older-copy": make_copy(BEFORE, NOW - COPY_MS),
    "lease": make_hold(NOW),
    "hold": make_hold(),
    "tombstone": Tombstone(_revision("barred"), Reason.ENDED),
    "garbage": changed(BASE, payload=b"nothing of the front's"),
}


class Budget(NamedTuple):
    """How often each of these may happen in a schedule, or did."""

    failures: int = 0
    empties: int = 0
    waits: int = 0
    cuts: int = 0


class Heard(NamedTuple):
    """What a request was sent, and when."""

    now: int
    reply: Any


class State(NamedTuple):
    """One state of everything.

    Attributes:
        heard: What each request was sent; None at its end: it was cut off.
        front: What the front holds.
        back: What the back holds.
        late: Commands of the front that are still on their way.
        now: The time.
        promised: What was promised to clients.
        known: What was promised as each request began.
        spent: What went wrong.
    """

    heard: tuple[tuple[Heard | None, ...], ...]
    front: Slots
    back: Slots
    late: tuple[Command, ...]
    now: int
    promised: frozenset[object]
    known: tuple[frozenset[object], ...]
    spent: Budget


@dataclasses.dataclass(frozen=True, slots=True)
class Stand:
    """Where a request stands: what it asks, or how it went."""

    ask: Ask | None = None
    result: Any = None


class Failure(NamedTuple):
    """An outage, as a value: errors aren't equal to each other."""

    kind: OutageKind


class Search:
    """All schedules of *programs*, with at most *budget* of what may go wrong."""

    def __init__(self, programs: tuple[str, ...], budget: Budget) -> None:
        self._programs = [PROGRAMS[name] for name in programs]
        self._budget = budget
        self._server = MemoryServer(1000, lambda: 0.0)
        self._stands: dict[Any, Stand] = {}
        self._replies: dict[Any, tuple[Any, Slots]] = {}

    def broken(self, front: Record | Tombstone | None) -> list[str]:
        """Return a shortest schedule that breaks a law, and which, or nothing."""
        slots = frozenset() if front is None else frozenset({(PLACE, bytes(front.raw))})
        count = len(self._programs)
        first = State(
            ((),) * count,
            slots,
            frozenset({(KEY, bytes(BASE.raw))}),
            (),
            NOW,
            frozenset(),
            (frozenset(),) * count,
            Budget(),
        )
        came_from: dict[State, tuple[State, str] | None] = {first: None}
        waiting = collections.deque([first])
        while waiting:
            state = waiting.popleft()
            for label, following, law in self._moves(state):
                if law:
                    return [*_schedule(came_from, state), label, law]
                if following not in came_from:
                    came_from[following] = (state, label)
                    waiting.append(following)
        return []

    def _moves(self, state: State) -> Iterator[tuple[str, State, str]]:
        stands = [self._stand(who, heard) for who, heard in enumerate(state.heard)]
        for who, stand in enumerate(stands):
            if stand.ask is not None:
                yield from self._steps(state, who, stand.ask)
        left = Budget(
            *(most - spent for most, spent in zip(self._budget, state.spent, strict=True))
        )
        if left.empties and state.front:
            spent = state.spent._replace(empties=state.spent.empties + 1)
            yield "the front is emptied", state._replace(front=frozenset(), spent=spent), ""
        if left.waits:
            spent = state.spent._replace(waits=state.spent.waits + 1)
            yield "half a minute passes", state._replace(now=state.now + COPY_MS, spent=spent), ""
        for command in state.late:
            late = list(state.late)
            late.remove(command)
            _, front = self._do(state.front, command)
            yield f"late: {command.verb}", state._replace(front=front, late=tuple(late)), ""
        if all(stand.ask is None for stand in stands) and not state.late:
            yield "at the end", state, self._broken_at_the_end(state)

    def _steps(self, state: State, who: int, ask: Ask) -> Iterator[tuple[str, State, str]]:
        is_front = ask.verb == "front"
        command = ask.command
        label = f"{who} {'front' if is_front else 'back'} {command.verb}"
        slots = state.front if is_front else state.back
        reply, after = self._do(slots, command)
        done = state._replace(front=after) if is_front else state._replace(back=after)
        yield self._hear(done, who, reply, label)
        if state.spent.cuts < self._budget.cuts:
            spent = state.spent._replace(cuts=state.spent.cuts + 1)
            for before in (state, done):
                yield self._hear(before._replace(spent=spent), who, None, f"{label}, cut off")
        if is_front and state.spent.failures < self._budget.failures:
            spent = state.spent._replace(failures=state.spent.failures + 1)
            late = state._replace(late=(*state.late, command))
            for text, before, kind in (
                ("fails", state, OutageKind.UNREACHABLE),
                ("is refused", state, OutageKind.REFUSED),
                ("is done, without an answer", done, OutageKind.UNREACHABLE),
                ("times out", late, OutageKind.TIMED_OUT),
            ):
                failed = before._replace(spent=spent)
                yield self._hear(failed, who, Failure(kind), f"{label} {text}")

    def _hear(self, state: State, who: int, reply: Any, label: str) -> tuple[str, State, str]:
        heard, known, promised = list(state.heard), list(state.known), state.promised
        if not heard[who]:
            known[who] = promised
        is_cut = reply is None and label.endswith("cut off")
        heard[who] = (*heard[who], None if is_cut else Heard(state.now, reply))
        stand = self._stand(who, heard[who])
        law = ""
        if stand.ask is None and not is_cut and not isinstance(stand.result, Failure):
            if self._programs[who] is read:
                law = self._broken_by(stand.result, known[who], state)
            elif stand.result is not None:
                promised |= {stand.result}
        return (
            label,
            state._replace(heard=tuple(heard), known=tuple(known), promised=promised),
            law,
        )

    def _broken_by(self, stored: Any, promised: frozenset[object], state: State) -> str:
        """Say which promise a read breaks that began after it."""
        if state.spent.failures and state.now < NOW + COPY_MS * (1 + state.spent.waits):
            return ""
        if not isinstance(stored, Record):
            return ""
        if ENDED in promised:
            return "an ended session was read"
        lost = [each for each in promised if each not in stored.revisions]
        return f"a save was lost: {lost}" if lost else ""

    def _broken_at_the_end(self, state: State) -> str:
        """Read three times; after failures of the front half a minute later."""
        now = state.now + (COPY_MS if state.spent.failures else 0)
        driver = self._driver(lambda: now)
        front, back = state.front, state.back
        for _ in range(3):
            steps = driver.get(KEY)
            ask = next(steps)
            while True:
                if ask.verb == "front":
                    reply, front = self._do(front, ask.command)
                else:
                    reply, back = self._do(back, ask.command)
                try:
                    ask = steps.send(reply)
                except StopIteration as stop:
                    stored = stop.value
                    break
            judged = state._replace(spent=Budget())
            if law := self._broken_by(stored, state.promised, judged):
                return law
            if not state.spent.cuts and (law := _differing(stored, dict(back).get(KEY))):
                return law
        return ""

    def _driver(self, clock: Callable[[], int]) -> TieredDriver:
        return TieredDriver(MemoryDriver(), MemoryDriver(), lambda: clock() / 1000)

    def _stand(self, who: int, heard: tuple[Heard | None, ...]) -> Stand:
        found = self._stands.get((who, heard))
        if found is None:
            found = self._stands[who, heard] = self._stood(who, heard)
        return found

    def _stood(self, who: int, heard: tuple[Heard | None, ...]) -> Stand:
        """Let a request hear all of that; its tokens are those of its place in the schedule."""
        if heard and heard[-1] is None:
            return Stand()
        numbers = itertools.count()
        now = heard[0].now if heard and heard[0] else NOW
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                records, "urandom", lambda n: b"%d:%d" % (who, next(numbers)) + bytes(n - 3)
            )
            steps = self._programs[who](self._driver(lambda: now))
            try:
                ask = next(steps)
                for each in heard:
                    assert each is not None
                    now = each.now
                    reply = each.reply
                    if isinstance(reply, Failure):
                        reply = StoreUnavailable("", reply.kind)
                    ask = steps.send(reply)
            except StopIteration as stop:
                return Stand(result=stop.value)
        return Stand(ask=ask)

    def _do(self, slots: Slots, command: Command) -> tuple[Any, Slots]:
        found = self._replies.get((slots, command))
        if found is None:
            server = self._server
            server.slots = collections.OrderedDict(
                (key, Slot(raw, float("inf"))) for key, raw in slots
            )
            reply = server.send(command)
            after = frozenset((key, bytes(slot.raw)) for key, slot in server.slots.items())
            found = self._replies[slots, command] = reply, after
        return found


def _differing(stored: Stored, truth: bytes | None) -> str:
    """Say that *stored* isn't what the back holds; its last use may be an earlier one."""
    if not isinstance(stored, Record):
        return ""
    held = decode(truth) if truth else None
    is_same = isinstance(held, Record) and held.revision == stored.revision
    return "" if is_same else "a copy is not what the back holds"


def _schedule(came_from: dict[State, tuple[State, str] | None], state: State) -> list[str]:
    labels = []
    while (step := came_from[state]) is not None:
        state, label = step
        labels.append(label)
    return labels[::-1]
