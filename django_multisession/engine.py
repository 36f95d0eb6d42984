"""An engine as one object: settings, checks, drivers and docs ask it.

One driver per engine and process is made at first use, of what the engine's setting holds.
"""

from __future__ import annotations

import atexit
import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import import_module
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.utils import timezone

from django_multisession.core.locks import ForkSafeLock
from django_multisession.core.problems import Problem, Severity
from django_multisession.core.records import to_milliseconds
from django_multisession.core.secret import SecretOptions
from django_multisession.drivers.base import Driver
from django_multisession.drivers.listed.listing import Listing
from django_multisession.settings import conf
from django_multisession.settings.rules.options import NOT_GIVEN, Keys, problems_of, unfit_engine

__all__ = [
    "LISTED_IN",
    "Engine",
    "EngineOption",
    "Keys",
    "close_drivers",
    "engine_at",
    "machine_clock",
    "open_listing",
]

_lock = ForkSafeLock()
_drivers: dict[Engine, Driver] = {}


_imported_at = time.time()


def machine_clock() -> float:
    """Return the seconds since 1970: for servers that are told a moment at which a record goes."""
    # A test may freeze the clock years ago. A server would remove what it stores.
    return max(time.time(), _imported_at)


def _accepts(_options: Mapping[str, Any]) -> list[Problem]:
    return []


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class EngineOption:
    """An option that names another engine.

    Attributes:
        name: The option's key in the dict of the engine's setting.
        expected: What the other engine must be, for a message.
        fits: Returns whether an engine that keeps sessions in a store can be named.
        is_required: Must the option be there?
    """

    name: str
    expected: str
    fits: Callable[[Engine], bool]
    is_required: bool = False

    def engine(self, options: Mapping[str, Any]) -> Engine | None:
        """Return the engine that *options* name; None if they name none that fits."""
        engine = engine_at(path := options.get(self.name))
        return engine if engine and keeps_sessions(path) and self.fits(engine) else None

    def problems(self, engine: Engine, options: Mapping[str, Any]) -> Iterator[Problem]:
        """Yield what is wrong with the option in *options*, those of *engine*."""
        is_given = self.is_required or options.get(self.name) is not None
        if is_given and self.engine(options) is None:
            found = options.get(self.name, NOT_GIVEN)
            yield unfit_engine(engine.setting, self.name, self.expected, found, engine.example)


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Engine:
    """A kind of store, as `engine` of a ``SessionStore``.

    Attributes:
        name: For people.
        open: Makes the driver of the options, without I/O. It raises `ImproperlyConfigured` where
            they are wrong, from an `ImportError` where the client library isn't installed.
        setting: Name of the setting that holds the options; empty if there is none.
        keys: Which keys that may have; None if all. The values of `OPTIONS` are the client's.
        engine_options: The options that name other engines. The settings of those are checked and
            watched with its own.
        judge: Returns what else is wrong with the options. It needs no client library.
        reopens_on: Further settings whose override closes the driver.
        install: What ``pip install`` takes for the client library; empty if it needs none.
        app: Which app with migrations has to be in ``INSTALLED_APPS``; empty if none.
        example: The line of settings that most sites need.
        is_shared: Do all processes see its sessions, and do these survive a restart of the site?
        is_indexed: Does it find the sessions of a user by itself, so that it may list another
            engine's?
    """

    name: str
    open: Callable[[SecretOptions], Driver]
    setting: str = ""
    keys: Keys | None = None
    engine_options: tuple[EngineOption, ...] = ()
    judge: Callable[[Mapping[str, Any]], Iterable[Problem]] = _accepts
    reopens_on: tuple[str, ...] = ()
    install: str = ""
    app: str = ""
    example: str = ""
    is_shared: bool = True
    is_indexed: bool = False

    def driver(self) -> Driver:
        """Return the engine's driver, the same one for every thread of the process.

        Raises:
            ImproperlyConfigured: The options are wrong, or the client library isn't installed.
        """
        driver = _drivers.get(self)
        if driver is None:
            with _lock:
                driver = _drivers.get(self)
                if driver is None:
                    driver = _drivers[self] = self.open_driver()
        return driver

    def problems(self, *, is_chosen: bool) -> list[Problem]:
        """Return what is wrong with the setting, which only the site's engine must have."""
        if self._given() is NOT_GIVEN and not is_chosen:
            return []
        # No name for the options: an error page shows what frames hold, should a judge raise.
        wrong = problems_of(self.setting, self._given(), self.keys, self.example)
        wrong = wrong or [
            found
            for option in self.engine_options
            for found in option.problems(self, SecretOptions(self._given()))
        ]
        return wrong or [*self.judge(SecretOptions(self._given())), *self._missing_settings()]

    def _missing_settings(self) -> Iterator[Problem]:
        for part in self.with_parts()[1:]:
            # What is wrong with a setting that is given is reported for any site.
            if not part.problems(is_chosen=False):
                yield from part.problems(is_chosen=True)

    def options(self) -> SecretOptions:
        """Return what the setting holds; needs no ``SECRET_KEY``, as checks may have none.

        Raises:
            ImproperlyConfigured: It is wrong; says all that is.
        """
        errors = [
            problem.message
            for problem in self.problems(is_chosen=True)
            if problem.severity is Severity.ERROR
        ]
        if errors:
            raise ImproperlyConfigured(" ".join(errors))
        return SecretOptions(self._given())

    def _given(self) -> Any:
        given = conf.given(self.setting) if self.setting else {}
        is_optional = self.keys is not None and not self.keys.one_of
        return {} if given is NOT_GIVEN and is_optional else given

    def parts(self, options: Mapping[str, Any]) -> list[Engine]:
        """Return the engines that *options*, which may be wrong, name."""
        found = [option.engine(options) for option in self.engine_options]
        return [engine for engine in found if engine is not None]

    def with_parts(self) -> list[Engine]:
        """Return the engine and its parts, which the setting names."""
        given = self._given()
        return [self, *self.parts(given if isinstance(given, Mapping) else {})]

    def open_driver(self) -> Driver:
        """Return a driver of its own for the caller, who closes it; see `driver`."""
        try:
            return self.open(self.options())
        except ImproperlyConfigured as error:
            problem, cause = str(error), error.__cause__
        except Exception as error:  # noqa: BLE001  (whatever a client library raises at wrong options)
            cause = None
            problem = (
                f"{self.setting or self.name} must hold options that its client takes "
                f"(got {type(error).__name__})."
            )
        # Raised out here: the frames behind the error hold the options, a password among them.
        raise ImproperlyConfigured(problem) from (cause if isinstance(cause, ImportError) else None)


#: Of an engine that can't find the sessions of a user: names one that lists them.
LISTED_IN = EngineOption(
    name="LISTED_IN",
    expected="an engine that finds the sessions of a user and that all processes share",
    fits=lambda engine: engine.is_indexed and engine.is_shared,
)


def open_listing(options: Mapping[str, Any]) -> Listing | None:
    """Return what lists the sessions of an engine of *options*; None if they name nothing that does."""
    engine = LISTED_IN.engine(options)
    if engine is None:
        return None
    driver: Any = engine.open_driver()
    return Listing(driver, lambda: to_milliseconds(timezone.now()))


def engine_at(path: object) -> Engine | None:
    """Return the engine of the module *path*, as ``SESSION_ENGINE`` names one; None if it has none."""
    try:
        engine = import_module(path).SessionStore.engine  # type: ignore[arg-type]  # whatever is set
    except (ImportError, AttributeError, TypeError, ValueError):
        return None
    return engine if isinstance(engine, Engine) else None


def keeps_sessions(path: object) -> bool:
    """Does the engine of the module *path*, which has one, keep sessions, rather than its clients?"""
    store = import_module(path).SessionStore  # type: ignore[arg-type]  # as above
    return not getattr(store, "_is_carried", False)


def close_drivers() -> None:
    """Close every driver of this process; the next use opens a new one."""
    with _lock:
        drivers = list(_drivers.values())
        _drivers.clear()
    for driver in drivers:
        driver.close()


def _close_changed(*, setting: str, **_kwargs: Any) -> None:
    with _lock:
        changed = [
            _drivers.pop(engine)
            for engine in list(_drivers)
            for part in engine.with_parts()
            if engine in _drivers and setting in {part.setting, *part.reopens_on}
        ]
    for driver in changed:
        driver.close()


# PyMongo warns of a client that the interpreter's end finds open.
atexit.register(close_drivers)
setting_changed.connect(_close_changed, dispatch_uid="django_multisession.engine")
