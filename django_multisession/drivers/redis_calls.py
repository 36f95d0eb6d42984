"""One verb on its way to Redis: what is sent next, and what an error means for it; does no I/O."""

from __future__ import annotations

import queue
from typing import Any

from django_multisession.drivers.redis_connections import (
    NOT_WORTH_A_RETRY,
    ConnectionLost,
    NoScriptError,
    RedisError,
    ResponseError,
)
from django_multisession.drivers.redis_records import NO_HASH
from django_multisession.drivers.redis_scripts import Script
from django_multisession.exceptions import StoreUnavailable


class Call:
    """A command, and whether it may be sent again.

    Attributes:
        command: What to send.
        spelled_out: What to send instead where Redis does not know the script.
    """

    __slots__ = ("_may_retry", "command", "spelled_out")

    def __init__(self, *command: bytes | int | str) -> None:
        self.command = command
        self.spelled_out: tuple[bytes | int | str, ...] | None = None
        self._may_retry = True

    @classmethod
    def of_script(cls, script: Script, keys: list[str], *values: bytes | int | str) -> Call:
        """Return the call of *script* by its digest."""
        arguments = (len(keys), *keys, *values)
        call = cls("EVALSHA", script.digest, *arguments)
        call.spelled_out = ("EVAL", script.text, *arguments)
        return call

    def cope(self, error: RedisError | OSError) -> Any:
        """Return what *error* answers, None to send again, or the exception to raise.

        It is returned, to be raised by `answered` where *error* is not its context: the frames
        behind that hold the payload, and an error page shows what frames hold.
        """
        if isinstance(error, NoScriptError) and self.spelled_out is not None:
            self.command, self.spelled_out = self.spelled_out, None
            return None
        # Somebody else's key, or a vandal's. In an error of a script it stands in the middle.
        if isinstance(error, ResponseError) and "WRONGTYPE" in str(error):
            return NO_HASH
        if self._may_retry and _is_lost_connection(error):
            self._may_retry = False
            return None
        return StoreUnavailable(f"Redis did not answer ({type(error).__name__}).")


def answered(reply: Any) -> Any:
    """Return *reply*, unless it is the exception that `Call.cope` made."""
    if isinstance(reply, StoreUnavailable):
        raise reply
    return reply


def _is_lost_connection(error: RedisError | OSError) -> bool:
    """Is it worth sending again? Not where a limit of time was used up once already."""
    return (
        isinstance(error, ConnectionLost)
        and not isinstance(error, NOT_WORTH_A_RETRY)
        # How redis-py tells that no connection of the pool became free, sync and async.
        and not isinstance(error.__context__, queue.Empty | TimeoutError)
    )
