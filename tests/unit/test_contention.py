"""What many requests that save one session at the same time cost."""

from __future__ import annotations

import asyncio
import time
from typing import Any, cast

from django_multisession.drivers.memory import (
    DEFAULT_MAX_RECORDS,
    Command,
    MemoryDriver,
    MemoryServer,
)
from django_multisession.engines import memory
from django_multisession.store import DriverSessionStore

REQUESTS = 80
#: So often a save is tried, on average; each try merges, serializes and signs the whole session.
MOST_TRIES = 3


class CountingServer(MemoryServer):
    """Lets others go first in every command, as a server does, and counts the writes."""

    writes = 0

    async def asend(self, command: Command, /) -> Any:
        self.writes += command.verb == "replace"
        await asyncio.sleep(0)
        answer = self.send(command)
        await asyncio.sleep(0)
        return answer


def test_a_save_waits_for_the_others_rather_than_spin() -> None:
    driver = MemoryDriver()
    driver.server = server = CountingServer(DEFAULT_MAX_RECORDS, time.monotonic)
    members = {"get_driver": classmethod(lambda _cls: driver)}
    store = cast("type[DriverSessionStore]", type("SessionStore", (memory.SessionStore,), members))
    session = store()
    session.save()

    async def save(number: int) -> None:
        other = store(session.session_key)
        await other.aset(f"entry-{number}", number)
        await other.asave()

    async def save_all() -> None:
        await asyncio.gather(*map(save, range(REQUESTS)))

    asyncio.run(save_all())
    assert len(store(session.session_key).load()) == REQUESTS
    assert REQUESTS <= server.writes <= REQUESTS * MOST_TRIES
