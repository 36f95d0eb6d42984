"""An engine whose model belongs to an app that isn't installed."""

from __future__ import annotations

from typing import Any

from django.contrib.sessions.backends.base import SessionBase


class SessionStore(SessionBase):
    @classmethod
    def get_model_class(cls) -> Any:
        raise RuntimeError("its app isn't in INSTALLED_APPS")
