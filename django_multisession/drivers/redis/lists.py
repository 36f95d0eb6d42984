"""Verbs over many records: the sessions of a user, and all that there are."""

from __future__ import annotations

from collections.abc import Sequence

from django_multisession.core.records import Tombstone, bytes_of_user, is_tombstone
from django_multisession.drivers.base import (
    Ask,
    Page,
    Steps,
    answer_in_batch,
    batches,
    is_of,
    page_of,
)
from django_multisession.drivers.redis.commands import Commands
from django_multisession.drivers.redis.scripts import WRITTEN
from django_multisession.drivers.redis.server import RedisServer

#: Records that one script ends: no other client waits for more than these.
ENDED_TOGETHER = 100


class RedisLists:
    """What makes a driver `Indexed` and `Enumerable`."""

    server: RedisServer
    _commands: Commands

    def of_user(self, user_id: str, now: int, *, cursor: str = "", limit: int = 100) -> Steps[Page]:
        """See Indexed.of_user(); two round trips, and one that removes what is there no longer."""
        user = bytes_of_user(user_id)
        reply = yield Ask(self.server, "of_user", self._commands.of_user(user, cursor, limit))
        if not isinstance(reply, list):
            return Page([], "")  # another program's key
        following, entries = reply
        keys = [name.decode("ascii", "replace") for name in entries[::2]]
        if not keys:
            return Page([], _cursor(following))
        raws = yield Ask(self.server, "of_user", self._commands.get_many(keys))
        found = list(zip(keys, raws, strict=True))
        gone = [key for key, raw in found if raw is None or is_tombstone(raw)]
        if gone:
            yield Ask(self.server, "of_user", self._commands.leave_index(user, gone))
        return page_of(found, _cursor(following), is_of(user_id, now))

    def delete_many(
        self, keys: Sequence[str], left: Tombstone, *, user_id: str | None = None
    ) -> Steps[list[bool | Tombstone]]:
        """See Indexed.delete_many(); one round trip for every `ENDED_TOGETHER`."""
        user = None if user_id is None else bytes_of_user(user_id)
        answers: list[bool | Tombstone] = []
        for batch in batches(keys, ENDED_TOGETHER):
            command = self._commands.delete_many(batch, left, user)
            replies = yield Ask(self.server, "delete_many", command)
            answers += [
                reply == WRITTEN or answer_in_batch(key, reply, left)
                for key, reply in zip(batch, replies, strict=True)
            ]
        return answers

    def records(self, cursor: str, limit: int) -> Steps[Page]:
        """See Enumerable.records(). What is added or removed meanwhile moves no other record."""
        scan = self._commands.scan(cursor, limit)
        following, places = yield Ask(self.server, "records", scan)
        begin = len(self._commands.prefix)
        keys = [place.decode("utf-8", "replace")[begin:] for place in places]
        # By the names as they are: another program's need not be text.
        raws = (yield Ask(self.server, "records", ("MGET", *places))) if places else []
        found = [(key, raw) for key, raw in zip(keys, raws, strict=True) if raw is not None]
        return page_of(found, _cursor(following))


def _cursor(told: bytes) -> str:
    return "" if told == b"0" else told.decode()
