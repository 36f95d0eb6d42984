"""Redis behind Sentinel: who knows where the master is, and pools of connections to it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Self

import redis.asyncio.sentinel
import redis.sentinel

from django_multisession.drivers.redis_pools import AsyncPool, Pool

#: Refusals of a server that is the master no longer, or that its replicas have left. Scripts of
#: Redis 6.2 tell them in the middle of the text.
_REFUSALS = ("READONLY", "NOREPLICAS")


class _AsksSentinelAgain:
    """A sync connection that is closed where the server refuses what a master takes.

    Whoever connects next asks the Sentinels. redis-py does so for one of the refusals; by the other
    a master tells that it was parted from its replicas, and there may be a new one by now.
    """

    # redis-py leaves a Sentinel's connection open, its answer unread, where a signal handler or a
    # thread's end interrupts it: the next request would get that answer.
    def read_response(self, *args: Any, disconnect_on_error: bool = True, **kwargs: Any) -> Any:
        try:
            ours: Any = super()
            return ours.read_response(*args, disconnect_on_error=disconnect_on_error, **kwargs)
        except redis.ResponseError as error:
            if not _is_refusal(error):
                raise
        connection: Any = self
        connection.disconnect()
        raise redis.ConnectionError("The master is one no longer.")


class _AsksSentinelAgainAsync:
    """See _AsksSentinelAgain."""

    async def read_response(self, *args: Any, **kwargs: Any) -> Any:
        try:
            ours: Any = super()
            return await ours.read_response(*args, **kwargs)
        except redis.ResponseError as error:
            if not _is_refusal(error):
                raise
        connection: Any = self
        await connection.disconnect()
        raise redis.ConnectionError("The master is one no longer.")


def _is_refusal(error: redis.ResponseError) -> bool:
    """Does *error* say that its server is the master no longer, or may not be?"""
    return any(refusal in str(error) for refusal in _REFUSALS)


# redis-py has pools that know where the master is, and pools that wait for a free connection.
class SentinelPool(redis.sentinel.SentinelConnectionPool, Pool):
    """Bounded pool of connections to whatever Sentinel calls the master."""

    def __init__(self, *args: Any, connection_class: type, **options: Any) -> None:
        # Made here: it may be a site's own.
        asking = type(connection_class.__name__, (_AsksSentinelAgain, connection_class), {})
        super().__init__(*args, connection_class=asking, **options)  # type: ignore[no-untyped-call]  # redis-py's

    def disconnect(self, inuse_connections: bool = True) -> None:
        """Close all connections, or only those at rest: what Sentinel's pool asks for at a fail-over.

        The waiting pool of redis-py 5 can only do the first.
        """
        connections = self._connections if inuse_connections else self.pool.queue
        for connection in list(connections):
            # The queue holds None for what was never opened.
            if connection is not None:
                connection.disconnect()


class AsyncSentinelPool(redis.asyncio.sentinel.SentinelConnectionPool, AsyncPool):
    """See SentinelPool."""

    def __init__(self, *args: Any, connection_class: type, **options: Any) -> None:
        asking = type(connection_class.__name__, (_AsksSentinelAgainAsync, connection_class), {})
        super().__init__(*args, connection_class=asking, **options)  # type: ignore[no-untyped-call]  # redis-py's


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
