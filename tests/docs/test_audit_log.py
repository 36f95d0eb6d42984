"""The audit log that is shown, in the tutorial's project: a line of JSON for each event."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.docs.pages import Block, blocks_of
from tests.docs.project import run_in

pytestmark = pytest.mark.long

PAGE = "docs/howto/audit-log.md"

BEGINNING = """
import logging
import sys
from datetime import timedelta
from unittest import mock

import django

logging.basicConfig(level=logging.INFO, format="%(name)s %(message)s", stream=sys.stdout)
django.setup()

from django.conf import settings
from django.contrib.auth import get_user_model
from django.test import Client
from django.utils import timezone

# The default one takes half a second for each password.
settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
visitor, ada = Client(SERVER_NAME="localhost"), get_user_model().objects.get()


def comes(*clients, seconds=0):
    later = timezone.now() + timedelta(seconds=seconds)
    with mock.patch("django.utils.timezone.now", return_value=later):
        for client in clients:
            assert client.get("/").status_code == 200
"""


LOGIN = """
ada.set_password("twenty-minutes")
ada.save()
login = {"username": "ada", "password": "twenty-minutes", "next": "/"}


def log_in(client, **more):
    assert client.post("/admin/login/", {**login, **more}).status_code == (200 if more else 302)
"""


def runs(block: Block) -> bool:
    return block.page == PAGE and block.file.startswith("shop/")


@pytest.fixture
def audited_project(project: Path) -> Path:
    for block in filter(runs, blocks_of(PAGE)):
        (project / block.file).write_text(block.text)
    return project


def audit_of(project: Path, script: str) -> list[dict[str, Any]]:
    """Return the audit's lines of *script*, each storage key in them as a letter."""
    run = run_in(project, sys.executable, "-c", BEGINNING + script)
    assert run.returncode == 0, run.stdout + run.stderr
    letters: dict[str, str] = {}

    def lettered(key: re.Match[str]) -> str:
        return letters.setdefault(key[0], "ABCD"[len(letters)])

    lines = [line for line in run.stdout.splitlines() if line.startswith("audit ")]
    keys = re.compile(r"\b[0-9a-f]{32}\b")
    return [json.loads(keys.sub(lettered, line.removeprefix("audit "))) for line in lines]


def login(session: str, before: str | None = None) -> dict[str, Any]:
    return {"event": "login", "user": "1", "session": session, "before": before}


def end(session: str, reason: str) -> dict[str, Any]:
    return {"event": "end", "session": session, "reason": reason}


def test_a_login_is_noted_with_and_without_a_session_before(audited_project: Path) -> None:
    script = """
visitor.post("/add/", {"thing": "tea"})
for _ in range(2):
    log_in(visitor)
    assert visitor.post("/admin/logout/?next=/").status_code == 302
"""
    assert audit_of(audited_project, LOGIN + script) == [
        login("A", before="B"),
        end("A", "flushed"),
        # Django's test client sends the cookie that was removed, without a value.
        {"event": "refused key"},
        login("C"),
        end("C", "flushed"),
    ]


def test_a_session_that_expired_is_noted_when_a_client_comes_with_it(
    audited_project: Path,
) -> None:
    # The server keeps a record for a minute after its end: the tutorial's idle timeout is two weeks.
    script = """
visitor.force_login(ada)
comes(visitor, seconds=14 * 24 * 60 * 60 + 30)
"""
    assert audit_of(audited_project, script) == [login("A", before="B"), end("A", "idle")]


def test_a_session_that_the_server_has_removed_is_not_noted(audited_project: Path) -> None:
    script = """
visitor.force_login(ada)
comes(visitor, seconds=60 * 60 + 90)
"""
    assert audit_of(audited_project, script) == [login("A", before="B")]


def test_what_is_refused_is_noted_and_forges_no_line(audited_project: Path) -> None:
    script = """
log_in(visitor, password="wrong", username='ada\\naudit {"event": "login"}')
visitor.cookies["sessionid"] = "f" * 40
comes(visitor)
"""
    assert audit_of(audited_project, LOGIN + script) == [
        {"event": "failed login", "user_name": 'ada\naudit {"event": "login"}'},
        {"event": "refused key"},
    ]


def test_a_new_device_is_noted(audited_project: Path) -> None:
    script = """
from django.test import override_settings

with override_settings(MULTISESSION_RECORD_USER_AGENT=True):
    for agent in ("curl/8.5.0", "Wget/1.21"):
        log_in(Client(SERVER_NAME="localhost", headers={"user-agent": agent}))
"""
    noted = audit_of(audited_project, LOGIN + script)
    assert noted[-1] == {
        "event": "new device",
        "user": "1",
        "session": noted[-2]["session"],
        "device": "Wget",
        "address": "",
    }
    assert [each["event"] for each in noted[:-1]] == ["login", "login"]
