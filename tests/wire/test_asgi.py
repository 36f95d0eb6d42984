"""Under ASGI: session I/O stays in the event loop, connections stay few, and none outlives its loop."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from asgiref.sync import async_to_sync

from django_multisession.engine import close_drivers
from tests.engine_fixtures import PATIENCE, Engine, add_options, use_engine
from tests.proxy import TCPProxy
from tests.web.conftest import DJANGOS, OURS
from tests.web.visits import Visit, page
from tests.wire import outages
from tests.wire.asgi import ASGISite, Exchange, until
from tests.wire.conftest import WATCHING, under_djangos, under_none, under_ours
from tests.wire.outages import OwnServers, Place

if TYPE_CHECKING:
    from pytest_django import Settings

    from tests.conftest import Running

IN_FLIGHT = 100
POOL = 10
LOOPS = 1000
each_way_to_save = pytest.mark.parametrize(
    ("session_middleware", "page_that_writes"),
    [
        pytest.param(DJANGOS, "write", marks=pytest.mark.long),
        (OURS, "write"),
        pytest.param(OURS, "write_and_leave_it", marks=pytest.mark.long),
    ],
    ids=["djangos", "ours", "ours_saves"],
)


@pytest.fixture
def small_pool(engine: Engine, settings: Settings) -> None:
    """Ten connections; on a busy machine a hundred requests may wait for them longer than 2 s."""
    _bound_pool(engine.kind, settings, POOL)
    if engine.kind == "redis":
        add_options("redis", settings, {"timeout": 60, "socket_timeout": 60})
    else:
        add_options("mongodb", settings, {"timeoutMS": 60_000, "waitQueueTimeoutMS": 60_000})


def _bound_pool(kind: str, settings: Settings, bound: int) -> None:
    name = "max_connections" if kind == "redis" else "maxPoolSize"
    add_options(kind, settings, {name: bound})


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


async def _write_and_read_all_at_once(write: str) -> None:
    """Do in a hundred sessions at once: begin it, read it, change it, read it."""
    site = ASGISite()

    async def write_and_read(name: str) -> None:
        written = await site.get(write, query=f"name=first-{name}")
        assert written.status == 200
        assert (await site.get("read", key=written.key)).shown == {"name": f"first-{name}"}
        assert (await site.get(write, query=f"name={name}", key=written.key)).status == 200
        assert (await site.get("read", key=written.key)).shown == {"name": name}

    await asyncio.gather(*(write_and_read(str(number)) for number in range(IN_FLIGHT)))


# On a clock that stands still: where a second passes between a save and its response, Django's
# middleware has the session looked up once more, in its thread.
@pytest.mark.long
@pytest.mark.usefixtures("small_pool", "clock")
@each_way_to_save
def test_no_thread_does_session_io_for_a_hundred_requests_in_flight(
    engine: Engine, proxy: TCPProxy, io_threads: set[int], page_that_writes: str
) -> None:
    asyncio.run(_write_and_read_all_at_once(page_that_writes))
    # One to begin, two to read, two to change.
    assert len(proxy.commands) >= 5 * IN_FLIGHT
    assert io_threads == {threading.get_ident()}


@pytest.mark.long
@pytest.mark.usefixtures("small_pool", "clock")
@each_way_to_save
def test_a_hundred_requests_in_flight_share_the_connections_of_the_pool(
    engine: Engine, proxy: TCPProxy, page_that_writes: str
) -> None:
    async def all_at_once() -> None:
        await _write_and_read_all_at_once(page_that_writes)
        # Redis is spoken to on one connection for all of them.
        assert 1 <= proxy.connections <= POOL + WATCHING.get(engine.kind, 0)

    asyncio.run(all_at_once())
    assert proxy.total_connections <= POOL + WATCHING.get(engine.kind, 0)


@under_djangos
def test_what_an_async_page_leaves_to_djangos_middleware_is_saved_in_a_thread(
    engine: Engine, io_threads: set[int]
) -> None:
    async def write() -> None:
        assert (await ASGISite().get("write_and_leave_it", query="name=first")).status == 200

    asyncio.run(write())
    # Which also shows that a thread would have been seen.
    assert io_threads - {threading.get_ident()}


@pytest.mark.long
@under_none
@pytest.mark.parametrize(
    "run", [asyncio.run, pytest.param("async_to_sync", marks=pytest.mark.release)]
)
def test_no_connection_outlives_its_event_loop(
    engine: Engine, proxy: TCPProxy, settings: Settings, run: Any
) -> None:
    add_options(engine.kind, settings, PATIENCE[engine.kind])
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
    clients = (
        driver.server._multiplexed if engine.kind == "redis" else driver.server._async_sessions
    )
    assert len(clients) == 0


@under_none
@pytest.mark.timeout(300)
def test_an_event_loop_ends_soon_though_its_server_hangs(engine: Engine, proxy: TCPProxy) -> None:
    async def write() -> None:
        session = engine.SessionStore()
        await session.aset("name", "first")
        await session.asave()
        # Now there is a connection over which a client may say goodbye.
        proxy.hang()

    try:
        asyncio.run(write())
    finally:
        proxy.resume()


def _wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + outages.DEADLINE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture(params=["redis", "mongodb"])
def place(
    request: pytest.FixtureRequest,
    own_servers: OwnServers,
    settings: Settings,
    running_servers: Running,
) -> Iterator[Place]:
    """A server that may be made to hang, as the site's, over one connection."""
    server = own_servers.get(request.param)
    with TCPProxy(server.host, server.port) as proxy:
        name = "redis-8.2" if request.param == "redis" else "mongodb-standalone"
        use_engine(name, settings, running_servers, url=outages.url(request.param, proxy))
        # Whoever comes next gets the very connection, if it is used again.
        _bound_pool(request.param, settings, 1)
        yield Place(server, proxy)
        close_drivers()


NAMES = [f"name-{number}" for number in range(5)]


async def _begin_all(site: ASGISite) -> list[str]:
    return [(await site.get("write", query=f"name={name}")).key for name in NAMES]


async def _read_all(site: ASGISite, keys: list[str]) -> list[Any]:
    replies = await asyncio.gather(*(site.get("read", key=key) for key in keys))
    return [reply.shown["name"] for reply in replies]


@pytest.mark.parametrize("page_name", ["read", "write"])
def test_after_a_client_has_gone_amid_session_io_the_next_ones_get_their_own_data(
    place: Place, page_name: str
) -> None:
    async def visits() -> None:
        site = ASGISite()
        keys = await _begin_all(site)
        place.proxy.reset()
        gone = Exchange()
        with outages.hanging(place):
            visit = asyncio.create_task(
                site.get(page_name, query="name=never-seen", key=keys[0], exchange=gone)
            )
            await until(lambda: bool(place.proxy.commands))
            gone.has_client_gone.set()
            await visit
        assert (gone.status, gone.body) == (0, b"")
        for _ in range(3):
            assert await _read_all(site, keys) == NAMES

    asyncio.run(visits())


@under_ours
def test_after_a_client_has_gone_amid_the_middlewares_save_the_next_ones_get_their_own_data(
    place: Place,
) -> None:
    async def visits() -> None:
        site = ASGISite()
        keys = await _begin_all(site)
        has_changed, may_save = asyncio.Event(), asyncio.Event()

        async def change(visit: Visit) -> None:
            await visit.session.set("name", "seen-if-it-was-saved")
            has_changed.set()
            await may_save.wait()

        gone = Exchange()
        with page(change) as name:
            visit = asyncio.create_task(site.get(f"visit/{name}", key=keys[0], exchange=gone))
            await has_changed.wait()
            place.proxy.reset()
            with outages.hanging(place):
                may_save.set()
                await until(lambda: bool(place.proxy.commands))
                gone.has_client_gone.set()
                await visit
        assert (gone.status, gone.body) == (0, b"")
        for _ in range(3):
            first, *others = await _read_all(site, keys)
            # The server had the save already, and may do it once it runs again.
            assert first in {NAMES[0], "seen-if-it-was-saved"}
            assert others == NAMES[1:]

    asyncio.run(visits())
