"""What a session keeps of its record between two verbs."""

from __future__ import annotations

import dataclasses

from django_multisession import keys
from django_multisession.records import Record


@dataclasses.dataclass(frozen=True, slots=True)
class Kept:
    """A record as it was last read or written. Its repr, which error pages show, holds no entries.

    Attributes:
        key: The key it lies under. While a new one waits for its save, that is the old one.
        record: What the server holds.
        serialized: Its entries.
        by_fallback: Was it sealed with another secret than the current one?
    """

    key: keys.Verified
    record: Record
    serialized: bytes = dataclasses.field(repr=False)
    by_fallback: bool = False
