"""Sessions in their cookies, encrypted. No server holds them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from django_multisession.core.lifetime import longest_ms
from django_multisession.core.problems import Problem
from django_multisession.core.secret import SecretOptions
from django_multisession.drivers.base import Driver
from django_multisession.engine import Engine, Keys, engine_at, keeps_sessions
from django_multisession.session.carried import CarriedSessionStore, seconds
from django_multisession.settings.check_ids import Check
from django_multisession.settings.conf import config

__all__ = ["SessionStore"]

_SETTING = "MULTISESSION_COOKIE"
_EXAMPLE = f'{_SETTING} = {{"REVOCATION": "django_multisession.engines.redis"}}'


def _open(options: SecretOptions) -> Driver:
    from django_multisession.drivers.cookie.driver import CookieDriver
    from django_multisession.drivers.cookie.revocable import RevocableDriver
    from django_multisession.drivers.cookie.revocations import Revocations

    engine = _revoking(options)
    if engine is None:
        return CookieDriver(seconds)
    ends = Revocations(engine.driver, seconds, lambda: longest_ms(config().policy))
    return RevocableDriver(seconds, ends)


def _judge(options: Mapping[str, Any]) -> Iterator[Problem]:
    if options.get("REVOCATION") is None:
        return
    if (engine := _revoking(options)) is None:
        yield Check.WRONG_OPTION.found(
            f'{_SETTING}["REVOCATION"] must name an engine with a server that all processes share '
            f"(got {options['REVOCATION']!r}).",
            _EXAMPLE,
        )
    else:
        yield from engine.problems(is_chosen=True)


def _revoking(options: Mapping[str, Any]) -> Engine | None:
    """Return the engine that keeps the ends of sessions."""
    engine = engine_at(path := options.get("REVOCATION"))
    return engine if engine and engine.is_shared and keeps_sessions(path) else None


class SessionStore(CarriedSessionStore):
    """A session in its cookie."""

    engine = Engine(
        name="cookie",
        open=_open,
        setting=_SETTING,
        keys=Keys(others=("REVOCATION",), has_client=False),
        judge=_judge,
        install="django-multisession[cookie]",
        example=_EXAMPLE,
    )
