"""The live sessions of a user: found by the engine's index, and counted by their signed records.

The index is a hint. A record in it counts where its signature is right for the key it lies under and
for this site, and its signed user is the one who is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from django.core.exceptions import ImproperlyConfigured

from django_multisession import signals
from django_multisession.core.devices import ADDRESS_ENTRY, USER_AGENT_ENTRY
from django_multisession.core.records import Reason, Record, Tombstone
from django_multisession.drivers.base import Enumerable, Indexed, is_indexed, log_unreadable
from django_multisession.drivers.listed import cards
from django_multisession.engine import LISTED_IN
from django_multisession.exceptions import BadPayload, StoreUnavailable
from django_multisession.session import line
from django_multisession.session.state import Session
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
        user_agent: What its login recorded; None if that recorded none.
        address: Likewise; empty if it recorded none.
    """

    place: str
    record: Record
    ends_ms: int
    is_browser_length: bool
    user_agent: str | None
    address: str


def find(session: Session, user_id: str) -> Steps[list[Found]]:
    """Return the live sessions of *user_id*, the last used one first, each once.

    Raises:
        ImproperlyConfigured: The engine can't find them.
    """
    found: dict[bytes, Found] = {}
    cursor: str | None = ""
    while cursor is not None:
        records, cursor = yield from page(session, user_id, cursor)
        for each in records:
            # One that moves, where a server changes one record at a time, lies under two keys.
            known = found.get(each.record.series)
            if known is None or known.record.touched_ms < each.record.touched_ms:
                found[each.record.series] = each
    return sorted(found.values(), key=lambda each: each.record.touched_ms, reverse=True)


def page(session: Session, user_id: str, cursor: str) -> Steps[tuple[list[Found], str | None]]:
    """Return one page of the live sessions of *user_id*, and where the next one begins, if any does.

    Raises:
        ImproperlyConfigured: The engine can't find them.
    """
    driver, now = indexed(session), session.site.now()
    records, following = yield from driver.of_user(user_id, now, cursor=cursor, limit=PAGE)
    return _live(session, records, now), following or None


def everyone(session: Session, cursor: str, limit: int) -> Steps[tuple[list[Found], str | None]]:
    """Return one page of the live sessions of all users, and where the next one begins, if any does.

    The page has about *limit* records, and may hold no session.

    Raises:
        ImproperlyConfigured: The engine can't list what it holds.
    """
    driver, now = session.site.driver, session.site.now()
    if not isinstance(driver, Enumerable):
        raise NotIndexed(_refusal(session, "list all sessions"))
    records, following = yield from driver.records(cursor, limit)
    of_users = [each for each in records if each[1].user is not None and each[1].is_live(now)]
    return _live(session, of_users, now), following or None


def end_listed(
    session: Session,
    meant: Mapping[str, Record],
    left: Tombstone,
    reason: str,
    ended: dict[str, Record],
    user_id: str | None = None,
) -> Steps[None]:
    """End what lies at the places of *meant*, or what it became, and add that to *ended*.

    Args:
        session: Whose events these are.
        meant: The record of each session as it was listed, by its storage key.
        left: The tombstone to leave.
        reason: What the signal says.
        ended: The sessions that were ended, as *meant*.
        user_id: Whose records these are, if they are of one user: another one that lies at a place
            by now stays.
    """
    driver = indexed(session)
    for _ in range(line.MOST_HOPS):
        if not meant:
            break
        answers = yield from driver.delete_many([*meant], left, user_id=user_id)
        following = {}
        for place, answer in zip(meant, answers, strict=True):
            if answer is True:
                if place not in ended:
                    session.note(
                        signals.session_ended,
                        storage_key=place,
                        user_id=meant[place].user_id,
                        reason=reason,
                    )
                ended[place] = meant[place]
            elif isinstance(answer, Tombstone) and answer.reason is Reason.MOVED:
                following[answer.successor] = meant[place]
        following.pop("", None)
        meant = following


def _live(session: Session, records: list[tuple[str, Record]], now: int) -> list[Found]:
    opened = (_opened(session, place, record, now) for place, record in records)
    return [each for each in opened if each is not None]


def _opened(session: Session, place: str, record: Record, now: int) -> Found | None:
    """Return the session that *record* is; None: it isn't one, or it ended."""
    site = session.site
    if record.touched_ms > now and line.is_used_in_the_future(record, now):
        return None
    try:
        entries = site.loads(site.open_listed(record, place))
    except (BadPayload, StoreUnavailable) as problem:
        # Another tenant's, whose user has the same id: nothing is wrong with that. Nor with a card of
        # another engine's session. And one that is signed by a key that this process doesn't have
        # must not hide the others.
        is_tenants = isinstance(problem, BadPayload) and site.has_namespace
        if not (is_tenants or cards.listed_in(place, record)):
            log_unreadable(place, problem)
        return None
    life = site.life(entries, record.began_ms)
    ends_ms = min(record.ends_ms, life.ends_ms(record.touched_ms))
    if ends_ms <= now:
        return None
    agent, address = entries.get(USER_AGENT_ENTRY), entries.get(ADDRESS_ENTRY)
    return Found(
        place,
        record,
        ends_ms,
        site.is_browser_length(entries),
        agent if isinstance(agent, str) else None,
        address if isinstance(address, str) else "",
    )


def indexed(session: Session) -> Indexed:
    """Return the engine's driver.

    Raises:
        NotIndexed: The engine can't find the sessions of a user.
    """
    driver = session.site.driver
    if not is_indexed(driver):
        raise NotIndexed(_refusal(session, "find the sessions of a user"))
    return driver


def _refusal(session: Session, what: str) -> str:
    engine = getattr(session.site.sender, "engine", None)
    name = type(session.site.driver).__name__ if engine is None else engine.name
    other = ""
    if engine is not None and LISTED_IN in engine.engine_options:
        other = f'Set {engine.setting}["LISTED_IN"] to an engine that can, or set SESSION_ENGINE'
    return (
        f"The engine {name} can't {what}. {other or 'Set SESSION_ENGINE'} to redis, mongodb or database of "
        "django_multisession.engines, or to tiered with one of them as its back. See "
        "docs/howto/show-and-end-sessions.md."
    )
