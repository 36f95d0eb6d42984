"""The life of one session in one request: the steps of each verb, without I/O.

`store` gives these steps Django's names, twice: sync and async.
"""

from __future__ import annotations

import dataclasses
import logging
from datetime import datetime
from typing import Any

from django.contrib.sessions.backends.base import CreateError, UpdateError
from django.contrib.sessions.exceptions import SessionInterrupted

from django_multisession import codec, conversation, keys, merge, sealing
from django_multisession.conf import config
from django_multisession.conversation import Steps
from django_multisession.drivers.base import log_unreadable
from django_multisession.entries import Entries
from django_multisession.exceptions import BadPayload, SessionConflict, StoreUnavailable
from django_multisession.records import Outcome, Record, Retired, Stored, new_revision
from django_multisession.session_state import SessionState, Standing, verified_or_none

logger = logging.getLogger("django_multisession")

#: How often a save that met another save is tried again before it gives up.
SAVE_TRIES = 8
#: A new key is never taken (132 random bits); a server that says so again and again is broken.
CREATE_TRIES = 3


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
class Opened:
    """A record that was found live and unsealed."""

    record: Record
    serialized: bytes = dataclasses.field(repr=False)
    entries: dict[str, Any] = dataclasses.field(repr=False)
    by_fallback: bool


class Lifecycle(SessionState):
    """The steps of a session's verbs."""

    # Reading

    def _load(self) -> Steps[Entries]:
        """Fill the session from the store; asked again, tell what is there now and move nothing.

        Somebody else's ``load()`` must not move the revision that a save compares with.
        """
        if not hasattr(self, "_session_cache"):
            self._session_cache = yield from self._read()
            return self._entries()
        key = self._stored_key()
        stored = (yield from conversation.get(key)) if key else None
        opened = self._open(key, stored, self._now()) if key else None
        return self._new_entries(opened.entries if opened else None)

    def _ensure_read(self) -> Steps[None]:
        """Read the record unless that was done; entries that are there already stay."""
        self.accessed = True
        if self._standing is Standing.UNREAD:
            entries = yield from self._read()
            if not hasattr(self, "_session_cache"):
                self._session_cache = entries

    def _read(self) -> Steps[Entries]:
        """Read the record of the session key, make it this session's and return its entries."""
        own = self._own_key()
        if own is None:
            self._forget_record(Standing.NEW)
            return self._new_entries()
        try:
            stored = yield from conversation.get(own.storage_key)
        except StoreUnavailable:
            self._forget_record(Standing.UNREACHABLE)
            if config().on_outage != "anonymous":
                raise
            return self._new_entries()
        if isinstance(stored, Retired):
            self._forget_record(Standing.ENDED)
            return self._new_entries()
        now = self._now()
        opened = self._open(own.storage_key, stored, now)
        if opened is None:
            self._forget_record(Standing.NEW)
            self._session_key = None
            return self._new_entries()
        self._adopt(own.storage_key, opened.record, opened.serialized)
        self._seal_is_old = opened.by_fallback
        # Under Django's middleware a touch at the response renews the cookie. A browser-length one
        # has nothing to renew, so it is touched here.
        if self._is_touch_due(opened.record, now) and self._is_browser_length(opened.entries):
            yield from self._touch(opened.record, now)
        return self._new_entries(opened.entries)

    def _open(self, key: str, stored: Stored, now: datetime) -> Opened | None:
        """Return the live record *stored* under *key* with its entries, or None: no session."""
        if not isinstance(stored, Record) or not stored.is_live(now):
            return None
        conf = config()
        try:
            body, by_fallback = sealing.unseal(
                stored.payload, sealing.Binding.of(key, stored), conf.sealing_keys
            )
            serialized = codec.decompress(body)
            entries = codec.deserialize(serialized, self.serializer())
        except BadPayload as problem:
            log_unreadable(key, problem)
            return None
        # Timeouts that were shortened since the record was written hold at once.
        ends_at = self._life(entries, stored.began_at).ends_at(stored.touched_at)
        if ends_at is not None and ends_at <= now:
            return None
        return Opened(stored, serialized, entries, by_fallback)

    # Writing

    def _save(self, must_create: bool) -> Steps[None]:
        if self._standing is Standing.ENDED:
            raise SessionEnded
        if must_create or self._own_key() is None:
            yield from self._add(must_create=must_create)
            return
        yield from self._ensure_read()
        match self._standing:
            case Standing.ENDED:
                raise SessionEnded
            case Standing.UNREACHABLE:
                # The server may be back, but what it holds was not read: nothing to save upon.
                if self._modified_flag or self._entries().has_nested_change():
                    raise _unread()
            case Standing.STORED:
                yield from self._update()
            case _:
                yield from self._add(must_create=False)

    def _create(self) -> Steps[None]:
        own = self._own_key()
        if self._standing is Standing.UNREAD and own is not None:
            stored = yield from conversation.get(own.storage_key)
            if isinstance(stored, Retired):
                self._forget_record(Standing.ENDED)
        # A request that came with an ended session may not put another one in its place: its
        # cookie would overwrite that of a login elsewhere.
        if self._standing is Standing.ENDED:
            raise SessionEnded
        self._session_key = None
        yield from self._add(must_create=False)
        self._modified_flag = True

    def _add(self, *, must_create: bool) -> Steps[None]:
        """Store a new record, under the key that was given already or a new one."""
        if not hasattr(self, "_session_cache"):
            self._session_cache = self._new_entries()
        own = self._own_key()
        for _ in range(CREATE_TRIES):
            key = own or keys.make(config().signing_keys)
            now = self._now()
            record, serialized = self._compose(key.storage_key, None, now)
            if (yield from conversation.add(key.storage_key, record)):
                self._verified = key
                self._session_key = key.session_key
                self._finish_write(key.storage_key, record, serialized)
                return
            if must_create and own is not None:
                raise CreateError
            own = None
        raise StoreUnavailable(f"The server called {CREATE_TRIES} new session keys taken.")

    def _update(self) -> Steps[None]:
        """Write over the stored record what changed, or touch it."""
        assert self._record is not None  # noqa: S101  (what STORED means; for mypy)
        now = self._now()
        is_moving = self._is_moving()
        if not (is_moving or self._needs_new_signature() or self._has_changed(now)):
            if self._has_written and not self._is_touch_due(self._record, now):
                return
            if self.counts_as_use and not (yield from self._touch(self._record, now)):
                self._forget_record(Standing.ENDED)
                raise SessionEnded
            return
        own = self._own_key()
        assert own is not None  # noqa: S101  (as above)
        for _ in range(SAVE_TRIES):
            base, base_key = self._record, self._record_key
            assert base is not None  # noqa: S101  (as above)
            assert base_key is not None  # noqa: S101  (as above)
            record, serialized = self._compose(own.storage_key, base, now)
            if is_moving:
                answer = yield from conversation.move(
                    base_key, own.storage_key, record, base.revision, now
                )
            else:
                answer = yield from conversation.replace(base_key, record, base.revision, now)
            if answer.outcome is Outcome.SAVED:
                self._finish_write(own.storage_key, record, serialized)
                return
            if answer.outcome is Outcome.MISSING:
                yield from self._meet_end(is_moving=is_moving)
                return
            self._meet_conflict(base_key, answer.stored)
        raise SessionConflict(f"Other requests saved this session {SAVE_TRIES} times meanwhile.")

    def _meet_end(self, *, is_moving: bool) -> Steps[None]:
        """The record was ended: interrupt this request, unless it is a login of its own.

        Two logins at once on one anonymous session (a double click) both succeed. The second takes
        along what it set itself, and nothing of what was ended.
        """
        if not (is_moving and self._is_login):
            self._forget_record(Standing.ENDED)
            raise SessionEnded
        before = codec.deserialize(self._base, self.serializer())
        mine = merge.changed_entries(before, self._entries(), self._fingerprint)
        self._session_cache = self._new_entries(mine)
        self._forget_record(Standing.NEW)
        yield from self._add(must_create=True)

    def _meet_conflict(self, key: str, stored: Record | None) -> None:
        """Take the record of another save as the one to write over: the later save wins.

        Not so where that save changed whose session it is.
        """
        opened = self._open(key, stored, self._now())
        if opened is None or not (self._is_login or self._has_same_owner(opened)):
            self._forget_record(Standing.ENDED)
            raise SessionEnded
        self._record, self._base = opened.record, opened.serialized

    def _has_same_owner(self, theirs: Opened) -> bool:
        before = merge.auth_entries(codec.deserialize(self._base, self.serializer()))
        after = merge.auth_entries(theirs.entries)
        return (
            self._record is not None
            and self._record.began_at == theirs.record.began_at
            and self._fingerprint(before) == self._fingerprint(after)
        )

    def _touch(self, record: Record, now: datetime) -> Steps[bool]:
        try:
            is_there = yield from conversation.touch(self._record_key or "", now, now)
        except StoreUnavailable:
            # What was read is good; a use that could not be noted is not worth an error page.
            logger.warning("The use of a session could not be noted: the server did not answer.")
            return True
        self._record = dataclasses.replace(record, touched_at=max(record.touched_at, now))
        return is_there

    def _compose(self, key: str, base: Record | None, now: datetime) -> tuple[Record, bytes]:
        """Make the record to store under *key* over *base*, and its entries as serialized."""
        conf = config()
        entries = self._entries()
        serialized = codec.serialize(entries, self.serializer(), conf.max_size)
        began_at = now if base is None or self._is_login else base.began_at
        life = self._life(entries, began_at)
        record = Record(
            payload=b"",
            revisions=new_revision(base.revisions if base else ()),
            created_at=base.created_at if base else now,
            began_at=began_at,
            touched_at=base.touched_at if base and not self.counts_as_use else now,
            idle_age=life.idle_age,
            hard_deadline_at=life.hard_deadline_at,
            user_id=merge.user_id(entries),
        )
        payload = sealing.seal(
            codec.compress(serialized), sealing.Binding.of(key, record), conf.sealing_keys
        )
        return dataclasses.replace(record, payload=payload), serialized

    def _finish_write(self, key: str, record: Record, serialized: bytes) -> None:
        self._adopt(key, record, serialized)
        self._has_written = True
        self._is_login = False
        if self._verified is not None:
            self._verified = dataclasses.replace(self._verified, by_fallback=False)
        self._entries().rebase()

    # Ending

    def _flush(self) -> Steps[None]:
        key = self._stored_key()
        self.clear()
        if key is not None:
            yield from conversation.delete(key)
        self._session_key = None
        self._is_login = False
        self._forget_record(Standing.NEW)

    def _delete(self, session_key: str | None) -> Steps[None]:
        if session_key is None or session_key == self.session_key:
            key = self._stored_key()
        else:
            verified = verified_or_none(session_key)
            key = verified.storage_key if verified else None
        if key is not None:
            yield from conversation.delete(key)

    def _exists(self, session_key: str | None) -> Steps[bool]:
        verified = verified_or_none(session_key) if session_key else None
        if verified is None:
            return False
        own = self._own_key()
        # A key that waits for its save answers as if it were saved.
        if self._standing is Standing.STORED and self._is_moving():
            if verified.storage_key == self._record_key:
                return False
            if own is not None and verified.storage_key == own.storage_key:
                return True
        stored = yield from conversation.get(verified.storage_key)
        return self._open(verified.storage_key, stored, self._now()) is not None

    # New keys

    def _give_new_key(self) -> None:
        """Give the session a new key now; the next save commits it."""
        if self._standing is Standing.UNREACHABLE:
            raise _unread()
        if self._standing is Standing.ENDED:
            self._forget_record(Standing.NEW)
        self._verified = keys.make(config().signing_keys)
        self._session_key = self._verified.session_key
        self._modified_flag = True

    def _note_login(self) -> None:
        """See that ``_auth_user_id`` is being set: the session begins anew, under a new key.

        Django's ``login()`` gives no new key to a user who is logged in already, and code that
        sets the entry by hand gets none (OWASP ASVS 7.2.4). A key given in this request will do.
        """
        self._is_login = True
        needs_key = self._standing is Standing.ENDED or (
            self._standing is Standing.STORED and not self._is_moving()
        )
        if needs_key and config().cycle_on_login:
            self._give_new_key()


def _unread() -> StoreUnavailable:
    return StoreUnavailable("The session could not be read, so it cannot be changed.")
