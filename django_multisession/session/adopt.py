"""Adopting: a session of the engine that ``MULTISESSION_MIGRATE_FROM`` names moves here at its first visit.

Its new key is an HMAC of the old one, so two requests that come with the old key adopt one session:
one ``add`` wins, and the other request reads it. What makes a captured old key useless is the *mark*,
a record that says that its session was adopted or ended. The steps keep one invariant: a session is
used only after its mark is stored. So an adoption goes in this order, and may stop anywhere:

1. look for the session in the source, then for its mark, then under its new key,
2. store it under its new key, then store the mark,
3. remove it from the source.

An adopted session of a user whose sessions were all ended since (see `core.marks`) is ended as soon as it
is stored, and marked as ended. When a login began isn't known of a session of another package's engine:
that counts as before.

The mark also says when a client first came. For a minute after that the old key still leads to the
session: requests overlap, and responses are lost. Then it leads nowhere. A session that a command moved
has no such moment yet: its client's first visit writes it over the mark.

A client that stayed away during an earlier move has the key from before. The source has the mark of that
move, and where that is open the session is adopted from the key under which the earlier move stored it.

Tombstones make the steps exclude each other for a minute; an adoption that took longer than that, or
that finds the mark of an end, takes itself back.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from django_multisession import signals
from django_multisession.core import keys, limits, marks, merging
from django_multisession.core.keys import Verified
from django_multisession.core.lifetime import LONGEST_TIMEOUT
from django_multisession.core.records import (
    NEVER,
    TOMBSTONE_MS,
    Facts,
    Outcome,
    Reason,
    Record,
    Stored,
    Tombstone,
    bytes_of_user,
    new_series,
    to_milliseconds,
)
from django_multisession.core.secret import SecretBytes, SecretEntries, SecretText
from django_multisession.drivers import base
from django_multisession.drivers.base import Ask
from django_multisession.exceptions import BadPayload, EntryNotSerializable, StoreUnavailable
from django_multisession.session import events, line
from django_multisession.session.custom_expiry import EXPIRY_ENTRY, custom_expiry
from django_multisession.session.line import Opened, find, open_record
from django_multisession.session.site import Site
from django_multisession.session.state import Session, Snapshot
from django_multisession.session.steps import Steps
from django_multisession.settings.conf import config
from django_multisession.settings.values import Migration
from django_multisession.sources import Command, Copy, Failed, Source, source_of

_ADOPTED = SecretBytes(b'{"why":"adopted"}')
_MOVED = SecretBytes(b'{"why":"moved"}')
_ENDED = SecretBytes(b'{"why":"ended"}')
#: What the mark of a session that went back begins with (see `way_back`), and after its first visit.
BACK, BACK_AND_USED = b"\0back:", b"\0used:"


@dataclasses.dataclass(frozen=True, slots=True)
class Mark:
    """What is known of a session that left its engine.

    Attributes:
        why: What the mark says; of one that can't be read, that the session was adopted.
        record: The mark as it is stored; None if it can't be read.
    """

    why: bytes = dataclasses.field(default=_ADOPTED, repr=False)
    record: Record | None = dataclasses.field(default=None, repr=False)

    def is_recent(self, now: int, used_ms: int = 0) -> bool:
        """Was it stored within the minute for which an old key leads to its session?

        Args:
            now: The time.
            used_ms: When the session was last used. A clock that is set back opens nothing again.
        """
        if self.record is None:
            return False
        since = self.record.created_ms
        return abs(now - since) < TOMBSTONE_MS and used_ms - since < TOMBSTONE_MS

    def is_open(self, now: int, used_ms: int = 0) -> bool:
        """Does the old key lead to the session? See `is_recent`."""
        return self.why == _MOVED or (self.why == _ADOPTED and self.is_recent(now, used_ms))


class Unknown(NamedTuple):
    """The source gave no answer: there may be a session."""


class Adoption(NamedTuple):
    """What is adopted, and where to.

    Attributes:
        migration: See there.
        source: Where it comes from.
        origin: Its key there.
        named: What names it there: that key, or the storage key of an engine of this package.
        keys: Those under which it may be here, one for each secret; a new one gets the first.
        mark: Storage key of its mark.
    """

    migration: Migration
    source: Source
    origin: SecretText
    named: SecretBytes
    keys: tuple[Verified, ...]
    mark: str

    def ask(self, verb: str) -> Ask:
        """Return the step that asks the source."""
        command = Command(verb, self.origin, self.migration.since_ms)
        return Ask(self.source, f"{verb}_foreign", command)


def recognized(site: Site, session_key: object) -> Verified | None:
    """Return the key under which the session of another engine's *session_key* is, or will be."""
    if not (keys.is_foreign(session_key) and isinstance(session_key, str)):
        return None
    foreign = SecretText(session_key)
    adoption = adoption_of(site, Verified("", "", foreign=foreign))
    if adoption is None or len(foreign) > adoption.source.longest_key:
        return None
    return dataclasses.replace(adoption.keys[0], foreign=foreign)


def listed(site: Site, origin: str) -> Verified | None:
    """Return what `look` takes for the session that the source lists as *origin*."""
    found = _migration(site)
    is_ours = found is not None and found[1].is_ours
    return Verified("", origin) if is_ours else recognized(site, origin)


def is_mark(site: Site, place: str, record: Record) -> bool:
    """Is the *record* at *place* a mark, and no session?"""
    if record.idle_ms not in (NEVER, marks.MARK_MS) or record.user is not None:
        return False
    try:
        why = site.open(record, Verified("", place))
    except (BadPayload, StoreUnavailable):
        return False
    # The mark that all sessions of a user were ended says nothing but its time, and who is spared.
    return why in (_ADOPTED, _MOVED, _ENDED, SecretBytes()) or why.startswith(
        (BACK, BACK_AND_USED, limits.SEATS, marks.SPARED)
    )


def adoption_of(site: Site, key: Verified) -> Adoption | None:
    """Return what may be adopted for a client that came with *key*; None without a migration."""
    found = _migration(site)
    if found is None:
        return None
    migration, source = found
    origin = source.origin(key)
    named = None if origin is None else source.name_of(origin)
    if origin is None or named is None:
        return None
    mark = keys.adoption_mark(named, site.bound[0])
    return Adoption(migration, source, origin, named, _adopted_keys(site, named), mark)


def adopts_until(site: Site) -> int | None:
    """Return until when sessions are adopted; None if none are."""
    found = _migration(site)
    if found is None:
        return None
    # No cookie lives for longer.
    return min(found[0].until_ms, site.now() + int(LONGEST_TIMEOUT.total_seconds() * 1000))


def _migration(site: Site) -> tuple[Migration, Source] | None:
    migration = config().migration
    if migration is None or site.now() >= migration.until_ms:
        return None
    source = source_of(migration.engine)
    # The source's own store objects adopt nothing.
    return None if source.store is site.sender else (migration, source)


def _adopted_keys(site: Site, named: SecretBytes) -> tuple[Verified, ...]:
    signing_keys, namespace = config().signing_keys, site.bound[0]
    return tuple(
        keys.adopted(named, adopting_key, signing_keys[0], namespace)
        for adopting_key in config().adopting_keys
    )


def look(
    session: Session, key: Verified, expires_ms: int | None = None
) -> Steps[Opened | Tombstone | Unknown | None]:
    """Return the session that *key* has in the source, adopted now unless it was; None: no session.

    Args:
        session: Whose steps these are.
        key: What the client came with.
        expires_ms: When the session expires in the source. No client came with it, so this is no
            use; and what is stored is read again before it is marked and the copy is removed.
    """
    adoption = adoption_of(session.site, key)
    if adoption is None:
        return None
    found = yield from _look(session, adoption, expires_ms)
    if found is None and expires_ms is None:
        found = yield from _look_earlier(session, adoption)
    if found is None and not adoption.source.is_ours:
        is_old = keys.is_of_another_engine(str(adoption.origin))
        session.note(signals.invalid_session_key, is_of_another_engine=is_old)
    return found


def _look(
    session: Session, adoption: Adoption, expires_ms: int | None
) -> Steps[Opened | Tombstone | Unknown | None]:
    copy = yield from _load(session, adoption)
    began = session.site.now()
    mark = (yield from _mark(session, adoption)) if isinstance(copy, _Found) else None
    found = yield from _find_here(session, adoption)
    if isinstance(found, Opened):
        is_visit = expires_ms is None
        joined = yield from _go_on(session, adoption, found, copy, mark, is_visit=is_visit)
        if joined is not None:
            return joined
    elif found is not None:
        return found
    elif isinstance(copy, _Found) and mark is None:
        return (yield from _adopt(session, adoption, copy, began, expires_ms))
    elif isinstance(copy, Tombstone | Unknown):
        return copy
    if isinstance(copy, _Found):
        yield from _remove(session, adoption)
    return None


def exists(session: Session, key: Verified) -> Steps[bool]:
    """Has *key* a live session in the source, or one adopted from there that it still leads to?"""
    adoption = adoption_of(session.site, key)
    if adoption is None:
        return False
    is_there = isinstance((yield from _load(session, adoption)), _Found)
    found = yield from _find_here(session, adoption)
    if not (is_there or isinstance(found, Opened)):
        earlier = () if found else (yield from _earlier(session, adoption))
        for each in () if isinstance(earlier, Unknown) else earlier:
            if (yield from exists(session, each)):
                return True
        return False
    mark = yield from _mark(session, adoption)
    if mark is None or not isinstance(found, Opened):
        return is_there and mark is None
    return mark.is_open(session.site.now(), found.snapshot.record.touched_ms)


def end(
    session: Session, key: Verified, left: Tombstone, reason: str, spared: str = ""
) -> Steps[line.End]:
    """Do as `line.end` under *key*, and end what would be adopted from there."""
    adoption = adoption_of(session.site, key)
    if adoption is None:
        return (yield from line.end(session, key.storage_key, left, reason, spared))
    if key.foreign is None:
        ended = yield from line.end(session, key.storage_key, left, reason, spared)
        if ended.tombstone is not None:
            return ended
    return (yield from _end_foreign(session, adoption, left, reason, spared))


def _end_foreign(
    session: Session, adoption: Adoption, left: Tombstone, reason: str, spared: str
) -> Steps[line.End]:
    copy = yield from _load(session, adoption)
    if isinstance(copy, _Found | Unknown):
        # Before it is looked for here: an adoption that is under way finds the mark, or is found.
        yield from _add_mark(session, adoption, _ENDED, _ends_there(copy, session.site.now()))
    for each in adoption.keys:
        ended = yield from line.end(session, each.storage_key, left, reason, spared)
        if ended.tombstone is not None:
            break
    yield from _remove(session, adoption)
    if ended.tombstone is not None:
        return ended
    earlier = yield from _earlier(session, adoption)
    if isinstance(earlier, Unknown):
        # It may be in the source under another key.
        yield from _add_mark(session, adoption, _ENDED, _ends_there(earlier, session.site.now()))
        return ended
    for each in earlier:
        ended = yield from end(session, each, left, reason, spared)
        if ended.tombstone is not None:
            break
    return ended


def _look_earlier(
    session: Session, adoption: Adoption
) -> Steps[Opened | Tombstone | Unknown | None]:
    earlier = yield from _earlier(session, adoption)
    if isinstance(earlier, Unknown):
        return earlier
    for each in earlier:
        if (found := (yield from look(session, each))) is not None:
            return found
    return None


def _earlier(session: Session, adoption: Adoption) -> Steps[tuple[Verified, ...] | Unknown]:
    """Return the keys under which an earlier move may have stored the session in the source.

    There is none unless the client's key led to the session there.
    """
    source, site = adoption.source, session.site
    # A key of another package can be made up, and each would cost a look-up.
    if not source.is_ours or source.is_carried:
        return ()
    there = adoption._replace(origin=SecretText(adoption.mark))
    answer = yield from _ask(session, there, "load")
    if isinstance(answer, Failed):
        return Unknown()
    mark = _opened_mark(site, adoption.mark, answer)
    if mark is None or not mark.is_open(site.now()):
        return ()
    # The session may have been ended while the source was down.
    return () if (yield from _mark(session, adoption)) else adoption.keys


class _Found(NamedTuple):
    """A live session of the source."""

    entries: SecretEntries
    record: Record | None = None


def _load(session: Session, adoption: Adoption) -> Steps[_Found | Tombstone | Unknown | None]:
    """Return what the source holds; a tombstone says that it gave the session a new key."""
    answer = yield from _ask(session, adoption, "load")
    if isinstance(answer, Copy):
        return _Found(answer.entries)
    if isinstance(answer, Record):
        try:
            opened = open_record(session, Verified("", keys.place_in(adoption.named)), answer)
        except StoreUnavailable as error:
            events.SOURCE_FAILURE.write(adoption.migration.engine, str(error))
            return Unknown()
        return None if opened is None else _Found(opened.entries, answer)
    if isinstance(answer, Failed):
        return Unknown()
    return answer if isinstance(answer, Tombstone) else None


def _find_here(session: Session, adoption: Adoption) -> Steps[Opened | Tombstone | None]:
    for key in adoption.keys:
        found = yield from find(session, key)
        if found is not None:
            return found
    return None


def _go_on(
    session: Session,
    adoption: Adoption,
    found: Opened,
    copy: _Found | Tombstone | Unknown | None,
    mark: Mark | None,
    *,
    is_visit: bool,
) -> Steps[Opened | Tombstone | Unknown | None]:
    """Go on with what another request adopted, or began to; None: the old key leads there no more."""
    mark = mark or (yield from _mark(session, adoption))
    if mark is None:
        if not isinstance(copy, _Found):
            # An adoption that was cut off left the copy in the source. Without it the mark is lost.
            return copy if isinstance(copy, Unknown) else None
        if (yield from _is_revoked(session, copy)):
            return (yield from _revoke(session, adoption, copy))
        ends = found.snapshot.record.ends_ms
        is_first = yield from _add_mark(session, adoption, _first_mark(is_visit), ends)
    else:
        is_first = False
    used_ms = found.snapshot.record.touched_ms
    if not is_first and not (
        yield from _may_use(session, adoption, mark, used_ms, is_visit=is_visit)
    ):
        return None
    yield from _remove(session, adoption)
    found.is_adopted = True
    return found


def _first_mark(is_visit: bool) -> SecretBytes:
    return _ADOPTED if is_visit else _MOVED


def _may_use(
    session: Session, adoption: Adoption, mark: Mark | None, used_ms: int, *, is_visit: bool
) -> Steps[bool]:
    """Does the *mark* that is there let the old key lead to the session? A first visit is noted."""
    site = session.site
    for _ in range(2):  # another first visit may be faster
        mark = mark or (yield from _mark(session, adoption))
        if mark is None or not is_visit:
            return mark is not None and mark.why != _ENDED
        if mark.why != _MOVED:
            break
        if (yield from note_visit(site, adoption.mark, mark, _ADOPTED)):
            return True
        mark = None
    return mark is not None and mark.is_open(site.now(), used_ms)


def _adopt(
    session: Session, adoption: Adoption, copy: _Found, began: int, expires_ms: int | None
) -> Steps[Opened | Tombstone | Unknown | None]:
    site, driver, key = session.site, session.site.driver, adoption.keys[0]
    is_visit = expires_ms is None
    composed, entries, dropped = compose(session, key, copy.entries, copy.record, expires_ms)
    record = composed.record
    if not (yield from driver.add(key.storage_key, record)):
        found = yield from _find_here(session, adoption)
        if isinstance(found, Opened):
            return (yield from _go_on(session, adoption, found, copy, None, is_visit=is_visit))
        return found
    # After the record is stored: see `core.marks`.
    if (yield from _is_revoked(session, copy)):
        return (yield from _revoke(session, adoption, copy))
    if not is_visit and not (yield from _is_there(session, composed)):
        # Without the mark the next run finds the copy, and moves it.
        return Unknown()
    ends = _ends_there(copy, site.now())
    if not (yield from _add_mark(session, adoption, _first_mark(is_visit), ends)):
        # After a minute no tombstone shows any more that it was adopted, and left, in between.
        is_late = site.now() - began >= TOMBSTONE_MS
        if is_late or not (yield from _may_use(session, adoption, None, 0, is_visit=is_visit)):
            yield from driver.withdraw(key.storage_key, record)
            return None
    yield from _remove(session, adoption)
    if dropped:
        events.DROPPED.write(key.storage_key, ", ".join(map(repr, dropped)))
    session.note(
        signals.session_adopted,
        storage_key=key.storage_key,
        user_id=record.user_id,
        engine=adoption.migration.engine,
        dropped_entries=dropped,
    )
    return Opened(composed, entries, is_adopted=True)


def _is_revoked(session: Session, copy: _Found) -> Steps[bool]:
    """Were all sessions of the user ended since the login?"""
    user_id, site = merging.user_id(copy.entries), session.site
    if user_id is None or not base.is_indexed(site.driver):
        return False
    user = bytes_of_user(user_id)
    mark = yield from site.notes.get(site.place_of_mark(user))
    if copy.record is None:
        return line.is_revoked(session, user, mark, 0)
    return line.is_revoked(session, user, mark, copy.record.began_ms, copy.record.series)


def _revoke(session: Session, adoption: Adoption, copy: _Found) -> Steps[Tombstone]:
    """End what was adopted, for good; return the tombstone that it left."""
    left = session.site.tombstone(Reason.ENDED)
    # First: an end that is cut off is not undone by the next request.
    yield from _add_mark(session, adoption, _ENDED, _ends_there(copy, session.site.now()))
    for each in adoption.keys:
        yield from line.end(session, each.storage_key, left, line.REVOKED)
    yield from _remove(session, adoption)
    return left


def _is_there(session: Session, composed: Snapshot) -> Steps[bool]:
    """Is what was stored read back, or what a request has made of it since?"""
    stored = yield from session.site.driver.get(composed.key.storage_key)
    if not isinstance(stored, Record):
        return isinstance(stored, Tombstone)
    if stored.revision != composed.record.revision:
        return stored.holds(composed.record)
    opened = open_record(session, composed.key, stored)
    return opened is not None and opened.snapshot.body == composed.body


def _remove(session: Session, adoption: Adoption) -> Steps[None]:
    """Remove the session from the source; what can't be removed is marked."""
    yield from _ask(session, adoption, "end")


def _ask(session: Session, adoption: Adoption, verb: str) -> Steps[Any]:
    """Ask the source, unless it failed this session a moment ago: one wait is enough."""
    if session.has_source_failed():
        return Failed("it failed a moment ago")
    answer = yield adoption.ask(verb)
    if isinstance(answer, Failed):
        session.source_failed_at = session.site.now()
        events.SOURCE_FAILURE.write(adoption.migration.engine, answer.reason)
    return answer


# The mark


def _mark(session: Session, adoption: Adoption) -> Steps[Mark | None]:
    """Return the mark; None if there is none."""
    return read_mark(session.site, adoption.mark)


def _add_mark(session: Session, adoption: Adoption, why: SecretBytes, ends: int) -> Steps[bool]:
    """Store the mark until the old key leads nowhere; False if there is one."""
    ends = max(ends, session.site.now() + int(session.site.cookie_age() * 1000))
    return (yield from add_mark(session.site, adoption.mark, why, ends)) is not None


def read_mark(site: Site, place: str) -> base.Steps[Mark | None]:
    """Return the mark at *place*; None if there is none."""
    return _opened_mark(site, place, (yield from site.driver.get(place)))


def _opened_mark(site: Site, place: str, stored: Stored) -> Mark | None:
    if not isinstance(stored, Record):
        return None if stored is None else Mark()
    try:
        return Mark(site.open(stored, Verified("", place)), stored)
    except (BadPayload, StoreUnavailable):
        # By a secret that is gone. That there is one is enough.
        return Mark()


def add_mark(site: Site, place: str, why: SecretBytes, ends: int) -> base.Steps[Record | None]:
    """Store a mark at *place*, until the migration or *ends* is over; None if there is one."""
    migration, now = config().migration, site.now()
    facts = Facts(
        now, now, now, NEVER, min(ends, NEVER if migration is None else migration.until_ms)
    )
    record = site.sign(facts, why, Verified("", place), None)
    return record if (yield from site.driver.add(place, record)) else None


def note_visit(site: Site, place: str, mark: Mark, why: SecretBytes) -> base.Steps[bool]:
    """Write *why*, and that a client first came now, over the *mark*; False: it has changed."""
    before, now = mark.record, site.now()
    if before is None:
        return False
    facts = Facts(now, now, max(now, before.touched_ms), NEVER, before.deadline_ms)
    record = site.sign(facts, why, Verified("", place), before)
    answer = yield from site.driver.replace(place, record, before, now)
    return answer.outcome is Outcome.SAVED


def _ends_there(copy: _Found | Unknown, now: int) -> int:
    """Return until when the session could live in the source."""
    if isinstance(copy, Unknown):
        # Anyone can make up a key: a mark of it isn't kept for longer than a session.
        return now
    if copy.record is not None:
        return copy.record.ends_ms
    custom = custom_expiry(copy.entries.get(EXPIRY_ENTRY))
    if isinstance(custom, datetime):
        return to_milliseconds(custom)
    return now + (custom or 0) * 1000


# The record


def compose(
    session: Session,
    key: Verified,
    entries: Mapping[str, Any],
    before: Record | None = None,
    expires_ms: int | None = None,
) -> tuple[Snapshot, SecretEntries, tuple[str, ...]]:
    """Return the record of *entries* under *key*, what a reader gets of it, and what was dropped.

    Args:
        session: Whose steps these are.
        key: Of the new record.
        entries: Those of the source.
        before: The record in the source, if that is an engine of this package.
        expires_ms: When the session expires in the source; None: this is a use of it.
    """
    site = session.site
    now = site.now()
    body, dropped = _serialized(site, entries)
    entries = site.loads(body)
    user_id = merging.user_id(entries)
    began = now if before is None else before.began_ms
    life = site.life(entries, began)
    touched_ms = now
    if before is not None and not (expires_ms is None and session.counts_as_use):
        touched_ms = before.touched_ms
    elif expires_ms is not None and life.idle_ms < NEVER:
        touched_ms = min(now, expires_ms - life.idle_ms)
    # Other engines don't say when.
    authenticated = NEVER if before is None else before.authenticated_ms
    facts = Facts(
        now if before is None else before.created_ms,
        began,
        touched_ms,
        life.idle_ms,
        life.deadline_ms,
        None if user_id is None else bytes_of_user(user_id),
        NEVER if user_id is None else authenticated,
        new_series() if before is None else before.series,
    )
    record = site.sign(facts, body, key, None)
    return Snapshot(key, record, body, site.touch_due_ms(record)), entries, dropped


def _serialized(site: Site, entries: Mapping[str, Any]) -> tuple[SecretBytes, tuple[str, ...]]:
    """Return *entries* serialized, and the names of those that can't be and are left out."""
    kept = SecretEntries(_spelled(entries))
    try:
        return site.dumps(kept), ()
    except EntryNotSerializable:
        dropped = tuple(str(name) for name in kept if not _is_serializable(site, kept, name))
    for name in dropped:
        kept.pop(name, None)
    return site.dumps(kept), dropped


def _spelled(entries: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield *entries*, with the date of a ``set_expiry()`` as Django spells it since 4.1."""
    for name, value in entries.items():
        is_date = name == EXPIRY_ENTRY and isinstance(value, datetime)
        yield name, value.isoformat() if is_date else value


def _is_serializable(site: Site, entries: SecretEntries, name: str) -> bool:
    try:
        site.dumps({name: entries[name]})
    except EntryNotSerializable:
        return False
    return True
