"""A page whose body is a test's own function, written once and run sync and async.

The body is an ``async def`` that speaks to its request through a `Visit`. Under WSGI the verbs of
a visit are Django's sync ones and never suspend, so `run_at_once` runs the body in a sync view;
under ASGI they are the a-twins (``aget``, ``aset``, ``alogin``) and an async view awaits it.
"""

from __future__ import annotations

import inspect
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from asgiref.sync import iscoroutinefunction
from django.contrib import auth
from django.http import HttpRequest, HttpResponseBase, JsonResponse

from tests.web import people

Result = TypeVar("Result")


class Verbs:
    """The verbs of a session, spelled without the a; each is awaited."""

    def __init__(self, session: Any, *, is_async: bool) -> None:
        self._session = session
        self._is_async = is_async

    def __getattr__(self, verb: str) -> Callable[..., Awaitable[Any]]:
        if self._is_async:
            twin: Callable[..., Awaitable[Any]] = getattr(self._session, f"a{verb}")
            assert iscoroutinefunction(twin)
            return twin
        method = getattr(self._session, "__setitem__" if verb == "set" else verb)

        async def call(*args: Any, **kwargs: Any) -> Any:
            return method(*args, **kwargs)

        return call


class Visit:
    """One request, as a body sees it.

    Attributes:
        request: Django's.
        store: ``request.session`` itself, for what does no I/O.
        session: Its verbs.
    """

    def __init__(self, request: HttpRequest, *, is_async: bool) -> None:
        self.request = request
        self.store: Any = request.session
        self.session = Verbs(request.session, is_async=is_async)
        self._is_async = is_async

    async def log_in(self, name: str) -> None:
        """Log *name* in as a login view does."""
        user = people.person(name)
        if self._is_async:
            await auth.alogin(self.request, user, people.BACKEND)
        else:
            auth.login(self.request, user, people.BACKEND)

    async def log_out(self) -> None:
        if self._is_async:
            await auth.alogout(self.request)
        else:
            auth.logout(self.request)

    async def user(self) -> str:
        """Return the name of who is logged in, or nothing."""
        user = await self.request.auser() if self._is_async else self.request.user
        return user.get_username()

    async def change_password(self, password: str) -> None:
        """Change the password of who is logged in, as Django's password form does."""
        user = people.person(await self.user())
        if self._is_async:
            # aupdate_session_auth_hash() reads request.user, which would be fetched by sync I/O.
            self.request.user = await self.request.auser()
        people.passwords[user.get_username()] = user.password = password
        if self._is_async:
            await auth.aupdate_session_auth_hash(self.request, user)
        else:
            auth.update_session_auth_hash(self.request, user)


#: What a page does. Its answer becomes the response: as it is, or as JSON.
Body = Callable[[Visit], Coroutine[Any, Any, Any]]

_bodies: dict[str, Body] = {}


@contextmanager
def page(body: Body) -> Iterator[str]:
    """Serve *body* under a name of its own, and yield the name."""
    name = secrets.token_hex(8)
    _bodies[name] = body
    try:
        yield name
    finally:
        del _bodies[name]


def visit(request: HttpRequest, name: str) -> HttpResponseBase:
    """Answer with the page *name*: the sync view."""
    return _response(run_at_once(_bodies[name](Visit(request, is_async=False))))


async def avisit(request: HttpRequest, name: str) -> HttpResponseBase:
    """See visit()."""
    return _response(await _bodies[name](Visit(request, is_async=True)))


def _response(answer: Any) -> HttpResponseBase:
    if isinstance(answer, HttpResponseBase):
        return answer
    return JsonResponse({"answer": answer})


def run_at_once(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine in which nothing suspends."""
    assert inspect.iscoroutine(coroutine)
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: Result = stop.value
        return result
    coroutine.close()
    raise AssertionError("The body of a sync page waited for something.")
