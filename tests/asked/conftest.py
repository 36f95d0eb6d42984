"""A site with two users, on the memory engine: what is stored is the same on every engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import User
from django.test import Client

from tests.engine_fixtures import use_engine
from tests.selection import DJANGOS, OURS

if TYPE_CHECKING:
    from pytest_django import Settings

    from tests.conftest import Clock, Running

PASSWORD = "correct horse"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {"context_processors": ["django.template.context_processors.request"]},
    }
]


@pytest.fixture(autouse=True)
def thread_of_sync_code(closed_connections: None) -> None:
    """Close what each test leaves open there."""


@pytest.fixture(params=[DJANGOS, OURS], ids=["djangos", "ours"])
def session_middleware(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def site(
    db: None,
    settings: Settings,
    running_servers: Running,
    session_middleware: str,
    clock: Clock,
) -> None:
    """The site, and a clock that stands still."""
    use_engine("memory", settings, running_servers)
    settings.ROOT_URLCONF = "tests.asked.urls"
    settings.LOGIN_URL = "/login/"
    settings.STATIC_URL = "/static/"
    settings.TEMPLATES = TEMPLATES
    settings.MIDDLEWARE = [
        session_middleware,
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ]


@pytest.fixture
def ada(site: None) -> User:
    return User.objects.create_user("ada", password=PASSWORD)


@pytest.fixture
def client(ada: User) -> Client:
    """Ada's browser, in which she has logged in."""
    client = Client()
    client.force_login(ada)
    return client
