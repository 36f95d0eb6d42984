"""The limit of a user's sessions: what a login does before its record is stored, and after.

Before, it finds the sessions that there are. Where logins are denied at the limit, it takes a seat then,
or ends without having changed anything. After, where a login ends others, it ends those beyond the
limit. `core.limits` decides.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from django_multisession.core import limits, marks, merging
from django_multisession.core.keys import Verified
from django_multisession.core.limits import Admission, Seat, Seats
from django_multisession.core.records import (
    MISSING,
    Outcome,
    Reason,
    Record,
    Tombstone,
    bytes_of_user,
    new_series,
)
from django_multisession.drivers.base import log_unreadable, skip_newer
from django_multisession.exceptions import (
    SessionConflict,
    SessionLimitReached,
    StoreUnavailable,
)
from django_multisession.session import events, line
from django_multisession.session.custom_expiry import EXPIRY_ENTRY
from django_multisession.session.index import MOST_PASSES, Found, end_listed, find
from django_multisession.session.read import read_entries
from django_multisession.session.state import Ended, New, Sent, Session, Stored
from django_multisession.session.steps import FIRST_PAUSE, Call, Steps, back_off
from django_multisession.settings.conf import config

#: What the signal says of sessions that a login ended at the limit.
LIMIT = "limit"
#: For how many seconds a login tries to take a seat that others take or leave.
PATIENCE = 20.0
#: After so many refused adds the record of the seats is taken for one that can't be read.
ADD_TRIES = 3


def admit(session: Session) -> Steps[None]:
    """Prepare the login of *session*, once, before its record is stored.

    Raises:
        EntryNotSerializable: The login can't be stored.
        SessionLimitReached: The user has as many sessions as are allowed. The session is again what it
            was before the login.
        StoreUnavailable: The server did not answer. Nothing was stored.
    """
    user_id = merging.user_id(session.own_entries())
    if session.admission is not None or user_id is None:
        return
    series, at_limit = new_series(), config().at_limit
    most = yield from _most_of(user_id)
    if most is None:
        session.admission = Admission(series)
        return
    if at_limit == limits.DENY:
        session.serialized()  # raises before a seat is taken
        seats = None
        # One that takes the place of its user's session needs no seat: as many are left.
        if _replaced(session, user_id) is None:
            seats = yield from _take_seat(session, user_id, series, most)
        session.admission = Admission(series, 0, most, at_limit, seats)
        return
    found = yield from find(session, user_id)
    began_ms = limits.beginning(session.site.now(), [each.record for each in found])
    agents = frozenset(each.user_agent for each in found if each.user_agent is not None)
    session.admission = Admission(series, began_ms, most, at_limit, agents=agents)


def settle(session: Session, place: str, record: Record) -> Steps[Tombstone | None]:
    """Keep the limit after the *record* of a login was stored at *place*.

    Returns:
        The tombstone if logins that began later took its place; None if it stays.
    """
    admission, session.admission = session.admission, None
    user_id = record.user_id
    if admission is None or admission.most is None or user_id is None:
        return None
    try:
        if admission.at_limit == limits.DENY:
            yield from _leave_seat(session, user_id, admission)
            return None
        return (yield from _end_excess(session, user_id, place, record, admission))
    except (StoreUnavailable, SessionConflict) as problem:
        # The login is stored: an outage logs no one out. The user's next login keeps the limit.
        events.LIMIT_NOT_KEPT.write(record.series.hex(), problem)
        return None


def leave(session: Session, refused: Sent | None = None) -> Steps[None]:
    """Give back the seat of a login that isn't stored; it is admitted again if it is tried again.

    Args:
        session: Whose login it is.
        refused: What was sent last, if the server answered that.
    """
    admission, state = session.admission, session.state
    if admission is None:
        return
    if isinstance(state, New | Stored) and any(sent is not refused for sent in state.sent):
        return  # a write without an answer may still be carried out
    session.admission = None
    user_id = merging.user_id(session.own_entries())
    if user_id is not None:
        # Where that fails, it is held for a minute.
        with contextlib.suppress(StoreUnavailable, SessionConflict):
            yield from _leave_seat(session, user_id, admission)


def is_reached(session: Session, user_id: str) -> Steps[bool]:
    """Would a login of *user_id* in *session* be denied?"""
    if config().at_limit != limits.DENY:
        return False
    most = yield from _most_of(user_id)
    if most is None:
        return False
    if session.key is not None:
        yield from read_entries(session)
    live = {each.record.series for each in (yield from find(session, user_id))}
    return _replaced(session, user_id) not in live and len(live) >= most


def _most_of(user_id: str) -> Steps[int | None]:
    given: Any = config().max_sessions
    if callable(given):
        given = yield Call(given, (user_id,))
        if given is not None and not limits.is_limit(given):
            raise ImproperlyConfigured(
                "The function in MULTISESSION_MAX_SESSIONS must return a whole number, 1 or more, "
                f"or None (got {given!r})."
            )
    most: int | None = given
    return most


def _replaced(session: Session, user_id: str) -> bytes | None:
    """Return the series of the user's session that a login in *session* takes the place of."""
    state = session.state
    if not isinstance(state, Stored) or state.snapshot.record.user_id != user_id:
        return None
    return state.snapshot.record.series


def _end_excess(
    session: Session, user_id: str, place: str, own: Record, admission: Admission
) -> Steps[Tombstone | None]:
    most, left = admission.most or 0, session.site.tombstone(Reason.ENDED)
    for number in range(MOST_PASSES):
        if number > 1:
            yield from back_off(FIRST_PAUSE, number)
        found = yield from find(session, user_id)
        listed = [each.record for each in found]
        excess = limits.excess(listed, own, most, admission.at_limit, session.site.now())
        # At the limit, one that moved while the index was read may be missing.
        if not excess and (number or len(found) < most):
            break
        beyond = [each for each in found if each.record.series in excess]
        if not config().cycle_on_login:
            if own.series in (yield from _end_in_place(session, beyond, left)):
                return left
            continue
        others = {e.place: e.record for e in beyond if e.record.series != own.series}
        yield from end_listed(session, others, left, LIMIT, {}, user_id)
        if own.series in excess:
            yield from line.end(session, place, left, LIMIT, user_id=user_id)
            return left
    else:
        raise SessionConflict(f"After {MOST_PASSES} looks there were still sessions beyond it.")
    return None


def _end_in_place(session: Session, beyond: list[Found], left: Tombstone) -> Steps[set[bytes]]:
    """End those sessions that are still where they were found; return the series of all that ended.

    Where logins keep the key, a newer login of the user may lie there by now.
    """
    ended = set()
    for each in beyond:
        stored = (yield from line.retire(session, each.place, each.record, left, LIMIT)).stored
        is_moved = isinstance(stored, Tombstone) and stored.reason is Reason.MOVED
        if not (isinstance(stored, Record) or is_moved):
            # Otherwise the next look finds what became of it.
            ended.add(each.record.series)
    return ended


# Seats


def _take_seat(session: Session, user_id: str, series: bytes, most: int) -> Steps[Record | None]:
    def decide(seats: Seats) -> Steps[Seats]:
        live: set[bytes] = set()
        # A session that moves while the index is read may be missing once, and one that a login takes
        # the place of may be found beside that login.
        for number in range(MOST_PASSES):
            before = live
            live = {each.record.series for each in (yield from find(session, user_id))}
            is_sure = number > 0 and live == before
            if is_sure or not limits.is_full(seats, live | before, most - 1):
                break
        if limits.is_full(seats, live | before, most):
            _undo_login(session)
            raise SessionLimitReached
        return (*seats, Seat(series, session.site.now()))

    return (yield from _change_seats(session, user_id, decide))


def _leave_seat(session: Session, user_id: str, admission: Admission) -> Steps[None]:
    if admission.seats is None:
        return

    def decide(seats: Seats) -> Steps[Seats]:
        yield from ()
        return tuple(seat for seat in seats if seat.series != admission.series)

    yield from _change_seats(session, user_id, decide, admission.seats)


def _change_seats(
    session: Session,
    user_id: str,
    decide: Callable[[Seats], Steps[Seats]],
    known: Record | None = None,
) -> Steps[Record | None]:
    """Replace the seats of *user_id* by what *decide* makes of those that are held.

    Args:
        session: For whom.
        user_id: Whose seats these are.
        decide: Is asked again where other logins changed them meanwhile.
        known: The record that this login wrote last.
    """
    site, driver = session.site, session.site.notes
    place = limits.place_of(bytes_of_user(user_id), site.bound[0])
    began_at, refused = site.monotonic(), 0
    stored: object = known
    for tries in itertools.count():
        if not isinstance(stored, Record):
            stored = yield from skip_newer(place, driver.get(place))
        before = stored if isinstance(stored, Record) else None
        held = limits.held(_seats_in(session, place, before), site.now())
        seats = yield from decide(held)
        if seats == held:
            return before
        facts = marks.facts_at(site.now(), before=before)
        record = site.sign(facts, limits.encode(seats), Verified("", place), before)
        if before is not None:
            # An expired record is replaced too.
            replacing = driver.replace(place, record, before, before.touched_ms)
            answer = (yield from skip_newer(place, replacing)) or MISSING
            if answer.outcome is Outcome.SAVED:
                return record
            # In a transaction another read may show what was there when it began.
            stored = answer.stored
        elif (yield from skip_newer(place, driver.add(place, record))):
            return record
        else:
            refused += 1
        if refused > ADD_TRIES:
            # An attacker who can write to the store must not keep a user out.
            log_unreadable(place, "the seats of a user's logins can't be stored")
            return None
        if site.monotonic() - began_at > PATIENCE:
            raise SessionConflict(f"Other logins of the user went on for {PATIENCE:.0f} seconds.")
        yield from back_off(FIRST_PAUSE, tries)
    raise AssertionError  # for mypy: the loop has no end


def _seats_in(session: Session, place: str, record: Record | None) -> Seats:
    payload = None if record is None else line.open_note(session.site, place, record)
    return () if payload is None else limits.decode(payload)


def _undo_login(session: Session) -> None:
    """Make the session what it was before the login; what else was changed stays changed."""
    entries = session.own_entries()
    before = {} if entries.cleared_at is not None else session.stored_entries()
    restored = merging.auth_entries(before)
    if EXPIRY_ENTRY in before:
        restored[EXPIRY_ENTRY] = before[EXPIRY_ENTRY]
    # A login form may have had the session remembered.
    own = {*merging.auth_entries(entries.plain()), *restored, EXPIRY_ENTRY}
    kept = {name: value for name, value in entries.plain().items() if name not in own}
    entries.take({**kept, **restored})
    for name in own:
        entries.written.pop(name, None)
    match session.state:
        case Stored() as stored:
            session.state = stored._replace(key=stored.snapshot.key)
        case New(after=Ended() as after) if not after.allows_write:
            session.state = after
        case New() as new:
            session.state = new._replace(key=None)
