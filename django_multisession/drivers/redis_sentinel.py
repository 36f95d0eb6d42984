"""Redis behind Sentinel: who knows where the master is, and pools of connections to it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Self

import redis.asyncio.sentinel
import redis.sentinel


# redis-py has pools that know where the master is, and pools that wait for a free connection.
class SentinelPool(redis.sentinel.SentinelConnectionPool, redis.BlockingConnectionPool):
    """Bounded pool of connections to whatever Sentinel calls the master."""

    def disconnect(self, inuse_connections: bool = True) -> None:
        """Close all connections, or only those at rest: what Sentinel's pool asks for at a fail-over.

        The waiting pool of redis-py 5 can only do the first.
        """
        connections = self._connections if inuse_connections else self.pool.queue
        for connection in list(connections):
            # The queue holds None for what was never opened.
            if connection is not None:
                connection.disconnect()


class AsyncSentinelPool(
    redis.asyncio.sentinel.SentinelConnectionPool, redis.asyncio.BlockingConnectionPool
):
    """See SentinelPool."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """The Sentinels that know where the master of a service is.

    Attributes:
        name: What they call it.
        addresses: Theirs.
        quorum: How many others one must see to be believed.
        options: Keyword arguments of a client that asks them.
    """

    name: str
    addresses: tuple[tuple[str, int], ...]
    quorum: int
    options: Mapping[str, Any] = dataclasses.field(repr=False)

    @classmethod
    def of(cls, name: str, manager: Any, timeout: float) -> Self:
        """Return the service *name* of redis-py's *manager*, never asked without a time limit."""
        options = {
            option: value
            for option, value in (manager.sentinel_kwargs or {}).items()
            if not option.startswith("retry")
        }
        for option in ("socket_timeout", "socket_connect_timeout"):
            if options.get(option) is None:
                options[option] = timeout
        asked = [sentinel.connection_pool.connection_kwargs for sentinel in manager.sentinels]
        return cls(
            name=name,
            addresses=tuple((address["host"], address["port"]) for address in asked),
            quorum=manager.min_other_sentinels,
            options=options,
        )
