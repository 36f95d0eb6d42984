"""``clearsessions`` in processes of its own, on a real MongoDB: at scale, at once, interrupted."""

from __future__ import annotations

import collections
import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pymongo
import pytest
from servers import MongoServer, free_port

from django_multisession.core.records import SAVED, Record
from django_multisession.engines._drivers import close_drivers
from django_multisession.engines.mongodb import SessionStore
from tests.clearsessions_process import (
    PATIENCE_SECONDS,
    SETTINGS,
    WAITS,
    Document,
    end,
    fill,
    start,
)

if TYPE_CHECKING:
    from pytest_django import Settings

EXPIRED, LIVE = 200_000, 10_000
DATABASE = "multisession_tests"

Sessions = pymongo.collection.Collection[Document]


@pytest.fixture
def site(mongodb_standalone: MongoServer) -> dict[str, Any]:
    """Settings, for this process or for another."""
    return {
        "SESSION_ENGINE": "django_multisession.engines.mongodb",
        "MULTISESSION_MONGODB": {
            "URI": mongodb_standalone.url,
            "DATABASE": DATABASE,
            "COLLECTION": f"sessions_{uuid.uuid4().hex[:12]}",
            # A busy machine is no outage.
            "timeoutMS": 60000,
        },
    }


@pytest.fixture
def sessions(site: dict[str, Any]) -> Iterator[Sessions]:
    options = site["MULTISESSION_MONGODB"]
    with pymongo.MongoClient[Document](options["URI"]) as client:
        collection = client[DATABASE][options["COLLECTION"]]
        yield collection
        collection.drop()


class Traffic:
    """Visitors who come and go while the block lasts, each with sessions of their own.

    Args:
        live: Storage keys of sessions that are stored already; they are used too.
    """

    VISITORS = 3

    def __init__(self, live: list[str]) -> None:
        self._live = live
        self._is_over = threading.Event()
        self._pool = ThreadPoolExecutor(self.VISITORS)
        #: Session key → how often its visitor came back, as the visitor remembers it.
        self.visits: dict[str, int] = {}
        self.touched: set[str] = set()

    def __enter__(self) -> Self:
        self._visitors = [self._pool.submit(self._visit, number) for number in range(self.VISITORS)]
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._pool.shutdown()
        for visitor in self._visitors:
            visitor.result()

    def _visit(self, number: int) -> None:
        mine: dict[str, int] = {}
        recent: collections.deque[str] = collections.deque(maxlen=3)
        driver = SessionStore.get_driver()
        turn = 0
        # Between two pages a visitor thinks: the processor is for the runs.
        while not self._is_over.wait(0.01):
            session = SessionStore()
            session["visits"] = 1
            session.save()
            assert session.session_key is not None
            mine[session.session_key] = 1
            recent.append(session.session_key)
            for session_key in recent:
                session = SessionStore(session_key)
                session["visits"] += 1
                session.save()
                mine[session_key] += 1
            key = self._live[(number + turn * self.VISITORS) % len(self._live)]
            now = datetime.now(UTC)
            stored = driver.get(key)
            assert isinstance(stored, Record)
            assert driver.touch(key, stored, now, now) == SAVED
            self.touched.add(key)
            turn += 1
        self.visits |= mine


def test_two_runs_at_once_remove_exactly_what_has_expired_under_live_traffic(
    site: dict[str, Any], sessions: Sessions, settings: Settings
) -> None:
    live = fill(sessions, expired=EXPIRED, live=LIVE)
    for name, value in site.items():
        setattr(settings, name, value)
    close_drivers()
    runs = [start(site, "--json", waits=True) for _ in range(2)]
    with Traffic(live) as traffic, ThreadPoolExecutor(2) as pool:
        ended = list(pool.map(end, runs))
    assert [(code, err) for _, err, code in ended] == [(0, ""), (0, "")]
    told = [json.loads(out) for out, _, _ in ended]
    assert all(run["complete"] and run["removed"] for run in told)
    assert sum(run["removed"] for run in told) == EXPIRED
    assert sum(run["batches"] for run in told) >= EXPIRED // 1000
    # Somebody came meanwhile, and nobody lost anything.
    assert traffic.visits
    assert traffic.touched
    assert sessions.count_documents({"_id": {"$in": live}}) == LIVE
    assert {key: SessionStore(key).get("visits") for key in traffic.visits} == traffic.visits
    assert sessions.count_documents({}) == LIVE + len(traffic.visits)
    close_drivers()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_ends_its_batch_says_what_it_removed_and_can_be_run_again(
    site: dict[str, Any], sessions: Sessions, number: signal.Signals, code: int
) -> None:
    # So many and so little at once that no machine is done before the signal comes.
    expired, batch_size = 20_000, 7
    fill(sessions, expired=expired, live=5)
    run = start(site, "--json", f"--batch-size={batch_size}", waits=True)
    assert run.stdin is not None
    run.stdin.write("\n")
    run.stdin.flush()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while sessions.count_documents({}) == expired + 5:
        assert time.monotonic() < deadline
    run.send_signal(number)
    out, err, returned = end(run)
    told = json.loads(out)
    assert returned == code
    assert told["stopped_by"] == number.name
    assert told["complete"] is False
    assert told["removed"] == batch_size * told["batches"]
    assert told["removed"] == expired + 5 - sessions.count_documents({})
    assert err.startswith(f"CommandError: Stopped by {number.name}. Removed {told['removed']:,} ")
    assert "Traceback" not in err

    out, err, returned = end(start(site, "--json"))
    assert returned == 0, err
    assert json.loads(out)["removed"] == expired - told["removed"]
    assert sessions.count_documents({}) == 5


def test_a_terminal_gets_a_bar_that_moves_with_every_batch_and_a_program_pure_json(
    site: dict[str, Any], sessions: Sessions
) -> None:
    fill(sessions, expired=500)
    ours, theirs = pty.openpty()
    environment = {
        **os.environ,
        SETTINGS: json.dumps(site),
        WAITS: "",
        # tqdm draws ten times a second otherwise, and a fast machine is done by then.
        "TQDM_MININTERVAL": "0",
    }
    options = ["clearsessions", "--json", "--batch-size=100"]
    run = subprocess.Popen(
        [sys.executable, "-m", "tests.clearsessions_process", *options],
        cwd=Path(__file__).parents[1],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
    )
    os.close(theirs)
    seen = b""
    # The terminal's end is an error on Linux, and nothing elsewhere.
    try:
        while more := os.read(ours, 4096):
            seen += more
    except OSError:
        pass
    os.close(ours)
    out, _ = run.communicate(timeout=PATIENCE_SECONDS)
    assert run.returncode == 0
    assert json.loads(out)["removed"] == 500
    drawn = {int(removed) for removed in re.findall(rb" (\d+)/500 \[", seen)}
    assert drawn == {0, 100, 200, 300, 400, 500}


def test_a_log_gets_one_line_for_many_batches(site: dict[str, Any], sessions: Sessions) -> None:
    fill(sessions, expired=200)
    out, err, code = end(start(site, "--batch-size=1"))
    assert code == 0
    assert out.startswith("Removed 200 expired sessions in 200 batches, ")
    assert out.count("\n") == 1
    # Nothing but what a machine that takes minutes for it has to say.
    assert err.count("\n") < 20
    assert "\r" not in err


def test_an_outage_is_told_without_a_traceback_or_a_secret(
    site: dict[str, Any],
) -> None:
    address = f"mongodb://site:hunter2@127.0.0.1:{free_port()}/"
    site["MULTISESSION_MONGODB"] |= {"URI": address, "timeoutMS": 200}
    out, err, code = end(start(site, "--json"))
    assert code == 1
    assert json.loads(out)["stopped_by"] == "outage"
    assert err == (
        "CommandError: MongoDB did not answer (ServerSelectionTimeoutError). "
        "Removed nothing until then; run the command again.\n"
    )


def test_the_testproject_has_our_command() -> None:
    manage = Path(__file__).parents[1] / "testproject" / "manage.py"
    shown = subprocess.run(
        [sys.executable, manage, "clearsessions", "--help"],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=True,
    )
    for option in ("--batch-size", "--max-seconds", "--dry-run", "--json"):
        assert option in shown.stdout
