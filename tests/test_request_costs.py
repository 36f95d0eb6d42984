"""What a request costs this process, as a count: calls of this package's functions.

Times belong to the yardstick; a count is the same on a busy machine. Whoever raises a bound says in
the commit what the calls are for.
"""

from __future__ import annotations

import contextvars
import gc
import sys
import typing
import uuid
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import pytest
import redis
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

import django_multisession
from django_multisession.middleware import SessionMiddleware
from tests.engine_fixtures import Engine, use_engine

if TYPE_CHECKING:
    from pytest_django import Settings

    from tests.conftest import Running

PACKAGE = str(Path(django_multisession.__file__).parent)
ENTRIES = {
    "n": 1,
    "_auth_user_id": "42",
    "cart": [{"sku": f"SKU-{number}", "qty": number} for number in range(8)],
}


def untouched(_request: HttpRequest) -> HttpResponse:
    return HttpResponse("ok")


def read(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(request.session.get("n")))


def change(request: HttpRequest) -> HttpResponse:
    request.session["n"] = request.session["n"] + 1
    return HttpResponse("ok")


def new(request: HttpRequest) -> HttpResponse:
    request.session.update(ENTRIES)
    return HttpResponse("ok")


def login(request: HttpRequest) -> HttpResponse:
    request.session["u"] = 1
    request.session.cycle_key()
    return HttpResponse("ok")


def logout(request: HttpRequest) -> HttpResponse:
    request.session.flush()
    return HttpResponse("ok")


#: At most so many calls of functions in this package, by a request whose page does that.
MOST_CALLS: dict[Callable[[HttpRequest], HttpResponse], int] = {
    untouched: 13,
    read: 79,
    change: 170,
    new: 134,
    login: 200,
    logout: 64,
}


@pytest.fixture
def engine(settings: Settings, running_servers: Running) -> Engine:
    return use_engine("redis-8.2", settings, running_servers)


def calls_of(act: Callable[[], Any], place: str = PACKAGE) -> list[str]:
    """Return the names of the functions that *act* calls of those at *place*: of this package.

    In a context of its own: a session that another test keeps alive (in an error's traceback) is one
    more to look at. The garbage collector is off: it would close connections of other tests.
    """
    called: list[str] = []

    def note(frame: FrameType, event: str, _argument: object) -> None:
        # A generator that goes on is a call too.
        if event == "call" and frame.f_code.co_filename.startswith(place):
            called.append(frame.f_code.co_qualname)

    gc.disable()
    sys.setprofile(note)
    try:
        contextvars.Context().run(act)
    finally:
        sys.setprofile(None)
        gc.enable()
    return called


def _request(cookie: str | None) -> HttpRequest:
    request = RequestFactory().get("/")
    if cookie is not None:
        request.COOKIES["sessionid"] = cookie
    return request


def _visit(page: Callable[[HttpRequest], HttpResponse], cookie: str | None) -> str:
    response = SessionMiddleware(page)(_request(cookie))
    morsel = response.cookies.get("sessionid")
    return cookie or "" if morsel is None else morsel.value


@pytest.mark.parametrize("page", MOST_CALLS, ids=lambda page: page.__name__)
def test_a_request_calls_few_functions(
    engine: Engine, page: Callable[[HttpRequest], HttpResponse]
) -> None:
    def begun() -> str | None:
        return None if page in {untouched, new} else _visit(new, None)

    # The first one connects, reads the settings and brings Redis the script.
    _visit(page, begun())
    middleware, request = SessionMiddleware(page), _request(begun())
    calls = calls_of(lambda: middleware(request))
    assert len(calls) <= MOST_CALLS[page], "\n".join(calls)


@pytest.mark.parametrize("page", MOST_CALLS, ids=lambda page: page.__name__)
def test_a_request_asks_for_no_protocol(
    engine: Engine, page: Callable[[HttpRequest], HttpResponse]
) -> None:
    # To ask whether an object has one takes as long as reading a record.
    cookie = _visit(new, None)
    middleware, request = SessionMiddleware(page), _request(None if page is new else cookie)
    assert calls_of(lambda: middleware(request), typing.__file__) == []


def test_a_session_takes_few_bytes_of_redis(engine: Engine, settings: Settings) -> None:
    session = engine.SessionStore()
    session["_auth_user_id"] = str(uuid.uuid4())
    session["rest"] = ""
    serialized = len(session.serializer().dumps(dict(session.items())))
    session["rest"] = "x" * (320 - serialized)
    session.save()
    with redis.Redis.from_url(engine.server.url) as server:
        prefix = settings.MULTISESSION_REDIS["KEY_PREFIX"]
        used = {name: server.memory_usage(name) for name in server.scan_iter(prefix + "*")}
    # The prefix of this test is a little longer than the default one.
    (of_record,), (of_index,) = (
        [
            of_name - len(name) + len("multisession:") + 32
            for name, of_name in used.items()
            if (b":user:" in name) is is_index
        ]
        for is_index in (False, True)
    )
    assert of_record <= 620
    # Of a user with one session; a further one takes some fifty.
    assert of_index <= 280
