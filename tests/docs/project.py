"""The project of the tutorial, made once per worker, for what other pages do with it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.docs.pages import ROOT, block_of
from tests.docs.reader import Reader
from tests.docs.test_tutorial import PAGE as TUTORIAL

TESTING = "docs/howto/test-your-site.md"
RUN_SECONDS = 250

_made: list[Path] = []


def made_project(directory: Path) -> Path:
    """Return the directory of the tutorial's project after its second section.

    Args:
        directory: Where to make it, unless that was done before.
    """
    if not _made:
        with Reader(TUTORIAL, directory, {}) as reader:
            reader.follow("Make a project")
            reader.follow("Make a cart")
            _made.append(reader.directory)
        in_memory = block_of(TESTING, "mysite/test_settings.py")
        (_made[0] / in_memory.file).write_text(in_memory.text)
    return _made[0]


def copied_project(made: Path, directory: Path) -> Path:
    """Return a copy of the project *made*."""
    return Path(shutil.copytree(made, directory / "site", ignore=shutil.ignore_patterns("venv")))


def environment_of(project: Path) -> dict[str, str]:
    """Return what a program needs to run in *project* with the programs of this environment."""
    return {
        "HOME": str(project),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": f"{ROOT}{os.pathsep}{project}",
        "DJANGO_SETTINGS_MODULE": "mysite.test_settings",
    }


def run_in(project: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run *command* in *project* with the programs of this environment, in memory."""
    return subprocess.run(
        command,
        cwd=project,
        env=environment_of(project) | variables,
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )
