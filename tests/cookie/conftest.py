"""The cookie engine alone, and with the ends of sessions in Redis."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

from django_multisession.engine import close_drivers
from tests.engine_fixtures import COOKIE_ENGINES

if TYPE_CHECKING:
    from pytest_django.fixtures import Settings

    from tests.conftest import Running

ENGINE = "django_multisession.engines.cookie"
REVOCATIONS = {"REVOCATION": "django_multisession.engines.redis"}


def use_cookies(name: str, settings: Settings, running_servers: Running) -> None:
    """Set the engine *name*, one of `COOKIE_ENGINES`."""
    close_drivers()
    settings.SESSION_ENGINE = ENGINE
    settings.MULTISESSION_COOKIE = {}
    if name == "cookie-revocable":
        settings.MULTISESSION_COOKIE = REVOCATIONS
        settings.MULTISESSION_REDIS = {
            "URL": running_servers.redis("redis-8.2").url,
            "KEY_PREFIX": f"{uuid.uuid4().hex[:12]}:",
            # Let no pause of a busy machine pass for an outage.
            "OPTIONS": {"socket_timeout": 60, "socket_connect_timeout": 60},
        }


@pytest.fixture(params=COOKIE_ENGINES)
def cookie_engine(
    request: pytest.FixtureRequest, settings: Settings, running_servers: Running
) -> str:
    """The engine as ``SESSION_ENGINE``, without and with `REVOCATIONS`."""
    use_cookies(request.param, settings, running_servers)
    return str(request.param)


@pytest.fixture
def revocable(settings: Settings, running_servers: Running) -> None:
    use_cookies("cookie-revocable", settings, running_servers)


@pytest.fixture
def alone(settings: Settings, running_servers: Running) -> None:
    use_cookies("cookie", settings, running_servers)
