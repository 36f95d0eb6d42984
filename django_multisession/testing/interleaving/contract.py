"""The law of two overlapping requests: in every order they leave what the table says.

Every pair of actions, in every order that matters, sync and async.
"""

from __future__ import annotations

import collections
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.test import override_settings

from django_multisession.store import DriverSessionStore
from django_multisession.testing.engine.fixtures import EngineFixtures
from django_multisession.testing.interleaving.invariants import broken_invariants
from django_multisession.testing.interleaving.model import NAMES, Outcome, Pair
from django_multisession.testing.interleaving.play import (
    PAIRS,
    allowed,
    aplay,
    orders_of,
    play,
)
from django_multisession.testing.interleaving.requests import Request
from django_multisession.testing.interleaving.stage import SETTINGS, Stage, watched
from django_multisession.testing.interleaving.table import Action
from django_multisession.testing.threads import close_databases
from django_multisession.testing.verbs import Clock, Run


class InterleavingContract(EngineFixtures):
    """The outcomes of two overlapping requests. Subclasses provide the fixture `session_store`."""

    @pytest.fixture
    def rounds(self) -> int:
        """Return how often every order is played: what the variable INTERLEAVING_ROUNDS sets."""
        return int(os.environ.get("INTERLEAVING_ROUNDS", "3"))

    @pytest.fixture
    def interleaving_settings(self, session_store: type[DriverSessionStore]) -> Iterator[None]:
        """Set what lets everything in the table happen."""
        with override_settings(**SETTINGS):
            yield

    def faults_of(self, pair: Pair, order: str, found: Outcome) -> Iterator[str]:
        """Yield what is wrong about what *pair* left when it was played in *order*.

        A store that can't compare as it writes judges by `broken_invariants` alone.
        """
        return faults(pair, order, found, allowed(pair, order))

    @pytest.mark.parametrize("action", Action, ids=lambda action: action.name.lower())
    def test_two_requests_leave_what_the_table_says_in_every_order(
        self,
        session_store: type[DriverSessionStore],
        interleaving_settings: None,
        clock: Clock,
        run: Run | None,
        rounds: int,
        action: Action,
    ) -> None:
        store, driver = watched(session_store)
        wrong: collections.Counter[str] = collections.Counter()
        with ThreadPoolExecutor(len(NAMES)) as threads:
            for turn in range(rounds):
                for pair in PAIRS:
                    if pair.actions[0] is not action:
                        continue
                    for order in orders_of(pair):
                        stage = Stage(pair, store, driver, clock, is_async=run is not None)
                        requests = requests_of(pair, stage, is_async=run is not None)
                        try:
                            if run is None:
                                play(order, requests, threads)
                            else:
                                run(aplay(order, requests, starts_with_b=turn % 2 == 1))
                        except Exception as error:
                            error.add_note(f"While {pair} were played, {order}.")
                            raise
                        found = stage.outcome(*(request.answer for request in requests))
                        wrong.update(self.faults_of(pair, order, found))
            close_databases(threads, len(NAMES))
        assert not wrong, "\n\n".join(f"{times} x {fault}" for fault, times in wrong.items())


def requests_of(pair: Pair, stage: Stage, *, is_async: bool) -> list[Request]:
    """Return the two requests of *pair* on *stage*."""
    return [
        Request(action, name, stage.store, stage.key, stage.elsewhere, is_async=is_async)
        for action, name in zip(pair.actions, NAMES, strict=True)
    ]


def faults(pair: Pair, order: str, found: Outcome, may_be: set[Outcome]) -> Iterator[str]:
    """Yield what is wrong about what *pair* left when it was played in *order*."""
    title = f"{pair}, {order}"
    if found not in may_be:
        yield "\n  ".join(
            [f"{title}:", f"found   {found}", *(f"allowed {each}" for each in may_be)]
        )
    for invariant in broken_invariants(pair, found):
        yield f"{title}: {invariant}\n  found   {found}"
