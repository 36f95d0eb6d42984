"""The wheel and the sdist of this repository, and empty environments to install them in.

What they need is downloaded first, in one go. From then on nothing asks an index: only the download
can fail for want of a network.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import shutil
import subprocess
import sys
import tomllib
import venv
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
SITE = Path(__file__).parent / "installed_site"
DOWNLOAD_SECONDS = 800
RUN_SECONDS = 800


class IndexUnavailable(Exception):  # noqa: N818  (the name says what is wrong)
    """No index gave what the package requires; the message ends with pip's."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Distributions:
    """What is published.

    Attributes:
        wheel: Made of the sdist, not of the repository.
        sdist: Made of the repository.
        requirements: A directory with everything that they, and mypy, require.
    """

    wheel: Path
    sdist: Path
    requirements: Path


def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def build_distributions(directory: Path) -> Distributions:
    """Build the distributions in *directory*, unless another process has.

    Raises:
        IndexUnavailable: pip could not download what they require.
    """
    directory.mkdir(exist_ok=True)
    requirements, built = directory / "requirements", directory / "built"
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not built.exists():
            _download_requirements(requirements)
            unfinished = directory / "unfinished"
            subprocess.run(
                [sys.executable, "-m", "build", f"--outdir={unfinished}", ROOT],
                env={**os.environ, **_without_index(requirements)},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=RUN_SECONDS,
                check=True,
            )
            unfinished.rename(built)
    (wheel,), (sdist,) = built.glob("*.whl"), built.glob("*.tar.gz")
    return Distributions(wheel=wheel, sdist=sdist, requirements=requirements)


def _download_requirements(directory: Path) -> None:
    project = pyproject()["project"]
    extras = project["optional-dependencies"]
    wanted = [
        *pyproject()["build-system"]["requires"],
        *project["dependencies"],
        *extras["memcached"],
        *extras["mongodb"],
        *extras["redis"],
        "mypy",
    ]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--retries=1", "--timeout=15", f"--dest={directory}", *wanted]
    try:
        pip = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DOWNLOAD_SECONDS,
            check=False,
        )
        problem = pip.stderr.strip()[-2000:] if pip.returncode else ""
    except subprocess.TimeoutExpired:
        problem = f"It took more than {DOWNLOAD_SECONDS} seconds."
    if problem:
        raise IndexUnavailable(
            f"pip must be able to download {', '.join(wanted)} (it was not): {problem}"
        )


def _without_index(requirements: Path) -> dict[str, str]:
    return {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(requirements),
    }


class Environment:
    """A virtual environment with what is installed here, and a site outside the repository."""

    def __init__(self, directory: Path, requirements: Path) -> None:
        self._requirements = requirements
        self._python = directory / "venv/bin/python"
        self._site = directory / "site"
        # This interpreter's pip installs in it: pip is not there either.
        venv.create(directory / "venv")
        shutil.copytree(SITE, self._site)

    def install(self, *wanted: str) -> None:
        pip = [sys.executable, "-m", "pip", f"--python={self._python}", "install", "--quiet"]
        installed = subprocess.run(
            [*pip, "--disable-pip-version-check", "--no-compile", *wanted],
            env={**os.environ, **_without_index(self._requirements)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
            check=False,
        )
        assert installed.returncode == 0, installed.stderr

    def run(
        self, *arguments: str, engine: str = "memory", **engine_settings: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run Python in the directory of the site, with no variable of this process."""
        given = {"SESSION_ENGINE": f"django_multisession.engines.{engine}", **engine_settings}
        return subprocess.run(
            [self._python, *arguments],
            cwd=self._site,
            env={"DJANGO_SETTINGS_MODULE": "settings", "SITE_ENGINE": json.dumps(given)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
            check=False,
        )
