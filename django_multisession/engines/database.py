"""Sessions in a database of Django's."""

from __future__ import annotations

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.utils import timezone

from django_multisession.core.secret import SecretOptions
from django_multisession.drivers.base import Driver
from django_multisession.engine import Engine, Keys
from django_multisession.store import DriverSessionStore

__all__ = ["SessionStore"]


_APP = "django_multisession.database"


def _open(options: SecretOptions) -> Driver:
    if not apps.is_installed(_APP):
        raise ImproperlyConfigured(
            f'Add "{_APP}" to INSTALLED_APPS and run migrate to use this engine.'
        )
    from django_multisession.drivers.database.driver import DatabaseDriver

    return DatabaseDriver(options, lambda: timezone.now().timestamp())


class SessionStore(DriverSessionStore):
    """A session in a database of Django's."""

    engine = Engine(
        name="database",
        open=_open,
        setting="MULTISESSION_DATABASE",
        keys=Keys(others=("ALIAS",), has_client=False),
        reopens_on=("DATABASES", "DATABASE_ROUTERS", "INSTALLED_APPS"),
        app=_APP,
        example='MULTISESSION_DATABASE = {"ALIAS": "default"}',
        is_indexed=True,
    )
