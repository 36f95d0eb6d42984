"""Views with the machinery of Django and DRF around them: messages, tokens, a cache, an API."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.middleware.csrf import get_token
from django.views.decorators.csrf import csrf_protect
from rest_framework.authentication import SessionAuthentication
from rest_framework.permissions import IsAuthenticated
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView


def token(request: HttpRequest) -> HttpResponse:
    """Return the token that a form would hold."""
    return HttpResponse(get_token(request))


async def atoken(request: HttpRequest) -> HttpResponse:
    """See token(). The middleware loaded the session that holds the secret."""
    return token(request)


@csrf_protect
def buy(request: HttpRequest) -> HttpResponse:
    """Take a form that is protected against cross-site requests."""
    cart = request.session.setdefault("cart", [])
    cart.append(request.POST["what"])
    return JsonResponse({"answer": cart})


async def abuy(request: HttpRequest) -> HttpResponse:
    """See buy(). The middleware checked the token."""
    cart = await request.session.asetdefault("cart", [])
    cart.append(request.POST["what"])
    return JsonResponse({"answer": cart})


def say(request: HttpRequest) -> HttpResponse:
    """Leave a message for the next page."""
    messages.info(request, request.GET["what"])
    return HttpResponse()


def hear(request: HttpRequest) -> HttpResponse:
    """Show every message, once."""
    return JsonResponse({"answer": [str(message) for message in messages.get_messages(request)]})


class WhoAmI(APIView):
    """An endpoint for who is logged in at the site."""

    authentication_classes = (SessionAuthentication,)
    permission_classes = (IsAuthenticated,)
    renderer_classes = (JSONRenderer,)

    def get(self, request: Request) -> Response:
        return Response({"answer": request.user.get_username()})

    def post(self, request: Request) -> Response:
        fields: Any = request.data
        request.session["note"] = fields["note"]
        return Response({"answer": request.session["note"]})
