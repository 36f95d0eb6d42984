"""Serializers and values for the laws of values."""

from __future__ import annotations

import dataclasses
import functools
import gzip
import itertools
import json
import os
import pickle
from typing import Any

from django.test import override_settings

_times = itertools.count(1)


class NonceSerializer:
    """Returns other bytes for the same entries each time, as one that encrypts does."""

    def dumps(self, obj: Any) -> bytes:
        """Return *obj* as bytes."""
        return os.urandom(12) + json.dumps(obj).encode()

    def loads(self, data: bytes) -> Any:
        """Return what `dumps` was given."""
        return json.loads(data[12:])


class GzipSerializer:
    """Writes a time stamp into what it returns."""

    def dumps(self, obj: Any) -> bytes:
        """Return *obj* as bytes."""
        return gzip.compress(json.dumps(obj).encode(), mtime=next(_times))

    def loads(self, data: bytes) -> Any:
        """Return what `dumps` was given."""
        return json.loads(gzip.decompress(data))


class ObjectSerializer:
    """Takes any object."""

    def dumps(self, obj: Any) -> bytes:
        """Return *obj* as bytes."""
        return pickle.dumps(obj)

    def loads(self, data: bytes) -> Any:
        """Return what `dumps` was given."""
        return pickle.loads(data)  # noqa: S301  (signed, and written by the law itself)


class CountedSerializer:
    """Counts its calls."""

    dumped = 0

    def dumps(self, obj: Any) -> bytes:
        """Return *obj* as bytes."""
        CountedSerializer.dumped += 1
        return json.dumps(obj).encode()

    def loads(self, data: bytes) -> Any:
        """Return what `dumps` was given."""
        return json.loads(data)


@dataclasses.dataclass
class Basket:
    """A value that compares by its fields and remembers its total."""

    prices: list[int]

    @functools.cached_property
    def total(self) -> int:
        """The sum of the prices."""
        return sum(self.prices)


class Plain:
    """A value whose class defines no ``__eq__``."""

    def __init__(self, number: int) -> None:
        self.number = number

    @functools.cached_property
    def double(self) -> int:
        """Twice the number."""
        return 2 * self.number


def serialized_by(serializer: type) -> Any:
    """Return what makes *serializer* the site's."""
    return override_settings(SESSION_SERIALIZER=f"{__name__}.{serializer.__name__}")
