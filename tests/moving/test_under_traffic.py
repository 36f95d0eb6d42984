"""A site with a thousand logged-in clients moves there and back while they go on."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.cookies import SimpleCookie
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest

from tests.web.conftest import OURS

if TYPE_CHECKING:
    from tests.conftest import Running

ROOT = Path(__file__).parents[2]
CLIENTS, WORKERS = 1000, 6
SECONDS = 5.0
DJANGOS = "django.contrib.sessions.backends"
REDIS, MONGODB, DATABASE, TIERED = (
    f"django_multisession.engines.{name}" for name in ("redis", "mongodb", "database", "tiered")
)

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]


@pytest.fixture
def session_middleware() -> str:
    """The site is a process of its own."""
    return OURS


class Client:
    """One person with a browser; a count is what the person has seen."""

    def __init__(self, number: int, address: tuple[str, int]) -> None:
        self.number, self.address = number, address
        self.cookie = ""
        self.count = 0
        self.visited_at = 0.0

    def get(self, path: str) -> tuple[Any, str]:
        connection = http.client.HTTPConnection(*self.address, timeout=60)
        with contextlib.closing(connection):
            headers = {"Cookie": f"sessionid={self.cookie}"} if self.cookie else {}
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            body = response.read()
            assert response.status == 200, body[:200]
            cookies = SimpleCookie(response.headers.get("Set-Cookie", ""))
        cookie = cookies["sessionid"].value if "sessionid" in cookies else self.cookie
        return json.loads(body), cookie

    def begin(self) -> None:
        _, self.cookie = self.get(f"/begin/{self.number}/")

    def visit(self, *, in_two_tabs: bool) -> None:
        """Count one up, and in another tab look at the same time."""
        began = time.monotonic()
        seen: list[Any] = []
        other = threading.Thread(target=lambda: seen.append(self.get("/look/")))
        if in_two_tabs:
            other.start()
        found, cookie = self.get("/count/")
        if in_two_tabs:
            other.join()
            assert seen, "the other tab failed"
            assert seen[0][0]["user"] == f"user{self.number}"
            if cookie == self.cookie:
                # The other tab may have come to the next process: a browser keeps its cookie.
                cookie = seen[0][1]
        self.count += 1
        assert found == {"user": f"user{self.number}", "count": self.count}
        self.cookie = cookie
        self.visited_at = began


class Site:
    """A site whose processes follow one another behind one listening socket."""

    def __init__(self, directory: Path, running_servers: Running) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.address = self.listening.getsockname()
        self.process: subprocess.Popen[bytes] | None = None
        self.log = (directory / "log").open("ab")
        redis = running_servers.redis("redis-8.2").url
        mongodb = running_servers.mongodb().url
        self.settings: dict[str, Any] = {
            "SECRET_KEY": "only-for-tests-" + "x" * 50,
            "ALLOWED_HOSTS": ["*"],
            "USE_TZ": True,
            "INSTALLED_APPS": [
                "django_multisession",
                "django_multisession.database",
                "django.contrib.auth",
                "django.contrib.contenttypes",
                "django.contrib.sessions",
            ],
            "MIDDLEWARE": [OURS, "django.contrib.auth.middleware.AuthenticationMiddleware"],
            "AUTHENTICATION_BACKENDS": ["tests.moving.moving_site.Backend"],
            "DATABASES": {
                "default": {
                    "ENGINE": "django.db.backends.sqlite3",
                    "NAME": str(directory / "db.sqlite3"),
                    "OPTIONS": {"timeout": 60, "transaction_mode": "IMMEDIATE"},
                }
            },
            "CACHES": {
                "default": {
                    "BACKEND": "django_redis.cache.RedisCache",
                    "LOCATION": f"{redis.rsplit('/', 1)[0]}/1",
                    "KEY_PREFIX": directory.name,
                }
            },
            "MULTISESSION_REDIS": {
                "URL": redis,
                "KEY_PREFIX": f"{directory.name}:",
                "OPTIONS": {"socket_timeout": 60, "socket_connect_timeout": 60},
            },
            "MULTISESSION_MONGODB": {
                "URI": mongodb,
                "DATABASE": "multisession_tests",
                "COLLECTION": f"traffic_{directory.name}",
                "OPTIONS": {"timeoutMS": 60_000, "serverSelectionTimeoutMS": 60_000},
            },
            "MULTISESSION_TIERED": {"FRONT": REDIS, "BACK": MONGODB},
            "LOGGING_CONFIG": None,
        }

    def deploy(self, engine: str, leaves: str | None = None) -> None:
        """Have a process with other settings follow the one that runs."""
        self.settings["SESSION_ENGINE"] = engine
        self.settings["MULTISESSION_MIGRATE_FROM"] = leaves
        self.stop()
        command = [sys.executable, "-m", "tests.moving.moving_site"]
        self.process = subprocess.Popen(
            [*command, str(self.listening.fileno()), json.dumps(self.settings)],
            pass_fds=[self.listening.fileno()],
            cwd=ROOT,
            stdout=self.log,
            stderr=self.log,
        )

    def manage(self, *arguments: str) -> str:
        """Run a command of ``manage.py`` with the site's settings."""
        script = (
            "import json, sys, django; from django.conf import settings; "
            "settings.configure(**json.loads(sys.argv[1])); django.setup(); "
            "from django.core.management import call_command; call_command(*sys.argv[2:])"
        )
        run = subprocess.run(
            [sys.executable, "-c", script, json.dumps(self.settings), *arguments],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert run.returncode == 0, run.stdout + run.stderr
        return run.stdout

    def said(self) -> str:
        """Return the end of what the processes logged."""
        return Path(self.log.name).read_text()[-4000:]

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            assert self.process.wait(60) == 0


@pytest.fixture
def site(tmp_path: Path, running_servers: Running) -> Iterator[Site]:
    site = Site(tmp_path, running_servers)
    try:
        site.manage("migrate", "--verbosity", "0")
        yield site
    finally:
        site.stop()
        site.listening.close()
        site.log.close()


class Traffic:
    """Clients that visit the site at random, until it ends; what failed, fails the test."""

    def __init__(self, clients: list[Client]) -> None:
        self.clients = clients
        self.visits = 0
        self.failures: list[str] = []
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._go_on, args=(n,)) for n in range(WORKERS)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def wait_for_everyone(self) -> None:
        """Wait until each client has come once more."""
        since = time.monotonic()
        while not self.failures and any(each.visited_at < since for each in self.clients):
            time.sleep(0.1)

    def _go_on(self, number: int) -> None:
        chosen = random.Random(number)
        # A client's requests come from one worker, two at most at a time.
        mine = self.clients[number::WORKERS]
        left: list[Client] = []
        while not self._is_over.is_set():
            left = left or chosen.sample(mine, len(mine))
            try:
                left.pop().visit(in_two_tabs=chosen.random() < 0.2)
            except Exception as error:  # noqa: BLE001  (reported by the test)
                self.failures.append(f"{type(error).__name__}: {error}")
                return
            self.visits += 1


def in_parallel(clients: list[Client], act: Any) -> None:
    failures: list[str] = []

    def work(part: list[Client]) -> None:
        try:
            for client in part:
                act(client)
        except Exception as error:  # noqa: BLE001  (reported below)
            failures.append(f"{type(error).__name__}: {error}")

    threads = [
        threading.Thread(target=work, args=(clients[number::WORKERS],)) for number in range(WORKERS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


@pytest.mark.parametrize(
    "engines",
    [
        (f"{DJANGOS}.db", REDIS, f"{DJANGOS}.db"),
        pytest.param((f"{DJANGOS}.cache", REDIS, f"{DJANGOS}.cache"), marks=pytest.mark.release),
        pytest.param((REDIS, MONGODB, REDIS), marks=pytest.mark.release),
        (REDIS, DATABASE, TIERED),
    ],
    ids=[
        "db to redis and back",
        "django-redis to redis and back",
        "redis to mongodb and back",
        "redis to database to tiered",
    ],
)
def test_a_thousand_clients_stay_logged_in_and_lose_nothing(
    site: Site, engines: tuple[str, ...]
) -> None:
    first, *others = engines
    site.deploy(first)
    clients = [Client(number, site.address) for number in range(1, CLIENTS + 1)]
    in_parallel(clients, Client.begin)
    captured = [clients[0].cookie]
    leaves = first
    with Traffic(clients) as traffic:
        for engine in others:
            time.sleep(SECONDS)
            site.deploy(engine, leaves)
            if leaves == f"{DJANGOS}.db":
                assert "Nothing is left." in site.manage("migratesessions")
            time.sleep(SECONDS)
            if engine == DATABASE:
                # The next move brings no cookie of the engine before.
                traffic.wait_for_everyone()
            leaves = engine
    assert traffic.failures == [], site.said()
    assert traffic.visits > CLIENTS // 10
    # No one was left behind.
    in_parallel(clients, lambda client: client.visit(in_two_tabs=False))
    last = clients[0]
    captured += [last.cookie]
    last.get("/leave/")
    for last.cookie in captured:
        assert last.get("/look/")[0] == {"user": "", "count": None}
