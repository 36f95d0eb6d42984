"""The table."""

from __future__ import annotations

from typing import ClassVar

from django.db import migrations, models
from django.db.migrations.operations.base import Operation

from django_multisession.database.models import AsciiField


class Migration(migrations.Migration):
    """Make it."""

    initial = True

    operations: ClassVar[list[Operation]] = [
        migrations.CreateModel(
            name="Session",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                (
                    "storage_key",
                    AsciiField(max_length=64, unique=True),
                ),
                ("record", models.BinaryField()),
                ("revision", AsciiField(max_length=22)),
                ("touched_ms", models.BigIntegerField()),
                ("ends_ms", models.BigIntegerField(db_index=True)),
                ("user_id", models.CharField(max_length=255, null=True)),
            ],
            options={
                "db_table": "django_multisession_session",
                "indexes": [
                    models.Index(fields=["user_id", "storage_key"], name="multisession_of_user")
                ],
            },
        ),
    ]
