"""The front: what may fail, and may be emptied, at any time.

Its verbs are those of its driver. An outage is an answer here, so none is one of the sessions.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, NamedTuple

from django_multisession.core.records import (
    Outcome,
    Reason,
    Record,
    Stored,
    Tombstone,
    new_revision,
)
from django_multisession.drivers.base import Ask, Driver, Indexed, Server, Steps
from django_multisession.drivers.tiered.copies import (
    copied_in,
    is_leased,
    is_within,
    make_copy,
    make_hold,
)
from django_multisession.exceptions import OutageKind, StoreUnavailable

logger = logging.getLogger(__name__)

#: For how long a front that did not answer isn't asked for copies.
PATIENCE_MS = 5_000
_A_MINUTE_MS = 60_000

#: What says nothing of whether the server can be reached.
_ANSWERS = frozenset({OutageKind.REFUSED, OutageKind.UNKNOWN_FORMAT})


class _Quiet(NamedTuple):
    """A server that returns its outages."""

    server: Server

    def send(self, command: Any, /) -> Any:
        """See Server.send()."""
        try:
            return self.server.send(command)
        except StoreUnavailable as error:
            return error

    async def asend(self, command: Any, /) -> Any:
        """See send()."""
        try:
            return await self.server.asend(command)
        except StoreUnavailable as error:
            return error

    def close(self) -> None:
        """See Server.close()."""
        self.server.close()

    async def aclose(self) -> None:
        """See close()."""
        await self.server.aclose()


class Front:
    """Copies of records, by the verbs of *driver*.

    Args:
        driver: Where they are.
        clock: Milliseconds since 1970.
    """

    def __init__(self, driver: Driver, clock: Callable[[], int]) -> None:
        self.driver = driver
        self._clock = clock
        self._quiet = _Quiet(driver.server)
        self._failed_ms: int | None = None
        self._logged_ms: int | None = None

    def is_silent(self, now: int) -> bool:
        """Did it not answer a moment ago?"""
        return self._failed_ms is not None and is_within(PATIENCE_MS, self._failed_ms, now)

    def find(self, key: str) -> Steps[Any]:
        """Return what lies under *key*, or the error."""
        return self.ask(self.driver.get(_place(key)))

    def lease(self, key: str, found: Any) -> Steps[Record | None]:
        """Return what the caller may replace by what it asks the back for after this, if it may.

        What was found serves: every write and every end that comes between leaves something else.
        """
        if found is None:
            hold = make_hold(self._clock())
            is_added = yield from self.ask(self.driver.add(_place(key), hold))
            return hold if is_added is True else None
        is_free = isinstance(found, Record) and not is_leased(found, self._clock())
        return found if is_free else None

    def fill(self, key: str, lease: Record, stored: Record, asked_ms: int) -> Steps[None]:
        """Put a copy of *stored* in the place of *lease*, unless anything else was put there."""
        copy = make_copy(stored, asked_ms, over=copied_in(lease))
        yield from self.ask(self.driver.replace(_place(key), copy, lease, 0))

    def follow(self, key: str, base: Record, stored: Stored, asked_ms: int) -> Steps[None]:
        """Have no copy of *base*, or of what was before it, where the back has *stored* now."""
        follower = make_hold()
        if isinstance(stored, Record):
            follower = make_copy(stored, asked_ms, over=base)
        answer = yield from self.ask(self.driver.replace(_place(key), follower, base, 0))
        if _outcome_of(answer) is Outcome.CONFLICT:
            copied = copied_in(answer.stored)
            if copied is None or copied.revision != base.revision:
                follower = make_hold()
            answer = yield from self.ask(
                self.driver.replace(_place(key), follower, answer.stored, 0)
            )
        if _outcome_of(answer) in {None, Outcome.CONFLICT}:
            yield from self.bar(key, before=answer)

    def bar(self, *keys: str, before: Any = None) -> Steps[Any]:
        """Have no copy, and no lease that was taken until now.

        Args:
            keys: Of what.
            before: The last answer in this verb. A front that kept it waiting isn't asked again.
        """
        left = Tombstone(new_revision(), Reason.ENDED)
        if len(keys) > 1 and isinstance(self.driver, Indexed) and not _is_late(before):
            return (yield from self.ask(self.driver.delete_many([*map(_place, keys)], left)))
        for key in keys:
            if _is_late(before):
                break
            before = yield from self.ask(self.driver.delete(_place(key), left))
        return before

    def ask(self, steps: Steps[Any]) -> Steps[Any]:
        """Carry out a verb of the driver; return its answer, or the error where there is none."""
        replies: list[Any] = []  # no name: error pages show what frames hold
        try:
            ask = next(steps)
            while True:
                # Of one server, as a rule: a call less for each.
                is_known = ask.server is self._quiet.server
                quiet = self._quiet if is_known else _Quiet(ask.server)
                replies.append((yield Ask(quiet, "front", ask.command)))
                is_error = isinstance(replies[0], StoreUnavailable)
                ask = (steps.throw if is_error else steps.send)(replies.pop())
        except StopIteration as stop:
            self._failed_ms = None
            return stop.value
        except StoreUnavailable as error:
            self._note(error)
            return error

    def _note(self, error: StoreUnavailable) -> None:
        now = self._clock()
        if error.kind not in _ANSWERS:
            self._failed_ms = now
        if self._logged_ms is None or not is_within(_A_MINUTE_MS, self._logged_ms, now):
            self._logged_ms = now
            logger.warning("The front of the sessions failed, and the back goes on: %s", error)


def _is_late(answer: Any) -> bool:
    """Is *answer* that the front kept its asker waiting?"""
    return isinstance(answer, StoreUnavailable) and answer.kind is OutageKind.TIMED_OUT


def _outcome_of(answer: Any) -> Outcome | None:
    """Return how a conditional write went; None where the front failed."""
    return None if isinstance(answer, StoreUnavailable) else answer.outcome


def _place(key: str) -> str:
    # The server may hold sessions too, from before the site had two tiers.
    return f"copy:{key}"
