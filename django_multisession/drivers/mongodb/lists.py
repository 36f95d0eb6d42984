"""Verbs over many records: the sessions of a user, and all that there are."""

from __future__ import annotations

from collections.abc import Sequence

from django_multisession.core.records import Tombstone
from django_multisession.drivers.base import (
    Ask,
    Page,
    Steps,
    answer_in_batch,
    batches,
    is_of,
    page_of,
)
from django_multisession.drivers.mongodb import commands, documents
from django_multisession.drivers.mongodb.server import MongoDBServer

#: Records that one command ends.
ENDED_TOGETHER = 500


class MongoDBLists:
    """What makes a driver `Indexed` and `Enumerable`."""

    server: MongoDBServer

    def of_user(self, user_id: str, now: int, *, cursor: str = "", limit: int = 100) -> Steps[Page]:
        """See Indexed.of_user()."""
        selection = documents.of_user(user_id, now, cursor)
        reply = yield Ask(self.server, "of_user", commands.find_many(selection, limit))
        found = documents.all_of(reply)
        raws = ((str(each["_id"]), documents.bytes_of(each)) for each in found)
        last = str(found[-1]["_id"]) if len(found) == limit else ""
        return page_of(raws, last, is_of(user_id, now))

    def delete_many(
        self, keys: Sequence[str], left: Tombstone, *, user_id: str | None = None
    ) -> Steps[list[bool | Tombstone]]:
        """See Indexed.delete_many(); one command for every `ENDED_TOGETHER`, and a look at the rest."""
        answers: list[bool | Tombstone] = []
        for batch in batches(keys, ENDED_TOGETHER):
            selection = documents.ending(batch, user_id)
            result = yield Ask(self.server, "delete_many", commands.end_many(selection, left))
            if result is not None and result.modified_count == len(set(batch)):
                answers += [True] * len(batch)
                continue
            looking = commands.find_many(documents.all_in(batch), len(batch))
            reply = yield Ask(self.server, "delete_many", looking)
            found = {str(each["_id"]): each for each in documents.all_of(reply)}
            answers += [
                answer_in_batch(key, documents.bytes_of(found.get(key)), left) for key in batch
            ]
        return answers

    def records(self, cursor: str, limit: int) -> Steps[Page]:
        """See Enumerable.records()."""
        reply = yield Ask(
            self.server, "records", commands.find_many(documents.behind(cursor), limit)
        )
        batch = documents.all_of(reply)
        found = [(str(each["_id"]), documents.bytes_of(each) or b"") for each in batch]
        return page_of(found, found[-1][0] if found else "")
