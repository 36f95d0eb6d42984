"""Tests of the layers without I/O; they need no server.

Hypothesis measures no time here: a slow machine is no bug.
"""

from __future__ import annotations

import hypothesis

hypothesis.settings.register_profile("multisession", deadline=None)
hypothesis.settings.load_profile("multisession")
