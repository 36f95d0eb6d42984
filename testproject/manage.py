#!/usr/bin/env python3
"""The demonstration site's commands; `manage.py demo` is the one to begin with."""

from __future__ import annotations

import os
import sys
from pathlib import Path

if __name__ == "__main__":
    # Another project's, left in the shell, would not know these commands.
    os.environ["DJANGO_SETTINGS_MODULE"] = "shop.settings"
    # Runs from a clone, with django_multisession not installed.
    sys.path.append(str(Path(__file__).resolve().parent.parent))
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)
