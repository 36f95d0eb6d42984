"""Saving: store what a request changed, over what it read, and never over an ended session."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta

from django_multisession import conversation, keys, merge
from django_multisession.conversation import Steps
from django_multisession.exceptions import SessionConflict, StoreUnavailable
from django_multisession.interruption import SessionEnded
from django_multisession.kept import Kept, Sent, Target
from django_multisession.merge import Merge
from django_multisession.records import Outcome
from django_multisession.session_state import Standing
from django_multisession.settling import Settling

#: How often a save that met another save is tried again before it gives up.
SAVE_TRIES = 64
#: How long it lets others go first, in seconds: at most so long the first time, twice as long the
#: second, and so on.
FIRST_PAUSE = 0.004
LONGEST_PAUSE = 0.2
#: As long as a response is under way anyway. A session that was saved longer ago is looked up once
#: more before its cookie is set.
RESPONSE_TIME = timedelta(seconds=1)

_random = secrets.SystemRandom()


class Saving(Settling):
    """The steps that write."""

    def _save(self, must_create: bool) -> Steps[None]:
        if self._standing is Standing.ENDED:
            raise self._interrupted()
        if must_create and self._standing is Standing.UNREACHABLE:
            raise unread()
        if must_create or self._own_key() is None:
            yield from self._add(must_create=must_create, left_behind=self._left_behind())
            return
        yield from self._ensure_read()
        match self._standing:
            case Standing.ENDED:
                raise self._interrupted()
            case Standing.UNREACHABLE:
                # The server may be back, but what it holds was not read: nothing to save upon.
                if self._modified_flag or self._entries().has_nested_change():
                    raise unread()
            case Standing.STORED:
                yield from self._update()
            case _:
                yield from self._add()

    def _left_behind(self) -> keys.Verified | None:
        """Return the key of a record that was to move, and will not.

        It ends with the next `_add`: Django's ``cycle_key()`` would have ended it at once.
        """
        return self._kept.key if self._kept is not None and self._is_moving() else None

    def _update(self) -> Steps[None]:
        """Write over the stored record what changed, move it to a new key, or touch it."""
        merges: list[Merge] = []
        if self._unheard is not None and self._is_stored_as(self._unheard.base):
            yield from self._settle(self._unheard, merges)
        for tries in range(SAVE_TRIES):
            yield from _let_others_go_first(tries)
            now = self._now()
            base, own = self._kept, self._own_key()
            if base is None or own is None:
                # Another coroutine of this request ended it.
                return
            if not (self._is_moving() or base.by_fallback or self._has_changed(now)):
                yield from self._confirm(base, now)
                return
            target = Target(own, base)
            composed = self._compose(target, now)
            sent = Sent(target, base, composed, self._is_login, self._is_cleared)
            answer = yield from self._send(sent, now)
            if not self._is_stored_as(base):
                # Another coroutine of this request was first.
                continue
            if answer.outcome is Outcome.SAVED:
                self._finish_update(sent, merges)
                return
            if answer.outcome is Outcome.MISSING:
                yield from self._meet_end()
                return
            found = self._open(base.key, answer.stored, self._now())
            if found is not None and found.kept.record.revision == base.record.revision:
                # Only its last use is another: nothing to merge.
                self._kept = found.kept
                continue
            merges.append(self._merge(found))
        raise SessionConflict(f"Other requests saved this session {SAVE_TRIES} times meanwhile.")

    def _confirm(self, base: Kept, now: datetime) -> Steps[None]:
        """See that a session that did not change is still there, before its cookie is set again.

        The cookie of one that was ended meanwhile would overwrite that of a login elsewhere.
        """
        record = base.record
        is_fresh = self._is_key_untold or now - record.touched_at < RESPONSE_TIME
        is_sure = self._has_written and self._is_confirmed and is_fresh
        if is_sure and not self._is_touch_due(record, now):
            return
        used_at = now if self.counts_as_use else record.touched_at
        if (yield from self._touch(base, used_at, now)):
            return
        if self._is_stored_as(base):
            self._forget_record(Standing.ENDED)
            raise SessionEnded

    def _meet_end(self) -> Steps[None]:
        """The record was ended: interrupt this request, unless it is a login of its own.

        Two logins at once on one session (a double click) both succeed. The second takes along
        what it set itself, and nothing of what was ended.
        """
        if not (self._is_moving() or self._has_changed()):
            # Only a new signature or another timeout was due: no change is lost.
            self._forget_record(Standing.ENDED)
            raise SessionEnded
        if not (self._is_moving() and self._is_login):
            raise self._interrupted()
        mine = self._entries()
        changed = merge.changed_entries(self._before(), mine, self._fingerprint)
        self._session_cache = self._new_entries(changed | merge.auth_entries(mine))
        self._forget_record(Standing.NEW)
        # Not under the key it has: a move whose answer was lost may have stored it there.
        self._session_key = None
        yield from self._add()


def _let_others_go_first(tries: int) -> Steps[None]:
    """Wait, longer each time and at random: who met each other once must not do so again.

    Only before every second try: a wait makes what the last one brought stale, and where somebody
    saves all the time a try that follows it brings no more than a fresh state to write over.
    """
    if tries > 1 and tries % 2 == 0:
        longest = min(FIRST_PAUSE * 2 ** (tries // 2 - 1), LONGEST_PAUSE)
        yield from conversation.pause(_random.uniform(0, longest))


def unread() -> StoreUnavailable:
    """Return the error of a change to a session that could not be read."""
    return StoreUnavailable("The session could not be read, so it cannot be changed.")
