"""Pages that use a session in one way each; sync, and below each its async twin.

An async page saves what it changes by itself: Django's middleware would do it in a thread.
"""

from __future__ import annotations

from django.contrib import auth
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, JsonResponse

BACKEND = "django.contrib.auth.backends.ModelBackend"


def untouched(request: HttpRequest) -> HttpResponse:
    return HttpResponse()


async def auntouched(request: HttpRequest) -> HttpResponse:
    return HttpResponse()


def read(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"name": request.session.get("name")})


async def aread(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"name": await request.session.aget("name")})


def user(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"user": request.user.get_username()})


async def auser(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"user": (await request.auser()).get_username()})


def write(request: HttpRequest) -> HttpResponse:
    request.session["name"] = request.GET["name"]
    return HttpResponse()


async def awrite(request: HttpRequest) -> HttpResponse:
    await request.session.aset("name", request.GET["name"])
    await request.session.asave()
    return HttpResponse()


async def awrite_and_leave_it(request: HttpRequest) -> HttpResponse:
    """Change the session, and leave it to the middleware to save it."""
    await request.session.aset("name", request.GET["name"])
    return HttpResponse()


def login(request: HttpRequest) -> HttpResponse:
    auth.login(request, User.objects.get(username=request.GET["user"]), BACKEND)
    return HttpResponse()


async def alogin(request: HttpRequest) -> HttpResponse:
    user = await User.objects.aget(username=request.GET["user"])
    await auth.alogin(request, user, BACKEND)
    await request.session.asave()
    return HttpResponse()


def logout(request: HttpRequest) -> HttpResponse:
    auth.logout(request)
    return HttpResponse()


async def alogout(request: HttpRequest) -> HttpResponse:
    await auth.alogout(request)
    return HttpResponse()


def flush(request: HttpRequest) -> HttpResponse:
    request.session.flush()
    return HttpResponse()


async def aflush(request: HttpRequest) -> HttpResponse:
    await request.session.aflush()
    return HttpResponse()
