"""The mark that all sessions of a user were ended: pure.

A login may be under way while they are listed: its record is stored after the list was read. So the
mark is stored before the list is read, and a login reads it after its record is stored. One of the two
sees the other. The mark is a signed record of its own, of no user.

An engine whose sessions another one lists may lose the list's entry of an idle session. There a mark is
kept for as long as a session may live, and each use that is noted reads it. It names the session that
is spared, if one is, whose login began before.

Sessions of an engine that the site left are in no list. While they are adopted, marks are kept for as long
as the migration lasts, and an adoption reads the mark of its user after its record is stored.
"""

from __future__ import annotations

import functools

from django_multisession.core.keys import noted_at
from django_multisession.core.records import NEVER, SLACK_MS, Facts, Record
from django_multisession.core.secret import SecretBytes

#: How long a mark is kept: longer than a request takes from its login to its response.
MARK_MS = 600_000

#: What the payload of a mark that spares a session begins with.
SPARED = b"spared:"

#: Returns the storage key of the mark of a user, whose bytes it takes, in the site or tenant of a namespace.
place_of = functools.partial(noted_at, b"django_multisession.all_ended.1")


def facts_at(now: int, until_ms: int | None = None, before: Record | None = None) -> Facts:
    """Return what a mark says that is made at *now*; the seats of `core.limits` say the same.

    Args:
        now: See above.
        until_ms: Until when sessions that no list holds may live, if there may be any.
        before: The mark that it replaces; one by a clock ahead has a later last use.
    """
    touched_ms = now if before is None else max(now, before.touched_ms)
    if until_ms is None:
        return Facts(now, now, touched_ms, MARK_MS, NEVER)
    return Facts(now, now, touched_ms, NEVER, max(until_ms, now + MARK_MS))


def encode(spared: bytes | None) -> SecretBytes:
    """Return the payload of a mark that spares the session of the series *spared*, if one is given."""
    return SecretBytes() if spared is None else SecretBytes(SPARED + spared)


def spares(payload: bytes, series: bytes) -> bool:
    """Does the mark of *payload* spare the session of *series*?"""
    return payload == SPARED + series


def ends_login(mark: Record, login_ms: int, now: int) -> bool:
    """Does *mark* end a login that began at *login_ms*?"""
    return login_ms < mark.began_ms and not is_of_the_future(mark, now)


def is_later_login(record: Record, marked_ms: int, now: int) -> bool:
    """Did the login of *record* begin after a mark of *marked_ms*, so that it doesn't end itself?

    One that a clock ahead began is none: it would stay until that time.
    """
    return marked_ms < record.began_ms <= now + SLACK_MS


def is_of_the_future(mark: Record, now: int) -> bool:
    """Was *mark* made by a clock that is ahead? It would keep the user out until that time."""
    return mark.began_ms > now + SLACK_MS
