"""Under ASGI our middleware takes no thread, whatever a request does; Django's takes two each time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import update_last_login
from django.contrib.auth.signals import user_logged_in

from django_multisession.engine import close_drivers
from django_multisession.user_sessions import forms
from tests.engine_fixtures import Engine
from tests.proxy import TCPProxy
from tests.web import people
from tests.web.pages import log_in, log_out, put, read, untouched
from tests.web.visits import Body, Visit, page
from tests.wire.asgi import ASGISite
from tests.wire.conftest import AUTHENTICATION, shorten_waits, under_djangos, under_ours
from tests.wire.hops import Hops, hops, watched

if TYPE_CHECKING:
    from pytest_django import Settings

    from tests.conftest import Clock

#: What a request may do to its session, by the name a test has for it.
DEEDS = {
    "untouched": untouched,
    "read": read,
    "change": put(city="Rome"),
    "login": log_in("ada"),
    "logout": log_out,
}
each_deed = pytest.mark.parametrize("body", DEEDS.values(), ids=DEEDS.keys())


@pytest.fixture(autouse=True)
def native_site(site: None, settings: Settings, session_middleware: str) -> Iterator[None]:
    """A site in which nothing but a session middleware could take a thread.

    Django's authentication middleware does, and so does each sync receiver of a login: the one that
    notes it in the database, and that of a form which an earlier test has imported.
    """
    settings.MIDDLEWARE = [session_middleware]
    settings.AUTHENTICATION_BACKENDS = [people.BACKEND]
    receivers: dict[str, Callable[..., Any]] = {
        "update_last_login": update_last_login,
        "django_multisession.user_sessions.forms": forms._carry_out,
    }
    for name in receivers:
        user_logged_in.disconnect(dispatch_uid=name)
    yield
    for name, receiver in receivers.items():
        user_logged_in.connect(receiver, dispatch_uid=name)


def seen_in(
    body: Body, *, status: int = 200, is_served: bool = False, refused_by: TCPProxy | None = None
) -> Hops:
    """Do *body* with a session, and return what left for a thread meanwhile.

    Args:
        body: What the page does.
        status: What is answered.
        is_served: Not only by middleware and view, but by Django's handler around them.
        refused_by: What the page made refuse connections, and is to accept them again.
    """

    async def visits() -> Hops:
        site = ASGISite()
        # Connections, scripts and indexes: what is done once is done before.
        for deed in DEEDS.values():
            key = (await site.get("write", query="name=first")).key
            with page(deed) as name:
                await site.respond(f"visit/{name}", key=key)
        bystander, key = [(await site.get("write", query="name=first")).key for _ in range(2)]
        with page(body) as name, watched() as seen:
            if is_served:
                answered = (await site.get(f"visit/{name}", key=key)).status
            else:
                answered = (await site.respond(f"visit/{name}", key=key)).status_code
        assert answered == status
        if refused_by is not None:
            refused_by.accept()
            await site.read_until_well(bystander)
        return seen

    return asyncio.run(visits())


# What a request does


@each_deed
@under_ours
def test_no_request_takes_a_thread(engine: Engine, body: Body) -> None:
    assert seen_in(body) == hops()


@under_ours
def test_a_touch_takes_no_thread(engine: Engine, proxy: TCPProxy, clock: Clock) -> None:
    async def read_long_after(visit: Visit) -> None:
        clock.advance(seconds=120)
        await read(visit)
        proxy.reset()

    # The first touch of all brings its script to a Redis that has just started.
    seen_in(read_long_after)
    assert seen_in(read_long_after) == hops()
    assert proxy.round_trips == 1


@each_deed
@under_djangos
def test_every_request_takes_two_threads_under_djangos(engine: Engine, body: Body) -> None:
    # Which also shows that a thread would have been seen.
    assert seen_in(body) == hops("process_request", "process_response")


@each_deed
@under_ours
def test_a_whole_site_takes_no_more_threads_than_one_without_sessions(
    engine: Engine, body: Body, settings: Settings
) -> None:
    with_ours = seen_in(body, is_served=True)
    assert with_ours == seen_without_sessions(settings)


@under_djangos
def test_a_whole_site_takes_two_more_threads_under_djangos(
    engine: Engine, settings: Settings
) -> None:
    with_djangos = seen_in(untouched, is_served=True)
    assert with_djangos.calls == seen_without_sessions(settings).calls + 2


def seen_without_sessions(settings: Settings) -> Hops:
    """Return what leaves for a thread in a site without middleware: what Django itself sends there."""
    settings.MIDDLEWARE = []

    async def visit() -> Hops:
        site = ASGISite()
        with watched() as seen:
            assert (await site.get("untouched")).status == 200
        return seen

    return asyncio.run(visit())


@under_ours
def test_an_untouched_request_opens_no_connection_and_sends_no_byte(
    engine: Engine, proxy: TCPProxy
) -> None:
    session = engine.SessionStore()
    session["name"] = "first"
    session.save()
    close_drivers()

    async def visit() -> Hops:
        site = ASGISite()
        proxy.reset()
        with watched() as seen:
            response = await site.respond("untouched", key=session.session_key)
        assert (response.status_code, dict(response.cookies)) == (200, {})
        return seen

    assert asyncio.run(visit()) == hops()
    assert (proxy.bytes_to_server, proxy.total_connections) == (0, 0)


# What stays Django's


@under_ours
def test_djangos_authentication_middleware_takes_one_thread(
    engine: Engine, settings: Settings
) -> None:
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, AUTHENTICATION]
    assert seen_in(untouched) == hops("process_request")


@under_ours
def test_a_foreign_engine_is_saved_in_a_thread(settings: Settings) -> None:
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.cache"
    assert seen_in(untouched) == hops("_respond_foreign")


@pytest.fixture
def short_waits(engine: Engine, settings: Settings) -> None:
    shorten_waits(engine, settings)


@under_ours
@pytest.mark.usefixtures("short_waits")
@pytest.mark.parametrize("change", [put(city="Rome"), log_in("ada")], ids=["change", "login"])
def test_a_503_from_the_middleware_takes_but_the_thread_in_which_django_logs(
    engine: Engine, proxy: TCPProxy, change: Body
) -> None:
    async def change_in_vain(visit: Visit) -> None:
        await change(visit)
        proxy.refuse()

    assert seen_in(change_in_vain, status=503, refused_by=proxy) == hops("log_response")


@under_ours
@pytest.mark.usefixtures("short_waits")
def test_a_503_from_a_page_takes_but_the_threads_in_which_django_handles_exceptions_and_logs(
    engine: Engine, proxy: TCPProxy
) -> None:
    async def read_in_vain(visit: Visit) -> None:
        proxy.refuse()
        await read(visit)

    assert seen_in(read_in_vain, status=503, refused_by=proxy) == hops(
        "process_exception_by_middleware", "log_response"
    )


@under_ours
@pytest.mark.usefixtures("short_waits")
def test_a_page_that_reads_nobodys_session_in_an_outage_takes_no_thread(
    engine: Engine, proxy: TCPProxy, settings: Settings
) -> None:
    settings.MULTISESSION_ON_OUTAGE = "anonymous"

    async def read_nobodys(visit: Visit) -> None:
        proxy.refuse()
        assert await read(visit) == {}

    assert seen_in(read_nobodys, refused_by=proxy) == hops()
