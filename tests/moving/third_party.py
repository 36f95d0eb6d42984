"""An engine of another package: sync verbs alone, and keys of its own form."""

from __future__ import annotations

import secrets
from typing import Any

from django.contrib.sessions.backends.base import SessionBase

kept: dict[str, dict[str, Any]] = {}


def begin(entries: dict[str, Any]) -> str:
    key = f"Shop.{secrets.token_urlsafe(30)}"
    kept[key] = entries
    return key


class SessionStore(SessionBase):
    def load(self) -> dict[str, Any]:
        return kept.get(self.session_key or "", {})

    def delete(self, session_key: str | None = None) -> None:
        kept.pop(session_key or "", None)
