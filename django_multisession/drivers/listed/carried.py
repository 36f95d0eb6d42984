"""Sessions that clients hold, listed by their cards: no server has the records."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from django_multisession.core.records import (
    MISSING,
    SAVED,
    Answer,
    Outcome,
    Record,
    Tombstone,
    answer_to_delete,
)
from django_multisession.drivers.base import Purging, Steps, read_known, skip_newer
from django_multisession.drivers.listed.cards import listed_in, make_card, place_of
from django_multisession.drivers.listed.driver import ListedDriver, MakeCard
from django_multisession.drivers.listed.listing import Listing

if TYPE_CHECKING:
    from django_multisession.drivers.cookie.jar import Jar
    from django_multisession.drivers.cookie.revocable import RevocableDriver


class CarriedListedDriver(ListedDriver["RevocableDriver"]):
    """Lists the sessions in cookies whose ends are shared.

    Args:
        main: See `ListedDriver`.
        listing: See there.
        make: See there. The caller of a list checks what it made.
    """

    def __init__(self, main: RevocableDriver, listing: Listing, make: MakeCard = make_card) -> None:
        super().__init__(main, listing, make)
        self.server: Jar = main.server

    def over(self, jar: Jar, make: MakeCard) -> CarriedListedDriver:
        """Return this driver over *jar*, with cards that *make* makes."""
        return CarriedListedDriver(self.main.over(jar), self._listing, make)

    def retire(
        self,
        key: str,
        base: Record | Tombstone,
        left: Tombstone,
        now: int,
        latest_use: int,
    ) -> Steps[Answer]:
        """See Driver.retire(). A session that another client holds is known by its card, which *base* is."""
        card = None
        if isinstance(base, Record) and key not in self.server.slots:
            card = yield from self.notes.get(place_of(key))
        if isinstance(base, Tombstone) or not isinstance(card, Record):
            return (yield from super().retire(key, base, left, now, latest_use))
        if card.series != base.series:
            return Answer(Outcome.CONFLICT, card)
        self.main.note_copy(key, base)
        found = yield from self.delete(key, left)
        if isinstance(found, Tombstone):
            return Answer(Outcome.MISSING, found)
        return SAVED if found else MISSING

    def _end_many(
        self, keys: Sequence[str], left: Tombstone, user_id: str | None
    ) -> Steps[list[bool | Tombstone]]:
        """See ListedDriver._end_many(). Each end is one of its own."""
        answers: list[bool | Tombstone] = []
        for key in keys:
            answer = yield from skip_newer(key, self._end(key, left, user_id))
            answers.append(answer or False)
        return answers

    def purge_expired(self, now: int, limit: int) -> Steps[int]:
        """See Purging.purge_expired()."""
        gone = yield from self.main.purge_expired(now, limit)
        if gone < limit and isinstance(self.notes, Purging):
            gone += yield from self.notes.purge_expired(now, limit - gone)
        return gone

    def count_expired(self, now: int) -> Steps[int]:
        """See Purging.count_expired()."""
        count = yield from self.main.count_expired(now)
        # The engine that keeps the ends may be the one that lists.
        if isinstance(self.notes, Purging) and not self.main.keeps_ends_in(type(self.notes)):
            count += yield from self.notes.count_expired(now)
        return count

    def _end(self, key: str, left: Tombstone, user_id: str | None) -> Steps[bool | Tombstone]:
        if user_id is None:
            return (yield from self.main.delete(key, left))
        held = read_known(key, self.server.raw(key))
        if held is None:
            held = yield from self.notes.get(place_of(key))
            if isinstance(held, Record):
                self.main.note_copy(key, held)
        if isinstance(held, Record) and held.user_id == user_id:
            return (yield from self.main.delete(key, left))
        return answer_to_delete((yield from self.main.get(key)), left)

    def _listed(
        self, cards: Iterable[tuple[str, Record]], is_meant: Callable[[Record], bool]
    ) -> Steps[list[tuple[str, Record]]]:
        """See ListedDriver._listed(). Of what this client holds it's the record."""
        yield from ()
        found: dict[str, Record] = {}
        for place, card in cards:
            key = listed_in(place, card)
            if key is None:
                continue
            self.main.note_copy(key, card)
            raw = self.server.raw(key)
            record = card if raw is None else read_known(key, raw)
            if isinstance(record, Record) and is_meant(record):
                found[key] = record
        return [*found.items()]
