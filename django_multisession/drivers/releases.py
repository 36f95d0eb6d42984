"""Releases of servers with a known security hole, as of November 2026: what `check --deploy` names.

A hole is here only if it gives what a session store holds to others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

Version = tuple[int, ...]


class Hole(NamedTuple):
    """A hole, and the first release of each series that doesn't have it, oldest first."""

    name: str
    consequence: str
    fixed: Sequence[Version]

    def fix_for(self, version: Version) -> Version | None:
        """Return the release to upgrade *version* to; None if it doesn't have the hole.

        A series without a fix of its own is left for the next one that has a fix.
        """
        fixed = next((each for each in self.fixed if each[:2] >= version[:2]), None)
        return fixed if fixed is not None and version < fixed else None


#: December 2025.
MONGODB = Hole(
    "CVE-2025-14847",
    "Clients that haven't logged in can read its memory, and with it sessions.",
    [(5, 0, 32), (6, 0, 27), (7, 0, 28), (8, 0, 17), (8, 2, 3)],
)
