"""Sessions in a durable engine, with copies of those in use in a fast one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from django.utils import timezone

from django_multisession.core.problems import Problem
from django_multisession.core.secret import SecretOptions
from django_multisession.drivers.base import Driver
from django_multisession.engine import Engine, Keys, engine_at
from django_multisession.settings.rules import tiers
from django_multisession.store import DriverSessionStore

__all__ = ["SessionStore"]


def _open(options: SecretOptions) -> Driver:
    from django_multisession.drivers.tiered.driver import TieredDriver

    front, back = (part.open_driver() for part in _parts(options))
    return TieredDriver(front, back, lambda: timezone.now().timestamp())


def _parts(options: Mapping[str, Any]) -> list[Engine]:
    """Return the front's engine and the back's, or what there is of them."""
    paths = [options.get(name) for name in tiers.NAMES if tiers.is_fit(options.get(name))]
    return [engine for engine in map(engine_at, paths) if engine is not None]


def _judge(options: Mapping[str, Any]) -> Iterator[Problem]:
    yield from tiers.problems_of(options, lambda path: engine_at(path) is not None)
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
