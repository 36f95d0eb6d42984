"""The only reader of settings: Django's and ours, as frozen values.

A wrong value is a system check (`checks`), never a traceback at import. A site that
skipped the checks gets `ImproperlyConfigured` at first use, with every problem in it.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import operator
from collections.abc import Callable
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

from django.conf import global_settings, settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.utils import timezone
from django.utils.encoding import force_bytes
from django.utils.functional import Promise
from django.utils.module_loading import import_string
from django.views.decorators.debug import sensitive_variables

from django_multisession.core import encryption, keys, limits, payloads, signing
from django_multisession.core.encryption import NO_KEYS, Ring
from django_multisession.core.lifetime import DEFAULT_ABSOLUTE_TIMEOUT, LONGEST_TIMEOUT, Policy
from django_multisession.core.problems import Problem
from django_multisession.core.records import NEVER, to_milliseconds
from django_multisession.core.secret import MacKey
from django_multisession.settings.check_ids import Check
from django_multisession.settings.reader import OURS, SettingReader, in_seconds
from django_multisession.settings.rules.options import NOT_GIVEN
from django_multisession.settings.values import Config, Cookie, Migration, Site

#: What `config` reads, and `current` looks at.
READ_ONCE = (
    "MULTISESSION_ABSOLUTE_TIMEOUT",
    "MULTISESSION_AT_LIMIT",
    "MULTISESSION_ALWAYS_CYCLE_ON_LOGIN",
    "MULTISESSION_ANONYMOUS_IDLE_TIMEOUT",
    "MULTISESSION_CLIENT_ADDRESS",
    "MULTISESSION_CONFLICT_RESOLVERS",
    "MULTISESSION_ENCRYPTION_KEYS",
    "MULTISESSION_ENCRYPTION_WRITES",
    "MULTISESSION_END_SESSIONS_ON",
    "MULTISESSION_IDLE_TIMEOUT",
    "MULTISESSION_MAX_SESSIONS",
    "MULTISESSION_MAX_SIZE",
    "MULTISESSION_MIGRATE_FROM",
    "MULTISESSION_MIGRATE_SINCE",
    "MULTISESSION_MIGRATE_UNTIL",
    "MULTISESSION_NAMESPACE",
    "MULTISESSION_ON_INTERRUPTED",
    "MULTISESSION_ON_OUTAGE",
    "MULTISESSION_REAUTHENTICATION_URL",
    "MULTISESSION_RECORD_ADDRESS",
    "MULTISESSION_RECORD_USER_AGENT",
    "MULTISESSION_REMEMBERED_ABSOLUTE_TIMEOUT",
    "MULTISESSION_TOUCH_INTERVAL",
    "SECRET_KEY",
    "SECRET_KEY_FALLBACKS",
    "SESSION_COOKIE_AGE",
    "SESSION_EXPIRE_AT_BROWSER_CLOSE",
    "SESSION_SAVE_EVERY_REQUEST",
)

_COOKIE = (
    "SESSION_COOKIE_NAME",
    "SESSION_COOKIE_PATH",
    "SESSION_COOKIE_DOMAIN",
    "SESSION_COOKIE_SECURE",
    "SESSION_COOKIE_HTTPONLY",
    "SESSION_COOKIE_SAMESITE",
)
#: Django's settings themselves, for what is read at each use.
live: Any = settings
#: Where they keep what was read, until it is assigned or overridden: to ask `live` is a call of Python
#: code for each setting.
kept: dict[str, Any] = vars(settings)
_cookie_in: Callable[[dict[str, Any]], tuple[Any, ...]] = operator.itemgetter(*_COOKIE)

#: Returns the object behind them. It is another one while settings are overridden, and what is
#: assigned goes into its ``__dict__``.
_wrapped: Callable[[], Any] = functools.partial(object.__getattribute__, settings, "_wrapped")

EMPTY_KEYS: signing.RecordKeys = MappingProxyType({})

# The first of each is the default.
ON_OUTAGE_CHOICES = ("error", "anonymous")
ON_INTERRUPTED_CHOICES = ("error", "ignore")
AT_LIMIT_CHOICES = (limits.OLDEST, limits.LEAST_USED, limits.DENY)

#: How much of an address a login records.
RECORD_ADDRESS_CHOICES = (None, "truncated", "full")

#: Changes of a user that end sessions: all by default.
END_SESSIONS_ON = ("password", "deactivated", "deleted")

#: The view that comes along.
REAUTHENTICATION_URL = "user_sessions:reauthenticate"

DEFAULT_MAX_SIZE = 1024 * 1024
LEAST_MAX_SIZE = 1024
#: A MongoDB document holds 16 MiB; the record's other fields need a little of it.
GREATEST_MAX_SIZE = payloads.INFLATED_LIMIT - 64 * 1024


class _Values(tuple[Any, ...]):
    """Values of settings. No text that is made of them holds one, such as ``SECRET_KEY``."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{len(self)} values of settings>"


@functools.cache
def config() -> Config:
    """Return what the settings say.

    Raises:
        ImproperlyConfigured: At least one ``MULTISESSION_*`` setting is wrong; says which.
    """
    given("SESSION_ENGINE")  # Django sets settings up at the first use of one.
    # Looked at before anything is read: the next current() sees what is assigned meanwhile. Nothing
    # is a name's value before all is read: reporters of a wrong setting walk through those.
    (values, names, others), read = (
        _values(),
        _read(
            _derived(keys.derive),
            signing.by_id(_derived(signing.derive)),
            encryption.ring_of(_derived(encryption.derive)),
        ),
    )
    if read.migration is not None:
        read = dataclasses.replace(read, adopting_keys=_derived(keys.derive_adopting))
    return dataclasses.replace(read, read_from=values, names_given=names, names_not_given=others)


def current() -> Config:
    """Return `config()`; reads it again if a setting was assigned since, as Django does for each use.

    A session asks once, when it is first used: ``settings.X = ...`` sends no signal.

    Raises:
        ImproperlyConfigured: See config().
    """
    held, said = config(), _wrapped()
    now = said.__dict__
    # A site gives few of them: that the others still aren't there is one question for all.
    if held.read_from != (
        said,
        *map(now.get, held.names_given, itertools.repeat(NOT_GIVEN)),
    ) or not (now.keys().isdisjoint(held.names_not_given)):
        config.cache_clear()
        held = config()
    return held


def cookie() -> tuple[Any, ...]:
    """Return name, path, domain, ``Secure``, ``HttpOnly`` and ``SameSite`` of the cookie, as they are now.

    Django reads them for each response, and sites of several domains assign them in a middleware.
    """
    try:
        return _cookie_in(kept)
    except KeyError:
        # Reading keeps them.
        return tuple(getattr(settings, name) for name in _COOKIE)


def serializer() -> Any:
    """Return the class that ``SESSION_SERIALIZER`` names; read for each session, as Django does."""
    return _imported(kept.get("SESSION_SERIALIZER") or settings.SESSION_SERIALIZER)


@functools.lru_cache(maxsize=16)
def _imported(path: str) -> Any:
    return import_string(path)


def given(name: str) -> Any:
    """Return the value of the setting *name*; `NOT_GIVEN` if the site has none."""
    return getattr(settings, name, NOT_GIVEN)


def problems() -> list[Problem]:
    """Return what is wrong with the ``MULTISESSION_*`` settings; empty if nothing is."""
    reader = SettingReader(settings)
    # Without a secret: Django lets checks run without one, where an image is built for example.
    _config(reader)
    return reader.problems


def migration() -> Migration | None:
    """Return the migration that the settings ask for, without a ``SECRET_KEY``."""
    return _migration(SettingReader(settings))


def site() -> Site:
    """Return what the checks judge; needs no ``SECRET_KEY``, as checks may have none."""
    reader = SettingReader(settings)
    return Site(
        config=_config(reader),
        cookie=Cookie(
            name=settings.SESSION_COOKIE_NAME,
            path=settings.SESSION_COOKIE_PATH,
            domain=settings.SESSION_COOKIE_DOMAIN,
            is_secure=bool(settings.SESSION_COOKIE_SECURE),
            is_http_only=bool(settings.SESSION_COOKIE_HTTPONLY),
            same_site=settings.SESSION_COOKIE_SAMESITE or None,
        ),
        engine=settings.SESSION_ENGINE,
        serializer=settings.SESSION_SERIALIZER,
        middleware=tuple(settings.MIDDLEWARE),
        installed_apps=tuple(settings.INSTALLED_APPS),
        our_settings=frozenset(reader.names),
        given_settings=frozenset(name for name in dir(settings) if name.startswith(OURS)),
    )


@sensitive_variables()
def _derived(derive: Callable[[bytes], MacKey]) -> tuple[MacKey, ...]:
    """Return what *derive* makes of ``SECRET_KEY`` and its fallbacks.

    Apart from the rest: an error mail of a wrong setting shows the locals of what reads it.
    """
    # An empty fallback ("".split(",") makes one) would let anyone sign.
    secrets = (settings.SECRET_KEY, *filter(None, settings.SECRET_KEY_FALLBACKS))
    return tuple(map(derive, map(force_bytes, secrets)))


def _values() -> tuple[_Values, tuple[str, ...], frozenset[str]]:
    """Return what an assignment or an override would change: values, their names, and the other names."""
    said = _wrapped()
    names = tuple(name for name in READ_ONCE if name in said.__dict__)
    values = _Values((said, *map(said.__dict__.get, names)))
    return values, names, frozenset(READ_ONCE).difference(names)


def _read(
    signing_keys: tuple[MacKey, ...] = (),
    record_keys: signing.RecordKeys = EMPTY_KEYS,
    cookie_keys: Ring = NO_KEYS,
) -> Config:
    reader = SettingReader(settings)
    read = _config(reader, signing_keys, record_keys, cookie_keys)
    if reader.problems:
        raise ImproperlyConfigured(" ".join(problem.message for problem in reader.problems))
    return read


def _config(
    reader: SettingReader,
    signing_keys: tuple[MacKey, ...] = (),
    record_keys: signing.RecordKeys = EMPTY_KEYS,
    cookie_keys: Ring = NO_KEYS,
) -> Config:
    return Config(
        policy=_policy(reader),
        cycle_on_login=reader.value(
            "MULTISESSION_ALWAYS_CYCLE_ON_LOGIN",
            Check.ALWAYS_CYCLE_ON_LOGIN,
            True,
            "True or False",
            lambda value: isinstance(value, bool),
        ),
        on_outage=reader.choice("MULTISESSION_ON_OUTAGE", Check.ON_OUTAGE, ON_OUTAGE_CHOICES),
        on_interrupted=reader.choice(
            "MULTISESSION_ON_INTERRUPTED", Check.ON_INTERRUPTED, ON_INTERRUPTED_CHOICES
        ),
        resolvers=reader.functions(
            "MULTISESSION_CONFLICT_RESOLVERS", Check.CONFLICT_RESOLVERS, import_string
        ),
        cookie_age=_cookie_age(),
        expire_at_browser_close=settings.SESSION_EXPIRE_AT_BROWSER_CLOSE,
        save_every_request=settings.SESSION_SAVE_EVERY_REQUEST,
        max_size=reader.value(
            "MULTISESSION_MAX_SIZE",
            Check.MAX_SIZE,
            DEFAULT_MAX_SIZE,
            f"a number of bytes from {LEAST_MAX_SIZE} to {GREATEST_MAX_SIZE}",
            lambda value: (
                isinstance(value, int)
                and not isinstance(value, bool)
                and LEAST_MAX_SIZE <= value <= GREATEST_MAX_SIZE
            ),
        ),
        namespace=reader.value(
            "MULTISESSION_NAMESPACE",
            Check.NAMESPACE,
            "",
            "a string",
            lambda value: isinstance(value, str),
        ),
        migration=_migration(reader),
        signing_keys=signing_keys,
        record_keys=record_keys,
        adopting_keys=(),
        encryption=_encryption(reader),
        max_sessions=reader.limit("MULTISESSION_MAX_SESSIONS", Check.MAX_SESSIONS, import_string),
        at_limit=reader.choice("MULTISESSION_AT_LIMIT", Check.AT_LIMIT, AT_LIMIT_CHOICES),
        end_sessions_on=frozenset(
            reader.value(
                "MULTISESSION_END_SESSIONS_ON",
                Check.END_SESSIONS_ON,
                END_SESSIONS_ON,
                f"a tuple or a list of some of {', '.join(map(repr, END_SESSIONS_ON))}",
                lambda value: (
                    isinstance(value, tuple | list)
                    and all(each in END_SESSIONS_ON for each in value)
                ),
            )
        ),
        reauthentication_url=reader.value(
            "MULTISESSION_REAUTHENTICATION_URL",
            Check.REAUTHENTICATION_URL,
            REAUTHENTICATION_URL,
            "the name of a URL pattern, or a URL",
            lambda value: isinstance(value, str | Promise) and bool(value),
        ),
        records_user_agent=reader.value(
            "MULTISESSION_RECORD_USER_AGENT",
            Check.RECORD_USER_AGENT,
            False,
            "True or False",
            lambda value: isinstance(value, bool),
        ),
        record_address=reader.value(
            "MULTISESSION_RECORD_ADDRESS",
            Check.RECORD_ADDRESS,
            None,
            '"truncated", "full" or None',
            lambda value: value in RECORD_ADDRESS_CHOICES,
        ),
        client_address=reader.function(
            "MULTISESSION_CLIENT_ADDRESS", Check.CLIENT_ADDRESS, import_string
        ),
        cookie_keys=cookie_keys,
    )


def _migration(reader: SettingReader) -> Migration | None:
    engine = reader.value(
        "MULTISESSION_MIGRATE_FROM",
        Check.MIGRATE_FROM,
        None,
        "the dotted path of an engine, other than SESSION_ENGINE, or None",
        lambda value: (
            value is None or (isinstance(value, str) and value not in {"", settings.SESSION_ENGINE})
        ),
    )
    since = reader.moment("MULTISESSION_MIGRATE_SINCE", Check.MIGRATE_SINCE)
    until = reader.moment("MULTISESSION_MIGRATE_UNTIL", Check.MIGRATE_UNTIL)
    if engine is None:
        return None
    return Migration(
        engine=engine,
        until_ms=NEVER if until is None else to_milliseconds(_aware(until)),
        since_ms=NEVER if since is None else to_milliseconds(_aware(since)),
    )


def _aware(moment: datetime) -> datetime:
    """Return *moment*, in the site's time zone if it names none."""
    if timezone.is_aware(moment):
        return moment
    return timezone.make_aware(moment, timezone.get_default_timezone())


def _encryption(reader: SettingReader) -> Ring:
    name = "MULTISESSION_ENCRYPTION_KEYS"
    secrets = reader.secrets(name, Check.ENCRYPTION_KEYS)
    writes = reader.name_in(secrets, "MULTISESSION_ENCRYPTION_WRITES", Check.ENCRYPTION_WRITES)
    if not secrets:
        return NO_KEYS
    try:
        encryption.require_library()
    except ImportError:
        reader.problem(
            Check.ENCRYPTION_KEYS,
            f"{name} needs the library cryptography (it isn't installed).",
            "Install django-multisession[encryption].",
        )
    return encryption.ring_of_names(secrets, writes)


def _policy(reader: SettingReader) -> Policy:
    cookie_age = _cookie_age()
    if cookie_age != settings.SESSION_COOKIE_AGE:
        reader.problem(
            Check.COOKIE_AGE,
            "SESSION_COOKIE_AGE must be a number of seconds, from one to "
            f"{in_seconds(LONGEST_TIMEOUT)} (got {settings.SESSION_COOKIE_AGE!r}).",
            "Django's default is two weeks, 1209600.",
        )
    idle = reader.timeout(
        "MULTISESSION_IDLE_TIMEOUT", Check.IDLE_TIMEOUT, timedelta(seconds=cookie_age)
    )
    absolute = reader.timeout(
        "MULTISESSION_ABSOLUTE_TIMEOUT",
        Check.ABSOLUTE_TIMEOUT,
        max(DEFAULT_ABSOLUTE_TIMEOUT, timedelta(seconds=cookie_age)),
    )
    remembered = reader.timeout(
        "MULTISESSION_REMEMBERED_ABSOLUTE_TIMEOUT", Check.REMEMBERED_ABSOLUTE_TIMEOUT, None
    )
    anonymous = reader.timeout(
        "MULTISESSION_ANONYMOUS_IDLE_TIMEOUT", Check.ANONYMOUS_IDLE_TIMEOUT, None
    )
    touch_interval = reader.timeout("MULTISESSION_TOUCH_INTERVAL", Check.TOUCH_INTERVAL, None)
    if idle and touch_interval and touch_interval >= idle:
        reader.problem(
            Check.LONG_TOUCH_INTERVAL,
            "MULTISESSION_TOUCH_INTERVAL must be shorter than the idle timeout of "
            f"{in_seconds(idle)} seconds (got {in_seconds(touch_interval)}).",
            "Remove the setting: the default is a tenth of the idle timeout, at most a minute.",
        )
    return Policy(
        idle_timeout=idle,
        absolute_timeout=absolute,
        absolute_is_configured=hasattr(settings, "MULTISESSION_ABSOLUTE_TIMEOUT"),
        remembered_absolute_timeout=remembered,
        anonymous_idle_timeout=anonymous,
        touch_interval=touch_interval,
        idle_is_configured=hasattr(settings, "MULTISESSION_IDLE_TIMEOUT"),
    )


def _cookie_age() -> float:
    """Read Django's setting, which is the default of two of ours; Django's default if it is wrong."""
    age: Any = settings.SESSION_COOKIE_AGE
    longest = LONGEST_TIMEOUT.total_seconds()
    if isinstance(age, int | float) and not isinstance(age, bool) and 1 <= age <= longest:
        return float(age)
    return float(global_settings.SESSION_COOKIE_AGE)


def _forget(*, setting: str, **_kwargs: Any) -> None:
    if setting.startswith((OURS, "SECRET_KEY", "SESSION_")):
        config.cache_clear()


setting_changed.connect(_forget, dispatch_uid="django_multisession.settings.conf")
