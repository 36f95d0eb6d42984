"""The commands that the pages show are run, or it is said here why not."""

from __future__ import annotations

import contextlib
import re
import shlex
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
from servers import START_SECONDS, STOP_SECONDS, RedisServer, free_port
from shop.browser import Browser

from django_multisession.testing.rows import for_each
from tests.docs.pages import ROOT, Block, blocks
from tests.docs.project import TESTING, environment_of, run_in
from tests.docs.reader import POLL_SECONDS
from tests.docs.test_production_settings import settings_shown
from tests.docs.test_tutorial import PAGE as TUTORIAL
from tests.drivers.problems import OF_RELEASES
from tests.engine_fixtures import ONE_OF_EACH_KIND

#: Beginnings of commands that no test runs → why.
NOT_RUN = {
    "uvicorn ": "the last test here runs it on a free port",
    "python3 -m venv .venv && ": ".ci/run runs the README's two, in a fresh clone",
    "INTERLEAVING_ROUNDS=": "it takes a quarter of an hour; that it finds the suite is tested",
    ".venv/bin/pytest -q -n 4 -m 'every_engine or release'": "it takes most of an hour",
    ".venv/bin/python -m tests.exhaustive --long": "it takes half an hour",
    "pip install ": "the environment has it; that the extra exists is tested",
}

#: What a site does besides, by Django's own checklist: Django 6.1 asks for a mail server.
IN_PRODUCTION = f"""
from mysite.settings import *
MAILERS = {{"default": {{"BACKEND": "django.core.mail.backends.smtp.EmailBackend"}}}}
SILENCED_SYSTEM_CHECKS = {sorted(OF_RELEASES)}
"""
#: Until its last step, the guide keeps the app whose table it empties and removes.
MOVING = "docs/howto/move-from-django.md"
WHILE_MOVING = """
from mysite.test_settings import *
INSTALLED_APPS = [*INSTALLED_APPS, "django.contrib.sessions"]
MULTISESSION_MIGRATE_FROM = "django.contrib.sessions.backends.db"
"""
SECRETS = "only-for-tests-" + "0123456789" * 4


def commands(*pages_run_elsewhere: str, page: str = "") -> list[pytest.ParameterSet]:
    return [
        pytest.param(command, id=f"{block}:{command[:60]}")
        for block in blocks("console")
        if block.page not in pages_run_elsewhere
        for command in block.commands
        if page in ("", block.page)
    ]


def runs(block: Block) -> bool:
    return block.language == "console" and all(
        command.startswith(("python manage.py ", *NOT_RUN)) for command in block.commands
    )


@for_each("command", commands())
def test_a_shell_can_read_the_command(command: str) -> None:
    subprocess.run(["bash", "-n", "-c", command], check=True, timeout=30)


@pytest.mark.long
@pytest.mark.parametrize(
    "command",
    [
        row
        for row in commands(TUTORIAL, TESTING, MOVING)
        if str(row.values[0]).startswith("python manage.py ")
    ],
)
def test_the_command_shown_succeeds(command: str, project: Path, newest_redis: RedisServer) -> None:
    settings = "mysite.test_settings"
    if "--deploy" in command:
        settings = "mysite.production"
        (project / "mysite/production.py").write_text(IN_PRODUCTION + settings_shown().text)
    variables = {"SECRET_KEY": f"production-{SECRETS}", "REDIS_URL": newest_redis.url}
    run = run_in(project, "bash", "-c", command, DJANGO_SETTINGS_MODULE=settings, **variables)
    assert run.returncode == 0, run.stdout + run.stderr
    if " check" in command:
        assert "no issues" in run.stdout, run.stderr


@pytest.mark.long
@pytest.mark.parametrize("command", commands(page=MOVING))
def test_the_command_shown_succeeds_while_a_site_moves(command: str, project: Path) -> None:
    (project / "mysite/moving.py").write_text(WHILE_MOVING)
    for typed in ("python manage.py migrate --verbosity 0", command):
        run = run_in(project, "bash", "-c", typed, DJANGO_SETTINGS_MODULE="mysite.moving")
        assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.long
@pytest.mark.parametrize(
    "command", [row for row in commands() if "INTERLEAVING_ROUNDS" in str(row.values[0])]
)
def test_the_long_command_shown_finds_what_it_is_to_run(command: str) -> None:
    shown = ".venv/bin/pytest -n 4 "
    assert command.count(shown) == 1
    collecting = command.replace(shown, f"{sys.executable} -m pytest --collect-only ")
    run = subprocess.run(
        ["bash", "-c", collecting],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    # Eleven actions; three engines, sync and async.
    assert (
        run.stdout.count("::test_two_requests_leave_what_the_table_says")
        == 11 * len(ONE_OF_EACH_KIND) * 2
    )


@for_each("command", [row for row in commands() if "pip install" in str(row.values[0])])
def test_the_extras_shown_exist(command: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    part = next(part for part in command.split(" && ") if "pip install" in part)
    for word in shlex.split(part):
        found = re.fullmatch(r"(.+)\[(.+)\]", word)
        if found:
            assert found[1] in {project["name"], ".", "/path/to/the/clone"}
            assert set(found[2].split(",")) <= set(project["optional-dependencies"])


@pytest.mark.long
@pytest.mark.parametrize(
    "command",
    [row for row in commands(TUTORIAL, TESTING) if str(row.values[0]).startswith("uvicorn")],
)
def test_the_asgi_server_shown_serves_the_site(
    request: pytest.FixtureRequest, command: str, project: Path, tmp_path: Path
) -> None:
    port = free_port(request.node)
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(
            [*command.split(), "--port", str(port)],
            cwd=project,
            env=environment_of(project),
            stdout=log,
            stderr=log,
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        body = ""
        while not body:
            assert server.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < deadline, (tmp_path / "log").read_text()
            time.sleep(POLL_SECONDS)
            with contextlib.suppress(OSError):
                body = Browser(port).get("/").body
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(STOP_SECONDS)
    assert "You are not logged in." in body
    assert "ASGI 'lifespan' protocol appears unsupported" in (tmp_path / "log").read_text()
