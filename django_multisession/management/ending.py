"""How sessions are ended in bulk: batch by batch, pass by pass, and what is said of it.

A session that gets a new key while the store is read may lie behind what was read. So the store is
read again until a pass finds nothing to end, and twice at least.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from datetime import date, datetime, time
from typing import NamedTuple

from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime

from django_multisession.core.records import Reason, Record, to_milliseconds
from django_multisession.drivers.base import Enumerable, is_indexed
from django_multisession.drivers.listed.cards import listed_in
from django_multisession.exceptions import BadPayload, StoreUnavailable
from django_multisession.session import line
from django_multisession.session.adopt import is_mark
from django_multisession.session.index import MOST_PASSES, end_listed
from django_multisession.session.state import Session
from django_multisession.session.steps import Steps

BY_OUTAGE = "outage"
#: Sessions went on appearing that began before.
BY_TRAFFIC = "traffic"


class Batch(NamedTuple):
    """What became of one page of records.

    Attributes:
        cursor: Where the next page begins; empty behind the last one.
        meant: How many sessions were to be ended.
        ended: How many were.
        foreign: How many records this site didn't sign.
    """

    cursor: str
    meant: int
    ended: int
    foreign: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """How far a run has come.

    Attributes:
        ended: How many sessions it ended; in a dry run, how many it would end.
        read: How many pages it read.
        foreign: How many records of the first pass this site didn't sign.
        seconds: How long it took.
        is_complete: Is none left?
        stopped_by: What ended it before: `BY_OUTAGE`, `BY_TRAFFIC` or the name of a signal.
        is_dry_run: Was it only to count?
    """

    ended: int = 0
    read: int = 0
    foreign: int = 0
    seconds: float = 0.0
    is_complete: bool = False
    stopped_by: str | None = None
    is_dry_run: bool = False


def read_moment(given: str) -> datetime:
    """Return the value of ``--before``: a date or a date with a time, in the site's time zone.

    Raises:
        ValueError: It is none; says what was expected.
    """
    try:
        day: date | None = parse_date(given)
        moment = datetime.combine(day, time.min) if day is not None else parse_datetime(given)
    except ValueError:
        moment = None
    if moment is None:
        raise ValueError(
            f'--before must be a date such as 2026-11-29, or one with a time (got "{given}").'
        )
    return moment if timezone.is_aware(moment) else timezone.make_aware(moment)


def end_batch(
    session: Session, cursor: str, limit: int, before: datetime, *, is_dry_run: bool
) -> Steps[Batch]:
    """End the sessions in a page of about *limit* records that began before *before*."""
    driver, site = session.site.driver, session.site
    assert isinstance(driver, Enumerable)  # noqa: S101  (asked by the command; for mypy)
    page = yield from driver.records(cursor, limit)
    now, before_ms, foreign = site.now(), to_milliseconds(before), 0
    meant: dict[str, Record] = {}
    for place, record in page.records:
        if not record.is_live(now):
            continue
        if not _is_ours(session, place, record):
            # The card of another engine's session doesn't come from another site.
            foreign += listed_in(place, record) is None
        elif record.began_ms < before_ms and not is_mark(site, place, record):
            meant[place] = record
    ended = 0 if is_dry_run else (yield from _end(session, meant))
    return Batch(page.cursor, len(meant), ended, foreign)


def _end(session: Session, meant: dict[str, Record]) -> Steps[int]:
    left, ended = session.site.tombstone(Reason.ENDED), 0
    if is_indexed(session.site.driver):
        together: dict[str, Record] = {}
        yield from end_listed(session, meant, left, line.REVOKED, together)
        return len(together)
    for place, record in meant.items():
        ending = line.end(session, place, left, line.REVOKED, user_id=record.user_id)
        ended += (yield from ending).is_made
    return ended


def _is_ours(session: Session, place: str, record: Record) -> bool:
    try:
        session.site.open_listed(record, place)
    except (BadPayload, StoreUnavailable):
        # Another site's or tenant's in the same store, or one that nothing opens.
        return False
    return True


def end(
    end_one_batch: Callable[[str], Batch],
    elapsed: Callable[[], float],
    stop_signal: Callable[[], str | None],
    *,
    is_dry_run: bool,
) -> Iterator[Tally]:
    """End what *end_one_batch* ends from a cursor on, and yield after every batch how far that has come.

    Args:
        end_one_batch: See `end_batch`.
        elapsed: Returns the seconds since the beginning; must not go back.
        stop_signal: Returns the name of the signal that asked for the end, if one did.
        is_dry_run: Is it only to count? Then the store is read once.
    """
    tally = Tally(is_dry_run=is_dry_run)
    for number in range(MOST_PASSES):
        cursor, meant = "", 0
        while True:
            batch = end_one_batch(cursor)
            cursor, meant = batch.cursor, meant + batch.meant
            is_last = not cursor and (is_dry_run or (number > 0 and not meant))
            tally = dataclasses.replace(
                tally,
                ended=tally.ended + (batch.meant if is_dry_run else batch.ended),
                read=tally.read + 1,
                foreign=tally.foreign + (0 if number else batch.foreign),
                seconds=elapsed(),
                is_complete=is_last,
                stopped_by=None if is_last else stop_signal(),
            )
            yield tally
            if tally.is_complete or tally.stopped_by:
                return
            if not cursor:
                break
    yield dataclasses.replace(tally, stopped_by=BY_TRAFFIC)


def described(tally: Tally) -> str:
    """Return the message about a run for a person."""
    ended = f"Ended {sessions(tally.ended)} in {tally.seconds:.1f} s."
    if tally.is_dry_run:
        ended = f"Dry run: {sessions(tally.ended)} would be ended, none was."
    if tally.foreign:
        verb = "was" if tally.foreign == 1 else "were"
        records = "1 record" if tally.foreign == 1 else f"{tally.foreign:,} records"
        ended += f" {records} that this site didn't sign {verb} left."
    if tally.stopped_by == BY_OUTAGE:
        # The batch that failed may have ended some.
        return ended.replace("Ended ", "Ended at least ") + " Run the command again."
    if tally.stopped_by == BY_TRAFFIC:
        return f"{ended} There may be more. Run the command again."
    if tally.stopped_by is not None:
        return f"Stopped by {tally.stopped_by}. {ended} There may be more."
    return ended


def progress_line(tally: Tally) -> str:
    """Return the progress of a run as a line for a log."""
    return f"{sessions(tally.ended)} ended after {tally.seconds:.0f} s."


def sessions(number: int) -> str:
    """Return *number* with the noun."""
    return f"{number:,} session{'' if number == 1 else 's'}"
