"""Prints the table of elections in docs/contributing/faults.md; some minutes of work.

``python -m tests.benchmarks.mongodb_elections``, in the repository: it strikes the primary of a
replica set of three real members, with MongoDB's default times, under steady load.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import django

from tests.benchmarks.tables import write_row

#: MongoDB's own, where a set does not say otherwise.
ELECTION_TIMEOUT, HEARTBEAT_INTERVAL = 10000, 2000
HEAD = (
    "primary",
    "mode",
    "saves",
    "logouts",
    "refused: saves",
    "logins that had moved",
    "all",
    "seconds: election",
    "no save",
    "no save of some",
    "slowest request",
    "wrong",
)


def main() -> None:
    """Print the figures of every strike, under both values of MULTISESSION_ON_OUTAGE."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--election-timeout", type=int, default=ELECTION_TIMEOUT, metavar="MS")
    parser.add_argument("--saves", type=int, default=100, help="of each visitor, before the strike")
    parser.add_argument("--visitors", type=int, default=4, help="in threads, and as many in tasks")
    parser.add_argument("--only", help="one strike: stepped down, killed or paused")
    chosen = parser.parse_args()

    # As pytest finds it.
    sys.path.append(str(Path(__file__).parents[2] / "testproject"))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    # Every 503 is a line.
    logging.disable(logging.CRITICAL)
    import server_binaries
    from servers import MongoReplicaSet

    from tests.faults.mongodb_election import STRIKES, endure, reconfigure

    write_row(*HEAD)
    write_row(*["-"] * len(HEAD))
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        binary = server_binaries.mongod_binary(directory)
        servers = stack.enter_context(MongoReplicaSet(binary, directory / "set"))
        times = {
            "electionTimeoutMillis": chosen.election_timeout,
            "heartbeatIntervalMillis": HEARTBEAT_INTERVAL,
        }
        reconfigure(servers, times)
        for name, strike in STRIKES.items():
            for mode in ("error", "anonymous") if chosen.only in {None, name} else ():
                it = endure(
                    servers,
                    strike,
                    on_outage=mode,
                    visitors=chosen.visitors,
                    saves_before=chosen.saves,
                )
                write_row(
                    name,
                    mode,
                    it.saves,
                    it.logouts,
                    it.refused_saves,
                    it.moved,
                    it.refused,
                    f"{it.election:.1f}",
                    f"{it.seconds:.1f}",
                    f"{it.seconds_for_everybody:.1f}",
                    f"{it.slowest:.1f}",
                    it.wrongs or 0,
                )


if __name__ == "__main__":
    main()
