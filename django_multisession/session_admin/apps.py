"""The app of the admin's pages."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class SessionAdminConfig(AppConfig):
    """``"django_multisession.session_admin"`` in ``INSTALLED_APPS``."""

    name = "django_multisession.session_admin"
    label = "django_multisession_session_admin"
    verbose_name = _("Sessions")
    default_auto_field = "django.db.models.BigAutoField"
