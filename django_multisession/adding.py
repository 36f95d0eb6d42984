"""Adding: store a new session, under a key that nobody has."""

from __future__ import annotations

import dataclasses

from django.contrib.sessions.backends.base import CreateError

from django_multisession import conversation, keys, signals
from django_multisession.composing import Composing
from django_multisession.conf import config
from django_multisession.conversation import Steps
from django_multisession.exceptions import StoreUnavailable
from django_multisession.kept import Kept, Target

#: A new key is never taken (132 random bits); a server that says so again and again is broken.
CREATE_TRIES = 3


class Adding(Composing):
    """The step that writes a new record, and what every write leaves known."""

    def _add(
        self, *, must_create: bool = False, left_behind: keys.Verified | None = None
    ) -> Steps[None]:
        """Store a new record, under the key that was given already or a new one."""
        if self._is_after_end and not self._is_login:
            # Its cookie would overwrite that of a login elsewhere.
            raise self._interrupted()
        if not hasattr(self, "_session_cache"):
            self._session_cache = self._new_entries()
        own = self._own_key()
        for _ in range(CREATE_TRIES):
            key = own or keys.make(config().signing_keys)
            composed = self._compose(Target(key, None), self._now())
            if (yield from conversation.add(key.storage_key, composed.record)):
                self._use_key(key)
                self._finish_write(composed)
                self._is_key_untold = True
                user_id = composed.record.user_id
                self._note(signals.session_created, storage_key=key.storage_key, user_id=user_id)
                if left_behind is not None:
                    yield from self._end(left_behind, reason="deleted")
                return
            if must_create and own is not None:
                raise CreateError
            own = None
        raise StoreUnavailable(f"The server called {CREATE_TRIES} new session keys taken.")

    def _finish_write(self, composed: Kept) -> None:
        self._adopt(composed)
        self._has_written = self._is_confirmed = True
        self._is_login = self._is_cleared = self._is_after_end = False
        if self._verified is not None:
            self._verified = dataclasses.replace(self._verified, by_fallback=False)
        self._entries().rebase()
