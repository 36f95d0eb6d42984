"""The request's type, for type checkers."""

from __future__ import annotations

import django.http

from django_multisession.store import DriverSessionStore


class HttpRequest(django.http.HttpRequest):
    """Django's request with a session of this package, for annotations of views.

    django-stubs types ``request.session`` as Django's ``SessionBase``, which has no ``deadlines()``.
    Requests are never made from this class.
    """

    session: DriverSessionStore
