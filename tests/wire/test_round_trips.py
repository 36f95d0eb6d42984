"""What a request costs: round trips to the session server, counted by a proxy in between.

Every request passes a session middleware, Django's or ours, and Django's authentication
middleware; users are in SQLite.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.proxy import TCPProxy
from tests.web.conftest import DJANGOS, OURS
from tests.wire.conftest import under_djangos, url
from tests.wire.visitor import Scenario, Visitor, as_visited, session_cookie

if TYPE_CHECKING:
    from pytest_django import Settings

    from tests.conftest import Clock

SERVERS = ("redis-6.2", "redis-7.0", "redis-8.2", "mongodb-standalone", "mongodb-replica-set")
UNDER_DJANGOS = ("redis-8.2", "mongodb-standalone")
#: memcached must be shown what a write goes over, and changes one item in a command.
ON_MEMCACHED = {"login": 3, "logout": 2}


def with_mark(engine: Any, cost: int, *, is_login: bool = True) -> int:
    """Return *cost*, and one for the mark that a login looks for, where its write can't bring that."""
    return cost + (is_login and engine.kind == "mongodb")


#: One server of each kind is enough under Django's: what differs is above the drivers.
every_server = pytest.mark.parametrize(
    ("engine_name", "session_middleware"),
    [*((name, OURS) for name in SERVERS), *((name, DJANGOS) for name in UNDER_DJANGOS)],
    ids=[*(f"{name}-ours" for name in SERVERS), *(f"{name}-djangos" for name in UNDER_DJANGOS)],
)
pytestmark = [pytest.mark.usefixtures("ada")]


async def _is_new(visitor: Visitor) -> None:
    assert visitor.key is None


async def _has_a_session(visitor: Visitor) -> None:
    await visitor.get("write", name="first")
    assert visitor.key is not None


async def _has_a_forged_cookie(visitor: Visitor) -> None:
    visitor.key = "f" * 40


async def _is_logged_in(visitor: Visitor) -> None:
    await visitor.get("login", user="ada")
    assert visitor.key is not None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row of the table of design §12.

    Attributes:
        request: What happens.
        visitor: Makes a stranger who they are.
        page: What they ask for.
        stock: What it costs with Django's cache engine on django-redis.
        ours: What it costs with ours.
    """

    request: str
    visitor: Callable[[Visitor], Awaitable[None]]
    page: str
    stock: int
    ours: int


TABLE = [
    Row(request="untouched", visitor=_has_a_session, page="untouched", stock=0, ours=0),
    Row(request="forged cookie", visitor=_has_a_forged_cookie, page="read", stock=1, ours=0),
    Row(request="read", visitor=_has_a_session, page="read", stock=1, ours=1),
    Row(request="new", visitor=_is_new, page="write", stock=2, ours=1),
    Row(request="change", visitor=_has_a_session, page="write", stock=3, ours=2),
    Row(request="login", visitor=_has_a_session, page="login", stock=6, ours=2),
    Row(request="logout", visitor=_is_logged_in, page="flush", stock=1, ours=1),
]
QUERIES = {"write": {"name": "second"}, "login": {"user": "ada"}}
each_row = pytest.mark.parametrize("row", TABLE, ids=[row.request for row in TABLE])


def counted(scenario: Scenario) -> Callable[..., None]:
    """Make a test of a scenario, with everything that is done once per process done before it."""

    @functools.wraps(scenario)
    async def warmed_up(*, visitor: Visitor, proxy: TCPProxy, **fixtures: Any) -> None:
        regular = visitor.stranger()
        for page, query in (
            ("write", {"name": "first"}),
            ("write", {"name": "second"}),
            # Django's middleware saves it from a thread, over a connection of its own.
            ("write_and_leave_it", {"name": "third"}),
            ("cycle", {}),
            ("login", {"user": "ada"}),
            ("read", {}),
            ("logout", {}),
        ):
            assert (await regular.get(page, **query)).status_code == 200
        # To a login without a session belongs a script of its own.
        assert (await visitor.stranger().get("login", user="ada")).status_code == 200
        proxy.reset()
        await scenario(visitor=visitor, proxy=proxy, **fixtures)

    return as_visited(warmed_up)


@pytest.fixture
def stock(proxy: TCPProxy, settings: Settings) -> Iterator[None]:
    """Django's cache engine on django-redis."""
    import django_redis

    settings.CACHES = {
        "default": {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": url("redis", proxy),
            "OPTIONS": {"CONNECTION_POOL_KWARGS": {"protocol": 2}},
        }
    }
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.cache"
    yield
    django_redis.get_redis_connection("default").connection_pool.disconnect()


@each_row
@every_server
@counted
async def test_a_request_costs_ours_what_the_table_says(
    row: Row, engine: Any, proxy: TCPProxy, visitor: Visitor
) -> None:
    await row.visitor(visitor)
    proxy.reset()
    response = await visitor.get(row.page, **QUERIES.get(row.page, {}))
    assert response.status_code == 200
    cost = with_mark(engine, row.ours, is_login=row.request == "login")
    assert (proxy.round_trips, len(proxy.commands)) == (cost, cost), proxy.commands


@each_row
@pytest.mark.parametrize("engine_name", ["memcached"])
@counted
async def test_a_request_costs_memcached_as_much_but_for_a_login_and_a_logout(
    row: Row, engine: Any, proxy: TCPProxy, visitor: Visitor
) -> None:
    await row.visitor(visitor)
    proxy.reset()
    response = await visitor.get(row.page, **QUERIES.get(row.page, {}))
    assert response.status_code == 200
    cost = ON_MEMCACHED.get(row.request, row.ours)
    assert (proxy.round_trips, len(proxy.commands)) == (cost, cost), proxy.commands


@pytest.mark.parametrize("request_name", ["new", "change", "login"])
@pytest.mark.parametrize("visitor", ["async"], indirect=True)
@every_server
@counted
async def test_what_an_async_page_leaves_to_the_middleware_costs_the_same(
    request_name: str, engine: Any, proxy: TCPProxy, visitor: Visitor
) -> None:
    row = next(row for row in TABLE if row.request == request_name)
    await row.visitor(visitor)
    proxy.reset()
    response = await visitor.get(f"{row.page}_and_leave_it", **QUERIES[row.page])
    assert (response.status_code, session_cookie(response)) == (200, visitor.key)
    cost = with_mark(engine, row.ours, is_login=row.request == "login")
    assert (proxy.round_trips, len(proxy.commands)) == (cost, cost), proxy.commands


@each_row
@under_djangos
@pytest.mark.parametrize("engine_name", ["redis-8.2"])
@pytest.mark.parametrize("visitor", ["sync"], indirect=True)
@counted
async def test_a_request_costs_django_redis_what_the_table_says(
    row: Row, stock: None, proxy: TCPProxy, visitor: Visitor
) -> None:
    await row.visitor(visitor)
    proxy.reset()
    response = await visitor.get(row.page, **QUERIES.get(row.page, {}))
    assert response.status_code == 200
    assert proxy.round_trips == row.stock, proxy.commands


@every_server
@counted
async def test_a_forged_cookie_sends_no_byte_to_the_server(
    engine: Any, proxy: TCPProxy, visitor: Visitor
) -> None:
    visitor.key = "f" * 40
    response = await visitor.get("read")
    assert (response.status_code, response.json()) == (200, {"name": None})
    assert session_cookie(response) == ""
    assert proxy.bytes_to_server == 0


@every_server
@counted
async def test_a_write_with_a_forged_cookie_costs_what_a_new_session_costs(
    engine: Any, proxy: TCPProxy, visitor: Visitor
) -> None:
    visitor.key = "f" * 40
    await visitor.get("write", name="first")
    assert visitor.key != "f" * 40
    assert proxy.round_trips == 1
    assert (await visitor.get("read")).json() == {"name": "first"}


@every_server
@counted
async def test_a_page_that_reads_costs_one_more_at_most_once_per_touch_interval(
    engine: Any, proxy: TCPProxy, visitor: Visitor, clock: Clock, settings: Settings
) -> None:
    settings.MULTISESSION_TOUCH_INTERVAL = 60
    await visitor.get("write", name="first")
    clock.advance(seconds=61)
    # The first touch of all brings its script to a Redis that has just started.
    await visitor.get("read")
    costs = []
    for seconds in (30, 29, 2, 30, 29, 2, 0):
        clock.advance(seconds=seconds)
        proxy.reset()
        response = await visitor.get("read")
        assert response.json() == {"name": "first"}
        costs.append(proxy.round_trips)
    assert costs == [1, 1, 2, 1, 1, 2, 1]


@every_server
@counted
async def test_a_logout_view_that_asks_who_is_logged_in_costs_the_read_and_the_end(
    engine: Any, proxy: TCPProxy, visitor: Visitor
) -> None:
    await visitor.get("login", user="ada")
    proxy.reset()
    # Django's logout() tells its signal's receivers who it was, and so reads the session first.
    response = await visitor.get("logout")
    assert (response.status_code, session_cookie(response)) == (200, "")
    assert proxy.round_trips == 2


@every_server
@counted
async def test_a_late_request_with_the_cookie_from_before_a_login_costs_one(
    engine: Any, proxy: TCPProxy, visitor: Visitor
) -> None:
    await visitor.get("write", name="first")
    late = visitor.copy()
    await visitor.get("login", user="ada")
    proxy.reset()
    response = await late.get("read")
    assert (response.status_code, response.json()) == (200, {"name": None})
    assert session_cookie(response) is None
    assert proxy.round_trips == 1


@every_server
@counted
async def test_a_page_that_asks_who_is_logged_in_costs_one(
    engine: Any, proxy: TCPProxy, visitor: Visitor
) -> None:
    await visitor.get("login", user="ada")
    proxy.reset()
    assert (await visitor.get("user")).json() == {"user": "ada"}
    assert proxy.round_trips == 1


@every_server
@counted
async def test_logging_in_without_a_session_costs_one(
    engine: Any, proxy: TCPProxy, visitor: Visitor
) -> None:
    await visitor.get("login", user="ada")
    assert proxy.round_trips == with_mark(engine, 1)


@every_server
@counted
async def test_logging_in_again_costs_two(engine: Any, proxy: TCPProxy, visitor: Visitor) -> None:
    await visitor.get("login", user="ada")
    key = visitor.key
    proxy.reset()
    await visitor.get("login", user="ada")
    assert visitor.key != key
    assert proxy.round_trips == with_mark(engine, 2)


@every_server
@counted
async def test_a_logout_costs_one_more_for_each_new_key_that_it_follows(
    engine: Any, proxy: TCPProxy, visitor: Visitor
) -> None:
    await visitor.get("write", name="first")
    late = visitor.copy()
    for _ in range(2):
        await visitor.get("cycle")
    proxy.reset()
    response = await late.get("flush")
    assert (response.status_code, session_cookie(response)) == (200, "")
    assert (proxy.round_trips, len(proxy.commands)) == (3, 3), proxy.commands
    assert (await visitor.get("read")).json() == {"name": None}


@every_server
@counted
async def test_a_logout_that_meets_a_login_costs_one(
    engine: Any, proxy: TCPProxy, visitor: Visitor
) -> None:
    await visitor.get("write", name="first")
    late = visitor.copy()
    await visitor.get("login", user="ada")
    proxy.reset()
    response = await late.get("flush")
    assert (response.status_code, session_cookie(response)) == (200, None)
    assert proxy.round_trips == 1


@every_server
@counted
async def test_a_login_costs_one_more_for_each_new_key_that_it_follows(
    engine: Any, proxy: TCPProxy, visitor: Visitor
) -> None:
    await visitor.get("write", name="first")
    late = visitor.copy()
    await visitor.get("cycle")
    proxy.reset()
    await late.get("login", user="ada")
    # The tombstone, the session that it names, and the move that ends that one.
    assert proxy.round_trips == with_mark(engine, 3), proxy.commands
    assert (await late.get("user")).json() == {"user": "ada"}
    assert (await visitor.get("read")).json() == {"name": None}


@pytest.mark.parametrize("page", ["write", "login"])
@every_server
@counted
async def test_the_successor_of_an_ended_session_costs_what_a_change_costs(
    page: str, engine: Any, proxy: TCPProxy, visitor: Visitor
) -> None:
    # The first claim of all brings its script to a Redis that has just started.
    for client in (visitor.stranger(), visitor):
        await client.get("write", name="first")
        ended = client.key
        await end_from_elsewhere(engine, ended, is_async=client.is_async)
        proxy.reset()
        response = await client.get(page, **QUERIES[page])
        assert response.status_code == 200
        assert client.key != ended
    # The tombstone, and the claim: one move.
    cost = with_mark(engine, 2, is_login=page == "login")
    assert (proxy.round_trips, len(proxy.commands)) == (cost, cost), proxy.commands


async def end_from_elsewhere(engine: Any, key: str | None, *, is_async: bool) -> None:
    if is_async:
        await engine.SessionStore().adelete(key)
    else:
        engine.SessionStore().delete(key)
