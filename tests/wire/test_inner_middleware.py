"""Middleware below ours that meets an outage: Django makes a 500 of what it lets out, and we a 503."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib import messages
from django.core.signals import got_request_exception

from django_multisession.exceptions import StoreUnavailable
from tests.engine_fixtures import Engine
from tests.proxy import TCPProxy
from tests.web.conftest import OURS
from tests.web.pages import crashing, put, read, untouched
from tests.web.visits import Body, Visit
from tests.wire import inner_middleware
from tests.wire.conftest import AUTHENTICATION, under_ours
from tests.wire.visitor import Response, Visitor, as_visited, session_cookie

if TYPE_CHECKING:
    from pytest_django import Settings

HERE = inner_middleware.__name__


async def told(visit: Visit) -> None:
    messages.info(visit.request, "Somebody was here.")


async def tell(visit: Visit) -> list[str]:
    return [str(message) for message in messages.get_messages(visit.request)]


@dataclasses.dataclass(frozen=True, slots=True)
class Below:
    """What stands below the session middleware, and the page that is asked for."""

    middleware: tuple[str, ...]
    body: Body = untouched


MESSAGES = "django.contrib.messages.middleware.MessageMiddleware"
LOGIN_REQUIRED = "django.contrib.auth.middleware.LoginRequiredMiddleware"
CASES = {
    "reads before the page": Below((f"{HERE}.ReadsBefore",)),
    "reads before the page, natively": Below((f"{HERE}.reads_natively",)),
    "reads after the page": Below((f"{HERE}.ReadsAfter",)),
    "changes after the page": Below((f"{HERE}.ChangesAfter",)),
    "saves after the page": Below((f"{HERE}.SavesAfter",)),
    "ends it after the page": Below((f"{HERE}.EndsAfter",)),
    "stores a message": Below((MESSAGES,), told),
    "reads messages": Below((MESSAGES,), tell),
    "requires a login": Below((AUTHENTICATION, LOGIN_REQUIRED)),
}
each_case = pytest.mark.parametrize("below", CASES.values(), ids=CASES.keys())


@pytest.fixture
def engine_name() -> str:
    """One server: what differs between them is below the store, and `test_outage` is about that."""
    return "redis-8.2"


@pytest.fixture
def set_below(settings: Settings, session_middleware: str) -> Callable[..., None]:
    """Put middleware below the session's, or none; a visitor who has been there sees the old site."""
    settings.MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"
    settings.LOGIN_URL = "/login/"

    def set_below(*middleware: str) -> None:
        settings.MIDDLEWARE = [session_middleware, *middleware]

    set_below()
    return set_below


@pytest.fixture
def signalled() -> Iterator[list[BaseException | None]]:
    """The exceptions that `got_request_exception` was sent for."""
    seen: list[BaseException | None] = []

    def note(**_: Any) -> None:
        seen.append(sys.exc_info()[1])

    got_request_exception.connect(note)
    yield seen
    got_request_exception.disconnect(note)


def is_a_503(response: Response) -> bool:
    """Is it a whole one, which no cache keeps and which leaves the cookie alone?"""
    return (
        response.status_code == 503
        and response.headers["Retry-After"] == "5"
        and "no-store" in response.headers["Cache-Control"]
        and session_cookie(response) is None
    )


@each_case
@as_visited
async def test_an_outage_that_middleware_below_meets_is_a_503_under_ours_and_a_500_under_djangos(
    *,
    below: Below,
    engine: Engine,
    proxy: TCPProxy,
    visitor: Visitor,
    set_below: Callable[..., None],
    session_middleware: str,
) -> None:
    await visitor.get("write", name="first")
    guest = visitor.copy()
    set_below(*below.middleware)
    proxy.refuse()
    response = await guest.open(below.body)
    if session_middleware == OURS:
        assert is_a_503(response)
    else:
        assert (response.status_code, session_cookie(response)) == (500, None)
    proxy.accept()
    assert (await visitor.read_until_well()).json() == {"name": "first"}


@under_ours
@as_visited
async def test_a_save_that_middleware_below_makes_in_vain_of_what_was_read_is_a_503(
    engine: Engine, proxy: TCPProxy, visitor: Visitor, set_below: Callable[..., None]
) -> None:
    await visitor.get("write", name="first")

    async def read_and_lose_the_server(visit: Visit) -> None:
        assert await read(visit) == {"name": "first"}
        proxy.refuse()

    set_below(f"{HERE}.SavesAfter")
    assert is_a_503(await visitor.copy().open(read_and_lose_the_server))


# What Django tells of it


@under_ours
@as_visited
async def test_what_middleware_below_lets_out_is_signalled_and_logged_as_under_djangos(
    *,
    engine: Engine,
    proxy: TCPProxy,
    visitor: Visitor,
    set_below: Callable[..., None],
    signalled: list[BaseException | None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    await visitor.get("write", name="first")
    set_below(f"{HERE}.ReadsBefore")
    proxy.refuse()
    caplog.clear()
    assert is_a_503(await visitor.copy().get("untouched"))
    assert [type(error) for error in signalled] == [StoreUnavailable]
    path = "/auntouched/" if visitor.is_async else "/untouched/"
    # The second line is of the response that is sent.
    assert logged(caplog) == [
        (f"Internal Server Error: {path}", StoreUnavailable),
        (f"Service Unavailable: {path}", None),
    ]


@under_ours
@as_visited
async def test_what_a_page_lets_out_is_answered_and_so_no_exception_to_django(
    *,
    engine: Engine,
    proxy: TCPProxy,
    visitor: Visitor,
    set_below: Callable[..., None],
    signalled: list[BaseException | None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    await visitor.get("write", name="first")
    proxy.refuse()
    caplog.clear()
    assert is_a_503(await visitor.get("read"))
    assert signalled == []
    path = "/aread/" if visitor.is_async else "/read/"
    assert logged(caplog) == [(f"Service Unavailable: {path}", None)]


def logged(caplog: pytest.LogCaptureFixture) -> list[tuple[str, type[BaseException] | None]]:
    """Return what Django logged of requests: its lines, and of what exception each is."""
    return [
        (record.getMessage(), record.exc_info[0] if record.exc_info else None)
        for record in caplog.records
        if record.name == "django.request"
    ]


@under_ours
@as_visited
async def test_the_503_in_place_of_a_500_is_the_sites_own_page(
    *,
    engine: Engine,
    proxy: TCPProxy,
    visitor: Visitor,
    set_below: Callable[..., None],
    settings: Settings,
) -> None:
    pages = {"503.html": "<h1>Back soon</h1>", "500.html": "<h1>Broken</h1>"}
    settings.TEMPLATES = [
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "OPTIONS": {"loaders": [("django.template.loaders.locmem.Loader", pages)]},
        }
    ]
    await visitor.get("write", name="first")
    set_below(f"{HERE}.ReadsBefore")
    proxy.refuse()
    response = await visitor.copy().get("untouched")
    assert is_a_503(response)
    assert response.content == b"<h1>Back soon</h1>"


# What stays a 500


@pytest.mark.parametrize(
    "below",
    [
        Below((), crashing(untouched)),
        Below((), crashing(read)),
        Below((), crashing(put(name="second"))),
        Below((f"{HERE}.BreaksAfter",), put(name="second")),
    ],
)
@as_visited
async def test_a_bug_is_a_500_under_both(
    below: Below, engine: Engine, visitor: Visitor, set_below: Callable[..., None]
) -> None:
    await visitor.get("write", name="first")
    set_below(*below.middleware)
    response = await visitor.copy().open(below.body)
    assert (response.status_code, session_cookie(response)) == (500, None)
    assert "Retry-After" not in response.headers
    assert (await visitor.get("read")).json() == {"name": "first"}


@as_visited
async def test_a_bug_in_a_page_that_does_not_use_its_session_is_a_500_in_an_outage_too(
    engine: Engine, proxy: TCPProxy, visitor: Visitor, set_below: Callable[..., None]
) -> None:
    await visitor.get("write", name="first")
    proxy.refuse()
    response = await visitor.open(crashing(untouched))
    assert (response.status_code, session_cookie(response)) == (500, None)
    assert "Retry-After" not in response.headers


@under_ours
@pytest.mark.parametrize(
    ("below", "status"),
    [(Below((f"{HERE}.SavesAfter",)), 503), (Below((), crashing(read)), 500)],
    ids=["unsaved", "bug"],
)
@as_visited
async def test_where_an_outage_is_answered_as_anonymous_only_a_vain_save_is_a_503(
    *,
    below: Below,
    status: int,
    engine: Engine,
    proxy: TCPProxy,
    visitor: Visitor,
    set_below: Callable[..., None],
    settings: Settings,
) -> None:
    settings.MULTISESSION_ON_OUTAGE = "anonymous"
    await visitor.get("write", name="first")
    set_below(*below.middleware)
    proxy.refuse()
    response = await visitor.copy().open(below.body)
    assert (response.status_code, session_cookie(response)) == (status, None)
    assert ("Retry-After" in response.headers) == (status == 503)
    assert "no-store" in response.headers["Cache-Control"]


@under_ours
@as_visited
async def test_where_an_outage_is_answered_as_anonymous_nobody_is_sent_to_the_login_for_good(
    *,
    engine: Engine,
    proxy: TCPProxy,
    visitor: Visitor,
    set_below: Callable[..., None],
    settings: Settings,
) -> None:
    settings.MULTISESSION_ON_OUTAGE = "anonymous"
    await visitor.get("write", name="first")
    set_below(AUTHENTICATION, LOGIN_REQUIRED)
    proxy.refuse()
    response = await visitor.copy().get("read")
    assert (response.status_code, session_cookie(response)) == (302, None)
    assert "no-store" in response.headers["Cache-Control"]


@under_ours
@as_visited
async def test_an_outage_that_the_sites_error_page_meets_is_a_503(
    *,
    engine: Engine,
    proxy: TCPProxy,
    visitor: Visitor,
    set_below: Callable[..., None],
    settings: Settings,
) -> None:
    # As a base.html that greets its user: Django asks for it once a middleware below has failed.
    settings.ROOT_URLCONF = f"{__package__}.urls_with_error_page"
    await visitor.get("write", name="first")
    set_below(f"{HERE}.ReadsBefore")
    proxy.refuse()
    assert is_a_503(await visitor.copy().get("read"))
    proxy.accept()
    assert (await visitor.copy().get("read")).json() == {"name": "first"}
