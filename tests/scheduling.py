"""How the processes of pytest-xdist share the work.

Tests that share what takes long to start run in one of them.
"""

from __future__ import annotations

import contextlib
import importlib
from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling

#: What the ids of tests hold that share a browser, a download or a server.
SHARED = (
    "tests/browser/",
    "tests/django_suites/",
    "tests/test_packaging.py",
    "mongodb",
    "mariadb",
    "postgresql",
)


def scope_of(nodeid: str) -> str:
    """Return what a test runs together with: itself, if it shares nothing."""
    return next((each for each in SHARED if each in nodeid), nodeid)


class Scheduling(LoadScopeScheduling):  # type: ignore[misc]  # pytest-xdist has no types
    """Gives a process all tests of a scope."""

    def _split_scope(self, nodeid: str) -> str:
        return scope_of(nodeid)


def import_share(number: int, processes: int) -> None:
    """Import every test module whose turn it is in this process, before pytest collects them all.

    In a first run no module is compiled, and each process would compile all of them.
    """
    here = Path(__file__).parent
    for path in sorted(here.rglob("test_*.py"))[number::processes]:
        # pytest imports it again, and reports what is wrong.
        with contextlib.suppress(Exception, pytest.skip.Exception):
            importlib.import_module(".".join(path.relative_to(here.parent).with_suffix("").parts))
