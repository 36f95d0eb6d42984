"""What the system checks say of the cookie engine's setting, and of a site that is deployed."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from django_multisession.engines.cookie import SessionStore
from django_multisession.testing.rows import for_each
from tests.docs.pages import ROOT
from tests.drivers.problems import OF_RELEASES
from tests.rows import restoring
from tests.unit.checked_site import found, ids, right_site

if TYPE_CHECKING:
    from pytest_django import Settings

    from tests.conftest import Running

__all__ = ["right_site"]

ENGINE = "django_multisession.engines.cookie"
PASSWORD = "hunter2"
REVOCATION = {"REVOCATION": "django_multisession.engines.redis"}


@pytest.fixture(autouse=True)
def site(right_site: Settings) -> Settings:
    right_site.SESSION_ENGINE = ENGINE
    return right_site


def test_the_setting_is_optional(settings: Settings) -> None:
    assert found() == []
    settings.MULTISESSION_COOKIE = {}
    assert found() == []


@for_each(
    ("path", "told"),
    [
        ("django_multisession.engines.memory", "'django_multisession.engines.memory'"),
        (ENGINE, f"'{ENGINE}'"),
        ("django.contrib.sessions.backends.db", "'django.contrib.sessions.backends.db'"),
        ("django_multisession.engines.redi", "'django_multisession.engines.redi'"),
        ("no.such.module", "'no.such.module'"),
        ("", "a text that isn't a module's path"),
        (f"redis://:{PASSWORD}@127.0.0.1", "a text that isn't a module's path"),
        ({"URL": PASSWORD}, "dict"),
        (6379, "int"),
    ],
)
@restoring
def test_what_can_keep_no_ends_is_reported_without_a_secret(
    settings: Settings, path: object, told: str
) -> None:
    settings.MULTISESSION_COOKIE = {"REVOCATION": path}
    (message,) = found()
    assert message.id == "multisession.E045"
    assert str(message.msg).startswith('MULTISESSION_COOKIE["REVOCATION"] must be ')
    assert str(message.msg).endswith(f"(got {told}).")
    with pytest.raises(ImproperlyConfigured, match="REVOCATION") as caught:
        SessionStore().get_driver()
    assert PASSWORD not in f"{message}{caught.value}"


@for_each(
    ("options", "told"),
    [
        ({"REVOCATIONS": 1}, "Rename it to REVOCATION."),
        ({"PASSWORD": "x"}, "Remove it from MULTISESSION_COOKIE."),
    ],
)
@restoring
def test_an_unknown_key_is_reported(settings: Settings, options: Any, told: str) -> None:
    settings.MULTISESSION_COOKIE = options
    (message,) = found()
    assert message.id == "multisession.E036"
    assert message.hint == told


def test_the_engine_that_keeps_ends_needs_its_own_setting(settings: Settings) -> None:
    settings.MULTISESSION_COOKIE = REVOCATION
    assert ids() == ["multisession.E009"]
    settings.MULTISESSION_REDIS = {"URL": "redis://127.0.0.1:1"}
    assert found() == []


def test_a_wrong_setting_of_the_engine_that_keeps_ends_is_reported_once(
    settings: Settings,
) -> None:
    settings.MULTISESSION_COOKIE = REVOCATION
    settings.MULTISESSION_REDIS = {}
    assert ids() == ["multisession.E009"]


def test_a_password_in_the_address_of_the_engine_that_keeps_ends_is_reported(
    settings: Settings,
) -> None:
    settings.MULTISESSION_COOKIE = REVOCATION
    settings.MULTISESSION_REDIS = {"URL": f"redis://:{PASSWORD}@127.0.0.1:1"}
    told = {str(message.id): str(message.msg) for message in found(deploy=True)}
    assert 'MULTISESSION_REDIS["URL"]' in told["multisession.W128"]


def test_a_deployed_site_that_keeps_no_ends_is_warned(settings: Settings) -> None:
    (message,) = found(deploy=True)
    assert message.id == "multisession.W119"
    assert "MULTISESSION_COOKIE" in str(message.hint)


def test_a_deployed_site_asks_the_server_that_keeps_ends(
    settings: Settings, running_servers: Running
) -> None:
    settings.MULTISESSION_COOKIE = REVOCATION
    settings.MULTISESSION_REDIS = {"URL": running_servers.redis("redis-8.2").url}
    assert {message.id for message in found(deploy=True)} <= OF_RELEASES
    settings.MULTISESSION_REDIS = {"URL": "redis://127.0.0.1:1"}
    (message,) = found(deploy=True)
    assert message.id == "multisession.W101"


def test_a_missing_library_is_named() -> None:
    # Where it was imported once, nothing asks for it again.
    script = """
import sys

sys.modules["cryptography"] = None
from django.conf import settings

settings.configure(SECRET_KEY="x" * 50, SESSION_ENGINE="django_multisession.engines.cookie")
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django_multisession.engines.cookie import SessionStore
from django_multisession.settings.checks import check_installed

print([(message.id, message.hint) for message in check_installed()])
session = SessionStore()
try:
    session["a"] = 1
    session.save()
except ImproperlyConfigured as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [
        "[('multisession.E011', \"pip install 'django-multisession[cookie]'\")]",
        "Install django-multisession[cookie] to use this engine.",
    ]


def test_a_server_that_forgets_ends_is_reported(
    settings: Settings, running_servers: Running
) -> None:
    settings.MULTISESSION_COOKIE = {"REVOCATION": "django_multisession.engines.memcached"}
    server = running_servers.memcached()
    settings.MULTISESSION_MEMCACHED = {"SERVERS": [f"{server.host}:{server.port}"]}
    (message,) = found(deploy=True)
    assert message.id == "multisession.W118"
    assert "restarts" in message.msg
