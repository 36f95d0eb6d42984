"""Which tests run in one process of several: those that share what takes long to start."""

from __future__ import annotations

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
