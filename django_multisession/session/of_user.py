"""Ending the sessions of one user, and logins that are under way."""

from __future__ import annotations

from collections.abc import Callable

from django_multisession.core import marks
from django_multisession.core.keys import Verified
from django_multisession.core.lifetime import longest_ms
from django_multisession.core.merging import user_id as user_of
from django_multisession.core.records import (
    MISSING,
    NEVER,
    Outcome,
    Reason,
    Record,
    Tombstone,
    bytes_of_user,
)
from django_multisession.drivers.base import lasting, log_unreadable, skip_newer
from django_multisession.exceptions import SessionConflict
from django_multisession.session import adopt, line
from django_multisession.session.end import give_new_key
from django_multisession.session.index import MOST_PASSES, end_listed, indexed, page
from django_multisession.session.read import read_entries
from django_multisession.session.site import Site
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


def mark(session: Session, user_id: str, spared: Record | None = None) -> Steps[int]:
    """Have logins of *user_id* that began before now end themselves; return what now is.

    Where another engine lists the sessions, those end too that no list has, but for *spared*.
    """
    indexed(session)
    site, driver, now = session.site, lasting(session.site.notes), session.site.now()
    user, is_listed = bytes_of_user(user_id), site.is_listed
    place, until_ms = site.place_of_mark(user), _marked_until(site)

    def signed(before: Record | None) -> Record:
        at, own = now, spared if is_listed else None
        if before is not None and not marks.is_of_the_future(before, now):
            at = max(now, before.began_ms)
        if own and line.is_revoked(session, user, before, own.began_ms, own.series):
            own = None  # it was to end by the earlier mark
        facts = marks.facts_at(at, until_ms, before)
        payload = marks.encode(None if own is None else own.series)
        return site.sign(facts, payload, Verified("", place), None)

    record = signed(None)
    for _ in range(MOST_PASSES):
        if (yield from skip_newer(place, driver.add(place, record))):
            return now
        stored = yield from skip_newer(place, driver.get(place))
        if stored is None:
            continue  # it has expired since, or is damaged
        if isinstance(stored, Tombstone):
            break
        if _says_as_much(site, stored, record, place, now):
            return now
        # An earlier one is replaced even if it has expired.
        record = signed(stored)
        replacing = driver.replace(place, record, stored, stored.touched_ms)
        answer = (yield from skip_newer(place, replacing)) or MISSING
        if answer.outcome is Outcome.SAVED:
            return record.began_ms
    log_unreadable(place, "the mark that a user's sessions were ended can't be stored")
    return now


def _says_as_much(site: Site, stored: Record, record: Record, place: str, now: int) -> bool:
    """Does the mark *stored* say what *record* is to say?"""
    if stored.began_ms < now or marks.is_of_the_future(stored, now):
        return False
    if not site.is_listed:
        return True
    # It may spare another session.
    found, own = (line.open_note(site, place, each) for each in (stored, record))
    return found in (marks.encode(None), own)


def _marked_until(site: Site) -> int | None:
    """Return until when sessions may live that no list has; None: no longer than a login takes."""
    until_ms = adopt.adopts_until(site)
    if not site.is_listed:
        return until_ms
    longest = longest_ms(site.policy())
    return max(until_ms or 0, site.now() + longest if longest else NEVER)


def end_all_but(session: Session, user_id: str, spared: Session | None) -> Steps[int]:
    """End the sessions of *user_id* but for *spared*, which may be a login that is under way."""
    own = None if spared is None else _stored(spared)
    marked_at = yield from mark(session, user_id, own)
    if spared is not None:
        spared.login_ms = max(spared.login_ms, marked_at)
        own = _stored(spared)
    kept = None if own is None else own.series
    return (yield from end(session, user_id, lambda record: record.series != kept, marked_at))


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
    record = _stored(session)
    return None if record is None else record.series


def _stored(session: Session) -> Record | None:
    state = session.state
    return state.snapshot.record if isinstance(state, Stored) else None
