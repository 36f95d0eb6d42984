"""A small shop whose sessions live in Redis, in MongoDB or in memory."""

from __future__ import annotations
