"""What ``manage.py`` finds of this package; Django looks for it under this name."""

from __future__ import annotations
