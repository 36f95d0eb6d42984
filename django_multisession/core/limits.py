"""How many sessions a user may have at the same time: pure.

Logins are ordered by when they began, and those of one moment by their series. The order is the same
for every login that looks: the last login to look sees all sessions, and no login ends one of the newest.

Where a login is denied at the limit, it takes a seat before its record is stored. The seats of the
logins that are under way lie in one record of the user, which is replaced only over what was read.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from django_multisession.core.keys import noted_at
from django_multisession.core.records import SERIES_LENGTH, SLACK_MS, Record
from django_multisession.core.secret import SecretBytes

OLDEST, LEAST_USED, DENY = "oldest", "least_used", "deny"

#: How long a seat is held by a login that is never heard of again: longer than a save is tried.
SEAT_MS = 60_000

#: What the record of the seats begins with.
SEATS = b"seats:"

#: Returns the storage key of the seats of a user, whose bytes it takes, in the site or tenant of a namespace.
place_of = functools.partial(noted_at, b"django_multisession.seats.1")
_TIME_LENGTH = 8
_SEAT_LENGTH = SERIES_LENGTH + _TIME_LENGTH


class Seat(NamedTuple):
    """A login that is under way, or was a moment ago.

    Attributes:
        series: Of its session.
        taken_ms: When it took the seat.
    """

    series: bytes
    taken_ms: int


Seats = tuple[Seat, ...]


class Admission(NamedTuple):
    """What a login was granted before its record is stored.

    Attributes:
        series: Public id of its session.
        began_ms: When it begins at the earliest.
        most: The user's limit; None if there is none.
        at_limit: ``MULTISESSION_AT_LIMIT``.
        seats: The record in which its seat is, if it took one.
        agents: The user agents that the user's sessions recorded, if the login may end some of these.
    """

    series: bytes
    began_ms: int = 0
    most: int | None = None
    at_limit: str = ""
    seats: Record | None = None
    agents: frozenset[str] = frozenset()


def is_limit(value: object) -> bool:
    """Is *value* a number of sessions that a user may have?"""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


# Which sessions end


def beginning(now: int, listed: Iterable[Record]) -> int:
    """Return when a login begins that finds the sessions *listed*: later than each of them.

    The clocks of two processes differ. A session that a clock far ahead began is left out.
    """
    known = (record.began_ms + 1 for record in listed if record.began_ms <= now + SLACK_MS)
    return max((now, *known))


def excess(listed: Sequence[Record], own: Record, most: int, at_limit: str, now: int) -> set[bytes]:
    """Return the series of those sessions *listed* that end so that *most* are left.

    Args:
        listed: The live sessions of the user.
        own: That of the login that looks.
        most: The limit.
        at_limit: `OLDEST` or `LEAST_USED`.
        now: The moment.
    """

    def began(record: Record) -> tuple[int, bytes]:
        # A clock that is far ahead must not make a session the newest for as long.
        is_of_the_future = record.began_ms > max(now, own.began_ms) + SLACK_MS
        return 0 if is_of_the_future else record.began_ms, record.series

    def used(record: Record) -> tuple[bool, int, bytes]:
        began_ms, series = began(record)
        if began_ms > own.began_ms - SEAT_MS:
            # This login, and those that were under way with it or began later: those that look see
            # different last uses, and all spare the newest ones.
            return True, began_ms, series
        return False, max(began_ms, min(record.touched_ms, now + SLACK_MS)), series

    ranked = sorted(listed, key=began if at_limit == OLDEST else used, reverse=True)
    return {record.series for record in ranked[most:]}


# Seats


def encode(seats: Iterable[Seat]) -> SecretBytes:
    """Return the payload of the record of *seats*."""
    return SecretBytes(
        SEATS
        + b"".join(seat.series + seat.taken_ms.to_bytes(_TIME_LENGTH, "big") for seat in seats)
    )


def decode(payload: bytes) -> Seats:
    """Return the seats in *payload*; none where it isn't one of them."""
    if not payload.startswith(SEATS):
        return ()
    parts = (
        payload[at : at + _SEAT_LENGTH] for at in range(len(SEATS), len(payload), _SEAT_LENGTH)
    )
    return tuple(
        Seat(part[:SERIES_LENGTH], int.from_bytes(part[SERIES_LENGTH:], "big")) for part in parts
    )


def held(seats: Iterable[Seat], now: int) -> Seats:
    """Return those of *seats* whose logins may still be under way."""
    return tuple(seat for seat in seats if abs(now - seat.taken_ms) < SEAT_MS)


def is_full(seats: Iterable[Seat], live: Collection[bytes], most: int) -> bool:
    """Is there no room for a further session?

    Args:
        seats: Those that are held.
        live: The series of the user's live sessions.
        most: The limit.
    """
    return len({*live, *(seat.series for seat in seats)}) >= most
