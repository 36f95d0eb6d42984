"""What `check` says of Django's settings that keep sessions from working."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.core import checks

from django_multisession import conf
from django_multisession.engines._drivers import ENGINES
from tests.unit.checked_site import OWN_ENGINE, found, ids, right_site

if TYPE_CHECKING:
    from pytest_django import Settings

__all__ = ["right_site"]

DJANGOS_MIDDLEWARE = "django.contrib.sessions.middleware.SessionMiddleware"
OUR_MIDDLEWARE = "django_multisession.middleware.SessionMiddleware"

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


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("MULTISESSION_IDLE_TIMEUOT", "MULTISESSION_IDLE_TIMEOUT"),
        ("MULTISESSION_ABSOLUT_TIMEOUT", "MULTISESSION_ABSOLUTE_TIMEOUT"),
        ("MULTISESSION_MONGO", "MULTISESSION_MONGODB"),
        ("MULTISESSION_REDIS_", "MULTISESSION_REDIS"),
        ("MULTISESSION_CYCLE_LOGIN", "MULTISESSION_CYCLE_ON_LOGIN"),
    ],
)
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


@pytest.mark.parametrize(
    ("engine", "hint"),
    [
        ("django_multisession.engines.reddis", "django_multisession.engines.redis"),
        ("django_multisession.engines.REDIS", "django_multisession.engines.redis"),
        ("django_multisession.redis", "django_multisession.engines.redis"),
        ("django_multisession.engines.mongo", "django_multisession.engines.mongodb"),
        ("django_multisession.drivers.memory", "django_multisession.engines.memory"),
        ("django_multisession.engines.redis.SessionStore", "one of these"),
        ("django_multisession.engines._drivers", "one of these"),
        ("django_multisession.engines", "one of these"),
        ("django_multisession", "one of these"),
    ],
)
@pytest.mark.parametrize("is_deployment", [False, True])
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


@pytest.mark.parametrize("engine", [*ENGINES, OWN_ENGINE, "django_multisession2.engines.redis"])
def test_an_engine_that_there_is_and_one_of_others_is_right(
    settings: Settings, engine: str
) -> None:
    settings.SESSION_ENGINE = (
        f"django_multisession.engines.{engine}" if engine in ENGINES else engine
    )
    settings.MULTISESSION_REDIS = {"URL": "redis://127.0.0.1:1"}
    settings.MULTISESSION_MONGODB = {"URI": "mongodb://127.0.0.1:1"}
    assert ids() == []


# The cookie


@pytest.mark.parametrize("prefix", DEMANDS)
@pytest.mark.parametrize("spelled", [str, str.lower, str.upper])
def test_a_cookie_that_keeps_what_its_name_promises_is_right(
    settings: Settings, prefix: str, spelled: Any
) -> None:
    settings.SESSION_COOKIE_NAME = spelled(prefix) + "sessionid"
    assert ids() == []


@pytest.mark.parametrize("prefix", DEMANDS)
@pytest.mark.parametrize("spelled", [str, str.lower, str.upper])
@pytest.mark.parametrize("attribute", ATTRIBUTES)
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


@pytest.mark.parametrize("name", ["sessionid", "__Hostsessionid", "my__Host-sessionid", "__host"])
def test_a_cookie_whose_name_promises_nothing_need_keep_nothing(
    settings: Settings, name: str
) -> None:
    settings.SESSION_COOKIE_NAME = name
    for attribute, (wrong, _) in ATTRIBUTES.items():
        setattr(settings, attribute, wrong)
    assert ids() == []


@pytest.mark.parametrize("domain", [None, ""])
def test_no_domain_is_no_domain(settings: Settings, domain: str | None) -> None:
    settings.SESSION_COOKIE_NAME = "__Host-sessionid"
    settings.SESSION_COOKIE_DOMAIN = domain
    assert ids() == []


@pytest.mark.parametrize("same_site", ["None", "none", "NONE"])
@pytest.mark.parametrize("is_secure", [False, True])
def test_a_cookie_for_every_site_must_be_secure(
    settings: Settings, same_site: str, is_secure: bool
) -> None:
    settings.SESSION_COOKIE_SAMESITE = same_site
    settings.SESSION_COOKIE_SECURE = is_secure
    assert ids() == ([] if is_secure else ["multisession.E016"])


@pytest.mark.parametrize("same_site", ["Lax", "lax", "Strict", "STRICT", False, None])
def test_what_django_takes_for_samesite_is_right(settings: Settings, same_site: Any) -> None:
    settings.SESSION_COOKIE_SAMESITE = same_site
    settings.SESSION_COOKIE_SECURE = False
    assert ids() == []


@pytest.mark.parametrize("same_site", ["Laxx", "Same-Site", True, 1, ["Lax"], Path("Lax")])
def test_what_django_raises_at_for_samesite_is_an_error(settings: Settings, same_site: Any) -> None:
    settings.SESSION_COOKIE_SAMESITE = same_site
    message = only_message()
    assert message.id == "multisession.E021"
    assert f"(got {same_site!r})" in str(message.msg)
    assert message.hint == 'SESSION_COOKIE_SAMESITE = "Lax"'


@pytest.mark.parametrize("name", ["", "session id", "session;id", "größe", "path", None, 7])
def test_a_name_that_no_cookie_can_have_is_an_error(settings: Settings, name: Any) -> None:
    settings.SESSION_COOKIE_NAME = name
    message = only_message()
    assert message.id == "multisession.E022"
    assert f"(got {name!r})" in str(message.msg)
    assert message.hint


# The serializer


@pytest.mark.parametrize(
    "serializer",
    [
        "django.contrib.sessions.serializers.JSONSerializer",
        "tests.web.serializers.PickleSerializer",
        f"{__name__}.make_serializer",
    ],
)
def test_a_serializer_that_can_be_imported_is_right(settings: Settings, serializer: str) -> None:
    settings.SESSION_SERIALIZER = serializer
    assert ids() == []


@pytest.mark.parametrize(
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


@pytest.mark.parametrize("order", [1, -1])
def test_djangos_session_middleware_beside_ours_is_an_error(settings: Settings, order: int) -> None:
    both = [DJANGOS_MIDDLEWARE, OUR_MIDDLEWARE][::order]
    settings.MIDDLEWARE = [*both, *settings.MIDDLEWARE[1:]]
    message = only_message()
    assert message.id == "multisession.E018"
    assert message.level == checks.ERROR
    assert f"(got {' and '.join(both)})" in str(message.msg)
    assert message.hint == f"Remove {DJANGOS_MIDDLEWARE} from MIDDLEWARE."


@pytest.mark.parametrize("base", [DJANGOS_MIDDLEWARE, OUR_MIDDLEWARE])
@pytest.mark.parametrize("other", [DJANGOS_MIDDLEWARE, OUR_MIDDLEWARE])
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


@pytest.mark.parametrize("one", [[], [DJANGOS_MIDDLEWARE], [OUR_MIDDLEWARE]])
def test_one_session_middleware_and_none_are_right(settings: Settings, one: list[str]) -> None:
    # Where one is needed, Django says so: admin.E410, and AuthenticationMiddleware.
    settings.MIDDLEWARE = [*one, "no.such.Middleware", *settings.MIDDLEWARE[1:]]
    assert ids() == []


@pytest.mark.parametrize(
    "sessions", ["django.contrib.sessions", "django.contrib.sessions.apps.SessionsConfig"]
)
@pytest.mark.parametrize(
    "ours", ["django_multisession", "django_multisession.apps.MultisessionConfig"]
)
def test_an_app_that_hides_our_command_is_a_warning(
    settings: Settings, sessions: str, ours: str
) -> None:
    rest = ["django.contrib.auth", "django.contrib.contenttypes"]
    settings.INSTALLED_APPS = [sessions, *rest, ours]
    message = only_message()
    assert message.id == "multisession.W019"
    assert message.level == checks.WARNING
    assert 'INSTALLED_APPS = ["django_multisession"' in str(message.hint)
    settings.INSTALLED_APPS = [*rest, ours, sessions]
    assert ids() == []


def test_without_djangos_app_nothing_hides_our_command(settings: Settings) -> None:
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS[1:], "django_multisession"]
    assert ids() == []


# Engines of others


@pytest.mark.parametrize(
    "engine",
    ["django.contrib.sessions.backends.cache", "django.contrib.sessions.backends.signed_cookies"],
)
def test_the_cookie_of_another_engine_is_not_ours_to_judge(settings: Settings, engine: str) -> None:
    settings.SESSION_ENGINE = engine
    settings.SESSION_COOKIE_NAME = "__Host-sessionid"
    settings.SESSION_COOKIE_PATH = "/shop/"
    settings.SESSION_COOKIE_SAMESITE = "Laxx"
    settings.SESSION_SERIALIZER = "no.such.Serializer"
    settings.INSTALLED_APPS = ["django.contrib.sessions", *settings.INSTALLED_APPS]
    assert ids() == []


@pytest.mark.parametrize("engine", ["no.such.engine", "json", "", 7, None])
def test_an_engine_that_cannot_be_imported_raises_in_no_check(
    settings: Settings, engine: Any
) -> None:
    settings.SESSION_ENGINE = engine
    assert ids(deploy=True) == ["multisession.W127"]


# All at once


def test_what_is_wrong_with_the_site_and_with_our_settings_is_told_at_once(
    settings: Settings,
) -> None:
    settings.MULTISESSION_MAX_SIZE = 0
    settings.MULTISESSION_IDLE = 1
    settings.SESSION_COOKIE_NAME = "__Host-sessionid"
    settings.SESSION_COOKIE_DOMAIN = "shop.example"
    settings.SESSION_COOKIE_SECURE = False
    settings.SESSION_COOKIE_SAMESITE = "None"
    settings.SESSION_SERIALIZER = "no.such.Serializer"
    settings.MIDDLEWARE = [DJANGOS_MIDDLEWARE, *settings.MIDDLEWARE]
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
        "W019",
    ]
