"""Saving: store what a request changed, over what it read, and never over an ended session."""

from __future__ import annotations

import itertools
from typing import Any

from django.contrib.sessions.backends.base import CreateError
from django.views.decorators.debug import sensitive_variables

from django_multisession import signals
from django_multisession.core import marks, merging
from django_multisession.core.keys import Verified
from django_multisession.core.lifetime import Life, later_authentication
from django_multisession.core.merging import Merge
from django_multisession.core.records import (
    FITS_EVERYWHERE,
    NEVER,
    Answer,
    Facts,
    Outcome,
    Reason,
    Record,
    Tombstone,
    new_series,
)
from django_multisession.core.secret import SecretBytes, SecretEntries
from django_multisession.core.values import ABSENT
from django_multisession.drivers.base import Driver, is_indexed, skip_newer
from django_multisession.drivers.base import Steps as DriverSteps
from django_multisession.drivers.listed.driver import ListedDriver
from django_multisession.exceptions import (
    SessionConflict,
    SessionEnded,
    StoreUnavailable,
)
from django_multisession.session import devices, limit, line
from django_multisession.session.context import note_moving
from django_multisession.session.line import MOST_HOPS, REVOKED, Opened, find, open_record
from django_multisession.session.read import (
    is_fresh,
    read_entries,
    read_where_moved,
    touch,
)
from django_multisession.session.state import (
    Ended,
    New,
    Sent,
    Session,
    Snapshot,
    Stored,
    Unreachable,
    unread,
)
from django_multisession.session.steps import FIRST_PAUSE, Result, Steps, back_off, queue
from django_multisession.settings.conf import config

#: A new key is never taken (132 random bits); a server that says so again and again is broken.
CREATE_TRIES = 3
#: For how many seconds a save that meets other saves is tried again.
SAVE_PATIENCE = 20.0
#: Bytes of serialized entries from which on saves in one process go one after the other from the
#: first try: a try that fails costs more than the wait.
BIG = 32 * 1024

#: What lies under the storage key of a mark, where that was asked for.
Marking = Record | Tombstone | None


def save(session: Session, *, must_create: bool = False, is_changed: bool = False) -> Steps[None]:
    """Store what changed; touch the session if nothing did. See `DriverSessionStore.save`.

    Args:
        session: What to save.
        must_create: See there.
        is_changed: Is it known that something changed? Otherwise that is looked at.
    """
    state = session.state
    if isinstance(state, Stored) and session.entries is not None and not must_create:
        yield from update(session, is_changed=is_changed)
        return
    if isinstance(state, Ended) and not state.allows_write:
        if state.is_unknown and not must_create and not session.is_marked():
            return
        require_login(session)
    if must_create and isinstance(state, Unreachable):
        raise unread()
    yield from read_entries(session)
    match session.state:
        case Stored() as stored:
            if must_create and not stored.is_moving:
                raise CreateError
            yield from update(session)
        case Ended() as ended:
            require_login(session)
            session.state = New(after=ended)
            yield from add(session, must_create=must_create)
        case New():
            yield from add(session, must_create=must_create)
        case _:
            # The server may be back, but what it holds was not read: there is nothing to save over.
            if session.is_marked():
                raise unread()


# Adding


def add(session: Session, *, key: Verified | None = None, must_create: bool = False) -> Steps[None]:
    """Store a new record, under *key*, the key that was given already, or a new one."""
    for _ in range(CREATE_TRIES):
        try:
            # First: what the settings say now is read with it.
            made = key or session.site.make_key()
            if config().max_sessions is not None and session.is_login:
                yield from limit.admit(session)
            state = session.state
            if not isinstance(state, New):
                return
            require_login(session)
            if state.sent and (yield from _look_for_added(session, state)):
                yield from save(session)
                return
            key = key or state.key or (state.sent[0].composed.key if state.sent else None)
            if (yield from _add_under(session, state, key or made)):
                return
        except StoreUnavailable:
            raise  # whether it is stored isn't known
        except Exception:
            yield from limit.leave(session)
            raise
        if must_create and key is not None:
            yield from limit.leave(session)
            raise CreateError
        key = None
    raise StoreUnavailable(f"The server called {CREATE_TRIES} new session keys taken.")


def _add_under(session: Session, state: New, key: Verified) -> Steps[bool]:
    now, clock = session.site.now(), session.own_entries().clock
    if session.admission is not None:
        now = max(now, session.admission.began_ms)
    body, is_login = session.serialized(), session.is_login
    life = session.site.life(session.own_entries(), now)
    composed = compose(session, key, None, body, now, life, is_login=is_login)
    sent = Sent(composed, None, clock, is_login)
    # Before it is sent: a lost answer must not make a second session of it.
    noted = session.state = New(state.key, state.after, (sent, *state.sent))
    is_made, mark = yield from _place(session, state.after, sent, now)
    current = session.state
    if not isinstance(current, New):
        return True  # a thread or another coroutine of this request ended it
    if not is_made:
        # The key is taken: another one is made.
        session.state = (state if current is noted else current)._replace(key=None)
        return False
    _finish_add(session, current, sent, now)
    if mark is not None:
        yield from _heed(session, sent, mark)
    if session.admission is not None:
        yield from _keep_limit(session, sent)
    return True


def _finish_add(session: Session, state: New, sent: Sent, now: int | None) -> None:
    composed = sent.composed
    # A key that was given while the add was under way waits for the next save.
    session.state = Stored(composed, state.key or composed.key, confirmed_at=now, has_written=True)
    if state.after is not None:
        note_moving(session)
    session.note_saved(sent)
    session.note(
        signals.session_created,
        storage_key=composed.key.storage_key,
        user_id=composed.record.user_id,
    )
    if sent.is_login and signals.new_device.receivers:
        session.note_login(composed)


def _look_for_added(session: Session, state: New) -> Steps[bool]:
    """Find out whether an add without an answer was carried out; True if the state says so now."""
    for sent in state.sent:
        key = sent.composed.key
        found = yield from find(session, key)
        if session.state is not state:
            return True
        if isinstance(found, Opened) and found.snapshot.record.holds(sent.composed.record):
            yield from _list_again(session, sent)
            if session.state is not state:
                return True
            _finish_add(session, state, sent, None)
            yield from _look_for_mark(session, sent)
            return True
        if isinstance(found, Tombstone):
            session.state = Ended(key, key.storage_key, found)
            # A login that is tried again is another session than the one that ended.
            yield from limit.leave(session)
            return True
    return False


def _place(
    session: Session, after: Ended | None, sent: Sent, now: int
) -> Steps[tuple[bool, Marking]]:
    """Store a new record, and return whether, with the mark; as the successor of an ended session it claims the tombstone, once.

    Without a claim, an anonymous session that a logout leaves behind would set its cookie over that
    of a login which came in between.
    """
    composed, driver = sent.composed, session.site.driver
    new, record = composed.key.storage_key, composed.record
    place = after.place if after else ""
    base: Record | Tombstone | None = after.tombstone if after else None
    for _ in range(MOST_HOPS):
        if base is None:
            break
        if isinstance(base, Tombstone) and base.successor:
            if not sent.is_login:
                raise interrupted(session, base)
            if base.reason is not Reason.MOVED:
                break  # two logins of one client both succeed
            place = base.successor
            base = yield from driver.get(place)
            continue
        moving = driver.move(place, new, record, base, sent.left, now)
        mark: Marking = None
        if sent.is_login:
            answer, mark = yield from _with_mark(session, driver, sent, moving)
        else:
            answer = yield from moving
        if answer.outcome is Outcome.SAVED:
            if isinstance(base, Record) and sent.is_login:
                session.note(
                    signals.session_ended,
                    storage_key=place,
                    user_id=base.user_id,
                    reason="login",
                )
            return True, mark
        base = answer.stored
    if sent.is_login:
        return (yield from _with_mark(session, driver, sent, driver.add(new, record)))
    return (yield from driver.add(new, record)), None


# The mark that all sessions of the user were ended: see `core.marks`


def _with_mark(
    session: Session, driver: Driver, sent: Sent, writing: DriverSteps[Result]
) -> Steps[tuple[Result, Marking]]:
    """Write what a login stores, or what may lie in no list, and look for the mark of its user."""
    place = session.site.place_of_mark(sent.composed.record.user)
    if place and is_indexed(driver):
        return (yield from driver.write_and_get(writing, place))
    return (yield from writing), None


def _look_for_mark(session: Session, sent: Sent) -> Steps[None]:
    """Look for the mark after a login whose answer did not arrive, and keep the limit."""
    if not sent.is_login:
        return
    site = session.site
    place = site.place_of_mark(sent.composed.record.user)
    if place and is_indexed(site.driver):
        noted = yield from skip_newer(place, site.notes.get(place))
        yield from _heed(session, sent, noted)
    if session.admission is not None:
        yield from _keep_limit(session, sent)


def _list_again(session: Session, sent: Sent) -> Steps[None]:
    """List a login whose answer did not arrive, before it counts as stored: no list may have it yet."""
    driver = session.site.driver
    if sent.is_login and isinstance(driver, ListedDriver):
        yield from driver.add(sent.composed.key.storage_key, sent.composed.record)


def _heed(session: Session, sent: Sent, mark: Marking) -> Steps[None]:
    """End the session that *sent* has stored, if *mark* says that all sessions of its user were ended.

    Raises:
        SessionEnded: It does.
    """
    record, site = sent.composed.record, session.site
    if (
        isinstance(mark, Record)
        and sent.is_login
        and site.is_listed
        and marks.is_of_the_future(mark, site.now())
    ):
        # By a clock ahead. When its time comes, it would end this login at a use that is noted.
        yield from site.notes.withdraw(site.place_of_mark(record.user), mark)
    user, began_ms = record.user, session.login_ms if sent.is_login else record.began_ms
    if user is None or not line.is_revoked(session, user, mark, began_ms, record.series):
        return
    left, place = session.site.tombstone(Reason.ENDED), sent.composed.key.storage_key
    if sent.is_login:
        yield from line.end(session, place, left, REVOKED)
    else:
        # What it became meanwhile, by a new key, has read the mark too.
        yield from line.retire(session, place, record, left, REVOKED)
    raise interrupted(session, left)


def _keep_limit(session: Session, sent: Sent) -> Steps[None]:
    """Keep the limit of the user's sessions after the login that *sent* has stored.

    Raises:
        SessionEnded: As many began later as are allowed.
    """
    composed = sent.composed
    if session.admission is not None:
        yield from devices.compare_before_limit(session, session.admission.agents)
    left = yield from limit.settle(session, composed.key.storage_key, composed.record)
    if left is not None:
        raise interrupted(session, left)


# Updating


def update(session: Session, *, is_changed: bool = False) -> Steps[None]:  # noqa: C901  (one loop)
    """Write over the stored record what changed, move it to a new key, or touch it."""
    if config().max_sessions is not None and session.is_login:
        yield from limit.admit(session)
    sent: Sent | None = None
    try:
        merges: list[Merge] = []
        # What is known of one state says nothing of the next.
        changed = session.state if is_changed else None
        if isinstance(session.state, Stored) and session.state.sent:
            yield from _look_for_sent(session, session.state, merges)
        began_at = session.site.monotonic()
        is_queued = False
        for tries in itertools.count():
            state = session.state
            if not isinstance(state, Stored):
                return  # a thread or another coroutine of this request ended it
            is_big = len(state.snapshot.body) > BIG and session.is_marked()
            if not is_queued and (tries or is_big):
                is_queued = True
                if (yield from queue(state.snapshot.key.storage_key, SAVE_PATIENCE)) or tries > 1:
                    yield from _catch_up(session, state, merges)
                began_at = session.site.monotonic()
            elif tries:
                yield from _let_others_go_first(session, merges, tries, began_at)
            if not isinstance(state := session.state, Stored):
                return
            now = session.site.now()
            sent = _composed(session, state, now, is_changed=state is changed)
            if sent is None:
                yield from confirm(session, state)
                return
            if (yield from _write(session, state, sent, merges, now)):
                return
    except StoreUnavailable:
        raise  # as in add()
    except Exception:
        yield from limit.leave(session, sent)
        raise


def _composed(session: Session, state: Stored, now: int, *, is_changed: bool) -> Sent | None:
    """Make what is to be written over the record; None if nothing is."""
    base = state.snapshot
    # The entries get no name here: an error page shows what frames hold.
    is_login, clock = session.is_login, session.own_entries().clock
    if session.admission is not None:
        now = max(now, session.admission.began_ms)
    began = now if is_login else base.record.began_ms
    life = session.site.life(session.own_entries(), began)
    is_due = (
        is_changed
        or is_login
        or state.is_moving
        or bool(state.sent)  # one that was not carried out yet may still be
        or state.needs_signature
        or life != (base.record.idle_ms, base.record.deadline_ms)
    )
    if not (is_due or session.is_marked()):
        return None
    body = session.serialized()
    is_sure = is_due or session.own_entries().is_surely_changed
    if not (is_sure or _changes(session, base, body)):
        return None
    composed = compose(session, state.key, base, body, now, life, is_login=is_login)
    return Sent(composed, base, clock, is_login)


def _write(
    session: Session, state: Stored, sent: Sent, merges: list[Merge], now: int
) -> Steps[bool]:
    """Send *sent*; False if another save was met, and the session goes on from that one now."""
    base = state.snapshot
    session.state = state.sending(sent)
    mark: Marking = None
    driver = session.site.driver
    sending = _send(driver, sent, now)
    # The engine that lists the sessions may have lost this one, and an end of all with it.
    if sent.is_login or isinstance(driver, ListedDriver):
        answer, mark = yield from _with_mark(session, driver, sent, sending)
    else:
        answer = yield from sending
    if (current := session.stored_over(base)) is None:
        return False  # a thread or another coroutine of this request was faster
    if answer.outcome is Outcome.SAVED:
        _finish_update(session, current, sent, merges, now)
        if mark is not None:
            yield from _heed(session, sent, mark)
        if session.admission is not None:
            yield from _keep_limit(session, sent)
        return True
    found = yield from _found_instead(session, base, answer)
    if (current := session.stored_over(base)) is None:
        return False
    tombstone = answer.stored if isinstance(answer.stored, Tombstone) else None
    if found is None and tombstone is not None and sent.is_authentication:
        # A form that was sent twice: the first one gave the session a new key.
        found = yield from line.follow(session, tombstone)
        if (current := session.stored_over(base)) is None:
            return False
    if found is not None:
        yield from _go_on_from(session, found, merges)
        return False
    yield from _meet_end(session, current, tombstone)
    return True


def _send(driver: Driver, sent: Sent, now: int) -> DriverSteps[Answer]:
    composed, base = sent.composed, sent.base
    assert base is not None  # noqa: S101  (for mypy: what has none is added)
    old, new, record = base.key.storage_key, composed.key.storage_key, composed.record
    if old == new:
        return driver.replace(old, record, base.record, now)
    return driver.move(old, new, record, base.record, sent.left, now)


def _finish_update(
    session: Session, state: Stored, sent: Sent, merges: list[Merge], now: int | None
) -> Stored:
    # Not when the answer came: it confirms what was there when it was made.
    written = session.state = state.written(sent, now)
    session.note_saved(sent)
    storage_key = sent.composed.key.storage_key
    if sent.is_move and sent.base is not None:
        is_again = bool(session.authenticated_ms) and sent.is_authentication
        session.note(
            signals.session_key_changed,
            storage_key=storage_key,
            old_storage_key=sent.base.key.storage_key,
            user_id=sent.composed.record.user_id,
            reason="login" if sent.is_login else "authentication" if is_again else "requested",
        )
    if merges:
        session.note(
            signals.session_merged,
            storage_key=storage_key,
            resolved_entries=tuple(dict.fromkeys(n for made in merges for n in made.resolved)),
            lost_entries=tuple(dict.fromkeys(n for made in merges for n in made.lost)),
        )
    if sent.is_login and signals.new_device.receivers:
        session.note_login(sent.composed)
    return written


def _look_for_sent(session: Session, state: Stored, merges: list[Merge]) -> Steps[None]:
    """Find out whether a save without an answer was carried out, before another one is sent."""
    found = yield from read_where_moved(session, state.snapshot)
    if session.state is not state or not isinstance(found, Opened):
        return
    if state.sent_in(found.snapshot.record) is not None:
        yield from _go_on_from(session, found, merges)


def _found_instead(session: Session, base: Snapshot, answer: Answer) -> Steps[Opened | None]:
    """Return what *answer* brought, or the session where a move without an answer put it.

    None means that it was ended.
    """
    if answer.outcome is Outcome.CONFLICT and isinstance(answer.stored, Record):
        return open_record(session, base.key, answer.stored)
    state = session.state
    if not (isinstance(state, Stored) and any(sent.is_move for sent in state.sent)):
        return None
    found = yield from read_where_moved(session, base)
    return found if isinstance(found, Opened) else None


def _let_others_go_first(
    session: Session, merges: list[Merge], tries: int, began_at: float
) -> Steps[None]:
    """Wait before the next try, the longer the more a try costs: spinning serves no one.

    Raises:
        SessionConflict: Other requests saved this session for `SAVE_PATIENCE` seconds.
    """
    spent = session.site.monotonic() - began_at
    if spent > SAVE_PATIENCE:
        raise SessionConflict(
            f"Other requests saved this session again and again for {SAVE_PATIENCE:.0f} seconds."
        )
    yield from back_off(max(spent / tries, FIRST_PAUSE), tries - 1)
    if isinstance(session.state, Stored):
        yield from _catch_up(session, session.state, merges)


def _catch_up(session: Session, state: Stored, merges: list[Merge]) -> Steps[None]:
    """Go on from what is stored after a wait: what was known before it is old by now."""
    found = yield from find(session, state.snapshot.key)
    if session.state is not state or not isinstance(found, Opened):
        return
    if found.snapshot.record.revision != state.snapshot.record.revision:
        yield from _go_on_from(session, found, merges)


def _go_on_from(session: Session, found: Opened, merges: list[Merge]) -> Steps[None]:
    """Take over what was *found*; if that is a login of this request, see that it may stay."""
    state = session.state
    sent = state.sent_in(found.snapshot.record) if isinstance(state, Stored) else None
    if sent is not None:
        yield from _list_again(session, sent)
        if session.state is not state:
            return
    _take_over(session, found, merges)
    if sent is not None:
        yield from _look_for_mark(session, sent)


# The resolvers are the site's, and error pages show what frames hold.
@sensitive_variables()
def _take_over(session: Session, found: Opened, merges: list[Merge]) -> None:
    """Go on from another save's record, with its entries but for what this request changed.

    Raises:
        SessionEnded: That save changed whose session it is.
    """
    state = session.state
    assert isinstance(state, Stored)  # noqa: S101  (asked of stored sessions only; for mypy)
    if (sent := state.sent_in(found.snapshot.record)) is not None:
        state = _finish_update(session, state, sent, [], None)
    ancestor = state.ancestor_of(found.snapshot.record)
    is_own = ancestor.record.revision == found.snapshot.record.revision
    if not (session.is_login or _has_same_owner(session, ancestor, found)):
        raise interrupted(session)
    made = _merged(session, ancestor, found)
    if session.state is not state:
        return  # a resolver used the session
    own_names = {str(name): name for name in session.own_entries()}
    session.own_entries().take(
        {own_names.get(name, name): value for name, value in made.entries.items()}
    )
    session.state = state.found(found.snapshot)
    if not is_own:
        merges.append(made)


def _merged(session: Session, ancestor: Snapshot, found: Opened) -> Merge:
    """Merge what this request made of *ancestor*, if anything, with what was *found*."""
    before, theirs = session.site.loads(ancestor.body), found.entries
    is_new = session.is_marked() or session.is_anything_new(ancestor)
    changes = _changes(session, ancestor) if is_new else SecretEntries()
    try:
        if session.is_login:
            changes = SecretEntries(changes | merging.auth_entries(session.own_entries()))
            is_own = ancestor.record.revision == found.snapshot.record.revision
            users = (None, merging.user_id(session.own_entries()))
            if not is_own and merging.user_id(theirs) not in users:
                # Another user's by now: a login takes along what it set itself, and nothing of theirs.
                return Merge(entries={n: v for n, v in changes.items() if v is not ABSENT})
        if session.own_entries().cleared_at is not None:
            return merging.replaced(before, theirs, session.own_entries().plain())
        return merging.merged(before, theirs, changes, config().resolvers)
    finally:
        # A resolver is the site's and may raise; an error reporter walks through what frames hold.
        del before, theirs, changes


def _has_same_owner(session: Session, ancestor: Snapshot, found: Opened) -> bool:
    """Do both records belong to one login's session?"""
    if ancestor.record.began_ms != found.snapshot.record.began_ms:
        return False
    mine = merging.auth_entries(session.site.loads(ancestor.body))
    return not merging.changed_names(mine, merging.auth_entries(found.entries))


def _changes(session: Session, base: Snapshot, body: SecretBytes | None = None) -> SecretEntries:
    """Return what this request changed since *base*: name → value, `ABSENT` for a deleted entry.

    Values are compared as they would be read back: a serializer makes lists of tuples. Of what the
    request's entries descend from, only what was written or handed out can have changed.

    Args:
        session: Whose entries these are.
        base: What they are compared with.
        body: The entries as they would be stored, if they were serialized already.
    """
    before, own = session.site.loads(base.body), session.own_entries().plain()
    names = {*before, *own} if session.is_anything_new(base) else session.own_entries().touched
    if body is None:
        body = session.site.dumps({name: own[name] for name in names if name in own})
    mine = session.site.loads(body)
    names = {*mine, *names, *map(str, names)}
    written = {str(name) for name in session.written} | set(session.written)
    return SecretEntries(
        (name, _own_value(own, mine, name) if name in mine else ABSENT)
        for name in merging.changed_names(before, mine, written, among=names)
    )


def _own_value(own: SecretEntries, mine: SecretEntries, name: str) -> Any:
    """Return the live value of the entry that is stored as *name*: JSON has no names but strings."""
    if name in own:
        return own[name]
    return next((value for other, value in own.items() if str(other) == name), mine[name])


def confirm(session: Session, state: Stored) -> Steps[None]:
    """See that an unchanged session is still there, before its cookie is set again."""
    base, now = state.snapshot, session.site.now()
    if is_fresh(session, state) and not session.is_touch_due(base):
        return
    used_at = now if session.counts_as_use else base.record.touched_ms
    answer = yield from touch(session, state, used_at, now)
    if answer.outcome is Outcome.SAVED:
        return
    found = yield from _found_instead(session, base, answer)
    if (current := session.stored_over(base)) is None:
        return
    if found is None:
        tombstone = answer.stored if isinstance(answer.stored, Tombstone) else None
        session.state = _ended_over(current, tombstone)
        raise SessionEnded
    yield from _go_on_from(session, found, [])
    if isinstance(session.state, Stored):
        session.state = session.state._replace(confirmed_at=now)


def _meet_end(session: Session, state: Stored, tombstone: Tombstone | None) -> Steps[None]:
    """The record was ended: interrupt this request, unless it is a login of its own.

    Two logins on one session (a double click) both succeed. The second one takes along what it set
    itself, and nothing of what was ended.
    """
    base, ended = state.snapshot, _ended_over(state, tombstone)
    if not session.is_marked():
        # Only a signature was due: no change is lost.
        session.state = ended
        raise SessionEnded
    if not (state.is_moving and session.is_login):
        raise interrupted(session, tombstone)
    changes = _changes(session, base)
    changes.update(merging.auth_entries(session.own_entries()))
    session.own_entries().take({n: v for n, v in changes.items() if v is not ABSENT})
    del changes
    # Not under the key it has: a move whose answer was lost may have stored it there.
    session.state = New(after=ended)
    # It was admitted in place of the session that ended, and takes no other one's place now. And an
    # earlier try may have been stored and ended: its public id isn't used again.
    yield from limit.leave(session)
    yield from add(session)


# What is stored


def compose(
    session: Session,
    key: Verified,
    base: Snapshot | None,
    body: SecretBytes,
    now: int,
    life: Life,
    *,
    is_login: bool,
) -> Snapshot:
    """Make the record to store under *key*, over *base* or as a new one.

    Raises:
        SessionTooLarge: It grew beyond ``MULTISESSION_MAX_SIZE``, or beyond what the server takes.
    """
    site = session.site
    before = base.record if base else None
    # Only what grew under it: a limit that was lowered leaves stored sessions in use.
    has_grown = base is None or len(body) > len(base.body)
    if has_grown:
        site.require_size(body, session.own_entries())
    user_id = merging.user_id(session.own_entries())
    if before is None or is_login:
        admission = session.admission
        began, series = now, new_series() if admission is None else admission.series
    else:
        began, series = before.began_ms, before.series
    authenticated = NEVER if before is None else before.authenticated_ms
    if is_login:
        authenticated = session.login_ms
    elif session.authenticated_ms:
        authenticated = later_authentication(authenticated, session.authenticated_ms, now)
    if before is None:
        created = touched_ms = now
    else:
        # The clocks of two processes must not move the last use back.
        created, touched_ms = before.created_ms, before.touched_ms
        if session.counts_as_use and now > touched_ms:
            touched_ms = now
    # By position: this is made at every save.
    facts = Facts(
        created,
        began,
        touched_ms,
        life.idle_ms,
        life.deadline_ms,
        None if user_id is None else user_id.encode("utf-8", "surrogatepass"),
        NEVER if user_id is None else authenticated,
        series,
    )
    record = site.sign(facts, body, key, before)
    if len(record.raw) > FITS_EVERYWHERE:
        site.require_record_size(record, session.own_entries())
    return Snapshot(key, record, body, site.touch_due_ms(record))


def require_login(session: Session) -> None:
    """Refuse to begin a session after the end of another one, unless that is permitted or a login.

    Raises:
        SessionEnded: Its cookie would overwrite that of a login elsewhere.
        StoreUnavailable: It would overwrite that of a session that may live in the engine that the
            site left.
    """
    state = session.state
    after = state.after if isinstance(state, New) else state
    if isinstance(after, Ended) and not (after.allows_write or session.is_login):
        raise interrupted(session, after.tombstone)


def interrupted(
    session: Session, tombstone: Tombstone | None = None
) -> SessionEnded | StoreUnavailable:
    """Note that this request's changes can't be saved; return what tells its code."""
    match session.state:
        case Stored() as stored:
            ended = _ended_over(stored, tombstone)
        case New(after=Ended() as after) | (Ended() as after):
            ended = after._replace(tombstone=tombstone, allows_write=False)
        case _:
            return SessionEnded()
    session.state = ended
    if ended.is_unknown:
        return unread()
    session.note(signals.session_interrupted, storage_key=ended.key.storage_key)
    return SessionEnded()


def _ended_over(state: Stored, tombstone: Tombstone | None) -> Ended:
    base = state.snapshot
    return Ended(base.key, base.key.storage_key, tombstone, snapshot=base, others=state.others)
