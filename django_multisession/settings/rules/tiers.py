"""What is wrong with the choice of two engines; of a text that is no path, nothing is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from django_multisession.core.problems import Problem
from django_multisession.settings.check_ids import Check

SETTING = "MULTISESSION_TIERED"
NAMES = ("FRONT", "BACK")
EXAMPLE = (
    'MULTISESSION_TIERED = {"FRONT": "django_multisession.engines.redis", '
    '"BACK": "django_multisession.engines.mongodb"}'
)


def problems_of(
    options: Mapping[str, Any], is_fit: Callable[[object], bool | None]
) -> Iterator[Problem]:
    """Yield what is wrong with *options*, the value of the setting.

    Args:
        options: See above.
        is_fit: Returns whether a path is that of an engine that can be a tier; None if it is that of
            no engine.
    """
    for name in NAMES:
        path = options.get(name)
        fits = is_fit(path) if isinstance(path, str) else False
        if fits is False:
            found = _told(path) if name in options else "nothing"
            yield Check.UNFIT_TIER.found(
                f'{SETTING}["{name}"] must be the path of an engine that keeps sessions in a store '
                f"(got {found}).",
                EXAMPLE,
            )
        elif fits is None:
            yield Check.UNFIT_TIER.found(
                f'{SETTING}["{name}"] must be the module of an engine with an Engine object '
                f"(got {_told(path)}).",
                EXAMPLE,
            )
    if options.get("FRONT") == options.get("BACK"):
        yield Check.SAME_TIERS.found(
            f"The two engines of {SETTING} must differ (got {_told(options.get('BACK'))} twice).",
            EXAMPLE,
        )


def _told(path: object) -> str:
    if not isinstance(path, str):
        return type(path).__name__
    is_path = all(part.isidentifier() for part in path.split("."))
    return repr(path) if is_path else "a text that isn't a module's path"
