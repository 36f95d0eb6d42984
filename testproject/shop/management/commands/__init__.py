"""``manage.py demo``, and what it starts."""

from __future__ import annotations
