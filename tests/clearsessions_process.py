"""A process of its own that runs a command as ``manage.py`` does, and the sessions that it finds.

``python -m tests.clearsessions_process clearsessions …`` takes from its environment what its store
holds (`Kept`): the engine in memory, as no server leaves anything to the command.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from django_multisession.drivers import base
from django_multisession.drivers.base import Steps
from django_multisession.drivers.memory import MemoryDriver
from django_multisession.exceptions import StoreUnavailable
from django_multisession.testing.driver.fixtures import make_record

KEPT = "CLEARSESSIONS_KEPT"
PATIENCE_SECONDS = 120


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What the store of the process holds, and how it answers.

    Attributes:
        expired: How many sessions that have expired.
        seconds: How long a batch takes.
        begun: A file that is there once a batch is over.
        is_down: Does the store not answer?
    """

    expired: int = 0
    seconds: float = 0.0
    begun: str = ""
    is_down: bool = False

    def environment(self) -> dict[str, str]:
        return {**os.environ, KEPT: json.dumps(dataclasses.asdict(self))}


class KeptDriver(MemoryDriver):
    """The driver of the process."""

    def __init__(self, kept: Kept) -> None:
        super().__init__(max_records=kept.expired + 1)
        self._kept = kept
        for index in range(kept.expired):
            # Over in any year to come.
            base.run(self.add(f"key-{index}", make_record()))

    def purge_expired(self, now: int, limit: int) -> Steps[int]:
        if self._kept.is_down:
            raise StoreUnavailable("The server did not answer (ConnectionLost).")
        removed = yield from super().purge_expired(now, limit)
        if self._kept.begun:
            Path(self._kept.begun).touch()
        time.sleep(self._kept.seconds)
        return removed


def start(kept: Kept, *options: str, stderr: int = subprocess.PIPE) -> subprocess.Popen[str]:
    """Start ``clearsessions`` with *options* on what is *kept*."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.clearsessions_process", "clearsessions", *options],
        cwd=Path(__file__).parents[1],
        # tqdm draws ten times a second otherwise, and a fast machine is done by then.
        env={**kept.environment(), "TQDM_MININTERVAL": "0"},
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
    )


def end(process: subprocess.Popen[str]) -> tuple[str, str, int]:
    """Return what *process* printed, and its code, when it has ended."""
    try:
        out, err = process.communicate(timeout=PATIENCE_SECONDS)
    finally:
        process.kill()
    return out, err, process.returncode


if __name__ == "__main__":
    import django
    from django.conf import settings
    from django.core.management import execute_from_command_line

    settings.configure(
        SECRET_KEY="only-for-tests-" + "x" * 50,
        INSTALLED_APPS=["django_multisession", "django.contrib.sessions"],
        USE_TZ=True,
        SESSION_ENGINE="tests.clearsessions_calls",
    )
    django.setup()
    from tests import clearsessions_calls

    clearsessions_calls.driver = KeptDriver(Kept(**json.loads(os.environ[KEPT])))
    execute_from_command_line(sys.argv)
