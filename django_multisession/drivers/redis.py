"""Sessions in Redis: one hash for each record, one round trip for each verb."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.core import checks
from django.core.exceptions import ImproperlyConfigured

from django_multisession.core.records import (
    MISSING,
    SAVED,
    Answer,
    Record,
    Stored,
    Tombstone,
    answer_to_delete,
    answer_to_move,
    answer_to_replace,
    answer_to_touch,
    last_idle_moment,
    to_milliseconds,
)
from django_multisession.drivers import redis_scripts as scripts
from django_multisession.drivers.loops import ClientPerLoop
from django_multisession.drivers.redis_calls import Call, answered
from django_multisession.drivers.redis_checks import judged, unanswered
from django_multisession.drivers.redis_connections import (
    RedisError,
    aclose_client,
    close_client,
    connections,
)
from django_multisession.drivers.redis_records import (
    decoded,
    encoded,
    fields_of,
    life_of,
    value_of,
)
from django_multisession.exceptions import StoreUnavailable

DEFAULT_PREFIX = "multisession:"

#: Answer of a script that wrote what it was given.
_WRITTEN = 1


class RedisDriver:
    """Stores sessions in Redis.

    Args:
        options: ``MULTISESSION_REDIS``: ``ALIAS`` of a django-redis cache or a ``URL``, a
            ``PREFIX`` of keys, and any options of redis-py's connections.

    Raises:
        ImproperlyConfigured: The options name no Redis, or redis-py does not take them.
    """

    has_native_expiry = True

    def __init__(self, options: Mapping[str, Any]) -> None:
        rest = dict(options)
        self._prefix: str = rest.pop("PREFIX", DEFAULT_PREFIX)
        if not isinstance(self._prefix, str):
            raise ImproperlyConfigured(
                'MULTISESSION_REDIS["PREFIX"] must be a string '
                f"(got {type(self._prefix).__name__})."
            )
        self._connections = connections(rest)
        self._client = self._connections.open_client()
        self._clients = ClientPerLoop(self._connections.open_async_client, aclose_client)

    def add(self, key: str, record: Record) -> bool:
        """See Driver.add()."""
        return _was_added(self._send(self._adding(key, record)), record)

    async def aadd(self, key: str, record: Record) -> bool:
        """See add()."""
        return _was_added(await self._asend(self._adding(key, record)), record)

    def get(self, key: str) -> Stored:
        """See Driver.get()."""
        return decoded(key, self._send(self._getting(key)))

    async def aget(self, key: str) -> Stored:
        """See get()."""
        return decoded(key, await self._asend(self._getting(key)))

    def replace(self, key: str, record: Record, base: Record, now: datetime) -> Answer:
        """See Driver.replace()."""
        reply = self._send(self._replacing(key, record, base, now))
        return _answer_of_replace(key, reply, record, base, now)

    async def areplace(self, key: str, record: Record, base: Record, now: datetime) -> Answer:
        """See replace()."""
        reply = await self._asend(self._replacing(key, record, base, now))
        return _answer_of_replace(key, reply, record, base, now)

    def move(
        self,
        old_key: str,
        new_key: str,
        record: Record,
        base: Record | Tombstone,
        left: Tombstone,
        now: datetime,
    ) -> Answer:
        """See Driver.move()."""
        reply = self._send(self._moving(old_key, new_key, record, base, left, now))
        return _answer_of_move(old_key, reply, record, base, left, now)

    async def amove(
        self,
        old_key: str,
        new_key: str,
        record: Record,
        base: Record | Tombstone,
        left: Tombstone,
        now: datetime,
    ) -> Answer:
        """See move()."""
        reply = await self._asend(self._moving(old_key, new_key, record, base, left, now))
        return _answer_of_move(old_key, reply, record, base, left, now)

    def touch(self, key: str, base: Record, touched_at: datetime, now: datetime) -> Answer:
        """See Driver.touch()."""
        reply = self._send(self._touching(key, base, touched_at, now))
        return _answer_of_touch(key, reply, base, touched_at, now)

    async def atouch(self, key: str, base: Record, touched_at: datetime, now: datetime) -> Answer:
        """See touch()."""
        reply = await self._asend(self._touching(key, base, touched_at, now))
        return _answer_of_touch(key, reply, base, touched_at, now)

    def delete(self, key: str, left: Tombstone) -> bool | Tombstone:
        """See Driver.delete()."""
        return _answer_of_delete(key, self._send(self._deleting(key, left)), left)

    async def adelete(self, key: str, left: Tombstone) -> bool | Tombstone:
        """See delete()."""
        return _answer_of_delete(key, await self._asend(self._deleting(key, left)), left)

    def purge_expired(self, now: datetime, limit: int) -> int:  # noqa: ARG002  (Redis expires by itself)
        """See Driver.purge_expired()."""
        return 0

    async def apurge_expired(self, now: datetime, limit: int) -> int:
        """See purge_expired()."""
        return self.purge_expired(now, limit)

    def count_expired(self, now: datetime) -> int:  # noqa: ARG002  (as above)
        """See Driver.count_expired()."""
        return 0

    async def acount_expired(self, now: datetime) -> int:
        """See count_expired()."""
        return self.count_expired(now)

    def check(self) -> list[checks.CheckMessage]:
        """See Driver.check()."""
        try:
            facts = self._send(Call("INFO"))
        except StoreUnavailable as error:
            return [unanswered(error)]
        return judged(facts)

    def close(self) -> None:
        """See Driver.close()."""
        closing, self._client = self._client, self._connections.open_client()
        close_client(closing)
        self._clients.close()

    async def aclose(self) -> None:
        """See close()."""
        await self._clients.aclose()
        self.close()

    def _send(self, call: Call) -> Any:
        while True:
            try:
                return self._client.execute_command(*call.command)
            except (RedisError, OSError) as error:
                reply = call.cope(error)
            if reply is not None:
                return answered(reply)

    async def _asend(self, call: Call) -> Any:
        """See _send()."""
        while True:
            try:
                client = await self._clients.get()
                return await client.execute_command(*call.command)
            except (RedisError, OSError) as error:
                reply = call.cope(error)
            if reply is not None:
                return answered(reply)

    def _getting(self, key: str) -> Call:
        return Call("HGETALL", self._prefix + key)

    def _adding(self, key: str, record: Record) -> Call:
        life = life_of(record, record.touched_at)
        return self._script(scripts.ADD, [key], life, *fields_of(record))

    def _replacing(self, key: str, record: Record, base: Record, now: datetime) -> Call:
        return self._script(
            scripts.REPLACE,
            [key],
            *_conditions(record, base, now),
            life_of(record, now),
            *fields_of(record),
        )

    def _moving(
        self,
        old_key: str,
        new_key: str,
        record: Record,
        base: Record | Tombstone,
        left: Tombstone,
        now: datetime,
    ) -> Call:
        stored = (value_of(left), life_of(record, now), *fields_of(record))
        if isinstance(base, Tombstone):
            revision = encoded(base.revision)
            return self._script(scripts.CLAIM, [old_key, new_key], revision, *stored)
        conditions = _conditions(record, base, now)
        return self._script(scripts.MOVE, [old_key, new_key], *conditions, *stored)

    def _touching(self, key: str, base: Record, touched_at: datetime, now: datetime) -> Call:
        touched = dataclasses.replace(base, touched_at=touched_at)
        conditions = _conditions(touched, base, now)
        return self._script(scripts.TOUCH, [key], *conditions, life_of(touched, now))

    def _deleting(self, key: str, left: Tombstone) -> Call:
        return self._script(scripts.DELETE, [key], value_of(left))

    def _script(self, script: scripts.Script, keys: list[str], *values: bytes | int | str) -> Call:
        return Call.of_script(script, [self._prefix + key for key in keys], *values)


def _was_added(reply: Any, record: Record) -> bool:
    """Was it added now, or by an attempt whose answer was lost?"""
    if reply == _WRITTEN:
        return True
    return isinstance(reply, bytes) and encoded(record.revision) in reply.split(b" ")


def _conditions(record: Record, base: Record, now: datetime) -> tuple[bytes | int | str, ...]:
    """Return what a script compares before it lets *record* follow *base*."""
    last_use = to_milliseconds(record.touched_at)
    return encoded(base.revision), last_idle_moment(base, now), last_use


def _answer_of_replace(key: str, reply: Any, record: Record, base: Record, now: datetime) -> Answer:
    if reply == _WRITTEN:
        return SAVED
    return answer_to_replace(decoded(key, reply), record, base, now) or MISSING


def _answer_of_move(
    old_key: str,
    reply: Any,
    record: Record,
    base: Record | Tombstone,
    left: Tombstone,
    now: datetime,
) -> Answer:
    if reply == _WRITTEN:
        return SAVED
    # Where nothing speaks against it, the new key was taken.
    return answer_to_move(decoded(old_key, reply), record, base, left, now) or MISSING


def _answer_of_touch(
    key: str, reply: Any, base: Record, touched_at: datetime, now: datetime
) -> Answer:
    if reply == _WRITTEN:
        return SAVED
    return answer_to_touch(decoded(key, reply), base, touched_at, now) or MISSING


def _answer_of_delete(key: str, reply: Any, left: Tombstone) -> bool | Tombstone:
    return reply == _WRITTEN or answer_to_delete(decoded(key, reply), left)
