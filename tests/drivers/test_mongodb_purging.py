"""What a purge and a count cost MongoDB, and what happens when two purge at once."""

from __future__ import annotations

import secrets
from typing import Any

import pymongo
import pytest
from bson.codec_options import CodecOptions, DatetimeConversion
from pymongo.monitoring import CommandStartedEvent
from servers import MongoServer

from django_multisession.core.records import EXPIRY_SLACK
from tests.drivers.mongodb_driving import DATABASE, HOUR, NOW, Commands, Driving, record


class Rival(Commands):
    """Removes what was found before the first removal arrives."""

    def __init__(self) -> None:
        super().__init__()
        self.purge: Any = None
        self.removed = 0

    def started(self, event: CommandStartedEvent) -> None:
        if event.command_name == "delete" and not self.removed:
            self.removed = self.purge()


@pytest.mark.parametrize("way", ["sync", "async"])
def test_a_purge_that_was_forestalled_goes_on(way: str, mongodb_standalone: MongoServer) -> None:
    rival = Rival()
    later = NOW + HOUR + 2 * EXPIRY_SLACK
    with Driving(way) as driving:
        driver = driving.open(mongodb_standalone.url, event_listeners=[rival])
        other = driving.open(mongodb_standalone.url, COLLECTION=driver._collection_name)
        for number in range(25):
            other.add(f"key-{number}", record())
        rival.purge = lambda: other.purge_expired(later, 10)
        assert driving.ask(driver, "purge_expired", later, 10) == 10
        assert rival.removed == 10
        assert driving.ask(driver, "count_expired", later) == 5


class Explaining(Commands):
    """Has the server explain what it is about to do.

    Attributes:
        work: Command → how many index entries and how many documents the server looks at.
    """

    def __init__(self, url: str) -> None:
        super().__init__()
        self.work: dict[str, tuple[int, int]] = {}
        self._url = url

    def started(self, event: CommandStartedEvent) -> None:
        if event.command_name not in {"aggregate", "delete", "find"}:
            return
        # Without what the client adds for its own purposes.
        added = {"lsid", "maxTimeMS", "writeConcern"}
        command = {
            name: value
            for name, value in event.command.items()
            if name not in added and not name.startswith("$")
        }
        codec = CodecOptions[dict[str, Any]](
            tz_aware=True, datetime_conversion=DatetimeConversion.DATETIME_AUTO
        )
        with pymongo.MongoClient[dict[str, Any]](self._url) as client:
            told = client[DATABASE].command(
                "explain", command, verbosity="executionStats", codec_options=codec
            )
        stats = (told["stages"][0]["$cursor"] if "stages" in told else told)["executionStats"]
        self.work[event.command_name] = stats["totalKeysExamined"], stats["totalDocsExamined"]


@pytest.mark.parametrize("way", ["sync", "async"])
def test_a_batch_costs_what_it_removes_and_a_count_reads_no_document(
    way: str, mongodb_standalone: MongoServer
) -> None:
    expired, limit = 2000, 500
    later = NOW + HOUR + 2 * EXPIRY_SLACK
    explaining = Explaining(mongodb_standalone.url)
    with Driving(way) as driving:
        driver = driving.open(mongodb_standalone.url, event_listeners=[explaining])
        driving.ask(driver, "add", "live", record(idle_age=None))
        with pymongo.MongoClient[dict[str, Any]](mongodb_standalone.url) as client:
            client[DATABASE][driver._collection_name].insert_many(
                {"_id": secrets.token_hex(32), "expires_at": NOW} for _ in range(expired)
            )
        assert driving.ask(driver, "count_expired", later) == expired
        assert driving.ask(driver, "purge_expired", later, limit) == limit
    # A walk through an index looks at the entry behind the last one too, a look-up twice at each.
    assert explaining.work["aggregate"] == (expired + 1, 0)
    assert explaining.work["find"] == (limit, limit)
    keys, documents = explaining.work["delete"]
    assert documents == limit
    assert keys <= 2 * limit
