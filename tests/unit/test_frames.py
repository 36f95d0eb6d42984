"""No secret and no entry of a session is in what an error reporter shows of this package."""

from __future__ import annotations

import asyncio
import functools
import inspect
import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.core.serializers.json import DjangoJSONEncoder

from django_multisession.core import keys, payloads, signing
from django_multisession.core.records import Facts
from django_multisession.core.secret import SecretBytes
from django_multisession.engine import close_drivers
from django_multisession.engines import memory, redis
from django_multisession.exceptions import (
    BadPayload,
    EntryNotSerializable,
    SessionTooLarge,
    StoreUnavailable,
)
from django_multisession.settings import conf
from django_multisession.store import DriverSessionStore
from django_multisession.testing.engine.faults import FaultyDriver
from django_multisession.testing.rows import for_each
from tests.rows import restoring
from tests.unit.frames import caught, mail, shown
from tests.unit.test_engine import engine_of

if TYPE_CHECKING:
    from pytest_django import Settings

# Made of pieces: an error mail shows the lines of files.
SECRET = "-".join(["0011", "secret"] * 6)
FALLBACK = "-".join(["0022", "fallback"] * 6)
PASSWORD = "-".join(["hunter"] * 3)
PRECIOUS = "-".join(["4111"] * 4)

WRONG_SETTINGS: dict[str, Any] = {
    "MULTISESSION_IDLE_TIMEOUT": "an hour",
    "MULTISESSION_MAX_SIZE": 1,
    "MULTISESSION_ON_OUTAGE": "panic",
    "MULTISESSION_CONFLICT_RESOLVERS": {"cart": "no.such.module"},
    "SESSION_COOKIE_AGE": 0,
}

WRONG_OPTIONS: dict[str, list[dict[str, Any]]] = {
    "redis": [
        {"URL": f"redis://:{PASSWORD}@127.0.0.1/0", "OPTIONS": {"no_such_option": 1}},
        {"URL": f"redis//:{PASSWORD}@127.0.0.1/0"},
        {"URL": "redis://127.0.0.1/0", "PASSWORD": PASSWORD, "OPTIONS": {"no_such_option": 1}},
        {"CACHE_ALIAS": "nowhere", "OPTIONS": {"password": PASSWORD}},
        {"CACHE_ALIAS": "default", "PASSWORD": PASSWORD},
        {"CACHE_ALIAS": f"redis://:{PASSWORD}@127.0.0.1/0"},
    ],
    "mongodb": [
        {"URI": f"mongodb://user:{PASSWORD}@127.0.0.1", "OPTIONS": {"noSuchOption": 1}},
        {"URI": f"mongodb//user:{PASSWORD}@127.0.0.1"},
        {"URI": "mongodb://127.0.0.1", "PASSWORD": PASSWORD, "OPTIONS": {"maxPoolSize": "many"}},
        {"URI": f"mongodb://user:{PASSWORD}@127.0.0.1:port"},
        {"URI": f"mongodb://user:{PASSWORD}@127.0.0.1", "DATABASE": "a b"},
    ],
    "memcached": [
        {"SERVERS": [f"memcached://user:{PASSWORD}@127.0.0.1"]},
        {"SERVERS": ["127.0.0.1"], "PASSWORD": PASSWORD},
        {"SERVERS": ["127.0.0.1"], "USERNAME": "a b", "PASSWORD": PASSWORD},
        {"SERVERS": ["127.0.0.1"], "KEY_PREFIX": "a b", "OPTIONS": {"password": PASSWORD}},
    ],
}


def assert_hidden(error: BaseException, *secrets: str) -> None:
    for report in (shown(error), mail(error)):
        for secret in secrets:
            assert secret not in report


@pytest.fixture
def secret_settings(settings: Settings) -> Settings:
    settings.SECRET_KEY = SECRET
    settings.SECRET_KEY_FALLBACKS = [FALLBACK]
    return settings


# Settings


@for_each("name", WRONG_SETTINGS)
@restoring
def test_a_wrong_setting_shows_no_secret_key(secret_settings: Settings, name: str) -> None:
    setattr(secret_settings, name, WRONG_SETTINGS[name])
    # Overridden last: what was overridden before is out of sight.
    secret_settings.SECRET_KEY = SECRET
    calls: list[Callable[[], object]] = [
        conf.config,
        lambda: memory.SessionStore("x" * 40).get("a"),
        lambda: memory.SessionStore().save(),
    ]
    for call in calls:
        error = caught(call, ImproperlyConfigured)
        assert name in str(error)
        assert_hidden(error, SECRET, FALLBACK)


def test_derived_keys_do_not_show_themselves(secret_settings: Settings) -> None:
    config = conf.config()
    derived: tuple[Any, ...] = (*config.signing_keys, *config.record_keys.values())
    for key in derived:
        plain = bytes(bytearray(key))
        for text in (repr(key), str(key), f"{key}", f"{key!s}", repr([key]), repr({"key": key})):
            assert repr(plain)[2:-1] not in text
        assert key == plain


def test_the_options_of_an_engine_do_not_show_their_values(settings: Settings) -> None:
    settings.MULTISESSION_REDIS = {"URL": f"redis://:{PASSWORD}@127.0.0.1/0"}
    options = engine_of("redis").options()
    for text in (repr(options), str(options), repr([options]), repr({"options": options})):
        assert PASSWORD not in text
    assert dict(options) == {"URL": f"redis://:{PASSWORD}@127.0.0.1/0"}


# Options of a server


@for_each(
    ("engine", "number"),
    [(engine, number) for engine, all_ in WRONG_OPTIONS.items() for number in range(len(all_))],
)
@restoring
def test_wrong_options_of_a_server_show_no_password(
    settings: Settings, engine: str, number: int
) -> None:
    close_drivers()
    settings.SESSION_ENGINE = f"django_multisession.engines.{engine}"
    setattr(settings, f"MULTISESSION_{engine.upper()}", WRONG_OPTIONS[engine][number])
    assert_hidden(caught(engine_of(engine).driver, ImproperlyConfigured), PASSWORD)


@for_each(
    "options",
    [
        {"CACHE_ALIAS": f"redis://:{PASSWORD}@127.0.0.1/0"},
        {"CACHE_ALIAS": f"user:{PASSWORD}@127.0.0.1"},
        {f"redis://:{PASSWORD}@127.0.0.1/0": "URL"},
    ],
    ids=["url", "address", "name"],
)
@restoring
def test_manage_py_check_prints_no_password(settings: Settings, options: dict[str, Any]) -> None:
    close_drivers()
    settings.SESSION_ENGINE = "django_multisession.engines.redis"
    settings.MULTISESSION_REDIS = options
    printed = io.StringIO()
    with pytest.raises(CommandError) as error:
        call_command("check", stdout=printed, stderr=printed)
    report = printed.getvalue() + str(error.value)
    assert "MULTISESSION_REDIS" in report
    assert PASSWORD not in report


def test_an_alias_that_is_an_address_is_told_without_it(settings: Settings) -> None:
    settings.MULTISESSION_REDIS = {"CACHE_ALIAS": f"redis://:{PASSWORD}@127.0.0.1/0"}
    (problem,) = engine_of("redis").problems(is_chosen=True)
    assert problem.id == "multisession.E034"
    assert problem.message == (
        'MULTISESSION_REDIS["CACHE_ALIAS"] must be the name of a cache in CACHES (got an address).'
    )


def test_the_name_of_a_cache_may_look_like_an_address(settings: Settings) -> None:
    settings.CACHES = {
        "default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"},
        "redis:sessions": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"},
    }
    settings.MULTISESSION_REDIS = {"CACHE_ALIAS": "redis:sessions"}
    assert engine_of("redis").problems(is_chosen=True) == []


# Entries


class Shouting(DjangoJSONEncoder):
    """A serializer that refuses what it does not know, as JSON does."""

    def dumps(self, obj: Any) -> bytes:
        return self.encode(obj).encode()

    def loads(self, data: bytes) -> Any:
        raise NotImplementedError


def test_a_session_that_is_too_large_shows_no_entry() -> None:
    entries = {"card": PRECIOUS, "novel": "x" * 3000}
    serialized = Shouting().dumps(entries)
    error = caught(
        lambda: payloads.require_size(serialized, entries, Shouting(), 1024), SessionTooLarge
    )
    assert "'novel'" in str(error)
    assert_hidden(error, PRECIOUS)


def test_an_entry_that_cannot_be_serialized_shows_no_entry() -> None:
    entries = {"card": PRECIOUS, "culprit": object()}
    error = caught(lambda: payloads.serialize(entries, Shouting()), EntryNotSerializable)
    assert "'culprit'" in str(error)
    assert_hidden(error, PRECIOUS)


@for_each("cause", ["too-large", "not-serializable"])
@restoring
def test_a_save_that_failed_shows_no_entry(settings: Settings, cause: str) -> None:
    settings.MULTISESSION_MAX_SIZE = 1024
    session = memory.SessionStore()
    session["card"] = PRECIOUS
    session["novel"] = "x" * 3000 if cause == "too-large" else object()
    assert_hidden(caught(session.save, SessionTooLarge, EntryNotSerializable), PRECIOUS)


def failing(_base: object, _theirs: object, _mine: object) -> object:
    """A resolver that fails."""
    raise ZeroDivisionError


def test_a_resolver_that_failed_shows_no_other_entry(settings: Settings) -> None:
    settings.MULTISESSION_CONFLICT_RESOLVERS = {"n": f"{__name__}.failing"}
    session = memory.SessionStore()
    session.update({"card": PRECIOUS, "n": 1})
    session.save()
    other = memory.SessionStore(session.session_key)
    session["n"], other["n"] = 2, 3
    session.save()
    error = caught(other.save, ZeroDivisionError)
    assert "MULTISESSION_CONFLICT_RESOLVERS['n']" in shown(error)
    assert_hidden(error, PRECIOUS)


# Keys


@for_each("key", [12345, b"x" * 40, ["x"], 1.5])
def test_what_is_no_text_is_no_session_key(secret_settings: Settings, key: Any) -> None:
    assert keys.verify(key, conf.config().signing_keys) is None
    session = memory.SessionStore()
    assert session.exists(key) is False
    session.delete(key)


class Hostile(str):
    """Text that breaks what looks at it."""

    __slots__ = ()

    def encode(self, *_arguments: Any) -> bytes:
        raise ZeroDivisionError


def test_an_error_while_a_key_is_verified_shows_no_signing_key(secret_settings: Settings) -> None:
    signing_keys = conf.config().signing_keys
    error = caught(lambda: keys.verify(Hostile("x" * 40), signing_keys), ZeroDivisionError)
    assert_hidden(error, *(repr(bytes(bytearray(key)))[2:-1] for key in signing_keys))


FACTS = Facts(created_ms=0, began_ms=0, touched_ms=0, idle_ms=0, deadline_ms=0)


def test_an_error_while_a_record_is_signed_shows_no_key_and_no_payload(
    secret_settings: Settings,
) -> None:
    record_keys = conf.config().record_keys
    binding: Any = None
    payload = SecretBytes(PRECIOUS.encode())
    error = caught(lambda: signing.sign(FACTS, payload, "x" * 32, binding, record_keys), TypeError)
    keys_shown = (repr(bytes(bytearray(key)))[2:-1] for key in record_keys.values())
    assert_hidden(error, PRECIOUS, *keys_shown)


def test_a_record_that_does_not_open_shows_no_key_and_no_payload(
    secret_settings: Settings,
) -> None:
    record_keys = conf.config().record_keys
    record = signing.sign(FACTS, PRECIOUS.encode(), "x" * 32, b"0:", record_keys)
    for binding, wrong, kind in (
        (b"1:x", record_keys, BadPayload),
        (b"0:", {}, StoreUnavailable),
    ):
        call = functools.partial(signing.verify, record, "x" * 32, binding, wrong)
        keys_shown = (repr(bytes(bytearray(key)))[2:-1] for key in record_keys.values())
        assert_hidden(caught(call, kind), PRECIOUS, *keys_shown)


@for_each("kind", [StoreUnavailable, ZeroDivisionError])
def test_an_error_of_the_server_shows_neither_entries_nor_session_key(
    kind: type[Exception],
) -> None:
    faulty = FaultyDriver(memory.SessionStore.get_driver())
    members = {"get_driver": classmethod(lambda _cls: faulty)}
    store = cast("type[DriverSessionStore]", type("SessionStore", (DriverSessionStore,), members))
    session = store()
    session["card"] = PRECIOUS
    session.save()
    key = session.session_key
    assert key is not None

    def write() -> None:
        session["more"] = 1
        session.save()

    for verb, act in (
        ("write", write),
        ("get", lambda: store(key).get("card")),
        ("delete", lambda: store(key).flush()),
    ):
        faulty.lose_answer(verb, kind())
        assert_hidden(caught(act, kind), PRECIOUS, key, key[:22], key[22:])


@for_each("verb", ["exists", "delete", "aexists", "adelete"])
@restoring
def test_a_mail_of_an_outage_shows_no_key_that_code_named(settings: Settings, verb: str) -> None:
    settings.MULTISESSION_REDIS = {"URL": "redis://127.0.0.1:1"}
    key = redis.SessionStore()._get_new_session_key()

    def use() -> None:
        found = getattr(redis.SessionStore(), verb)(key)
        if inspect.iscoroutine(found):
            asyncio.run(found)

    # What a caller passes is marked for Django's filter.
    assert key not in mail(caught(use, StoreUnavailable))
