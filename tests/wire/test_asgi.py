"""Under ASGI: session I/O stays in the event loop, connections stay few, and none outlives its loop."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
import time
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from asgiref.sync import async_to_sync

from tests.engine_fixtures import Engine, use_engine
from tests.proxy import TCPProxy
from tests.wire import outages
from tests.wire.asgi import ASGISite, Exchange
from tests.wire.outages import OwnServers

if TYPE_CHECKING:
    from pytest_django import Settings

    from tests.conftest import Running

IN_FLIGHT = 100
POOL = 10
LOOPS = 1000
#: A client of MongoDB has two more, which watch the server.
WATCHING = {"redis": 0, "mongodb": 2}


@pytest.fixture
def small_pool(engine: Engine, settings: Settings) -> None:
    """Ten connections; on a busy machine a hundred requests may wait for them longer than 2 s."""
    _bound_pool(engine.kind, settings, POOL)
    if engine.kind == "redis":
        settings.MULTISESSION_REDIS |= {"timeout": 60, "socket_timeout": 60}
    else:
        settings.MULTISESSION_MONGODB |= {"timeoutMS": 60_000, "waitQueueTimeoutMS": 60_000}


def _bound_pool(kind: str, settings: Settings, bound: int) -> None:
    if kind == "redis":
        settings.MULTISESSION_REDIS |= {"max_connections": bound}
    else:
        settings.MULTISESSION_MONGODB |= {"maxPoolSize": bound}


@pytest.fixture
def io_threads(proxy: TCPProxy, monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """The threads that speak to the session server: who sends or receives on a socket that leads there."""
    threads: set[int] = set()

    def noting(method: Callable[..., Any]) -> Callable[..., Any]:
        def note_and_do(connection: socket.socket, *arguments: Any) -> Any:
            try:
                leads_there = connection.getpeername() == (proxy.host, proxy.port)
            except OSError:
                leads_there = False
            if leads_there:
                threads.add(threading.get_ident())
            return method(connection, *arguments)

        return note_and_do

    for name in ("send", "sendall", "sendmsg", "recv", "recv_into"):
        monkeypatch.setattr(socket.socket, name, noting(getattr(socket.socket, name)))
    return threads


async def _write_and_read(site: ASGISite, name: str) -> None:
    """Begin a session, read it, change it, read it."""
    written = await site.get("write", query=f"name=first-{name}")
    assert written.status == 200
    assert (await site.get("read", key=written.key)).shown == {"name": f"first-{name}"}
    assert (await site.get("write", query=f"name={name}", key=written.key)).status == 200
    assert (await site.get("read", key=written.key)).shown == {"name": name}


# On a clock that stands still: where a second passes between a save and its response, Django's
# middleware has the session looked up once more, in its thread.
@pytest.mark.usefixtures("small_pool", "clock")
def test_no_thread_does_session_io_for_a_hundred_requests_in_flight(
    engine: Engine, proxy: TCPProxy, io_threads: set[int]
) -> None:
    async def all_at_once() -> None:
        site = ASGISite()
        await asyncio.gather(*(_write_and_read(site, str(number)) for number in range(IN_FLIGHT)))

    asyncio.run(all_at_once())
    # One to begin, two to read, two to change.
    assert len(proxy.commands) >= 5 * IN_FLIGHT
    assert io_threads == {threading.get_ident()}


@pytest.mark.usefixtures("small_pool", "clock")
def test_a_hundred_requests_in_flight_share_the_connections_of_the_pool(
    engine: Engine, proxy: TCPProxy
) -> None:
    async def all_at_once() -> None:
        site = ASGISite()
        await asyncio.gather(*(_write_and_read(site, str(number)) for number in range(IN_FLIGHT)))
        assert 1 < proxy.connections <= POOL + WATCHING[engine.kind]

    asyncio.run(all_at_once())
    assert proxy.total_connections <= POOL + WATCHING[engine.kind]


def test_what_an_async_page_leaves_to_djangos_middleware_is_saved_in_a_thread(
    engine: Engine, io_threads: set[int]
) -> None:
    async def write() -> None:
        assert (await ASGISite().get("write_and_leave_it", query="name=first")).status == 200

    asyncio.run(write())
    # Which also shows that a thread would have been seen.
    assert io_threads - {threading.get_ident()}


@pytest.mark.parametrize("run", [asyncio.run, "async_to_sync"])
def test_no_connection_outlives_its_event_loop(engine: Engine, proxy: TCPProxy, run: Any) -> None:
    session = engine.SessionStore()
    session["name"] = "first"
    session.save()
    before, threads = proxy.connections, threading.active_count()

    async def read() -> None:
        assert await engine.SessionStore(session.session_key).aget("name") == "first"

    def run_in_a_loop() -> None:
        if run is asyncio.run:
            asyncio.run(read())
        else:
            async_to_sync(read)()

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(LOOPS):
            run_in_a_loop()
        gc.collect()
    assert [str(warning.message) for warning in caught] == []
    _wait_until(lambda: proxy.connections <= before)
    assert threading.active_count() <= threads + 1
    driver: Any = engine.driver
    clients = driver._clients if engine.kind == "redis" else driver._connection._async_sessions
    assert len(clients) == 0


def _wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + outages.DEADLINE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


async def _until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + outages.DEADLINE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("kind", ["redis", "mongodb"])
@pytest.mark.parametrize("page", ["read", "write"])
def test_after_a_client_has_gone_amid_session_io_the_next_ones_get_their_own_data(
    *, kind: str, page: str, own_servers: OwnServers, settings: Settings, running_servers: Running
) -> None:
    server = own_servers.get(kind)
    with TCPProxy(server.host, server.port) as proxy:
        name = "redis-8.2" if kind == "redis" else "mongodb-standalone"
        use_engine(name, settings, running_servers, url=outages.url(kind, proxy))
        # Whoever comes next gets the very connection, if it is used again.
        _bound_pool(kind, settings, 1)

        async def visits() -> None:
            site = ASGISite()
            names = [f"name-{number}" for number in range(5)]
            keys = [(await site.get("write", query=f"name={name}")).key for name in names]
            proxy.reset()
            gone = Exchange()
            with outages.hanging(outages.Place(server, proxy)):
                visit = asyncio.create_task(
                    site.get(page, query="name=never-seen", key=keys[0], exchange=gone)
                )
                await _until(lambda: bool(proxy.commands))
                gone.has_client_gone.set()
                await visit
            assert (gone.status, gone.body) == (0, b"")
            for _ in range(3):
                replies = await asyncio.gather(*(site.get("read", key=key) for key in keys))
                assert [reply.shown for reply in replies] == [{"name": name} for name in names]

        asyncio.run(visits())
