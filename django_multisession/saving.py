"""Saving: store what a request changed, over what it read, and never over an ended session."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta

from django_multisession import conversation, keys, merge, signals
from django_multisession.adding import Adding
from django_multisession.conf import config
from django_multisession.conversation import Steps
from django_multisession.exceptions import SessionConflict, StoreUnavailable
from django_multisession.interruption import SessionEnded
from django_multisession.kept import Kept, Target
from django_multisession.merge import Merge
from django_multisession.reading import Opened
from django_multisession.records import REVISIONS_KEPT, Answer, Outcome, Retired
from django_multisession.session_state import Standing

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
logger = logging.getLogger("django_multisession")


class Saving(Adding):
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
        for tries in range(SAVE_TRIES):
            yield from _let_others_go_first(tries)
            now = self._now()
            base, own = self._kept, self._own_key()
            assert base is not None  # noqa: S101  (what STORED means; for mypy)
            assert own is not None  # noqa: S101  (as above)
            is_periodic = self._is_cycle_due(base.record, now)
            is_to_write = is_periodic or self._is_moving() or self._is_first_seen(base)
            if not (is_to_write or base.by_fallback or self._has_changed(now)):
                yield from self._confirm(base, now)
                return
            key = keys.make(config().signing_keys) if is_periodic else own
            target = Target(key, base, is_periodic)
            composed = self._compose(target, now)
            try:
                answer = yield from self._write(target, base, composed, now)
            except StoreUnavailable:
                if self._is_asked_for(base, own, now):
                    raise
                # What was read is good, and so is the key it was read by.
                logger.warning("A session keeps its key: the server did not answer.")
                self._is_confirmed = False
                return
            if answer.outcome is Outcome.SAVED:
                yield from self._finish_update(target, base, composed, merges)
                return
            # Otherwise another coroutine of this request was first.
            if self._kept is None or self._kept is base:
                is_there = yield from self._go_on_from_what_is_there(base, own, answer, merges)
                if not is_there:
                    yield from self._meet_end()
                    return
        raise SessionConflict(f"Other requests saved this session {SAVE_TRIES} times meanwhile.")

    def _write(self, target: Target, base: Kept, composed: Kept, now: datetime) -> Steps[Answer]:
        old_key, new_key = base.key.storage_key, target.key.storage_key
        record, expected = composed.record, base.record.revision
        answer = None
        try:
            if target.is_moved:
                forward = target.forward
                answer = yield from conversation.move(
                    old_key, new_key, record, expected, now, forward
                )
            else:
                answer = yield from conversation.replace(old_key, record, expected, now)
        finally:
            # Not only in an outage: a coroutine that is cancelled hears nothing more either.
            if answer is None:
                self._unheard = (composed, *self._unheard)[:REVISIONS_KEPT]
        return answer

    def _go_on_from_what_is_there(
        self, base: Kept, own: keys.Verified, answer: Answer, merges: list[Merge]
    ) -> Steps[bool]:
        """Merge with what *answer* found in place of *base*; False if nothing is there any more."""
        found: Opened | Retired | None
        if answer.outcome is Outcome.MISSING:
            found = yield from self._follow(base)
        else:
            found = self._open(base.key, answer.stored, self._now())
        made = self._made_unheard(found)
        if made is not None:
            yield from self._finish_unheard(made, base, own)
            if isinstance(found, Retired):
                # The session lies where this request moved it.
                return True
        elif answer.outcome is Outcome.MISSING and not isinstance(found, Opened):
            return False
        merged = self._merge(found if isinstance(found, Opened) else None)
        # What this request did alone is no merge to tell of.
        if made is None or self._kept is None or self._kept.record.revision != made.record.revision:
            merges.append(merged)
        return True

    def _is_asked_for(self, base: Kept, own: keys.Verified, now: datetime) -> bool:
        """Is there more to write than what periodic cycling does by itself?"""
        is_resigned = base.by_fallback or own.by_fallback
        return is_resigned or self._is_moving() or self._has_changed(now)

    def _follow(self, base: Kept) -> Steps[Opened | Retired | None]:
        """Return the session of *base* where a periodic cycle moved it meanwhile, or what is left."""
        found = yield from self._find(base.key)
        if isinstance(found, Opened):
            # The client came while the old key was good.
            self._is_forwarded = True
            if not self._is_moving():
                self._verified, self._session_key = found.kept.key, found.kept.key.session_key
        return found

    def _made_unheard(self, found: Opened | Retired | None) -> Kept | None:
        """Return the save of this request that was made although nobody heard of it, if one was."""
        for written in self._unheard:
            if isinstance(found, Opened) and found.kept.record.holds(written.record):
                return written
            if isinstance(found, Retired) and found.revision == written.record.revision:
                return written
        return None

    def _finish_unheard(self, made: Kept, base: Kept, own: keys.Verified) -> Steps[None]:
        """Go on from *made*; all other saves over *base* come too late."""
        if own.storage_key in (made.key.storage_key, base.key.storage_key):
            is_periodic = made.record.old_key == base.key.storage_key
            yield from self._finish_update(Target(made.key, base, is_periodic), base, made, [])
        else:
            # The session was given another key since.
            self._adopt(made)
            self._unheard = ()

    def _finish_update(
        self, target: Target, base: Kept, composed: Kept, merges: list[Merge]
    ) -> Steps[None]:
        was_login = self._is_login
        self._finish_write(composed)
        self._verified, self._session_key = composed.key, composed.key.session_key
        self._is_key_untold = self._is_key_untold or target.is_moved
        storage_key = composed.key.storage_key
        if target.is_moved:
            # Until it comes with the new key, the client is one that came with the old one.
            self._is_forwarded = target.is_periodic
            self._note(
                signals.session_cycled,
                storage_key=storage_key,
                old_storage_key=base.key.storage_key,
                user_id=composed.record.user_id,
                reason="periodic" if target.is_periodic else "login" if was_login else "requested",
            )
        if merges:
            self._note(
                signals.session_merged,
                storage_key=storage_key,
                resolved_entries=_names(merge.resolved for merge in merges),
                lost_entries=_names(merge.lost for merge in merges),
            )
        if base.record.old_key is not None and composed.record.old_key is None:
            # From here on it is kept only to notice who comes with it.
            conf = config()
            life = conf.cycle_grace + (conf.cycle_after or timedelta(0))
            # The save is made: what tidies up behind it must not turn it into an error.
            try:
                yield from conversation.forget(base.record.old_key, life)
            except StoreUnavailable:
                logger.warning("An old key stays longer: the server did not answer.")

    def _confirm(self, base: Kept, now: datetime) -> Steps[None]:
        """See that a session that did not change is still there, before its cookie is set again.

        The cookie of one that was ended meanwhile would overwrite that of a login elsewhere.
        """
        record = base.record
        is_fresh = self._is_key_untold or now - record.touched_at < RESPONSE_TIME
        if self._has_written and is_fresh and not self._is_touch_due(record, now):
            return
        used_at = now if self.counts_as_use else record.touched_at
        if (yield from self._touch(base, used_at, now)):
            return
        found = yield from self._follow(base)
        if not isinstance(found, Opened):
            self._forget_record(Standing.ENDED)
            raise SessionEnded
        # Takes over what is there now.
        self._merge(found)

    def _meet_end(self) -> Steps[None]:
        """The record was ended: interrupt this request, unless it is a login of its own.

        Two logins at once on one session (a double click) both succeed. The second takes along
        what it set itself, and nothing of what was ended.
        """
        if not (self._is_moving() or self._has_changed()):
            # Only a cycle was due: no change is lost.
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


def _names(groups: Iterable[Iterable[str]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for group in groups for name in group))


def unread() -> StoreUnavailable:
    """Return the error of a change to a session that could not be read."""
    return StoreUnavailable("The session could not be read, so it cannot be changed.")
