"""What a request knows of its session, as one value. Start here.

::

    Unread ──read──▶ New          there is no record; a save adds one
                 ├─▶ Stored       the record was read, or written
                 ├─▶ Ended        it was ended or moved; nothing brings it back
                 └─▶ Unreachable  the server did not answer; it is asked again after a while

Every state is frozen, and `Session.state` is the only place where one is kept. A step decides on a
state, does its I/O, and goes on only if the session is still in that state: another coroutine of the
request may have been faster, as another process may have been faster at the server.

Nothing here does I/O.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import Any, NamedTuple

from django.dispatch import Signal

from django_multisession import signals
from django_multisession.core.devices import ADDRESS_ENTRY, USER_AGENT_ENTRY
from django_multisession.core.entries import Entries
from django_multisession.core.keys import Verified
from django_multisession.core.limits import Admission
from django_multisession.core.merging import USER_ID_ENTRY, changed_names
from django_multisession.core.records import (
    REVISIONS_KEPT,
    TOMBSTONE_MS,
    Reason,
    Record,
    Tombstone,
)
from django_multisession.core.secret import SecretBytes
from django_multisession.core.values import PLAIN_TYPES
from django_multisession.exceptions import BadPayload, EntryNotSerializable, StoreUnavailable
from django_multisession.session import events
from django_multisession.session.events import Event, Login
from django_multisession.session.site import Site

#: How long a server that did not answer is not asked again by the same session: a page that uses
#: its session in ten places, and the error page behind it, wait once. A socket's session lives longer.
OUTAGE_PATIENCE_MS = 5_000
#: How long a cookie is set on credit after the server last confirmed the session: a response is
#: under way that long anyway.
RESPONSE_TIME_MS = 1_000


class Snapshot(NamedTuple):
    """A record as this request last read or wrote it.

    Attributes:
        key: The key it lies under.
        record: What the server holds.
        body: Its serialized entries.
        touch_due_ms: When the next use is worth a write.
        by_fallback: Was it signed with another secret than the current one?
    """

    key: Verified
    record: Record
    body: SecretBytes
    touch_due_ms: int
    by_fallback: bool = False


class Sent(NamedTuple):
    """A write that is under way, or whose answer did not arrive.

    Attributes:
        composed: What it stores.
        base: What it is written over; None for a new record.
        clock: Which writes of the request's entries it covers.
        is_login: Does it begin a user's session?
    """

    composed: Snapshot
    base: Snapshot | None
    clock: int
    is_login: bool = False

    @property
    def is_move(self) -> bool:
        """Does it store the session under another key than the one it lies under?"""
        return self.base is not None and self.composed.key.storage_key != self.base.key.storage_key

    @property
    def is_authentication(self) -> bool:
        """Does it note that the user of a session proved again who they are?"""
        if self.base is None or self.is_login:
            return False
        return self.composed.record.authenticated_ms != self.base.record.authenticated_ms

    @property
    def left(self) -> Tombstone:
        """The tombstone that it leaves where the session was, if it moves or claims one."""
        reason = Reason.LOGIN if self.is_login else Reason.MOVED
        return Tombstone(self.composed.record.revision, reason, self.composed.key.storage_key)


class Unread(NamedTuple):
    """The keys that the client sent and this site signed, in the client's order."""

    keys: tuple[Verified, ...]


class Ended(NamedTuple):
    """The session was ended or moved. Its cookie is kept: a newer login's may be on its way.

    Attributes:
        key: The key that the client came with. A later end follows it.
        place: Storage key under which the tombstone lies: where a move led to, or *key*'s.
        tombstone: What lies there, if anything does.
        allows_write: May any write begin its successor? Otherwise only a login may.
        snapshot: What the request read before the end: what its entries are compared with.
        others: Further keys that the client sent.
        is_unknown: Did the engine that the site left give no answer? The session may live there, so
            a write that begins none by a login is refused as in an outage.
    """

    key: Verified
    place: str
    tombstone: Tombstone | None = None
    allows_write: bool = False
    snapshot: Snapshot | None = None
    others: tuple[Verified, ...] = ()
    is_unknown: bool = False


class New(NamedTuple):
    """There is no record.

    Attributes:
        key: A key that was given already; without one the save makes one.
        after: The ended session that this one is the successor of.
        sent: Adds whose answers did not arrive.
    """

    key: Verified | None = None
    after: Ended | None = None
    sent: tuple[Sent, ...] = ()


class Stored(NamedTuple):
    """A record.

    Attributes:
        snapshot: What a save is written over.
        key: The session's key. While it differs from the record's, a move waits for the save.
        earlier: What this request knows to have been stored before, newest first: what a merge may
            begin from.
        sent: Writes whose answers did not arrive, newest first.
        confirmed_at: When the server last confirmed the session in this request.
        has_written: Did this request store it, so that its cookie is to be set?
        others: Further keys that the client sent.
    """

    snapshot: Snapshot
    key: Verified
    earlier: tuple[Snapshot, ...] = ()
    sent: tuple[Sent, ...] = ()
    confirmed_at: int | None = None
    has_written: bool = False
    others: tuple[Verified, ...] = ()

    @property
    def is_moving(self) -> bool:
        """Does a new key wait for the next save?"""
        return self.key.storage_key != self.snapshot.key.storage_key

    @property
    def needs_signature(self) -> bool:
        """Did only a fallback of ``SECRET_KEY`` verify the key or the record?"""
        return self.snapshot.by_fallback or self.key.by_fallback

    @property
    def known_keys(self) -> tuple[Verified, ...]:
        """The key of the record, and those to which a move may have led."""
        moved = (sent.composed.key for sent in self.sent if sent.is_move)
        return (self.snapshot.key, *moved)

    def is_over(self, base: Snapshot) -> bool:
        """Is *base* still what a save is written over? A touch changes no revision."""
        return self.snapshot.record.revision == base.record.revision

    def ancestor_of(self, found: Record) -> Snapshot:
        """Return the newest known snapshot that *found* was written over.

        It may be a write whose answer did not arrive. It may be older than the last acknowledged
        one: a failover to an older copy, or a transaction that was rolled back, took that away.
        """
        known = (*(sent.composed for sent in self.sent), self.snapshot, *self.earlier)
        return next((each for each in known if found.holds(each.record)), self.snapshot)

    def sent_in(self, found: Record) -> Sent | None:
        """Return the write without an answer that *found* shows to have been carried out."""
        return next((sent for sent in self.sent if found.holds(sent.composed.record)), None)

    def sending(self, sent: Sent) -> Stored:
        """Note *sent* before it is sent: a canceled coroutine learns nothing afterwards."""
        snapshot, key, earlier, before, confirmed_at, has_written, others = self
        sent_so_far = (sent, *before)[:REVISIONS_KEPT]
        return Stored(snapshot, key, earlier, sent_so_far, confirmed_at, has_written, others)

    def found(self, snapshot: Snapshot) -> Stored:
        """Go on from *snapshot*, which lies there instead."""
        key = self.key if self.is_moving else snapshot.key
        earlier = (self.snapshot, *self.earlier)[: REVISIONS_KEPT - 1]
        return self._replace(snapshot=snapshot, key=key, earlier=earlier, sent=())

    def written(self, sent: Sent, confirmed_at: int | None) -> Stored:
        """Go on from what was written; a key that was given since waits for the next save."""
        composed = sent.composed
        base = sent.base or composed
        was_meant = self.key.storage_key in (base.key.storage_key, composed.key.storage_key)
        key = composed.key if was_meant else self.key
        if key.by_fallback:
            key = dataclasses.replace(key, by_fallback=False)
        earlier = (self.snapshot, *self.earlier)[: REVISIONS_KEPT - 1]
        return Stored(composed, key, earlier, (), confirmed_at, True, self.others)


class Unreachable(NamedTuple):
    """The server did not answer, or an end was cut off: nothing is known of the session.

    Attributes:
        keys: See `Unread`.
        since: When that was.
        snapshot: See `Ended`.
    """

    keys: tuple[Verified, ...]
    since: int
    snapshot: Snapshot | None = None

    def is_recent(self, now: int) -> bool:
        """Did the server fail so lately that this session need not wait for it again?"""
        return 0 <= now - self.since < OUTAGE_PATIENCE_MS


State = Unread | New | Stored | Ended | Unreachable


#: Of a client that sent no key: most states begin here.
NEW = New()


class Session:
    """One session in one request: its state, its entries, and what its code said of them."""

    __slots__ = (
        "__weakref__",
        "admission",
        "authenticated_ms",
        "came_at",
        "came_with",
        "counts_as_use",
        "entries",
        "events",
        "login_ms",
        "said",
        "said_at",
        "site",
        "source_failed_at",
        "state",
    )

    def __init__(self, site: Site) -> None:
        self.site = site
        self.came_at = self.login_ms = site.now()  # when code logged its user in
        self.authenticated_ms = 0  # when code last authenticated its user again
        self.admission: Admission | None = None  # what its login was granted, until that is stored
        self.came_with: tuple[Verified, ...] = ()  # what the client sent
        self.state: State = NEW
        self.entries: Entries | None = None
        self.said: bool | None = None  # what code assigned to ``modified``
        self.said_at = 0
        self.counts_as_use = True
        self.events: list[Event | Login] = []
        self.source_failed_at: int | None = None  # the engine that the site left

    # What is known

    @property
    def key(self) -> Verified | None:
        """The session's key: the first that the client sent, or the one given since, if there is one."""
        state = self.state
        # Asked by every request, and not by a match: of classes that costs three times as much.
        if isinstance(state, Unread | Unreachable):
            return state.keys[0] if state.keys else None
        return state.key

    @property
    def stored_key(self) -> Verified | None:
        """The key under which a record lies, if there may be one."""
        match self.state:
            case Stored() as stored:
                return stored.snapshot.key
            case Unread() | Unreachable():
                return self.key
        return None

    def stored_over(self, base: Snapshot) -> Stored | None:
        """Return the state if *base* is still what a save is written over."""
        state = self.state
        return state if isinstance(state, Stored) and state.is_over(base) else None

    @property
    def is_moving(self) -> bool:
        """Does a new key wait for the next save?"""
        match self.state:
            case Stored() as stored:
                return stored.is_moving
            case New() as new:
                return new.key is not None
        return False

    @property
    def is_late(self) -> bool:
        """Is the request so old that it can't tell a session that was moved from none?"""
        return self.site.now() - self.came_at >= TOMBSTONE_MS

    def stored_entries(self) -> dict[str, Any]:
        """Return the entries of the record, as it was last read or written."""
        state = self.state
        snapshot = state.snapshot if isinstance(state, Stored | Ended | Unreachable) else None
        return self.site.loads(snapshot.body) if snapshot is not None else {}

    def serialized(self) -> SecretBytes:
        """Return the request's entries as they would be stored.

        Raises:
            EntryNotSerializable: The serializer can't take one of them.
        """
        return self.site.dumps(self.own_entries())

    def own_entries(self) -> Entries:
        """Return the request's entries; none were read or set where there are none."""
        if self.entries is None:
            self.entries = Entries()
        return self.entries

    def hold(self, entries: Entries) -> None:
        """Have *entries* in place of those that are there; what was sent of these stays known."""
        if self.entries is not None:
            entries.go_on_from(self.entries)
        self.entries = entries

    # What the request changed

    def say(self, *, is_modified: bool) -> None:
        """Note what code assigned to ``modified``.

        False discards what was changed until then, which is Django's idiom. On a session that was
        not changed it means nothing.
        """
        self.said = True if is_modified else (False if self.is_modified() else None)
        if self.entries is not None:
            self.entries.clock += 1
        self.said_at = self._clock

    @property
    def _clock(self) -> int:
        return 0 if self.entries is None else self.entries.clock

    @property
    def is_discarded(self) -> bool:
        """Did code discard its changes, and make none since?"""
        return self.said is False and self.said_at == self._clock

    @property
    def written(self) -> Collection[str]:
        """Names of the entries whose values count as changed even if they can't be compared."""
        entries = self.own_entries()
        return entries.keys() if self.said else entries.written

    @property
    def is_login(self) -> bool:
        """Would a save begin a user's session? Derived: a user that was removed again is none."""
        entries = self.entries
        return entries is not None and USER_ID_ENTRY in entries.written and USER_ID_ENTRY in entries

    def is_anything_new(self, base: Snapshot) -> bool:
        """May any entry differ from *base*, and not only those that were written or handed out?"""
        state, entries = self.state, self.own_entries()
        is_descended = isinstance(state, Stored) and state.snapshot is base
        return bool(self.said) or entries.cleared_at is not None or not is_descended

    def is_marked(self) -> bool:
        """May the request have changed the session? A closer look may find it as it was."""
        if self.said is False and self.is_discarded:
            return False
        state, entries = self.state, self.entries
        if self.said or (entries is not None and entries.has_writes):
            return True
        if isinstance(state, Stored) and (state.is_moving or state.sent):
            return True
        if isinstance(state, Stored | Ended | Unreachable):
            return self._has_nested_change()
        return isinstance(state, New) and state.key is not None

    def is_changed(self) -> bool:
        """Did the request change the session, and is that not saved yet?"""
        if not self.is_marked():
            return False
        state, entries = self.state, self.entries
        if not isinstance(state, Stored) or state.is_moving or state.sent or self.is_login:
            return True
        if entries is None:
            return False
        return entries.is_surely_changed or self._differs(entries, self.stored_entries())

    def _differs(self, entries: Entries, stored: dict[str, Any]) -> bool:
        mine = entries.plain()
        changed = changed_names(stored, mine, self.written)
        if all(type(name) is str and type(mine.get(name)) in PLAIN_TYPES for name in changed):
            return bool(changed)
        # A serializer may store a value as another one: JSON has no tuples and no dates.
        try:
            mine = self.site.loads(self.serialized())
        except (EntryNotSerializable, BadPayload):
            return True  # the save gives the reason
        return bool(changed_names(stored, mine, self.written))

    def _has_nested_change(self) -> bool:
        entries = self.entries
        if entries is None or not entries.handed_out:
            return False
        return entries.has_nested_change(self.stored_entries())

    def is_modified(self) -> bool:
        """Must the response save this session or renew its cookie? Django's ``modified``."""
        state, entries = self.state, self.entries
        if not isinstance(state, Stored):
            return self.is_marked()
        if self.is_discarded:
            return False
        if entries is None:
            return False
        if state.has_written or self.needs_signature():
            return True
        if self.is_touch_due(state.snapshot) and self.site.renews_cookie(entries):
            return True
        return self.is_changed()

    def note_saved(self, sent: Sent) -> None:
        """Count what *sent* stored as saved; what was changed since isn't."""
        self.own_entries().note_saved(sent.clock)
        if self.said and self.said_at <= sent.clock:
            self.said = None

    def has_source_failed(self) -> bool:
        """Did the engine that the site left fail so lately that this session need not wait again?"""
        since = self.source_failed_at
        return since is not None and 0 <= self.site.now() - since < OUTAGE_PATIENCE_MS

    # What a response asks

    def needs_signature(self) -> bool:
        """Did only a fallback of ``SECRET_KEY`` verify the key or the record?"""
        state = self.state
        if isinstance(state, Stored):
            return state.needs_signature
        key = self.key
        return key is not None and key.by_fallback

    def is_touch_due(self, snapshot: Snapshot) -> bool:
        """Is this request a use, and the last one noted so long ago that it is worth a write?"""
        return self.counts_as_use and self.site.now() >= snapshot.touch_due_ms

    def is_confirmed(self) -> bool:
        """May the cookie be set? Not on credit for longer than a response takes."""
        state = self.state
        return not isinstance(state, Stored) or (not state.sent and state.confirmed_at is not None)

    # Events

    def note(self, signal: Signal, **arguments: Any) -> None:
        """Note what happened: logged now, sent to receivers when the verb is over."""
        events.log(signal, arguments)
        # The second question is the dearer one.
        if signal.receivers and signal.has_listeners(self.site.sender):
            self.events.append(Event(signal, arguments))

    def note_login(self, stored: Snapshot) -> None:
        """Have the device of a login compared when the verb is over, if someone listens."""
        signal, record = signals.new_device, stored.record
        entries = self.own_entries()
        agent, address = (dict.get(entries, each) for each in (USER_AGENT_ENTRY, ADDRESS_ENTRY))
        if (
            record.user_id is not None
            and isinstance(agent, str)
            and signal.has_listeners(self.site.sender)
        ):
            address = address if isinstance(address, str) else ""
            self.events.append(
                Login(stored.key.storage_key, record.user_id, record, agent, address)
            )


def unread() -> StoreUnavailable:
    """Return the error of a change to a session that could not be read."""
    return StoreUnavailable("The session could not be read, so it cannot be changed.")


def ended_by(
    key: Verified,
    tombstone: Tombstone | None,
    others: tuple[Verified, ...],
    *,
    is_late: bool,
) -> Ended:
    """Return the state of a session whose *tombstone* was read under *key*.

    Where it was ended from elsewhere (another device, an administrator), no newer cookie is on its
    way to this client, so its first write may begin a new session: login pages keep state in one.
    A request that is older than a tombstone lives can't know that.
    """
    is_from_elsewhere = tombstone is not None and tombstone.reason is Reason.ENDED
    allows_write = is_from_elsewhere and not is_late
    return Ended(key, key.storage_key, tombstone, allows_write, others=others)
