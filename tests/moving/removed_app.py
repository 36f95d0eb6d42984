"""An engine whose model belongs to an app that isn't installed."""

from __future__ import annotations

from typing import Any

from django.contrib.sessions.backends.base import SessionBase


class SessionStore(SessionBase):
    fault: type[Exception] = RuntimeError

    @classmethod
    def get_model_class(cls) -> Any:
        raise RuntimeError("its app isn't in INSTALLED_APPS")

    def load(self) -> Any:
        # As the frames of Django's engines hold it: in what they send.
        session_key = self.session_key
        raise type(self).fault(f"{len(session_key or '')} characters")

    async def aload(self) -> Any:
        self.load()
