"""What is known of one session in one request, and the questions Django's middleware asks of it.

Nothing here does I/O; `lifecycle` holds the steps that do.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.contrib.sessions.backends.base import SessionBase
from django.dispatch import Signal
from django.utils import timezone

from django_multisession import codec, events, expiry, keys, merge, signals
from django_multisession.conf import config
from django_multisession.custom_expiry import EXPIRY_ENTRY, aware, custom_expiry
from django_multisession.entries import Entries
from django_multisession.events import Event
from django_multisession.kept import Kept, Sent
from django_multisession.records import Record, truncate

#: Shorter values are no session keys to Django.
SHORTEST_KEY = 8

#: How many further keys of one request are looked at: nobody shall make us look up hundreds.
MOST_OTHER_KEYS = 4


#: So long a server that did not answer one request is not asked by it again: a page that uses its
#: session in ten places, and the error page behind it, wait once. A socket's session lives longer.
OUTAGE_PATIENCE = timedelta(seconds=5)


class Standing(enum.Enum):
    """What is known of the session's record."""

    UNREAD = "nothing yet"
    NEW = "there is none; a save adds one"
    STORED = "it was read or written"
    ENDED = "it was ended or moved; nothing may bring it back"
    UNREACHABLE = "the server did not answer"


class SessionState(SessionBase):
    """A session without its verbs."""

    if TYPE_CHECKING:  # django-stubs lacks them

        def _get_session(self, no_load: bool = False) -> dict[str, Any]: ...

        async def _aget_session(self, no_load: bool = False) -> dict[str, Any]: ...

    #: Set to False (before the session is first used, if its cookie is browser-length) by a request
    #: that is not use: polling, for example. It then does not keep the session alive.
    counts_as_use = True

    def __init__(self, session_key: str | None = None) -> None:
        self._standing = Standing.UNREAD
        self._is_malformed = False
        self._verified: keys.Verified | None = None
        self._other_keys: list[keys.Verified] = []
        self._kept: Kept | None = None
        # A save that is under way, or whose answer nobody heard.
        self._unheard: Sent | None = None
        self._events: list[Event] = []
        self._unreachable_at: datetime | None = None
        self._modified_flag = False
        self._is_discarded = False
        self._is_confirmed = True  # unless the server did not say so at the end
        self._has_written = False
        self._is_key_untold = False
        self._is_login = self._is_cleared = False
        self._is_after_end = False  # that was given a new key; only a login may use it
        super().__init__(session_key)

    # What Django's middleware asks. None of it raises, and only `store.is_empty` may do I/O.

    @property
    def modified(self) -> bool:
        """Must the response save this session or renew its cookie?"""
        if self._is_discarded:
            return False
        if self._kept is None:
            return self._modified_flag
        if not hasattr(self, "_session_cache"):
            return False
        record, now = self._kept.record, self._now()
        return (
            self._has_written
            or self._needs_new_signature()
            or (self._is_marked() and (self._is_moving() or self._has_changed()))
            or (self._is_touch_due(record, now) and not self._is_browser_length())
        )

    @modified.setter
    def modified(self, value: bool) -> None:
        # Django's idiom: a view that sets it to False discards what it changed. A touch or a new
        # signature must not save that after all.
        self._is_discarded = not value and self.modified
        self._modified_flag = value

    def is_empty(self) -> bool:
        """Return True when there is no session key and nothing in the session.

        Of an ended session and of one that could not be read: False. Django's middleware deletes
        the cookie of an empty session, and with it what a login elsewhere may just have set.
        """
        return self._own_key() is None and not getattr(self, "_session_cache", None)

    def _will_be_saved_unread(self) -> bool:
        is_saved = self._modified_flag or config().save_every_request
        return is_saved and self._standing is Standing.UNREAD and self._own_key() is not None

    # Keys

    def _validate_session_key(self, key: str | None) -> bool:
        # Django's rule, which its tests pin down; whether we signed the key is seen at first use.
        is_valid = key is not None and len(key) >= SHORTEST_KEY
        self._is_malformed = key is not None and not is_valid
        return is_valid

    def _own_key(self) -> keys.Verified | None:
        """Verify the session key, at its first use; one that is not ours is dropped."""
        if self._is_malformed:
            self._is_malformed = False
            self._note(signals.forged_key_refused)
            return self._take_next_key()
        session_key = self.session_key
        if session_key is None:
            return None
        if self._verified is None or self._verified.session_key != session_key:
            self._verified = self._verify(session_key)
            self._session_key = self._verified.session_key if self._verified else None
        return self._verified or self._take_next_key()

    def offer_keys(self, session_keys: Sequence[str]) -> None:
        """Name further keys that the client sent, in its order: the first live session is taken.

        A browser sends every cookie of one name: one per path and domain, some long forgotten,
        some planted by a neighbouring subdomain.
        """
        # Each once, and forged ones do not count: they cost no look-up, and whoever plants them
        # must not keep the good one from being looked at.
        given = dict.fromkeys(key for key in session_keys if key != self.session_key)
        verified = [keys.verify(key, config().signing_keys) for key in given]
        if None in verified:
            self._note(signals.forged_key_refused)
        self._other_keys = [key for key in verified if key is not None][:MOST_OTHER_KEYS]
        if self._is_malformed:
            # Django would take a session without a key for a new one, and not read it.
            self._own_key()

    def _take_next_key(self) -> keys.Verified | None:
        """Make the next key that was offered the session's own; None if there is none."""
        if not self._other_keys:
            return None
        self._verified = self._other_keys.pop(0)
        self._session_key = self._verified.session_key
        return self._verified

    def _use_key(self, key: keys.Verified) -> None:
        self._verified, self._session_key = key, key.session_key

    def _verify(self, session_key: str) -> keys.Verified | None:
        """Verify *session_key* with the site's secrets; None, and an event, if it is not ours."""
        verified = keys.verify(session_key, config().signing_keys)
        if verified is None:
            self._note(signals.forged_key_refused)
        return verified

    def _stored_key(self) -> keys.Verified | None:
        """Return the key under which this session's record lies, if there may be one."""
        if self._kept is not None:
            return self._kept.key
        if self._standing in (Standing.NEW, Standing.ENDED):
            return None
        return self._own_key()

    def _is_moving(self) -> bool:
        own = self._own_key()
        if own is None:
            return False
        return self._kept is None or own.storage_key != self._kept.key.storage_key

    def _is_marked(self) -> bool:
        """Was it told that the session changed, or seen? It may be as it was, for all that."""
        is_unsaved = self._modified_flag or self._unheard is not None
        return is_unsaved or self._entries().has_nested_change()

    # State

    def _adopt(self, kept: Kept) -> None:
        self._standing = Standing.STORED
        self._kept = kept

    def _forget_record(self, standing: Standing) -> None:
        self._standing = standing
        self._kept = self._unheard = None
        self._is_confirmed = True
        self._has_written = self._is_key_untold = self._is_after_end = False

    def _note_unreachable(self) -> None:
        self._forget_record(Standing.UNREACHABLE)
        self._unreachable_at = self._now()

    def _is_still_unreachable(self) -> bool:
        """Did the server fail this request already, so that it need not wait for it again?"""
        at = self._unreachable_at
        return at is not None and timedelta(0) <= self._now() - at < OUTAGE_PATIENCE

    def _note(self, signal: Signal, **arguments: Any) -> None:
        """Note what happened; who listens is told when the verb is over."""
        event = Event(signal, arguments)
        events.log(event)
        if signal.has_listeners(type(self)):
            self._events.append(event)

    def _needs_new_signature(self) -> bool:
        """Did only a fallback of SECRET_KEY verify the key or the record?"""
        own = self._own_key()
        is_old = self._kept is not None and self._kept.by_fallback
        return is_old or (own is not None and own.by_fallback)

    def _has_changed(self, now: datetime | None = None) -> bool:
        """Would a save store something else than what is stored?"""
        assert self._kept is not None  # noqa: S101  (asked of stored sessions only; for mypy)
        entries = self._entries()
        try:
            serialized = codec.serialize(entries, self.serializer())
        except Exception:  # noqa: BLE001  (whatever it is, the save shall tell)
            return True
        if self._is_login or serialized != self._kept.serialized:
            return True
        if self._unheard is not None and serialized != self._unheard.composed.serialized:
            return True
        life = self._life(entries, self._kept.record.began_at)
        return now is not None and life != expiry.Life.of(self._kept.record)

    def _is_touch_due(self, record: Record, now: datetime) -> bool:
        return self.counts_as_use and expiry.is_touch_due(self._policy(), record, now)

    def _is_browser_length(self, entries: Mapping[str, Any] | None = None) -> bool:
        custom = dict.get(entries if isinstance(entries, dict) else self._entries(), EXPIRY_ENTRY)
        return config().expire_at_browser_close if custom is None else custom == 0

    def _policy(self) -> expiry.Policy:
        policy = config().policy
        age = self.get_session_cookie_age()
        if policy.idle_is_configured or age == config().cookie_age:
            return policy
        # A subclass says otherwise: Django documents get_session_cookie_age() as the hook for it.
        idle = timedelta(seconds=age)
        absolute = policy.absolute_timeout
        if absolute is not None and not policy.absolute_is_configured:
            absolute = max(absolute, idle)
        return dataclasses.replace(policy, idle_timeout=idle, absolute_timeout=absolute)

    def _life(self, entries: Mapping[str, Any], began_at: datetime) -> expiry.Life:
        return expiry.life(
            self._policy(),
            custom_expiry(entries.get(EXPIRY_ENTRY)),
            began_at=began_at,
            is_anonymous=merge.user_id(entries) is None,
        ).as_stored()

    def _entries(self) -> Entries:
        entries: dict[str, Any] = getattr(self, "_session_cache", {})
        if not isinstance(entries, Entries):
            # Django's own methods set a plain dict for a session without a key.
            entries = self._session_cache = self._new_entries(entries)
        return entries

    def _new_entries(self, entries: dict[str, Any] | None = None) -> Entries:
        return Entries(entries or {}, self._fingerprint)

    def _fingerprint(self, entries: dict[str, Any]) -> bytes:
        fingerprint: bytes = self.serializer().dumps(entries)
        return fingerprint

    def _now(self) -> datetime:
        return truncate(aware(timezone.now()))
