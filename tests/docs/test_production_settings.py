"""With the production settings that are shown, on the Redis that is shown, no check finds anything."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import redis
from django.core import checks
from django.test import override_settings
from servers import RedisServer

from tests.docs.pages import ROOT, Block, block_of, blocks_of
from tests.docs.project import RUN_SECONDS
from tests.docs.test_shown_settings import ENVIRONMENT, SITE, execute
from tests.drivers.problems import OF_RELEASES

if TYPE_CHECKING:
    from tests.conftest import Running

PAGE = "docs/howto/production-settings.md"
REDIS, CRON = "redis.conf", "/etc/cron.d/clearsessions"


def runs(block: Block) -> bool:
    return block.page == PAGE and block.file in {REDIS, CRON}


def settings_shown() -> Block:
    """Return the block with the settings as a whole."""
    return next(block for block in blocks_of(PAGE) if "INSTALLED_APPS" in block.text)


@pytest.fixture
def redis_as_shown(running_servers: Running, tmp_path: Path) -> RedisServer:
    words = shlex.split(block_of(PAGE, REDIS).text, comments=True)
    options = [word if number % 2 else f"--{word}" for number, word in enumerate(words)]
    return RedisServer(running_servers.newest_redis().binary, tmp_path, *options)


def test_the_settings_and_the_redis_shown_pass_every_check(
    redis_as_shown: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with redis_as_shown as server:
        monkeypatch.setenv("SECRET_KEY", ENVIRONMENT["SECRET_KEY"] + "".join(map(str, range(20))))
        monkeypatch.setenv("REDIS_URL", server.url)
        settings = execute(settings_shown(), SITE)
        with override_settings(**settings):
            found = {each.id for each in checks.run_checks(include_deployment_checks=True)}
            assert found <= OF_RELEASES


def test_the_redis_shown_is_what_the_page_says(redis_as_shown: RedisServer) -> None:
    with redis_as_shown as server, redis.Redis.from_url(server.url) as client:
        found = client.config_get("maxmemory*", "append*")
    assert found["maxmemory"] == str(1024**3)
    assert found["maxmemory-policy"] == "noeviction"
    assert (found["appendonly"], found["appendfsync"]) == ("yes", "everysec")


@pytest.mark.long
def test_cron_can_run_the_line_shown(project: Path, newest_redis: RedisServer) -> None:
    comment, line = block_of(PAGE, CRON).text.strip().splitlines()
    assert comment.startswith("#")
    found = re.fullmatch(r"((?:\S+ ){5})(\w+) (.+)", line)
    assert found is not None
    schedule, user, command = found.groups()
    assert all(re.fullmatch(r"\*(/\d+)?|\d+", field) for field in schedule.split())
    assert user == "shop"
    # To cron a per cent sign is the end of the line.
    assert "%" not in command
    # A project with the settings shown, whose place is another.
    with (project / "mysite/settings.py").open("a") as settings:
        settings.write(settings_shown().text)
    (project / "venv").symlink_to(sys.prefix)
    environment = {**ENVIRONMENT, "REDIS_URL": newest_redis.url, "PYTHONPATH": str(ROOT)}
    lines = [f"{name}={shlex.quote(value)}\n" for name, value in environment.items()]
    (project / "env").write_text("".join(lines))
    assert " /srv/shop " in command
    as_shown = command.replace("/srv/shop", shlex.quote(str(project)))

    def cron(line: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["/bin/sh", "-c", line],
            cwd="/",
            env={"HOME": "/", "PATH": "/usr/bin:/bin", "SHELL": "/bin/sh"},
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
            check=False,
        )

    run = cron(as_shown)
    # What it prints would be a mail.
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
    # Why the line reads that file.
    assert "KeyError: 'SECRET_KEY'" in cron(as_shown.replace("set -a && . ./env && ", "")).stderr
