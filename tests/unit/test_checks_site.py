"""What `check` says of Django's settings that keep sessions from working."""

from __future__ import annotations

import sys
import types
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.core import checks

from django_multisession.engines import NAMES as ENGINES
from django_multisession.settings import conf
from django_multisession.testing.rows import for_each
from tests.rows import restoring
from tests.unit.checked_site import OWN_ENGINE, found, ids, right_site

if TYPE_CHECKING:
    from pytest_django import Settings

__all__ = ["right_site"]

DJANGOS_MIDDLEWARE = "django.contrib.sessions.middleware.SessionMiddleware"
OUR_MIDDLEWARE = "django_multisession.middleware.SessionMiddleware"
LOGIN_MIDDLEWARE = "django.contrib.auth.middleware.AuthenticationMiddleware"
MESSAGE_MIDDLEWARE = "django.contrib.messages.middleware.MessageMiddleware"

#: What each prefix asks of a cookie: RFC 6265bis, section 4.1.3.
DEMANDS = {
    "__Secure-": {"SESSION_COOKIE_SECURE"},
    "__Host-": {"SESSION_COOKIE_SECURE", "SESSION_COOKIE_PATH", "SESSION_COOKIE_DOMAIN"},
    "__Http-": {"SESSION_COOKIE_SECURE", "SESSION_COOKIE_HTTPONLY"},
    "__Host-Http-": {
        "SESSION_COOKIE_SECURE",
        "SESSION_COOKIE_HTTPONLY",
        "SESSION_COOKIE_PATH",
        "SESSION_COOKIE_DOMAIN",
    },
}
#: Setting → what is wrong, and what is right, for a prefix that asks for it.
ATTRIBUTES: dict[str, tuple[Any, str]] = {
    "SESSION_COOKIE_SECURE": (False, "SESSION_COOKIE_SECURE = True"),
    "SESSION_COOKIE_HTTPONLY": (False, "SESSION_COOKIE_HTTPONLY = True"),
    "SESSION_COOKIE_PATH": ("/shop/", 'SESSION_COOKIE_PATH = "/"'),
    "SESSION_COOKIE_DOMAIN": ("shop.example", "SESSION_COOKIE_DOMAIN = None"),
}


class WithoutLoads:
    def dumps(self, obj: Any) -> bytes:
        raise NotImplementedError


def make_serializer() -> object:
    """A function that makes a serializer is a serializer class to Django."""
    raise NotImplementedError


@pytest.fixture(autouse=True)
def site(right_site: Settings) -> Settings:
    return right_site


@pytest.fixture
def failing_module(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: Any) -> Any:
    """Make a module whose import raises what it is told."""

    def make(name: str, raises: str) -> str:
        directory = tmp_path_factory.mktemp("modules")
        (directory / f"{name}.py").write_text(raises, encoding="utf-8")
        monkeypatch.syspath_prepend(directory)
        return name

    return make


def only_message() -> checks.CheckMessage:
    messages = found()
    assert len(messages) == 1, messages
    return messages[0]


# Names that there are none of


@for_each(
    ("name", "meant"),
    [
        ("MULTISESSION_IDLE_TIMEUOT", "MULTISESSION_IDLE_TIMEOUT"),
        ("MULTISESSION_ABSOLUT_TIMEOUT", "MULTISESSION_ABSOLUTE_TIMEOUT"),
        ("MULTISESSION_MONGO", "MULTISESSION_MONGODB"),
        ("MULTISESSION_REDIS_", "MULTISESSION_REDIS"),
        ("MULTISESSION_CYCLE_LOGIN", "MULTISESSION_ALWAYS_CYCLE_ON_LOGIN"),
    ],
)
@restoring
def test_a_misspelled_setting_is_an_error_that_names_what_was_meant(
    settings: Settings, name: str, meant: str
) -> None:
    setattr(settings, name, 60)
    message = only_message()
    assert message.id == "multisession.E014"
    assert message.level == checks.ERROR
    assert f"(got {name})" in str(message.msg)
    assert message.hint == f"Rename it to {meant}."


def test_a_setting_that_resembles_none_gets_the_list_of_all(settings: Settings) -> None:
    settings.MULTISESSION_ZZZ = 1
    message = only_message()
    assert message.id == "multisession.E014"
    for name in conf.site().our_settings:
        assert name in str(message.hint)


def test_every_misspelled_setting_is_told(settings: Settings) -> None:
    settings.MULTISESSION_IDLE = 1
    settings.MULTISESSION_ABSOLUTE = 1
    assert ids() == ["multisession.E014", "multisession.E014"]


def test_settings_of_others_are_not_ours_to_judge(settings: Settings) -> None:
    settings.SHOP_MULTISESSION_SIZE = 1
    settings.MULTISESSIONS = 1
    assert ids() == []


def test_no_message_shows_what_a_misspelled_setting_holds(settings: Settings) -> None:
    settings.MULTISESSION_REDISS = {"URL": "redis://:hunter2@127.0.0.1"}
    assert "hunter2" not in repr(only_message())


@for_each(
    ("engine", "hint"),
    [
        ("django_multisession.engines.reddis", "django_multisession.engines.redis"),
        ("django_multisession.engines.REDIS", "django_multisession.engines.redis"),
        ("django_multisession.redis", "django_multisession.engines.redis"),
        ("django_multisession.engines.mongo", "django_multisession.engines.mongodb"),
        ("django_multisession.drivers.memory", "django_multisession.engines.memory"),
        ("django_multisession.engines.redis.SessionStore", "one of these"),
        ("django_multisession.engine", "one of these"),
        ("django_multisession.engines", "one of these"),
        ("django_multisession", "one of these"),
    ],
)
@for_each("is_deployment", [False, True])
@restoring
def test_an_engine_that_there_is_none_of_is_one_error_that_names_all(
    settings: Settings, engine: str, hint: str, is_deployment: bool
) -> None:
    settings.SESSION_ENGINE = engine
    (message,) = found(deploy=is_deployment)
    assert message.id == "multisession.E020"
    assert message.level == checks.ERROR
    assert f"(got {engine!r})" in str(message.msg)
    for name in ENGINES:
        assert f"'django_multisession.engines.{name}'" in str(message.msg)
    assert hint in str(message.hint)


@for_each("engine", [*ENGINES, OWN_ENGINE, "django.contrib.sessions.backends.db"])
@restoring
def test_an_engine_that_there_is_and_one_of_others_is_right(
    settings: Settings, engine: str
) -> None:
    settings.SESSION_ENGINE = (
        f"django_multisession.engines.{engine}" if engine in ENGINES else engine
    )
    settings.MULTISESSION_REDIS = {"URL": "redis://127.0.0.1:1"}
    settings.MULTISESSION_MONGODB = {"URI": "mongodb://127.0.0.1:1"}
    settings.MULTISESSION_MEMCACHED = {"SERVERS": ["127.0.0.1:1"]}
    settings.MULTISESSION_TIERED = {
        "FRONT": "django_multisession.engines.redis",
        "BACK": "django_multisession.engines.mongodb",
    }
    assert ids() == []


# The cookie


@for_each("prefix", DEMANDS)
@for_each("spelled", [str, str.lower, str.upper])
@restoring
def test_a_cookie_that_keeps_what_its_name_promises_is_right(
    settings: Settings, prefix: str, spelled: Any
) -> None:
    settings.SESSION_COOKIE_NAME = spelled(prefix) + "sessionid"
    assert ids() == []


@for_each("prefix", DEMANDS)
@for_each("spelled", [str, str.lower, str.upper])
@for_each("attribute", ATTRIBUTES)
@restoring
def test_a_cookie_that_breaks_what_its_name_promises_is_an_error(
    settings: Settings, prefix: str, spelled: Any, attribute: str
) -> None:
    settings.SESSION_COOKIE_NAME = name = spelled(prefix) + "sessionid"
    wrong, line = ATTRIBUTES[attribute]
    setattr(settings, attribute, wrong)
    if attribute not in DEMANDS[prefix]:
        assert ids() == []
        return
    message = only_message()
    assert message.id == "multisession.E015"
    assert message.level == checks.ERROR
    assert str(message.msg).startswith(f"{attribute} must be {line.partition('= ')[2]} for ")
    assert f"{name!r} (got {wrong!r})" in str(message.msg)
    assert str(message.hint).startswith(f"{line}, ")


def test_every_promise_that_is_broken_is_told(settings: Settings) -> None:
    settings.SESSION_COOKIE_NAME = "__Host-Http-sessionid"
    for name, (wrong, _) in ATTRIBUTES.items():
        setattr(settings, name, wrong)
    assert [str(message.msg).split()[0] for message in found()] == list(ATTRIBUTES)


@for_each("name", ["sessionid", "__Hostsessionid", "my__Host-sessionid", "__host"])
@restoring
def test_a_cookie_whose_name_promises_nothing_need_keep_nothing(
    settings: Settings, name: str
) -> None:
    settings.SESSION_COOKIE_NAME = name
    for attribute, (wrong, _) in ATTRIBUTES.items():
        setattr(settings, attribute, wrong)
    assert ids() == []


@for_each("domain", [None, ""])
@restoring
def test_no_domain_is_no_domain(settings: Settings, domain: str | None) -> None:
    settings.SESSION_COOKIE_NAME = "__Host-sessionid"
    settings.SESSION_COOKIE_DOMAIN = domain
    assert ids() == []


@for_each("same_site", ["None", "none", "NONE"])
@for_each("is_secure", [False, True])
@restoring
def test_a_cookie_for_every_site_must_be_secure(
    settings: Settings, same_site: str, is_secure: bool
) -> None:
    settings.SESSION_COOKIE_SAMESITE = same_site
    settings.SESSION_COOKIE_SECURE = is_secure
    assert ids() == ([] if is_secure else ["multisession.E016"])


@for_each("same_site", ["Lax", "lax", "Strict", "STRICT", False, None])
@restoring
def test_what_django_takes_for_samesite_is_right(settings: Settings, same_site: Any) -> None:
    settings.SESSION_COOKIE_SAMESITE = same_site
    settings.SESSION_COOKIE_SECURE = False
    assert ids() == []


@for_each("same_site", ["Laxx", "Same-Site", True, 1, ["Lax"], Path("Lax")])
@restoring
def test_what_django_raises_at_for_samesite_is_an_error(settings: Settings, same_site: Any) -> None:
    settings.SESSION_COOKIE_SAMESITE = same_site
    message = only_message()
    assert message.id == "multisession.E021"
    assert f"(got {same_site!r})" in str(message.msg)
    assert message.hint == 'SESSION_COOKIE_SAMESITE = "Lax"'


@for_each("name", ["", "session id", "session;id", "größe", "path", None, 7])
@restoring
def test_a_name_that_no_cookie_can_have_is_an_error(settings: Settings, name: Any) -> None:
    settings.SESSION_COOKIE_NAME = name
    message = only_message()
    assert message.id == "multisession.E022"
    assert f"(got {name!r})" in str(message.msg)
    assert message.hint


# The serializer


@for_each(
    "serializer",
    [
        "django.contrib.sessions.serializers.JSONSerializer",
        "tests.web.serializers.PickleSerializer",
        f"{__name__}.make_serializer",
    ],
)
@restoring
def test_a_serializer_that_can_be_imported_is_right(settings: Settings, serializer: str) -> None:
    settings.SESSION_SERIALIZER = serializer
    assert ids() == []


@for_each(
    ("serializer", "finding"),
    [
        ("shop.serializers.NoSuchSerializer", "ModuleNotFoundError"),
        # Django had it until 4.2.
        ("django.contrib.sessions.serializers.PickleSerializer", "ImportError"),
        ("JSONSerializer", "ImportError"),
        (None, "AttributeError"),
        (f"{__name__}.WithoutLoads", "no loads()"),
        ("builtins.dict", "no dumps() and no loads()"),
        (f"{__name__}.DEMANDS", "a dict"),
    ],
)
@restoring
def test_what_is_no_serializer_is_an_error(
    settings: Settings, serializer: Any, finding: str
) -> None:
    settings.SESSION_SERIALIZER = serializer
    message = only_message()
    assert message.id == "multisession.E017"
    assert message.level == checks.ERROR
    assert f"(got {serializer!r}: {finding}" in str(message.msg)
    assert "JSONSerializer" in str(message.hint)


def test_a_serializer_whose_module_raises_is_an_error(
    settings: Settings, failing_module: Any
) -> None:
    module = failing_module("raising_serializers", "raise KeyError('hunter2')")
    settings.SESSION_SERIALIZER = f"{module}.Serializer"
    message = only_message()
    assert message.id == "multisession.E017"
    assert "KeyError at its import" in str(message.msg)
    assert "hunter2" not in str(message.msg)


def test_a_serializer_that_waits_for_a_secret_is_not_judged(
    settings: Settings, failing_module: Any
) -> None:
    # An image is built without SECRET_KEY; Django raises ImproperlyConfigured where it is read.
    module = failing_module(
        "encrypting_serializers",
        "from django.core.exceptions import ImproperlyConfigured\nraise ImproperlyConfigured",
    )
    settings.SESSION_SERIALIZER = f"{module}.Serializer"
    assert ids() == []


# Middleware and apps


def middleware_module(monkeypatch: pytest.MonkeyPatch, base: str) -> str:
    from django.utils.module_loading import import_string

    module = types.ModuleType("shop_middleware")
    vars(module)["ShopMiddleware"] = type("ShopMiddleware", (import_string(base),), {})
    monkeypatch.setitem(sys.modules, "shop_middleware", module)
    return "shop_middleware.ShopMiddleware"


@for_each("order", [1, -1])
@restoring
def test_djangos_session_middleware_beside_ours_is_an_error(settings: Settings, order: int) -> None:
    both = [DJANGOS_MIDDLEWARE, OUR_MIDDLEWARE][::order]
    settings.MIDDLEWARE = [*both, *settings.MIDDLEWARE[1:]]
    message = only_message()
    assert message.id == "multisession.E018"
    assert message.level == checks.ERROR
    assert f"(got {' and '.join(both)})" in str(message.msg)
    assert message.hint == f"Remove {DJANGOS_MIDDLEWARE} from MIDDLEWARE."


@for_each("base", [DJANGOS_MIDDLEWARE, OUR_MIDDLEWARE])
@for_each("other", [DJANGOS_MIDDLEWARE, OUR_MIDDLEWARE])
@restoring
def test_a_session_middleware_of_the_sites_own_counts(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, base: str, other: str
) -> None:
    own = middleware_module(monkeypatch, base)
    settings.MIDDLEWARE = [own, other, *settings.MIDDLEWARE[1:]]
    message = only_message()
    assert message.id == "multisession.E018"
    settings.MIDDLEWARE = [own, *settings.MIDDLEWARE[2:]]
    assert ids() == []


def test_the_same_session_middleware_twice_is_an_error(settings: Settings) -> None:
    settings.MIDDLEWARE = [OUR_MIDDLEWARE, *settings.MIDDLEWARE]
    message = only_message()
    assert message.id == "multisession.E018"
    assert message.hint == f"Remove the second {OUR_MIDDLEWARE} from MIDDLEWARE."


def test_two_session_middlewares_are_an_error_with_every_engine(settings: Settings) -> None:
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"
    settings.MIDDLEWARE = [DJANGOS_MIDDLEWARE, *settings.MIDDLEWARE]
    assert ids() == ["multisession.E018"]


@for_each("one", [DJANGOS_MIDDLEWARE, OUR_MIDDLEWARE])
@restoring
def test_one_session_middleware_is_right(settings: Settings, one: str) -> None:
    settings.MIDDLEWARE = [one, "no.such.Middleware", *settings.MIDDLEWARE[1:]]
    assert ids() == []


@for_each("base", [DJANGOS_MIDDLEWARE, OUR_MIDDLEWARE, None])
@restoring
def test_a_session_middleware_behind_the_login_is_an_error(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, base: str | None
) -> None:
    late = middleware_module(monkeypatch, DJANGOS_MIDDLEWARE) if base is None else base
    settings.MIDDLEWARE = [LOGIN_MIDDLEWARE, late, MESSAGE_MIDDLEWARE]
    message = only_message()
    assert message.id == "multisession.E030"
    assert message.level == checks.ERROR
    assert (
        f"must come before {LOGIN_MIDDLEWARE!r} in MIDDLEWARE (got it comes after)" in message.msg
    )
    assert message.hint == f'Move "{late}" before it.'


def test_a_login_middleware_without_a_session_middleware_is_an_error(settings: Settings) -> None:
    settings.MIDDLEWARE = [LOGIN_MIDDLEWARE, "no.such.Middleware"]
    message = only_message()
    assert message.id == "multisession.E030"
    assert "(got none)" in message.msg
    assert message.hint == f'Put "{OUR_MIDDLEWARE}" before it.'


def test_a_login_middleware_of_the_sites_own_needs_a_session_too(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = middleware_module(monkeypatch, LOGIN_MIDDLEWARE)
    settings.MIDDLEWARE = [own, OUR_MIDDLEWARE, LOGIN_MIDDLEWARE]
    message = only_message()
    assert message.id == "multisession.E030"
    assert repr(own) in message.msg


def test_the_order_matters_with_every_engine(settings: Settings) -> None:
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"
    settings.MIDDLEWARE = [LOGIN_MIDDLEWARE, DJANGOS_MIDDLEWARE]
    assert ids() == ["multisession.E030"]


@for_each("one", [[], [DJANGOS_MIDDLEWARE], [OUR_MIDDLEWARE]])
@restoring
def test_a_site_without_logins_needs_no_order(settings: Settings, one: list[str]) -> None:
    settings.MIDDLEWARE = ["no.such.Middleware", MESSAGE_MIDDLEWARE, *one]
    assert ids() == []


def test_two_session_middlewares_are_enough_before_the_login_if_one_is(settings: Settings) -> None:
    settings.MIDDLEWARE = [OUR_MIDDLEWARE, LOGIN_MIDDLEWARE, DJANGOS_MIDDLEWARE]
    assert ids() == ["multisession.E018"]


def test_a_setting_that_only_our_middleware_reads_is_a_warning_without_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.MULTISESSION_ON_INTERRUPTED = "ignore"
    assert ids() == []
    settings.MIDDLEWARE = [DJANGOS_MIDDLEWARE, *settings.MIDDLEWARE[1:]]
    message = only_message()
    assert message.id == "multisession.W029"
    assert message.level == checks.WARNING
    assert "(got 'ignore')" in message.msg
    assert OUR_MIDDLEWARE in str(message.hint)
    settings.MULTISESSION_ON_INTERRUPTED = "error"
    assert ids() == []
    settings.MULTISESSION_ON_INTERRUPTED = "ignore"
    settings.MIDDLEWARE = [middleware_module(monkeypatch, OUR_MIDDLEWARE)]
    assert ids() == []
    settings.MIDDLEWARE = []
    assert ids() == ["multisession.W029"]


@for_each("sessions", ["django.contrib.sessions", "django.contrib.sessions.apps.SessionsConfig"])
@for_each("ours", ["django_multisession", "django_multisession.apps.MultisessionConfig"])
@restoring
def test_an_app_that_hides_our_command_is_a_warning(
    settings: Settings, sessions: str, ours: str
) -> None:
    rest = ["django.contrib.auth", "django.contrib.contenttypes"]
    settings.INSTALLED_APPS = [sessions, *rest, ours]
    message = only_message()
    assert message.id == "multisession.W019"
    assert message.level == checks.WARNING
    assert "(it comes after)" in message.msg
    assert 'INSTALLED_APPS = ["django_multisession"' in str(message.hint)
    settings.INSTALLED_APPS = [*rest, ours, sessions]
    assert ids() == []


def test_without_djangos_app_nothing_hides_our_command(settings: Settings) -> None:
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS[1:], "django_multisession"]
    assert ids() == []


# Engines of others


@for_each(
    "engine",
    ["django.contrib.sessions.backends.cache", "django.contrib.sessions.backends.signed_cookies"],
)
@restoring
def test_the_cookie_of_another_engine_is_not_ours_to_judge(settings: Settings, engine: str) -> None:
    settings.SESSION_ENGINE = engine
    settings.SESSION_COOKIE_NAME = "__Host-sessionid"
    settings.SESSION_COOKIE_PATH = "/shop/"
    settings.SESSION_COOKIE_SAMESITE = "Laxx"
    settings.SESSION_SERIALIZER = "no.such.Serializer"
    settings.INSTALLED_APPS = ["django.contrib.sessions", *settings.INSTALLED_APPS]
    assert ids() == []


@for_each(
    ("engine", "finding"),
    [
        ("no.such.engine", "there is no module 'no'"),
        ("json", "it has none"),
        ("", "ValueError at its import"),
        (7, "AttributeError at its import"),
        (None, "AttributeError at its import"),
    ],
)
@for_each("is_deployment", [False, True])
@restoring
def test_an_engine_that_cannot_be_imported_is_one_error(
    settings: Settings, engine: Any, finding: str, is_deployment: bool
) -> None:
    settings.SESSION_ENGINE = engine
    (message,) = found(deploy=is_deployment)
    assert message.id == "multisession.E031"
    assert message.level == checks.ERROR
    assert f"(got {engine!r}: {finding})" in message.msg
    assert 'SESSION_ENGINE = "django_multisession.engines.redis"' in str(message.hint)


@for_each(
    ("engine", "meant"),
    [
        ("django_multisesion.engines.redis", "redis"),
        ("django.contrib.sessions.backends.redis", "redis"),
        ("reddis", "redis"),
        ("engines.Mongo", "mongodb"),
        ("multisession.engines.memory", "memory"),
    ],
)
@restoring
def test_an_engine_that_resembles_one_of_ours_gets_its_line(
    settings: Settings, engine: str, meant: str
) -> None:
    settings.SESSION_ENGINE = engine
    message = only_message()
    assert message.id == "multisession.E031"
    assert f'SESSION_ENGINE = "django_multisession.engines.{meant}"' in str(message.hint)


def test_an_engine_whose_module_raises_is_an_error(settings: Settings, failing_module: Any) -> None:
    settings.SESSION_ENGINE = failing_module("raising_engine", "raise KeyError('hunter2')")
    message = only_message()
    assert message.id == "multisession.E031"
    assert "KeyError at its import" in message.msg
    assert "hunter2" not in repr(message)


def test_an_engine_that_waits_for_a_secret_is_not_judged(
    settings: Settings, failing_module: Any
) -> None:
    settings.SESSION_ENGINE = failing_module(
        "encrypting_engine",
        "from django.core.exceptions import ImproperlyConfigured\nraise ImproperlyConfigured",
    )
    assert ids() == []


# Our settings, beside each other

DAY = 24 * 60 * 60


def test_an_idle_timeout_that_the_absolute_one_forestalls_is_a_warning(settings: Settings) -> None:
    settings.MULTISESSION_ABSOLUTE_TIMEOUT = 3600
    settings.MULTISESSION_IDLE_TIMEOUT = timedelta(hours=2)
    message = only_message()
    assert message.id == "multisession.W032"
    assert message.level == checks.WARNING
    assert message.msg == (
        "MULTISESSION_IDLE_TIMEOUT must not be longer than MULTISESSION_ABSOLUTE_TIMEOUT, "
        "3600 seconds (got 7200): it has no effect."
    )
    assert message.hint


def test_an_idle_timeout_that_is_not_set_may_be_forestalled_too(settings: Settings) -> None:
    settings.MULTISESSION_ABSOLUTE_TIMEOUT = DAY
    settings.SESSION_COOKIE_AGE = 14 * DAY
    message = only_message()
    assert message.id == "multisession.W032"
    assert f"(got {14 * DAY}, SESSION_COOKIE_AGE)" in message.msg


def test_anonymous_sessions_have_an_idle_timeout_of_their_own(settings: Settings) -> None:
    settings.MULTISESSION_ABSOLUTE_TIMEOUT = DAY
    settings.MULTISESSION_IDLE_TIMEOUT = 3600
    settings.MULTISESSION_ANONYMOUS_IDLE_TIMEOUT = 7 * DAY
    message = only_message()
    assert message.id == "multisession.W032"
    assert message.msg.startswith("MULTISESSION_ANONYMOUS_IDLE_TIMEOUT must not be longer than ")
    settings.MULTISESSION_IDLE_TIMEOUT = 2 * DAY
    assert ids() == ["multisession.W032", "multisession.W032"]


@for_each(("remembered", "is_right"), [(DAY, False), (60, False), (DAY + 1, True)])
@restoring
def test_an_absolute_timeout_of_remembered_sessions_is_longer_than_of_others(
    settings: Settings, remembered: int, *, is_right: bool
) -> None:
    settings.MULTISESSION_IDLE_TIMEOUT = 3600
    settings.MULTISESSION_REMEMBERED_ABSOLUTE_TIMEOUT = remembered
    assert ids() == []
    settings.MULTISESSION_ABSOLUTE_TIMEOUT = DAY
    assert ids() == ([] if is_right else ["multisession.W032"])


@for_each(
    ("idle", "absolute"), [(3600, 3600), (3599, 3600), (None, 3600), (3600, None), (None, None)]
)
@restoring
def test_an_idle_timeout_that_is_not_longer_is_right(
    settings: Settings, idle: int | None, absolute: int | None
) -> None:
    settings.MULTISESSION_IDLE_TIMEOUT = idle
    settings.MULTISESSION_ABSOLUTE_TIMEOUT = absolute
    assert ids() == []


def test_the_default_absolute_timeout_forestalls_no_choice_of_the_sites(settings: Settings) -> None:
    # set_expiry() goes before it.
    settings.MULTISESSION_IDLE_TIMEOUT = 60 * DAY
    assert ids() == []


@for_each(
    ("name", "check_id"),
    [
        ("MULTISESSION_IDLE_TIMEOUT", "E001"),
        ("MULTISESSION_ABSOLUTE_TIMEOUT", "E002"),
        ("MULTISESSION_ANONYMOUS_IDLE_TIMEOUT", "E003"),
        ("MULTISESSION_REMEMBERED_ABSOLUTE_TIMEOUT", "E038"),
        ("SESSION_COOKIE_AGE", "E012"),
    ],
)
@restoring
def test_timeouts_of_which_one_is_wrong_are_not_compared(
    settings: Settings, name: str, check_id: str
) -> None:
    settings.MULTISESSION_ABSOLUTE_TIMEOUT = 3600
    setattr(settings, name, 0)
    assert ids() == [f"multisession.{check_id}"]


def test_a_resolver_of_an_entry_that_is_never_merged_is_a_warning(settings: Settings) -> None:
    union = "django_multisession.resolvers.union"
    settings.MULTISESSION_CONFLICT_RESOLVERS = {"auth": union, "my_auth_": union}
    assert ids() == []
    settings.MULTISESSION_CONFLICT_RESOLVERS = {
        "_auth_user_id": union,
        "cart": union,
        "_auth_x": union,
    }
    messages = found()
    assert [message.id for message in messages] == ["multisession.W033", "multisession.W033"]
    assert {message.level for message in messages} == {checks.WARNING}
    assert "(got '_auth_user_id')" in messages[0].msg
    assert "(got '_auth_x')" in messages[1].msg
    assert messages[0].hint == "Remove it from MULTISESSION_CONFLICT_RESOLVERS."


# All at once


def test_what_is_wrong_with_the_site_and_with_our_settings_is_reported_together(
    settings: Settings,
) -> None:
    settings.MULTISESSION_MAX_SIZE = 0
    settings.MULTISESSION_IDLE = 1
    settings.SESSION_COOKIE_NAME = "__Host-sessionid"
    settings.SESSION_COOKIE_DOMAIN = "shop.example"
    settings.SESSION_COOKIE_SECURE = False
    settings.SESSION_COOKIE_SAMESITE = "None"
    settings.SESSION_SERIALIZER = "no.such.Serializer"
    settings.MULTISESSION_ABSOLUTE_TIMEOUT = DAY
    settings.MULTISESSION_CONFLICT_RESOLVERS = {
        "_auth_user_id": "django_multisession.resolvers.union"
    }
    settings.MULTISESSION_ON_INTERRUPTED = "ignore"
    settings.MIDDLEWARE = [LOGIN_MIDDLEWARE, DJANGOS_MIDDLEWARE, DJANGOS_MIDDLEWARE]
    settings.INSTALLED_APPS = ["django.contrib.sessions", *settings.INSTALLED_APPS]
    # Each check tells in order; which check is first, Django leaves to chance.
    assert sorted(check_id.removeprefix("multisession.") for check_id in ids()) == [
        "E008",
        "E014",
        "E015",
        "E015",
        "E016",
        "E017",
        "E018",
        "E030",
        "W019",
        "W029",
        "W032",
        "W033",
    ]
