"""The demonstration's sites, each started when somebody first asks for it."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

from shop.environment import ENGINES, Environment
from shop.sites import MANAGE, Site, listen

PREPARE_SECONDS = 120
#: Which interface serves which engine: each is seen once.
INTERFACES = {"redis": "asgi", "mongodb": "wsgi"}
#: What a site is told of where its server is.
ADDRESSES = {"redis": "redis_url", "mongodb": "mongodb_uri"}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    """A site that runs.

    Attributes:
        engine: Where its sessions are.
        interface: ``"asgi"`` or ``"wsgi"``.
        url: Ends with a slash.
    """

    engine: str
    interface: str
    url: str

    @property
    def cookie(self) -> str:
        """Return the name of its session cookie."""
        return f"sessionid_{self.engine}"

    @property
    def title(self) -> str:
        """Return what its pages call the engine."""
        return ENGINES[self.engine]

    def behind(self, url: str) -> Self:
        """Return the same site, reached by another address."""
        return dataclasses.replace(self, url=url)


class Shops:
    """Sites that know of each other and of one user, ``demo``; they stop with *stack*.

    Args:
        directory: For the users' database and the logs.
        stack: Ends them.
        servers: Per engine, what returns where its server is. Called when its site starts.
    """

    def __init__(
        self,
        directory: Path,
        stack: contextlib.ExitStack,
        servers: Mapping[str, Callable[[], str]],
    ) -> None:
        self._directory = directory
        self._stack = stack
        self._servers = servers
        self._listeners = {engine: stack.enter_context(listen(0)) for engine in servers}
        # Its listener closes here when a site has it.
        self._sites = " ".join(
            f"{engine}=http://127.0.0.1:{listener.getsockname()[1]}/"
            for engine, listener in self._listeners.items()
        )
        self._running: dict[str, Shop] = {}
        self._database = directory / "users.sqlite3"

    def get(self, engine: str) -> Shop:
        """Return the site of *engine*."""
        if engine not in self._running:
            self._running[engine] = self._start(engine)
        return self._running[engine]

    def _start(self, engine: str) -> Shop:
        environment = Environment(engine=engine, database=str(self._database), sites=self._sites)
        address = {ADDRESSES[engine]: self._servers[engine]()}
        environment = dataclasses.replace(environment, **address)
        variables = os.environ | environment.variables()
        self._make_database(variables)
        interface = INTERFACES[engine]
        log = self._directory / f"{engine}.log"
        site = Site(engine, interface, self._listeners[engine], log)
        self._stack.enter_context(site.running(variables))
        return Shop(engine=engine, interface=interface, url=site.url)

    def make_user(self, name: str) -> None:
        """Add a user whose password is *name*, once a site has started."""
        self._make_user(name, os.environ | Environment(database=str(self._database)).variables())

    def _make_database(self, variables: dict[str, str]) -> None:
        if not self._database.exists():
            _manage(["migrate", "--verbosity", "0"], variables)
            self._make_user("demo", variables)

    def _make_user(self, name: str, variables: dict[str, str]) -> None:
        who = ["--username", name, "--email", f"{name}@example.com"]
        password = {"DJANGO_SUPERUSER_PASSWORD": name}
        _manage(["createsuperuser", "--no-input", *who], variables | password)


def _manage(arguments: list[str], variables: dict[str, str]) -> None:
    subprocess.run(
        [sys.executable, MANAGE, *arguments, "--skip-checks"],
        env=variables,
        stdout=subprocess.DEVNULL,
        timeout=PREPARE_SECONDS,
        check=True,
    )
