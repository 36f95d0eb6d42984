"""The contract of a driver: bytes and times in, typed answers out.

A driver reads no settings and no clock and decides nothing. Absent, expired, malformed and retired
are answers; a server that cannot answer is `StoreUnavailable`. Every verb has an a-twin that does
its I/O natively, and is one round trip where the server can.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Protocol

from django.core.checks import CheckMessage

from django_multisession.records import Answer, Record, Stored

security_logger = logging.getLogger("django.security.SuspiciousSession")


class Driver(Protocol):
    """Stores records under storage keys.

    `django_multisession.testing.DriverContract` holds the laws below; whoever writes a driver runs it.

    **Lost acknowledgements.** A write whose answer was lost is sent once more. A verb that finds
    the revision it is writing among the stored ones answers as if it had just stored it.
    """

    #: Does the server remove expired records by itself?
    has_native_expiry: bool

    def add(self, key: str, record: Record) -> bool:
        """Store *record* under *key* only if nothing is there, not even a retired record; atomic.

        The server keeps it for `server_life(record, record.touched_at)`: the record's own times
        count, never the server's idea of now.

        Returns:
            True if stored (now, or by an attempt whose answer was lost), False if *key* is taken.
        """

    async def aadd(self, key: str, record: Record) -> bool:
        """See add()."""

    def get(self, key: str) -> Stored:
        """Return what is stored under *key*; it may have expired.

        Bytes that are no record are None, with one line on `security_logger`; nothing is deleted.
        """

    async def aget(self, key: str) -> Stored:
        """See get()."""

    def replace(self, key: str, record: Record, expected: str, now: datetime) -> Answer:
        """Store *record* only over a record that is live at *now* and whose revision is *expected*.

        Atomic. Never creates: an absent, expired, retired or unreadable record is *missing*
        (CVE-2025-46336: a save brought ended sessions back). A conflict brings the stored record.
        """

    async def areplace(self, key: str, record: Record, expected: str, now: datetime) -> Answer:
        """See replace()."""

    def move(
        self,
        old_key: str,
        new_key: str,
        record: Record,
        expected: str,
        now: datetime,
        forward: bytes = b"",
    ) -> Answer:
        """Do as `replace` under *old_key*, but store *record* under *new_key* and retire *old_key*.

        Not where something lies under *new_key* already, unless this very move put it there.
        Atomic where the server can change two records at once. Where it cannot: add the new one,
        retire the old one on the same conditions, and on a conflict or a missing one delete the
        new one; nobody has been told its key. The retired record remembers *record*'s revision and
        *forward*, and is kept for `retired_life(record, now, forward)`.
        """

    async def amove(
        self,
        old_key: str,
        new_key: str,
        record: Record,
        expected: str,
        now: datetime,
        forward: bytes = b"",
    ) -> Answer:
        """See move()."""

    def touch(self, key: str, touched_at: datetime, now: datetime) -> bool:
        """Move the last use of a live record to the later of the stored time and *touched_at*.

        Payload and revisions stay as they are. Never creates, never shortens.

        Returns:
            True if a live record is there, False if it is absent, expired, retired or unreadable.
        """

    async def atouch(self, key: str, touched_at: datetime, now: datetime) -> bool:
        """See touch()."""

    def delete(self, key: str) -> bool:
        """End what is stored under *key*, leaving a retired record for `RETIRED_TIMEOUT`.

        One round trip. Leaves nothing where nothing was: otherwise anybody with well-signed old
        cookies could fill the store.

        Returns:
            True if a record was there; False if not, which is no error.
        """

    async def adelete(self, key: str) -> bool:
        """See delete()."""

    def forget(self, key: str, life: timedelta) -> None:
        """Let a retired record go after *life* from now, if it would stay longer.

        For those that lead on to another key: once the client has that, they are kept only to
        notice who comes with the old one. Anything else under *key* stays as it is.
        """

    async def aforget(self, key: str, life: timedelta) -> None:
        """See forget()."""

    def purge_expired(self, now: datetime, limit: int) -> int:
        """Remove at most *limit* records that expired more than `EXPIRY_SLACK` before *now*.

        Each is compared again as it is deleted, so that a touch in between saves it.

        Returns:
            How many went: fewer than *limit* only if none is left. 0 where nothing is left to a
            purge, because the server expires every record by itself.
        """

    async def apurge_expired(self, now: datetime, limit: int) -> int:
        """See purge_expired()."""

    def count_expired(self, now: datetime) -> int:
        """Return how many records `purge_expired` would remove at *now*; removes none.

        Not for requests: it may take a server as long as there are records to count.
        """

    async def acount_expired(self, now: datetime) -> int:
        """See count_expired()."""

    def check(self) -> list[CheckMessage]:
        """Return what is wrong with the server or its configuration. Asks the server."""

    def close(self) -> None:
        """Release every client, also the async ones of running event loops. The driver stays usable."""

    async def aclose(self) -> None:
        """See close(); awaits the release of the running event loop's client."""


def log_unreadable(key: str, problem: object) -> None:
    """Write the one line that an unreadable record gets; *key* is a storage key, not a secret."""
    security_logger.warning("Session record %s is unreadable: %s.", key, problem)
