"""A session server that is down, hangs or refuses: pages answer, cookies stay, sessions come back."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest
from django.conf import settings as django_settings
from django.db import close_old_connections, connections, transaction

from django_multisession.drivers import base
from django_multisession.engine import close_drivers
from django_multisession.exceptions import StoreUnavailable
from django_multisession.signals import outage_began, outage_ended
from django_multisession.testing.driver.fixtures import make_record
from django_multisession.testing.engine.fixtures import heard
from tests.docs.pages import rows_of, section_of
from tests.drivers.problems import OF_RELEASES
from tests.engine_fixtures import PATIENCE, SQLITE, add_options, use_engine
from tests.proxy import TCPProxy
from tests.web.conftest import DJANGOS, OURS
from tests.wire.conftest import WATCHING, under_ours
from tests.wire.outages import (
    DATABASES,
    DEADLINE_SECONDS,
    OUTAGES,
    PASSWORD,
    Outage,
    OwnServers,
    Place,
    hanging,
    url,
)
from tests.wire.visitor import Response, Visitor, as_visited, session_cookie

if TYPE_CHECKING:
    from pytest_django import Settings

    from tests.conftest import Clock, Running

REQUESTS = 200
UNNOTED = "The use of a session could not be noted: the server did not answer."

#: For those outages that are told from a slow answer by waiting.
SHORT: dict[str, dict[str, Any]] = {
    "redis": {"socket_timeout": 0.5, "socket_connect_timeout": 0.5},
    "mongodb": {"timeoutMS": 500, "serverSelectionTimeoutMS": 500, "heartbeatFrequencyMS": 500},
    "memcached": {"timeout": 0.5, "connect_timeout": 0.5},
}


#: Of each kind of server; MongoDB's for all others.
ENGINE_NAMES = {
    "redis": "redis-8.2",
    "memcached": "memcached",
    "postgresql": "database-postgresql",
    "mariadb": "database-mariadb",
}


@pytest.fixture
def failed(session_middleware: str) -> int:
    """The status of a page that the outage kept from being served."""
    return 503 if session_middleware == OURS else 500


def _played(outage: Outage) -> Any:
    # Databases take long to be made and to recover.
    return pytest.param(outage, marks=[pytest.mark.long] if outage.kind in DATABASES else [])


@pytest.fixture(params=[_played(outage) for outage in OUTAGES], ids=str)
def outage(request: pytest.FixtureRequest) -> Outage:
    found: Outage = request.param
    return found


@pytest.fixture
def place(
    db: None,
    outage: Outage,
    own_servers: OwnServers,
    settings: Settings,
    running_servers: Running,
) -> Iterator[Place]:
    """The server that the outage will strike, as the site's."""
    server = own_servers.get(outage.kind)
    with TCPProxy(server.host, server.port) as proxy:
        name = ENGINE_NAMES.get(outage.kind, "mongodb-standalone")
        # The proxy doesn't speak a database's protocol.
        way = server if outage.kind in DATABASES else proxy
        use_engine(name, settings, running_servers, url=url(outage.kind, way))
        if outage.is_waited_for:
            add_options(outage.kind, settings, SHORT[outage.kind])
        yield Place(server, proxy)
        close_drivers()
        connections.close_all()


def outages(*names: str) -> pytest.MarkDecorator:
    """Run a test on some outages only."""
    chosen = [outage for outage in OUTAGES if str(outage) in names]
    assert len(chosen) == len(names)
    played = [_played(outage) for outage in chosen]
    return pytest.mark.parametrize("outage", played, ids=str, indirect=True)


#: Under Django's, of those that are waited for, only the servers that hang: the others let out the
#: same exceptions. Time limits are the clients' affair, so those run with one pair of versions.
every_outage = pytest.mark.parametrize(
    ("outage", "session_middleware"),
    [
        pytest.param(
            outage,
            middleware,
            id=f"{outage}-{name}",
            marks=[
                *([pytest.mark.once] if outage.is_waited_for else []),
                *([pytest.mark.long] if outage.kind in DATABASES else []),
            ],
        )
        for middleware, name in [(OURS, "ours"), (DJANGOS, "djangos")]
        for outage in OUTAGES
        if middleware == OURS or not outage.is_waited_for or outage.begin is hanging
    ],
    indirect=["outage"],
)


def _is_for_nobody_else(response: Response) -> bool:
    """Is no cache allowed to give the response to another client, or to this one later?"""
    return "no-store" in response.headers.get("Cache-Control", "").split(", ")


def _shown(response: Response) -> Any:
    """Return what a page shows, or the status of the error in its place."""
    if response.status_code != 200:
        return response.status_code
    return response.json() if response.content else None


@pytest.mark.long
@pytest.mark.parametrize("on_outage", ["error", "anonymous"])
@every_outage
@as_visited
async def test_in_an_outage_pages_answer_as_configured_and_no_session_is_lost(
    *,
    outage: Outage,
    on_outage: str,
    place: Place,
    visitor: Visitor,
    ada: Any,
    failed: int,
    settings: Settings,
) -> None:
    settings.MULTISESSION_ON_OUTAGE = on_outage
    await visitor.begin("first")
    await visitor.get("login", user="ada")
    leaving = visitor.stranger()
    await leaving.begin("leaving")

    with outage.begin(place):
        answers = {
            "untouched": await visitor.copy().get("untouched"),
            "read": await visitor.copy().get("read"),
            "user": await visitor.copy().get("user"),
            "write": await visitor.copy().get("write", name="second"),
            "login": await visitor.copy().get("login", user="ada"),
            "logout": await leaving.copy().get("logout"),
            "new": await visitor.stranger().get("write_and_leave_it", name="new"),
            "stranger": await visitor.stranger().get("read"),
        }

    read: Any
    user: Any
    if outage.can_read:
        read, user = {"name": "first"}, {"user": "ada"}
    elif on_outage == "anonymous":
        read, user = {"name": None}, {"user": ""}
    else:
        read = user = failed
    assert {page: _shown(answer) for page, answer in answers.items()} == {
        "untouched": None,
        "read": read,
        "user": user,
        "write": failed,
        "login": failed,
        "logout": None if outage.can_end else failed,
        "new": failed,
        "stranger": {"name": None},
    }
    if failed == 503:
        without_the_session = {"read", "user"} if not outage.can_read else set()
        for page, answer in answers.items():
            is_503 = answer.status_code == 503
            assert ("Retry-After" in answer.headers) is is_503
            if is_503 or page in without_the_session:
                assert _is_for_nobody_else(answer)
        assert not _is_for_nobody_else(answers["untouched"])
    if outage.can_end:
        assert session_cookie(answers.pop("logout")) == ""
    assert {session_cookie(answer) for answer in answers.values()} == {None}

    # The limits are those of the outage, and short: a busy machine may miss one once more.
    assert (await visitor.read_until_well()).json() == {"name": "first"}
    await visitor.see("user", {"user": "ada"})
    await leaving.see("read", {"name": None if outage.can_end else "leaving"})
    await visitor.begin("after")
    await visitor.see("read", {"name": "after"})


@outages("redis-hanging", "mongodb-hanging", "memcached-hanging")
# A logout asks who leaves, gets no answer, and then has the session to end.
@pytest.mark.parametrize(("on_outage", "page"), [("error", "read"), ("anonymous", "logout")])
@as_visited
async def test_a_request_waits_once_for_a_server_that_hangs(
    *,
    outage: Outage,
    on_outage: str,
    page: str,
    place: Place,
    visitor: Visitor,
    failed: int,
    settings: Settings,
) -> None:
    settings.MULTISESSION_ON_OUTAGE = on_outage
    await visitor.begin("first")
    # PyMongo opens two more, to watch the server, at any time after its first.
    while place.proxy.connections < 1 + WATCHING.get(outage.kind, 0):
        await visitor.call(time.sleep, 0.01)
    with outage.begin(place):
        place.proxy.reset()
        assert (await visitor.get(page)).status_code == failed
        # Not over a connection of its own either: that would be waited for before anything is asked.
        assert (len(place.proxy.commands), place.proxy.total_connections) == (1, 0)


@pytest.mark.parametrize(
    "outage", [Outage(kind=kind, begin=hanging) for kind in SHORT], ids=str, indirect=True
)
@under_ours
@pytest.mark.timeout(300)
@as_visited
async def test_a_server_that_hangs_is_not_waited_for_without_end_by_default(
    *, outage: Outage, place: Place, visitor: Visitor, failed: int, settings: Settings
) -> None:
    name = f"MULTISESSION_{outage.kind.upper()}"
    setattr(settings, name, getattr(settings, name) | {"OPTIONS": {}})
    await visitor.begin("first")
    with outage.begin(place):
        assert (await visitor.get("read")).status_code == failed
    assert (await visitor.read_until_well()).json() == {"name": "first"}


@outages("redis-stopped", "mongodb-stopped")
@as_visited
async def test_a_request_tries_a_server_that_hangs_up_at_most_twice(
    outage: Outage, place: Place, visitor: Visitor, failed: int
) -> None:
    await visitor.begin("first")
    with outage.begin(place):
        # Who connects is let in, and put out again: behind the proxy there is nobody.
        place.proxy.accept()
        place.proxy.reset()
        assert (await visitor.get("read")).status_code == failed
        assert len(place.proxy.commands) <= 2


@outages("redis-read_only_replica", "redis-out_of_memory", "mongodb-rights_withdrawn")
@as_visited
async def test_what_a_server_refuses_is_not_asked_again(
    outage: Outage, place: Place, visitor: Visitor, failed: int
) -> None:
    await visitor.get("write", name="warm")
    await visitor.begin("first")
    with outage.begin(place):
        place.proxy.reset()
        assert (await visitor.get("write", name="second")).status_code == failed
        assert len(place.proxy.commands) == (2 if outage.can_read else 1)


@dataclasses.dataclass(slots=True)
class Regular:
    """Somebody who reads one page again and again, and what they were answered."""

    visitor: Visitor
    name: str
    statuses: list[int] = dataclasses.field(default_factory=list)
    shown: set[str] = dataclasses.field(default_factory=set)
    cookies: set[str | None] = dataclasses.field(default_factory=set)

    async def read_until(self, is_enough: Callable[[], bool]) -> None:
        while not is_enough():
            response = await self.visitor.get("read")
            if response.status_code == 200:
                self.shown.add(response.json()["name"])
            self.cookies.add(session_cookie(response))
            self.statuses.append(response.status_code)

    async def come_and_read_until(self, is_enough: Callable[[], bool]) -> None:
        await self.visitor.begin(self.name)
        await self.read_until(is_enough)


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@outages(
    "redis-stopped", "mongodb-stopped", "memcached-cut_off", "postgresql-killed", "mariadb-killed"
)
def test_a_server_that_stops_during_traffic_and_starts_again_costs_nobody_their_session(
    *, outage: Outage, place: Place, is_async: bool, failed: int
) -> None:
    regulars = [Regular(Visitor(is_async=is_async), f"name {number}") for number in range(4)]
    is_over = False

    async def all_at_once() -> None:
        await asyncio.gather(*(one.come_and_read_until(lambda: is_over) for one in regulars))

    def wait_until(all_have: Callable[[Regular], bool]) -> None:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not all(all_have(one) for one in regulars):
            assert time.monotonic() < deadline
            # Only of those: to be told an exception is to wait for it.
            assert not [run.exception() for run in runs if run.done()]
            time.sleep(0.01)

    def read_as(one: Regular) -> None:
        try:
            one.visitor.run(one.come_and_read_until(lambda: is_over))
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(regulars)) as threads:
        if is_async:
            runs = [threads.submit(asyncio.run, all_at_once())]
        else:
            runs = [threads.submit(read_as, one) for one in regulars]
        try:
            wait_until(lambda one: 200 in one.statuses)
            with outage.begin(place):
                wait_until(lambda one: failed in one.statuses)
            wait_until(lambda one: one.statuses[-1] == 200)
        finally:
            is_over = True
    for run in runs:
        run.result()
    for one in regulars:
        assert set(one.statuses) == {200, failed}
        assert (one.shown, one.cookies) == ({one.name}, {None})


@outages("postgresql-killed", "mariadb-killed")
@pytest.mark.parametrize("max_age", [0, None], ids=["closed", "persistent"])
@under_ours
@as_visited
async def test_a_database_that_is_killed_logs_no_one_out(
    *, outage: Outage, place: Place, visitor: Visitor, ada: Any, max_age: int | None
) -> None:
    alias = ENGINE_NAMES[outage.kind]
    connections.settings[alias]["CONN_MAX_AGE"] = max_age
    connections[alias].settings_dict["CONN_MAX_AGE"] = max_age

    # What Django does before and after each request, and its test clients leave out.
    async def get(page: str, **query: str) -> Response:
        await visitor.call(close_old_connections)
        response = await visitor.get(page, **query)
        await visitor.call(close_old_connections)
        return response

    await get("write", name="first")
    assert (await get("login", user="ada")).status_code == 200
    # Started again between two requests: each is answered at its first try.
    for page, status in {"read": 200, "write": 200, "user": 200}.items():
        place.server.kill()
        place.server.start()
        assert (await get(page, name="first")).status_code == status
    with outage.begin(place):
        answers = [await get(page, name="second") for page in ("read", "write", "logout", "user")]
    assert [answer.status_code for answer in answers] == [503] * 4
    assert {session_cookie(answer) for answer in answers} == {None}
    assert (await get("user")).json() == {"user": "ada"}
    assert (await get("read")).json() == {"name": "first"}


@contextlib.contextmanager
def locked(alias: str) -> Iterator[None]:
    """Hold the lock of an SQLite database, in a thread and so by another connection."""

    def hold() -> None:
        with transaction.atomic(using=alias):
            is_locked.set()
            is_over.wait(DEADLINE_SECONDS)
        connections[alias].close()

    is_locked, is_over = threading.Event(), threading.Event()
    with ThreadPoolExecutor(1) as thread:
        holding = thread.submit(hold)
        assert is_locked.wait(DEADLINE_SECONDS)
        try:
            yield
        finally:
            is_over.set()
            holding.result()


def shorten_patience(alias: str) -> None:
    connections[alias].cursor().execute("PRAGMA busy_timeout = 1")


@pytest.mark.parametrize("on_outage", ["error", "anonymous"])
@under_ours
@as_visited
async def test_a_locked_sqlite_serves_readers_and_logs_no_one_out(
    *, ada: Any, visitor: Visitor, on_outage: str, settings: Settings, running_servers: Running
) -> None:
    await visitor.call(use_engine, SQLITE, settings, running_servers)
    settings.MULTISESSION_ON_OUTAGE = on_outage
    await visitor.begin("first")
    assert (await visitor.get("login", user="ada")).status_code == 200
    await visitor.call(shorten_patience, SQLITE)
    with locked(SQLITE):
        answers = {page: await visitor.get(page, name="no") for page in ("read", "write", "logout")}
    assert [answer.status_code for answer in answers.values()] == [200, 503, 503]
    assert answers["read"].json() == {"name": "first"}
    assert {session_cookie(answer) for answer in answers.values()} == {None}
    assert (await visitor.get("user")).json() == {"user": "ada"}
    assert (await visitor.get("write", name="after")).status_code == 200
    assert (await visitor.get("read")).json() == {"name": "after"}


@outages("redis-read_only_replica", "replica_set-not_primary")
@under_ours
@as_visited
async def test_a_page_that_only_reads_does_not_fail_where_its_new_signature_cannot_be_stored(
    outage: Outage, place: Place, visitor: Visitor, settings: Settings
) -> None:
    await visitor.begin("first")
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another-secret-" + "y" * 50
    with outage.begin(place):
        response = await visitor.get("read")
        assert (response.status_code, session_cookie(response)) == (200, None)
        assert response.json() == {"name": "first"}
    assert (await visitor.read_until_well()).json() == {"name": "first"}


@outages("redis-stopped", "mongodb-rights_withdrawn")
@pytest.mark.parametrize("on_outage", ["error", "anonymous"])
@as_visited
async def test_an_outage_is_told_once_when_it_begins_and_once_when_it_ends(
    *, outage: Outage, place: Place, on_outage: str, visitor: Visitor, settings: Settings
) -> None:
    settings.MULTISESSION_ON_OUTAGE = on_outage
    await visitor.begin("first")
    with heard(outage_began) as begun, heard(outage_ended) as ended:
        with outage.begin(place):
            for _ in range(3):
                await visitor.get("read")
            assert ended == []
        assert (await visitor.read_until_well()).json() == {"name": "first"}
        await visitor.get("read")
    assert len(begun) == len(ended) == 1
    assert begun[0]["reason"].startswith(("Redis ", "MongoDB "))
    assert ended[0]["duration"] > timedelta(0)


#: How docs/explanation/outages.md names them.
NAMES = {
    "redis-stopped": "Redis is stopped",
    "redis-hanging": "Redis hangs",
    "redis-password_changed": "Redis has another password",
    "redis-redis_rights_withdrawn": "Redis's user lacks a right",
    "redis-without_free_connections": "Redis has no connection left",
    "redis-loading": "Redis is loading its data",
    "redis-replica_that_lost_its_master": "Redis is a replica without its primary",
    "redis-read_only_replica": "Redis is a replica",
    "redis-unable_to_persist": "Redis can't persist its data",
    "redis-out_of_memory": "Redis has no memory left",
    "mongodb-stopped": "MongoDB is stopped",
    "mongodb-hanging": "MongoDB hangs",
    "mongodb-mongodb_password_changed": "MongoDB has another password",
    "mongodb-rights_withdrawn": "MongoDB's user has no rights",
    "replica_set-not_primary": "MongoDB is a secondary",
    "memcached-cut_off": "memcached is unreachable",
    "memcached-hanging": "memcached hangs",
    "postgresql-killed": "PostgreSQL is down",
    "mariadb-killed": "MariaDB is down",
}


#: Of W101: what the hint of each begins with.
HINTS = {
    "redis-stopped": "Start the server",
    "redis-hanging": "Correct its address, let connections through",
    "redis-without_free_connections": "Raise maxclients",
    "redis-loading": "Run the check again",
    "redis-replica_that_lost_its_master": "Run the check again",
}


def documented_failures() -> dict[str, tuple[str, str, str]]:
    section = section_of("explanation/outages.md", "## What is reported")
    rows = [row for table in (0, 1, 2, 3) for row in rows_of(section, table)]
    return {row[0]: (row[1].strip("`"), row[2].strip("`"), row[3].strip("`")) for row in rows}


def test_the_documentation_has_a_row_for_every_failure() -> None:
    assert {*documented_failures()} == {*NAMES.values()}
    assert {*NAMES} == {str(outage) for outage in OUTAGES}


@under_ours
@as_visited
async def test_a_failure_is_reported_as_the_documentation_says(
    outage: Outage, place: Place, visitor: Visitor, caplog: pytest.LogCaptureFixture
) -> None:
    kind, reason, check = documented_failures()[NAMES[str(outage)]]
    driver = import_module(django_settings.SESSION_ENGINE).SessionStore.get_driver()
    await visitor.begin("first")
    caplog.clear()
    with heard(outage_began) as began, outage.begin(place), ThreadPoolExecutor(1) as thread:
        assert (await visitor.get("write", name="second")).status_code == 503
        # In a thread: this runs in an event loop, or in none.
        problems = thread.submit(driver.check).result()
        asked = driver.add("a-key", make_record()) if outage.can_read else driver.get("a-key")
        with pytest.raises(StoreUnavailable) as failure:
            thread.submit(base.run, asked).result()
        thread.submit(connections.close_all).result()
    (line,) = [line for line in caplog.messages if line.startswith("Sessions are unavailable: ")]
    server = r'(?:(?:Redis|MongoDB|memcached) at 127\.0\.0\.1:\d+(?:/\w+)?|The database "[\w-]+") '
    says = server + re.escape(reason).replace("…", ".+")
    assert re.fullmatch(f"Sessions are unavailable: {says}", line)
    assert [event["reason"] for event in began] == [line.removeprefix("Sessions are unavailable: ")]
    assert failure.value.kind.name in kind.split(" or ")
    # The release that this machine has to offer is no part of the outage.
    found = {problem.id: problem.hint for problem in problems if problem.id not in OF_RELEASES}
    assert [*found] == ([] if check == "none" else [check])
    if check == "multisession.W101":
        assert found[check].startswith(HINTS[str(outage)])
    assert PASSWORD not in caplog.text + str(problems)


def of_ours(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what this package logged; Django logs each response of 500 and above."""
    return [line.getMessage() for line in caplog.records if "multisession" in line.name]


@pytest.mark.long
@outages("redis-stopped", "redis-read_only_replica", "redis-out_of_memory")
@pytest.mark.parametrize("on_outage", ["error", "anonymous"])
@under_ours
@as_visited
async def test_two_hundred_requests_of_an_outage_are_a_few_log_lines(
    *,
    outage: Outage,
    place: Place,
    on_outage: str,
    visitor: Visitor,
    settings: Settings,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings.MULTISESSION_ON_OUTAGE = on_outage
    # None of these is found out by waiting.
    add_options("redis", settings, PATIENCE["redis"])
    await visitor.begin("first")
    # Each request is a use to note.
    clock.advance(seconds=61)
    caplog.clear()
    with outage.begin(place):
        if visitor.is_async:
            # A request waits a second for a new connection; together they wait once.
            await asyncio.gather(*(visitor.get("read") for _ in range(REQUESTS)))
        else:
            for _ in range(REQUESTS):
                await visitor.get("read")
    (began, *others) = of_ours(caplog)
    assert began.startswith("Sessions are unavailable: Redis ")
    assert others == ([UNNOTED] if outage.can_read else [])


@outages("redis-stopped")
@under_ours
@as_visited
async def test_a_server_that_fails_every_other_request_is_a_bounded_number_of_log_lines(
    *, outage: Outage, place: Place, visitor: Visitor, caplog: pytest.LogCaptureFixture
) -> None:
    await visitor.begin("first")
    caplog.clear()
    statuses = []
    for _ in range(REQUESTS // 2):
        place.proxy.refuse()
        statuses.append((await visitor.get("read")).status_code)
        place.proxy.accept()
        statuses.append((await visitor.get("read")).status_code)
    assert {200, 503} <= set(statuses)
    kinds = Counter(line.partition(":")[0].partition(",")[0] for line in of_ours(caplog))
    assert kinds == {"Sessions are unavailable": 10, "Sessions are available again": 10}
