"""Sessions in a durable engine, with copies of those in use in a fast one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from django.utils import timezone

from django_multisession.core.problems import Problem
from django_multisession.core.secret import SecretOptions
from django_multisession.drivers.base import Driver
from django_multisession.engine import Engine, EngineOption, Keys
from django_multisession.settings.check_ids import Check
from django_multisession.store import DriverSessionStore

__all__ = ["SessionStore"]

_SETTING = "MULTISESSION_TIERED"
_EXAMPLE = (
    f'{_SETTING} = {{"FRONT": "django_multisession.engines.redis", '
    '"BACK": "django_multisession.engines.mongodb"}'
)


def _open(options: SecretOptions) -> Driver:
    from django_multisession.drivers.tiered.driver import TieredDriver

    front, back = (part.open_driver() for part in SessionStore.engine.parts(options))
    return TieredDriver(front, back, lambda: timezone.now().timestamp())


def _judge(options: Mapping[str, Any]) -> Iterator[Problem]:
    front, back = SessionStore.engine.parts(options)
    if front is back:
        yield Check.SAME_TIERS.found(
            f"The two engines of {_SETTING} must differ (got {options['BACK']!r} twice).", _EXAMPLE
        )


def _tier(name: str) -> EngineOption:
    return EngineOption(
        name=name,
        expected="an engine that keeps sessions in a store",
        # This one would be its own part.
        fits=lambda engine: engine.setting != _SETTING,
        is_required=True,
    )


class SessionStore(DriverSessionStore):
    """A session in two stores."""

    engine = Engine(
        name="tiered",
        open=_open,
        setting=_SETTING,
        keys=Keys(one_of=("FRONT",), others=("BACK",), has_client=False),
        engine_options=(_tier("FRONT"), _tier("BACK")),
        judge=_judge,
        example=_EXAMPLE,
    )
