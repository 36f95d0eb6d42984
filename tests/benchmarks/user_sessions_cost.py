"""Prints the table of a user's sessions in docs/explanation/performance.md; some minutes of filling.

``python -m tests.benchmarks.user_sessions_cost``, in a clone with the test requirements. It starts
each server, stores many sessions of one user and one of each of many users, and counts what a login,
a list, ends and the pages send and receive. A SQLite is a file: nothing is sent.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import logging
import os
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import django
from django.urls import include, path

from tests.benchmarks.tables import write_row

HEAD = ("engine", "sessions", "users", "request", "commands", "KB sent", "KB received", "seconds")
WRITERS = 64
DATABASES = ("postgresql", "mariadb", "sqlite")
NAMES = ("redis", "mongodb", *DATABASES, "tiered")
BACKEND = "tests.benchmarks.user_sessions_cost.Backend"
LIST = "/account/sessions/"
END_OTHERS = f"{LIST}end-others/"

#: What the pages need.
SITE: dict[str, Any] = {
    "AUTHENTICATION_BACKENDS": [BACKEND],
    "MIDDLEWARE": [
        "django_multisession.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
    ],
    "MESSAGE_STORAGE": "django.contrib.messages.storage.cookie.CookieStorage",
    "STATIC_URL": "/static/",
    "TEMPLATES": [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}],
}


class Backend:
    """Knows every user by the id."""

    def get_user(self, user_id: Any) -> Any:
        """Return who has *user_id*; Django's middleware asks."""
        from django.contrib.auth.models import User

        return User(pk=user_id, username="ada")


class Relay:
    """Between the site and its server, inside a ``with`` block; counts the bytes of each way."""

    def __init__(self, host: str, port: int) -> None:
        self._upstream = host, port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.sent = self.received = 0

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._upstream)
                for end in (client, server):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for ends in ((client, server, "sent"), (server, client, "received")):
                    threading.Thread(target=self._pass, args=ends, daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, way: str) -> None:
        with contextlib.suppress(OSError), source, target:
            while data := source.recv(1 << 16):
                setattr(self, way, getattr(self, way) + len(data))
                target.sendall(data)


# The engines


@contextlib.contextmanager
def engine(name: str, place: Path) -> Iterator[tuple[Any, list[Relay]]]:
    """Set the engine *name*, whose servers are reached by relays; return its class of sessions."""
    from django.test import override_settings

    engines = "django_multisession.engines."
    module = f"{engines}{'database' if name in DATABASES else name}"
    urls = (path(LIST[1:], include("django_multisession.user_sessions.urls")),)
    settings: dict[str, Any] = {**SITE, "SESSION_ENGINE": module, "ROOT_URLCONF": urls}
    with contextlib.ExitStack() as stack:
        relays = []
        if name in ("redis", "tiered"):
            relay = stack.enter_context(_redis(place / "redis"))
            url = f"redis://127.0.0.1:{relay.port}/0"
            settings["MULTISESSION_REDIS"] = {"URL": url, "OPTIONS": {"socket_timeout": 60}}
            relays.append(relay)
        if name in ("mongodb", "tiered"):
            relay = stack.enter_context(_mongodb(place / "mongodb"))
            settings["MULTISESSION_MONGODB"] = {
                "URI": f"mongodb://127.0.0.1:{relay.port}/?directConnection=true",
                "OPTIONS": {"timeoutMS": 60_000},
            }
            relays.append(relay)
        if name in DATABASES:
            relays += stack.enter_context(_database(name, place / name))
            settings["MULTISESSION_DATABASE"] = {"ALIAS": "sessions"}
        if name == "tiered":
            tiers = {"FRONT": f"{engines}redis", "BACK": f"{engines}mongodb"}
            settings["MULTISESSION_TIERED"] = tiers
        stack.enter_context(override_settings(**settings))
        yield importlib.import_module(module).SessionStore, relays


@contextlib.contextmanager
def _redis(place: Path) -> Iterator[Relay]:
    import server_binaries
    from servers import RedisServer

    binary = server_binaries.redis_binary(place.with_name("binary"))
    with RedisServer(binary, place) as server, Relay(server.host, server.port) as relay:
        yield relay


@contextlib.contextmanager
def _mongodb(place: Path) -> Iterator[Relay]:
    import server_binaries
    from servers import MongoServer

    binary = server_binaries.mongod_binary(place.with_name("binary"))
    with MongoServer(binary, place) as server, Relay(server.host, server.port) as relay:
        yield relay


@contextlib.contextmanager
def _database(name: str, place: Path) -> Iterator[list[Relay]]:
    if name == "sqlite":
        wal = {"init_command": "PRAGMA journal_mode=WAL", "transaction_mode": "IMMEDIATE"}
        engine = "django.db.backends.sqlite3"
        with _opened({"ENGINE": engine, "NAME": f"{place}.sqlite3", "OPTIONS": wal}):
            yield []
        return
    with (
        _database_server(name, place) as server,
        Relay(server.host, server.port) as relay,
        _opened({**server.settings, "PORT": relay.port}),
    ):
        yield [relay]


def _database_server(name: str, place: Path) -> Any:
    import server_binaries
    from servers import MariaDBServer, PostgreSQLServer

    directory = place.with_name("binary")
    if name == "postgresql":
        return PostgreSQLServer(server_binaries.postgres_binary(directory), place)
    import pymysql

    pymysql.install_as_MySQLdb()
    return MariaDBServer(server_binaries.mariadb_binary(directory), place)


@contextlib.contextmanager
def _opened(database: dict[str, Any]) -> Iterator[None]:
    from django.core.management import call_command
    from django.db import connections

    given = {"default": {}, "sessions": database}
    connections.settings["sessions"] = connections.configure_settings(given)["sessions"]
    call_command("migrate", "django_multisession_database", database="sessions", verbosity=0)
    yield
    connections["sessions"].close()
    del connections["sessions"]


# The sessions


def fill(store: Any, name: str, users: Iterator[str]) -> None:
    """Store a session of each of *users*."""
    from django.db import transaction

    if name in DATABASES:
        with transaction.atomic(using="sessions"):
            for user_id in users:
                log_in(store(), user_id)
        return
    # A MongoDB acknowledges a write when its journal is flushed, many at a time.
    with ThreadPoolExecutor(WRITERS) as pool:
        for _ in pool.map(lambda user_id: log_in(store(), user_id), users):
            pass


def log_in(session: Any, user_id: str) -> str:
    """Do what Django's ``login()`` and the response do, and return the session key."""
    from django.contrib.auth.models import User

    session["_auth_user_id"] = user_id
    session["_auth_user_backend"] = BACKEND
    session["_auth_user_hash"] = User().get_session_auth_hash()
    session.save()
    return str(session.session_key)


def measure(name: str, sessions: int, users: int, place: Path) -> None:
    """Print a row for each request on the engine *name*."""
    from django.contrib.auth.models import User
    from django.test import Client

    from django_multisession.user_sessions import end_all_sessions, list_sessions
    from tests.user_sessions.costs import counted

    with engine(name, place) as (store, relays):
        ada = User(pk=10**9)

        def row(request: str, work: Callable[[], Any]) -> Any:
            for relay in relays:
                relay.sent = relay.received = 0
            began = time.perf_counter()
            with counted(store.get_driver()) as count:
                result = work()
            seconds = time.perf_counter() - began
            sent, received = (
                f"{sum(getattr(relay, way) for relay in relays) / 1000:,.1f}" if relays else ""
                for way in ("sent", "received")
            )
            cells = (name, sessions, users, request, count.commands, sent, received)
            write_row(*cells, f"{seconds:.2f}")
            return result

        # Connections, scripts, indexes and what is imported late are there.
        log_in(store(), str(10**9 + 1))
        list_sessions(User(pk=10**9 + 1))
        end_all_sessions(User(pk=10**9 + 1))
        log_in(store(), str(10**9 + 1))
        fill(store, name, (str(number) for number in range(users)))
        row("login of a new user", lambda: log_in(store(), str(10**9 + 2)))
        fill(store, name, (str(ada.pk) for _ in range(sessions)))
        key = row("login", lambda: log_in(store(), str(ada.pk)))
        found = row("list", lambda: list_sessions(ada))
        assert len(found) == sessions + 1, len(found)
        client = Client()
        client.cookies["sessionid"] = key
        pages = {
            "first page": lambda: client.get(LIST),
            "last page": lambda: client.get(f"{LIST}?page=last"),
            "end all others?": lambda: client.get(END_OTHERS),
            "end all others": lambda: client.post(END_OTHERS),
        }
        for request, work in pages.items():
            answer = row(request, work)
            assert answer.status_code == (302 if request == "end all others" else 200), answer
        assert len(list_sessions(ada)) == 1
        fill(store, name, (str(ada.pk) for _ in range(sessions)))
        ended = row("end all", lambda: end_all_sessions(ada))
        assert ended == sessions + 1, ended
        assert len(list_sessions(User(pk=0))) == bool(users)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "engines", nargs="*", default=NAMES, metavar="ENGINE", help=", ".join(NAMES)
    )
    parser.add_argument("--sessions", type=int, default=10_000)
    parser.add_argument("--users", type=int, default=100_000)
    chosen = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    sys.path.insert(0, str(Path(__file__).parents[2] / "testproject"))
    django.setup()
    logging.disable(logging.CRITICAL)
    write_row(*HEAD)
    write_row(*["-"] * len(HEAD))
    for name in chosen.engines:
        with tempfile.TemporaryDirectory() as place:
            measure(name, chosen.sessions, chosen.users, Path(place))


if __name__ == "__main__":
    main()
