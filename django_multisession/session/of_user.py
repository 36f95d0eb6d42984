"""The sessions of one user: found by the engine's index, and counted by their signed records.

The index is a hint. A record in it counts where its signature is right for the key it lies under and
for this site, and its signed user is the one who is asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from django.core.exceptions import ImproperlyConfigured

from django_multisession.core import marks
from django_multisession.core.keys import Verified
from django_multisession.core.merging import user_id as user_of
from django_multisession.core.records import Outcome, Reason, Record
from django_multisession.core.secret import SecretBytes
from django_multisession.drivers.base import Indexed, log_unreadable
from django_multisession.exceptions import BadPayload, StoreUnavailable
from django_multisession.session import adopt, line
from django_multisession.session.end import give_new_key
from django_multisession.session.read import read_entries
from django_multisession.session.state import Ended, Session, Stored
from django_multisession.session.steps import Steps

#: Records that one answer of a server holds.
PAGE = 200
#: How often the index is read at most until nothing is left to end: a session may move while it is
#: read, behind what was read.
MOST_PASSES = 16


class NotIndexed(ImproperlyConfigured):
    """The site's engine can't find the sessions of a user."""


class Found(NamedTuple):
    """A live session of the user.

    Attributes:
        place: Its storage key.
        record: What is stored there.
        ends_ms: When it ends by the settings as they are now.
        is_browser_length: Does its cookie end with the browser?
    """

    place: str
    record: Record
    ends_ms: int
    is_browser_length: bool


def find(session: Session, user_id: str) -> Steps[list[Found]]:
    """Return the live sessions of *user_id*, the last used one first, each once.

    Raises:
        ImproperlyConfigured: The engine can't find them.
    """
    driver, now, cursor = _indexed(session), session.site.now(), ""
    found: dict[bytes, Found] = {}
    while True:
        records, cursor = yield from driver.of_user(user_id, now, cursor=cursor, limit=PAGE)
        for place, record in records:
            opened = _opened(session, place, record, now)
            # One that moves, where a server changes one record at a time, lies under two keys.
            known = found.get(record.series)
            if opened and (known is None or known.record.touched_ms < record.touched_ms):
                found[record.series] = opened
        if not cursor:
            break
    return sorted(found.values(), key=lambda each: each.record.touched_ms, reverse=True)


def end(session: Session, user_id: str, is_meant: Callable[[Record], bool]) -> Steps[int]:
    """End those sessions of *user_id* that are meant; return how many.

    An end follows a session to its new key. The index is read again until it holds none of them, and
    twice at least.
    """
    left, ended = session.site.tombstone(Reason.ENDED), set()
    for number in range(MOST_PASSES):
        found = yield from find(session, user_id)
        meant = [each for each in found if is_meant(each.record)]
        if number and not meant:
            break
        for each in meant:
            if (yield from line.end(session, each.place, left, line.REVOKED)).is_made:
                ended.add(each.record.series)
    return len(ended)


def end_all(session: Session, user_id: str) -> Steps[int]:
    """End every session of *user_id*, and logins that are under way."""
    return (yield from end_all_but(session, user_id, None))


def mark(session: Session, user_id: str) -> Steps[int]:
    """Have logins of *user_id* that began before now end themselves; return what now is."""
    _indexed(session)
    site, driver, now = session.site, session.site.driver, session.site.now()
    place = marks.place_of(user_id.encode("utf-8", "surrogatepass"), site.bound[0])
    facts = marks.facts_at(now, adopt.adopts_until(site))
    record = site.sign(facts, SecretBytes(), Verified("", place), None)
    stored: object = None
    for _ in range(MOST_PASSES):
        if (yield from driver.add(place, record)):
            return now
        stored = yield from driver.get(place)
        if not isinstance(stored, Record):
            break
        if stored.began_ms >= now and not marks.is_of_the_future(stored, now):
            break  # a later one says the same
        # An earlier one is replaced even if it has expired.
        answer = yield from driver.replace(place, record, stored, stored.touched_ms)
        if answer.outcome is Outcome.SAVED:
            return now
    if not isinstance(stored, Record):
        log_unreadable(place, "the mark that a user's sessions were ended can't be stored")
    return now


def end_all_but(session: Session, user_id: str, spared: Session | None) -> Steps[int]:
    """End the sessions of *user_id* but for *spared*, which may be a login that is under way."""
    marked_at = yield from mark(session, user_id)
    own = None
    if spared is not None:
        spared.login_ms = max(spared.login_ms, marked_at)
        own = series(spared)
    return (yield from end(session, user_id, lambda record: record.series != own))


def end_others(session: Session) -> Steps[int]:
    """End the other sessions of this session's user, and give this one a new key."""
    _indexed(session)
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


def _opened(session: Session, place: str, record: Record, now: int) -> Found | None:
    """Return the session that *record* is; None: it isn't one, or it ended."""
    site = session.site
    if record.touched_ms > now and line.is_used_in_the_future(record, now):
        return None
    try:
        entries = site.loads(site.open(record, Verified("", place)))
    except (BadPayload, StoreUnavailable) as problem:
        # Signed by a key that this process doesn't have: one such record must not hide the others.
        log_unreadable(place, problem)
        return None
    life = site.life(entries, record.began_ms)
    ends_ms = min(record.ends_ms, life.ends_ms(record.touched_ms))
    return Found(place, record, ends_ms, site.is_browser_length(entries)) if ends_ms > now else None


def _indexed(session: Session) -> Indexed:
    driver = session.site.driver
    if not isinstance(driver, Indexed):
        engine = getattr(session.site.sender, "engine", None)
        name = type(driver).__name__ if engine is None else engine.name
        raise NotIndexed(
            f"The engine {name} can't find the sessions of a user. Set SESSION_ENGINE to redis, "
            "mongodb or database of django_multisession.engines, or to tiered with one of them as "
            "its back. See docs/howto/show-and-end-sessions.md."
        )
    return driver
