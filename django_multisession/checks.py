"""System checks: what is wrong with the settings, at start-up, all at once; with the server, at deploy."""

from __future__ import annotations

from typing import Any

from django.core import checks
from django.core.exceptions import ImproperlyConfigured

from django_multisession import conf
from django_multisession.engines._drivers import ENGINES, driver_of


def check_settings(**_kwargs: Any) -> list[checks.CheckMessage]:
    """Report every wrong ``MULTISESSION_*`` setting."""
    return [
        checks.Error(problem.message, hint=problem.hint, id=problem.check_id)
        for problem in conf.problems()
    ]


def check_installed(**_kwargs: Any) -> list[checks.CheckMessage]:
    """Report a missing engine library."""
    if conf.problems():
        return []
    for engine in ENGINES:
        if conf.uses_engine(engine):
            try:
                driver_of(engine)
            except ImproperlyConfigured as error:
                return [
                    checks.Error(
                        str(error),
                        hint="docs/reference/settings.md shows what each engine takes.",
                        id="multisession.E011",
                    )
                ]
    return []


def check_server(**_kwargs: Any) -> list[checks.CheckMessage]:
    """Ask the engine's server whether it is fit to hold sessions; ``check --deploy`` only."""
    if check_settings() or check_installed():
        return []
    return [
        message
        for engine in ENGINES
        if conf.uses_engine(engine)
        for message in driver_of(engine).check()
    ]
