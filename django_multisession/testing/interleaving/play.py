"""Play two requests of one session in a given order, sync or async.

An order is spelled by whose phase comes next: ``"ABAABB"`` is both use the session, then A acts and
responds, then B.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Executor

from django_multisession.testing.interleaving.model import NAMES, Outcome, Pair
from django_multisession.testing.interleaving.requests import Request
from django_multisession.testing.interleaving.table import ENDING, Action

#: Nothing waits so long, whatever the machine does beside it.
PATIENCE = 30

#: Both use the session, and then set off together.
CONCURRENT = "concurrently"
#: Reading writes nothing. So what matters is who writes first (ends do as the request acts, all the
#: others as it responds), whether the other one had read by then, and what a request does after its
#: own end and the other's write. These are all such orders of two times three phases.
ORDERS = ("AAABBB", "BBBAAA", "ABAABB", "BABBAA", "ABBAAB", "BAABBA", CONCURRENT)
#: Of two requests that do the same.
ORDERS_OF_TWINS = ("AAABBB", "ABAABB", "ABBAAB", CONCURRENT)

#: Every pair, also of two requests that do the same.
PAIRS = tuple(
    Pair((first, second))
    for position, first in enumerate(Action)
    for second in list(Action)[position:]
)


def orders_of(pair: Pair) -> tuple[str, ...]:
    """Return the orders in which *pair* is played."""
    return ORDERS_OF_TWINS if pair.actions[0] is pair.actions[1] else ORDERS


def allowed(pair: Pair, order: str, *, has_touches_interrupted: bool = False) -> set[Outcome]:
    """Return what the table allows *pair* to come out as; see `Pair.outcome`."""
    if order == CONCURRENT:
        plays = [(first, False) for first in (0, 1)]
    else:
        writes = [_position(order, name, _write_phase(action)) for name, action in _named(pair)]
        first = writes.index(min(writes))
        is_late = _position(order, NAMES[1 - first], 0) > writes[first]
        plays = [(first, is_late)]
    return {
        pair.outcome(first, is_late=is_late, has_touches_interrupted=has_touches_interrupted)
        for first, is_late in plays
    }


def play(order: str, requests: list[Request], threads: Executor) -> None:
    """Run the phases of both *requests*; a barrier lets concurrent ones set off together."""
    by_name = dict(zip(NAMES, requests, strict=True))
    for name in "AB" if order == CONCURRENT else order:
        by_name[name].go_on()
    if order != CONCURRENT:
        return
    barrier = threading.Barrier(len(requests))

    def set_off(request: Request) -> None:
        barrier.wait(PATIENCE)
        request.go_on()
        request.go_on()

    for _ in threads.map(set_off, requests, timeout=PATIENCE):
        pass


async def aplay(order: str, requests: list[Request], *, starts_with_b: bool) -> None:
    """See play(). Tasks set off in the order in which they were made; *starts_with_b* swaps them."""
    by_name = dict(zip(NAMES, requests, strict=True))
    for name in "AB" if order == CONCURRENT else order:
        await by_name[name].ago_on()
    if order != CONCURRENT:
        return

    async def set_off(request: Request) -> None:
        await request.ago_on()
        await request.ago_on()

    await asyncio.gather(*map(set_off, reversed(requests) if starts_with_b else requests))


def _named(pair: Pair) -> Iterator[tuple[str, Action]]:
    return zip(NAMES, pair.actions, strict=True)


def _write_phase(action: Action) -> int:
    return 1 if action in ENDING else 2


def _position(order: str, name: str, phase: int) -> int:
    """Return where in *order* the request *name* runs its phase number *phase*."""
    return [position for position, whose in enumerate(order) if whose == name][phase]
