"""What `check` says of an engine that is made of two others."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from django_multisession.drivers.memory import MemoryDriver
from django_multisession.engine import Engine, close_drivers
from django_multisession.engines import tiered
from django_multisession.store import DriverSessionStore
from django_multisession.testing.rows import for_each
from tests.rows import restoring
from tests.unit import own_cookies, own_tiers
from tests.unit.checked_site import OWN_ENGINE, found, ids, right_site

if TYPE_CHECKING:
    from pytest_django import Settings

__all__ = ["right_site"]

PATH = "django_multisession.engines."
REDIS, MONGODB, MEMORY = f"{PATH}redis", f"{PATH}mongodb", f"{PATH}memory"
PASSWORD = "hunter2"

opened: list[MemoryDriver] = []


def open_shop(_options: object) -> MemoryDriver:
    opened.append(MemoryDriver())
    return opened[-1]


class SessionStore(DriverSessionStore):
    """An engine that a site made."""

    engine = Engine(name="Shop", open=open_shop, setting="SHOP_SESSIONS")


@pytest.fixture(autouse=True)
def site(right_site: Settings) -> Settings:
    close_drivers()
    right_site.SESSION_ENGINE = f"{PATH}tiered"
    right_site.MULTISESSION_TIERED = {"FRONT": REDIS, "BACK": MONGODB}
    right_site.MULTISESSION_REDIS = {"URL": "redis://127.0.0.1:1"}
    right_site.MULTISESSION_MONGODB = {"URI": "mongodb://127.0.0.1:1"}
    return right_site


@for_each("name", ["FRONT", "BACK"])
@for_each(
    ("path", "told"),
    [
        (None, "NoneType"),
        ({"URL": PASSWORD}, "dict"),
        (f"redis://:{PASSWORD}@localhost", "a text that isn't a module's path"),
        (f"{PATH}cookie", f"'{PATH}cookie'"),
        (f"{PATH}tiered", f"'{PATH}tiered'"),
        (own_cookies.__name__, f"'{own_cookies.__name__}'"),
        (own_tiers.__name__, f"'{own_tiers.__name__}'"),
        (f"{PATH}redsi", f"'{PATH}redsi'"),
        ("django.contrib.sessions.backends.db", "'django.contrib.sessions.backends.db'"),
        (f"{REDIS}.SessionStore", f"'{REDIS}.SessionStore'"),
        # It finds its driver by itself.
        (OWN_ENGINE, f"'{OWN_ENGINE}'"),
    ],
)
@restoring
def test_what_can_be_no_tier_is_told_without_a_secret(
    settings: Settings, name: str, path: object, told: str
) -> None:
    settings.MULTISESSION_TIERED = {"FRONT": REDIS, "BACK": MONGODB, name: path}
    (message,) = found()
    assert message.id == "multisession.E045"
    assert f'MULTISESSION_TIERED["{name}"] must ' in str(message.msg)
    assert str(message.msg).endswith(f"(got {told}).")
    assert message.hint == tiered.SessionStore.engine.example
    with pytest.raises(ImproperlyConfigured) as caught:
        tiered.SessionStore.get_driver()
    assert PASSWORD not in f"{message}{caught.value}"


def test_a_missing_back_is_told(settings: Settings) -> None:
    settings.MULTISESSION_TIERED = {"FRONT": REDIS}
    (message,) = found()
    assert message.id == "multisession.E045"
    assert str(message.msg).endswith("(got nothing).")


def test_the_two_engines_must_differ(settings: Settings) -> None:
    settings.MULTISESSION_TIERED = {"FRONT": REDIS, "BACK": REDIS}
    assert ids() == ["multisession.E046"]


@for_each("setting", ["MULTISESSION_REDIS", "MULTISESSION_MONGODB"])
@restoring
def test_each_tier_must_have_its_own_setting(settings: Settings, setting: str) -> None:
    delattr(settings, setting)
    (message,) = found()
    assert message.id == "multisession.E009"
    assert str(message.msg).startswith(f"{setting} must be")
    setattr(settings, setting, {})
    assert ids() == ["multisession.E009"]


def test_a_site_with_another_engine_may_have_wrong_tiers_only_if_it_has_none(
    settings: Settings,
) -> None:
    settings.SESSION_ENGINE = OWN_ENGINE
    assert ids() == []
    settings.MULTISESSION_TIERED = {"FRONT": "redis"}
    assert ids() == ["multisession.E045"] * 2


@for_each("tiers", [(MEMORY, REDIS), (REDIS, MEMORY)], ids=["front", "back"])
@restoring
def test_memory_is_no_tier_of_a_deployed_site(settings: Settings, tiers: tuple[str, str]) -> None:
    settings.MULTISESSION_TIERED = dict(zip(("FRONT", "BACK"), tiers, strict=True))
    assert ids() == []
    told = {str(message.id): str(message.msg) for message in found(deploy=True)}
    assert "MULTISESSION_TIERED must name engines" in told["multisession.W126"]
    assert "multisession.W101" in told


def test_both_servers_are_asked_at_deployment() -> None:
    assert ids(deploy=True) == ["multisession.W101", "multisession.W111"]


def test_a_password_in_the_address_of_a_tier_is_told(settings: Settings) -> None:
    settings.MULTISESSION_REDIS = {"URL": f"redis://:{PASSWORD}@127.0.0.1:1"}
    told = {str(message.id): str(message.msg) for message in found(deploy=True)}
    assert 'MULTISESSION_REDIS["URL"]' in told["multisession.W128"]


@pytest.mark.long
@for_each(("library", "extra"), [("hiredis", "redis"), ("pymongo", "mongodb")])
def test_a_missing_library_of_a_tier_is_told_with_what_to_install(library: str, extra: str) -> None:
    program = f"""
import sys
sys.modules[{library!r}] = None
import django
from django.conf import settings
from django.core import checks
settings.configure(
    INSTALLED_APPS=["django_multisession"],
    MULTISESSION_MONGODB={{"URI": "mongodb://127.0.0.1:1"}},
    MULTISESSION_REDIS={{"URL": "redis://127.0.0.1:1"}},
    MULTISESSION_TIERED={{"FRONT": {REDIS!r}, "BACK": {MONGODB!r}}},
    SESSION_ENGINE="{PATH}tiered",
)
django.setup()
for message in checks.run_checks():
    print(message.id, message.hint, message.msg)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stderr == ""
    assert done.stdout == (
        f"multisession.E011 pip install 'django-multisession[{extra}]' "
        f"Install django-multisession[{extra}] to use this engine.\n"
    )


@for_each("setting", ["SHOP_SESSIONS", "MULTISESSION_REDIS", "MULTISESSION_TIERED"])
@restoring
def test_an_overridden_setting_of_a_tier_opens_both_again(settings: Settings, setting: str) -> None:
    settings.SHOP_SESSIONS = {}
    settings.MULTISESSION_TIERED = {"FRONT": __name__, "BACK": REDIS}
    first = tiered.SessionStore.get_driver()
    assert tiered.SessionStore.get_driver() is first
    setattr(settings, setting, dict(getattr(settings, setting)))
    count = len(opened)
    assert tiered.SessionStore.get_driver() is not first
    assert len(opened) == count + 1


def test_an_override_of_another_setting_leaves_the_driver(settings: Settings) -> None:
    first: Any = tiered.SessionStore.get_driver()
    settings.SHOP_SESSIONS = {}
    assert tiered.SessionStore.get_driver() is first
