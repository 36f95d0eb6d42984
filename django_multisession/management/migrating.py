"""What ``migratesessions`` counts and says: pure."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(slots=True, kw_only=True)
class Count:
    """How far a run has come.

    Attributes:
        total: How many live sessions the old engine held when it began.
        moved: How many are in the new engine now.
        empty: How many were ended, or hold no entry that can be read.
        failed: How many weren't moved, because a server gave no answer.
        shortened: How many lost an entry that ``SESSION_SERIALIZER`` can't take.
        dropped: The names of these entries.
        seconds: How long it took.
    """

    total: int
    moved: int = 0
    empty: int = 0
    failed: int = 0
    shortened: int = 0
    dropped: set[str] = dataclasses.field(default_factory=set)
    seconds: float = 0.0

    def note(self, is_moved: bool | None) -> None:
        """Count one session; see `DriverSessionStore._adopt`."""
        self.moved += is_moved is True
        self.empty += is_moved is False
        self.failed += is_moved is None

    @property
    def seen(self) -> int:
        """How many it has come to."""
        return self.moved + self.empty + self.failed

    def note_dropped(self, names: tuple[str, ...]) -> None:
        """Count a session without the entries *names*."""
        self.shortened += bool(names)
        self.dropped |= set(names)


def described(count: Count, left: int | None) -> str:
    """Return the report of a run, after which *left* live sessions are in the old engine.

    None: it gave no answer.
    """
    lines = [f"Moved {_sessions(count.moved)} in {count.seconds:.1f} s."]
    if count.shortened:
        names = ", ".join(map(repr, sorted(count.dropped)))
        lines.append(
            f"{_sessions(count.shortened)} lost entries that SESSION_SERIALIZER can't take: {names}."
        )
    if count.empty:
        lines.append(f"{_sessions(count.empty)} had been ended, or held nothing that can be read.")
    if count.failed:
        lines.append(f"{_sessions(count.failed)} could not be moved. Run the command again.")
    if left is None:
        lines.append("The old engine gave no answer. Run the command again.")
    else:
        lines.append(f"{_sessions(left)} left in the old engine." if left else "Nothing is left.")
    return " ".join(lines)


def progress_line(count: Count) -> str:
    """Return the progress of a run as a line for a log."""
    return f"{count.seen:,} of {_sessions(count.total)} after {count.seconds:.0f} s."


def _sessions(number: int) -> str:
    return f"{number:,} session{'' if number == 1 else 's'}"
