"""What many requests that save one session at the same time cost."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from django_multisession.drivers.memory import MemoryDriver
from django_multisession.engines import memory
from django_multisession.store import DriverSessionStore

REQUESTS = 80
#: So often a save is tried, on average; each try merges, serializes and signs the whole session.
MOST_TRIES = 3


class CountingDriver(MemoryDriver):
    """Lets others go first in every command, as a server does, and counts the writes."""

    def __init__(self) -> None:
        super().__init__()
        self.writes = 0

    async def aget(self, *arguments: Any) -> Any:
        await asyncio.sleep(0)
        return self.get(*arguments)

    async def areplace(self, *arguments: Any) -> Any:
        self.writes += 1
        await asyncio.sleep(0)
        answer = self.replace(*arguments)
        await asyncio.sleep(0)
        return answer


def test_a_save_waits_for_the_others_rather_than_spin() -> None:
    driver = CountingDriver()
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
    assert driver.writes <= REQUESTS * MOST_TRIES
