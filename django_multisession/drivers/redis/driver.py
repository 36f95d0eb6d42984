"""Sessions in Redis: one string for each record, one round trip for each verb."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from django_multisession.core.problems import Problem
from django_multisession.core.records import (
    MISSING,
    NEVER,
    SAVED,
    TOMBSTONE_MS,
    Answer,
    Record,
    Stored,
    Tombstone,
    answer_to_add,
    answer_to_delete,
    answer_to_replace,
    answer_to_retire,
    answer_to_touch,
    is_tombstone,
    server_life,
    times_of,
    touched,
)
from django_multisession.drivers.base import (
    Ask,
    Capabilities,
    Page,
    Result,
    Steps,
    answer_in_batch,
    batches,
    is_of,
    page_of,
    read,
    run,
)
from django_multisession.drivers.options import flat
from django_multisession.drivers.redis import index, scripts
from django_multisession.drivers.redis.checks import facts_of, is_cluster, judged, unanswered
from django_multisession.drivers.redis.server import RedisServer
from django_multisession.drivers.trial import make_keys, trial
from django_multisession.exceptions import StoreUnavailable

DEFAULT_PREFIX = "multisession:"

#: Records that one script ends: no other client waits for more than these.
ENDED_TOGETHER = 100

#: Answer of a script that wrote what it was given.
_WRITTEN = 1


class RedisDriver:
    """Stores sessions in Redis.

    Args:
        options: As ``MULTISESSION_REDIS``. What is in ``OPTIONS`` may stand beside it.

    Raises:
        ImproperlyConfigured: The options name no Redis, or one is unknown or wrong.
    """

    capabilities = Capabilities(survives_restart=True, moves_atomically=True, is_native_async=True)

    def __init__(self, options: Mapping[str, Any]) -> None:
        rest = dict(flat(options))
        self._prefix: str = rest.pop("KEY_PREFIX", DEFAULT_PREFIX)
        if not isinstance(self._prefix, str):
            raise ImproperlyConfigured(
                'MULTISESSION_REDIS["KEY_PREFIX"] must be a string '
                f"(got {type(self._prefix).__name__})."
            )
        self.server = RedisServer(rest)

    def add(self, key: str, record: Record) -> Steps[bool]:
        """See Driver.add(). Only a key that is taken, or an answer that was lost, is looked at."""
        place, life = self._prefix + key, server_life(record, record.touched_ms)
        if record.user is None:
            is_added = yield Ask(self.server, "add", ("SET", place, record.raw, "NX", "PX", life))
            if is_added is not None:
                return True
            reply = yield Ask(self.server, "add", ("GET", place))
        else:
            change = index.entering(self._prefix, key, record, record.touched_ms)
            reply = yield self._script(
                "add", scripts.ADD, (place,), record.raw, life, change=change
            )
            if reply == _WRITTEN:
                return True
        return answer_to_add(read(key, reply), record)

    def get(self, key: str) -> Steps[Stored]:
        """See Driver.get()."""
        return read(key, (yield Ask(self.server, "get", ("GET", self._prefix + key))))

    def replace(self, key: str, record: Record, base: Record, now: int) -> Steps[Answer]:
        """See Driver.replace()."""
        reply = yield self._script(
            "replace",
            scripts.REPLACE,
            (self._prefix + key,),
            base.revision,
            now,
            record.touched_ms,
            record.raw,
            server_life(record, now),
            change=index.saved(self._prefix, key, base, record, now),
        )
        if reply == _WRITTEN:
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
        reply = yield self._script(
            "move",
            scripts.MOVE,
            (self._prefix + old_key, self._prefix + new_key),
            base.revision,
            now if isinstance(base, Record) else "",
            record.touched_ms,
            record.raw,
            server_life(record, now),
            left.raw,
            change=index.moved(self._prefix, old_key, base, new_key, record, now),
        )
        if reply == _WRITTEN:
            return SAVED
        # Where nothing speaks against it, the new key was taken.
        stored = read(old_key, reply)
        return answer_to_retire(stored, base, left, now, record.touched_ms) or MISSING

    def touch(self, key: str, base: Record, touched_ms: int, now: int) -> Steps[Answer]:
        """See Driver.touch()."""
        used = touched(base, touched_ms)
        reply = yield self._script(
            "touch",
            scripts.TOUCH,
            (self._prefix + key,),
            base.revision,
            now,
            NEVER,
            touched_ms,
            times_of(used),
            server_life(used, now),
            change=index.entering(self._prefix, key, used, now),
        )
        if reply == _WRITTEN:
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
        reply = yield self._script(
            "retire",
            scripts.REPLACE,
            (self._prefix + key,),
            base.revision,
            now if isinstance(base, Record) else "",
            latest_use,
            left.raw,
            TOMBSTONE_MS,
            change=index.leaving(self._prefix, key, base),
        )
        if reply == _WRITTEN:
            return SAVED
        return answer_to_retire(read(key, reply), base, left, now, latest_use) or MISSING

    def withdraw(self, key: str, record: Record) -> Steps[None]:
        """See Driver.withdraw()."""
        yield self._script(
            "withdraw",
            scripts.WITHDRAW,
            (self._prefix + key,),
            record.revision,
            change=index.leaving(self._prefix, key, record),
        )

    def delete(self, key: str, left: Tombstone) -> Steps[bool | Tombstone]:
        """See Driver.delete()."""
        reply = yield self._script(
            "delete",
            scripts.DELETE,
            (self._prefix + key,),
            left.raw,
            self._prefix + index.NAME,
            key,
        )
        return reply == _WRITTEN or answer_to_delete(read(key, reply), left)

    def of_user(self, user_id: str, now: int, *, cursor: str = "", limit: int = 100) -> Steps[Page]:
        """See Indexed.of_user(); two round trips, and one that removes what is there no longer."""
        place = index.place_of(self._prefix, user_id.encode("utf-8", "surrogatepass"))
        scan = ("ZSCAN", place, cursor or "0", "COUNT", limit)
        reply = yield Ask(self.server, "of_user", scan)
        if not isinstance(reply, list):
            return Page([], "")  # another program's key
        following, found = reply
        keys = [name.decode("ascii", "replace") for name in found[::2]]
        if not keys:
            return Page([], _cursor(following))
        places = [self._prefix + key for key in keys]
        raws = yield Ask(self.server, "of_user", ("MGET", *places))
        gone = [
            key for key, raw in zip(keys, raws, strict=True) if raw is None or is_tombstone(raw)
        ]
        if gone:
            yield Ask(self.server, "of_user", ("ZREM", place, *gone))
        found = zip(keys, raws, strict=True)
        return page_of(found, _cursor(following), is_of(user_id, now))

    def delete_many(
        self, keys: Sequence[str], left: Tombstone, *, user_id: str | None = None
    ) -> Steps[list[bool | Tombstone]]:
        """See Indexed.delete_many(); one round trip for every `ENDED_TOGETHER`."""
        user = b"" if user_id is None else user_id.encode("utf-8", "surrogatepass")
        head = (left.raw, self._prefix + index.NAME, user, int(user_id is not None))
        answers: list[bool | Tombstone] = []
        for batch in batches(keys, ENDED_TOGETHER):
            places = tuple(self._prefix + key for key in batch)
            ask = self._script("delete_many", scripts.DELETE_MANY, places, *head, *batch)
            found = zip(batch, (yield ask), strict=True)
            answers += [
                reply == _WRITTEN or answer_in_batch(key, reply, left) for key, reply in found
            ]
        return answers

    def write_and_get(self, write: Steps[Result], key: str) -> Steps[tuple[Result, Stored]]:
        """See Indexed.write_and_get(); one round trip: the script that writes reads too."""
        reads = (self._prefix + key, scripts.AND_GET)
        stored: Stored = None
        is_asked = False
        try:
            ask = next(write)
            while True:
                is_script = ask.command[0] == "EVALSHA"
                is_asked = is_asked or is_script
                try:
                    command = (*ask.command, *reads) if is_script else ask.command
                    reply = yield Ask(ask.server, ask.verb, command)
                except BaseException as error:  # noqa: BLE001  (raised in the verb)
                    ask = write.throw(error)
                    continue
                if isinstance(reply, list):
                    stored, reply = read(key, reply[0]), _WRITTEN
                ask = write.send(reply)
        except StopIteration as stop:
            result: Result = stop.value
        return result, stored if is_asked else (yield from self.get(key))

    def records(self, cursor: str, limit: int) -> Steps[Page]:
        """See Enumerable.records(). What is added or removed meanwhile moves no other record."""
        pattern = re.sub(r"([][*?\\^-])", r"\\\1", self._prefix) + "*"
        command = ("SCAN", cursor or "0", "MATCH", pattern, "COUNT", limit)
        following, places = yield Ask(self.server, "records", command)
        raws = (yield Ask(self.server, "records", ("MGET", *places))) if places else []
        keys = (place.decode("utf-8", "replace")[len(self._prefix) :] for place in places)
        found = [(key, raw) for key, raw in zip(keys, raws, strict=True) if raw is not None]
        return page_of(found, _cursor(following))

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

    def _script(
        self,
        verb: str,
        digest: str,
        places: tuple[str, ...],
        *values: bytes | int | str,
        change: index.Change = index.UNCHANGED,
    ) -> Ask:
        if change.places:
            places, values = (*places, *change.places), (*values, *change.values)
        return Ask(self.server, verb, ("EVALSHA", digest, len(places), *places, *values))


def _cursor(told: bytes) -> str:
    return "" if told == b"0" else told.decode()
