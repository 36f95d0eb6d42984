"""Sessions in their cookies, encrypted. No server holds them."""

from __future__ import annotations

from django_multisession.core.lifetime import longest_ms
from django_multisession.core.secret import SecretOptions
from django_multisession.drivers.base import Driver
from django_multisession.engine import LISTED_IN, Engine, EngineOption, Keys, open_listing
from django_multisession.session.carried import CarriedSessionStore, seconds
from django_multisession.settings.conf import config
from django_multisession.settings.rules.options import listed_without_revocation

__all__ = ["SessionStore"]

_SETTING = "MULTISESSION_COOKIE"
_EXAMPLE = f'{_SETTING} = {{"REVOCATION": "django_multisession.engines.redis"}}'
_REVOCATION = EngineOption(
    name="REVOCATION",
    expected="an engine with a server that all processes share",
    fits=lambda engine: engine.is_shared,
)


def _open(options: SecretOptions) -> Driver:
    from django_multisession.drivers.cookie.driver import CookieDriver
    from django_multisession.drivers.cookie.revocable import RevocableDriver
    from django_multisession.drivers.cookie.revocations import Revocations
    from django_multisession.drivers.listed.carried import CarriedListedDriver

    engine, listing = _REVOCATION.engine(options), open_listing(options)
    if engine is None:
        return CookieDriver(seconds)
    ends = Revocations(engine.driver, seconds, lambda: longest_ms(config().policy))
    driver = RevocableDriver(seconds, ends)
    return driver if listing is None else CarriedListedDriver(driver, listing)


class SessionStore(CarriedSessionStore):
    """A session in its cookie."""

    engine = Engine(
        name="cookie",
        open=_open,
        setting=_SETTING,
        keys=Keys(others=("REVOCATION", "LISTED_IN"), has_client=False),
        engine_options=(_REVOCATION, LISTED_IN),
        judge=lambda options: listed_without_revocation(_SETTING, options, _EXAMPLE),
        install="django-multisession[cookie]",
        example=_EXAMPLE,
    )
