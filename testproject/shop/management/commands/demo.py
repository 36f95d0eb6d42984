"""``manage.py demo``: the servers, the users, the sites; and at the end nothing of it is left."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from http.client import HTTPException
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from server_binaries import MissingServer, memcached_binary, mongod_binary, redis_binary
from servers import MemcachedServer, MongoServer, RedisServer, ServerFailed

from shop.environment import ENGINES, USERS_OF, Environment, is_given
from shop.sites import MANAGE, Site, SiteFailed, listen, listen_from
from shop.stopping import Stopped, StopSignals
from shop.walk import STEPS, StepFailed, Walk

FIRST_PORT = 8000
LAST_PORT = 65535
POLL_SECONDS = 0.2
PREPARE_SECONDS = 120

#: Engine → the field of the environment that says where its server is, the server, how it is found.
SERVERS = {
    "redis": ("redis_url", RedisServer, redis_binary),
    "mongodb": ("mongodb_uri", MongoServer, mongod_binary),
    "memcached": ("memcached_server", MemcachedServer, memcached_binary),
}


class Command(BaseCommand):
    """Runs the shop on real servers that it starts and stops, or walks through it by itself."""

    help = (
        "Start Redis, MongoDB and memcached, and serve the shop on each, on two of them in tiers, on "
        "a database, on memory and in cookies. "
        "With --check, click through it instead and say what does not hold."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """See BaseCommand.add_arguments()."""
        parser.add_argument(
            "--engine",
            default="all",
            help=f"{', '.join(ENGINES)}, or all of them side by side (the default). "
            "Also the module of any other session engine, to see what --check thinks of it.",
        )
        parser.add_argument(
            "--port",
            type=int,
            help=f"Port of the first site; the next ones follow. Default: {FIRST_PORT}, "
            "or the first free one above it.",
        )
        interfaces = parser.add_mutually_exclusive_group()
        interfaces.add_argument("--wsgi", action="store_true", help="Serve by WSGI (the default).")
        interfaces.add_argument("--asgi", action="store_true", help="Serve by ASGI, with uvicorn.")
        parser.add_argument(
            "--check",
            action="store_true",
            help="Walk through every site over HTTP, by WSGI and by ASGI unless one is named. "
            "Exit with 0, or say what failed and exit with 1.",
        )

    def handle(
        self,
        *,
        engine: str,
        port: int | None,
        wsgi: bool,
        asgi: bool,
        check: bool,
        **_options: Any,
    ) -> None:
        """See BaseCommand.handle()."""
        engines = self._every_engine() if engine == "all" else [engine]
        interfaces = [name for name, asked in (("wsgi", wsgi), ("asgi", asgi)) if asked]
        if not interfaces:
            interfaces = ["wsgi", "asgi"] if check else ["wsgi"]
        if "asgi" in interfaces:
            _require_module("uvicorn", "ASGI needs it: pip install uvicorn, or add --wsgi")
        if engine not in {"all", *ENGINES}:
            _require_module(engine, f"--engine must be all, {', '.join(ENGINES)}, or a module")
        if port is not None and not 0 < port <= LAST_PORT - len(engines):
            raise CommandError(f"--port must be from 1 to {LAST_PORT - len(engines)} (got {port}).")
        self._signals = StopSignals()
        try:
            with contextlib.ExitStack() as stack:
                directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="demo-")))
                environment = self._start_servers(engines, directory, stack)
                self._prepare(environment, engines[0])
                if check:
                    self._check(engines, interfaces, environment, directory)
                else:
                    self._serve(engines, interfaces[0], port, environment, stack)
        except (MissingServer, ServerFailed, SiteFailed) as problem:
            raise CommandError(str(problem)) from problem
        except Stopped:
            if check:
                raise CommandError("Stopped before every step was taken.") from None
            self.stdout.write("\nStopped. Nothing is left running.")

    def _start_servers(
        self,
        engines: list[str],
        directory: Path,
        stack: contextlib.ExitStack,
    ) -> Environment:
        """Start what *engines* need, unless the environment says where one runs already."""
        environment = dataclasses.replace(
            Environment.read(), database=str(directory / "users.sqlite3")
        )
        for engine, (field, server_class, find) in SERVERS.items():
            if USERS_OF[engine].intersection(engines) and not is_given(field):
                server = server_class(find(directory), directory / engine)
                self._say(f"Starting {ENGINES[engine]}")
                stack.enter_context(server)
                environment = dataclasses.replace(environment, **{field: server.url})
                self._signals.heed()
        return environment

    def _every_engine(self) -> list[str]:
        """Return the engines of this package that can run here: no wheel carries a memcached."""
        try:
            if not is_given("memcached_server"):
                memcached_binary(Path(tempfile.gettempdir()))
        except MissingServer:
            self._say("No shop is on memcached, which isn't installed (apt install memcached)")
            return [engine for engine in ENGINES if engine != "memcached"]
        return list(ENGINES)

    def _prepare(self, environment: Environment, engine: str) -> None:
        """Make the users' tables and the demo user."""
        variables = _variables(environment, engine) | {"DJANGO_SUPERUSER_PASSWORD": "demo"}
        who = ["--username", "demo", "--email", "demo@example.com"]
        for arguments in (["migrate", "--verbosity", "0"], ["createsuperuser", "--no-input", *who]):
            done = subprocess.run(  # noqa: S603  (ourselves)
                [sys.executable, MANAGE, *arguments, "--skip-checks"],
                env=variables,
                capture_output=True,
                text=True,
                timeout=PREPARE_SECONDS,
                check=False,
                # Ctrl-C in the terminal reaches the parent only.
                start_new_session=True,
            )
            self._signals.heed()
            if done.returncode:
                raise CommandError(f"{arguments[0]} must succeed. It printed:\n{done.stderr}")

    def _serve(
        self,
        engines: list[str],
        interface: str,
        port: int | None,
        environment: Environment,
        stack: contextlib.ExitStack,
    ) -> None:
        """Serve until somebody asks for the end."""
        listeners = listen_from(port or FIRST_PORT, len(engines), strictly=port is not None)
        sites = [
            Site(engine, interface, stack.enter_context(listener))
            for engine, listener in zip(engines, listeners, strict=True)
        ]
        environment = dataclasses.replace(
            environment, sites=" ".join(f"{site.engine}={site.url}" for site in sites)
        )
        for site in sites:
            stack.enter_context(site.running(_variables(environment, site.engine)))
            self._signals.heed()
        self.stdout.write("\nThe shop is open. Its sessions live in\n\n")
        for site in sites:
            title = ENGINES.get(site.engine, site.engine)
            self.stdout.write(f"  {title:<10}{self.style.SUCCESS(site.url)}")
        self.stdout.write(
            "\nLog in as demo with the password demo. Press Ctrl-C to stop everything."
        )
        self.stdout.flush()
        while True:
            time.sleep(POLL_SECONDS)
            self._signals.heed()
            for site in sites:
                if site.has_ended:
                    raise SiteFailed(f"The {site.engine} site must go on (it ended by itself).")

    def _check(
        self,
        engines: list[str],
        interfaces: list[str],
        environment: Environment,
        directory: Path,
    ) -> None:
        """Walk through every site, and fail if one of them did."""
        failures = []
        for interface in interfaces:
            for engine in engines:
                name = f"{ENGINES.get(engine, engine)} over {interface.upper()}"
                self.stdout.write(f"\n{name}")
                site = Site(engine, interface, listen(0), directory / f"{engine}-{interface}.log")
                with site.running(_variables(environment, engine)):
                    failure = self._walk(site)
                if failure:
                    failures.append(f"{name}, {failure}")
                    if site.log_tail():
                        self.stdout.write(f"The site printed:\n{site.log_tail()}")
        walks = len(engines) * len(interfaces)
        if failures:
            raise CommandError(
                "\n".join([f"{len(failures)} of {walks} walks failed.", *failures]), returncode=1
            )
        self.stdout.write(
            self.style.SUCCESS(f"\nAll of it holds: {walks} walks of {len(STEPS)} steps.")
        )

    def _walk(self, site: Site) -> str | None:
        """Return what failed, or None."""
        walk = Walk(site.port, site.engine)
        for step in STEPS:
            self._signals.heed()
            try:
                step.check(walk)
            except StepFailed as failure:
                problem = str(failure)
            except (OSError, HTTPException, ValueError) as error:
                problem = f"expected an answer; found {error!r}"
            else:
                self.stdout.write(f"  {self.style.SUCCESS('ok')}  {step.title}")
                continue
            self.stdout.write(f"  {self.style.ERROR('FAILED')}  {step.title}: {problem}")
            return f"at “{step.title}”: {problem}"
        return None

    def _say(self, what: str) -> None:
        self.stdout.write(f"{what} …")
        self.stdout.flush()


def _require_module(name: str, advice: str) -> None:
    try:
        is_there = importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        is_there = False
    if not is_there:
        raise CommandError(f"There is no module {name!r}. {advice}.")


def _variables(environment: Environment, engine: str) -> dict[str, str]:
    return {**os.environ, **dataclasses.replace(environment, engine=engine).variables()}
