"""Ends of sessions that no server holds, kept in an engine that has one.

A session in a cookie is its client's to copy. That it was ended is therefore kept for as long as a copy
could live: as a record without a user, whose payload is the tombstone. For a minute it is read as the
tombstone, and then as nothing, like the tombstone of any engine.
"""

from __future__ import annotations

from collections.abc import Callable

from django_multisession.core.problems import Problem, Severity
from django_multisession.core.records import (
    MISSING,
    NEVER,
    TOMBSTONE_MS,
    Answer,
    Facts,
    Outcome,
    Reason,
    Record,
    Stored,
    Tombstone,
    Unreadable,
    answer_to_retire,
    assemble,
    decode,
    encode_signed,
)
from django_multisession.drivers.base import Driver, Purging, Steps, lasting

#: Nothing in it is secret, and a writer in the store could as well remove it.
_NOT_SIGNED = bytes(32)
_NO_KEY = bytes(4)

#: What `check --deploy` finds where there are none.
LOSES_ENDS = Problem(
    "multisession.W118",
    "The engine that MULTISESSION_COOKIE names loses the ends of sessions when its server restarts. A copy "
    "of a session's cookie is valid again then.",
    'MULTISESSION_COOKIE = {"REVOCATION": "django_multisession.engines.redis"}',
    Severity.WARNING,
)
NO_REVOCATION = Problem(
    "multisession.W119",
    "MULTISESSION_COOKIE names no engine that keeps the ends of sessions. A copy of a session's "
    "cookie stays valid after a logout.",
    'MULTISESSION_COOKIE = {"REVOCATION": "django_multisession.engines.redis"}',
    Severity.WARNING,
)


class Revocations:
    """Finds, leaves and claims tombstones in the records of *open_driver*'s driver.

    Args:
        open_driver: Returns the driver of the engine that keeps them, which may be another one after
            its settings changed.
        clock: Seconds since 1970.
        longest: Returns for how many milliseconds a session may live after its start.
    """

    def __init__(
        self,
        open_driver: Callable[[], Driver],
        clock: Callable[[], float],
        longest: Callable[[], int],
    ) -> None:
        self.open_driver = open_driver
        self._clock = clock
        self._longest = longest

    def until(self, *copies: Record) -> int:
        """Return until when *copies* of a session, and others of it, are worth something.

        Another copy may have been given a longer life, by ``set_expiry()`` for example.
        """
        now = self._now()
        ends = (
            copy.deadline_ms if copy.deadline_ms < NEVER else min(now + copy.idle_ms, NEVER)
            for copy in copies
        )
        return max(*ends, *(copy.began_ms + self._longest() for copy in copies))

    def find(self, key: str) -> Steps[tuple[Stored, Tombstone | None]]:
        """Return what says that *key* was ended, and its tombstone for as long as one is shown."""
        entry = yield from self.open_driver().get(key)
        if not isinstance(entry, Record):
            return entry, entry
        if entry.created_ms + TOMBSTONE_MS <= self._now():
            return entry, None
        return entry, _tombstone_in(entry)

    def leave(self, key: str, left: Tombstone, until: int) -> Steps[bool]:
        """Note that *key* was ended, until a copy of it is worth nothing; False: it was already."""
        driver = lasting(self.open_driver())
        return (yield from driver.add(key, _entry(left, self._now(), until)))

    def claim(self, key: str, base: Tombstone, left: Tombstone, now: int) -> Steps[Answer | None]:
        """Leave *left* in place of the tombstone *base*, as `Driver.retire`; None: *key* wasn't ended."""
        entry, found = yield from self.find(key)
        if entry is None:
            return None
        answer = answer_to_retire(found, base, left, now)
        if answer is not None:
            return answer
        driver = lasting(self.open_driver())
        if isinstance(entry, Tombstone):
            return (yield from driver.retire(key, entry, left, now, NEVER))
        at = max(self._now(), entry.touched_ms)
        answer = yield from driver.replace(key, _entry(left, at, entry.deadline_ms), entry, now)
        if answer.outcome is Outcome.SAVED:
            return answer
        _, found = yield from self.find(key)
        return MISSING if found is None else Answer(Outcome.CONFLICT, found)

    def purge_expired(self, now: int, limit: int) -> Steps[int]:
        """See Purging.purge_expired()."""
        driver = self.open_driver()
        if not isinstance(driver, Purging):
            return 0
        return (yield from driver.purge_expired(now, limit))

    def count_expired(self, now: int) -> Steps[int]:
        """See Purging.count_expired()."""
        driver = self.open_driver()
        return (yield from driver.count_expired(now)) if isinstance(driver, Purging) else 0

    def _now(self) -> int:
        return int(self._clock() * 1000)


def _entry(left: Tombstone, at: int, until: int) -> Record:
    facts = Facts(at, at, at, NEVER, until)
    return assemble(facts, _NOT_SIGNED, encode_signed(facts, left.raw, _NO_KEY))


def _tombstone_in(entry: Record) -> Tombstone:
    try:
        found = decode(entry.payload)
    except Unreadable:
        found = None
    # Whatever it holds, it says that the session was ended.
    return found if isinstance(found, Tombstone) else Tombstone(entry.revision, Reason.ENDED)
