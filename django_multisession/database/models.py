"""One row per session. Only ``record`` is read; the other columns say where a write may go.

Databases compare no pieces of binary data alike, so ``revision`` repeats what a write compares: the
head of the record and its revision, in hexadecimal digits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper

if TYPE_CHECKING:
    _CharField = models.CharField[str, str]
else:
    _CharField = models.CharField


class AsciiField(_CharField):
    """Text that is compared byte by byte, with no other index than its own."""

    def db_type(self, connection: BaseDatabaseWrapper) -> str | None:
        """Return the column's type."""
        if connection.vendor == "mysql":
            # Others take case for nothing, and four bytes of an index for a character.
            return f"varchar({self.max_length}) CHARACTER SET ascii COLLATE ascii_bin"
        if connection.vendor == "postgresql":
            # Not by the name "varchar", for which Django makes a second index.
            return f'character varying({self.max_length}) COLLATE "C"'
        return super().db_type(connection)

    def cast_db_type(self, connection: BaseDatabaseWrapper) -> str | None:
        """Return the type for a cast, which names no collation."""
        return super().db_type(connection)


class Session(models.Model):
    """A record or a tombstone.

    Attributes:
        storage_key: A hash of the session key's random part.
        record: The bytes of `core.records`.
        revision: What a write compares.
        touched_ms: Last use; 0 of a tombstone.
        ends_ms: When it ends; a purge removes it a minute later.
        user_id: The user, as far as the column holds it; a hint.
    """

    id = models.BigAutoField(primary_key=True)
    storage_key = AsciiField(max_length=64, unique=True)
    record = models.BinaryField()
    revision = AsciiField(max_length=22)
    touched_ms = models.BigIntegerField()
    ends_ms = models.BigIntegerField(db_index=True)
    user_id = models.CharField(max_length=255, null=True)  # noqa: DJ001  (a user may have an empty id)

    objects: Any = models.Manager()

    class Meta:
        """Its table."""

        db_table = "django_multisession_session"
        indexes: ClassVar[list[models.Index]] = [
            # A page of a user's sessions is read in its order: nothing is sorted.
            models.Index(fields=["user_id", "storage_key"], name="multisession_of_user"),
        ]

    def __str__(self) -> str:
        """Return the storage key, which is no secret."""
        return self.storage_key
