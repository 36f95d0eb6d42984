"""Prints the table of processes in docs/contributing/faults.md; under a minute of work.

``python -m tests.benchmarks.process_saves``, in the repository: eight processes save one session as
fast as they can, half of them by the a-verbs, each fifty times an entry of its own.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import django

from tests.benchmarks.tables import write_row

HEAD = ("engine", "acknowledged", "there", "conflicts", "most of one save", "seconds")


def main() -> None:
    """Print the figures of each engine."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--saves", type=int, default=50, help="of each")
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    write_row(*HEAD)
    write_row(*["-"] * len(HEAD))
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        with (
            RedisServer(next(iter(redis_binaries(place).values())), place / "redis") as one,
            MongoServer(mongod_binary(place), place / "mongodb") as another,
        ):
            sites: dict[str, dict[str, Any]] = {
                "redis": {
                    "MULTISESSION_REDIS": {"URL": one.url, "OPTIONS": {"socket_timeout": 60}}
                },
                "mongodb": {
                    "MULTISESSION_MONGODB": {"URI": another.url, "OPTIONS": {"timeoutMS": 60000}}
                },
            }
            for name, site in sites.items():
                settings = {"SESSION_ENGINE": f"django_multisession.engines.{name}", **site}
                for _ in range(chosen.rounds):
                    with override_settings(**settings):
                        row = measured(settings, chosen.processes, chosen.saves)
                        close_drivers()
                    write_row(name, *row)


def measured(settings: Mapping[str, Any], processes: int, saves: int) -> tuple[str, ...]:
    """Save a session by that many processes, and return the figures."""
    store = import_module(settings["SESSION_ENGINE"]).SessionStore
    session = store()
    session["begun"] = True
    session.save()
    every = [
        Orders(
            settings=settings,
            session_key=session.session_key,
            name=str(number),
            saves=saves,
            is_async=number % 2 == 1,
        )
        for number in range(processes)
    ]
    with started(*every) as workers:
        began_at = time.monotonic()
        for worker in workers:
            worker.begin()
        ended = [worker.end() for worker in workers]
        seconds = time.monotonic() - began_at
    lines = list(itertools.chain.from_iterable(lines for lines, _, _ in ended))
    runs = [
        len(list(run))
        for of_one, _, _ in ended
        for line, run in itertools.groupby(of_one)
        if line == CONFLICT
    ]
    return (
        str(sum(line.startswith(SAVED) for line in lines)),
        str(len(store(session.session_key).keys()) - 1),
        str(lines.count(CONFLICT)),
        str(max(runs, default=0)),
        f"{seconds:.1f}",
    )


# As pytest finds it.
sys.path.append(str(Path(__file__).parents[2] / "testproject"))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
django.setup()

from django.test import override_settings  # noqa: E402  (Django is set up above)
from server_binaries import mongod_binary, redis_binaries  # noqa: E402  (as above)
from servers import MongoServer, RedisServer  # noqa: E402  (as above)

from django_multisession.engine import close_drivers  # noqa: E402  (as above)
from tests.faults.processes_worker import CONFLICT, SAVED, Orders, started  # noqa: E402  (as above)

if __name__ == "__main__":
    main()
