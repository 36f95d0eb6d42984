"""Sessions in cookies whose ends are shared: one that a request ends is missing in every other."""

from __future__ import annotations

from collections.abc import Callable

from django_multisession.core.problems import Problem
from django_multisession.core.records import (
    MISSING,
    NEVER,
    SAVED,
    Answer,
    Outcome,
    Record,
    Stored,
    Tombstone,
    answer_to_delete,
    answer_to_retire,
)
from django_multisession.drivers.base import Steps
from django_multisession.drivers.cookie.driver import CookieDriver
from django_multisession.drivers.cookie.jar import Jar, Move
from django_multisession.drivers.cookie.revocations import LOSES_ENDS, Revocations
from django_multisession.exceptions import StoreUnavailable


class RevocableDriver(CookieDriver):
    """Stores records in the jar of one request, and ends beside it.

    Args:
        clock: Seconds since 1970.
        revocations: Where ends are kept.
        jar: See `CookieDriver`.
    """

    def __init__(
        self, clock: Callable[[], float], revocations: Revocations, jar: Jar | None = None
    ) -> None:
        super().__init__(clock, jar)
        self._revocations = revocations

    def over(self, jar: Jar) -> RevocableDriver:
        """See CookieDriver.over()."""
        return RevocableDriver(self._clock, self._revocations, jar)

    def get(self, key: str) -> Steps[Stored]:
        """See Driver.get()."""
        entry, left = yield from self._revocations.find(key)
        if entry is not None:
            return left
        if (move := self.server.moves.get(key)) is not None:
            _, left = yield from self._revocations.find(move.old_key)
            if left is not None and left.revision == move.left.revision:
                self.server.make(move, key)
            self.server.moves.pop(key, None)
        return (yield from super().get(key))

    def replace(self, key: str, record: Record, base: Record, now: int) -> Steps[Answer]:
        """See Driver.replace()."""
        ended = yield from self._ended(key)
        return ended or (yield from super().replace(key, record, base, now))

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
        jar = self.server
        if new_key in jar.slots:
            return (yield from super().move(old_key, new_key, record, base, left, now))
        # Noted before it is sent: should the answer be lost, get() finds out.
        move = jar.moves[new_key] = Move(old_key, left, record)
        jar.ends[new_key] = until = self._revocations.until(record)
        answer = yield from self._leave(old_key, base, left, now, record.touched_ms, until)
        jar.moves.pop(new_key, None)
        if answer.outcome is Outcome.SAVED:
            jar.make(move, new_key)
        return answer

    def touch(self, key: str, base: Record, touched_ms: int, now: int) -> Steps[Answer]:
        """See Driver.touch()."""
        ended = yield from self._ended(key)
        return ended or (yield from super().touch(key, base, touched_ms, now))

    def retire(
        self,
        key: str,
        base: Record | Tombstone,
        left: Tombstone,
        now: int,
        latest_use: int,
    ) -> Steps[Answer]:
        """See Driver.retire()."""
        answer = yield from self._leave(key, base, left, now, latest_use)
        if answer.outcome is Outcome.SAVED:
            self.server.delete(key, left)
        return answer

    def delete(self, key: str, left: Tombstone) -> Steps[bool | Tombstone]:
        """See Driver.delete(). A session that isn't in the jar is known from its move."""
        revocations = self._revocations
        until = self._until(key)
        if until is not None and (yield from revocations.leave(key, left, until)):
            self.server.delete(key, left)
            return True
        entry, found = yield from revocations.find(key)
        if found is not None and found.successor and isinstance(entry, Record):
            self.server.ends[found.successor] = entry.deadline_ms
        return answer_to_delete(found, left)

    def note_copy(self, key: str, copy: Record) -> None:
        """Note for how long an end of *key* is to be known: another client holds *copy*, or more."""
        self.server.ends[key] = self._revocations.until(copy)

    def keeps_ends_in(self, kind: type) -> bool:
        """Are the ends kept by a driver of *kind*?"""
        return type(self._revocations.open_driver()) is kind

    def purge_expired(self, now: int, limit: int) -> Steps[int]:
        """See Purging.purge_expired()."""
        gone = yield from super().purge_expired(now, limit)
        if gone < limit:
            gone += yield from self._revocations.purge_expired(now, limit - gone)
        return gone

    def count_expired(self, now: int) -> Steps[int]:
        """See Purging.count_expired()."""
        count = yield from super().count_expired(now)
        return count + (yield from self._revocations.count_expired(now))

    def check(self) -> list[Problem]:
        """See Driver.check()."""
        keeping = self._revocations.open_driver()
        lost = [] if keeping.capabilities.survives_restart else [LOSES_ENDS]
        return [*lost, *keeping.check()]

    def _ended(self, key: str) -> Steps[Answer | None]:
        entry, left = yield from self._revocations.find(key)
        return None if entry is None else Answer(Outcome.MISSING, left)

    def _leave(
        self,
        key: str,
        base: Record | Tombstone,
        left: Tombstone,
        now: int,
        latest_use: int,
        least_until: int = 0,
    ) -> Steps[Answer]:
        """Leave *left* among the revocations; the jar is left to the caller."""
        revocations = self._revocations
        answer = answer_to_retire(self.server.get(key), base, left, now, latest_use)
        if isinstance(base, Tombstone):
            claimed = yield from revocations.claim(key, base, left, now)
            return claimed or answer or MISSING
        # Also for as long as what the session becomes: an end of that begins here.
        until = max(revocations.until(base), least_until)
        if answer is None and (yield from revocations.leave(key, left, until)):
            return SAVED
        entry, found = yield from revocations.find(key)
        if answer is not None and entry is None:
            return answer
        is_done = found is not None and found.revision == left.revision
        return SAVED if is_done else Answer(Outcome.MISSING, found)

    def _until(self, key: str) -> int | None:
        """Return until when an end of *key* is to be known; None: the jar knows no such session."""
        if self.server.raw(key) is None:
            return self.server.ends.get(key)
        try:
            held = self.server.get(key)
        except StoreUnavailable:
            held = None  # it is of a newer release
        return self._revocations.until(held) if isinstance(held, Record) else NEVER
