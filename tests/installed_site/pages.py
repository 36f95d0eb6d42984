"""The pages of the site: a cart, filled and read asynchronously, and Django's login and logout."""

from __future__ import annotations

from django.contrib.auth.views import LoginView, LogoutView
from django.http import HttpRequest, JsonResponse
from django.urls import path


async def show(request: HttpRequest) -> JsonResponse:
    user = await request.auser()
    return JsonResponse({"user": user.get_username(), "cart": await request.session.aget("cart")})


async def fill(request: HttpRequest) -> JsonResponse:
    await request.session.aset("cart", ["tea"])
    return JsonResponse({})


def add(request: HttpRequest) -> JsonResponse:
    request.session["cart"].append("cup")
    return JsonResponse({})


urlpatterns = [
    path("", show),
    path("fill/", fill),
    path("add/", add),
    path("login/", LoginView.as_view()),
    path("logout/", LogoutView.as_view()),
]
