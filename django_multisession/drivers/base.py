"""The contract of a driver: bytes and times in, typed answers out.

A driver reads no settings and no clock and decides nothing. Absent, expired, malformed and
tombstone are answers; a server that cannot answer is `StoreUnavailable`. Every verb has an a-twin
that does its I/O natively, and is one round trip where the server can.
"""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Protocol

from django.core.checks import CheckMessage

from django_multisession.core.records import Answer, Record, Stored, Tombstone

security_logger = logging.getLogger("django.security.SuspiciousSession")


class Driver(Protocol):
    """Stores records under storage keys.

    `django_multisession.testing.DriverContract` holds the laws below; whoever writes a driver runs it.

    *base* is the record that a write goes over, as it was read or written; its revision is compared.

    **Lost acknowledgements.** A write whose answer was lost is sent once more. A verb that finds
    the revision it is writing among the stored ones answers as if it had just stored it.
    """

    #: Does the server remove expired records by itself?
    has_native_expiry: bool

    def add(self, key: str, record: Record) -> bool:
        """Store *record* under *key* only if nothing is there, not even a tombstone; atomic.

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

    def replace(self, key: str, record: Record, base: Record, now: datetime) -> Answer:
        """Store *record* only over *base*, while that is live at *now*. Atomic; never creates.

        An absent, expired or unreadable record is *missing*, and so is a tombstone, which is in the
        answer (CVE-2025-46336: a save brought ended sessions back). Another revision is a conflict,
        which brings the stored record. So is a stored last use later than *record*'s: a save must
        not take another request's use back.
        """

    async def areplace(self, key: str, record: Record, base: Record, now: datetime) -> Answer:
        """See replace()."""

    def move(
        self,
        old_key: str,
        new_key: str,
        record: Record,
        base: Record | Tombstone,
        left: Tombstone,
        now: datetime,
    ) -> Answer:
        """Do as `replace` under *old_key*, but store *record* under *new_key* and leave *left* there.

        *left* has *record*'s revision and is kept for `TOMBSTONE_TIMEOUT`. A move whose *new_key*
        is taken by anything but this very move is *missing*, and changes nothing.

        *base* may be a tombstone, which is a claim: of several writes that claim one tombstone, one
        wins. Another tombstone, or a live record, under *old_key* is then a conflict, which brings
        it; nothing there is *missing*.

        Atomic where the server can change two records at a time. Where it cannot: add the new
        record, leave the tombstone on the same conditions, and delete the new record if they do
        not hold; its key has not been sent to any client.
        """

    async def amove(
        self,
        old_key: str,
        new_key: str,
        record: Record,
        base: Record | Tombstone,
        left: Tombstone,
        now: datetime,
    ) -> Answer:
        """See move()."""

    def touch(self, key: str, base: Record, touched_at: datetime, now: datetime) -> Answer:
        """Move the last use of *base* forward to *touched_at*, and the server-side life with it.

        A compare-and-set, as `replace` in what it answers; payload and revisions stay as they are.
        An equal or later last use already stored is *saved*, and nothing is written. Never creates,
        never shortens.
        """

    async def atouch(self, key: str, base: Record, touched_at: datetime, now: datetime) -> Answer:
        """See touch()."""

    def delete(self, key: str, left: Tombstone) -> bool | Tombstone:
        """End what is stored under *key*, leaving *left* for `TOMBSTONE_TIMEOUT`.

        One round trip. Leaves nothing where nothing was: otherwise a client with correctly signed
        old cookies could fill the store.

        Returns:
            True if a record was there, readable or not, and *left* is there now (also where an
            attempt whose answer was lost left it). The tombstone that is there already, and stays
            as it is. False if nothing was there, which is not an error.
        """

    async def adelete(self, key: str, left: Tombstone) -> bool | Tombstone:
        """See delete()."""

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
