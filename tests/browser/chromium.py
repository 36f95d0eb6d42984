"""Debian's chromium, without a window and without a word to anybody but the sites it is shown."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator

from playwright.sync_api import Browser, expect, sync_playwright
from server_binaries import MissingServer

OPTIONS = (
    # CI runs as root, where chromium's sandbox refuses to start.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


# A machine that is busy with the other tests takes its time; nothing waits longer than it must.
expect.set_options(timeout=30_000)


@contextlib.contextmanager
def running_chromium() -> Iterator[Browser]:
    """Start a chromium that ends with the block.

    Raises:
        MissingServer: There is none on PATH.
    """
    program = shutil.which("chromium")
    if program is None:
        raise MissingServer("A chromium must be on PATH (there is none): apt install chromium.")
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=program, args=OPTIONS) as browser,
    ):
        yield browser
