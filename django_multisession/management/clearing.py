"""How expired sessions are cleared: what may be asked for, batch by batch, and what is said of it.

Pure: what removes a batch, what time it is and who wants an end are arguments.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterator

BY_TIME = "max_seconds"
BY_OUTAGE = "outage"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much one batch removes, and how long the run takes.

    Attributes:
        batch_size: How many sessions one batch removes at most.
        max_seconds: Ends after the batch that passes it; None for no limit.
    """

    batch_size: int
    max_seconds: float | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """How far a run has come.

    Attributes:
        removed: How many sessions it removed.
        batches: In how many batches; one that found nothing is none.
        seconds: How long it took.
        is_complete: Is nothing left that had expired when it began? A dry run does not ask.
        stopped_by: What ended it before: `BY_TIME`, `BY_OUTAGE` or the name of a signal.
        is_dry_run: Was it only to count?
        expired: What it counted then.
    """

    removed: int = 0
    batches: int = 0
    seconds: float = 0.0
    is_complete: bool = False
    stopped_by: str | None = None
    is_dry_run: bool = False
    expired: int | None = None


def read_batch_size(given: object) -> int:
    """Return the value of ``--batch-size``.

    Raises:
        ValueError: It is none; says what was expected.
    """
    try:
        # Also from call_command(), where it may be of any type: True and 2.5 are no sizes.
        size = int(str(given))
    except ValueError:
        size = 0
    if size < 1:
        raise ValueError(f"--batch-size must be a whole number, 1 or more (got {given!r}).")
    return size


def read_max_seconds(given: object) -> float:
    """Return the value of ``--max-seconds``.

    Raises:
        ValueError: It is none; says what was expected.
    """
    try:
        seconds = float(str(given))
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds) or seconds < 0:
        raise ValueError(f"--max-seconds must be a number of seconds, 0 or more (got {given!r}).")
    return seconds


def clear(
    remove: Callable[[int], int],
    limits: Limits,
    elapsed: Callable[[], float],
    stop_signal: Callable[[], str | None],
) -> Iterator[Tally]:
    """Remove what has expired, and yield after every batch how far that has come.

    Args:
        remove: Removes at most so many sessions; returns fewer only if none is left.
        limits: How many per batch, and how long.
        elapsed: Returns the seconds since the beginning; must not go back.
        stop_signal: Returns the name of the signal that asked for the end, if one did.
    """
    removed = batches = 0
    stopped_by: str | None = None
    is_complete = False
    while not is_complete and stopped_by is None:
        gone = remove(limits.batch_size)
        seconds = elapsed()
        removed += gone
        batches += bool(gone)
        is_complete = gone < limits.batch_size
        if not is_complete:
            is_late = limits.max_seconds is not None and seconds >= limits.max_seconds
            stopped_by = stop_signal() or (BY_TIME if is_late else None)
        yield Tally(
            removed=removed,
            batches=batches,
            seconds=seconds,
            is_complete=is_complete,
            stopped_by=stopped_by,
        )


def described(tally: Tally, *, expires_by_itself: bool) -> str:
    """Return the message about a run for a person."""
    if tally.stopped_by == BY_OUTAGE:
        if tally.is_dry_run:
            return "Nothing was counted; run the command again."
        # The batch that failed may have removed some.
        removed = f"at least {_sessions(tally.removed)}" if tally.removed else "nothing"
        return f"Removed {removed} until then; run the command again."
    if tally.stopped_by == BY_TIME:
        return f"{_removed(tally)} Stopped by --max-seconds: there may be more."
    if tally.stopped_by is not None:
        return f"Stopped by {tally.stopped_by}. {_removed(tally)} There may be more."
    if tally.expired:
        verb = "is" if tally.expired == 1 else "are"
        said = f"Dry run: {_sessions(tally.expired)} {verb} to be removed, none was."
    elif tally.removed:
        said = _removed(tally)
    else:
        said = "There are no expired sessions to remove."
    if expires_by_itself:
        said += " The session store removes them by itself."
    return said


def as_json(tally: Tally, *, engine: str, expires_by_itself: bool) -> str:
    """Return the report of a run for a program: one JSON object in one line."""
    return json.dumps(
        {
            "engine": engine,
            "expires_by_itself": expires_by_itself,
            "dry_run": tally.is_dry_run,
            "expired": tally.expired,
            "removed": tally.removed,
            "batches": tally.batches,
            "seconds": round(tally.seconds, 3),
            "complete": None if tally.is_dry_run else tally.is_complete,
            "stopped_by": tally.stopped_by,
        }
    )


def progress_line(tally: Tally) -> str:
    """Return the progress of a run as a line for a log."""
    return f"{_sessions(tally.removed)} removed after {tally.seconds:.0f} s."


def _removed(tally: Tally) -> str:
    batches = "1 batch" if tally.batches == 1 else f"{tally.batches:,} batches"
    return f"Removed {_sessions(tally.removed)} in {batches}, {tally.seconds:.1f} s."


def _sessions(number: int) -> str:
    return f"{number:,} expired session{'' if number == 1 else 's'}"
