"""Releases of servers that closed a security hole, as of 29 November 2026: for `check --deploy`.

For MongoDB these are the releases that fixed CVE-2025-14847, which gives sessions to others. For
Redis and Valkey they are the last security release of each series.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

Version = tuple[int, ...]

#: December 2025, by the advisory of CVE-2025-14847.
MONGODB: Final[Sequence[Version]] = (
    (5, 0, 32),
    (6, 0, 27),
    (7, 0, 28),
    (8, 0, 17),
    (8, 2, 3),
)

#: August 2026, by CVE-2026-81934. Where noted 17 September 2026, by the release notes of 8.10.2 and
#: https://github.com/docker-library/official-images/pull/22312.
REDIS: Final[Sequence[Version]] = (
    (6, 2, 24),
    (7, 2, 16),
    (7, 4, 11),
    (8, 2, 10),  # September
    (8, 4, 6),
    (8, 6, 7),  # September
    (8, 8, 3),  # September
    (8, 10, 2),  # September
)

#: 26 October 2026, by the release notes of each and by CVE-2026-136156.
VALKEY: Final[Sequence[Version]] = (
    (7, 2, 15),
    (8, 0, 12),
    (8, 1, 11),
    (9, 0, 7),
    (9, 1, 3),
)


def fix_for(version: Version, fixed: Sequence[Version]) -> Version | None:
    """Return the release of *fixed*, oldest first, to upgrade *version* to; None if it needs none.

    A series without a fix of its own is left for the next one that has a fix.
    """
    found = next((each for each in fixed if each[:2] >= version[:2]), None)
    return found if found is not None and version < found else None


def dotted(version: Version) -> str:
    """Return *version* as it is written."""
    return ".".join(map(str, version))
