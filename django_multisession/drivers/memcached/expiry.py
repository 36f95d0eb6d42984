"""How long memcached keeps an item, as it wants to be told."""

from __future__ import annotations

from collections.abc import Callable

#: memcached takes more seconds than these for a moment since 1970.
LONGEST_SPAN = 30 * 24 * 60 * 60
#: It has 31 bits for a moment, until 2038.
LAST_MOMENT = (1 << 31) - 1
NEVER, NOW = 0, -1


def expiry_of(life: int, clock: Callable[[], float]) -> int:
    """Return what keeps an item *life* milliseconds from now.

    Args:
        life: `records.NEVER` is longer than memcached can be told of.
        clock: The seconds since 1970, as memcached counts them too.
    """
    # One more, as memcached counts seconds and one of them has begun.
    seconds = life // 1000 + 1
    if seconds <= LONGEST_SPAN:
        return seconds
    moment = int(clock()) + seconds
    return moment if moment <= LAST_MOMENT else NEVER
