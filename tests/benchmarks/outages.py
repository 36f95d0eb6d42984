"""Prints what docs/explanation/outages.md says of requests in an outage; ten minutes of waiting.

``python -m tests.benchmarks.outages``, in the repository: it starts a Redis and a mongod, stops and
pauses them, and asks for pages with the time limits that the engines have by themselves.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import logging
import os
import statistics
import sys
import tempfile
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import django

from tests.benchmarks.tables import write_row

if TYPE_CHECKING:
    from servers import Server

    from tests.wire.visitor import Visitor

HEAD = (
    "server",
    "outage",
    "mode",
    "middleware",
    "request",
    "status",
    "seconds, sync",
    "async",
    "slowest",
    "cookie",
    "afterwards",
)
PAGES = ("untouched", "read", "write", "login", "logout")
MODES = ("error", "anonymous")
DJANGOS = "django.contrib.sessions.middleware.SessionMiddleware"
OURS = "django_multisession.middleware.SessionMiddleware"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A request that meets an outage."""

    mode: str
    middleware: str
    page: str


CASES = [
    Case(mode=mode, middleware=middleware, page=page)
    for mode, middleware, page in itertools.product(MODES, (OURS, DJANGOS), PAGES)
]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one: its response, and its session once the server is back."""

    status: int
    seconds: float
    cookie: str
    afterwards: str


@contextmanager
def stopped(server: Server) -> Iterator[None]:
    """Connections are refused."""
    server.stop()
    try:
        yield
    finally:
        server.start()


@contextmanager
def hanging(server: Server) -> Iterator[None]:
    """Connections stay open, and nobody answers (SIGSTOP)."""
    server.pause()
    try:
        yield
    finally:
        server.resume()


OUTAGES: tuple[Callable[[Server], AbstractContextManager[None]], ...] = (stopped, hanging)


def main() -> None:
    """Measure every case on both servers, in both outages, sync and async."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=3, help="outages of each kind")
    parser.add_argument("--only", help="one of them: redis-stopped, mongodb-hanging, ...")
    chosen = parser.parse_args()

    # As pytest finds it.
    sys.path.append(str(Path(__file__).parents[2] / "testproject"))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    # Every 503 is a line.
    logging.disable(logging.CRITICAL)

    write_row(*HEAD)
    write_row(*["-"] * len(HEAD))
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for kind, outage in itertools.product(("redis", "mongodb"), OUTAGES):
            if chosen.only in {None, f"{kind}-{outage.__name__}"}:
                measure(kind, outage, directory / f"{kind}-{outage.__name__}", chosen.times)


def measure(
    kind: str, outage: Callable[[Server], AbstractContextManager[None]], place: Path, times: int
) -> None:
    """Write what comes of every case, each in *times* outages."""
    from tests.wire.visitor import Visitor

    found: dict[tuple[Case, bool], list[Outcome]] = defaultdict(list)
    with started(kind, place) as server, site(kind, server):
        for is_async, _ in itertools.product((False, True), range(times)):
            visitor = Visitor(is_async=is_async)
            visitor.run(endure(visitor, outage(server), found))
    for case in CASES:
        both = [found[case, False], found[case, True]]
        outcomes = [*both[0], *both[1]]
        write_row(
            kind,
            outage.__name__,
            case.mode,
            "ours" if case.middleware == OURS else "Django's",
            case.page,
            said({outcome.status for outcome in outcomes}),
            *(f"{statistics.median(one.seconds for one in some):.1f}" for some in both),
            f"{max(outcome.seconds for outcome in outcomes):.1f}",
            said({outcome.cookie for outcome in outcomes}),
            said({outcome.afterwards for outcome in outcomes}),
        )


async def endure(
    witness: Visitor,
    outage: AbstractContextManager[None],
    found: dict[tuple[Case, bool], list[Outcome]],
) -> None:
    """Note what comes of every case in one outage, each with a session of its own."""
    from django.test import override_settings

    from tests.wire.visitor import session_cookie

    sessions = {}
    for case in CASES:
        sessions[case] = visitor = witness.stranger()
        await visitor.begin("first")
        if case.page == "logout":
            await ask(visitor, "login")
    await witness.begin("first")

    seen = {}
    with outage:
        for case, visitor in sessions.items():
            with override_settings(
                MULTISESSION_ON_OUTAGE=case.mode, MIDDLEWARE=middleware(case.middleware)
            ):
                # Django's test clients keep the middleware that they began with.
                asking = visitor.copy()
                asked_at = time.monotonic()
                response = await ask(asking, case.page)
                seen[case] = response, time.monotonic() - asked_at
    await witness.read_until_well()

    for case, (response, seconds) in seen.items():
        cookie = session_cookie(response)
        outcome = Outcome(
            status=response.status_code,
            seconds=seconds,
            cookie="kept" if cookie is None else "set" if cookie else "removed",
            afterwards=await state_of(sessions[case], "ada" if case.page == "logout" else ""),
        )
        found[case, witness.is_async].append(outcome)


async def ask(visitor: Visitor, page: str) -> Any:
    """Return the response to a request for *page*."""
    from tests.web import pages

    bodies: dict[str, Any] = {
        "untouched": pages.untouched,
        "read": pages.read,
        "write": pages.put(name="second"),
        "login": pages.log_in("ada"),
        "logout": pages.log_out,
        "user": pages.user,
    }
    return await visitor.open(bodies[page])


async def state_of(visitor: Visitor, user: str) -> str:
    """Say what became of a session that *user* had."""
    read = (await ask(visitor.copy(), "read")).json()["answer"]
    found = (await ask(visitor.copy(), "user")).json()["answer"]
    if (read, found) == ({"name": "first"}, user):
        return "as before"
    return "ended" if (read, found) == ({}, "") else f"changed: {read}, {found!r}"


@contextmanager
def started(kind: str, place: Path) -> Iterator[Server]:
    """Run a server that keeps what it has over a stop."""
    import server_binaries
    from servers import MongoServer, RedisServer

    server: Server
    if kind == "redis":
        binary = server_binaries.redis_binary(place.with_name("binary"))
        server = RedisServer(binary, place, "--appendonly", "yes", "--appendfsync", "always")
    else:
        server = MongoServer(server_binaries.mongod_binary(place.with_name("binary")), place)
    with server:
        yield server


@contextmanager
def site(kind: str, server: Server) -> Iterator[None]:
    """Have Django serve pages with sessions on *server*."""
    from django.contrib.auth.models import update_last_login
    from django.contrib.auth.signals import user_logged_in
    from django.test import override_settings

    from django_multisession.engine import close_drivers
    from tests.web import people

    # Its receiver writes to the database, and these people are in none.
    user_logged_in.disconnect(update_last_login, dispatch_uid="update_last_login")
    with override_settings(
        ROOT_URLCONF="tests.wire.urls",
        MIDDLEWARE=middleware(OURS),
        AUTHENTICATION_BACKENDS=[people.BACKEND],
        SESSION_ENGINE=f"django_multisession.engines.{kind}",
        MULTISESSION_REDIS={"URL": server.url, "KEY_PREFIX": f"{uuid.uuid4().hex[:12]}:"},
        MULTISESSION_MONGODB={"URI": server.url, "DATABASE": "multisession_outages"},
    ):
        yield
        close_drivers()


def middleware(session_middleware: str) -> list[str]:
    return [session_middleware, "django.contrib.auth.middleware.AuthenticationMiddleware"]


def said(values: set[Any]) -> str:
    """Name the one value, or all."""
    return " or ".join(sorted(map(str, values)))


if __name__ == "__main__":
    main()
