"""The end of a request: what is saved, what becomes of the cookie, and when that runs out."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import weakref
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from django_multisession import expiry, merge, signals
from django_multisession.conf import config
from django_multisession.conversation import Call, Pause, Steps
from django_multisession.custom_expiry import aware, custom_expiry
from django_multisession.events import OutageWatch
from django_multisession.exceptions import StoreUnavailable
from django_multisession.interruption import SessionEnded
from django_multisession.lifecycle import Lifecycle
from django_multisession.records import add_age
from django_multisession.saving import unread
from django_multisession.session_state import Standing

#: One for each engine of this process.
_watches: weakref.WeakKeyDictionary[type, OutageWatch] = weakref.WeakKeyDictionary()


def _watch_of(store: type) -> OutageWatch:
    watch = _watches.get(store)
    return watch if watch is not None else _watches.setdefault(store, OutageWatch())


class CookieAnswer(enum.Enum):
    """What a response does with the session's cookie."""

    KEEP = "nothing: the client goes on with what it has"
    SET = "sets it, to the key and for as long as the session says"
    REMOVE = "removes it: there is no session behind it"


@dataclasses.dataclass(frozen=True, slots=True)
class Deadlines:
    """When a session ends; None is never. Both are None for a session that is not stored."""

    idle_deadline_at: datetime | None
    hard_deadline_at: datetime | None


class Responding(Lifecycle):
    """The steps and the answers of a request's end."""

    #: Was code of this request told that the server did not answer?
    has_met_outage = False

    @property
    def is_unreachable(self) -> bool:
        """Did the server not answer when the session was read?"""
        return self._standing is Standing.UNREACHABLE

    def _plan(self, *, may_save: bool) -> Steps[tuple[CookieAnswer, bool]]:
        """Decide what the response does; tell also whether the request itself changed something."""
        is_saved_always = may_save and config().save_every_request
        is_changed = may_save and self._is_changed()
        if self._standing is Standing.UNREAD and (is_saved_always or is_changed):
            # Below, an outage is an error only for a request that changed something.
            with contextlib.suppress(StoreUnavailable):
                yield from self._ensure_read()
            is_changed = self._is_changed()
        if is_changed and self._standing is Standing.ENDED:
            error = self._interrupted()
            if not self._is_excused(error, is_changed=True):
                raise error
        if is_changed and self._standing is Standing.UNREACHABLE:
            raise unread()
        answer = CookieAnswer.KEEP
        # The cookie of an ended session may have been replaced by a login elsewhere.
        if self._standing not in (Standing.ENDED, Standing.UNREACHABLE):
            # What had to be read was read; `is_empty()` must not do so for a page that failed.
            if not self._will_be_saved_unread() and self.is_empty():
                answer = CookieAnswer.REMOVE
            elif is_saved_always or (may_save and self.modified):
                answer = CookieAnswer.SET
        return answer, is_changed

    def _as_confirmed(self, answer: CookieAnswer) -> CookieAnswer:
        """Keep the cookie of a session that the server did not confirm: it may be out of date."""
        is_known = self._is_confirmed or self._is_key_untold
        return answer if is_known else CookieAnswer.KEEP

    def _is_excused(self, error: Exception, *, is_changed: bool) -> bool:
        """May the response go out, without a cookie, although its save met *error*?"""
        if not is_changed:
            # A touch, a new signature: what the request read is good.
            return isinstance(error, SessionEnded | StoreUnavailable)
        return isinstance(error, SessionEnded) and config().on_interrupted == "ignore"

    def _hear(self, call: Call | Pause, error: Exception | None) -> None:
        """Hear what became of a call to the server: the first that fails begins an outage."""
        if isinstance(call, Pause):
            return
        watch = _watch_of(type(self))
        if error is None:
            duration = watch.note_answer(call.verb, self._now)
            if duration is not None:
                self._note(signals.outage_ended, duration=duration)
        elif isinstance(error, StoreUnavailable) and watch.note_failure(call.verb, self._now()):
            self._note(signals.outage_began, reason=str(error))

    def _is_changed(self) -> bool:
        """Did the request itself change the session, and has not saved that yet?"""
        if self._is_discarded:
            return False
        is_filled = hasattr(self, "_session_cache")
        is_marked = self._is_marked() if is_filled else self._modified_flag
        if self._kept is None:
            return is_marked
        return is_filled and is_marked and (self._is_moving() or self._has_changed())

    def _deadlines(self) -> Deadlines:
        if self._kept is None:
            return Deadlines(None, None)
        record, now = self._kept.record, self._now()
        # A touch that is due will be made by this very request.
        used_at = now if self._is_touch_due(record, now) else record.touched_at
        return Deadlines(add_age(used_at, record.idle_age), record.hard_deadline_at)

    def _expiry_age(self, *, expiry: Any, modification: datetime | None = None) -> int:
        modification = modification or timezone.now()
        return (self._expiry_date(expiry=expiry, modification=modification) - modification) // (
            timedelta(seconds=1)
        )

    def _expiry_date(self, *, expiry: Any, modification: datetime | None = None) -> datetime:
        modification = modification or timezone.now()
        used_at = aware(modification)
        ends_at = self._planned_life(expiry, used_at).ends_at(used_at)
        if ends_at is None:
            # Both timeouts are off: the session lives on, and its cookie has to have some length.
            ends_at = used_at + timedelta(seconds=self.get_session_cookie_age())
        if timezone.is_aware(modification):
            return ends_at
        return timezone.make_naive(ends_at, timezone.get_default_timezone())

    def _planned_life(self, custom: Any, used_at: datetime) -> expiry.Life:
        return expiry.life(
            self._policy(),
            custom_expiry(custom),
            began_at=self._kept.record.began_at if self._kept and not self._is_login else used_at,
            is_anonymous=merge.user_id(getattr(self, "_session_cache", {})) is None,
        )
