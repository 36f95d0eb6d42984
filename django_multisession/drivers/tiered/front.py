"""The front: what may fail, and may be emptied, at any time.

Its verbs are those of its driver. An outage is an answer here, so none is one of the sessions.
"""

from __future__ import annotations

import logging
from typing import Any

from django_multisession.core.records import (
    Outcome,
    Reason,
    Record,
    Stored,
    Tombstone,
    new_revision,
)
from django_multisession.drivers.base import Driver, Indexed, Steps
from django_multisession.drivers.quiet import Quiet
from django_multisession.drivers.tiered.copies import (
    copied_in,
    is_leased,
    make_copy,
    make_hold,
)
from django_multisession.exceptions import OutageKind, StoreUnavailable

logger = logging.getLogger(__name__)


class Front(Quiet[Driver]):
    """Copies of records, by the verbs of *driver*.

    Args:
        driver: Where they are.
        clock: Milliseconds since 1970.
    """

    verb = "front"

    def _log(self, error: StoreUnavailable) -> None:
        logger.warning("The front of the sessions failed, and the back goes on: %s", error)

    def _log_answer(self) -> None:
        logger.warning("The front of the sessions answers again.")

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


def _is_late(answer: Any) -> bool:
    """Is *answer* that the front kept its asker waiting?"""
    return isinstance(answer, StoreUnavailable) and answer.kind is OutageKind.TIMED_OUT


def _outcome_of(answer: Any) -> Outcome | None:
    """Return how a conditional write went; None where the front failed."""
    return None if isinstance(answer, StoreUnavailable) else answer.outcome


def _place(key: str) -> str:
    # The server may hold sessions too, from before the site had two tiers.
    return f"copy:{key}"
