from __future__ import annotations

import contextlib
import dataclasses
import re
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.conf import settings as site_settings
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from django_multisession import resolvers
from django_multisession.core import keys, signing
from django_multisession.core.problems import Problem
from django_multisession.engines import memory
from django_multisession.settings import conf
from django_multisession.settings.check_ids import Check
from django_multisession.settings.reader import SettingReader
from django_multisession.testing.rows import for_each
from tests.rows import restoring

if TYPE_CHECKING:
    from pytest_django import Settings

OURS = (
    "MULTISESSION_IDLE_TIMEOUT",
    "MULTISESSION_ABSOLUTE_TIMEOUT",
    "MULTISESSION_ANONYMOUS_IDLE_TIMEOUT",
    "MULTISESSION_TOUCH_INTERVAL",
    "MULTISESSION_REMEMBERED_ABSOLUTE_TIMEOUT",
)

PERIOD_EXPECTED = "a timedelta or a number of seconds, from one second to 100 years"
TIMEOUT_EXPECTED = f"{PERIOD_EXPECTED}, or None"
NO_TIMEOUTS: dict[str, Any] = {
    "zero": 0,
    "negative": -60,
    "half a second": 0.5,
    "no time": timedelta(0),
    "negative time": timedelta(days=-1),
    "text": "1 hour",
    "flag": True,
    "no flag": False,
    "infinite": float("inf"),
    "no number": float("nan"),
    "too long": 10**20,
    "list": [60],
}


def longest(base: Any, theirs: Any, mine: Any) -> Any:
    """A resolver of the site's own."""
    raise NotImplementedError


def only_problem() -> Problem:
    problems = conf.problems()
    assert len(problems) == 1, problems
    return problems[0]


def test_without_any_setting_nothing_is_wrong() -> None:
    assert conf.problems() == []


def test_the_defaults_are_those_of_the_documentation(settings: Settings) -> None:
    settings.SESSION_COOKIE_AGE = 1_209_600
    config = conf.config()
    assert config.policy.idle_timeout == timedelta(days=14)
    assert config.policy.absolute_timeout == timedelta(days=30)
    assert config.policy.absolute_is_configured is False
    assert config.policy.anonymous_idle_timeout is None
    assert config.policy.touch_interval is None
    assert config.cycle_on_login is True
    assert config.on_outage == "error"
    assert config.on_interrupted == "error"
    assert config.resolvers == {}
    assert config.max_size == 1024 * 1024


def test_the_idle_timeout_follows_djangos_cookie_age(settings: Settings) -> None:
    settings.SESSION_COOKIE_AGE = 3600
    assert conf.config().policy.idle_timeout == timedelta(hours=1)
    assert conf.config().policy.absolute_timeout == timedelta(days=30)


def test_a_cookie_age_beyond_30_days_lengthens_the_default_absolute_timeout(
    settings: Settings,
) -> None:
    settings.SESSION_COOKIE_AGE = 90 * 86_400
    assert conf.config().policy.absolute_timeout == timedelta(days=90)


@for_each("name", OURS)
@for_each(
    ("value", "expected"),
    [
        (timedelta(minutes=5), timedelta(minutes=5)),
        (300, timedelta(minutes=5)),
        (1.5, timedelta(seconds=1.5)),
        (1, timedelta(seconds=1)),
        (None, None),
    ],
)
def test_a_time_is_seconds_or_a_timedelta_or_none(
    settings: Settings, name: str, value: Any, expected: timedelta | None
) -> None:
    setattr(settings, name, value)
    attribute = name.removeprefix("MULTISESSION_").lower()
    assert getattr(conf.config().policy, attribute) == expected


@for_each("value", [None, 3600])
@restoring
def test_an_absolute_timeout_counts_as_configured_also_when_it_is_switched_off(
    settings: Settings, value: int | None
) -> None:
    settings.MULTISESSION_ABSOLUTE_TIMEOUT = value
    assert conf.config().policy.absolute_is_configured is True


@for_each(
    ("name", "check_id"),
    list(zip(OURS, ["E001", "E002", "E003", "E004", "E038"], strict=True)),
)
@for_each("value", NO_TIMEOUTS.values())
def test_a_wrong_time_is_a_problem(
    settings: Settings, name: str, check_id: str, value: Any
) -> None:
    setattr(settings, name, value)
    problem = only_problem()
    assert problem.id == f"multisession.{check_id}"
    assert problem.message == f"{name} must be {TIMEOUT_EXPECTED} (got {value!r})."
    assert problem.hint
    delattr(settings, name)


@for_each("interval", [60, 61, timedelta(hours=1)])
@restoring
def test_a_touch_interval_as_long_as_the_idle_timeout_is_a_problem(
    settings: Settings, interval: Any
) -> None:
    settings.MULTISESSION_IDLE_TIMEOUT = 60
    settings.MULTISESSION_TOUCH_INTERVAL = interval
    problem = only_problem()
    seconds = SettingReader(settings).timeout(
        "MULTISESSION_TOUCH_INTERVAL", Check.IDLE_TIMEOUT, None
    )
    assert seconds is not None
    assert problem.id == "multisession.E005"
    assert problem.message == (
        "MULTISESSION_TOUCH_INTERVAL must be shorter than the idle timeout of 60 seconds "
        f"(got {seconds.total_seconds():g})."
    )


def test_long_times_are_told_in_full(settings: Settings) -> None:
    settings.MULTISESSION_IDLE_TIMEOUT = timedelta(days=14)
    settings.MULTISESSION_TOUCH_INTERVAL = timedelta(days=28, milliseconds=500)
    assert "of 1209600 seconds (got 2419200.5)" in only_problem().message


def test_any_touch_interval_suits_a_site_without_an_idle_timeout(settings: Settings) -> None:
    settings.MULTISESSION_IDLE_TIMEOUT = None
    settings.MULTISESSION_TOUCH_INTERVAL = 3600
    assert conf.problems() == []


LIMIT = "a whole number, 1 or more, a function of a user's id or its dotted path, or None"
ENDING = "a tuple or a list of some of 'password', 'deactivated', 'deleted'"


@for_each(
    ("name", "value", "check_id", "expected"),
    [
        ("MULTISESSION_ALWAYS_CYCLE_ON_LOGIN", 1, "E006", "True or False"),
        ("MULTISESSION_ALWAYS_CYCLE_ON_LOGIN", None, "E006", "True or False"),
        ("MULTISESSION_ALWAYS_CYCLE_ON_LOGIN", "no", "E006", "True or False"),
        ("MULTISESSION_ON_OUTAGE", "Error", "E007", '"error" or "anonymous"'),
        ("MULTISESSION_ON_OUTAGE", None, "E007", '"error" or "anonymous"'),
        ("MULTISESSION_ON_OUTAGE", ["error"], "E007", '"error" or "anonymous"'),
        ("MULTISESSION_ON_INTERRUPTED", "anonymous", "E027", '"error" or "ignore"'),
        ("MULTISESSION_ON_INTERRUPTED", None, "E027", '"error" or "ignore"'),
        ("MULTISESSION_ON_INTERRUPTED", False, "E027", '"error" or "ignore"'),
        ("MULTISESSION_ON_INTERRUPTED", {"ignore"}, "E027", '"error" or "ignore"'),
        ("MULTISESSION_NAMESPACE", None, "E035", "a string"),
        ("MULTISESSION_NAMESPACE", b"shop", "E035", "a string"),
        ("MULTISESSION_CONFLICT_RESOLVERS", None, "E028", "a dict of names and dotted paths"),
        ("MULTISESSION_CONFLICT_RESOLVERS", ["cart"], "E028", "a dict of names and dotted paths"),
        (
            "MULTISESSION_CONFLICT_RESOLVERS",
            {"cart": len},
            "E028",
            "a dict of names and dotted paths",
        ),
        (
            "MULTISESSION_CONFLICT_RESOLVERS",
            {"cart": None},
            "E028",
            "a dict of names and dotted paths",
        ),
        ("MULTISESSION_CONFLICT_RESOLVERS", {7: "x.y"}, "E028", "a dict of names and dotted paths"),
        ("MULTISESSION_END_SESSIONS_ON", "password", "E052", ENDING),
        ("MULTISESSION_END_SESSIONS_ON", None, "E052", ENDING),
        ("MULTISESSION_END_SESSIONS_ON", ["email"], "E052", ENDING),
        ("MULTISESSION_END_SESSIONS_ON", [["password"]], "E052", ENDING),
        ("MULTISESSION_REAUTHENTICATION_URL", "", "E058", "the name of a URL pattern, or a URL"),
        ("MULTISESSION_REAUTHENTICATION_URL", 7, "E058", "the name of a URL pattern, or a URL"),
        ("MULTISESSION_RECORD_USER_AGENT", 1, "E060", "True or False"),
        ("MULTISESSION_RECORD_USER_AGENT", "yes", "E060", "True or False"),
        ("MULTISESSION_RECORD_ADDRESS", True, "E061", '"truncated", "full" or None'),
        ("MULTISESSION_RECORD_ADDRESS", "half", "E061", '"truncated", "full" or None'),
        ("MULTISESSION_RECORD_ADDRESS", ["full"], "E061", '"truncated", "full" or None'),
        ("MULTISESSION_MAX_SESSIONS", True, "E056", LIMIT),
        ("MULTISESSION_MAX_SESSIONS", 1.5, "E056", LIMIT),
        ("MULTISESSION_MAX_SESSIONS", [3], "E056", LIMIT),
        ("MULTISESSION_AT_LIMIT", None, "E057", '"oldest" or "least_used" or "deny"'),
        ("MULTISESSION_MAX_SIZE", 1023, "E008", "a number of bytes from 1024 to 16711680"),
        ("MULTISESSION_MAX_SIZE", 16711681, "E008", "a number of bytes from 1024 to 16711680"),
        ("MULTISESSION_MAX_SIZE", True, "E008", "a number of bytes from 1024 to 16711680"),
        ("MULTISESSION_MAX_SIZE", "1 MB", "E008", "a number of bytes from 1024 to 16711680"),
        ("MULTISESSION_MAX_SIZE", 2048.0, "E008", "a number of bytes from 1024 to 16711680"),
        ("MULTISESSION_MAX_SIZE", None, "E008", "a number of bytes from 1024 to 16711680"),
    ],
)
def test_a_wrong_choice_is_a_problem(
    settings: Settings, name: str, value: Any, check_id: str, expected: str
) -> None:
    setattr(settings, name, value)
    problem = only_problem()
    assert problem.id == f"multisession.{check_id}"
    assert problem.message == f"{name} must be {expected} (got {value!r})."
    assert problem.hint
    delattr(settings, name)


@for_each(
    ("name", "value", "attribute"),
    [
        ("MULTISESSION_ALWAYS_CYCLE_ON_LOGIN", False, "cycle_on_login"),
        ("MULTISESSION_ON_OUTAGE", "anonymous", "on_outage"),
        ("MULTISESSION_ON_OUTAGE", "error", "on_outage"),
        ("MULTISESSION_ON_INTERRUPTED", "error", "on_interrupted"),
        ("MULTISESSION_ON_INTERRUPTED", "ignore", "on_interrupted"),
        ("MULTISESSION_CONFLICT_RESOLVERS", {}, "resolvers"),
        ("MULTISESSION_RECORD_USER_AGENT", True, "records_user_agent"),
        ("MULTISESSION_RECORD_ADDRESS", None, "record_address"),
        ("MULTISESSION_RECORD_ADDRESS", "truncated", "record_address"),
        ("MULTISESSION_RECORD_ADDRESS", "full", "record_address"),
        ("MULTISESSION_CLIENT_ADDRESS", None, "client_address"),
        ("MULTISESSION_MAX_SIZE", 1024, "max_size"),
        ("MULTISESSION_MAX_SIZE", 16711680, "max_size"),
    ],
)
@restoring
def test_a_right_choice_is_taken(settings: Settings, name: str, value: Any, attribute: str) -> None:
    setattr(settings, name, value)
    assert conf.problems() == []
    assert getattr(conf.config(), attribute) == value


def test_resolvers_are_found_by_their_paths(settings: Settings) -> None:
    settings.MULTISESSION_CONFLICT_RESOLVERS = {
        "cart": "django_multisession.resolvers.union",
        "visits": f"{__name__}.longest",
        "seen": "builtins.max",
    }
    assert conf.problems() == []
    found = {"cart": resolvers.union, "visits": longest, "seen": max}
    assert conf.config().resolvers == found


@for_each(
    ("path", "found"),
    [
        ("django_multisession.resolvers.onion", "ImportError at its import"),
        ("no.such.resolver", "ModuleNotFoundError at its import"),
        ("union", "ImportError at its import"),
        ("", "ImportError at its import"),
        ("django_multisession.resolvers.__all__", "a list"),
    ],
)
@restoring
def test_a_path_that_leads_to_no_resolver_is_a_problem(
    settings: Settings, path: str, found: str
) -> None:
    settings.MULTISESSION_CONFLICT_RESOLVERS = {"cart": path}
    problem = only_problem()
    assert problem.id == "multisession.E028"
    assert problem.message == (
        "MULTISESSION_CONFLICT_RESOLVERS['cart'] must be the dotted path of a function "
        f"(got {path!r}: {found})."
    )
    assert problem.hint


def test_every_resolver_that_there_is_none_of_is_told(settings: Settings) -> None:
    settings.MULTISESSION_CONFLICT_RESOLVERS = {
        "cart": "shop.onion",
        "seen": "django_multisession.resolvers.union",
        "visits": "shop.plus",
    }
    told = [problem.message.partition(" ")[0] for problem in conf.problems()]
    assert told == [
        "MULTISESSION_CONFLICT_RESOLVERS['cart']",
        "MULTISESSION_CONFLICT_RESOLVERS['visits']",
    ]


@for_each(
    ("path", "found"),
    [
        (len, "a builtin_function_or_method"),
        (7, "a int"),
        ("", "ImportError at its import"),
        ("no.such.function", "ModuleNotFoundError at its import"),
        ("django_multisession.resolvers.__all__", "a list"),
    ],
)
@restoring
def test_a_path_that_leads_to_no_function_of_the_address_is_a_problem(
    settings: Settings, path: object, found: str
) -> None:
    settings.MULTISESSION_CLIENT_ADDRESS = path
    problem = only_problem()
    assert problem.id == "multisession.E062"
    assert problem.message == (
        f"MULTISESSION_CLIENT_ADDRESS must be the dotted path of a function or None (got {path!r}: "
        f"{found})."
    )
    assert problem.hint


def test_the_function_of_the_address_is_found_by_its_path(settings: Settings) -> None:
    settings.MULTISESSION_CLIENT_ADDRESS = f"{__name__}.longest"
    assert conf.problems() == []
    found: Any = conf.config().client_address
    assert found is longest


@for_each(
    ("path", "told"),
    [
        ("shop.most", "ImportError at its import"),
        ("sys.path", "a list"),
        ("3", "ImportError at its import"),
    ],
)
@restoring
def test_a_path_of_a_limit_that_leads_to_no_function_is_a_problem(
    settings: Settings, path: str, told: str
) -> None:
    settings.MULTISESSION_MAX_SESSIONS = path
    problem = only_problem()
    assert problem.id == "multisession.E056"
    assert problem.message.endswith(f"(got {path!r}: {told}).")


def test_a_limit_is_a_number_or_a_function(settings: Settings) -> None:
    for value, expected in ((3, 3), (len, len), ("builtins.len", len), (None, None)):
        settings.MULTISESSION_MAX_SESSIONS = value
        assert conf.problems() == []
        assert conf.current().max_sessions is expected


WRONG: dict[str, Any] = {
    "MULTISESSION_IDLE_TIMEOUT": 0,
    "MULTISESSION_ABSOLUTE_TIMEOUT": "month",
    "MULTISESSION_ANONYMOUS_IDLE_TIMEOUT": -1,
    "MULTISESSION_REMEMBERED_ABSOLUTE_TIMEOUT": 0,
    "MULTISESSION_TOUCH_INTERVAL": False,
    "MULTISESSION_ALWAYS_CYCLE_ON_LOGIN": "yes",
    "MULTISESSION_ON_OUTAGE": "ignore",
    "MULTISESSION_ON_INTERRUPTED": "end",
    "MULTISESSION_CONFLICT_RESOLVERS": "django_multisession.resolvers.union",
    "MULTISESSION_MAX_SIZE": 1,
    "MULTISESSION_END_SESSIONS_ON": "password",
    "MULTISESSION_REAUTHENTICATION_URL": None,
    "MULTISESSION_RECORD_USER_AGENT": 1,
    "MULTISESSION_RECORD_ADDRESS": "half",
    "MULTISESSION_CLIENT_ADDRESS": "shop.address",
    "MULTISESSION_MAX_SESSIONS": 0,
    "MULTISESSION_AT_LIMIT": "newest",
}


def test_everything_that_is_wrong_is_reported_together() -> None:
    with override_settings(**WRONG), pytest.raises(ImproperlyConfigured) as caught:
        conf.config()
    for name in WRONG:
        assert f"{name} must be " in str(caught.value)
    assert str(caught.value).count("(got ") == len(WRONG)


def test_the_problems_of_several_settings_have_ids_of_their_own() -> None:
    with override_settings(**WRONG):
        ids = [problem.id for problem in conf.problems()]
    assert len(set(ids)) == len(ids) == len(WRONG)


def test_no_repr_holds_a_key() -> None:
    config = conf.config()
    for key in (*config.signing_keys, *config.record_keys.values()):
        assert repr(key) not in repr(config)


@for_each("value", [0, -1, 0.5, "1209600", None, True, 10**20, float("inf"), float("nan")])
@restoring
def test_a_wrong_cookie_age_is_one_problem(settings: Settings, value: Any) -> None:
    # It is the default of two of our settings.
    settings.SESSION_COOKIE_AGE = value
    problem = only_problem()
    assert problem.id == "multisession.E012"
    assert problem.message == (
        f"SESSION_COOKIE_AGE must be a number of seconds, from one to 3155760000 (got {value!r})."
    )
    assert problem.hint


def test_settings_can_be_checked_without_a_secret_key(settings: Settings) -> None:
    # Django lets ``check`` and ``makemigrations`` run without one, where an image is built.
    settings.SECRET_KEY = ""
    assert conf.problems() == []


def test_every_setting_that_there_is_is_known_by_name() -> None:
    # A check calls every other name that begins so a misspelling.
    source = Path(conf.__file__).read_text(encoding="utf-8")
    assert conf.site().our_settings == set(re.findall(r'"(MULTISESSION_[A-Z_]+[A-Z])"', source))


def test_what_a_site_has_is_known_by_name(settings: Settings) -> None:
    before = conf.site().given_settings
    settings.MULTISESSION_MAX_SIZE = 0
    settings.MULTISESSION_NONE_OF_OURS = 0
    settings.SHOP_MULTISESSION_SIZE = 0
    given = {"MULTISESSION_MAX_SIZE", "MULTISESSION_NONE_OF_OURS"}
    assert conf.site().given_settings - before == given


def test_what_the_checks_judge_has_defaults_for_what_is_wrong_and_no_keys() -> None:
    with override_settings(**WRONG, SECRET_KEY=""):
        config = conf.site().config
    assert config.policy.absolute_timeout == timedelta(days=30)
    assert config.policy.anonymous_idle_timeout is None
    assert config.max_size == conf.DEFAULT_MAX_SIZE
    assert config.on_interrupted == "error"
    assert config.resolvers == {}
    assert (config.signing_keys, dict(config.record_keys)) == ((), {})


def test_what_the_settings_say_is_read_once() -> None:
    assert conf.config() is conf.config()


def test_an_overridden_setting_holds_as_long_as_it_is_overridden() -> None:
    before = conf.config().max_size
    with override_settings(MULTISESSION_MAX_SIZE=4096):
        assert conf.config().max_size == 4096
        with override_settings(MULTISESSION_MAX_SIZE=2048):
            assert conf.config().max_size == 2048
        assert conf.config().max_size == 4096
    assert conf.config().max_size == before


def test_an_overridden_cookie_age_is_read_again() -> None:
    with override_settings(SESSION_COOKIE_AGE=77):
        assert conf.config().policy.idle_timeout == timedelta(seconds=77)
    assert conf.config().policy.idle_timeout != timedelta(seconds=77)


def test_the_keys_come_from_the_secret_key_and_then_its_fallbacks() -> None:
    with override_settings(SECRET_KEY="now", SECRET_KEY_FALLBACKS=["before", "long before"]):
        config = conf.config()
    secrets = (b"now", b"before", b"long before")
    assert config.signing_keys == tuple(map(keys.derive, secrets))
    assert config.record_keys == signing.by_id(tuple(map(signing.derive, secrets)))
    assert list(config.record_keys.values()) == list(map(signing.derive, secrets))


def test_a_secret_key_may_be_bytes() -> None:
    with override_settings(SECRET_KEY=b"now"):
        assert conf.config().signing_keys[0] == keys.derive(b"now")


def test_what_the_settings_say_cannot_be_changed() -> None:
    config = conf.config()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.max_size = 1  # type: ignore[misc]  # that is what is tried


@for_each("is_overridden", [False, True])
@for_each(
    ("name", "value", "attribute"),
    [
        ("MULTISESSION_MAX_SIZE", 4096, "max_size"),
        ("MULTISESSION_NAMESPACE", "shop", "namespace"),
        ("MULTISESSION_ON_OUTAGE", "anonymous", "on_outage"),
        ("SESSION_COOKIE_AGE", 77.0, "cookie_age"),
        ("SESSION_EXPIRE_AT_BROWSER_CLOSE", True, "expire_at_browser_close"),
        ("SESSION_SAVE_EVERY_REQUEST", True, "save_every_request"),
    ],
)
@restoring
def test_the_next_session_sees_an_assigned_setting(
    monkeypatch: pytest.MonkeyPatch, name: str, value: Any, attribute: str, is_overridden: bool
) -> None:
    overridden = override_settings(SHOP="north") if is_overridden else contextlib.nullcontext()
    with overridden, monkeypatch.context() as patch:
        before = getattr(conf.current(), attribute)
        patch.setattr(site_settings, name, value, raising=False)
        assert getattr(conf.current(), attribute) == value != before
        # Every step of that session too.
        assert getattr(conf.config(), attribute) == value
        patch.undo()
        assert getattr(conf.current(), attribute) == before


def test_the_next_session_sees_that_a_setting_of_none_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    default = conf.current().policy.absolute_timeout
    monkeypatch.setattr(site_settings, "MULTISESSION_ABSOLUTE_TIMEOUT", None, raising=False)
    assert conf.current().policy.absolute_timeout is None
    monkeypatch.undo()
    assert conf.current().policy.absolute_timeout == default


def test_a_session_is_signed_with_an_assigned_secret_key(monkeypatch: pytest.MonkeyPatch) -> None:
    session = memory.SessionStore()
    session.save()
    key = session.session_key
    monkeypatch.setattr(site_settings, "SECRET_KEY", "another")
    assert memory.SessionStore(key).is_empty()
    another = memory.SessionStore()
    another.save()
    monkeypatch.undo()
    assert not memory.SessionStore(key).is_empty()
    assert memory.SessionStore(another.session_key).is_empty()


def test_what_was_assigned_wrongly_is_an_error_at_the_next_session(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    memory.SessionStore().save()
    monkeypatch.setattr(site_settings, "MULTISESSION_MAX_SIZE", 0, raising=False)
    with pytest.raises(ImproperlyConfigured, match="MULTISESSION_MAX_SIZE"):
        memory.SessionStore().save()


def test_an_unchanged_setting_is_not_read_again() -> None:
    assert conf.current() is conf.current() is conf.config()


def test_every_setting_that_is_read_once_is_looked_at() -> None:
    assert {name for name in conf.READ_ONCE if name.startswith("MULTISESSION_")} == (
        conf.site().our_settings
    )
