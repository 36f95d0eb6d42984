"""The contract of a driver: records and times in, typed answers out; every verb written once.

A verb is a generator: it yields what is to be sent to a server (`Ask`), is sent the reply, and
returns a typed answer. So it is neither sync nor async: `run` and `arun` choose the end of the server
that carries it. A driver reads no settings and no clock and decides nothing. Absent, expired,
malformed and tombstone are answers; a server that can't answer is `StoreUnavailable`.

Times are milliseconds since 1970.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol, TypeGuard, TypeVar, runtime_checkable

from django_multisession.core.problems import Problem
from django_multisession.core.records import (
    MISSING,
    Answer,
    Outcome,
    Record,
    Stored,
    Tombstone,
    Unreadable,
    answer_to_delete,
    decode,
    is_tombstone,
)
from django_multisession.drivers.log_lines import SIXTY_A_MINUTE, Line
from django_multisession.exceptions import OutageKind, StoreUnavailable

security_logger = logging.getLogger("django.security.SuspiciousSession")

UNREADABLE = Line(
    security_logger, logging.WARNING, "Session record %s is unreadable: %s.", SIXTY_A_MINUTE
)

Result = TypeVar("Result")


class Server(Protocol):
    """One server, and the clients that speak to it: sync ones, and one per event loop."""

    def send(self, command: Any, /) -> Any:
        """Return the reply to *command*, within the time that one may take.

        A write whose answer was lost is sent once more.

        Raises:
            StoreUnavailable: There is none; says of which kind that is.
        """

    async def asend(self, command: Any, /) -> Any:
        """See send()."""

    def close(self) -> None:
        """Release every client, also those of running event loops. The server stays usable."""

    async def aclose(self) -> None:
        """See close(); awaits the release of the running event loop's client."""


class Ask(NamedTuple):
    """What a verb yields.

    Attributes:
        server: Whom to ask.
        verb: Of which verb it is a part.
        command: What to send.
    """

    server: Server
    verb: str
    command: Any


Steps = Generator[Ask, Any, Result]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a driver and its server can do, beside what its verbs show, as of `Enumerable`.

    Attributes:
        survives_restart: Can records outlive a restart of the server?
        saves_conditionally: Is a save compared with what it replaces, in one atomic step?
        moves_atomically: Is a move one step, and not `move_in_steps`?
        is_native_async: Do the verbs do their I/O in the event loop, and not in a thread?
        largest_record: The bytes of the largest record that the server takes; None if no session
            is too large for it.
    """

    survives_restart: bool
    saves_conditionally: bool = True
    moves_atomically: bool
    is_native_async: bool
    largest_record: int | None = None


class Driver(Protocol):
    """Stores records under storage keys.

    `django_multisession.testing.DriverContract` holds the laws below; the author of a driver runs it.

    *base* is the record, or the tombstone, that a write goes over, as it was read or written; its
    revision is compared. A driver whose server compares a token of its own puts that on each record
    that it reads (`records.found`) and finds it on *base*. A base that was written has none, and is
    read first.

    **Lost acknowledgements.** A verb that finds the revision it is writing in the stored lineage
    answers as if it had just stored it.
    """

    @property
    def capabilities(self) -> Capabilities:
        """What the driver can do."""

    @property
    def server(self) -> Server:
        """Where most of its commands go."""

    def add(self, key: str, record: Record, /) -> Steps[bool]:
        """Store *record* under *key* only if nothing is there, not even a tombstone; atomic.

        The server keeps it for `server_life(record, record.touched_ms)`: the record's own times
        count, never the server's idea of now.

        Returns:
            True if stored (now, or by an attempt whose answer was lost), False if *key* is taken.
        """

    def get(self, key: str, /) -> Steps[Stored]:
        """Return what is stored under *key*; it may have expired.

        Bytes that are no record are None, with one line on `security_logger`; nothing is deleted.

        Raises:
            StoreUnavailable: Of the kind ``UNKNOWN_FORMAT``: a newer release wrote it.
        """

    def replace(self, key: str, record: Record, base: Record, now: int, /) -> Steps[Answer]:
        """Store *record* only over *base*, while that is live at *now*. Atomic; never creates.

        An absent, expired or unreadable record is *missing*, and so is a tombstone, which is in the
        answer (CVE-2025-46336: a save brought ended sessions back). Another revision is a conflict,
        which brings the stored record. So is a stored last use later than *record*'s: a save must
        not take another request's use back.
        """

    def move(
        self,
        old_key: str,
        new_key: str,
        record: Record,
        base: Record | Tombstone,
        left: Tombstone,
        now: int,
        /,
    ) -> Steps[Answer]:
        """Do as `replace` under *old_key*, but store *record* under *new_key* and leave *left* there.

        *left* has *record*'s revision and is kept for `TOMBSTONE_TIMEOUT`. A move whose *new_key*
        is taken by anything but this very move is *missing*, and changes nothing.

        *base* may be a tombstone, which is a claim: of several writes that claim one tombstone, one
        wins. Another tombstone, or a live record, under *old_key* is then a conflict, which brings
        it; nothing there is *missing*.

        Atomic where the server can change two records at a time; elsewhere `move_in_steps`.
        """

    def touch(self, key: str, base: Record, touched_ms: int, now: int, /) -> Steps[Answer]:
        """Move the last use of *base* forward to *touched_ms*, and the server-side life with it.

        A compare-and-set, as `replace` in what it answers; payload and revisions stay as they are.
        An equal or later last use already stored is *saved*, and nothing is written. Never creates,
        never shortens.
        """

    def retire(
        self,
        key: str,
        base: Record | Tombstone,
        left: Tombstone,
        now: int,
        latest_use: int,
        /,
    ) -> Steps[Answer]:
        """Leave *left* in the place of *base* for `TOMBSTONE_TIMEOUT`, on the conditions of `move`.

        A stored last use later than *latest_use* is a conflict.
        """

    def withdraw(self, key: str, record: Record, /) -> Steps[None]:
        """Undo an `add` of *record* that no one was told of, unless someone saved over it."""

    def delete(self, key: str, left: Tombstone, /) -> Steps[bool | Tombstone]:
        """End what is stored under *key*, leaving *left* for `TOMBSTONE_TIMEOUT`.

        One round trip. Leaves nothing where nothing was: otherwise a client with correctly signed
        old cookies could fill the store.

        Returns:
            True if a record was there, readable or not, and *left* is there now (also where an
            attempt whose answer was lost left it). The tombstone that is there already, and stays
            as it is. False if nothing was there, which is not an error.
        """

    def check(self) -> list[Problem]:
        """Return what is wrong with the server or its configuration. Asks the server."""

    def close(self) -> None:
        """Release every client, also the async ones of running event loops. The driver stays usable."""

    async def aclose(self) -> None:
        """See close(); awaits the release of the running event loop's client."""


@runtime_checkable
class Purging(Protocol):
    """A driver whose server leaves expired records to a purge."""

    def purge_expired(self, now: int, limit: int, /) -> Steps[int]:
        """Remove at most *limit* records that expired more than `EXPIRY_SLACK` before *now*.

        Each is compared again as it is deleted, so that a touch in between saves it.

        Returns:
            How many went: fewer than *limit* only if none is left.
        """

    def count_expired(self, now: int, /) -> Steps[int]:
        """Return how many records `purge_expired` would remove at *now*; removes none.

        Not for requests: it may take a server as long as there are records to count.
        """


class Page(NamedTuple):
    """A part of what a driver holds.

    Attributes:
        records: By storage key. A page may hold none, and more may follow.
        cursor: Where the next page begins; empty behind the last one.
    """

    records: list[tuple[str, Record]]
    cursor: str


@runtime_checkable
class Enumerable(Protocol):
    """A driver that lists what it holds."""

    def records(self, cursor: str, limit: int, /) -> Steps[Page]:
        """Return a page of about *limit* records from *cursor* on, which is empty at first.

        A record that is there from the first page to the last is in one of them, or in several;
        what is written meanwhile may be missing. Records may have expired. Tombstones are left out,
        and so is what this process can't read.
        """


@runtime_checkable
class Indexed(Protocol):
    """A driver that finds the sessions of one user."""

    def of_user(
        self, user_id: str, now: int, /, *, cursor: str = "", limit: int = 100
    ) -> Steps[Page]:
        """Return one page of the records of *user_id* that are live at *now*: about *limit* of them.

        The pages hold every record that was there from the first one to the last one, some perhaps
        twice. A page may be empty and have another one behind it.

        A hint: the caller checks each record's signature, and with it the user. What this process
        can't read isn't listed.
        """

    def delete_many(
        self, keys: Sequence[str], left: Tombstone, /, *, user_id: str | None = None
    ) -> Steps[list[bool | Tombstone]]:
        """Do as `delete` under each of *keys*, in as few round trips as the server can.

        With *user_id* only a record of that user is ended: another record may lie under a key since
        it was listed. What isn't ended stays as it is, and the answer is False or its tombstone.

        Returns:
            What `delete` answers, for each of *keys* in their order. Without an answer some may have
            been ended; where the same *left* is sent again, these are True too.
        """

    def write_and_get(self, write: Steps[Result], key: str, /) -> Steps[tuple[Result, Stored]]:
        """Carry out *write*, a verb of this driver that stores a record of a user, then `get` *key*.

        In one round trip where the server can. What lies under *key* may be left out where nothing
        was written, or nothing new of the session's user and times, and is None where a newer release
        wrote it: what became of *write* is returned.

        A driver that keeps notes on users elsewhere has the driver that keeps them as its attribute
        ``notes``. *key* is one of that driver then.
        """


class IndexedDriver(Driver, Indexed, Protocol):
    """A driver that finds the sessions of a user."""


def is_indexed(driver: Driver) -> TypeGuard[IndexedDriver]:
    """Does *driver* find the sessions of a user?

    Every login asks. `isinstance` would collect the protocol's verbs each time.
    """
    return hasattr(driver, "of_user")


def lasting(driver: Driver) -> Driver:
    """Return *driver* for writes that hold although a transaction around them is rolled back.

    Such a driver has its counterpart for these as its attribute ``lasting``. It sends them again.
    """
    found: Driver = getattr(driver, "lasting", driver)
    return found


def write_then_get(driver: Driver, write: Steps[Result], key: str) -> Steps[tuple[Result, Stored]]:
    """Do as `Indexed.write_and_get` for a server that takes one command after the other."""
    result = yield from write
    return result, (yield from skip_newer(key, driver.get(key)))


def skip_newer(key: str, verb: Steps[Result]) -> Steps[Result | None]:
    """Carry out *verb*; None, with one line in the log, where a newer release wrote what is under *key*.

    For what a login looks at but doesn't need: it must not fail at that.
    """
    try:
        return (yield from verb)
    except StoreUnavailable as problem:
        if problem.kind is not OutageKind.UNKNOWN_FORMAT:
            raise
        log_unreadable(key, problem)
        return None


def run(steps: Steps[Result]) -> Result:
    """Carry out a verb by the sync ends of its servers."""
    replies: list[Any] = []  # no name: error pages show what frames hold
    try:
        ask = next(steps)
        while True:
            try:
                replies.append(ask.server.send(ask.command))
            except BaseException as error:  # noqa: BLE001  (raised in the verb)
                ask = steps.throw(error)
            else:
                ask = steps.send(replies.pop())
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]  # typeshed has no generic StopIteration


async def arun(steps: Steps[Result]) -> Result:
    """See run(); by the async ends."""
    replies: list[Any] = []  # no name: error pages show what frames hold
    try:
        ask = next(steps)
        while True:
            try:
                replies.append(await ask.server.asend(ask.command))
            except BaseException as error:  # noqa: BLE001  (raised in the verb)
                ask = steps.throw(error)
            else:
                ask = steps.send(replies.pop())
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]  # as above


def move_in_steps(
    driver: Driver,
    old_key: str,
    new_key: str,
    record: Record,
    base: Record | Tombstone,
    left: Tombstone,
    now: int,
) -> Steps[Answer]:
    """Do as `Driver.move` for a server that changes one record at a time.

    A client that got neither key loses nothing if the server stops in between.
    """
    is_added = yield from driver.add(new_key, record)
    if not is_added:
        stored = yield from driver.get(old_key)
        is_done = isinstance(stored, Tombstone) and stored.revision == left.revision
        return Answer(Outcome.SAVED) if is_done else MISSING
    try:
        answer = yield from driver.retire(old_key, base, left, now, record.touched_ms)
    except StoreUnavailable as error:
        # A lost answer leaves the new record where it is: the client may get its key yet.
        if error.kind is OutageKind.UNKNOWN_FORMAT:
            yield from driver.withdraw(new_key, record)
        raise
    if answer.outcome is not Outcome.SAVED:
        yield from driver.withdraw(new_key, record)
    return answer


def read(key: str, raw: bytes | None) -> Stored:
    """Return what *raw*, found under *key*, is; None, with one line in the log, where it is neither.

    Raises:
        StoreUnavailable: See `records.decode`.
    """
    if raw is None:
        return None
    try:
        return decode(raw)
    except Unreadable as problem:
        log_unreadable(key, problem)
        return None


def read_known(key: str, raw: bytes | None) -> Stored:
    """Do as `read`, but with None, and one line in the log, for what a newer release wrote."""
    try:
        return read(key, raw)
    except StoreUnavailable as problem:
        log_unreadable(key, problem)
        return None


def page_of(
    found: Iterable[tuple[str, bytes | None]],
    cursor: str,
    is_listed: Callable[[Record], bool] = lambda _record: True,
) -> Page:
    """Return the page of the records that *found* holds, each by its storage key.

    A record of a newer release is left out, with one line in the log: it must not hide the others.
    """
    records = []
    for key, raw in found:
        stored = read_known(key, raw)
        if isinstance(stored, Record) and is_listed(stored):
            records.append((key, stored))
    return Page(records, cursor)


def answer_in_batch(key: str, raw: bytes | None, left: Tombstone) -> bool | Tombstone:
    """Return the answer of `Indexed.delete_many` for *key*, where *raw* lies after it.

    A tombstone of a newer release isn't followed: it must not hide what became of the others.
    """
    if raw is None or not is_tombstone(raw):
        return False
    return answer_to_delete(read_known(key, raw), left)


def batches(keys: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """Yield *keys* in parts of at most *size*."""
    return (keys[start : start + size] for start in range(0, len(keys), size))


def is_of(user_id: str, now: int) -> Callable[[Record], bool]:
    """Return whether a record is of *user_id* and live at *now*, as a function of the record."""
    return lambda record: record.user_id == user_id and record.is_live(now)


def log_unreadable(key: str, problem: object) -> None:
    """Write the line that an unreadable record gets; *key* is a storage key, not a secret."""
    UNREADABLE.write(key, problem)
