"""What a verb sends: a command, or a script with its keys and values. Pure."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence

from django_multisession.core.records import (
    NEVER,
    TOMBSTONE_MS,
    Record,
    Tombstone,
    server_life,
    times_of,
    touched,
)
from django_multisession.drivers.redis import index, scripts
from django_multisession.drivers.redis.protocol import Command

#: What a command that runs a script begins with.
RUN = "EVALSHA"

_Part = bytes | int | str


@dataclasses.dataclass(frozen=True, slots=True)
class Commands:
    """The commands of a driver.

    Attributes:
        prefix: What its keys begin with.
    """

    prefix: str

    def add(self, key: str, record: Record) -> Command:
        """Store *record*, which enters the index of its user, unless something is there."""
        place, life = self.prefix + key, server_life(record, record.touched_ms)
        if record.user is None:
            return ("SET", place, record.raw, "NX", "PX", life)
        change = index.entering(self.prefix, key, record, record.touched_ms)
        return _script(scripts.ADD, (place,), record.raw, life, change=change)

    def get_many(self, keys: Iterable[str]) -> Command:
        """Read what is under each of *keys*."""
        return ("MGET", *(self.prefix + key for key in keys))

    def replace(self, key: str, record: Record, base: Record, now: int) -> Command:
        """Store *record* over *base*."""
        return _script(
            scripts.REPLACE,
            (self.prefix + key,),
            base.revision,
            now,
            record.touched_ms,
            record.raw,
            server_life(record, now),
            change=index.saved(self.prefix, key, base, record, now),
        )

    def move(
        self,
        old_key: str,
        new_key: str,
        record: Record,
        base: Record | Tombstone,
        left: Tombstone,
        now: int,
    ) -> Command:
        """Store *record* under *new_key*, and *left* over *base*."""
        return _script(
            scripts.MOVE,
            (self.prefix + old_key, self.prefix + new_key),
            base.revision,
            now if isinstance(base, Record) else "",
            record.touched_ms,
            record.raw,
            server_life(record, now),
            left.raw,
            change=index.moved(self.prefix, old_key, base, new_key, record, now),
        )

    def touch(self, key: str, base: Record, touched_ms: int, now: int) -> Command:
        """Move the last use of *base*, and the end that follows from it."""
        used = touched(base, touched_ms)
        return _script(
            scripts.TOUCH,
            (self.prefix + key,),
            base.revision,
            now,
            NEVER,
            touched_ms,
            times_of(used),
            server_life(used, now),
            change=index.entering(self.prefix, key, used, now),
        )

    def retire(
        self, key: str, base: Record | Tombstone, left: Tombstone, now: int, latest_use: int
    ) -> Command:
        """Leave *left* over *base*."""
        return _script(
            scripts.REPLACE,
            (self.prefix + key,),
            base.revision,
            now if isinstance(base, Record) else "",
            latest_use,
            left.raw,
            TOMBSTONE_MS,
            change=index.leaving(self.prefix, key, base),
        )

    def withdraw(self, key: str, record: Record) -> Command:
        """Remove *record*, unless it was written over."""
        change = index.leaving(self.prefix, key, record)
        return _script(scripts.WITHDRAW, (self.prefix + key,), record.revision, change=change)

    def delete(self, key: str, left: Tombstone) -> Command:
        """Leave *left* of the record under *key*."""
        indexes = self.prefix + index.NAME
        return (RUN, scripts.DELETE, 1, self.prefix + key, left.raw, indexes, key)

    def delete_many(self, keys: Sequence[str], left: Tombstone, user: bytes | None) -> Command:
        """Leave *left* of the records under *keys*; of those of *user* only, if one is named."""
        places = tuple(self.prefix + key for key in keys)
        whose = (user or b"", int(user is not None))
        indexes = self.prefix + index.NAME
        return _script(scripts.DELETE_MANY, places, left.raw, indexes, *whose, *keys)

    def of_user(self, user: bytes, cursor: str, limit: int) -> Command:
        """Read a page of the index of *user*."""
        return ("ZSCAN", index.place_of(self.prefix, user), cursor or "0", "COUNT", limit)

    def leave_index(self, user: bytes, keys: Iterable[str]) -> Command:
        """Remove *keys* from the index of *user*."""
        return ("ZREM", index.place_of(self.prefix, user), *keys)

    def scan(self, cursor: str, limit: int) -> Command:
        """Read a page of the names of all keys."""
        pattern = re.sub(r"([][*?\\^-])", r"\\\1", self.prefix) + "*"
        return ("SCAN", cursor or "0", "MATCH", pattern, "COUNT", limit)


def _script(
    digest: str,
    places: tuple[str, ...],
    *values: _Part,
    change: index.Change = index.UNCHANGED,
) -> Command:
    if change.places:
        places, values = (*places, *change.places), (*values, *change.values)
    return (RUN, digest, len(places), *places, *values)
