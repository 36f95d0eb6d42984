"""A Redis as the driver sees it: a command in, a reply out, or StoreUnavailable and its kind."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping
from time import monotonic
from typing import Any

from django_multisession.core.secret import SecretBytes
from django_multisession.drivers.loops import ClientPerLoop
from django_multisession.drivers.redis.address import endpoint_of, located
from django_multisession.drivers.redis.multiplex import Multiplexed, meaning_of
from django_multisession.drivers.redis.pool import ConnectionPool
from django_multisession.drivers.redis.protocol import (
    Address,
    Attempt,
    Command,
    Refused,
    is_no_master,
)
from django_multisession.drivers.redis.scripts import TEXTS
from django_multisession.exceptions import StoreUnavailable

Failure = Refused | OSError | StoreUnavailable
_FAILURES = (Refused, OSError, StoreUnavailable)


def hidden(reply: Any) -> Any:
    """Return *reply* such that no frame shows the bytes in it."""
    if reply.__class__ is list:
        return [hidden(each) for each in reply]
    return SecretBytes(reply) if reply.__class__ is bytes else reply


class RedisServer:
    """Sends commands from threads and from event loops.

    Args:
        options: ``MULTISESSION_REDIS`` but for its ``KEY_PREFIX``.

    Raises:
        ImproperlyConfigured: They name no Redis, or one is unknown or wrong.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        endpoint = self._endpoint = endpoint_of(located(options))
        self._multiplexed = ClientPerLoop(self._open_multiplexed, Multiplexed.close)
        self._pool = ConnectionPool(endpoint.address, self._find, endpoint.most, endpoint.patience)
        self._async_address = endpoint.address
        self._can_move = endpoint.service is not None

    def send(self, command: Command, /) -> Any:
        """Send *command*, whose script is named by its digest, and return the reply.

        Raises:
            StoreUnavailable: There is none.
        """
        began = monotonic()
        try:
            reply: Any = self._pool.exchange(command)
        except _FAILURES as error:
            reply = error
        if reply.__class__ is bytes:
            # Error pages show what frames hold.
            return SecretBytes(reply)
        if not isinstance(reply, Exception):
            return hidden(reply) if reply.__class__ is list else reply
        reply = self._reply_after(reply, command, began)  # type: ignore[arg-type]  # one of _FAILURES
        if isinstance(reply, StoreUnavailable):
            # Error pages show what frames hold, and this may be a payload. For the same reason it is
            # raised where no error is its context.
            del command
            raise reply.with_traceback(None)
        return reply

    def _reply_after(self, failure: Failure, command: Command, began: float) -> Any:
        attempt = Attempt(command, TEXTS, can_move=self._can_move)
        while (reply := attempt.after(failure, self._pool.address)) is Attempt.AGAIN:
            if isinstance(failure, Refused) and is_no_master(failure):
                self._pool.close()
            try:
                found: Any = self._pool.exchange(
                    attempt.command, began + self._endpoint.address.timeout
                )
            except _FAILURES as error:
                found = error
            if not isinstance(found, Exception):
                return hidden(found)
            failure = found  # type: ignore[assignment]  # a Refused comes as a reply
        return reply

    async def asend(self, command: Command, /) -> Any:
        """See send()."""
        began = asyncio.get_running_loop().time()
        multiplexed = await self._multiplexed.get()
        try:
            reply = await multiplexed.exchange(command)
        except _FAILURES as error:
            failure = error
        else:
            if reply.__class__ is bytes:
                return SecretBytes(reply)
            return hidden(reply) if reply.__class__ is list else reply
        reply = await self._areply_after(failure, command, began)
        if isinstance(reply, StoreUnavailable):
            del command
            raise reply.with_traceback(None)
        return reply

    async def _areply_after(self, failure: Failure, command: Command, began: float) -> Any:
        attempt = Attempt(command, TEXTS, can_move=self._can_move)
        while (
            reply := attempt.after(meaning_of(failure, self._async_address), self._async_address)
        ) is Attempt.AGAIN:
            try:
                multiplexed = await self._multiplexed.get()
                async with asyncio.timeout_at(began + self._endpoint.address.timeout):
                    return hidden(await multiplexed.exchange(attempt.command))
            except _FAILURES as error:
                failure = error
        return reply

    def _open_multiplexed(self) -> Multiplexed:
        return Multiplexed(self._afind, can_move=self._can_move)

    def close(self) -> None:
        """Close the connections; those in use when they come back. It stays usable."""
        self._pool.close()
        self._multiplexed.close()

    async def aclose(self) -> None:
        """See close()."""
        await self._multiplexed.aclose()
        self.close()

    @property
    def address(self) -> Address:
        """Return where it is, or was last."""
        return self._pool.address

    def _find(self) -> Address:
        if self._endpoint.service is None:
            return self._endpoint.address
        host, port = self._endpoint.service.master()
        return dataclasses.replace(self._endpoint.address, host=host, port=port)

    async def _afind(self) -> Address:
        """See _find()."""
        if self._endpoint.service is not None:
            host, port = await self._endpoint.service.amaster()
            self._async_address = dataclasses.replace(self._endpoint.address, host=host, port=port)
        return self._async_address
