"""Reading: from the keys that a client sent to what lies under them."""

from __future__ import annotations

from typing import Any

from django_multisession.core.entries import Entries
from django_multisession.core.keys import Verified
from django_multisession.core.records import (
    SAVED,
    Answer,
    Outcome,
    Reason,
    Record,
    Tombstone,
    touched,
)
from django_multisession.drivers.base import Driver
from django_multisession.drivers.base import Steps as DriverSteps
from django_multisession.drivers.listed.driver import ListedDriver
from django_multisession.exceptions import StoreUnavailable
from django_multisession.session import adopt, events, line
from django_multisession.session.context import note_read
from django_multisession.session.line import Opened, find
from django_multisession.session.state import (
    RESPONSE_TIME_MS,
    Ended,
    New,
    Session,
    Snapshot,
    Stored,
    Unreachable,
    Unread,
    ended_by,
)
from django_multisession.session.steps import Steps, hook
from django_multisession.settings.conf import config

Found = Opened | Tombstone | adopt.Unknown | None


def read_entries(session: Session) -> Steps[Entries]:
    """Return the session's entries, as Django's engines do: by ``load()`` where it is overridden."""
    if session.entries is None and "load" in session.site.hooks:
        loaded = yield from hook("load")
        # What the hook added or changed was not written by the request.
        session.entries = Entries(dict(loaded))
    yield from read(session)
    return session.own_entries()


def is_due(session: Session) -> bool:
    """May `read_entries` have something to do, where no entries are held?"""
    return "load" in session.site.hooks or not isinstance(session.state, New)


def read(session: Session) -> Steps[None]:
    """Find out what lies under the session's keys, unless that is known; entries that were set stay.

    Raises:
        StoreUnavailable: The server did not answer, and ``MULTISESSION_ON_OUTAGE`` is ``"error"``.
    """
    state = session.state
    if isinstance(state, Stored) and session.entries is None and not state.is_moving:
        # Code dropped the entries, to have them read again.
        state = session.state = Unread((state.snapshot.key, *state.others))
    elif isinstance(state, Unreachable) and session.entries is None:
        require_server(session)
    elif not isinstance(state, Unread):
        return
    yield from _look(session, state)


def _look(session: Session, state: Unread | Unreachable) -> Steps[None]:  # noqa: C901  (one loop)
    """Look under one key after the other: the first that leads to a live session is taken."""
    ended: Ended | None = None
    for key in state.keys:
        try:
            found: Found = None if key.foreign else (yield from find(session, key))
            if found is None and config().migration is not None:
                found = yield from adopt.look(session, key)
        except StoreUnavailable:
            if session.state is state:
                session.state = Unreachable(state.keys, session.site.now())
            # Requests go on without their session only if they are to.
            if config().on_outage != "anonymous":
                raise
            return
        others = (
            tuple(other for other in state.keys if other is not key) if len(state.keys) > 1 else ()
        )
        if session.state is not state:
            return  # a thread or another coroutine of this request was faster
        if isinstance(found, Opened):
            yield from _go_on_with(session, found, others)
            return
        if found is not None:
            if ended is None or isinstance(found, adopt.Unknown):
                ended = _ended(session, key, found, others)
            if _leads_elsewhere(found, others):
                # The next cookie may lead to another session: to set it would replace a newer one.
                break
    if ended is None and session.is_late and state.keys:
        # Its key may have moved, and the tombstone be gone: the client's cookie may be a newer one.
        ended = ended_by(state.keys[0], None, state.keys[1:], is_late=True)
    session.state = ended or New()


def _ended(
    session: Session,
    key: Verified,
    found: Tombstone | adopt.Unknown,
    others: tuple[Verified, ...],
) -> Ended:
    if isinstance(found, Tombstone):
        return ended_by(key, found, others, is_late=session.is_late)
    # Its client is anonymous for now, and keeps its cookie unless it logs in.
    return Ended(key, key.storage_key, others=others, is_unknown=True)


def _leads_elsewhere(found: Tombstone | adopt.Unknown, keys: tuple[Verified, ...]) -> bool:
    """Is the session under another key now, and not under one that the client sent as well?"""
    if not isinstance(found, Tombstone):
        return False
    return bool(found.successor) and all(key.storage_key != found.successor for key in keys)


def _go_on_with(session: Session, found: Opened, others: tuple[Verified, ...]) -> Steps[None]:
    snapshot = found.snapshot
    note_read(session)
    stored = Stored(snapshot, snapshot.key, others=others)
    if found.is_adopted:
        stored = stored._replace(confirmed_at=session.site.now(), has_written=True)
    session.state = stored
    if session.entries is None:
        session.entries = Entries(found.entries)
    # A browser-length cookie has nothing to renew at the response, so the use is noted here.
    if not session.site.renews_cookie(found.entries) and session.is_touch_due(snapshot):
        now = session.site.now()
        yield from touch(session, stored, now, now)


def touch(session: Session, stored: Stored, used_at: int, now: int) -> Steps[Answer]:
    """Note a use of *stored*, which also confirms that the session is there."""
    snapshot, driver = stored.snapshot, session.site.driver
    key = snapshot.key.storage_key
    try:
        answer = yield from _touch(session, driver, key, snapshot.record, used_at, now)
        if answer.outcome is Outcome.CONFLICT and isinstance(answer.stored, Record):
            # Another request saved meanwhile: its record is used now too.
            answer = yield from _touch(session, driver, key, answer.stored, used_at, now)
    except StoreUnavailable:
        # What was read is good; a use that can't be noted isn't worth an error page.
        events.UNNOTED_USE.write()
        if session.state is stored:
            is_fresh = _is_fresh(stored, now)
            session.state = stored if is_fresh else stored._replace(confirmed_at=None)
        return SAVED
    if session.state is stored and answer.outcome is Outcome.SAVED:
        record = touched(snapshot.record, max(snapshot.record.touched_ms, used_at))
        due = session.site.touch_due_ms(record)
        used = snapshot._replace(record=record, touch_due_ms=due)
        session.state = stored._replace(snapshot=used, confirmed_at=now)
    return answer


def _touch(
    session: Session, driver: Driver, key: str, record: Record, used_at: int, now: int
) -> Steps[Answer]:
    touching = driver.touch(key, record, used_at, now)
    if isinstance(driver, ListedDriver) and record.user is not None:
        return _heeding(session, driver, key, record, touching)
    return touching


def _heeding(
    session: Session,
    driver: ListedDriver[Any],
    key: str,
    record: Record,
    touching: DriverSteps[Answer],
) -> Steps[Answer]:
    """Touch *record* by *touching*; end it if all sessions of its user were ended while no list had it."""
    user, site = record.user or b"", session.site
    answer, mark = yield from driver.write_and_get(touching, site.place_of_mark(user))
    if not line.is_revoked(session, user, mark, record.began_ms, record.series):
        return answer
    left = site.tombstone(Reason.ENDED)
    ended = yield from line.retire(session, key, record, left, line.REVOKED)
    if isinstance(ended.stored, Record):
        return answer
    return Answer(Outcome.MISSING, ended.stored or left)


def is_fresh(session: Session, stored: Stored) -> bool:
    """Did the server confirm the session so lately that its cookie may be set on credit?"""
    return not stored.sent and _is_fresh(stored, session.site.now())


def _is_fresh(stored: Stored, now: int) -> bool:
    at = stored.confirmed_at
    return at is not None and abs(now - at) < RESPONSE_TIME_MS


def require_server(session: Session) -> None:
    """Raise `StoreUnavailable` where the server failed this session a moment ago."""
    state = session.state
    if isinstance(state, Unreachable) and state.is_recent(session.site.now()):
        raise StoreUnavailable("The server did not answer a moment ago.")


def read_where_moved(session: Session, base: Snapshot) -> Steps[Opened | Tombstone | None]:
    """Return the session of *base* where it lies now: a move without an answer may have moved it."""
    state = session.state
    moved = [sent for sent in state.sent if sent.is_move] if isinstance(state, Stored) else []
    for sent in moved:
        found = yield from find(session, sent.composed.key)
        if isinstance(found, Opened):
            return found
    return (yield from find(session, base.key))


def load(session: Session, *, is_first: bool) -> Steps[Entries]:
    """Return a copy of what is stored: what was read first, or what is there now."""
    if is_first:
        yield from read(session)
        return Entries(session.stored_entries())
    require_server(session)
    key, state = session.stored_key, session.state
    found = (yield from find(session, key)) if key and not key.foreign else None
    if session.state is state and isinstance(state, Stored) and not isinstance(found, Opened):
        # It was ended: no cookie is set on credit any more.
        session.state = state._replace(confirmed_at=None)
    return Entries(found.entries if isinstance(found, Opened) else {})
