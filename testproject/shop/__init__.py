"""A small shop whose sessions live in Redis, in MongoDB, in memory or in cookies."""

from __future__ import annotations
