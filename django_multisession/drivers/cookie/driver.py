"""Sessions in cookies: each client keeps its records, and a request knows those that came with it.

What came with a request, and what its response takes along, is its *jar*: a server of records for as
long as the request lasts. Of two requests at the same time each has a jar of its own, so neither finds
what the other one saves. Ends are shared where an engine for `Revocations` is named: a session that one
request ends is missing in every other.
"""

from __future__ import annotations

from collections.abc import Callable

from django.core.exceptions import ImproperlyConfigured

from django_multisession.core import encryption
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
from django_multisession.drivers.base import Capabilities, Steps
from django_multisession.drivers.cookie.jar import Jar, Move
from django_multisession.drivers.cookie.revocations import LOSES_ENDS, NO_REVOCATION, Revocations
from django_multisession.drivers.memory import MemoryDriver
from django_multisession.exceptions import StoreUnavailable

try:
    encryption.require_library()
except ImportError as error:
    raise ImproperlyConfigured("Install django-multisession[cookie] to use this engine.") from error


class CookieDriver(MemoryDriver):
    """Stores records in the jar of one request, and ends beside it.

    Args:
        clock: Seconds since 1970.
        revocations: Where ends are kept; None: in the jar alone.
        jar: What is stored in; an empty one by default.
    """

    #: Of what a client holds, and not of the jar: two requests' saves don't meet.
    capabilities = Capabilities(
        survives_restart=True,
        saves_conditionally=False,
        moves_atomically=False,
        is_native_async=True,
    )
    server: Jar
    #: Clients hold the records.
    records = None  # type: ignore[assignment]  # a jar can list its own, which no one asks for

    def __init__(
        self,
        clock: Callable[[], float],
        revocations: Revocations | None = None,
        jar: Jar | None = None,
    ) -> None:
        self.server = Jar(clock) if jar is None else jar
        self._clock = clock
        self._revocations = revocations

    def over(self, jar: Jar) -> CookieDriver:
        """Return this driver over *jar*."""
        return CookieDriver(self._clock, self._revocations, jar)

    def get(self, key: str) -> Steps[Stored]:
        """See Driver.get()."""
        if (revocations := self._revocations) is not None:
            entry, left = yield from revocations.find(key)
            if entry is not None:
                return left
            if (move := self.server.moves.get(key)) is not None:
                _, left = yield from revocations.find(move.old_key)
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
        revocations, jar = self._revocations, self.server
        if revocations is None or new_key in jar.slots:
            return (yield from super().move(old_key, new_key, record, base, left, now))
        # Noted before it is sent: should the answer be lost, get() finds out.
        move = jar.moves[new_key] = Move(old_key, left, record)
        jar.ends[new_key] = until = revocations.until(record)
        answer = yield from self._leave(
            revocations, old_key, base, left, now, record.touched_ms, until
        )
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
        if self._revocations is None:
            return (yield from super().retire(key, base, left, now, latest_use))
        answer = yield from self._leave(self._revocations, key, base, left, now, latest_use)
        if answer.outcome is Outcome.SAVED:
            self.server.delete(key, left)
        return answer

    def delete(self, key: str, left: Tombstone) -> Steps[bool | Tombstone]:
        """See Driver.delete(). A session that isn't in the jar is known from its move."""
        revocations = self._revocations
        if revocations is None:
            return (yield from super().delete(key, left))
        until = self._until(revocations, key)
        if until is not None and (yield from revocations.leave(key, left, until)):
            self.server.delete(key, left)
            return True
        entry, found = yield from revocations.find(key)
        if found is not None and found.successor and isinstance(entry, Record):
            self.server.ends[found.successor] = entry.deadline_ms
        return answer_to_delete(found, left)

    def purge_expired(self, now: int, limit: int) -> Steps[int]:
        """See Purging.purge_expired()."""
        gone = yield from super().purge_expired(now, limit)
        if self._revocations is not None and gone < limit:
            gone += yield from self._revocations.purge_expired(now, limit - gone)
        return gone

    def count_expired(self, now: int) -> Steps[int]:
        """See Purging.count_expired()."""
        count = yield from super().count_expired(now)
        if self._revocations is not None:
            count += yield from self._revocations.count_expired(now)
        return count

    def check(self) -> list[Problem]:
        """See Driver.check()."""
        if self._revocations is None:
            return [NO_REVOCATION]
        keeping = self._revocations.open_driver()
        lost = [] if keeping.capabilities.survives_restart else [LOSES_ENDS]
        return [*lost, *keeping.check()]

    def _ended(self, key: str) -> Steps[Answer | None]:
        if self._revocations is None:
            return None
        entry, left = yield from self._revocations.find(key)
        return None if entry is None else Answer(Outcome.MISSING, left)

    def _leave(
        self,
        revocations: Revocations,
        key: str,
        base: Record | Tombstone,
        left: Tombstone,
        now: int,
        latest_use: int,
        least_until: int = 0,
    ) -> Steps[Answer]:
        """Leave *left* among *revocations*; the jar is left to the caller."""
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

    def _until(self, revocations: Revocations, key: str) -> int | None:
        """Return until when an end of *key* is to be known; None: the jar knows no such session."""
        if self.server.raw(key) is None:
            return self.server.ends.get(key)
        try:
            held = self.server.get(key)
        except StoreUnavailable:
            held = None  # it is of a newer release
        return revocations.until(held) if isinstance(held, Record) else NEVER
