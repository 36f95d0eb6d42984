"""Registers the system checks, what ends the sessions of users who change, and what logins record.

The engines work without it: ``SESSION_ENGINE`` is enough.
"""

from __future__ import annotations

from django.apps import AppConfig
from django.core import checks


class MultisessionConfig(AppConfig):
    """``"django_multisession"`` in ``INSTALLED_APPS``."""

    name = "django_multisession"
    verbose_name = "Sessions"

    def ready(self) -> None:
        """Register the checks, and watch the users and their logins."""
        from django_multisession import user_changes
        from django_multisession.settings.checks import (
            check_deployment,
            check_installed,
            check_pages,
            check_server,
            check_settings,
            check_site,
        )
        from django_multisession.user_sessions import recording

        for check in (check_settings, check_site, check_installed, check_pages):
            checks.register(check, checks.Tags.security)
        for check in (check_deployment, check_server):
            checks.register(check, checks.Tags.security, deploy=True)
        user_changes.connect()
        recording.connect()
