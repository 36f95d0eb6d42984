"""Sessions in their cookies, encrypted. No server holds them."""

from __future__ import annotations

from django_multisession.core.lifetime import longest_ms
from django_multisession.core.secret import SecretOptions
from django_multisession.drivers.base import Driver
from django_multisession.engine import Engine, EngineOption, Keys
from django_multisession.session.carried import CarriedSessionStore, seconds
from django_multisession.settings.conf import config

__all__ = ["SessionStore"]

_REVOCATION = EngineOption(
    name="REVOCATION",
    expected="an engine with a server that all processes share",
    fits=lambda engine: engine.is_shared,
)


def _open(options: SecretOptions) -> Driver:
    from django_multisession.drivers.cookie.driver import CookieDriver
    from django_multisession.drivers.cookie.revocable import RevocableDriver
    from django_multisession.drivers.cookie.revocations import Revocations

    engine = _REVOCATION.engine(options)
    if engine is None:
        return CookieDriver(seconds)
    ends = Revocations(engine.driver, seconds, lambda: longest_ms(config().policy))
    return RevocableDriver(seconds, ends)


class SessionStore(CarriedSessionStore):
    """A session in its cookie."""

    engine = Engine(
        name="cookie",
        open=_open,
        setting="MULTISESSION_COOKIE",
        keys=Keys(others=("REVOCATION",), has_client=False),
        engine_options=(_REVOCATION,),
        install="django-multisession[cookie]",
        example='MULTISESSION_COOKIE = {"REVOCATION": "django_multisession.engines.redis"}',
    )
