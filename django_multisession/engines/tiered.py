"""Sessions in a durable engine, with copies of those in use in a fast one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from django.utils import timezone

from django_multisession.core.problems import Problem
from django_multisession.core.secret import SecretOptions
from django_multisession.drivers.base import Driver
from django_multisession.engine import Engine, Keys, engine_at, keeps_sessions
from django_multisession.settings.rules import tiers
from django_multisession.store import DriverSessionStore

__all__ = ["SessionStore"]


def _open(options: SecretOptions) -> Driver:
    from django_multisession.drivers.tiered.driver import TieredDriver

    front, back = (part.open_driver() for part in _parts(options))
    return TieredDriver(front, back, lambda: timezone.now().timestamp())


def _parts(options: Mapping[str, Any]) -> list[Engine]:
    """Return the front's engine and the back's, or what there is of them."""
    paths = [options.get(name) for name in tiers.NAMES]
    found = [engine_at(path) for path in paths if _is_fit(path)]
    return [engine for engine in found if engine is not None]


def _is_fit(path: object) -> bool | None:
    """Can the engine of *path* be a tier? None if there is no engine."""
    if (engine := engine_at(path)) is None:
        return None
    # This one would be its own part.
    return keeps_sessions(path) and engine.setting != tiers.SETTING


def _judge(options: Mapping[str, Any]) -> Iterator[Problem]:
    yield from tiers.problems_of(options, _is_fit)
    for part in _parts(options):
        # Those of an option that is given are reported for any site.
        if not part.problems(is_chosen=False):
            yield from part.problems(is_chosen=True)


class SessionStore(DriverSessionStore):
    """A session in two stores."""

    engine = Engine(
        name="tiered",
        open=_open,
        setting=tiers.SETTING,
        keys=Keys(one_of=("FRONT",), others=("BACK",), has_client=False),
        judge=_judge,
        parts=_parts,
        example=tiers.EXAMPLE,
    )
