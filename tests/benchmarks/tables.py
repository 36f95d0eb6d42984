"""What the benchmarks print."""

from __future__ import annotations

import sys


def write_row(*cells: object) -> None:
    """Write a row of a Markdown table."""
    sys.stdout.write(f"| {' | '.join(map(str, cells))} |\n")
    sys.stdout.flush()
