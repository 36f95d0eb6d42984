"""The end of a request: what is saved, what becomes of the cookie, and when it runs out."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
from datetime import datetime
from typing import NamedTuple

from django_multisession.core.lifetime import later_authentication
from django_multisession.core.merging import user_id
from django_multisession.core.records import NEVER, end_of, to_datetime
from django_multisession.exceptions import SessionEnded, StoreUnavailable
from django_multisession.session.read import read_entries
from django_multisession.session.save import interrupted, save
from django_multisession.session.state import (
    Ended,
    New,
    Session,
    Stored,
    Unreachable,
    Unread,
    unread,
)
from django_multisession.session.steps import Steps, hook
from django_multisession.settings.conf import config


class CookieAnswer(enum.Enum):
    """What a response does with the session's cookie."""

    KEEP = "nothing: the client goes on with what it has"
    SET = "sets it, to the key and for as long as the session says"
    REMOVE = "removes it: there is no session behind it"


@dataclasses.dataclass(frozen=True, slots=True)
class Deadlines:
    """When a session ends; None is never. Both are None for a session that is not stored."""

    idle_deadline_at: datetime | None
    absolute_deadline_at: datetime | None


class Plan(NamedTuple):
    """What a response does.

    Attributes:
        answer: SET means: save, and set the cookie unless the save says otherwise.
        is_changed: Did the request itself change something that isn't saved yet?
    """

    answer: CookieAnswer
    is_changed: bool = False

    def excuses(self, error: Exception) -> bool:
        """May the response go out, without a cookie, although its save raised *error*?"""
        if not self.is_changed:
            # A touch, a new signature: what the request read is good.
            return isinstance(error, SessionEnded | StoreUnavailable)
        return isinstance(error, SessionEnded) and config().on_interrupted == "ignore"


def settled(session: Session) -> CookieAnswer | None:  # noqa: PLR0911  (one return for each kind of state reads best)
    """Return what a response does that has nothing to save, by a short look; None: look longer.

    Whatever it says, `respond` would say too; most requests only read.
    """
    state, entries = session.state, session.entries
    if isinstance(state, New):
        return None if state.key or state.sent or entries else CookieAnswer.REMOVE
    if session.said is not None or config().save_every_request:
        return None
    if isinstance(state, Unread):
        return None if entries is not None else CookieAnswer.KEEP
    if not isinstance(state, Stored) or entries is None or entries.has_writes:
        return None
    snapshot, key = state.snapshot, state.key
    # Not by is_moving and needs_signature: most requests ask. A session keeps the key it was read by.
    if state.sent or state.has_written or key is not snapshot.key or entries.handed_out:
        return None
    if snapshot.by_fallback or key.by_fallback or session.is_touch_due(snapshot):
        return None
    return CookieAnswer.KEEP


def respond(session: Session, *, may_save: bool) -> Steps[CookieAnswer]:
    """End the request. See `DriverSessionStore.respond`."""
    if isinstance(session.state, Unread):
        yield from read_unread(session, may_save=may_save)
    made = plan(session, may_save=may_save)
    if made.answer is CookieAnswer.SET:
        try:
            if "save" in session.site.hooks:
                yield from hook("save")
            else:
                yield from save(session, is_changed=made.is_changed)
        except (SessionEnded, StoreUnavailable) as error:
            if not made.excuses(error):
                raise
            return CookieAnswer.KEEP
    # A cookie that the server did not confirm is kept as it is.
    return made.answer if session.is_confirmed() else CookieAnswer.KEEP


def read_unread(session: Session, *, may_save: bool) -> Steps[None]:
    """Read a session that the response will save unread: it was cleared, or all of them are saved."""
    is_saved = may_save and (config().save_every_request or session.is_marked())
    if isinstance(session.state, Unread) and is_saved:
        # An outage is an error only for a request that changed something: see `plan`.
        with contextlib.suppress(StoreUnavailable):
            yield from read_entries(session)


def plan(session: Session, *, may_save: bool) -> Plan:
    """Decide what the response does.

    Raises:
        SessionEnded: It would save a session that was ended.
        StoreUnavailable: It would save a session that could not be read.
    """
    is_changed = may_save and session.is_changed()
    match session.state:
        case Ended() as ended if not (ended.allows_write and is_changed):
            made = Plan(CookieAnswer.KEEP, is_changed)
            if is_changed and not made.excuses(error := interrupted(session, ended.tombstone)):
                raise error
            return made
        case Unreachable():
            if is_changed:
                raise unread()
            return Plan(CookieAnswer.KEEP)
    if session.key is None and not session.entries:
        return Plan(CookieAnswer.REMOVE, is_changed)
    if is_changed or (may_save and (config().save_every_request or session.is_modified())):
        return Plan(CookieAnswer.SET, is_changed)
    return Plan(CookieAnswer.KEEP, is_changed)


def cookie_age(session: Session, now: int) -> int | None:
    """Return for how many seconds the session's cookie is set; None: until the browser closes."""
    site, entries = session.site, session.own_entries()
    if site.is_browser_length(entries):
        return None
    state = session.state
    if isinstance(state, Stored):
        idle, deadline = state.snapshot.record.idle_ms, state.snapshot.record.deadline_ms
    else:
        idle, deadline = site.life(entries, now)
    ends = end_of(now, idle, deadline)
    return int(site.cookie_age()) if ends >= NEVER else (ends - now) // 1000


def authenticated_at(session: Session) -> datetime | None:
    """Return when the session's user last proved who they are, as a save would store it."""
    if user_id(session.own_entries()) is None:
        return None
    state = session.state
    found = state.snapshot.record.authenticated_ms if isinstance(state, Stored) else NEVER
    if session.is_login:
        found = session.login_ms
    found = later_authentication(found, session.authenticated_ms, session.site.now())
    return None if found >= NEVER else to_datetime(found)


def deadlines(session: Session) -> Deadlines:
    """Return when the stored session ends if it isn't used again after this request."""
    if not isinstance(session.state, Stored):
        return Deadlines(None, None)
    snapshot = session.state.snapshot
    record = snapshot.record
    # A touch that is due is made by this very request.
    used = session.site.now() if session.is_touch_due(snapshot) else record.touched_ms
    idle_ends = end_of(used, record.idle_ms, NEVER)
    return Deadlines(
        None if idle_ends >= NEVER else to_datetime(idle_ends), record.absolute_deadline_at
    )
