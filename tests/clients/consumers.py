"""What the consumers of the tests do with their scope."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from channels import auth as channels_auth
from django.conf import settings
from django.contrib.auth import aget_user
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import AnonymousUser
from django.contrib.sessions.backends.base import SessionBase, UpdateError
from django.core.exceptions import SynchronousOnlyOperation
from django.http import HttpRequest

from django_multisession.exceptions import StoreUnavailable
from tests.clients.sockets import Body, Scope
from tests.web.people import person


async def city(scope: Scope) -> Any:
    return await scope["session"].aget("city")


async def name(scope: Scope) -> str:
    username: str = scope["user"].get_username()
    return username


async def nothing(scope: Scope) -> None:
    """Do nothing with the session."""


def setting(**entries: Any) -> Body:
    async def body(scope: Scope) -> None:
        await scope["session"].aupdate(entries)

    return body


def saving(**entries: Any) -> Body:
    async def body(scope: Scope) -> None:
        await scope["session"].aupdate(entries)
        await scope["session"].asave()

    return body


def logging_in(name: str, *, and_saving: bool) -> Body:
    async def body(scope: Scope) -> None:
        await channels_auth.login(scope, person(name))
        if and_saving:
            await scope["session"].asave()

    return body


async def logging_out(scope: Scope) -> None:
    await channels_auth.logout(scope)


def raised_by(body: Body) -> Body:
    """Answer with the name of the error that *body* raises."""

    async def caught(scope: Scope) -> str:
        try:
            await body(scope)
        except (UpdateError, StoreUnavailable, SynchronousOnlyOperation) as error:
            return type(error).__name__
        return ""

    return caught


# What a long-lived consumer does per message: a session of its own, read now, never saved over.


def session_now(scope: Scope) -> SessionBase:
    """Return the session behind the socket, unread: what a new request would be given."""
    store: type[SessionBase] = import_module(settings.SESSION_ENGINE).SessionStore
    return store(scope["session"].session_key)


async def user_now(scope: Scope) -> AbstractBaseUser | AnonymousUser:
    """Return who is logged in now, as Django's middleware would tell."""
    request = HttpRequest()
    request.session = session_now(scope)
    return await aget_user(request)


async def name_now(scope: Scope) -> str:
    return (await user_now(scope)).get_username()


async def city_now(scope: Scope) -> Any:
    return await session_now(scope).aget("city")


async def city_and_use(scope: Scope) -> Any:
    """Read the session as it is now; a touch, when one is due, keeps it alive."""
    session = session_now(scope)
    found = await session.aget("city")
    # A new key (SECRET_KEY was rotated) must not be saved: only a page can tell the browser.
    if session.modified and session.session_key == scope["session"].session_key:
        await session.asave()
    return found
