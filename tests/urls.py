"""No pages by default; a test that needs some names its own module."""

from __future__ import annotations

from typing import Any

urlpatterns: list[Any] = []
