"""A process of its own that runs a command as ``manage.py`` does, and the sessions that it finds.

``python -m tests.clearsessions_process clearsessions …`` takes the settings as JSON from its
environment. Where it is told to, it says that it is ready and waits for a line before it begins:
processes that are to run at once begin at once.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pymongo

from django_multisession.drivers import mongodb_documents
from django_multisession.drivers.mongodb_connection import INDEXES
from django_multisession.testing.driver_fixtures import make_record

SETTINGS = "CLEARSESSIONS_SETTINGS"
WAITS = "CLEARSESSIONS_WAITS"
READY = "ready"
PATIENCE_SECONDS = 120

Document = dict[str, Any]


def start(settings: Mapping[str, Any], *options: str, waits: bool = False) -> subprocess.Popen[str]:
    """Start ``clearsessions`` with *options*; if it *waits*, return when it does."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.clearsessions_process", "clearsessions", *options],
        cwd=Path(__file__).parents[1],
        env={**os.environ, SETTINGS: json.dumps(settings), WAITS: "yes" if waits else ""},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    if waits:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == READY, process.communicate()
    return process


def end(process: subprocess.Popen[str]) -> tuple[str, str, int]:
    """Let *process* begin if it waits; return what it printed, and its code, when it has ended."""
    try:
        out, err = process.communicate("\n", timeout=PATIENCE_SECONDS)
    finally:
        process.kill()
    return out, err, process.returncode


def fill(
    sessions: pymongo.collection.Collection[Document], *, expired: int = 0, live: int = 0
) -> list[str]:
    """Put documents into a collection that is not there yet, as the driver stores them.

    Returns:
        The storage keys of the live ones.
    """
    now = datetime.now(UTC)
    # The server multiplies them: sent one by one, 200,000 would take four times as long.
    seeds = min(expired, 1000)
    if seeds:
        seed = sessions.database[f"{sessions.name}_seeds"]
        seed.insert_many(_documents("expired", seeds, now - timedelta(days=1)))
        multiplied: list[Document] = [
            {"$set": {"copy": {"$range": [0, -(-expired // seeds)]}}},
            {"$unwind": "$copy"},
            {"$set": {"_id": {"$concat": [{"$toString": "$copy"}, "-", "$_id"]}}},
            {"$unset": "copy"},
            {"$limit": expired},
            {"$out": sessions.name},
        ]
        seed.aggregate(multiplied)
        seed.drop()
    documents = list(_documents("live", live, now))
    if documents:
        sessions.insert_many(documents)
    # Now, and not when the command asks for them: building them takes as long as there are documents.
    sessions.create_indexes([pymongo.IndexModel(name, **how) for name, how in INDEXES.items()])
    return [document["_id"] for document in documents]


def _documents(name: str, number: int, used_at: datetime) -> Iterator[Document]:
    for index in range(number):
        touched_at = used_at - timedelta(seconds=index)
        record = make_record(
            payload=b"\x01" + b"signed" * 30,
            created_at=touched_at,
            began_at=touched_at,
            touched_at=touched_at,
            # Long enough for the last of the live ones, too short for the first of the others.
            idle_age=12 * 3600,
            hard_deadline_at=touched_at + timedelta(days=30),
            user_id=str(index),
        )
        # Beyond the test: the server's own TTL monitor would take what the command is to count.
        collect_at = used_at + timedelta(days=2)
        fields = mongodb_documents.fields(record)
        yield {"_id": f"{name}-{index:056d}", **fields, "collect_at": collect_at}


if __name__ == "__main__":
    import django
    from django.conf import settings
    from django.core.management import execute_from_command_line

    settings.configure(
        SECRET_KEY="only-for-tests-" + "x" * 50,
        INSTALLED_APPS=["django_multisession", "django.contrib.sessions"],
        USE_TZ=True,
        **json.loads(os.environ[SETTINGS]),
    )
    django.setup()
    if os.environ[WAITS]:
        print(READY, flush=True)  # noqa: T201  (read by start())
        sys.stdin.readline()
    execute_from_command_line(sys.argv)
