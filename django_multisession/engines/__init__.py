"""What ``SESSION_ENGINE`` can name. Each engine exposes ``SessionStore`` and nothing else."""

from __future__ import annotations

#: The modules in this package.
NAMES = ("cookie", "database", "memcached", "memory", "mongodb", "redis", "tiered")
