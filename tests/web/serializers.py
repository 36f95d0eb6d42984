"""A serializer as a site of its own might have: JSON is the default, this one takes any object."""

from __future__ import annotations

import pickle
from typing import Any


class PickleSerializer:
    """What Django had until 5.0."""

    def dumps(self, obj: Any) -> bytes:
        return pickle.dumps(obj, pickle.HIGHEST_PROTOCOL)

    def loads(self, data: bytes) -> Any:
        return pickle.loads(data)
