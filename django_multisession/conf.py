"""The only reader of settings: Django's and ours, as frozen values.

A wrong value is a system check (`checks.py`), never a traceback at import. Whoever skipped the
checks gets `ImproperlyConfigured` at first use, with every problem in it at once.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from django.conf import global_settings, settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.utils.encoding import force_bytes

from django_multisession import codec, keys, sealing
from django_multisession.configuration import Config, Cookie, Problem, Site
from django_multisession.expiry import DEFAULT_ABSOLUTE_TIMEOUT, LONGEST_AGE, Policy

#: How the names of our settings begin.
OURS = "MULTISESSION_"

ON_OUTAGE_CHOICES = ("error", "anonymous")

DEFAULT_MAX_SIZE = 1024 * 1024
LEAST_MAX_SIZE = 1024
#: A MongoDB document holds 16 MiB; the record's other fields need a little of it.
GREATEST_MAX_SIZE = codec.INFLATED_LIMIT - 64 * 1024

_NOT_GIVEN = object()


@functools.cache
def config() -> Config:
    """Return what the settings say.

    Raises:
        ImproperlyConfigured: At least one ``MULTISESSION_*`` setting is wrong; says which.
    """
    # An empty fallback ("".split(",") makes one) would let anybody sign.
    fallbacks = [secret for secret in settings.SECRET_KEY_FALLBACKS if secret]
    return _read((settings.SECRET_KEY, *fallbacks))


def options_of(engine: str) -> Mapping[str, Any]:
    """Return the options of *engine*'s server; needs no ``SECRET_KEY``, as checks may have none.

    Raises:
        ImproperlyConfigured: See config().
    """
    options: Mapping[str, Any] = getattr(_read(()), engine)
    return options


def problems() -> list[Problem]:
    """Return what is wrong with the ``MULTISESSION_*`` settings; empty if nothing is."""
    reader = _Reader()
    # Without a secret: Django lets checks run without one, where an image is built for example.
    reader.read(())
    return reader.problems


def site() -> Site:
    """Return what the checks judge; needs no ``SECRET_KEY``, as checks may have none."""
    reader = _Reader()
    return Site(
        config=reader.read(()),
        engine=settings.SESSION_ENGINE,
        serializer=settings.SESSION_SERIALIZER,
        middleware=tuple(settings.MIDDLEWARE),
        installed_apps=tuple(settings.INSTALLED_APPS),
        our_settings=frozenset(reader.names),
        given_settings=frozenset(name for name in dir(settings) if name.startswith(OURS)),
    )


def uses_engine(name: str) -> bool:
    """Is ``SESSION_ENGINE`` our engine *name*?"""
    return bool(f"django_multisession.engines.{name}" == settings.SESSION_ENGINE)


def _read(secrets: Sequence[str | bytes]) -> Config:
    reader = _Reader()
    read = reader.read(secrets)
    if reader.problems:
        raise ImproperlyConfigured(" ".join(problem.message for problem in reader.problems))
    return read


class _Reader:
    """Reads every setting once, noting what is wrong and going on with the default."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        #: Of the settings that there are.
        self.names: set[str] = set()

    def read(self, secrets: Sequence[str | bytes]) -> Config:
        cookie_age = self._cookie_age()
        idle = self._timeout("MULTISESSION_IDLE_TIMEOUT", "E001", timedelta(seconds=cookie_age))
        absolute = self._timeout(
            "MULTISESSION_ABSOLUTE_TIMEOUT",
            "E002",
            max(DEFAULT_ABSOLUTE_TIMEOUT, timedelta(seconds=cookie_age)),
        )
        anonymous = self._timeout("MULTISESSION_ANONYMOUS_TIMEOUT", "E003", None)
        touch_interval = self._timeout("MULTISESSION_TOUCH_INTERVAL", "E004", None)
        if idle and touch_interval and touch_interval >= idle:
            self._problem(
                "E005",
                "MULTISESSION_TOUCH_INTERVAL must be shorter than the idle timeout of "
                f"{idle.total_seconds():g} seconds (got {touch_interval.total_seconds():g}).",
                "Remove the setting: the default is a tenth of the idle timeout, at most a minute.",
            )
        return Config(
            policy=Policy(
                idle_timeout=idle,
                absolute_timeout=absolute,
                absolute_is_configured=hasattr(settings, "MULTISESSION_ABSOLUTE_TIMEOUT"),
                anonymous_timeout=anonymous,
                touch_interval=touch_interval,
                idle_is_configured=hasattr(settings, "MULTISESSION_IDLE_TIMEOUT"),
            ),
            cycle_on_login=self._value(
                "MULTISESSION_CYCLE_ON_LOGIN",
                "E006",
                True,
                "True or False",
                lambda value: isinstance(value, bool),
            ),
            on_outage=self._value(
                "MULTISESSION_ON_OUTAGE",
                "E007",
                "error",
                '"error" or "anonymous"',
                lambda value: value in ON_OUTAGE_CHOICES,
            ),
            cookie=Cookie(
                name=settings.SESSION_COOKIE_NAME,
                path=settings.SESSION_COOKIE_PATH,
                domain=settings.SESSION_COOKIE_DOMAIN,
                is_secure=bool(settings.SESSION_COOKIE_SECURE),
                is_http_only=bool(settings.SESSION_COOKIE_HTTPONLY),
                same_site=settings.SESSION_COOKIE_SAMESITE or None,
            ),
            cookie_age=cookie_age,
            expire_at_browser_close=settings.SESSION_EXPIRE_AT_BROWSER_CLOSE,
            save_every_request=settings.SESSION_SAVE_EVERY_REQUEST,
            max_size=self._value(
                "MULTISESSION_MAX_SIZE",
                "E008",
                DEFAULT_MAX_SIZE,
                f"a number of bytes from {LEAST_MAX_SIZE} to {GREATEST_MAX_SIZE}",
                lambda value: (
                    isinstance(value, int)
                    and not isinstance(value, bool)
                    and LEAST_MAX_SIZE <= value <= GREATEST_MAX_SIZE
                ),
            ),
            redis=self._options(
                "MULTISESSION_REDIS",
                "E009",
                'a dict with either "ALIAS" or "URL"',
                lambda value: ("ALIAS" in value) != ("URL" in value),
            ),
            mongodb=self._options(
                "MULTISESSION_MONGODB", "E010", 'a dict with "URI"', lambda value: "URI" in value
            ),
            signing_keys=tuple(keys.derive(force_bytes(secret)) for secret in secrets),
            sealing_keys=tuple(sealing.derive(force_bytes(secret)) for secret in secrets),
        )

    def _cookie_age(self) -> float:
        """Read Django's setting, which is the default of two of ours."""
        age: Any = settings.SESSION_COOKIE_AGE
        if isinstance(age, int | float) and not isinstance(age, bool) and 1 <= age <= LONGEST_AGE:
            return float(age)
        self._problem(
            "E012",
            f"SESSION_COOKIE_AGE must be a number of seconds, at least one (got {age!r}).",
            "Django's default is two weeks, 1209600.",
        )
        return float(global_settings.SESSION_COOKIE_AGE)

    def _timeout(self, name: str, check_id: str, default: timedelta | None) -> timedelta | None:
        value = self._given(name, default)
        if value is None:
            return None
        if isinstance(value, int | float) and not isinstance(value, bool):
            try:
                value = timedelta(seconds=value)
            except (OverflowError, ValueError):
                value = timedelta(0)
        if isinstance(value, timedelta) and value >= timedelta(seconds=1):
            return value
        self._problem(
            check_id,
            f"{name} must be a timedelta or a number of seconds, at least one second, or None "
            f"(got {getattr(settings, name)!r}).",
            "Remove the setting for the default; timedelta comes from the datetime module.",
        )
        return default

    def _value(
        self,
        name: str,
        check_id: str,
        default: Any,
        expected: str,
        is_right: Callable[[Any], bool],
    ) -> Any:
        value = self._given(name, default)
        if is_right(value):
            return value
        self._problem(
            check_id,
            f"{name} must be {expected} (got {value!r}).",
            f"Remove the setting for the default, {default!r}.",
        )
        return default

    def _options(
        self,
        name: str,
        check_id: str,
        expected: str,
        is_right: Callable[[dict[str, Any]], bool],
    ) -> Mapping[str, Any]:
        value = self._given(name, _NOT_GIVEN)
        if value is _NOT_GIVEN:
            if uses_engine(name.removeprefix(OURS).lower()):
                self._problem(
                    check_id,
                    f"{name} must be {expected} (got nothing) for SESSION_ENGINE "
                    f"{settings.SESSION_ENGINE!r}.",
                    "docs/reference/settings.md shows one.",
                )
            return types.MappingProxyType({})
        if isinstance(value, dict) and all(isinstance(key, str) for key in value):
            if is_right(value):
                return types.MappingProxyType(dict(value))
            found = f"a dict with {', '.join(sorted(value)) or 'nothing in it'}"
        else:
            found = type(value).__name__
        # Its values may hold passwords: what was found is told by type and names.
        self._problem(
            check_id,
            f"{name} must be {expected} (got {found}).",
            "docs/reference/settings.md shows one.",
        )
        return types.MappingProxyType({})

    def _given(self, name: str, default: Any) -> Any:
        self.names.add(name)
        return getattr(settings, name, default)

    def _problem(self, check_id: str, message: str, hint: str) -> None:
        self.problems.append(Problem(f"multisession.{check_id}", message, hint))


def _forget(*, setting: str, **_kwargs: Any) -> None:
    if setting.startswith((OURS, "SECRET_KEY", "SESSION_")):
        config.cache_clear()


setting_changed.connect(_forget, dispatch_uid="django_multisession.conf")
