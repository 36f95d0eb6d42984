"""Prints how an ASGI site on Redis answers under load; two minutes of work.

``python -m tests.benchmarks.async_load``, in the repository. A process of its own sends the load:
first 512 tasks that ask without a pause, each with a session of its own, for a minute; then bursts of
200 requests, two a second, for a minute. A site that keeps its sessions answers each with 200 and logs
no outage.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

TASKS, BURST, BURSTS_A_SECOND = 512, 200, 2
URL = "ASYNC_LOAD_REDIS"
PAGES = ("read", "change")
#: Seconds that a site may take to start.
START = 30


def make_application() -> Any:
    """Return the site: called by uvicorn, in its process."""
    import django
    from django.conf import settings

    settings.configure(
        SECRET_KEY="benchmark",
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF="tests.benchmarks.async_load",
        MIDDLEWARE=[
            # Says how long a response is.
            "django.middleware.common.CommonMiddleware",
            "django_multisession.middleware.SessionMiddleware",
        ],
        INSTALLED_APPS=["django.contrib.sessions", "django_multisession"],
        SESSION_ENGINE="django_multisession.engines.redis",
        MULTISESSION_REDIS={"URL": os.environ[URL]},
        USE_TZ=True,
    )
    django.setup()
    from django.core.asgi import get_asgi_application

    return get_asgi_application()


def __getattr__(name: str) -> Any:
    """Return the site's URLs, once Django is set up."""
    if name != "urlpatterns":
        raise AttributeError(name)
    from django.http import HttpRequest, HttpResponse
    from django.urls import path

    async def read(request: HttpRequest) -> HttpResponse:
        return HttpResponse(str(await request.session.aget("n", 0)))

    async def change(request: HttpRequest) -> HttpResponse:
        await request.session.aset("n", await request.session.aget("n", 0) + 1)
        return HttpResponse("ok")

    return [path("read/", read), path("change/", change)]


class Visitor:
    """Somebody with a connection and a session of their own."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._cookie = ""
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def get(self, page: str) -> int:
        """Return the status of *page*."""
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        cookie = f"Cookie: sessionid={self._cookie}\r\n" if self._cookie else ""
        writer.write(f"GET /{page}/ HTTP/1.1\r\nHost: localhost\r\n{cookie}\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        headers = dict(line.partition(": ")[::2] for line in head.lower().split("\r\n")[1:])
        await reader.readexactly(int(headers.get("content-length", 0)))
        if "set-cookie: sessionid=" in head.lower():
            at = head.lower().index("set-cookie: sessionid=") + len("set-cookie: sessionid=")
            self._cookie = head[at:].partition(";")[0]
        return int(head.split(" ", 2)[1])

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()


class Tally:
    """What came back, and how long each took."""

    def __init__(self) -> None:
        self.statuses: collections.Counter[int] = collections.Counter()
        self.seconds: list[float] = []

    async def ask(self, visitor: Visitor, page: str) -> None:
        began = time.perf_counter()
        self.statuses[await visitor.get(page)] += 1
        self.seconds.append(time.perf_counter() - began)

    def row(self, name: str) -> str:
        median = statistics.median(self.seconds)
        late = statistics.quantiles(self.seconds, n=100)[98]
        return (
            f"{name:30} {len(self.seconds):7} answers {dict(self.statuses)}; median "
            f"{median * 1000:.1f} ms, p99 {late * 1000:.1f} ms, {late / median:.1f} medians"
        )


async def closed(port: int, seconds: float) -> Tally:
    """Let `TASKS` visitors ask without a pause."""
    tally, ends = Tally(), time.monotonic() + seconds

    async def visit() -> None:
        visitor = Visitor(port)
        for page in itertools.cycle(("change", "read", "read")):
            if time.monotonic() > ends:
                visitor.close()
                return
            await tally.ask(visitor, page)

    await asyncio.gather(*(visit() for _ in range(TASKS)))
    return tally


async def bursts(port: int, seconds: float) -> Tally:
    """Let `BURST` visitors ask at once, again and again."""
    tally, visitors = Tally(), [Visitor(port) for _ in range(BURST)]
    for number in range(int(seconds * BURSTS_A_SECOND)):
        began = time.monotonic()
        page = "change" if number % 3 == 0 else "read"
        await asyncio.gather(*(tally.ask(visitor, page) for visitor in visitors))
        await asyncio.sleep(max(0.0, 1 / BURSTS_A_SECOND - (time.monotonic() - began)))
    for visitor in visitors:
        visitor.close()
    return tally


async def _started(port: int) -> None:
    ends = time.monotonic() + START
    while True:
        try:
            await Visitor(port).get("read")
        except OSError:
            if time.monotonic() > ends:
                raise
            await asyncio.sleep(0.1)
        else:
            return


def main() -> None:
    """Print a row for each kind of load."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="of each kind of load")
    seconds = parser.parse_args().seconds
    sys.path.insert(0, "testproject")
    from server_binaries import redis_binary
    from servers import RedisServer, free_port

    loads: dict[str, Callable[[int, float], Awaitable[Tally]]] = {
        f"{TASKS} tasks": closed,
        f"bursts of {BURST}": bursts,
    }
    with tempfile.TemporaryDirectory() as folder:
        server = RedisServer(redis_binary(Path(folder)), Path(folder))
        port = free_port(server)
        log = Path(folder) / "log"
        with server, log.open("w") as told:
            site = subprocess.Popen(
                [
                    *(sys.executable, "-m", "uvicorn", "--factory", "--port", str(port)),
                    *("--log-level", "warning", "tests.benchmarks.async_load:make_application"),
                ],
                env={**os.environ, URL: server.url},
                stderr=told,
            )
            try:
                for name, load in loads.items():

                    async def run(load: Callable[[int, float], Awaitable[Tally]] = load) -> Tally:
                        await _started(port)
                        return await load(port, seconds)

                    sys.stdout.write(f"{asyncio.run(run()).row(name)}\n")
                outages = log.read_text().count("Sessions are unavailable")
                sys.stdout.write(f"{outages} outages logged\n")
            finally:
                site.terminate()
                site.wait()


if __name__ == "__main__":
    main()
