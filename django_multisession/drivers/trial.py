"""Whether a user of a server may do what a driver does: the proof of `check --deploy`."""

from __future__ import annotations

from django_multisession.core.records import (
    Facts,
    Reason,
    Record,
    Tombstone,
    assemble,
    encode_signed,
    new_revision,
)
from django_multisession.drivers.base import Driver, Indexed, Steps

#: No user of the site's.
_USER = b"multisession.check"


def make_keys() -> tuple[str, str]:
    """Return two storage keys that are no session's."""
    return f"check-{new_revision().hex()}", f"check-{new_revision().hex()}"


def trial(driver: Driver, key: str, new: str) -> Steps[None]:
    """Send each kind of command that sessions need, on the keys *key* and *new*.

    What it stores ends within a minute or two, and opens for no one: it isn't signed.

    Raises:
        StoreUnavailable: The server refused one.
    """
    first, second, third = (_unsigned(number) for number in range(3))
    yield from driver.add(key, first)
    yield from driver.add(key, second)
    if isinstance(driver, Indexed):
        yield from driver.of_user(_USER.decode(), 0)
    yield from driver.touch(key, first, 1, 0)
    yield from driver.replace(key, second, first, 0)
    left = Tombstone(third.revision, Reason.MOVED, new)
    yield from driver.move(key, new, third, second, left, 0)
    yield from driver.withdraw(new, third)
    yield from driver.add(new, first)
    yield from driver.delete(new, Tombstone(new_revision(), Reason.ENDED))


def _unsigned(touched_ms: int) -> Record:
    facts = Facts(
        created_ms=0, began_ms=0, touched_ms=touched_ms, idle_ms=1000, deadline_ms=2000, user=_USER
    )
    return assemble(facts, bytes(32), encode_signed(facts, b"", bytes(4)))
