"""Registers the system checks. The engines work without it: ``SESSION_ENGINE`` is enough."""

from __future__ import annotations

from django.apps import AppConfig
from django.core import checks


class MultisessionConfig(AppConfig):
    """``"django_multisession"`` in ``INSTALLED_APPS``."""

    name = "django_multisession"
    verbose_name = "Sessions"

    def ready(self) -> None:
        """Register the checks."""
        from django_multisession.checks import check_installed, check_server, check_settings

        checks.register(check_settings, checks.Tags.security)
        checks.register(check_installed, checks.Tags.security)
        checks.register(check_server, checks.Tags.security, deploy=True)
