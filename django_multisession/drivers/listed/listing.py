"""The engine that lists the sessions of another one: it holds their cards, and the notes on users.

A write of a card may fail, but for that of a login. The next use that is noted writes it again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from django_multisession.core.records import (
    MISSING,
    Answer,
    Outcome,
    Reason,
    Record,
    Stored,
    Tombstone,
)
from django_multisession.drivers.base import IndexedDriver, Steps
from django_multisession.drivers.listed.cards import place_of
from django_multisession.drivers.quiet import Quiet
from django_multisession.exceptions import StoreUnavailable

#: See `Listing.keep()`.
Again = Callable[[], Steps[Record | None]]

#: How often a save tries at most to write a card that other saves write too.
MOST_TRIES = 4

logger = logging.getLogger(__name__)


class Listing(Quiet[IndexedDriver]):
    """Cards of sessions, by the verbs of *driver*."""

    verb = "listing"

    def keep(
        self,
        key: str,
        card: Record,
        base: Record | None,
        again: Again,
        note: str | None,
        *,
        is_required: bool,
    ) -> Steps[Stored]:
        """Write *card*, unless the session was ended; return the *note* with it.

        Args:
            key: Storage key of the session.
            card: What is to lie there.
            base: The card that it goes over, if there is one.
            again: Returns the card of what is stored under *key* by now, if that is a user's session:
                what another request wrote is newer than *card*, or older.
            note: Storage key of what is read too.
            is_required: Raise what the engine raises?
        """
        steps = self._keep(place_of(key), card, base, again)
        return self._written(steps, note, is_required=is_required)

    def move(
        self,
        old_key: str,
        new_key: str,
        card: Record,
        base: Record,
        again: Again,
        note: str | None,
        *,
        is_required: bool,
    ) -> Steps[Stored]:
        """See keep(); *base* lies at *old_key*."""
        steps = self._move(place_of(old_key), place_of(new_key), card, base, again)
        return self._written(steps, note, is_required=is_required)

    def end(self, keys: Sequence[str], left: Tombstone, user_id: str | None = None) -> Steps[None]:
        """End the cards of the sessions under *keys*, those of *user_id* if that is given."""
        places = [*map(place_of, keys)]
        yield from self._quietly(self.driver.delete_many(places, left, user_id=user_id))

    def withdraw(self, key: str, card: Record) -> Steps[None]:
        """Remove *card*, because the session under *key* no longer has a user."""
        yield from self._quietly(self.driver.withdraw(place_of(key), card))

    def _written(self, steps: Steps[None], note: str | None, *, is_required: bool) -> Steps[Stored]:
        writing = self._noting(steps, note)
        return (yield from writing) if is_required else (yield from self._quietly(writing))

    def _noting(self, steps: Steps[None], note: str | None) -> Steps[Stored]:
        if note is None:
            yield from steps
            return None
        _, stored = yield from self.driver.write_and_get(steps, note)
        return stored

    def _quietly(self, steps: Steps[Stored | object]) -> Steps[Stored]:
        if self.is_silent(self._clock()):
            return None
        answer = yield from self.ask(steps)
        return answer if isinstance(answer, Record | Tombstone) else None

    def _keep(self, place: str, card: Record, base: Record | None, again: Again) -> Steps[None]:
        driver = self.driver
        answer = MISSING
        if base is not None:
            answer = yield from self._write_over(place, card, base, card.touched_ms)
        for _ in range(MOST_TRIES):
            if answer.outcome is Outcome.SAVED or isinstance(answer.stored, Tombstone):
                return
            if (yield from driver.add(place, card)):
                return
            # It has expired, or is of another save, whose record may be the newer one.
            stored, newest = (yield from driver.get(place)), (yield from again())
            if isinstance(stored, Tombstone) or newest is None:
                return
            card = newest
            # Otherwise another save has withdrawn it meanwhile.
            if stored is not None:
                answer = yield from self._write_over(place, card, stored, stored.touched_ms)

    def _write_over(self, place: str, card: Record, base: Record, now: int) -> Steps[Answer]:
        if base.revision == card.revision:
            return self.driver.touch(place, base, card.touched_ms, now)
        return self.driver.replace(place, card, base, now)

    def _move(self, old: str, new: str, card: Record, base: Record, again: Again) -> Steps[None]:
        left = Tombstone(card.revision, Reason.MOVED, new)
        answer = yield from self.driver.move(old, new, card, base, left, card.touched_ms)
        if answer.outcome is Outcome.SAVED:
            return
        yield from self._keep(new, card, None, again)
        yield from self.driver.delete(old, left)

    def _log(self, error: StoreUnavailable) -> None:
        logger.warning("The engine that lists the sessions failed, and these go on: %s", error)

    def _log_answer(self) -> None:
        logger.warning("The engine that lists the sessions answers again.")
