"""Correct, safe and fast sessions for Django: set ``SESSION_ENGINE``, go on using ``request.session``."""

from __future__ import annotations

__version__ = "0.1.0"
