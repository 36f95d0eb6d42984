from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.core import checks
from django.test import override_settings

from django_multisession import engine
from django_multisession.core.problems import Problem, Severity
from django_multisession.drivers.memory import MemoryDriver
from django_multisession.engines import memory
from django_multisession.testing.rows import for_each
from tests.unit.checked_site import found, ids, right_site

if TYPE_CHECKING:
    from pytest_django import Settings

__all__ = ["right_site"]

REPOSITORY = Path(__file__).parents[2]
PASSWORD = "hunter2"
IDS_OF_WRONG_SETTINGS: dict[str, dict[str, Any]] = {
    "multisession.E001": {"MULTISESSION_IDLE_TIMEOUT": 0},
    "multisession.E002": {"MULTISESSION_ABSOLUTE_TIMEOUT": 0},
    "multisession.E003": {"MULTISESSION_ANONYMOUS_IDLE_TIMEOUT": 0},
    "multisession.E038": {"MULTISESSION_REMEMBERED_ABSOLUTE_TIMEOUT": 0},
    "multisession.E004": {"MULTISESSION_TOUCH_INTERVAL": 0},
    "multisession.E005": {"MULTISESSION_TOUCH_INTERVAL": 60, "MULTISESSION_IDLE_TIMEOUT": 60},
    "multisession.E006": {"MULTISESSION_ALWAYS_CYCLE_ON_LOGIN": 1},
    "multisession.E007": {"MULTISESSION_ON_OUTAGE": "x"},
    "multisession.E008": {"MULTISESSION_MAX_SIZE": 0},
    "multisession.E009": {"MULTISESSION_REDIS": {"PASSWORD": PASSWORD}},
    "multisession.E036": {"MULTISESSION_REDIS": {"URL": "redis://x", "DB": PASSWORD}},
    "multisession.E037": {"MULTISESSION_MONGODB": {"URI": "mongodb://x", "OPTIONS": PASSWORD}},
    "multisession.E012": {"SESSION_COOKIE_AGE": 0},
    "multisession.E027": {"MULTISESSION_ON_INTERRUPTED": "x"},
    "multisession.E028": {"MULTISESSION_CONFLICT_RESOLVERS": {"cart": "x"}},
    "multisession.E052": {"MULTISESSION_END_SESSIONS_ON": ("email",)},
    "multisession.E058": {"MULTISESSION_REAUTHENTICATION_URL": None},
    "multisession.E060": {"MULTISESSION_RECORD_USER_AGENT": 1},
    "multisession.E061": {"MULTISESSION_RECORD_ADDRESS": True},
    "multisession.E062": {"MULTISESSION_CLIENT_ADDRESS": "x"},
    "multisession.E056": {"MULTISESSION_MAX_SESSIONS": 0},
    "multisession.E057": {"MULTISESSION_AT_LIMIT": "newest"},
    "multisession.E035": {"MULTISESSION_NAMESPACE": 7},
    "multisession.E039": {"MULTISESSION_MIGRATE_FROM": 7},
    "multisession.E040": {"MULTISESSION_MIGRATE_UNTIL": 7},
    "multisession.E041": {"MULTISESSION_MIGRATE_SINCE": "tomorrow"},
}


class OutspokenDriver(MemoryDriver):
    """Says what a driver whose server is unfit would say, and counts how often it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.times_asked = 0

    def check(self) -> list[Problem]:
        self.times_asked += 1
        return [Problem("multisession.W999", "Unfit.", "Repair it.", Severity.WARNING)]


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> OutspokenDriver:
    """The driver of the site's engine."""
    driver = OutspokenDriver()
    monkeypatch.setitem(engine._drivers, memory.SessionStore.engine, driver)
    return driver


@pytest.fixture(autouse=True)
def site(right_site: Settings) -> Settings:
    return right_site


@for_each("is_deployment", [False, True])
def test_a_site_with_right_settings_gets_no_message(is_deployment: bool) -> None:
    assert found(deploy=is_deployment) == []


@for_each("check_id", IDS_OF_WRONG_SETTINGS)
def test_a_wrong_setting_is_an_error_with_an_id_and_a_hint(check_id: str) -> None:
    with override_settings(**IDS_OF_WRONG_SETTINGS[check_id]):
        (message,) = found()
    assert message.id == check_id
    assert message.level == checks.ERROR
    assert message.hint
    assert " must be " in str(message.msg)
    assert "(got " in str(message.msg)


def test_all_wrong_settings_are_reported_together() -> None:
    # E005 compares two settings that are right by themselves; E036 is of E009's setting.
    expected = set(IDS_OF_WRONG_SETTINGS) - {"multisession.E005", "multisession.E036"}
    wrong: dict[str, Any] = {}
    for check_id in expected:
        wrong |= IDS_OF_WRONG_SETTINGS[check_id]
    with override_settings(**wrong):
        assert set(ids(deploy=True)) == expected


def test_no_message_shows_a_password() -> None:
    for settings_ in IDS_OF_WRONG_SETTINGS.values():
        with override_settings(**settings_):
            assert PASSWORD not in repr(found(deploy=True))


def test_the_server_is_asked_at_deployment(driver: OutspokenDriver) -> None:
    (message,) = found(deploy=True)
    assert message.id == "multisession.W999"
    assert driver.times_asked == 1


def test_the_server_is_not_asked_otherwise(driver: OutspokenDriver) -> None:
    # ``runserver`` and every management command check; a server that is down must not stop them.
    assert found() == []
    assert driver.times_asked == 0


def test_the_server_is_not_asked_with_wrong_settings(driver: OutspokenDriver) -> None:
    with override_settings(MULTISESSION_MAX_SIZE=0):
        assert ids(deploy=True) == ["multisession.E008"]
    assert driver.times_asked == 0


def test_the_server_of_another_engine_is_not_asked(
    driver: OutspokenDriver, settings: Settings
) -> None:
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"
    assert ids(deploy=True) == ["multisession.W127"]
    assert driver.times_asked == 0


@pytest.mark.long
@for_each("is_deployment", [False, True])
@for_each(
    ("library", "engine", "options"),
    [
        ("redis", "redis", {"URL": "redis://127.0.0.1:1", "PASSWORD": PASSWORD}),
        ("pymongo", "mongodb", {"URI": "mongodb://127.0.0.1:1", "PASSWORD": PASSWORD}),
        ("pymemcache", "memcached", {"SERVERS": ["127.0.0.1:1"], "PASSWORD": PASSWORD}),
    ],
)
def test_a_missing_library_is_one_error_with_an_id_and_a_hint(
    library: str, engine: str, options: dict[str, Any], is_deployment: bool
) -> None:
    # In a process of its own: here the library is imported already.
    program = f"""
import sys
sys.modules[{library!r}] = None
import django
from django.conf import settings
from django.core import checks
settings.configure(
    SECRET_KEY="x",
    INSTALLED_APPS=["django_multisession"],
    SESSION_COOKIE_SECURE=True,
    SESSION_ENGINE="django_multisession.engines.{engine}",
    MULTISESSION_{engine.upper()}={options!r},
)
django.setup()
for message in checks.run_checks(include_deployment_checks={is_deployment}):
    if message.id.startswith("multisession."):
        print(message.id, message.hint, message.msg)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stderr == ""
    assert done.stdout == (
        f"multisession.E011 pip install 'django-multisession[{engine}]' "
        f"Install django-multisession[{engine}] to use this engine.\n"
    )


@pytest.mark.long
@for_each("is_deployment", [False, True])
@for_each(
    ("engine", "options", "warning"),
    [
        ("redis", {"URL": "redis://127.0.0.1:1"}, "W101"),
        ("mongodb", {"URI": "mongodb://127.0.0.1:1"}, "W111"),
        ("memcached", {"SERVERS": ["127.0.0.1:1"]}, "W141"),
        ("memory", {}, "W126"),
    ],
)
def test_every_check_runs_without_a_secret_key(
    engine: str, options: dict[str, Any], warning: str, is_deployment: bool
) -> None:
    # Where an image is built there is none, and no server either.
    program = f"""
import django
from django.conf import settings
from django.core import checks
options = {{"MULTISESSION_{engine.upper()}": {options!r}}} if {options!r} else {{}}
settings.configure(
    INSTALLED_APPS=["django_multisession", "django.contrib.sessions"],
    MIDDLEWARE=["django_multisession.middleware.SessionMiddleware"],
    SESSION_COOKIE_NAME="__Host-sessionid",
    SESSION_COOKIE_SECURE=True,
    SESSION_ENGINE="django_multisession.engines.{engine}",
    **options,
)
django.setup()
for message in checks.run_checks(include_deployment_checks={is_deployment}):
    if message.id.startswith("multisession."):
        print(message.id)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stderr == ""
    assert done.stdout == (f"multisession.{warning}\n" if is_deployment else "")


def test_every_id_is_looked_for_in_a_test() -> None:
    reference = REPOSITORY / "docs" / "reference" / "checks.md"
    documented = re.findall(
        r"^### `multisession\.(\w+)`$", reference.read_text("utf-8"), re.MULTILINE
    )
    tests = "".join(path.read_text("utf-8") for path in (REPOSITORY / "tests").rglob("*.py"))
    assert len(documented) > 30
    assert [check_id for check_id in documented if check_id not in tests] == []


def test_the_checks_are_those_of_the_security_tag() -> None:
    # ``check --tag security`` and nothing that a database command runs.
    with override_settings(MULTISESSION_MAX_SIZE=0):
        security = checks.run_checks(tags=[checks.Tags.security])
        others = checks.run_checks(tags=[checks.Tags.models, checks.Tags.urls])
    assert "multisession.E008" in {message.id for message in security}
    assert "multisession.E008" not in {message.id for message in others}
