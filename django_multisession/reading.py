"""Reading: from a session key to the entries behind it, or to the reason why there are none."""

from __future__ import annotations

import dataclasses
import logging
from datetime import datetime, timedelta
from typing import Any

from django_multisession import codec, conversation, keys, sealing, signals
from django_multisession.conf import config
from django_multisession.conversation import Steps
from django_multisession.drivers.base import log_unreadable
from django_multisession.entries import Entries
from django_multisession.exceptions import BadPayload, StoreUnavailable
from django_multisession.kept import Kept
from django_multisession.records import (
    EXPIRY_SLACK,
    Outcome,
    Reason,
    Record,
    Stored,
    Tombstone,
    new_revision,
)
from django_multisession.session_state import SessionState, Standing

logger = logging.getLogger("django_multisession")


@dataclasses.dataclass(frozen=True, slots=True)
class Opened:
    """A record that was found live and unsealed."""

    kept: Kept
    entries: dict[str, Any] = dataclasses.field(repr=False)


class Reading(SessionState):
    """The steps that read."""

    def _load(self) -> Steps[Entries]:
        """Fill the session from the store; asked again, tell what is there now and move nothing.

        Somebody else's ``load()`` must not move the revision that a save compares with.
        """
        if not hasattr(self, "_session_cache"):
            return (yield from self._read())
        self._require_server()
        key = self._stored_key()
        opened = (yield from self._find(key)) if key else None
        return self._new_entries(opened.entries if isinstance(opened, Opened) else None)

    def _ensure_read(self) -> Steps[None]:
        """Read the record unless that was done; entries that are there already stay."""
        self.accessed = True
        is_filled = hasattr(self, "_session_cache")
        if self._standing is Standing.UNREAD or not (is_filled or self._is_moving()):
            entries = yield from self._read()
            if not hasattr(self, "_session_cache"):
                self._session_cache = entries

    def _read(self) -> Steps[Entries]:
        """Read the record of the session key, make it this session's and return its entries."""
        self._require_server()
        own = self._own_key()
        was_filled = hasattr(self, "_session_cache")
        is_ended = False
        # Of several keys that the client sent, the first that leads to a live session.
        candidates = [own, *self._other_keys] if own else []
        for position, key in enumerate(candidates):
            failure = None
            try:
                found = yield from self._find(key)
            except StoreUnavailable as error:
                failure = error
            if hasattr(self, "_session_cache") and not was_filled:
                # Another coroutine of this request was first; what it did since must not be lost.
                return self._entries()
            if failure is not None:
                self._note_unreachable()
                if config().on_outage != "anonymous":
                    raise failure
                return self._new_entries()
            if isinstance(found, Opened):
                self._other_keys = candidates[position + 1 :]
                return (yield from self._take_up(found))
            is_ended = is_ended or isinstance(found, Tombstone)
        self._forget_record(Standing.ENDED if is_ended else Standing.NEW)
        if not is_ended:
            self._session_key = None
        return self._new_entries()

    def _require_server(self) -> None:
        """Raise `StoreUnavailable` where the server failed this request already."""
        if self._is_still_unreachable():
            raise StoreUnavailable("The server did not answer a moment ago.")

    def _take_up(self, opened: Opened) -> Steps[Entries]:
        """Make *opened* this session's record and return its entries."""
        key, record, now = opened.kept.key, opened.kept.record, self._now()
        self._use_key(key)
        self._adopt(opened.kept)
        # Under Django's middleware a touch at the response renews the cookie. A browser-length one
        # has nothing to renew, so it is touched here.
        if self._is_touch_due(record, now) and self._is_browser_length(opened.entries):
            yield from self._touch(opened.kept, now, now)
        return self._new_entries(opened.entries)

    def _find(self, key: keys.Verified) -> Steps[Opened | Tombstone | None]:
        """Return what is behind *key*."""
        stored = yield from conversation.get(key.storage_key)
        return stored if isinstance(stored, Tombstone) else self._open(key, stored, self._now())

    def _end(self, key: keys.Verified, reason: str) -> Steps[bool]:
        """End the session behind *key*, also where a move put it that no one heard of."""
        is_ended = yield from self._end_at(key, reason)
        sent = self._unheard
        if (
            sent is not None
            and sent.target.is_moved
            and sent.base.key.storage_key == key.storage_key
        ):
            is_ended = (yield from self._end_at(sent.target.key, reason)) or is_ended
        return is_ended

    def _end_at(self, key: keys.Verified, reason: str) -> Steps[bool]:
        why = Reason.LEFT if reason == "flushed" else Reason.ENDED
        left = Tombstone(new_revision()[0], why)
        is_ended = (yield from conversation.delete(key.storage_key, left)) is True
        if is_ended:
            self._note(signals.session_ended, storage_key=key.storage_key, reason=reason)
        return is_ended

    # One record

    def _open(self, key: keys.Verified, stored: Stored, now: datetime) -> Opened | None:
        """Return the live record *stored* under *key* with its entries, or None: no session."""
        if not isinstance(stored, Record):
            return None
        if _is_used_in_the_future(stored, now):
            log_unreadable(key.storage_key, "it was last used too far in the future")
            return None
        conf = config()
        try:
            body, by_fallback = sealing.unseal(
                stored.payload, sealing.Binding.of(key.storage_key, stored), conf.sealing_keys
            )
            serialized = codec.decompress(body)
            entries = codec.deserialize(serialized, self.serializer())
        except BadPayload as problem:
            log_unreadable(key.storage_key, problem)
            return None
        # Timeouts that were shortened since the record was written hold at once.
        life = self._life(entries, stored.began_at)
        ends_at = life.ends_at(stored.touched_at)
        if (ends_at is not None and ends_at <= now) or not stored.is_live(now):
            hard_deadlines = (life.hard_deadline_at, stored.hard_deadline_at)
            is_absolute = any(moment is not None and moment <= now for moment in hard_deadlines)
            self._note(
                signals.session_expired,
                storage_key=key.storage_key,
                user_id=stored.user_id,
                reason="absolute" if is_absolute else "idle",
            )
            return None
        return Opened(Kept(key, stored, serialized, by_fallback), entries)

    def _touch(self, kept: Kept, used_at: datetime, now: datetime) -> Steps[bool]:
        """Note a use at *used_at*; tell whether the session is still there."""
        try:
            is_there = yield from self._touch_stored(kept, used_at, now)
        except StoreUnavailable:
            # What was read is good; a use that could not be noted is not worth an error page.
            logger.warning("The use of a session could not be noted: the server did not answer.")
            self._is_confirmed = False
            return True
        self._is_confirmed = True
        touched_at = max(kept.record.touched_at, used_at)
        touched = dataclasses.replace(kept.record, touched_at=touched_at)
        # Another coroutine of this request may have saved meanwhile.
        if self._kept is kept:
            self._kept = dataclasses.replace(kept, record=touched)
        return is_there

    def _touch_stored(self, kept: Kept, used_at: datetime, now: datetime) -> Steps[bool]:
        """Touch what is stored under the key of *kept*, which another request may have saved."""
        key = kept.key
        answer = yield from conversation.touch(key.storage_key, kept.record, used_at, now)
        if answer.outcome is Outcome.CONFLICT:
            found = self._open(key, answer.stored, now)
            if found is None:
                return False
            base = found.kept.record
            # Once: each further save is a use itself.
            answer = yield from conversation.touch(key.storage_key, base, used_at, now)
        return answer.outcome is not Outcome.MISSING


def _is_used_in_the_future(record: Record, now: datetime) -> bool:
    """Was the last use, which nothing seals, written into the store to lengthen the session?

    A clock that was wrong and is put right may leave such times too, but no more than an idle
    timeout ahead unless it was very wrong.
    """
    if record.idle_age is None:
        return False
    return record.touched_at - now > timedelta(seconds=record.idle_age) + EXPIRY_SLACK
