"""Drivers on memcacheds of a test's own, in their sync or their async verbs."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import uuid
from pathlib import Path
from typing import Any, Self

from pymemcache.client.base import Client
from servers import MemcachedServer

from django_multisession.drivers.base import Steps, arun, run
from django_multisession.drivers.memcached.driver import MemcachedDriver
from django_multisession.engine import machine_clock


class OnUnixSocket(MemcachedServer):
    """A memcached that listens on a Unix socket, and on no port."""

    @property
    def path(self) -> Path:
        return self.directory / "socket"

    def _arguments(self) -> list[str]:
        return ["-s", str(self.path), "-u", getpass.getuser()]

    def _answers(self) -> bool:
        return self.path.is_socket()


class Driving:
    """Carries out verbs in one of the two ways; closes the drivers and servers that it opened.

    Args:
        way: "sync" or "async"; async verbs share one event loop.
        binary: Of memcached.
        directory: For the servers.
    """

    def __init__(self, way: str, binary: Path, directory: Path) -> None:
        self.way = way
        self.binary, self._directory = binary, directory
        self._runner = asyncio.Runner()
        self._stack = contextlib.ExitStack()

    def start(self, *options: str) -> MemcachedServer:
        """Start a memcached with *options*."""
        place = self._directory / uuid.uuid4().hex[:12]
        server = MemcachedServer(self.binary, place, *options).start()
        # It has nothing to save, and takes a second to stop.
        self._stack.callback(server.kill)
        return server

    def open(self, *servers: Any, **options: Any) -> MemcachedDriver:
        """Open a driver with time enough for a busy machine; a prefix of its own unless one is given."""
        ours = {
            "SERVERS": [f"{server.host}:{server.port}" for server in servers],
            "KEY_PREFIX": f"{uuid.uuid4().hex[:12]}:",
            "timeout": 60,
        }
        driver = MemcachedDriver(ours | options, machine_clock)
        self._stack.callback(driver.close)
        return driver

    def ask(self, driver: MemcachedDriver, verb: str, *arguments: Any) -> Any:
        """Carry out *verb*."""
        return self.carry_out(getattr(driver, verb)(*arguments))

    def carry_out(self, steps: Steps[Any]) -> Any:
        """Carry out the *steps* of a verb."""
        return run(steps) if self.way == "sync" else self._runner.run(arun(steps))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        self._runner.close()


def looking(server: MemcachedServer) -> contextlib.closing[Any]:
    """Return a client of its own for *server*."""
    return contextlib.closing(Client((server.host, server.port), timeout=60))


def seconds_left(server: MemcachedServer, place: str) -> int:
    """Return for how long *server* keeps what it has under *place*; -1 for good."""
    with looking(server) as client:
        answer = client.raw_command(f"mg {place} t").decode()
    assert answer.startswith("HD t"), answer
    return int(answer.removeprefix("HD t"))
