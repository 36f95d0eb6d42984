"""Sessions in Redis: one string for each record, one round trip for each verb."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from django_multisession.core.problems import Problem
from django_multisession.core.records import (
    MISSING,
    SAVED,
    Answer,
    Record,
    Stored,
    Tombstone,
    answer_to_add,
    answer_to_delete,
    answer_to_replace,
    answer_to_retire,
    answer_to_touch,
)
from django_multisession.drivers.base import (
    Ask,
    Capabilities,
    Result,
    Steps,
    read,
    read_known,
    run,
    skip_newer,
)
from django_multisession.drivers.options import flat
from django_multisession.drivers.redis.checks import facts_of, is_cluster, judged, unanswered
from django_multisession.drivers.redis.commands import RUN, Commands
from django_multisession.drivers.redis.lists import RedisLists
from django_multisession.drivers.redis.scripts import AND_GET, WRITTEN
from django_multisession.drivers.redis.server import RedisServer
from django_multisession.drivers.trial import make_keys, trial
from django_multisession.exceptions import StoreUnavailable

DEFAULT_PREFIX = "multisession:"


class RedisDriver(RedisLists):
    """Stores sessions in Redis.

    Args:
        options: As ``MULTISESSION_REDIS``. What is in ``OPTIONS`` may stand beside it.

    Raises:
        ImproperlyConfigured: The options name no Redis, or one is unknown or wrong.
    """

    capabilities = Capabilities(survives_restart=True, moves_atomically=True, is_native_async=True)

    def __init__(self, options: Mapping[str, Any]) -> None:
        rest = dict(flat(options))
        prefix = rest.pop("KEY_PREFIX", DEFAULT_PREFIX)
        if not isinstance(prefix, str):
            raise ImproperlyConfigured(
                f'MULTISESSION_REDIS["KEY_PREFIX"] must be a string (got {type(prefix).__name__}).'
            )
        self.server = RedisServer(rest)
        self._commands = Commands(prefix)

    def add(self, key: str, record: Record) -> Steps[bool]:
        """See Driver.add(). Only a key that is taken, or an answer that was lost, is looked at."""
        reply = yield Ask(self.server, "add", self._commands.add(key, record))
        if record.user is None:
            if reply is not None:
                return True
            reply = yield Ask(self.server, "add", ("GET", self._commands.prefix + key))
        elif reply == WRITTEN:
            return True
        return answer_to_add(read(key, reply), record)

    def get(self, key: str) -> Steps[Stored]:
        """See Driver.get()."""
        # Every request asks: without a call.
        command = ("GET", self._commands.prefix + key)
        return read(key, (yield Ask(self.server, "get", command)))

    def replace(self, key: str, record: Record, base: Record, now: int) -> Steps[Answer]:
        """See Driver.replace()."""
        command = self._commands.replace(key, record, base, now)
        reply = yield Ask(self.server, "replace", command)
        if reply == WRITTEN:
            return SAVED
        return answer_to_replace(read(key, reply), record, base, now) or MISSING

    def move(
        self,
        old_key: str,
        new_key: str,
        record: Record,
        base: Record | Tombstone,
        left: Tombstone,
        now: int,
    ) -> Steps[Answer]:
        """See Driver.move()."""
        command = self._commands.move(old_key, new_key, record, base, left, now)
        reply = yield Ask(self.server, "move", command)
        if reply == WRITTEN:
            return SAVED
        # Where nothing speaks against it, the new key was taken.
        stored = read(old_key, reply)
        return answer_to_retire(stored, base, left, now, record.touched_ms) or MISSING

    def touch(self, key: str, base: Record, touched_ms: int, now: int) -> Steps[Answer]:
        """See Driver.touch()."""
        command = self._commands.touch(key, base, touched_ms, now)
        reply = yield Ask(self.server, "touch", command)
        if reply == WRITTEN:
            return SAVED
        return answer_to_touch(read(key, reply), base, touched_ms, now) or MISSING

    def retire(
        self,
        key: str,
        base: Record | Tombstone,
        left: Tombstone,
        now: int,
        latest_use: int,
    ) -> Steps[Answer]:
        """See Driver.retire()."""
        command = self._commands.retire(key, base, left, now, latest_use)
        reply = yield Ask(self.server, "retire", command)
        if reply == WRITTEN:
            return SAVED
        return answer_to_retire(read(key, reply), base, left, now, latest_use) or MISSING

    def withdraw(self, key: str, record: Record) -> Steps[None]:
        """See Driver.withdraw()."""
        yield Ask(self.server, "withdraw", self._commands.withdraw(key, record))

    def delete(self, key: str, left: Tombstone) -> Steps[bool | Tombstone]:
        """See Driver.delete()."""
        reply = yield Ask(self.server, "delete", self._commands.delete(key, left))
        return reply == WRITTEN or answer_to_delete(read(key, reply), left)

    def write_and_get(self, write: Steps[Result], key: str) -> Steps[tuple[Result, Stored]]:
        """See Indexed.write_and_get(); one round trip: the script that writes reads too."""
        place = self._commands.prefix + key
        stored: Stored = None
        is_asked = False
        try:
            ask = next(write)
            while True:
                # A tiered engine asks its front in between, whose commands are of another kind.
                if ask.server is self.server and ask.command[0] == RUN:
                    is_asked = True
                    ask = Ask(ask.server, ask.verb, (*ask.command, place, AND_GET))
                try:
                    reply = yield ask
                except BaseException as error:  # noqa: BLE001  (raised in the verb)
                    ask = write.throw(error)
                    continue
                if isinstance(reply, list):
                    stored, reply = read_known(key, reply[0]), WRITTEN
                ask = write.send(reply)
        except StopIteration as stop:
            result: Result = stop.value
        if not is_asked:
            stored = yield from skip_newer(key, self.get(key))
        return result, stored

    def check(self) -> list[Problem]:
        """See Driver.check()."""
        try:
            facts = facts_of(self.server.send(("INFO",)))
            # There a new key fails anyhow.
            if not is_cluster(facts):
                # A server that knows the scripts would not be asked to take one.
                self.server.send(("EVAL", "return 1", 0))
                run(trial(self, *make_keys()))
        except StoreUnavailable as error:
            return [unanswered(error)]
        return judged(facts)

    def close(self) -> None:
        """See Driver.close()."""
        self.server.close()

    async def aclose(self) -> None:
        """See close()."""
        await self.server.aclose()
