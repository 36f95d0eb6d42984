"""Redis behind Sentinel: who knows where the master is."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Self

import redis.asyncio.retry
import redis.asyncio.sentinel
import redis.backoff
import redis.retry
import redis.sentinel

from django_multisession.exceptions import StoreUnavailable


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

    def master(self) -> tuple[str, int]:
        """Ask the Sentinels where the master is.

        Over connections of this question's own. redis-py leaves one open, its answer unread, where
        a signal handler or a thread's end interrupts it: the next question would get that answer.

        Raises:
            StoreUnavailable: None of them knows.
        """
        manager = self._manager(redis.sentinel.Sentinel, redis.retry.Retry)
        try:
            host, port = manager.discover_master(self.name)
        except redis.RedisError as error:
            problem = error
        else:
            return host, port
        finally:
            for sentinel in manager.sentinels:
                sentinel.close()
        raise self._unknown(problem)

    async def amaster(self) -> tuple[str, int]:
        """See master()."""
        manager = self._manager(redis.asyncio.sentinel.Sentinel, redis.asyncio.retry.Retry)
        try:
            host, port = await manager.discover_master(self.name)
        except redis.RedisError as error:
            problem = error
        else:
            return host, port
        finally:
            for sentinel in manager.sentinels:
                await sentinel.aclose()
        raise self._unknown(problem)

    def _manager(self, sentinel_class: Any, retry_class: Any) -> Any:
        retry = retry_class(redis.backoff.NoBackoff(), 0)
        return sentinel_class(
            self.addresses,
            min_other_sentinels=self.quorum,
            sentinel_kwargs={**self.options, "retry": retry},
        )

    def _unknown(self, problem: Exception) -> StoreUnavailable:
        name = type(problem).__name__
        return StoreUnavailable(f"No Sentinel leads to the master of {self.name!r} ({name}).")
