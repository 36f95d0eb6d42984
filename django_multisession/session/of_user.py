"""Ending the sessions of one user, and logins that are under way."""

from __future__ import annotations

from collections.abc import Callable

from django_multisession.core import marks
from django_multisession.core.keys import Verified
from django_multisession.core.merging import user_id as user_of
from django_multisession.core.records import (
    MISSING,
    Outcome,
    Reason,
    Record,
    Tombstone,
    bytes_of_user,
)
from django_multisession.core.secret import SecretBytes
from django_multisession.drivers.base import log_unreadable, skip_newer
from django_multisession.exceptions import SessionConflict
from django_multisession.session import adopt, line
from django_multisession.session.end import give_new_key
from django_multisession.session.index import MOST_PASSES, end_listed, indexed, page
from django_multisession.session.read import read_entries
from django_multisession.session.state import Ended, Session, Stored
from django_multisession.session.steps import FIRST_PAUSE, Steps, back_off


def end(
    session: Session,
    user_id: str,
    is_meant: Callable[[Record], bool],
    marked_ms: int | None = None,
    most: int | None = None,
) -> Steps[int]:
    """End those sessions of *user_id* that are meant; return how many.

    An end follows a session to its new key. The index is read again until it holds none of them, and
    twice at least: a session may move behind what was read.

    Args:
        session: Whose events these are.
        user_id: Whose sessions.
        is_meant: Which of them.
        marked_ms: What `mark` returned, if logins that are under way end too. The first pass ends
            what was there, by whatever clock that began. The others leave logins that began later.
        most: How many sessions are meant at most. A pass that ended so many is the last one.

    Raises:
        SessionConflict: After the last pass there were still sessions to end.
    """
    left = session.site.tombstone(Reason.ENDED)
    ended: dict[str, Record] = {}

    def is_to_end(record: Record, number: int) -> bool:
        is_spared = (
            number
            and marked_ms is not None
            and marks.is_later_login(record, marked_ms, session.site.now())
        )
        return is_meant(record) and not is_spared

    for number in range(MOST_PASSES):
        is_left = False
        cursor: str | None = ""
        while cursor is not None:
            found, cursor = yield from page(session, user_id, cursor)
            meant = {each.place: each.record for each in found if is_to_end(each.record, number)}
            is_left = is_left or bool(meant)
            yield from end_listed(session, meant, left, line.REVOKED, ended, user_id)
        count = len({record.series for record in ended.values()})
        if count == most or (number and not is_left):
            return count
        if number:
            # A move in steps lies under two keys until it is done, or undone as its session ended.
            yield from back_off(FIRST_PAUSE, number)
    raise SessionConflict(
        f"After {MOST_PASSES} passes the user still had sessions to end. End them again."
    )


def end_all(session: Session, user_id: str) -> Steps[int]:
    """End every session of *user_id*, and logins that are under way."""
    return (yield from end_all_but(session, user_id, None))


def mark(session: Session, user_id: str) -> Steps[int]:
    """Have logins of *user_id* that began before now end themselves; return what now is."""
    indexed(session)
    site, driver, now = session.site, session.site.driver, session.site.now()
    place = marks.place_of(bytes_of_user(user_id), site.bound[0])
    until_ms = adopt.adopts_until(site)

    def signed(before: Record | None) -> Record:
        facts = marks.facts_at(now, until_ms, before)
        return site.sign(facts, SecretBytes(), Verified("", place), None)

    record = signed(None)
    for _ in range(MOST_PASSES):
        if (yield from skip_newer(place, driver.add(place, record))):
            return now
        stored = yield from skip_newer(place, driver.get(place))
        if stored is None:
            continue  # it has expired since, or is damaged
        if isinstance(stored, Tombstone):
            break
        if stored.began_ms >= now and not marks.is_of_the_future(stored, now):
            return now  # a later one says the same
        # An earlier one is replaced even if it has expired.
        record = signed(stored)
        replacing = driver.replace(place, record, stored, stored.touched_ms)
        answer = (yield from skip_newer(place, replacing)) or MISSING
        if answer.outcome is Outcome.SAVED:
            return now
    log_unreadable(place, "the mark that a user's sessions were ended can't be stored")
    return now


def end_all_but(session: Session, user_id: str, spared: Session | None) -> Steps[int]:
    """End the sessions of *user_id* but for *spared*, which may be a login that is under way."""
    marked_at = yield from mark(session, user_id)
    own = None
    if spared is not None:
        spared.login_ms = max(spared.login_ms, marked_at)
        own = series(spared)
    return (yield from end(session, user_id, lambda record: record.series != own, marked_at))


def end_others(session: Session) -> Steps[int]:
    """End the other sessions of this session's user, and give this one a new key."""
    indexed(session)
    user_id = user_of((yield from read_entries(session)))
    if user_id is None or isinstance(session.state, Ended):
        return 0
    if not session.is_moving:
        # Whoever has a copy of its cookie is among the others.
        give_new_key(session)
    return (yield from end_all_but(session, user_id, session))


def series(session: Session) -> bytes | None:
    """Return the public id of *session*, as it is stored; None where it isn't."""
    state = session.state
    return state.snapshot.record.series if isinstance(state, Stored) else None
