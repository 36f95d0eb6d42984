"""Django's session store over a driver; it lives in `session.store`."""

from __future__ import annotations

from django_multisession.session.store import DriverSessionStore

__all__ = ["DriverSessionStore"]
