"""Sessions of an engine that can't list them, with a card of each in an engine that can.

A record is written before its card, and ended before it. So an end of all sessions finds the card of a
login that is under way, or the login finds the mark of that end (see `core.marks`), which lies in the
listing engine too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any, Protocol

from django_multisession.core.problems import Problem
from django_multisession.core.records import (
    Answer,
    Outcome,
    Reason,
    Record,
    Stored,
    Tombstone,
    touched,
)
from django_multisession.drivers.base import (
    Ask,
    Driver,
    Enumerable,
    IndexedDriver,
    Page,
    Purging,
    Result,
    Steps,
    is_of,
    write_then_get,
)
from django_multisession.drivers.listed.cards import begins, is_due, listed_in
from django_multisession.drivers.listed.listing import Listing

#: How many keys a list follows a session that moves meanwhile.
MOST_HOPS = 16


class Batching(Driver, Protocol):
    """A driver that reads and ends many records in as few round trips as its server can."""

    def get_many(self, keys: Sequence[str], /) -> Steps[list[Stored]]:
        """Return what is stored under each of *keys*; None for what this process can't read."""

    def delete_many(
        self, keys: Sequence[str], left: Tombstone, /, *, user_id: str | None = None
    ) -> Steps[list[bool | Tombstone]]:
        """See Indexed.delete_many()."""


class Writing(Generator[Ask, Any, Result]):
    """A verb that writes a record and its card.

    Args:
        steps_of: Returns the steps, which also read what lies under a key, if one is given.
    """

    def __init__(self, steps_of: Callable[[str | None], Steps[tuple[Result, Stored]]]) -> None:
        self.steps_of = steps_of
        self._steps: Steps[Result] | None = None

    def send(self, value: Any) -> Ask:
        """Go on with *value*."""
        return self._begun().send(value)

    def throw(self, *error: Any) -> Ask:
        """Go on with *error*."""
        return self._begun().throw(*error)

    def _begun(self) -> Steps[Result]:
        if self._steps is None:
            self._steps = self._alone()
        return self._steps

    def _alone(self) -> Steps[Result]:
        result, _ = yield from self.steps_of(None)
        return result


class ListedDriver:
    """Keeps sessions in *main*, and lists them in *listing*.

    Args:
        main: Where the sessions are.
        listing: Holds their cards.
        clock: Seconds since 1970: for how long a listing engine that failed isn't asked.

    Attributes:
        notes: Keeps the marks and the seats of users.
    """

    def __init__(self, main: Batching, listing: IndexedDriver, clock: Callable[[], float]) -> None:
        is_native_async = main.capabilities.is_native_async and listing.capabilities.is_native_async
        self.capabilities = dataclasses.replace(main.capabilities, is_native_async=is_native_async)
        self.server = main.server
        self.notes = listing
        self._main = main
        self._listing = Listing(listing, lambda: int(clock() * 1000))
        if isinstance(listing, Purging):
            self.purge_expired, self.count_expired = listing.purge_expired, listing.count_expired
        if isinstance(listing, Enumerable):
            self._enumerable, self.records = listing, self._records

    def add(self, key: str, record: Record) -> Steps[bool]:
        """See Driver.add()."""
        return Writing(lambda note: self._add(key, record, note))

    def get(self, key: str) -> Steps[Stored]:
        """See Driver.get()."""
        return self._main.get(key)

    def replace(self, key: str, record: Record, base: Record, now: int) -> Steps[Answer]:
        """See Driver.replace()."""
        writing = self._main.replace(key, record, base, now)
        return Writing(lambda note: self._replace(key, record, base, writing, note))

    def move(
        self,
        old_key: str,
        new_key: str,
        record: Record,
        base: Record | Tombstone,
        left: Tombstone,
        now: int,
    ) -> Steps[Answer]:
        """See Driver.move()."""
        writing = self._main.move(old_key, new_key, record, base, left, now)
        return Writing(lambda note: self._move(old_key, new_key, record, base, left, writing, note))

    def touch(self, key: str, base: Record, touched_ms: int, now: int) -> Steps[Answer]:
        """See Driver.touch()."""
        writing = self._main.touch(key, base, touched_ms, now)
        return Writing(lambda note: self._touch(key, base, touched_ms, writing, note))

    def retire(
        self,
        key: str,
        base: Record | Tombstone,
        left: Tombstone,
        now: int,
        latest_use: int,
    ) -> Steps[Answer]:
        """See Driver.retire()."""
        answer = yield from self._main.retire(key, base, left, now, latest_use)
        if answer.outcome is Outcome.SAVED and _user_of(base) is not None:
            yield from self._listing.end([key], left)
        return answer

    def withdraw(self, key: str, record: Record) -> Steps[None]:
        """See Driver.withdraw()."""
        yield from self._main.withdraw(key, record)
        if record.user is None:
            return
        # Someone may have saved over it.
        stored = yield from self._main.get(key)
        if not isinstance(stored, Record):
            yield from self._listing.withdraw(key, record)

    def delete(self, key: str, left: Tombstone) -> Steps[bool | Tombstone]:
        """See Driver.delete()."""
        found = yield from self._main.delete(key, left)
        if found is True:
            yield from self._listing.end([key], left)
        return found

    def of_user(self, user_id: str, now: int, *, cursor: str = "", limit: int = 100) -> Steps[Page]:
        """See Indexed.of_user()."""
        listing = self._listing.driver
        cards, following = yield from listing.of_user(user_id, now, cursor=cursor, limit=limit)
        return Page((yield from self._listed(cards, is_of(user_id, now))), following)

    def delete_many(
        self, keys: Sequence[str], left: Tombstone, *, user_id: str | None = None
    ) -> Steps[list[bool | Tombstone]]:
        """See Indexed.delete_many()."""
        answers = yield from self._main.delete_many(keys, left, user_id=user_id)
        yield from self._listing.end(keys, left, user_id)
        return answers

    def write_and_get(self, write: Steps[Result], key: str) -> Steps[tuple[Result, Stored]]:
        """See Indexed.write_and_get(); *key* is that of a note, which is read with the card's write."""
        if isinstance(write, Writing):
            return write.steps_of(key)
        return write_then_get(self.notes, write, key)

    def check(self) -> list[Problem]:
        """See Driver.check()."""
        return [*self._main.check(), *self._listing.driver.check()]

    def close(self) -> None:
        """See Driver.close()."""
        self._main.close()
        self._listing.driver.close()

    async def aclose(self) -> None:
        """See close()."""
        await self._main.aclose()
        await self._listing.driver.aclose()

    def _add(self, key: str, record: Record, note: str | None) -> Steps[tuple[bool, Stored]]:
        found: Stored = None
        is_added = yield from self._main.add(key, record)
        if is_added and record.user is not None:
            found = yield from self._listing.keep(key, record, note=note, is_required=True)
        return is_added, found

    def _replace(
        self, key: str, record: Record, base: Record, writing: Steps[Answer], note: str | None
    ) -> Steps[tuple[Answer, Stored]]:
        found: Stored = None
        answer = yield from writing
        if answer.outcome is Outcome.SAVED:
            if record.user is None and base.user is not None:
                yield from self._listing.withdraw(key, base)
            elif record.user is not None and is_due(base, record):
                known = None if base.user is None else base
                is_required = begins(base, record)
                found = yield from self._listing.keep(
                    key, record, known, note, is_required=is_required
                )
        return answer, found

    def _move(
        self,
        old_key: str,
        new_key: str,
        record: Record,
        base: Record | Tombstone,
        left: Tombstone,
        writing: Steps[Answer],
        note: str | None,
    ) -> Steps[tuple[Answer, Stored]]:
        found: Stored = None
        answer = yield from writing
        if answer.outcome is not Outcome.SAVED:
            return answer, found
        is_required = begins(base, record)
        if isinstance(base, Record) and base.user is not None:
            if record.user is None:
                yield from self._listing.end([old_key], left)
            else:
                found = yield from self._listing.move(
                    old_key, new_key, record, base, note, is_required=is_required
                )
        elif record.user is not None:
            found = yield from self._listing.keep(
                new_key, record, note=note, is_required=is_required
            )
        return answer, found

    def _touch(
        self, key: str, base: Record, touched_ms: int, writing: Steps[Answer], note: str | None
    ) -> Steps[tuple[Answer, Stored]]:
        found: Stored = None
        answer = yield from writing
        if answer.outcome is Outcome.SAVED and base.user is not None:
            used = touched(base, max(base.touched_ms, touched_ms))
            found = yield from self._listing.keep(key, used, base, note)
        return answer, found

    def _records(self, cursor: str, limit: int) -> Steps[Page]:
        """See Enumerable.records(). Only users' sessions are listed."""
        cards, following = yield from self._enumerable.records(cursor, limit)
        return Page((yield from self._listed(cards, lambda _record: True)), following)

    def _listed(
        self, cards: Iterable[tuple[str, Record]], is_meant: Callable[[Record], bool]
    ) -> Steps[list[tuple[str, Record]]]:
        """Return the records of *cards*, also of those that move meanwhile."""
        found: dict[str, Record] = {}
        keys = [key for place, card in cards if (key := listed_in(place, card)) is not None]
        for _ in range(MOST_HOPS):
            if not keys:
                break
            stored = yield from self._main.get_many(keys)
            found |= {
                key: each
                for key, each in zip(keys, stored, strict=True)
                if isinstance(each, Record) and is_meant(each)
            }
            keys = [
                each.successor
                for each in stored
                if isinstance(each, Tombstone)
                and each.reason is Reason.MOVED
                and each.successor not in found
            ]
        return [*found.items()]


def _user_of(base: Record | Tombstone) -> bytes | None:
    return base.user if isinstance(base, Record) else None
