"""Counts what the servers of an engine are sent: commands, and the statements of a database."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from django.db import connections

from django_multisession.drivers.database.server import DatabaseServer
from django_multisession.drivers.listed.driver import ListedDriver
from django_multisession.drivers.tiered.driver import TieredDriver


class Count:
    """How many commands were sent."""

    commands = 0


def servers_of(driver: Any) -> list[Any]:
    """Return the server of *driver*, or those of its two parts."""
    if isinstance(driver, ListedDriver):
        return [driver.server, driver.notes.server]
    if isinstance(driver, TieredDriver):
        return [driver._front.driver.server, driver._back.server]
    return [driver.server]


@contextlib.contextmanager
def counted(driver: Any) -> Iterator[Count]:
    """Count the commands to the servers of *driver*, sync and async, but for one in a transaction."""
    count = Count()
    with contextlib.ExitStack() as stack:
        for server in servers_of(driver):
            if isinstance(server, DatabaseServer):
                stack.enter_context(connections[server.alias].execute_wrapper(_counting(count)))
            else:
                stack.enter_context(_counted(server, count))
        yield count


@contextlib.contextmanager
def _counted(server: Any, count: Count) -> Iterator[None]:
    send, asend = server.send, server.asend

    def counting_send(command: Any) -> Any:
        count.commands += 1
        return send(command)

    async def counting_asend(command: Any) -> Any:
        count.commands += 1
        return await asend(command)

    server.send, server.asend = counting_send, counting_asend
    try:
        yield
    finally:
        del server.send, server.asend


def _counting(count: Count) -> Any:
    def execute(run: Any, *arguments: Any) -> Any:
        count.commands += 1
        return run(*arguments)

    return execute
