"""Pages that use a session in one way each; sync, and below each its async twin.

A sync page leaves it to the middleware to save what it changes. An async one does so only if its
name says it: Django's middleware would save in a thread.
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


write_and_leave_it = write


async def awrite_and_leave_it(request: HttpRequest) -> HttpResponse:
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


login_and_leave_it = login


async def alogin_and_leave_it(request: HttpRequest) -> HttpResponse:
    await auth.alogin(request, await User.objects.aget(username=request.GET["user"]), BACKEND)
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


def cycle(request: HttpRequest) -> HttpResponse:
    request.session.cycle_key()
    return HttpResponse()


async def acycle(request: HttpRequest) -> HttpResponse:
    await request.session.acycle_key()
    await request.session.asave()
    return HttpResponse()
