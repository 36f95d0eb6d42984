"""Prints the table of fail-overs in docs/contributing/faults.md; some minutes of work.

``python -m tests.benchmarks.sentinel_failovers``, in the repository: it strikes the primary of a
Redis with replicas and three Sentinels, all real processes, under steady load.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import django

from tests.benchmarks.tables import write_row

#: How long a primary goes on alone before it is killed, and how long it is parted from the others.
ALONE_SECONDS, PARTED_SECONDS = 1.0, 5.0
CAREFUL = ("--min-replicas-to-write", "1", "--min-replicas-max-lag", "1")
HEAD = (
    "primary",
    "min-replicas",
    "mode",
    "seconds: new primary",
    "no success of some",
    "saves",
    "lost",
    "logouts",
    "undone",
    "refused",
)


@dataclasses.dataclass(frozen=True, slots=True)
class Scene:
    """The servers, the load on them and a way to wait."""

    servers: RedisWithSentinels
    load: Load


def main() -> None:
    """Print the figures of every strike."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2, help="of each strike, in both modes")
    parser.add_argument("--acknowledgements", type=int, default=200, help="before each strike")
    parser.add_argument("--down-after", type=int, default=1000, metavar="MS")
    parser.add_argument("--only", help="one strike: " + ", ".join(STRIKES))
    chosen = parser.parse_args()
    write_row(*HEAD)
    write_row(*["-"] * len(HEAD))
    for name in [chosen.only] if chosen.only else STRIKES:
        for options in ((), CAREFUL):
            for mode in ("sync", "async"):
                for _ in range(chosen.rounds):
                    row = measured(name, mode, options, chosen.acknowledgements, chosen.down_after)
                    write_row(name, "1" if options else "0", mode, *row)


def measured(
    name: str, mode: str, options: tuple[str, ...], acknowledgements: int, down_after: int
) -> tuple[str, ...]:
    """Strike once, and return the figures."""
    with tempfile.TemporaryDirectory() as directory:
        binary = next(iter(redis_binaries(Path(directory)).values()))
        # Where a primary needs a replica, one must be left when another has become the primary.
        replicas = 2 if options else 1
        with (
            RedisWithSentinels(
                binary, Path(directory), *options, replicas=replicas, down_after=down_after
            ) as servers,
            override_settings(
                CACHES=servers.caches(),
                MULTISESSION_REDIS={"CACHE_ALIAS": "sessions"},
                SESSION_ENGINE="django_multisession.engines.redis",
            ),
        ):
            SessionStore.get_driver()
            try:
                with Load(SessionStore, mode) as load:
                    load.wait_for_acknowledgements(acknowledgements)
                    struck_at, succeeded_at = STRIKES[name](Scene(servers, load))
                    load.wait_for_acknowledgements(acknowledgements)
                found = load.judge()
                silence = load.longest_silence_after(struck_at)
            finally:
                close_drivers()
    refused = sum(len(visitor.refused_at) for visitor in load.visitors)
    return (
        f"{succeeded_at - struck_at:.1f}",
        f"{silence:.1f}",
        *map(str, (found.saves, found.lost, found.logouts, found.undone, refused)),
    )


def kill(scene: Scene) -> tuple[float, float]:
    """End the primary as a power cut would."""
    struck_at = time.monotonic()
    scene.servers.first.kill()
    scene.servers.wait_until_another_is_primary()
    return struck_at, time.monotonic()


def kill_alone(scene: Scene) -> tuple[float, float]:
    """Cut off its replicas, and end it a little later."""
    with scene.servers.cut_replication():
        time.sleep(ALONE_SECONDS)
        return kill(scene)


def pause(scene: Scene) -> tuple[float, float]:
    """Let the primary hang, and go on when another has taken its place."""
    struck_at = time.monotonic()
    scene.servers.first.pause()
    scene.servers.wait_until_another_is_primary()
    succeeded_at = time.monotonic()
    scene.load.wait_for_acknowledgements(50)
    scene.servers.first.resume()
    scene.servers.wait_until_first_follows()
    return struck_at, succeeded_at


def part(scene: Scene) -> tuple[float, float]:
    """Part the primary from everybody but the site, for a while."""
    struck_at = time.monotonic()
    with scene.servers.part_the_first():
        scene.servers.wait_until_another_is_primary()
        succeeded_at = time.monotonic()
        time.sleep(max(0.0, PARTED_SECONDS - (succeeded_at - struck_at)))
    scene.servers.wait_until_first_follows()
    return struck_at, succeeded_at


STRIKES: Mapping[str, Callable[[Scene], tuple[float, float]]] = {
    "killed": kill,
    "killed after a second without replicas": kill_alone,
    "hangs": pause,
    "parted for five seconds": part,
}


# As pytest finds it.
sys.path.append(str(Path(__file__).parents[2] / "testproject"))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
django.setup()

from django.test import override_settings  # noqa: E402  (Django is set up above)
from server_binaries import redis_binaries  # noqa: E402  (as above)

from django_multisession.engine import close_drivers  # noqa: E402  (as above)
from django_multisession.engines.redis import SessionStore  # noqa: E402  (as above)
from tests.faults.sentinel_load import Load  # noqa: E402  (as above)
from tests.faults.sentinel_servers import RedisWithSentinels  # noqa: E402  (as above)

if __name__ == "__main__":
    # Every refusal is a line.
    logging.disable(logging.CRITICAL)
    main()
