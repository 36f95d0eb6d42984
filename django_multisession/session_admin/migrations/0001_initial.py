"""The permissions to see and to end sessions."""

from __future__ import annotations

from typing import ClassVar

from django.db import migrations, models
from django.db.migrations.operations.base import Operation


class Migration(migrations.Migration):
    """Create the permissions. The model has no table."""

    initial = True

    operations: ClassVar[list[Operation]] = [
        migrations.CreateModel(
            name="Session",
            fields=[("id", models.CharField(max_length=32, primary_key=True, serialize=False))],
            options={
                "verbose_name": "session",
                "verbose_name_plural": "sessions",
                "permissions": (("end_session", "Can end session"),),
                "managed": False,
                "default_permissions": ("view",),
                "base_manager_name": "objects",
            },
        ),
    ]
