"""Django's session store over a driver: every verb of `SessionBase`, sync and async."""

from __future__ import annotations

import contextlib
from datetime import datetime
from typing import Any

from django.core.exceptions import SynchronousOnlyOperation
from django.views.decorators.debug import sensitive_variables

from django_multisession import conversation, keys, merge
from django_multisession.conf import config
from django_multisession.conversation import Steps
from django_multisession.custom_expiry import EXPIRY_ENTRY
from django_multisession.entries import Entries
from django_multisession.exceptions import StoreUnavailable
from django_multisession.interruption import SessionEnded
from django_multisession.responding import CookieAnswer, Deadlines
from django_multisession.running import Running

_NOT_GIVEN = object()

#: How many records one batch of a purge removes; `clearsessions` may be told another number.
PURGE_BATCH = 1000


class DriverSessionStore(Running):
    """A session whose record a driver keeps. Engines subclass it and say which driver."""

    # The life of a session

    def load(self) -> Entries:
        """Return the stored entries; none for a session that is unknown, ended, expired or unreadable.

        Raises:
            StoreUnavailable: The server did not answer, and ``MULTISESSION_ON_OUTAGE`` is ``"error"``.
        """
        return self._hold(self._load())

    async def aload(self) -> Entries:
        """See load()."""
        return await self._ahold(self._load())

    def save(self, must_create: bool = False) -> None:
        """Store what changed; touch the session if nothing did.

        Args:
            must_create: Store a new record, never an existing one's next state.

        Raises:
            CreateError: *must_create*, and the key is taken.
            SessionEnded: The session was ended or moved; it is an `UpdateError`.
            StoreUnavailable: The server did not answer, or did not when the session was read.
            SessionConflict: Every bounded try met another save.
            SessionTooLarge: It is bigger than ``MULTISESSION_MAX_SIZE``.
            EntryNotSerializable: It holds something that ``SESSION_SERIALIZER`` cannot take.
        """
        self._hold(self._save(must_create))

    async def asave(self, must_create: bool = False) -> None:
        """See save()."""
        await self._ahold(self._save(must_create))

    def create(self) -> None:
        """Store this session's entries as a new session under a new key.

        Raises:
            SessionEnded: The request came with a session that was ended; what it does may not
                make another one (CVE-2025-46336's second order).
        """
        self._hold(self._create())

    async def acreate(self) -> None:
        """See create()."""
        await self._ahold(self._create())

    def cycle_key(self) -> None:
        """Give the session a new key; the next save moves the record there and ends the old one.

        Until then the old session lives: a response that fails leaves the user where they were.
        """
        self._hold(self._ensure_read())
        self._give_new_key()

    async def acycle_key(self) -> None:
        """See cycle_key()."""
        await self._ahold(self._ensure_read())
        self._give_new_key()

    def flush(self) -> None:
        """End the session at once, in the store too; the response removes the cookie."""
        self._hold(self._flush())

    async def aflush(self) -> None:
        """See flush()."""
        await self._ahold(self._flush())

    @sensitive_variables("session_key")
    def delete(self, session_key: str | None = None) -> None:
        """End the session *session_key*, by default this one; unknown keys are no error."""
        self._hold(self._delete(session_key))

    @sensitive_variables("session_key")
    async def adelete(self, session_key: str | None = None) -> None:
        """See delete()."""
        await self._ahold(self._delete(session_key))

    def is_empty(self) -> bool:
        """Return True when there is no session key and nothing in the session.

        A session that the response will save unread (it was cleared, or every request is saved) is
        read here: Django's middleware would read it next, and one that turns out to be unknown must
        not be traded for an empty new record (CVE-2015-5963).
        """
        if self._will_be_saved_unread():
            # What cannot be read is not known to be empty.
            with contextlib.suppress(StoreUnavailable, SynchronousOnlyOperation):
                self._hold(self._ensure_read())
        is_empty = super().is_empty()
        self._tell()
        return is_empty

    def respond(self, *, may_save: bool = True) -> CookieAnswer:
        """End the request: save what it changed, and say what its response does with the cookie.

        What `django_multisession.middleware` asks; Django's asks `modified` and calls `save()`.

        Args:
            may_save: Not so for a response of 500 and above, which saves nothing.

        Raises:
            SessionEnded: The request changed a session that was ended, and
                ``MULTISESSION_ON_INTERRUPTED`` is ``"error"``. A touch does not raise it.
            StoreUnavailable: See save(); not where nothing was changed.
            SessionConflict, SessionTooLarge, EntryNotSerializable: See save().
        """
        answer, is_changed = self._hold(self._plan(may_save=may_save))
        if answer is CookieAnswer.SET:
            try:
                self.save()
            except (SessionEnded, StoreUnavailable) as error:
                if not self._is_excused(error, is_changed=is_changed):
                    raise
                return CookieAnswer.KEEP
        return self._as_confirmed(answer)

    async def arespond(self, *, may_save: bool = True) -> CookieAnswer:
        """See respond()."""
        answer, is_changed = await self._ahold(self._plan(may_save=may_save))
        if answer is CookieAnswer.SET:
            try:
                await self.asave()
            except (SessionEnded, StoreUnavailable) as error:
                if not self._is_excused(error, is_changed=is_changed):
                    raise
                return CookieAnswer.KEEP
        return self._as_confirmed(answer)

    @sensitive_variables("session_key")
    def exists(self, session_key: str | None) -> bool:
        """Is there a live, readable session *session_key*?"""
        return self._hold(self._exists(session_key))

    @sensitive_variables("session_key")
    async def aexists(self, session_key: str | None) -> bool:
        """See exists()."""
        return await self._ahold(self._exists(session_key))

    @classmethod
    def clear_expired(cls) -> None:
        """Remove expired sessions, in batches, where the server does not do it by itself."""
        session = cls()
        session._hold(session._purge())

    @classmethod
    async def aclear_expired(cls) -> None:
        """See clear_expired()."""
        session = cls()
        await session._ahold(session._purge())

    def _purge(self) -> Steps[None]:
        now = self._now()
        while (yield from conversation.purge_expired(now, PURGE_BATCH)) == PURGE_BATCH:
            pass

    # Entries

    def clear(self) -> None:
        """Remove every entry. What is stored is not read for that."""
        self._session_cache = self._new_entries()
        self._is_cleared = True
        self.accessed = True
        self.modified = True

    def __setitem__(self, key: str, value: Any) -> None:
        if key == merge.USER_ID_ENTRY:
            self._hold(self._ensure_read())
            self._note_login()
        super().__setitem__(key, value)

    async def aset(self, key: str, value: Any) -> None:
        """See __setitem__()."""
        if key == merge.USER_ID_ENTRY:
            await self._ahold(self._ensure_read())
            self._note_login()
        await super().aset(key, value)

    def pop(self, key: str, default: Any = _NOT_GIVEN) -> Any:
        """Remove the entry *key* and return it. A missing one changes nothing."""
        return self._pop(self._get_session(), key, default)

    async def apop(self, key: str, default: Any = _NOT_GIVEN) -> Any:
        """See pop()."""
        return self._pop(await self._aget_session(), key, default)

    def _pop(self, entries: dict[str, Any], key: str, default: Any) -> Any:
        # Django's sets modified to what it was before, which discards what was not told yet.
        if key in entries:
            self.modified = True
        return entries.pop(key) if default is _NOT_GIVEN else entries.pop(key, default)

    def update(self, dict_: Any) -> None:  # type: ignore[override]  # Django's signature
        """Set every entry of *dict_*, as ``dict.update()`` does."""
        for name, value in dict(dict_).items():
            self[name] = value
        self.modified = True

    async def aupdate(self, dict_: Any) -> None:
        """See update()."""
        for name, value in dict(dict_).items():
            await self.aset(name, value)
        self.modified = True

    async def adelete_test_cookie(self) -> None:
        """Remove the test entry. Django 6.1's own forgets to note the change."""
        await super().adelete_test_cookie()
        self.modified = True

    # Expiry

    def deadlines(self) -> Deadlines:
        """Return when the stored session ends if it is not used again, for a page that shows it."""
        self._hold(self._ensure_read())
        return self._deadlines()

    async def adeadlines(self) -> Deadlines:
        """See deadlines()."""
        await self._ahold(self._ensure_read())
        return self._deadlines()

    def get_expiry_age(self, **kwargs: Any) -> int:
        """Return the seconds until the session ends; see Django's documentation for *kwargs*."""
        if "expiry" not in kwargs:
            kwargs["expiry"] = self.get(EXPIRY_ENTRY)
        return self._expiry_age(**kwargs)

    async def aget_expiry_age(self, **kwargs: Any) -> int:
        """See get_expiry_age()."""
        if "expiry" not in kwargs:
            kwargs["expiry"] = await self.aget(EXPIRY_ENTRY)
        return self._expiry_age(**kwargs)

    def get_expiry_date(self, **kwargs: Any) -> datetime:
        """Return when the session ends; see Django's documentation for *kwargs*."""
        if "expiry" not in kwargs:
            kwargs["expiry"] = self.get(EXPIRY_ENTRY)
        return self._expiry_date(**kwargs)

    async def aget_expiry_date(self, **kwargs: Any) -> datetime:
        """See get_expiry_date()."""
        if "expiry" not in kwargs:
            kwargs["expiry"] = await self.aget(EXPIRY_ENTRY)
        return self._expiry_date(**kwargs)

    # Keys

    def _get_new_session_key(self) -> str:
        # Django asks the store whether a key is taken; 132 random bits never are.
        return keys.make(config().signing_keys).session_key

    async def _aget_new_session_key(self) -> str:
        return self._get_new_session_key()
