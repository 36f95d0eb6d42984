"""An engine is one object: its setting, options, driver and checks, also where a site made it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest
from django.core import checks
from django.core.exceptions import ImproperlyConfigured

from django_multisession.core.problems import Problem, Severity
from django_multisession.core.secret import SecretOptions
from django_multisession.drivers.base import Driver
from django_multisession.drivers.memory import MemoryDriver
from django_multisession.engine import Engine, Keys, close_drivers
from django_multisession.engines import NAMES
from django_multisession.store import DriverSessionStore
from django_multisession.testing.rows import for_each
from tests.docs.pages import ROOT
from tests.rows import restoring
from tests.unit.checked_site import found, ids, right_site
from tests.unit.frames import caught, mail, shown

if TYPE_CHECKING:
    from pytest_django import Settings

__all__ = ["right_site"]

# Made of pieces: an error mail shows the lines of files.
PASSWORD = "-".join(["hunter"] * 3)
REDIS_EXPECTED = 'MULTISESSION_REDIS must be a dict with either "CACHE_ALIAS" or "URL"'
MONGODB_EXPECTED = 'MULTISESSION_MONGODB must be a dict with "URI"'
TIERED_EXPECTED = 'MULTISESSION_TIERED must be a dict with "FRONT"'
MEMCACHED_EXPECTED = 'MULTISESSION_MEMCACHED must be a dict with "SERVERS"'
EXPECTED = {
    "redis": REDIS_EXPECTED,
    "mongodb": MONGODB_EXPECTED,
    "memcached": MEMCACHED_EXPECTED,
    "database": 'MULTISESSION_DATABASE must be a dict with "ALIAS"',
    "tiered": TIERED_EXPECTED,
}


def engine_of(name: str) -> Engine:
    engine: Engine = import_module(f"django_multisession.engines.{name}").SessionStore.engine
    return engine


ENGINES = {name: engine_of(name) for name in NAMES}
WITH_SETTING = [name for name, engine in ENGINES.items() if engine.setting]
#: Engines that need to be told where a server is.
WITH_SERVER = [name for name in WITH_SETTING if (keys := ENGINES[name].keys) and keys.one_of]


@pytest.fixture(autouse=True)
def site(right_site: Settings) -> Settings:
    return right_site


def only_problem(name: str, settings: Settings, value: Any) -> Problem:
    setattr(settings, ENGINES[name].setting, value)
    (problem,) = ENGINES[name].problems(is_chosen=True)
    return problem


# The engines of this package


@for_each(
    ("name", "value", "told"),
    [
        ("redis", {}, "a dict with nothing in it"),
        ("redis", {"HOST": PASSWORD, "DB": PASSWORD}, "a dict with DB, HOST"),
        ("redis", {"CACHE_ALIAS": PASSWORD, "URL": PASSWORD}, "a dict with CACHE_ALIAS, URL"),
        ("redis", {"url": PASSWORD}, "a dict with url"),
        ("redis", {1: PASSWORD}, "dict"),
        ("redis", f"redis://:{PASSWORD}@localhost", "str"),
        ("redis", [PASSWORD], "list"),
        ("redis", None, "None"),
        ("mongodb", {}, "a dict with nothing in it"),
        ("mongodb", {"URL": PASSWORD, "password": PASSWORD}, "a dict with URL, password"),
        ("mongodb", {1: PASSWORD}, "dict"),
        ("mongodb", f"mongodb://me:{PASSWORD}@localhost", "str"),
        ("mongodb", None, "None"),
        ("memcached", {}, "a dict with nothing in it"),
        ("memcached", {"LOCATION": PASSWORD}, "a dict with LOCATION"),
        ("memcached", [PASSWORD], "list"),
        ("database", PASSWORD, "str"),
        ("database", None, "None"),
    ],
)
def test_wrong_options_are_told_by_type_and_names(
    settings: Settings, name: str, value: Any, told: str
) -> None:
    problem = only_problem(name, settings, value)
    assert problem.id == "multisession.E009"
    assert problem.message == f"{EXPECTED[name]} (got {told})."
    assert problem.hint == ENGINES[name].example


@for_each("name", WITH_SERVER)
@restoring
def test_an_engine_without_its_options_is_a_problem(settings: Settings, name: str) -> None:
    settings.SESSION_ENGINE = f"django_multisession.engines.{name}"
    (message,) = found()
    assert message.id == "multisession.E009"
    assert message.msg == f"{EXPECTED[name]} (got nothing)."
    # An installation from a package index has no docs directory.
    assert message.hint == ENGINES[name].example


@for_each("name", WITH_SERVER)
@restoring
def test_only_the_sites_engine_must_have_its_options(settings: Settings, name: str) -> None:
    assert found() == []
    setattr(settings, ENGINES[name].setting, {})
    assert ids() == ["multisession.E009"]


@for_each("name", WITH_SETTING)
@restoring
def test_the_example_in_a_hint_is_right(settings: Settings, name: str) -> None:
    settings.SESSION_ENGINE = f"django_multisession.engines.{name}"
    settings.MULTISESSION_REDIS = ast.literal_eval(ENGINES["redis"].example.partition(" = ")[2])
    setting, _, value = ENGINES[name].example.partition(" = ")
    assert setting == ENGINES[name].setting
    setattr(settings, setting, ast.literal_eval(value))
    for part in ENGINES[name].with_parts()[1:]:
        setattr(settings, part.setting, ast.literal_eval(part.example.partition(" = ")[2]))
    assert found() == []


@for_each(
    ("name", "key", "hint"),
    [
        ("redis", "KEY_PREFIKS", "Rename it to KEY_PREFIX."),
        ("redis", "key_prefix", "Rename it to KEY_PREFIX."),
        ("redis", "password", "Rename it to PASSWORD."),
        (
            "redis",
            "max_connections",
            'Move it into OPTIONS: MULTISESSION_REDIS = {..., "OPTIONS": {"max_connections": ...}}.',
        ),
        (
            "mongodb",
            "maxPoolSize",
            'Move it into OPTIONS: MULTISESSION_MONGODB = {..., "OPTIONS": {"maxPoolSize": ...}}.',
        ),
        ("database", "ALAIS", "Rename it to ALIAS."),
        ("database", "PASSWORD", "Remove it from MULTISESSION_DATABASE."),
    ],
)
@restoring
def test_an_unknown_key_is_told_with_its_place(
    settings: Settings, name: str, key: str, hint: str
) -> None:
    required = {"redis": {"URL": "redis://x"}, "mongodb": {"URI": "mongodb://x"}}.get(name, {})
    problem = only_problem(name, settings, {**required, key: PASSWORD})
    assert problem.id == "multisession.E036"
    assert problem.message.startswith(f"The keys of {ENGINES[name].setting} must be among ")
    assert problem.message.endswith(f" (got {key}).")
    assert problem.hint == hint
    assert PASSWORD not in repr(problem)


@for_each("value", [[PASSWORD], PASSWORD, None, {1: PASSWORD}])
@restoring
def test_options_of_the_client_that_are_no_dict_are_told(settings: Settings, value: Any) -> None:
    problem = only_problem("redis", settings, {"URL": "redis://x", "OPTIONS": value})
    assert problem.id == "multisession.E037"
    assert problem.message.startswith('MULTISESSION_REDIS["OPTIONS"] must be a dict ')
    assert PASSWORD not in repr(problem)


@for_each("key", ["USERNAME", "PASSWORD"])
@restoring
def test_a_credential_that_is_no_text_is_told_by_its_type(settings: Settings, key: str) -> None:
    problem = only_problem("redis", settings, {"URL": "redis://x", key: [PASSWORD]})
    assert problem.id == "multisession.E037"
    assert problem.message == (f'MULTISESSION_REDIS["{key}"] must be a string or None (got list).')
    assert PASSWORD not in repr(problem)


def test_the_options_of_an_engine_can_not_be_changed_afterwards(settings: Settings) -> None:
    given = {"URL": "redis://x"}
    settings.MULTISESSION_REDIS = given
    options = ENGINES["redis"].options()
    given["URL"] = "redis://y"
    assert dict(options) == {"URL": "redis://x"}
    with pytest.raises(TypeError):
        options["URL"] = "redis://y"  # type: ignore[index]  # that is what is tried


def test_everything_that_is_wrong_with_options_is_raised_together(settings: Settings) -> None:
    settings.MULTISESSION_REDIS = {"URL": PASSWORD, "DB": 1, "db": 2, "OPTIONS": PASSWORD}
    with pytest.raises(ImproperlyConfigured) as caught:
        ENGINES["redis"].options()
    assert str(caught.value).count("(got ") == 3
    assert PASSWORD not in repr(caught.value)


# The README's table


def test_the_readme_has_a_row_for_each_engine() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    rows = {
        name: line
        for line in lines
        for name in NAMES
        if re.match(rf"\| `(?:django_multisession\.engines\.)?{name}`", line)
    }
    assert rows.keys() == ENGINES.keys()
    for name, engine in ENGINES.items():
        assert engine.setting in rows[name]
        assert engine.install.removeprefix("django-multisession[").rstrip("]") in rows[name]
        assert ("one process" in rows[name]) is not engine.is_shared


# An engine of another project


def judge(options: Mapping[str, Any]) -> Iterable[Problem]:
    if options["SHELF"] == "cellar":
        yield Problem("shop.W001", "The cellar is damp.", "Take the attic.", Severity.WARNING)
    if options["SHELF"] == "hole":
        raise LookupError
    if options["SHELF"] == "lake":
        yield Problem("shop.E001", "The lake is no shelf.", "Take the attic.")


class ShopDriver(MemoryDriver):
    def __init__(self, options: SecretOptions) -> None:
        super().__init__()
        self.options = options
        self.is_closed = False

    def check(self) -> list[Problem]:
        return [Problem("shop.W002", "The shelf is full.", "Clear it.", Severity.WARNING)]

    def close(self) -> None:
        self.is_closed = True


def open_shop(options: SecretOptions) -> Driver:
    if options["SHELF"] == "nowhere":
        raise OSError(options["PASSWORD"])
    if options["SHELF"] == "elsewhere":
        raise ImproperlyConfigured("Install shop-shelves.") from ImportError()
    return ShopDriver(options)


class SessionStore(DriverSessionStore):
    engine = Engine(
        name="Shop",
        open=open_shop,
        setting="SHOP_SESSIONS",
        keys=Keys(one_of=("SHELF",), renamed={"BOARD": "SHELF"}),
        judge=judge,
        reopens_on=("SHOP_SHELVES",),
        install="shop-shelves",
        example='SHOP_SESSIONS = {"SHELF": "attic"}',
    )


class TenantsSessionStore(SessionStore):
    @classmethod
    def get_driver(cls) -> Driver:
        return ShopDriver(SecretOptions())


@pytest.fixture
def shop(settings: Settings) -> Iterable[Settings]:
    close_drivers()
    settings.SESSION_ENGINE = __name__
    settings.SHOP_SESSIONS = {"SHELF": "attic"}
    yield settings
    close_drivers()


def of_the_shop(*, deploy: bool = False) -> list[str]:
    messages = checks.run_checks(include_deployment_checks=deploy)
    return [str(each.id) for each in messages if str(each.id).startswith(("shop.", "multi"))]


def test_a_right_engine_of_a_site_is_right_and_its_server_is_asked(shop: Settings) -> None:
    assert of_the_shop() == []
    assert of_the_shop(deploy=True) == ["shop.W002"]


def test_a_warning_about_the_options_keeps_the_server_from_no_check(shop: Settings) -> None:
    shop.SHOP_SESSIONS = {"SHELF": "cellar"}
    assert of_the_shop(deploy=True) == ["shop.W001", "shop.W002"]


def test_a_password_in_an_address_of_a_sites_engine_is_reported(shop: Settings) -> None:
    shop.SHOP_SESSIONS = {"SHELF": f"shelf://me:{PASSWORD}@attic"}
    # Django keeps checks in a set.
    assert sorted(of_the_shop(deploy=True)) == ["multisession.W128", "shop.W002"]


@for_each(
    ("value", "check_id", "hint"),
    [
        (None, "multisession.E009", SessionStore.engine.example),
        ({}, "multisession.E009", SessionStore.engine.example),
        ({"BOARD": "attic"}, "multisession.E036", "Rename it to SHELF."),
        ({"SHELF": "attic", "shelv": 1}, "multisession.E036", "Rename it to SHELF."),
        ({"SHELF": "lake"}, "shop.E001", "Take the attic."),
        ({"SHELF": "cellar"}, "shop.W001", "Take the attic."),
        ({"SHELF": "elsewhere"}, "multisession.E011", "pip install 'shop-shelves'"),
        (
            {"SHELF": "nowhere", "PASSWORD": PASSWORD},
            "multisession.E011",
            SessionStore.engine.example,
        ),
    ],
)
def test_the_options_of_a_sites_engine_are_checked(
    shop: Settings, value: Any, check_id: str, hint: str
) -> None:
    shop.SHOP_SESSIONS = value
    (message,) = [each for each in checks.run_checks() if each.id == check_id]
    assert message.hint == hint
    assert PASSWORD not in repr(message)


def test_an_engine_whose_store_finds_its_own_driver_needs_no_setting(
    shop: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{__name__}.SessionStore", TenantsSessionStore)
    del shop.SHOP_SESSIONS
    assert found() == []


def test_a_sites_engine_gets_its_options(shop: Settings) -> None:
    driver = SessionStore.get_driver()
    assert isinstance(driver, ShopDriver)
    assert dict(driver.options) == {"SHELF": "attic"}
    assert SessionStore.get_driver() is driver


@pytest.mark.parametrize("name", ["SHOP_SESSIONS", "SHOP_SHELVES"])
def test_an_override_of_a_setting_of_a_sites_engine_closes_its_driver(
    shop: Settings, name: str
) -> None:
    driver = SessionStore.get_driver()
    assert isinstance(driver, ShopDriver)
    shop.SHOP_SESSION = {}
    assert not driver.is_closed
    setattr(shop, name, {"SHELF": "cellar"})
    assert driver.is_closed
    assert SessionStore.get_driver() is not driver


def test_wrong_options_of_a_sites_engine_are_an_error_at_first_use(shop: Settings) -> None:
    shop.SHOP_SESSIONS = {"SHELF": "lake"}
    with pytest.raises(ImproperlyConfigured, match="The lake is no shelf"):
        SessionStore().save()


def test_a_judge_that_raises_shows_no_password(shop: Settings) -> None:
    shop.SHOP_SESSIONS = {"SHELF": "hole", "PASSWORD": PASSWORD}
    for call in (lambda: SessionStore.engine.problems(is_chosen=True), SessionStore().save):
        error = caught(call, LookupError, ImproperlyConfigured)
        assert PASSWORD not in shown(error) + mail(error)


def test_a_store_without_an_engine_says_so() -> None:
    class SessionStore(DriverSessionStore):
        pass

    with pytest.raises(NotImplementedError, match="must provide an engine"):
        SessionStore().save()
