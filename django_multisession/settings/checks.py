"""System checks: what is wrong with the settings, all together at start-up; with the server, at deployment.

None of them needs ``SECRET_KEY``: Django lets checks run without one, where an image is built.
"""

from __future__ import annotations

import contextlib
import inspect
import pickle
from collections.abc import Iterable, Iterator
from importlib import import_module
from typing import Any, NamedTuple

from django.apps import apps
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.urls import get_resolver
from django.utils import timezone
from django.utils.module_loading import import_string

from django_multisession.core.problems import Problem, Severity
from django_multisession.core.records import NEVER, to_milliseconds
from django_multisession.drivers.base import Enumerable, is_indexed
from django_multisession.engine import Engine
from django_multisession.engines import NAMES
from django_multisession.settings import conf
from django_multisession.settings.check_ids import Check
from django_multisession.settings.reader import ENGINE_PREFIX, OURS
from django_multisession.settings.rules import cookie, middleware, migration, options, pages
from django_multisession.settings.rules import settings as rules
from django_multisession.settings.values import Site
from django_multisession.sources import BrokenSource, CookieSource, Source, source_of
from django_multisession.store import DriverSessionStore

#: What only a serializer that unpickles makes a dict of.
PICKLED = {"multisession": "does it unpickle?"}

KINDS = {
    Severity.ERROR: checks.Error,
    Severity.WARNING: checks.Warning,
    Severity.INFO: checks.Info,
}

#: A timeout that one of them reports has its default meanwhile.
TIMEOUTS = {
    Check.IDLE_TIMEOUT.id,
    Check.ABSOLUTE_TIMEOUT.id,
    Check.REMEMBERED_ABSOLUTE_TIMEOUT.id,
    Check.ANONYMOUS_IDLE_TIMEOUT.id,
    Check.COOKIE_AGE.id,
}

#: The pages of a user's sessions, as a site includes them, and those of the admin.
PAGES, PAGES_APP_NAME = "django_multisession.user_sessions.urls", "user_sessions"
ADMIN_APP = "django_multisession.session_admin"

#: A migration that one of them reports isn't judged further.
MIGRATION = {Check.MIGRATE_FROM.id, Check.MIGRATE_SINCE.id, Check.MIGRATE_UNTIL.id}


def check_settings(**_kwargs: Any) -> list[checks.CheckMessage]:
    """Report every ``MULTISESSION_*`` setting that is wrong, or that there is none of."""
    site = conf.site()
    problems = conf.problems()
    ids = {problem.id for problem in problems}
    if TIMEOUTS.isdisjoint(ids):
        problems += rules.timeouts_without_effect(site.config.policy)
    if MIGRATION.isdisjoint(ids):
        problems += _migration_problems(site)
    settings = {engine.setting for engine in _engines() if engine.setting.startswith(OURS)}
    return _messages(
        [
            *problems,
            *_engine_problems(),
            *rules.resolvers_without_effect(site.config.resolvers),
            *rules.unknown_settings(site.our_settings | settings, site.given_settings),
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
        problems += cookie.contradictions(site.cookie)
        problems += _unfit_serializer(site.serializer)
        problems += middleware.hidden_command([app.name for app in apps.get_app_configs()])
    return _messages(problems)


def check_installed(**_kwargs: Any) -> list[checks.CheckMessage]:
    """Report a missing engine library, options that it doesn't take, and what it can't keep."""
    if _has_wrong_settings():
        return []
    problems = [problem for engine in _engines_in_use() for problem in _not_opened(engine)]
    return _messages(problems or [*_unfit_target(), *_limit_not_indexed()])


def _limit_not_indexed() -> list[Problem]:
    """Return what speaks against a limit of a user's sessions on the site's engine."""
    engine, site = _chosen_engine(), conf.site()
    if engine is None or site.config.max_sessions is None or is_indexed(engine.driver()):
        return []
    return [rules.limit_not_indexed(site.engine)]


def _unfit_target() -> list[Problem]:
    """Return what speaks against a migration to the site's engine."""
    engine = _chosen_engine()
    # Of an engine for development nothing is expected.
    if engine is None or not engine.is_shared or conf.migration() is None:
        return []
    can = engine.driver().capabilities
    if can.survives_restart and can.saves_conditionally:
        return []
    return [migration.unfit_target(conf.given("SESSION_ENGINE"))]


def check_pages(**_kwargs: Any) -> list[checks.CheckMessage]:
    """Report pages of sessions on an engine that can't find sessions."""
    name = conf.given("SESSION_ENGINE")
    if _has_wrong_settings() or _wrong_engine(name):
        return []
    can = _lists_sessions()
    problems = []
    if not (can.of_user and can.of_all) and apps.is_installed(ADMIN_APP):
        problems.append(pages.admin_without_index(name))
    if not can.of_user and _includes_pages():
        problems.append(pages.pages_without_index(name))
    return _messages(problems)


class Lists(NamedTuple):
    """Which sessions an engine lists: those of a user, and those of all."""

    of_user: bool
    of_all: bool


def _lists_sessions() -> Lists:
    store, chosen = _store(), _chosen_engine()
    if store is None:
        return Lists(of_user=False, of_all=False)
    if chosen is None or list(_not_opened(chosen)):
        # Its driver isn't known here, or a check of its own reports that there is none.
        return Lists(of_user=True, of_all=True)
    driver = chosen.driver()
    return Lists(of_user=is_indexed(driver), of_all=isinstance(driver, Enumerable))


def _includes_pages() -> bool:
    # What is wrong with the URLs, Django's own checks report.
    with contextlib.suppress(Exception):
        resolver = get_resolver()
        names = resolver.app_dict.get(PAGES_APP_NAME, [])
        included = [resolver.namespace_dict[name][1].urlconf_name for name in names]
        return PAGES in {getattr(each, "__name__", each) for each in included}
    return False


def _not_opened(engine: Engine) -> Iterator[Problem]:
    try:
        engine.driver()
    except ImproperlyConfigured as error:
        yield rules.not_opened(str(error), _hint_at(error, engine))


def _hint_at(error: ImproperlyConfigured, engine: Engine) -> str:
    """Return what lets *engine*, or the part that *error* names, be opened."""
    parts = engine.with_parts()
    for part in parts:
        if part.app and f'"{part.app}"' in str(error):
            return f'INSTALLED_APPS += ["{part.app}"], then run: manage.py migrate'
    if not isinstance(error.__cause__, ImportError):
        return engine.example
    named = (part.install for part in parts if part.install in str(error))
    install = next(filter(None, named), engine.install)
    return f"pip install '{install}'" if install else engine.example


def check_deployment(**_kwargs: Any) -> list[checks.CheckMessage]:
    """Report what leaves sessions unprotected; ``check --deploy`` only."""
    site = conf.site()
    if _store() is not None:
        problems = list(rules.exposures(site))
        chosen = _chosen_engine()
        if chosen is not None:
            problems += _exposures_of(chosen)
        if site.config.migration is not None:
            problems += migration.endless(site.config.migration)
        if _unpickles(site.serializer):
            problems.append(rules.unpickling(site.serializer))
        problems += middleware.djangos_middleware(
            _made_from(middleware.DJANGOS_MIDDLEWARE, site.middleware),
            _made_from(middleware.OUR_MIDDLEWARE, site.middleware),
        )
        return _messages(problems)
    if _wrong_engine(site.engine):
        return []
    return _messages([rules.foreign_engine(site.engine, site.config.migration)])


def _exposures_of(chosen: Engine) -> Iterator[Problem]:
    for engine in chosen.with_parts():
        if not engine.is_shared:
            is_part = engine is not chosen
            name = engine.name if is_part else conf.given("SESSION_ENGINE")
            yield rules.unshared(name, chosen.setting if is_part else "SESSION_ENGINE")
        if engine.setting and not _has_wrong_settings():
            yield from options.password_in_address(engine.setting, engine.options())


def check_server(**_kwargs: Any) -> list[checks.CheckMessage]:
    """Ask the engine's server whether it is fit to hold sessions; ``check --deploy`` only."""
    store = _store()
    if store is None or _has_wrong_settings() or check_installed():
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
        store = import_module(conf.given("SESSION_ENGINE")).SessionStore
    except Exception:  # noqa: BLE001  (whatever an engine raises, Django's middleware tells it)
        return None
    is_ours = isinstance(store, type) and issubclass(store, DriverSessionStore)
    return store if is_ours else None


def _chosen_engine() -> Engine | None:
    """Return the engine whose driver keeps the site's sessions; None if its store finds another."""
    store = _store()
    if store is None or _finds_its_driver(store):
        return None
    return store.engine


def _engines_in_use() -> list[Engine]:
    """Return the site's engine, and the one whose sessions are adopted or go back to the site's."""
    chosen, found = _chosen_engine(), conf.migration()
    used = [] if chosen is None else [chosen]
    if found is not None and to_milliseconds(timezone.now()) < found.until_ms:
        store = source_of(found.engine).store
        is_ours = isinstance(store, type) and issubclass(store, DriverSessionStore)
        if is_ours and store.engine is not None and not _finds_its_driver(store):
            used.append(store.engine)
    return used


def _finds_its_driver(store: type[DriverSessionStore]) -> bool:
    """Does *store* override `get_driver`, for a driver per tenant for example?"""
    own = inspect.getattr_static(store, "get_driver")
    return own is not inspect.getattr_static(DriverSessionStore, "get_driver")


def _engines() -> list[Engine]:
    """Return this package's engines, and the site's."""
    modules = [import_module(f"{ENGINE_PREFIX}{name}") for name in NAMES]
    found = [module.SessionStore.engine for module in modules]
    return [*found, *(engine for engine in _engines_in_use() if engine not in found)]


def _engine_problems() -> list[Problem]:
    used = _engines_in_use()
    return [
        problem for engine in _engines() for problem in engine.problems(is_chosen=engine in used)
    ]


def _has_wrong_settings() -> bool:
    found = (*conf.problems(), *_engine_problems())
    return any(problem.severity is Severity.ERROR for problem in found)


def _wrong_engine(engine: object) -> list[Problem]:
    """Report a ``SESSION_ENGINE`` that there is none of, or that is none."""
    if unknown := rules.unknown_engine(str(engine), NAMES):
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
            found = _unusable(Source(module.SessionStore))
            return [rules.no_engine(engine, found, NAMES)] if found else []
        found = "it has none"
    return [rules.no_engine(engine, found, NAMES)]


def _migration_problems(site: Site) -> list[Problem]:
    found, now = site.config.migration, to_milliseconds(timezone.now())
    problems = list(migration.without_effect(found, site.given_settings, now))
    if found is None:
        return problems
    source = source_of(found.engine)
    reason = source.reason if isinstance(source, BrokenSource) else _unusable(source)
    if reason:
        problems.append(migration.unusable_source(found.engine, reason))
    if isinstance(source, CookieSource) and found.since_ms >= NEVER:
        problems.append(migration.unknown_beginning(found.engine))
    return problems


def _unusable(source: Source) -> str:
    """Return why the settings don't let the engine be opened; empty if they do."""
    try:
        source.require()
    except ImproperlyConfigured as error:
        return f"{type(error.__cause__).__name__} as it is opened"
    return ""


def _made_from(base: str, paths: Iterable[str]) -> list[str]:
    """Return those of *paths* that are the class of the path *base* or made from it.

    By name: to import a login middleware that no one uses, its app would have to be installed.
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
