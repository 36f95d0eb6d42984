"""Ending sessions, and giving them new keys."""

from __future__ import annotations

import contextlib

from django.core.exceptions import PermissionDenied

from django_multisession.core.entries import Entries
from django_multisession.core.keys import Verified
from django_multisession.core.merging import user_id
from django_multisession.core.records import Reason, Tombstone
from django_multisession.exceptions import SessionEnded, StoreUnavailable
from django_multisession.session import adopt, line
from django_multisession.session.context import moving_sessions, note_moving, note_read, own_session
from django_multisession.session.line import End
from django_multisession.session.read import read, require_server
from django_multisession.session.save import add, interrupted, update
from django_multisession.session.state import (
    Ended,
    New,
    Session,
    Snapshot,
    State,
    Stored,
    Unreachable,
    Unread,
    unread,
)
from django_multisession.session.steps import Steps, hook
from django_multisession.settings.conf import config

FLUSHED, DELETED = "flushed", "deleted"


def flush(session: Session) -> Steps[None]:
    """End the session immediately, under every key that the client or this request has of it."""
    require_server(session)
    if "delete" in session.site.hooks:
        yield from hook("delete")
    ended = yield from _end_own(session, FLUSHED)
    if ended is None:
        session.state = New()
    elif ended.allows_write:
        # What this client begins next is the successor of what it left.
        session.state = New(after=ended)
    else:
        # The client's cookie is a newer login's, or may be. What was cleared is not to be saved.
        session.own_entries().note_saved(session.own_entries().clock)
        session.state = ended


def delete_own(session: Session) -> Steps[None]:
    """End the session as its own object is asked to: the object knows that it ended."""
    if isinstance(session.state, Unread) and len(session.state.keys) > 1:
        yield from read(session)
    if isinstance(session.state, Ended) and not session.state.is_unknown:
        return
    if (ended := (yield from _end_own(session, DELETED))) is not None:
        session.state = ended._replace(allows_write=False)


def _end_own(session: Session, reason: str) -> Steps[Ended | None]:
    """End what lies under each key of the session; return what the first one led to."""
    own = _known_keys(session)
    if not own:
        return None
    state = session.state
    left = session.site.tombstone(Reason.LEFT)
    # Before it is sent: an end that is cut off has happened or not, and nothing else is true.
    snapshot = state.snapshot if isinstance(state, Stored) else None
    ending = session.state = Unreachable(own, session.came_at, snapshot)
    ends: list[End] = []
    try:
        for key in own:
            ended = yield from _ended(session, key, left, reason)
            ends.append(ended)
        if isinstance(state, Stored) and all(each.tombstone is None for each in ends):
            # A failover may have brought back what lay under an earlier key.
            for earlier in {each.key.storage_key for each in state.earlier}:
                yield from line.end(session, earlier, left, reason)
    except StoreUnavailable:
        session.state = Unreachable(own, session.site.now(), snapshot)
        raise
    if session.state is not ending:
        return None
    first = ends[0] if len(ends) == 1 else _most_telling(ends, state)
    # One that was read, and was there to be ended, was taken over by no one however late it is.
    is_current = not session.is_late or (first.is_made and _was_live(session, snapshot))
    allows_write = is_current and not first.met_login
    return Ended(own[0], first.place, first.tombstone, allows_write, snapshot)


def _ended(
    session: Session, key: Verified, left: Tombstone, reason: str, spared: str = ""
) -> Steps[End]:
    """Return the steps that end what lies under *key*, or would be adopted from there."""
    if config().migration is None:
        return line.end(session, key.storage_key, left, reason, spared)
    return adopt.end(session, key, left, reason, spared)


def _was_live(session: Session, snapshot: Snapshot | None) -> bool:
    """Was the record live that was read, so that its end was no cleaning up of an expired one?"""
    return snapshot is not None and snapshot.record.is_live(session.site.now())


def _most_telling(ends: list[End], state: State) -> End:
    """Of several keys' ends: a login that took the session over, or else what was ended."""
    sent = state.sent if isinstance(state, New | Stored) else ()
    own_writes = {each.composed.record.revision for each in sent}
    taken_over = (each for each in ends if each.met_login and each.revision not in own_writes)
    return next(taken_over, None) or next((each for each in ends if each.is_made), ends[0])


def _known_keys(session: Session) -> tuple[Verified, ...]:
    match session.state:
        case Unread(found) | Unreachable(found):
            return found
        case Stored() as stored:
            return (*stored.known_keys, *stored.others)
        case New() as new:
            after = () if new.after is None else (new.after.key, *new.after.others)
            return (*after, *(sent.composed.key for sent in new.sent))
        case Ended() as ended:
            return (ended.key, *ended.others)


def delete(session: Session, key: Verified) -> Steps[None]:
    """End the session that lies under *key*, or what it became, from elsewhere."""
    left = session.site.tombstone(Reason.ENDED)
    for other in {session, *moving_sessions()}:
        state = other.state
        if not isinstance(state, Stored):
            continue
        place = state.snapshot.key.storage_key
        if state.is_moving and place == key.storage_key:
            # To end the key that a session is about to leave is to have it leave. Where that is
            # refused, what became of the key is ended below.
            with contextlib.suppress(SessionEnded):
                yield from update(other)
                return
        elif _has_left(other, state, key):
            # What the session is now isn't meant.
            yield from line.end_here(session, key.storage_key, left, DELETED)
            return
    own = own_session()
    current = None if own is None else own.state
    # A table of keys may still hold the one that the request's own session left a moment ago.
    spared = current.snapshot.key.storage_key if isinstance(current, Stored) else ""
    yield from _ended(session, key, left, DELETED, spared)


def _has_left(session: Session, state: Stored, key: Verified) -> bool:
    """Did the session lie under *key* in this request, and does it lie under another one now?"""
    places = {snapshot.key.storage_key for snapshot in state.earlier}
    now = state.snapshot.key.storage_key
    came_with = {key.storage_key for key in session.came_with}
    if state.has_written and now not in came_with:
        places |= came_with
    return key.storage_key in places - {now}


# New keys


def create(session: Session) -> Steps[None]:
    """Store the session's entries under a new key. See `DriverSessionStore.create`."""
    if isinstance(session.state, Unread) and session.entries is None:
        # What was not read isn't taken along.
        session.entries = Entries.cleared()
    yield from read(session)
    match session.state:
        case Ended() as ended:
            if not ended.allows_write:
                raise interrupted(session, ended.tombstone)
            session.state = New(after=ended)
        case Unreachable():
            raise unread()
        case Stored():
            # What was read reaches another key by a conditional step from its old record.
            give_new_key(session)
            yield from update(session)
            return
    yield from add(session, key=session.site.make_key())


def give_new_key(session: Session) -> None:
    """Give the session a new key now; the next save commits it.

    Raises:
        StoreUnavailable: The session could not be read.
    """
    key = session.site.make_key()
    match session.state:
        case Unreachable():
            raise unread()
        case Ended() as ended:
            session.state = New(key, after=ended)
        case Stored() as stored:
            session.state = stored._replace(key=key)
        case New() as new:
            session.state = new._replace(key=key)
        case Unread():
            session.state = New(key)
    note_moving(session)


def note_login(session: Session) -> None:
    """Give the session a new key because a user logs in, unless this request gave it one.

    Django's ``login()`` gives none to a user who is logged in already, and code that sets the entry
    by hand gives none (OWASP ASVS 7.2.4).
    """
    session.login_ms = session.site.now()
    # The one who authenticated before may have been another user.
    session.authenticated_ms = 0
    session.admission = None
    # A new one was never read: a password that this request changed must not end it.
    note_read(session)
    # A new session has none; a call less for it.
    if not isinstance(session.state, New) and _is_key_due(session) and config().cycle_on_login:
        give_new_key(session)


def note_authentication(session: Session) -> None:
    """Note that the user of the session proved again who they are, and give it a new key.

    Raises:
        PermissionDenied: The session has no user.
        StoreUnavailable: The session could not be read.
    """
    if isinstance(session.state, Unreachable):
        raise unread()
    if user_id(session.own_entries()) is None:
        raise PermissionDenied("No user is logged in, so there is none to authenticate again.")
    session.authenticated_ms = session.site.now()
    if _is_key_due(session):
        give_new_key(session)


def _is_key_due(session: Session) -> bool:
    """Has the session a key that this request did not give it?"""
    match session.state:
        case Ended():
            return True
        case Stored() as stored:
            # A move without an answer may be over.
            return bool(stored.sent) or not stored.is_moving
    return False
