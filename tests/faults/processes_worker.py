"""A worker process of a site: saves one session again and again, and says which saves it was told of.

``python -m tests.faults.processes_worker`` takes its orders as JSON from its environment. It says
that it is ready and waits for a line before it begins, so that processes begin at once; then it
prints one line for each save that was acknowledged.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import json
import os
import select
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from django_multisession.core.records import Answer, Outcome
from django_multisession.drivers.base import Steps
from django_multisession.drivers.redis.driver import RedisDriver
from django_multisession.session import save as saving
from django_multisession.store import DriverSessionStore

ORDERS = "FAULTS_ORDERS"
READY = "ready"
SAVED = "saved"
CONFLICT = "conflict"
PATIENCE_SECONDS = 120
THINKING_SECONDS = 0.02


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """What a worker is to do.

    Attributes:
        settings: Of its site.
        session_key: Whose session it saves.
        name: Its own; begins the names of its entries.
        saves: How many; None for as many as there is time for, until its input ends.
        is_async: By the a-verbs?
        exits_in: The save in the midst of which it is gone: sent, and no answer read.
    """

    settings: Mapping[str, Any]
    session_key: str
    name: str
    saves: int | None = None
    is_async: bool = False
    exits_in: int | None = None


class Worker:
    """A process that follows *orders*."""

    def __init__(self, orders: Orders) -> None:
        self.orders = orders
        # A file: a pipe that nobody reads yet would fill and stop it.
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  (kill() closes it)
        self.process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            cwd=Path(__file__).parents[2],
            env={**os.environ, ORDERS: json.dumps(dataclasses.asdict(orders))},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._input, self._output = self.process.stdin, self.process.stdout

    def is_ready(self) -> bool:
        return self._output.readline().strip() == READY

    def begin(self) -> None:
        self._input.write("\n")
        self._input.flush()

    def wait_for_saves(self, number: int) -> None:
        """Return when *number* more saves were acknowledged."""
        for _ in range(number):
            line = self._output.readline()
            assert line.startswith(SAVED), self.end()

    def end(self) -> tuple[list[str], str, int]:
        """Return the lines not read yet, what went wrong, and the code, when it has ended."""
        self._input.close()
        lines = self._output.read().splitlines()
        code = self.process.wait(PATIENCE_SECONDS)
        self._errors.seek(0)
        return lines, self._errors.read(), code

    def kill(self) -> None:
        """End it and let go of it."""
        self.process.kill()
        self.process.wait()
        for stream in (self._input, self._output, self._errors):
            stream.close()


@contextlib.contextmanager
def started(*every: Orders) -> Iterator[list[Worker]]:
    """Start a worker for each of *every* orders; all are ready, and none outlives the block."""
    workers = [Worker(orders) for orders in every]
    try:
        not_ready = [worker.end()[1] for worker in workers if not worker.is_ready()]
        assert not not_ready, not_ready
        yield workers
    finally:
        for worker in workers:
            worker.kill()


def _numbers(orders: Orders) -> Iterator[int]:
    for number in itertools.count():
        if orders.saves is None:
            # Between two pages a visitor thinks: who saves all the time leaves no room for others.
            readable, _, _ = select.select([sys.stdin], [], [], THINKING_SECONDS)
            if readable and not os.read(sys.stdin.fileno(), 1):
                return
        elif number == orders.saves:
            return
        yield number


def _exit_amid_the_next_command(driver: Any) -> None:
    def exiting(send: Any) -> Any:
        def send_and_exit(*arguments: Any) -> None:
            send(*arguments)
            os._exit(1)

        return send_and_exit

    if isinstance(driver, RedisDriver):
        # A line holds its socket's method from its beginning on.
        (line,) = driver.server._pool._free
        line._send = exiting(line._send)
    else:
        setattr(socket.socket, "sendall", exiting(socket.socket.sendall))  # noqa: B010  (mypy takes it for a mistake)


def _follow(orders: Orders) -> None:
    store: type[DriverSessionStore] = import_module(orders.settings["SESSION_ENGINE"]).SessionStore
    if orders.saves is not None:
        _tell_conflicts(store.get_driver())

    def save(number: int) -> None:
        session = store(orders.session_key)
        session[f"{orders.name}-{number}"] = number
        if number == orders.exits_in:
            session.get("it is loaded")
            _exit_amid_the_next_command(store.get_driver())
        session.save()

    async def asave(number: int) -> None:
        session = store(orders.session_key)
        await session.aset(f"{orders.name}-{number}", number)
        await session.asave()

    with asyncio.Runner() as runner:
        for number in _numbers(orders):
            if orders.is_async:
                runner.run(asave(number))
            else:
                save(number)
            print(SAVED, number, flush=True)  # noqa: T201  (read by Worker)


def _tell_conflicts(driver: Any) -> None:
    replace = driver.replace

    def replace_and_tell(*arguments: Any) -> Steps[Answer]:
        answer: Answer = yield from replace(*arguments)
        if answer.outcome is Outcome.CONFLICT:
            print(CONFLICT, flush=True)  # noqa: T201  (as above)
        return answer

    driver.replace = replace_and_tell


if __name__ == "__main__":
    import django
    from django.conf import settings

    orders = Orders(**json.loads(os.environ[ORDERS]))
    if "mariadb" in str(orders.settings.get("DATABASES")):
        # Django asks for MySQLdb, which there is no wheel of.
        import pymysql

        pymysql.install_as_MySQLdb()
    settings.configure(
        SECRET_KEY="only-for-tests-" + "x" * 50,
        INSTALLED_APPS=[
            "django_multisession",
            "django_multisession.database",
            "django.contrib.sessions",
        ],
        USE_TZ=True,
        **orders.settings,
    )
    django.setup()
    # On a busy machine one of eight processes may be the slowest for longer than a request waits.
    saving.SAVE_PATIENCE = 600.0
    print(READY, flush=True)  # noqa: T201  (as above)
    sys.stdin.readline()
    _follow(orders)
