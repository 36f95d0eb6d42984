"""Threads of laws: Django's connections are a thread's own, and are closed by it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from django.db import connections

Result = TypeVar("Result")


def closing_databases(work: Callable[[], Result]) -> Result:
    """Do *work*, the last one of its thread."""
    try:
        return work()
    finally:
        connections.close_all()
