"""Views that a page polls, sync and async, as functions and as classes."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.utils.decorators import method_decorator
from django.views import View

from django_multisession.decorators import session_not_extended


@session_not_extended
def poll(request: HttpRequest) -> HttpResponse:
    return HttpResponse(request.session.get("city"))


@session_not_extended
async def apoll(request: HttpRequest) -> HttpResponse:
    """See poll()."""
    return HttpResponse(await request.session.aget("city"))


@method_decorator(session_not_extended, name="dispatch")
class Poll(View):
    def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse(request.session.get("city"))


class APoll(View):
    """See Poll; here the method is decorated."""

    @method_decorator(session_not_extended)
    async def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse(await request.session.aget("city"))
