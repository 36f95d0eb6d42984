"""The life of one session in one request: the steps of each verb, without I/O.

Four modules, each a step on the one before: `session_state` (what is known), `reading`, `saving`,
and here what begins and ends sessions and gives them keys. `store` gives the steps Django's names,
twice: sync and async.
"""

from __future__ import annotations

import weakref
from contextvars import ContextVar

from django_multisession import conversation, keys
from django_multisession.conf import config
from django_multisession.conversation import Steps
from django_multisession.records import Retired
from django_multisession.saving import Saving, SessionEnded, unread
from django_multisession.session_state import Standing, verified_or_none

#: The sessions of this thread or task that were given a new key. Code that ends "every session but
#: mine" after a change of password (allauth does) ends the old key too, by a store of its own.
_cycling: ContextVar[weakref.WeakSet[Lifecycle] | None] = ContextVar("cycling", default=None)


class Lifecycle(Saving):
    """The steps of a session's verbs."""

    # Beginning and ending

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
        if self._standing is Standing.UNREACHABLE:
            raise unread()
        left_behind = self._left_behind()
        self._session_key = None
        yield from self._add(left_behind=left_behind)
        self.modified = True

    def _flush(self) -> Steps[None]:
        key = self._stored_key()
        self.clear()
        if key is not None:
            yield from conversation.delete(key)
        # Every cookie of the name: one that is left would be the session of the next request.
        while (other := self._take_next_key()) is not None:
            yield from conversation.delete(other.storage_key)
        self._session_key = None
        self._is_login = False
        self._forget_record(Standing.NEW)

    def _delete(self, session_key: str | None) -> Steps[None]:
        is_own = session_key is None or session_key == self.session_key
        if session_key is None or is_own:
            key = self._stored_key()
        else:
            verified = verified_or_none(session_key)
            key = verified.storage_key if verified else None
        if key is None:
            return
        yield from conversation.delete(key)
        for session in {self, *(_cycling.get() or ())}:
            is_ended = is_own and session is self
            if key == session._record_key and session._is_moving() and not is_ended:  # noqa: SLF001  (our own kind)
                # Only the old key was ended; the save adds under the new one.
                session._forget_record(Standing.NEW)  # noqa: SLF001  (as above)

    def _exists(self, session_key: str | None) -> Steps[bool]:
        verified = verified_or_none(session_key) if session_key else None
        if verified is None:
            return False
        # A key that waits for its save answers as if it were saved.
        if self._standing in (Standing.NEW, Standing.STORED) and self._is_moving():
            if verified.storage_key == self._record_key:
                return False
            if verified == self._own_key():
                return True
        stored = yield from conversation.get(verified.storage_key)
        return self._open(verified.storage_key, stored, self._now()) is not None

    # New keys

    def _give_new_key(self) -> None:
        """Give the session a new key now; the next save commits it."""
        if self._standing is Standing.UNREACHABLE:
            raise unread()
        if self._standing is Standing.ENDED:
            self._forget_record(Standing.NEW)
        self._verified = keys.make(config().signing_keys)
        self._session_key = self._verified.session_key
        self.modified = True
        if (cycling := _cycling.get()) is None:
            _cycling.set(cycling := weakref.WeakSet())
        cycling.add(self)

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
