"""The tiered engine, as a site names it."""

from __future__ import annotations

from django_multisession.engines import tiered


class SessionStore(tiered.SessionStore):
    pass
