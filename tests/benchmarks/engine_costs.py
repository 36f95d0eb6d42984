"""Prints what a request costs on each engine, as a ratio to Django's engine of the same store.

``python -m tests.benchmarks.engine_costs [DATABASE]``, in a clone with the test requirements and on a
machine that does nothing else. The requests of both engines, and one without a session, take turns in
a random order, so that whatever slows the machine slows all three.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import django
from django.conf import settings

from tests.benchmarks.database_purge import database
from tests.benchmarks.request_profile import request_to
from tests.benchmarks.tables import write_row

KINDS = ("read", "change", "new", "login", "logout")
WARM_UP = 30
REQUESTS = 300
MIDDLEWARES = ("django.contrib.sessions.middleware", "django_multisession.middleware")


class Pair(NamedTuple):
    """An engine of this package, and Django's for the same store.

    Attributes:
        ours: Its name in ``django_multisession.engines``.
        djangos: Its name in ``django.contrib.sessions.backends``.
        cache: Which of ``CACHES`` Django's uses, if it uses one.
    """

    ours: str
    djangos: str
    cache: str = "default"

    @property
    def engines(self) -> tuple[str, str]:
        return (
            f"django.contrib.sessions.backends.{self.djangos}",
            f"django_multisession.engines.{self.ours}",
        )


PAIRS = (
    Pair("redis", "cache"),
    Pair("memcached", "cache", "memcached"),
    Pair("database", "db"),
    Pair("tiered", "cached_db"),
    Pair("cookie", "signed_cookies"),
)


class Cost(NamedTuple):
    """Seconds: of a clock on the wall, and of this thread's processor."""

    wall: float
    processor: float


def cost(act: Callable[[Any], Any], request: Any) -> Cost:
    wall, processor = time.perf_counter(), time.thread_time()
    act(request)
    return Cost(time.perf_counter() - wall, time.thread_time() - processor)


def measure(pair: Pair, kind: str) -> Cost:
    """Return how often Django's cost this package's is, beyond a request without a session."""
    from django.http import HttpResponse
    from django.test import RequestFactory, override_settings

    from tests import test_request_costs

    views = [getattr(test_request_costs, each) for each in ("read", kind)]
    bare = [lambda _request: HttpResponse("ok")] * 2
    sites: list[tuple[list[Callable[[Any], Any]], Any]] = [(bare, None)]
    for engine, middleware in zip(pair.engines, MIDDLEWARES, strict=True):
        with override_settings(SESSION_ENGINE=engine):
            site = [import_module(middleware).SessionMiddleware(view) for view in views]
        sites.append((site, import_module(engine).SessionStore))
    costs: list[list[Cost]] = [[] for _ in sites]
    with override_settings(SESSION_CACHE_ALIAS=pair.cache):
        for _ in range(WARM_UP + REQUESTS):
            for number in random.sample(range(len(sites)), len(sites)):
                (read, act), store = sites[number]
                request = request_to(store, kind if store else "untouched")
                # A session in use: tiered engines have it in front.
                before = RequestFactory().get("/")
                before.COOKIES.update(request.COOKIES)
                read(before)
                costs[number].append(cost(act, request))
    none, djangos, ours = (
        [statistics.median(of_site) for of_site in zip(*each[WARM_UP:], strict=True)]
        for each in costs
    )
    return Cost(*((ours[n] - none[n]) / (djangos[n] - none[n]) for n in range(len(Cost._fields))))


def main() -> None:
    """Print two rows for each engine: by the clock, and of the processor."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("database", nargs="?", default="sqlite")
    name = parser.parse_args().database
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        default = stack.enter_context(database(name, place))
        import server_binaries
        from servers import MemcachedServer, RedisServer

        binary = next(iter(server_binaries.redis_binaries(place).values()))
        redis = stack.enter_context(RedisServer(binary, place / "redis"))
        binary = server_binaries.memcached_binary(place)
        memcached = stack.enter_context(MemcachedServer(binary, place / "memcached"))
        if name == "mariadb":
            import pymysql

            pymysql.install_as_MySQLdb()
        engines = "django_multisession.engines"
        caches = "django.core.cache.backends"
        settings.configure(
            SECRET_KEY="x" * 50,
            USE_TZ=True,
            INSTALLED_APPS=[
                "django.contrib.sessions",
                "django_multisession",
                "django_multisession.database",
            ],
            DATABASES={"default": default},
            CACHES={
                "default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": redis.url},
                "memcached": {
                    "BACKEND": f"{caches}.memcached.PyMemcacheCache",
                    "LOCATION": memcached.url,
                },
            },
            MULTISESSION_REDIS={"URL": redis.url},
            MULTISESSION_MEMCACHED={"SERVERS": [memcached.url]},
            MULTISESSION_TIERED={"FRONT": f"{engines}.redis", "BACK": f"{engines}.database"},
        )
        django.setup()
        from django.core.management import call_command

        call_command("migrate", verbosity=0)
        write_row(f"on {name}", "Django's", "measured", *KINDS)
        write_row(*["-"] * (len(KINDS) + 3))
        for pair in PAIRS:
            found = [measure(pair, kind) for kind in KINDS]
            for number, clock in enumerate(Cost._fields):
                ratios = (f"{each[number]:.2f}" for each in found)
                write_row(pair.ours, pair.djangos, clock, *ratios)


if __name__ == "__main__":
    main()
