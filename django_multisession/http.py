"""The request as type checkers should see it."""

from __future__ import annotations

from django.http import HttpRequest as DjangoHttpRequest

from django_multisession.store import DriverSessionStore


class HttpRequest(DjangoHttpRequest):
    """Annotates views: its session has what this package adds. No request is of this class."""

    session: DriverSessionStore
