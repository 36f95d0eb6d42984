"""System checks: what is wrong with the settings, at start-up, all at once; with the server, at deploy.

None of them needs ``SECRET_KEY``: Django lets checks run without one, where an image is built.
"""

from __future__ import annotations

import contextlib
import inspect
import pickle
from collections.abc import Iterable
from importlib import import_module
from typing import Any

from django.apps import apps
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from django_multisession.core.problems import Problem, Severity
from django_multisession.engines._drivers import ENGINES, driver_of
from django_multisession.settings import conf
from django_multisession.settings.rules import cookie, middleware
from django_multisession.settings.rules import settings as rules
from django_multisession.store import DriverSessionStore

#: What only a serializer that unpickles makes a dict of.
PICKLED = {"multisession": "does it unpickle?"}

KINDS = {Severity.ERROR: checks.Error, Severity.WARNING: checks.Warning}

#: With one of these a message begins that reports it; its default stands in for it then.
TIMEOUTS = (
    "MULTISESSION_IDLE_TIMEOUT ",
    "MULTISESSION_ABSOLUTE_TIMEOUT ",
    "MULTISESSION_ANONYMOUS_IDLE_TIMEOUT ",
    "SESSION_COOKIE_AGE ",
)


def check_settings(**_kwargs: Any) -> list[checks.CheckMessage]:
    """Report every ``MULTISESSION_*`` setting that is wrong, or that there is none of."""
    site = conf.site()
    problems = conf.problems()
    if not any(problem.message.startswith(TIMEOUTS) for problem in problems):
        problems += rules.timeouts_without_effect(site.config.policy)
    return _messages(
        [
            *problems,
            *rules.resolvers_without_effect(site.config.resolvers),
            *rules.unknown_settings(site.our_settings, site.given_settings),
            *_wrong_engine(site.engine),
        ]
    )


def check_site(**_kwargs: Any) -> list[checks.CheckMessage]:
    """Report what in Django's settings keeps sessions from working."""
    site = conf.site()
    sessions = _made_from(middleware.DJANGOS_MIDDLEWARE, site.middleware)
    logins = _made_from(middleware.DJANGOS_LOGIN_MIDDLEWARE, site.middleware)
    problems = middleware.several_session_middlewares(sessions)
    problems += middleware.session_behind_login(site.middleware, sessions, logins)
    if _store() is not None:
        ours = _made_from(middleware.OUR_MIDDLEWARE, site.middleware)
        problems += middleware.ignoring_in_vain(site.config.on_interrupted, ours)
        problems += cookie.contradictions(site.config.cookie)
        problems += _unfit_serializer(site.serializer)
        problems += middleware.hidden_command([app.name for app in apps.get_app_configs()])
    return _messages(problems)


def check_installed(**_kwargs: Any) -> list[checks.CheckMessage]:
    """Report a missing engine library."""
    if conf.problems():
        return []
    for engine in ENGINES:
        if conf.uses_engine(engine):
            try:
                driver_of(engine)
            except ImproperlyConfigured as error:
                lacks_library = isinstance(error.__cause__, ImportError)
                return _messages(
                    [rules.not_installed(engine, str(error), lacks_library=lacks_library)]
                )
    return []


def check_deployment(**_kwargs: Any) -> list[checks.CheckMessage]:
    """Report what leaves sessions unprotected; ``check --deploy`` only."""
    site = conf.site()
    if _store() is not None:
        problems = list(rules.exposures(site))
        if _unpickles(site.serializer):
            problems.append(rules.unpickling(site.serializer))
        return _messages(problems)
    if _wrong_engine(site.engine):
        return []
    return _messages([rules.foreign_engine(site.engine)])


def check_server(**_kwargs: Any) -> list[checks.CheckMessage]:
    """Ask the engine's server whether it is fit to hold sessions; ``check --deploy`` only."""
    store = _store()
    if store is None or conf.problems() or check_installed():
        return []
    return _messages(store.get_driver().check())


def _messages(problems: Iterable[Problem]) -> list[checks.CheckMessage]:
    return [
        KINDS[problem.severity](problem.message, hint=problem.hint, id=problem.id)
        for problem in problems
    ]


def _store() -> type[DriverSessionStore] | None:
    """Return the store of ``SESSION_ENGINE``; None if it is not over a driver of ours or a site's."""
    try:
        store = import_module(conf.site().engine).SessionStore
    except Exception:  # noqa: BLE001  (whatever an engine raises, Django's middleware tells it)
        return None
    is_ours = isinstance(store, type) and issubclass(store, DriverSessionStore)
    return store if is_ours else None


def _wrong_engine(engine: object) -> list[Problem]:
    """Report a ``SESSION_ENGINE`` that there is none of, or that is none."""
    if unknown := rules.unknown_engine(str(engine), ENGINES):
        return unknown
    try:
        module = import_module(engine)  # type: ignore[arg-type]  # whatever the settings say
    except ImproperlyConfigured:
        # It may need what an image build lacks: a secret.
        return []
    except ModuleNotFoundError as error:
        found = f"there is no module {error.name!r}"
    except Exception as error:  # noqa: BLE001  (whatever it raises as it is imported)
        found = f"{type(error).__name__} at its import"
    else:
        if hasattr(module, "SessionStore"):
            return []
        found = "it has none"
    return [rules.no_engine(engine, found, ENGINES)]


def _made_from(base: str, paths: Iterable[str]) -> list[str]:
    """Return those of *paths* that are the class of the path *base* or made from it.

    By name: to import a login middleware that nobody uses, its app would have to be installed.
    """
    found = []
    for path in paths:
        # What cannot be imported, Django tells when it starts.
        with contextlib.suppress(Exception):
            bases = inspect.getmro(import_string(path))
            if base in {f"{each.__module__}.{each.__qualname__}" for each in bases}:
                found.append(path)
    return found


def _unfit_serializer(path: str) -> list[Problem]:
    try:
        serializer = import_string(path)
    except ImproperlyConfigured:
        # It may need what an image build lacks: a secret.
        return []
    except Exception as error:  # noqa: BLE001  (whatever its module raises)
        return [rules.not_a_serializer(path, f"{type(error).__name__} at its import")]
    if not callable(serializer):
        return [rules.not_a_serializer(path, f"a {type(serializer).__name__}")]
    # A function that makes one is as good for Django; what it makes is not known here.
    verbs = ("dumps", "loads") if isinstance(serializer, type) else ()
    missing = [f"{verb}()" for verb in verbs if not callable(getattr(serializer, verb, None))]
    if missing:
        return [rules.not_a_serializer(path, f"no {' and no '.join(missing)}")]
    return []


def _unpickles(path: str) -> bool:
    """Does the serializer of *path* say so by its name or a base's, or do so?"""
    try:
        serializer = import_string(path)
        bases = inspect.getmro(serializer) if isinstance(serializer, type) else ()
        if any(base.__name__.endswith("PickleSerializer") for base in bases):
            return True
        return bool(serializer().loads(pickle.dumps(PICKLED)) == PICKLED)
    except Exception:  # noqa: BLE001  (JSON and all others that are right raise, each in its way)
        return False
