"""Reading: from a session key to the entries behind it, or to the reason why there are none."""

from __future__ import annotations

import dataclasses
import logging
from datetime import datetime, timedelta
from typing import Any

from django_multisession import codec, conversation, keys, sealing
from django_multisession.conf import config
from django_multisession.conversation import Steps
from django_multisession.drivers.base import log_unreadable
from django_multisession.entries import Entries
from django_multisession.exceptions import BadPayload, StoreUnavailable
from django_multisession.records import EXPIRY_SLACK, Record, Retired, Stored
from django_multisession.session_state import SessionState, Standing

logger = logging.getLogger("django_multisession")


@dataclasses.dataclass(frozen=True, slots=True)
class Opened:
    """A record that was found live and unsealed."""

    record: Record
    serialized: bytes = dataclasses.field(repr=False)
    entries: dict[str, Any] = dataclasses.field(repr=False)
    by_fallback: bool


class Reading(SessionState):
    """The steps that read."""

    def _load(self) -> Steps[Entries]:
        """Fill the session from the store; asked again, tell what is there now and move nothing.

        Somebody else's ``load()`` must not move the revision that a save compares with.
        """
        if not hasattr(self, "_session_cache"):
            return (yield from self._read())
        key = self._stored_key()
        stored = (yield from conversation.get(key)) if key else None
        opened = self._open(key, stored, self._now()) if key else None
        return self._new_entries(opened.entries if opened else None)

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
        own = self._own_key()
        was_filled = hasattr(self, "_session_cache")
        is_ended = False
        # Of several keys that the client sent, the first that leads to a live session.
        candidates = [own, *self._other_keys] if own else []
        for position, key in enumerate(candidates):
            try:
                stored = yield from conversation.get(key.storage_key)
            except StoreUnavailable:
                self._forget_record(Standing.UNREACHABLE)
                if config().on_outage != "anonymous":
                    raise
                return self._new_entries()
            if hasattr(self, "_session_cache") and not was_filled:
                # Another coroutine of this request was first; what it did since must not be lost.
                return self._entries()
            now = self._now()
            opened = self._open(key.storage_key, stored, now)
            if opened is not None:
                self._other_keys = candidates[position + 1 :]
                return (yield from self._take_up(key, opened, now))
            is_ended = is_ended or isinstance(stored, Retired)
        self._forget_record(Standing.ENDED if is_ended else Standing.NEW)
        if not is_ended:
            self._session_key = None
        return self._new_entries()

    def _take_up(self, own: keys.Verified, opened: Opened, now: datetime) -> Steps[Entries]:
        """Make *opened* this session's record and return its entries."""
        self._verified, self._session_key = own, own.session_key
        self._adopt(own.storage_key, opened.record, opened.serialized)
        self._seal_is_old = opened.by_fallback
        # Under Django's middleware a touch at the response renews the cookie. A browser-length one
        # has nothing to renew, so it is touched here.
        if self._is_touch_due(opened.record, now) and self._is_browser_length(opened.entries):
            yield from self._touch(opened.record, now, now)
        return self._new_entries(opened.entries)

    def _open(self, key: str, stored: Stored, now: datetime) -> Opened | None:
        """Return the live record *stored* under *key* with its entries, or None: no session."""
        if not isinstance(stored, Record) or not stored.is_live(now):
            return None
        if _is_used_in_the_future(stored, now):
            log_unreadable(key, "it was last used too far in the future")
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

    def _touch(self, record: Record, used_at: datetime, now: datetime) -> Steps[bool]:
        """Note a use at *used_at*; tell whether the session is still there."""
        try:
            is_there = yield from conversation.touch(self._record_key or "", used_at, now)
        except StoreUnavailable:
            # What was read is good; a use that could not be noted is not worth an error page.
            logger.warning("The use of a session could not be noted: the server did not answer.")
            return True
        self._record = dataclasses.replace(record, touched_at=max(record.touched_at, used_at))
        return is_there


def _is_used_in_the_future(record: Record, now: datetime) -> bool:
    """Was the last use, which nothing seals, written into the store to lengthen the session?

    A clock that was wrong and is put right may leave such times too, but no more than an idle
    timeout ahead unless it was very wrong.
    """
    if record.idle_age is None:
        return False
    return record.touched_at - now > timedelta(seconds=record.idle_age) + EXPIRY_SLACK
