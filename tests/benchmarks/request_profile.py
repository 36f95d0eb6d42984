"""Prints where the processor time of one request goes, as bytecodes executed in each part.

``python -m tests.benchmarks.request_profile``, in the repository: it starts a Redis and a MongoDB, and
plays each request on an engine of Django's and on one of this package. Bytecodes are the same on a busy
machine. What C code does (sockets, HMAC, JSON, hiredis, BSON, tasks of asyncio) isn't among them.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any

import django
from django.conf import settings

PACKAGE = "django_multisession"
#: What a file's path holds, and what the table calls it.
PARTS = {
    f"{PACKAGE}/middleware.py": "middleware",
    f"{PACKAGE}/session/": "session",
    f"{PACKAGE}/core/": "core",
    f"{PACKAGE}/drivers/": "driver",
    PACKAGE: "settings",
    "/django/": "Django",
    "/pymongo/": "PyMongo",
    "/bson/": "PyMongo",
    "/asgiref/": "asgiref",
    "/asyncio/": "asyncio",
}
PYTHON = "Python"
KINDS = ("untouched", "read", "change", "new", "login", "logout")
MONGODB_KINDS = ("read", "change", "new")
#: How many requests an async measurement plays concurrently.
WIDTHS = (1, 32)
WARM_UP = 20
#: Of so many, the one that executed the least: a busy machine adds turns of the event loop.
RUNS = 5
OK = 200

STOCK = ("django.contrib.sessions.backends.cache", "django.contrib.sessions.middleware")
OURS = ("django_multisession.engines.redis", "django_multisession.middleware")
SIGNED_COOKIES = ("django.contrib.sessions.backends.signed_cookies", STOCK[1])
COOKIE = ("django_multisession.engines.cookie", OURS[1])
MONGODB = ("django_multisession.engines.mongodb", OURS[1])

Counts = Counter[str]


def part_of(path: str) -> str:
    return next((name for fragment, name in PARTS.items() if fragment in path), PYTHON)


class Meter:
    """Counts bytecodes by part, also in threads that begin while it is `installed`."""

    def __init__(self) -> None:
        self._counts: Counts = Counter()

    @contextmanager
    def installed(self) -> Iterator[None]:
        threading.settrace(self._trace)
        sys.settrace(self._trace)
        try:
            yield
        finally:
            sys.settrace(None)
            threading.settrace(None)

    def taken(self) -> Counts:
        """Return what was counted since the last call."""
        taken, self._counts = self._counts, Counter()
        return taken

    def _trace(self, frame: FrameType, event: str, _argument: Any) -> Any:
        if event == "call":
            frame.f_trace_opcodes = True
        elif event == "opcode":
            self._counts[part_of(frame.f_code.co_filename)] += 1
        return self._trace


#: One for all: a thread that serves several measurements keeps the meter it began with.
METER = Meter()


def request_to(store: type[Any], kind: str) -> Any:
    """Return a request of *kind*, with a stored session where it needs one."""
    from django.test import RequestFactory

    from tests import test_request_costs

    request = RequestFactory().get("/")
    if kind not in {"new", "untouched"}:
        session = store()
        session.update(test_request_costs.ENTRIES)
        session.save()
        request.COOKIES[settings.SESSION_COOKIE_NAME] = session.session_key
    return request


def profile(kind: str, name: str, middleware: str) -> Counts:
    """Return what a request of *kind* executes beyond one without a session."""
    from django.http import HttpResponse
    from django.test import override_settings

    from tests import test_request_costs

    def counted(act: Callable[[Any], Any]) -> Counts:
        request = request_to(store, kind)
        METER.taken()
        with METER.installed():
            act(request)
        return METER.taken()

    with override_settings(SESSION_ENGINE=name):
        site = import_module(middleware).SessionMiddleware(getattr(test_request_costs, kind))
        store = import_module(name).SessionStore
        for _ in range(WARM_UP):
            site(request_to(store, kind))
        # A cookie's date is made once a second.
        found = min((counted(site) for _ in range(RUNS)), key=Counter.total)
        return found - counted(lambda _request: HttpResponse("ok"))


async def read(request: Any) -> Any:
    return _ok(await request.session.aget("n"))


async def change(request: Any) -> Any:
    await request.session.aset("n", await request.session.aget("n") + 1)
    return _ok()


async def new(request: Any) -> Any:
    from tests import test_request_costs

    await request.session.aupdate(test_request_costs.ENTRIES)
    return _ok()


async def untouched(_request: Any) -> Any:
    return _ok()


def _ok(text: object = "ok") -> Any:
    from django.http import HttpResponse

    return HttpResponse(str(text))


ASYNC_VIEWS = {"untouched": untouched, "read": read, "change": change, "new": new}


def async_profile(kind: str, name: str, middleware: str, width: int) -> Counts:
    """Return what one of *width* concurrent requests of *kind* executes beyond a bare one."""
    from django.test import override_settings

    async def counted(act: Callable[[Any], Awaitable[Any]], requests: list[Any]) -> Counts:
        METER.taken()
        responses = await asyncio.gather(*map(act, requests))
        if any(response.status_code != OK for response in responses):
            raise RuntimeError("a request had no answer in time: the machine is too busy")
        return METER.taken()

    async def both(requests: Iterator[list[Any]]) -> tuple[Counts, Counts]:
        site = import_module(middleware).SessionMiddleware(ASYNC_VIEWS[kind])
        # The first ones open what others find open.
        await counted(site, next(requests))
        await counted(site, next(requests))
        found = [await counted(site, next(requests)) for _ in range(RUNS)]
        return min(found, key=Counter.total), await counted(untouched, next(requests))

    with override_settings(SESSION_ENGINE=name):
        store = import_module(name).SessionStore
        # Two to open what others find open, and one without a session.
        batches = RUNS + 3
        prepared = iter([[request_to(store, kind) for _ in range(width)] for _ in range(batches)])
        with METER.installed():
            found, bare = asyncio.run(both(prepared))
    return Counter({part: count // width for part, count in (found - bare).items()})


def bare_profile(kind: str, collection: Any) -> Counts:
    """Return what the bare commands of a request of *kind* execute in PyMongo."""
    body = b"x" * 700

    def act(number: int) -> None:
        if kind == "new":
            collection.insert_one({"_id": f"new {number}", "p": body})
            return
        collection.find_one({"_id": "k"})
        if kind == "change":
            collection.update_one({"_id": "k"}, {"$set": {"p": body, "r": str(number)}})

    collection.replace_one({"_id": "k"}, {"p": body}, upsert=True)
    for number in range(WARM_UP):
        act(number)
    METER.taken()
    with METER.installed():
        act(WARM_UP)
    return METER.taken()


def main() -> None:
    sys.path.append(str(Path(__file__).parents[2] / "testproject"))
    import pymongo
    import server_binaries
    from servers import MongoServer, RedisServer

    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        redis = next(iter(server_binaries.redis_binaries(place).values()))
        mongod = server_binaries.mongod_binary(place)
        with (
            RedisServer(redis, place / "redis") as server,
            MongoServer(mongod, place / "m") as mongo,
        ):
            settings.configure(
                SECRET_KEY="x" * 50,
                USE_TZ=True,
                INSTALLED_APPS=["django.contrib.sessions", PACKAGE],
                CACHES={
                    "default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": server.url}
                },
                MULTISESSION_REDIS={"URL": server.url},
                MULTISESSION_MONGODB={"URI": mongo.url, "DATABASE": "profile"},
            )
            django.setup()
            write_table("Redis", {k: (profile(k, *STOCK), profile(k, *OURS)) for k in KINDS})
            for width in WIDTHS:
                write_table(
                    f"Redis under ASGI, {width} in flight",
                    {
                        kind: (
                            async_profile(kind, *STOCK, width),
                            async_profile(kind, *OURS, width),
                        )
                        for kind in ASYNC_VIEWS
                    },
                )
            with pymongo.MongoClient[Any](mongo.url) as client:
                bare = client["profile"].get_collection(
                    "bare", write_concern=pymongo.WriteConcern("majority")
                )
                write_table(
                    "MongoDB beside bare commands",
                    {k: (bare_profile(k, bare), profile(k, *MONGODB)) for k in MONGODB_KINDS},
                )
            write_table(
                "cookie beside signed_cookies",
                {k: (profile(k, *SIGNED_COOKIES), profile(k, *COOKIE)) for k in KINDS},
            )


def write_table(title: str, found: dict[str, tuple[Counts, Counts]]) -> None:
    parts = [*dict.fromkeys(PARTS.values()), PYTHON]
    used = [part for part in parts if any(ours[part] for _, ours in found.values())]
    heads = ["request", "stock", "ours", *(f"of it {part}" for part in used)]
    sys.stdout.write(f"\n{title}\n\n| {' | '.join(heads)} |\n|{'---|' * len(heads)}\n")
    for kind, (stock, ours) in found.items():
        counts = [sum(stock.values()), sum(ours.values()), *(ours[part] for part in used)]
        sys.stdout.write(f"| {kind} | {' | '.join(f'{count:,}' for count in counts)} |\n")


if __name__ == "__main__":
    main()
