"""Sessions of an engine that can't list them, with a card of each in an engine that can.

A record is written before its card, and ended before it. So an end of all sessions finds the card of a
login that is under way, or the login finds the mark of that end (see `core.marks`), which lies in the
listing engine too.
"""

from __future__ import annotations

import dataclasses
import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any, Generic, Protocol, TypeGuard, TypeVar

from django_multisession.core.problems import Problem
from django_multisession.core.records import (
    Answer,
    Outcome,
    Record,
    Stored,
    Tombstone,
    touched,
)
from django_multisession.drivers.base import (
    Ask,
    Driver,
    Enumerable,
    Page,
    Purging,
    Result,
    Steps,
    is_of,
    skip_newer,
    write_then_get,
)
from django_multisession.drivers.listed.cards import (
    begins,
    is_due,
    is_key,
    listed_in,
    make_card,
    place_of,
)
from django_multisession.drivers.listed.listing import Listing

#: How many keys a list follows a session that moves meanwhile.
MOST_HOPS = 16


#: Makes the card of the record under a storage key.
MakeCard = Callable[[str, Record], Record]
MainDriver = TypeVar("MainDriver", bound=Driver)


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


class ListedDriver(ABC, Generic[MainDriver]):
    """Keeps sessions in *main*, and lists them in *listing*.

    Args:
        main: Where the sessions are.
        listing: Holds their cards.
        make: Makes a card.

    Attributes:
        main: See Args.
        notes: Keeps the marks and the seats of users.
    """

    def __init__(self, main: MainDriver, listing: Listing, make: MakeCard = make_card) -> None:
        notes = listing.driver
        is_native_async = main.capabilities.is_native_async and notes.capabilities.is_native_async
        self.capabilities = dataclasses.replace(main.capabilities, is_native_async=is_native_async)
        self.server = main.server
        self.notes = notes
        self.main, self._listing, self._make = main, listing, make
        if isinstance(notes, Enumerable):
            self._enumerable, self.records = notes, self._records

    def add(self, key: str, record: Record) -> Steps[bool]:
        """See Driver.add()."""
        return Writing(lambda note: self._add(key, record, note))

    def get(self, key: str) -> Steps[Stored]:
        """See Driver.get()."""
        return self.main.get(key)

    def replace(self, key: str, record: Record, base: Record, now: int) -> Steps[Answer]:
        """See Driver.replace()."""
        writing = self.main.replace(key, record, base, now)
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
        writing = self.main.move(old_key, new_key, record, base, left, now)
        return Writing(lambda note: self._move(old_key, new_key, record, base, left, writing, note))

    def touch(self, key: str, base: Record, touched_ms: int, now: int) -> Steps[Answer]:
        """See Driver.touch()."""
        writing = self.main.touch(key, base, touched_ms, now)
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
        answer = yield from self.main.retire(key, base, left, now, latest_use)
        if answer.outcome is Outcome.SAVED and _has_user(base):
            yield from self._listing.end([key], left)
        return answer

    def withdraw(self, key: str, record: Record) -> Steps[None]:
        """See Driver.withdraw()."""
        yield from self.main.withdraw(key, record)
        if record.user is None:
            return
        # Someone may have saved over it.
        stored = yield from self.main.get(key)
        if not isinstance(stored, Record):
            yield from self._listing.withdraw(key, self._make(key, record))

    def delete(self, key: str, left: Tombstone) -> Steps[bool | Tombstone]:
        """See Driver.delete()."""
        found = yield from self.main.delete(key, left)
        if found is True:
            yield from self._listing.end([key], left)
        return found

    def of_user(self, user_id: str, now: int, *, cursor: str = "", limit: int = 100) -> Steps[Page]:
        """See Indexed.of_user()."""
        cards, following = yield from self.notes.of_user(user_id, now, cursor=cursor, limit=limit)
        return Page((yield from self._listed(cards, is_of(user_id, now))), following)

    def delete_many(
        self, keys: Sequence[str], left: Tombstone, *, user_id: str | None = None
    ) -> Steps[list[bool | Tombstone]]:
        """See Indexed.delete_many()."""
        answers = yield from self._end_many(keys, left, user_id)
        # Another user's session has a card of its own there.
        ended = [key for key, each in zip(keys, answers, strict=True) if each is not False]
        yield from self._listing.end(ended, left, user_id)
        return answers

    def write_and_get(self, write: Steps[Result], key: str) -> Steps[tuple[Result, Stored]]:
        """See Indexed.write_and_get(); *key* is that of a note, which is read with the card's write."""
        if isinstance(write, Writing):
            return write.steps_of(key)
        return write_then_get(self.notes, write, key)

    def check(self) -> list[Problem]:
        """See Driver.check()."""
        return [*self.main.check(), *self.notes.check()]

    def close(self) -> None:
        """See Driver.close()."""
        self.main.close()
        self.notes.close()

    async def aclose(self) -> None:
        """See close()."""
        await self.main.aclose()
        await self.notes.aclose()

    def _add(self, key: str, record: Record, note: str | None) -> Steps[tuple[bool, Stored]]:
        found: Stored = None
        is_added = yield from self.main.add(key, record)
        if is_added and record.user is not None:
            found = yield from self._keep(key, record, None, note, is_required=True)
        return is_added, found

    def _replace(
        self, key: str, record: Record, base: Record, writing: Steps[Answer], note: str | None
    ) -> Steps[tuple[Answer, Stored]]:
        found: Stored = None
        is_required = begins(base, record)
        if is_required:
            yield from self._require_answer(key)
        answer = yield from writing
        if answer.outcome is Outcome.SAVED:
            if record.user is None and base.user is not None:
                yield from self._listing.withdraw(key, self._make(key, base))
            elif record.user is not None and is_due(base, record):
                found = yield from self._keep(key, record, base, note, is_required=is_required)
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
        is_required = begins(base, record)
        if is_required:
            yield from self._require_answer(new_key)
        answer = yield from writing
        if answer.outcome is not Outcome.SAVED:
            return answer, found
        if _has_user(base):
            if record.user is None:
                yield from self._listing.end([old_key], left)
            else:
                card, known = self._make(new_key, record), self._make(old_key, base)
                again = functools.partial(self._card, new_key)
                found = yield from self._listing.move(
                    old_key, new_key, card, known, again, note, is_required=is_required
                )
        elif record.user is not None:
            found = yield from self._keep(new_key, record, None, note, is_required=is_required)
        return answer, found

    def _touch(
        self, key: str, base: Record, touched_ms: int, writing: Steps[Answer], note: str | None
    ) -> Steps[tuple[Answer, Stored]]:
        found: Stored = None
        answer = yield from writing
        if answer.outcome is Outcome.SAVED and base.user is not None:
            used = touched(base, max(base.touched_ms, touched_ms))
            found = yield from self._keep(key, used, base, note)
        return answer, found

    def _require_answer(self, key: str) -> Steps[None]:
        """Raise what the listing engine raises, if it does, before a login takes the place of a session.

        The session that the client has would be gone, and the login would fail.
        """
        yield from skip_newer(key, self.notes.get(place_of(key)))

    def _keep(
        self,
        key: str,
        record: Record,
        base: Record | None,
        note: str | None,
        *,
        is_required: bool = False,
    ) -> Steps[Stored]:
        card = self._make(key, record)
        known = self._make(key, base) if _has_user(base) else None
        again = functools.partial(self._card, key)
        return self._listing.keep(key, card, known, again, note, is_required=is_required)

    def _card(self, key: str) -> Steps[Record | None]:
        """Return the card of what is stored under *key* now."""
        stored = yield from self.main.get(key)
        return self._make(key, stored) if _has_user(stored) else None

    def _records(self, cursor: str, limit: int) -> Steps[Page]:
        """See Enumerable.records(). Only users' sessions are listed."""
        cards, following = yield from self._enumerable.records(cursor, limit)
        return Page((yield from self._listed(cards, lambda _record: True)), following)

    @abstractmethod
    def _end_many(
        self, keys: Sequence[str], left: Tombstone, user_id: str | None
    ) -> Steps[list[bool | Tombstone]]:
        """See delete_many(); the cards stay."""

    @abstractmethod
    def _listed(
        self, cards: Iterable[tuple[str, Record]], is_meant: Callable[[Record], bool]
    ) -> Steps[list[tuple[str, Record]]]:
        """Return the sessions of *cards* that are meant, by storage key."""


class StoredListedDriver(ListedDriver[Batching]):
    """Lists sessions whose records a server holds: these say what a list shows.

    Args:
        main: See `ListedDriver`.
        listing: See there.
    """

    def __init__(self, main: Batching, listing: Listing) -> None:
        super().__init__(main, listing)
        if isinstance(self.notes, Purging):
            self.purge_expired = self.notes.purge_expired
            self.count_expired = self.notes.count_expired

    def _end_many(
        self, keys: Sequence[str], left: Tombstone, user_id: str | None
    ) -> Steps[list[bool | Tombstone]]:
        """See ListedDriver._end_many()."""
        return self.main.delete_many(keys, left, user_id=user_id)

    def _listed(
        self, cards: Iterable[tuple[str, Record]], is_meant: Callable[[Record], bool]
    ) -> Steps[list[tuple[str, Record]]]:
        """See ListedDriver._listed().

        It follows sessions that move meanwhile, and logins that take their place, to the new key. The
        card of the new key is written later.
        """
        found: dict[str, Record] = {}
        keys = [key for place, card in cards if (key := listed_in(place, card)) is not None]
        for _ in range(MOST_HOPS):
            if not keys:
                break
            stored = yield from self.main.get_many(keys)
            found |= {
                key: each
                for key, each in zip(keys, stored, strict=True)
                if isinstance(each, Record) and is_meant(each)
            }
            keys = [
                each.successor
                for each in stored
                if isinstance(each, Tombstone)
                and each.successor not in found
                and is_key(each.successor)
            ]
        return [*found.items()]


def unlisted(driver: Driver) -> Driver:
    """Return *driver* without the engine that lists its sessions, if there is one."""
    return driver.main if isinstance(driver, ListedDriver) else driver


def _has_user(stored: Stored) -> TypeGuard[Record]:
    return isinstance(stored, Record) and stored.user is not None
