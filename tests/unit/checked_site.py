"""A site with which nothing is wrong, and what the system checks say about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.core import checks

from django_multisession.drivers.base import Driver
from django_multisession.engines import memory
from django_multisession.store import DriverSessionStore

if TYPE_CHECKING:
    from pytest_django import Settings

#: An engine that a site made, as docs/howto/write-a-driver.md shows: there is no server to start.
OWN_ENGINE = __name__


class SessionStore(DriverSessionStore):
    @classmethod
    def get_driver(cls) -> Driver:
        return memory.SessionStore.get_driver()


@pytest.fixture
def right_site(settings: Settings) -> Settings:
    """Settings of which no check says anything, at deployment neither."""
    settings.SESSION_ENGINE = OWN_ENGINE
    settings.SESSION_COOKIE_SECURE = True
    settings.INSTALLED_APPS = [
        "django_multisession",
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.messages",
        "django_multisession.database",
    ]
    settings.MIDDLEWARE = [
        "django_multisession.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
    ]
    return settings


def found(*, deploy: bool = False) -> list[checks.CheckMessage]:
    """Return what our checks say."""
    messages = checks.run_checks(include_deployment_checks=deploy)
    return [message for message in messages if str(message.id).startswith("multisession.")]


def ids(*, deploy: bool = False) -> list[str]:
    """Return the ids of what our checks say."""
    return [str(message.id) for message in found(deploy=deploy)]
