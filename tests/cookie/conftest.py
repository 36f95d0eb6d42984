"""The cookie engine by name: with the ends of sessions in Redis, and alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.engine_fixtures import COOKIE, REVOCABLE, use_cookies

if TYPE_CHECKING:
    from pytest_django.fixtures import Settings

    from tests.conftest import Running


@pytest.fixture
def revocable(settings: Settings, running_servers: Running) -> None:
    use_cookies(REVOCABLE, settings, running_servers)


@pytest.fixture
def alone(settings: Settings, running_servers: Running) -> None:
    use_cookies(COOKIE, settings, running_servers)
