"""What ``manage.py`` can do here."""

from __future__ import annotations
