"""Views with the machinery of Django around them: messages, tokens, a cache."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.middleware.csrf import get_token
from django.views.decorators.csrf import csrf_protect


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
