"""The pages of `urls`, and an error page that reads the session."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse

from tests.wire.urls import urlpatterns

__all__ = ["handler500", "urlpatterns"]


def handler500(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"Sorry, {request.session.get('name')}.", status=500)
