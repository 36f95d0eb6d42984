"""The app of the table; see `django_multisession.apps` for the checks."""

from __future__ import annotations

from django.apps import AppConfig


class DatabaseConfig(AppConfig):
    """``"django_multisession.database"`` in ``INSTALLED_APPS``."""

    name = "django_multisession.database"
    label = "django_multisession_database"
    verbose_name = "Sessions in the database"
    default_auto_field = "django.db.models.BigAutoField"
