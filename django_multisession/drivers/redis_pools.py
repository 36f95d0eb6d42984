"""Pools of connections to Redis that give nobody another's answer, and lose no free connection."""

from __future__ import annotations

from typing import Any

import redis.asyncio


class _CountsAnswers:
    """A sync connection that knows how many answers are on their way.

    A thread may be interrupted anywhere, by a signal handler that raises above all. redis-py closes
    a connection that is interrupted while it reads, but not one that was about to: it goes back to
    the pool, and the next request gets that answer.
    """

    owed = 0

    def connect(self) -> None:
        try:
            self._redis_py.connect()
        except BaseException:
            # Half set up it would pass for ready: not logged in, or in another database.
            self.disconnect()
            raise

    def send_packed_command(self, *args: Any, **kwargs: Any) -> None:
        self.owed += 1
        self._redis_py.send_packed_command(*args, **kwargs)

    def read_response(self, *args: Any, **kwargs: Any) -> Any:
        try:
            answer = self._redis_py.read_response(*args, **kwargs)
        except redis.ResponseError:
            self.owed -= 1
            raise
        self.owed -= 1
        return answer

    def disconnect(self, *args: Any) -> None:
        self._redis_py.disconnect(*args)
        self.owed = 0

    @property
    def _redis_py(self) -> Any:
        return super()


class Pool(redis.BlockingConnectionPool):
    """redis-py's waiting pool, which closes a connection that is given back before its answer."""

    def __init__(self, *args: Any, connection_class: type, **options: Any) -> None:
        counting = type(connection_class.__name__, (_CountsAnswers, connection_class), {})
        options["connection_class"] = counting
        super().__init__(*args, **options)  # type: ignore[no-untyped-call]  # redis-py's

    def release(self, connection: Any) -> None:
        """Take *connection* back."""
        if connection.owed:
            connection.disconnect()
        super().release(connection)  # type: ignore[no-untyped-call]  # redis-py's


class AsyncPool(redis.asyncio.BlockingConnectionPool):
    """redis-py's waiting pool, without a loss.

    Before Python 3.13 a task that is cancelled in the turn in which a connection became free for it
    takes the notice of that with it, and the next in the queue waits until its time is up.
    """

    async def get_connection(self, *args: Any, **kwargs: Any) -> Any:
        """Return a free connection, or tell the next one that there may be one."""
        try:
            return await super().get_connection(*args, **kwargs)  # type: ignore[no-untyped-call]  # redis-py's
        except BaseException:
            async with self._condition:
                self._condition.notify()
            raise
