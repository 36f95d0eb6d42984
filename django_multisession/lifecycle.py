"""The life of one session in one request: the steps of each verb, without I/O.

Five modules, each a step on the one before: `session_state` (what is known), `reading`,
`composing`, `saving`, and here what begins and ends sessions and gives them keys. `store` gives the steps Django's names,
twice: sync and async.
"""

from __future__ import annotations

import weakref
from contextvars import ContextVar

from django_multisession import keys
from django_multisession.conf import config
from django_multisession.conversation import Steps
from django_multisession.exceptions import StoreUnavailable
from django_multisession.reading import Opened
from django_multisession.records import Tombstone
from django_multisession.saving import Saving, unread
from django_multisession.session_state import Standing

#: The sessions of this thread or task that were given a new key. Code that ends "every session but
#: mine" after a change of password (allauth does) ends the old key too, by a store of its own.
_cycling: ContextVar[weakref.WeakSet[Lifecycle] | None] = ContextVar("cycling", default=None)


class Lifecycle(Saving):
    """The steps of a session's verbs."""

    # Beginning and ending

    def _create(self) -> Steps[None]:
        own = self._own_key()
        if self._standing is Standing.UNREAD and own is not None:
            if self._other_keys:
                yield from self._ensure_read()
            elif isinstance((yield from self._find(own)), Tombstone):
                self._forget_record(Standing.ENDED)
        # A request that came with an ended session may not put another one in its place: its
        # cookie would overwrite that of a login elsewhere.
        if self._standing is Standing.ENDED:
            raise self._interrupted()
        if self._standing is Standing.UNREACHABLE:
            raise unread()
        left_behind = self._left_behind()
        self._session_key = None
        yield from self._add(left_behind=left_behind)
        self.modified = True

    def _flush(self) -> Steps[None]:
        key = self._stored_key()
        self.clear()
        # Outside of the block: a refusal without asking must not make the patience longer.
        self._require_server()
        try:
            if key is not None:
                yield from self._end(key, reason="flushed")
            # Every cookie of the name: one that is left would be the session of the next request.
            while (other := self._take_next_key()) is not None:
                yield from self._end(other, reason="flushed")
        except StoreUnavailable:
            self._note_unreachable()
            raise
        self._session_key = None
        self._is_login = False
        self._forget_record(Standing.NEW)

    def _delete(self, session_key: str | None) -> Steps[None]:
        is_own = session_key is None or session_key == self.session_key
        if is_own and self._standing is Standing.UNREAD and self._other_keys:
            yield from self._ensure_read()
        key = self._stored_key() if session_key is None or is_own else self._verify(session_key)
        if key is None:
            return
        yield from self._end(key, reason="deleted")
        for session in {self, *(_cycling.get() or ())}:
            if not (is_own and session is self):
                session._lose_old_key(key)  # noqa: SLF001  (our own kind)

    def _exists(self, session_key: str | None) -> Steps[bool]:
        verified = self._verify(session_key) if session_key else None
        if verified is None:
            return False
        # A key that waits for its save answers as if it were saved.
        if self._standing in (Standing.NEW, Standing.STORED) and self._is_moving():
            if self._kept is not None and verified.storage_key == self._kept.key.storage_key:
                return False
            if verified == self._own_key():
                return True
        found = yield from self._find(verified)
        return isinstance(found, Opened)

    # New keys

    def _give_new_key(self) -> None:
        """Give the session a new key now; the next save commits it."""
        if self._standing is Standing.UNREACHABLE:
            raise unread()
        if self._standing is Standing.ENDED:
            self._forget_record(Standing.NEW)
            self._is_after_end = True
        self._verified = keys.make(config().signing_keys)
        self._session_key = self._verified.session_key
        self.modified = True
        # A new set: tasks share the one that their parent had.
        _cycling.set(weakref.WeakSet({self, *(_cycling.get() or ())}))

    def _lose_old_key(self, key: keys.Verified) -> None:
        """Note that *key* was ended: if a new one waits for its save, that adds and does not move."""
        is_kept = self._kept is not None and self._kept.key.storage_key == key.storage_key
        if is_kept and self._is_moving():
            self._forget_record(Standing.NEW)

    def _note_login(self) -> None:
        """See that ``_auth_user_id`` is being set: the session begins anew, under a new key.

        Django's ``login()`` gives no new key to a user who is logged in already, and code that
        sets the entry by hand gets none (OWASP ASVS 7.2.4). A key given in this request will do.
        """
        self._is_login = True
        needs_key = self._standing is Standing.ENDED or (
            self._standing is Standing.STORED
            # A move that was not heard of may be over.
            and (self._unheard is not None or not self._is_moving())
        )
        if needs_key and config().cycle_on_login:
            self._give_new_key()
