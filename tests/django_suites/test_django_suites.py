"""Django's own tests pass on our engines.

Each run is a process of its own: Django's tests need settings, applications and warnings filters
of their own.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings

from tests.django_suites.sdist import SdistUnavailable, fetch_djangos_tests
from tests.engine_fixtures import ONE_OF_EACH_KIND, Engine

ROOT = Path(__file__).parents[2]
SETTINGS = "--settings=tests.django_suites.settings"
MIXIN = "tests.django_suites.session_mixin"
OUR_MIDDLEWARE = "tests.django_suites.our_middleware"
SUITES = (
    "auth_tests",
    "sessions_tests",
    "messages_tests",
    "csrf_tests",
    "async",
    "test_client",
    "test_client_regress",
)

MIXIN_TESTS = 65
#: Django 5.2 has 2000 that pass on SQLite; later ones have more.
LEAST_PASSED = 2000

#: Of Django's 12, with and without HttpOnly.
LEAST_PASSED_ON_OUR_MIDDLEWARE = 9 + 11

#: Each takes half a minute at most, on a machine that does nothing else.
RUN_SECONDS = 800

#: What Python says of a client that nobody closed, a coroutine that nobody awaited, a task whose
#: failure nobody saw. It fails no test: the garbage collector can only print it.
LEAK = re.compile(r".*(?:ResourceWarning|Exception ignored|never awaited|never retrieved).*")


@pytest.fixture(scope="session")
def django_tests() -> Path:
    """The directory of ``runtests.py`` of the installed Django."""
    cache = os.environ.get("MULTISESSION_CACHE_DIR")
    try:
        return fetch_djangos_tests(Path(cache).resolve() if cache else ROOT / ".cache")
    except SdistUnavailable as error:
        if os.environ.get("MULTISESSION_REQUIRE_SERVERS") == "1":
            pytest.fail(str(error))
        pytest.skip(str(error))


class Suites:
    """Runs Django's tests with the engine of this test's settings."""

    def __init__(self, directory: Path, log: Path) -> None:
        self._directory = directory
        self._log = log
        names = (
            "SESSION_ENGINE",
            "MULTISESSION_COOKIE",
            "MULTISESSION_MEMCACHED",
            "MULTISESSION_MONGODB",
            "MULTISESSION_REDIS",
            "MULTISESSION_TIERED",
        )
        given = {name: getattr(settings, name) for name in names if hasattr(settings, name)}
        self._environment = {
            **os.environ,
            "MULTISESSION_SUITES_SETTINGS": json.dumps(given),
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(directory)]),
        }

    def run(self, *arguments: str) -> str:
        """Run Python with *arguments*, which must succeed and leak nothing; return its output."""
        # A file, not a pipe: a process that it leaves behind would keep a pipe open.
        with self._log.open("w") as log:
            try:
                code = subprocess.run(
                    [sys.executable, *arguments],
                    cwd=self._directory,
                    env=self._environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    timeout=RUN_SECONDS,
                    check=False,
                ).returncode
            except subprocess.TimeoutExpired:
                code = None
        output = self._log.read_text(errors="replace")
        problem = None
        if code is None:
            problem = f"did not end within {RUN_SECONDS} seconds"
        elif code != 0:
            problem = f"ended with exit code {code}"
        elif leak := LEAK.search(output):
            problem = f"left something behind ({leak[0].strip()})"
        if problem:
            pytest.fail(f"Django's tests {problem}:\n{output[-20_000:]}", pytrace=False)
        return output


@pytest.fixture
def suites(engine: Engine, django_tests: Path, tmp_path: Path) -> Suites:
    return Suites(django_tests, tmp_path / "output.txt")


def passed(output: str) -> int:
    """Count the tests that passed: unittest counts as "ran" what it skipped, too."""
    ran = re.search(r"^Ran (\d+) tests? in .*\n\nOK(.*)$", output, re.MULTILINE)
    assert ran is not None
    return int(ran[1]) - sum(int(others) for others in re.findall(r"=(\d+)", ran[2]))


@pytest.mark.long
def test_every_test_of_djangos_session_mixin_passes(suites: Suites) -> None:
    output = suites.run("-W", "error", "-m", "django", "test", SETTINGS, MIXIN)
    assert passed(output) >= MIXIN_TESTS


@pytest.mark.long
@pytest.mark.parametrize("engine", ONE_OF_EACH_KIND, indirect=True)
def test_djangos_tests_of_its_middleware_pass_on_ours_but_for_the_named(suites: Suites) -> None:
    output = suites.run("-W", "error", "-m", "django", "test", SETTINGS, OUR_MIDDLEWARE)
    assert passed(output) >= LEAST_PASSED_ON_OUR_MIDDLEWARE


@pytest.mark.long
@pytest.mark.parametrize(
    "engine",
    [
        "memory",
        # Where Django changed, all engines change alike.
        pytest.param("redis-8.2", marks=pytest.mark.once),
        pytest.param("mongodb-standalone", marks=pytest.mark.once),
        pytest.param("memcached", marks=pytest.mark.once),
    ],
    indirect=True,
)
def test_djangos_own_suites_pass_with_the_engine(suites: Suites) -> None:
    output = suites.run(
        "runtests.py",
        SETTINGS,
        "--parallel=1",
        "--verbosity=2",
        *SUITES,
        MIXIN,
    )
    assert passed(output) >= LEAST_PASSED
    of_the_mixin = set(re.findall(rf"\({re.escape(MIXIN)}\.EngineTests\.(test_\w+)\)", output))
    assert len(of_the_mixin) >= MIXIN_TESTS


@pytest.mark.long
def test_the_session_mixin_passes_on_cookies_but_for_ends_without_a_server(
    cookie_engine: str, django_tests: Path, tmp_path: Path
) -> None:
    output = Suites(django_tests, tmp_path / "output.txt").run(
        "-W", "error", "-m", "django", "test", SETTINGS, MIXIN
    )
    # Without a server that keeps ends, a logout reaches no copy: see session_mixin.
    assert passed(output) >= MIXIN_TESTS - (2 if cookie_engine == "cookie" else 0)
