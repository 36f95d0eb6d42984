"""Django's own tests, which its sdist carries and its wheel does not."""

from __future__ import annotations

import fcntl
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path, PurePosixPath

import django

DOWNLOAD_SECONDS = 100


class SdistUnavailable(Exception):  # noqa: N818  (the name says what is wrong)
    """No index gave the sdist of the installed Django; the message ends with pip's."""


def fetch_djangos_tests(cache: Path) -> Path:
    """Return the directory of ``runtests.py`` of the installed Django.

    Args:
        cache: Where it is kept; other processes may ask for it at the same time.

    Raises:
        SdistUnavailable: It is not there yet, and pip could not download it.
    """
    version = django.get_version()
    cache.mkdir(parents=True, exist_ok=True)
    kept = cache / f"django-{version}-tests"
    with (cache / f"django-{version}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            with tempfile.TemporaryDirectory(dir=cache) as directory:
                # Moved when it is whole: a process that is killed leaves no half of it.
                _unpack(_download(version, Path(directory))).rename(kept)
    return kept


def _download(version: str, directory: Path) -> Path:
    # pip asks for the sdist's metadata even so, with the build backend in an environment of its
    # own; nothing is built.
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--retries=1", "--timeout=15", "--no-deps", "--no-binary=django"]
    command += [f"--dest={directory}", f"django=={version}"]
    try:
        pip = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DOWNLOAD_SECONDS,
            check=False,
        )
        problem = pip.stderr.strip()[-2000:]
    except subprocess.TimeoutExpired:
        problem = f"It took more than {DOWNLOAD_SECONDS} seconds."
    found = list(directory.glob("*.tar.gz"))
    if len(found) != 1:
        raise SdistUnavailable(
            f"pip must be able to download the sdist of Django {version} for its tests (it did "
            f"not): {problem}"
        )
    return found[0]


def _unpack(archive: Path) -> Path:
    """Unpack the tests beside *archive*, and return their directory."""
    with tarfile.open(archive) as sdist:
        tests = [entry for entry in sdist if PurePosixPath(entry.name).parts[1:2] == ("tests",)]
        sdist.extractall(archive.parent, tests, filter="data")
    return next(archive.parent.glob("*/tests"))
