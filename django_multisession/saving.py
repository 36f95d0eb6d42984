"""Saving: store what a request changed, over what it read, and never over an ended session."""

from __future__ import annotations

import dataclasses
from datetime import datetime, timedelta

from django.contrib.sessions.backends.base import CreateError, UpdateError
from django.contrib.sessions.exceptions import SessionInterrupted

from django_multisession import codec, conversation, keys, merge, sealing
from django_multisession.conf import config
from django_multisession.conversation import Steps
from django_multisession.exceptions import SessionConflict, StoreUnavailable
from django_multisession.reading import Opened, Reading
from django_multisession.records import Outcome, Record, new_revision
from django_multisession.session_state import Standing

#: How often a save that met another save is tried again before it gives up.
SAVE_TRIES = 8
#: A new key is never taken (132 random bits); a server that says so again and again is broken.
CREATE_TRIES = 3
#: As long as a response is under way anyway. A session that was saved longer ago is looked up once
#: more before its cookie is set.
RESPONSE_TIME = timedelta(seconds=1)


class SessionEnded(UpdateError, SessionInterrupted):  # noqa: N818  (named as its Django parents are)
    """The session was ended or moved elsewhere before this request could save it.

    Django's middleware turns an `UpdateError` into a 400; raised in a view it is a 400 by itself,
    because `SessionInterrupted` is a `BadRequest`.
    """

    def __init__(self) -> None:
        super().__init__(
            "The request's session was ended before the request completed. "
            "The user may have logged out or in elsewhere, for example."
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Composed:
    """A record that is about to be stored. Its repr, which error pages show, holds no entries."""

    record: Record
    serialized: bytes = dataclasses.field(repr=False)


class Saving(Reading):
    """The steps that write."""

    def _save(self, must_create: bool) -> Steps[None]:
        if self._standing is Standing.ENDED:
            raise SessionEnded
        if must_create and self._standing is Standing.UNREACHABLE:
            raise unread()
        if must_create or self._own_key() is None:
            yield from self._add(must_create=must_create, left_behind=self._left_behind())
            return
        yield from self._ensure_read()
        match self._standing:
            case Standing.ENDED:
                raise SessionEnded
            case Standing.UNREACHABLE:
                # The server may be back, but what it holds was not read: nothing to save upon.
                if self._modified_flag or self._entries().has_nested_change():
                    raise unread()
            case Standing.STORED:
                yield from self._update()
            case _:
                yield from self._add()

    def _left_behind(self) -> str | None:
        """Return the key of a record that was to move, and will not.

        It ends with the next `_add`: Django's ``cycle_key()`` would have ended it at once.
        """
        return self._record_key if self._is_moving() else None

    def _add(self, *, must_create: bool = False, left_behind: str | None = None) -> Steps[None]:
        """Store a new record, under the key that was given already or a new one."""
        if not hasattr(self, "_session_cache"):
            self._session_cache = self._new_entries()
        own = self._own_key()
        for _ in range(CREATE_TRIES):
            key = own or keys.make(config().signing_keys)
            composed = self._compose(key.storage_key, None, self._now())
            if (yield from conversation.add(key.storage_key, composed.record)):
                self._verified = key
                self._session_key = key.session_key
                self._finish_write(key.storage_key, composed)
                self._is_key_untold = True
                if left_behind is not None:
                    yield from conversation.delete(left_behind)
                return
            if must_create and own is not None:
                raise CreateError
            own = None
        raise StoreUnavailable(f"The server called {CREATE_TRIES} new session keys taken.")

    def _update(self) -> Steps[None]:
        """Write over the stored record what changed, or touch it."""
        for _ in range(SAVE_TRIES):
            now = self._now()
            base, base_key, own = self._record, self._record_key, self._own_key()
            assert base is not None  # noqa: S101  (what STORED means; for mypy)
            assert base_key is not None  # noqa: S101  (as above)
            assert own is not None  # noqa: S101  (as above)
            if not (self._is_moving() or self._seal_is_old or self._has_changed(now)):
                yield from self._confirm(base, now)
                return
            composed = self._compose(own.storage_key, base, now)
            if self._is_moving():
                answer = yield from conversation.move(
                    base_key, own.storage_key, composed.record, base.revision, now
                )
            else:
                answer = yield from conversation.replace(
                    base_key, composed.record, base.revision, now
                )
            if answer.outcome is Outcome.SAVED:
                self._is_key_untold = self._is_key_untold or self._is_moving()
                self._finish_write(own.storage_key, composed)
                return
            if answer.outcome is Outcome.MISSING:
                yield from self._meet_end()
                return
            self._meet_conflict(base_key, answer.stored)
        raise SessionConflict(f"Other requests saved this session {SAVE_TRIES} times meanwhile.")

    def _confirm(self, record: Record, now: datetime) -> Steps[None]:
        """See that a session that did not change is still there, before its cookie is set again.

        The cookie of one that was ended meanwhile would overwrite that of a login elsewhere.
        """
        is_fresh = self._is_key_untold or now - record.touched_at < RESPONSE_TIME
        if self._has_written and is_fresh and not self._is_touch_due(record, now):
            return
        used_at = now if self.counts_as_use else record.touched_at
        if not (yield from self._touch(record, used_at, now)):
            self._forget_record(Standing.ENDED)
            raise SessionEnded

    def _meet_end(self) -> Steps[None]:
        """The record was ended: interrupt this request, unless it is a login of its own.

        Two logins at once on one session (a double click) both succeed. The second takes along
        what it set itself, and nothing of what was ended.
        """
        if not (self._is_moving() and self._is_login):
            self._forget_record(Standing.ENDED)
            raise SessionEnded
        mine = self._entries()
        before = codec.deserialize(self._base, self.serializer())
        changed = merge.changed_entries(before, mine, self._fingerprint)
        self._session_cache = self._new_entries(changed | merge.auth_entries(mine))
        self._forget_record(Standing.NEW)
        # Not under the key it has: a move whose answer was lost may have stored it there.
        self._session_key = None
        yield from self._add()

    def _meet_conflict(self, key: str, stored: Record | None) -> None:
        """Take another save's record as the one to write over, and its entries but for ours.

        Not so where that save changed whose session it is.
        """
        opened = self._open(key, stored, self._now())
        if opened is None or not (self._is_login or self._has_same_owner(opened)):
            self._forget_record(Standing.ENDED)
            raise SessionEnded
        mine = self._entries()
        if not self._is_cleared:
            before = codec.deserialize(self._base, self.serializer())
            ours = merge.merged(before, opened.entries, mine, self._fingerprint)
            if self._is_login:
                ours |= merge.auth_entries(mine)
            # In place: somebody may hold the dict.
            dict.clear(mine)
            dict.update(mine, ours)
        self._record, self._base = opened.record, opened.serialized
        self._seal_is_old = opened.by_fallback

    def _has_same_owner(self, theirs: Opened) -> bool:
        before = merge.auth_entries(codec.deserialize(self._base, self.serializer()))
        after = merge.auth_entries(theirs.entries)
        return (
            self._record is not None
            and self._record.began_at == theirs.record.began_at
            and merge.are_same(before, after, self._fingerprint)
        )

    def _compose(self, key: str, base: Record | None, now: datetime) -> Composed:
        """Make the record to store under *key* over *base*."""
        conf = config()
        entries = self._entries()
        serialized = codec.serialize(entries, self.serializer())
        # Only what grew under it: a limit that was lowered leaves stored sessions in use.
        if serialized != self._base:
            codec.require_size(serialized, entries, self.serializer(), conf.max_size)
        began_at = now if base is None or self._is_login else base.began_at
        life = self._life(entries, began_at)
        record = Record(
            payload=b"",
            revisions=new_revision(base.revisions if base else ()),
            created_at=base.created_at if base else now,
            began_at=began_at,
            touched_at=_touched_at(base, now, is_use=self.counts_as_use),
            idle_age=life.idle_age,
            hard_deadline_at=life.hard_deadline_at,
            user_id=merge.user_id(entries),
        )
        payload = sealing.seal(
            codec.compress(serialized), sealing.Binding.of(key, record), conf.sealing_keys
        )
        return Composed(dataclasses.replace(record, payload=payload), serialized)

    def _finish_write(self, key: str, composed: Composed) -> None:
        self._adopt(key, composed.record, composed.serialized)
        self._has_written = True
        self._is_login = self._is_cleared = False
        if self._verified is not None:
            self._verified = dataclasses.replace(self._verified, by_fallback=False)
        self._entries().rebase()


def _touched_at(base: Record | None, now: datetime, *, is_use: bool) -> datetime:
    """Return the last use to store; the clocks of two processes must not move it back."""
    if base is None:
        return now
    return max(base.touched_at, now) if is_use else base.touched_at


def unread() -> StoreUnavailable:
    """Return the error of a change to a session that could not be read."""
    return StoreUnavailable("The session could not be read, so it cannot be changed.")
