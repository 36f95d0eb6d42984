"""What a system check found, as a value: Django's messages are made of it in one place."""

from __future__ import annotations

import dataclasses
import enum


class Severity(enum.Enum):
    """What ``manage.py check`` does about a problem."""

    #: The command stops.
    ERROR = "error"
    #: The command goes on, unless it was told to stop at warnings.
    WARNING = "warning"
    #: The command goes on, also if it was told to stop at warnings.
    INFO = "info"


@dataclasses.dataclass(frozen=True, slots=True)
class Problem:
    """A wrong setting, settings that contradict each other, or a server that is unfit.

    Attributes:
        id: Of the system check that reports it: ``"multisession.E113"``, ``"yourpackage.W001"``.
        message: What is wrong, with the actual value; never a secret.
        hint: What to do about it.
        severity: Whether it stops the command.
    """

    id: str
    message: str
    hint: str
    severity: Severity = Severity.ERROR
