"""What permissions and the admin's addresses are named by. There is no table: engines keep sessions."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.utils.translation import gettext_lazy as _


class NoRows(models.Manager[Any]):
    """Finds nothing, and asks no database: ``dumpdata`` does."""

    def get_queryset(self) -> models.QuerySet[Any]:
        """Return no rows."""
        return super().get_queryset().none()


class Session(models.Model):
    """A user's session. Its permissions are ``view_session`` and ``end_session``."""

    id = models.CharField(primary_key=True, max_length=32)

    objects = NoRows()

    class Meta:
        """No table, and permissions of its own."""

        managed = False
        base_manager_name = "objects"
        default_permissions = ("view",)
        permissions = (("end_session", "Can end session"),)
        verbose_name = _("session")
        verbose_name_plural = _("sessions")

    def __str__(self) -> str:
        """Return the id, which is no secret."""
        return self.id
