"""Sessions in a durable engine, with copies of those in use in a fast one."""

from __future__ import annotations

import dataclasses

from django.utils import timezone

from django_multisession.core.secret import SecretOptions
from django_multisession.drivers.base import Driver
from django_multisession.engine import Engine, EngineOption, Keys
from django_multisession.settings.rules.options import same_tiers
from django_multisession.store import DriverSessionStore

__all__ = ["SessionStore"]

_SETTING = "MULTISESSION_TIERED"
_EXAMPLE = (
    f'{_SETTING} = {{"FRONT": "django_multisession.engines.redis", '
    '"BACK": "django_multisession.engines.mongodb"}'
)
_FRONT = EngineOption(
    name="FRONT",
    expected="an engine that keeps sessions in a store",
    # This one would be its own part.
    fits=lambda engine: engine.setting != _SETTING,
    is_required=True,
)
_TIERS = (_FRONT, dataclasses.replace(_FRONT, name="BACK"))


def _open(options: SecretOptions) -> Driver:
    from django_multisession.drivers.tiered.driver import TieredDriver

    front, back = (part.open_driver() for part in SessionStore.engine.parts(options))
    return TieredDriver(front, back, lambda: timezone.now().timestamp())


class SessionStore(DriverSessionStore):
    """A session in two stores."""

    engine = Engine(
        name="tiered",
        open=_open,
        setting=_SETTING,
        keys=Keys(one_of=("FRONT",), others=("BACK",), has_client=False),
        engine_options=_TIERS,
        judge=lambda options: same_tiers(
            _SETTING, [tier.engine(options) for tier in _TIERS], options.get("BACK"), _EXAMPLE
        ),
        example=_EXAMPLE,
    )
