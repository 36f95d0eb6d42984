"""What the check of a server finds, but for the release that this machine has to offer."""

from __future__ import annotations

from typing import Any

from django_multisession.core.problems import Problem

#: Of checks that report a release.
OF_RELEASES = frozenset({"multisession.W106", "multisession.W115"})


def problems_of(driver: Any) -> list[Problem]:
    """Return what *driver* finds at its server that no upgrade would change."""
    return [problem for problem in driver.check() if problem.id not in OF_RELEASES]
