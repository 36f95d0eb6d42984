"""The audit log that is shown, in the tutorial's project: it notes logins and ends."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.docs.pages import Block, blocks_of
from tests.docs.project import run_in

PAGE = "docs/reference/signals.md"

BEGINNING = """
import logging
import sys
from datetime import timedelta
from unittest import mock

import django

logging.basicConfig(level=logging.INFO, format="%(name)s %(message)s", stream=sys.stdout)
django.setup()

from django.contrib.auth import get_user_model
from django.test import Client
from django.utils import timezone

visitor, ada = Client(SERVER_NAME="localhost"), get_user_model().objects.get()


def comes(*clients, seconds=0):
    later = timezone.now() + timedelta(seconds=seconds)
    with mock.patch("django.utils.timezone.now", return_value=later):
        for client in clients:
            assert client.get("/").status_code == 200
"""


def runs(block: Block) -> bool:
    return block.page == PAGE


@pytest.fixture
def audited_project(project: Path) -> Path:
    for block in blocks_of(PAGE):
        (project / block.file).write_text(block.text)
    return project


def audit_of(project: Path, script: str) -> list[str]:
    """Return the audit's lines of *script*, each storage key in them as a letter."""
    run = run_in(project, sys.executable, "-c", BEGINNING + script)
    assert run.returncode == 0, run.stdout + run.stderr
    letters: dict[str, str] = {}

    def lettered(key: re.Match[str]) -> str:
        return letters.setdefault(key[0], "ABC"[len(letters)])

    lines = [line for line in run.stdout.splitlines() if line.startswith("audit ")]
    return [re.sub(r"\b[0-9a-f]{32}\b", lettered, line) for line in lines]


def test_a_login_is_noted_with_and_without_a_session_before(audited_project: Path) -> None:
    script = """
ada.set_password("twenty-minutes")
ada.save()
login = {"username": "ada", "password": "twenty-minutes", "next": "/"}
visitor.post("/add/", {"thing": "tea"})
for _ in range(2):
    assert visitor.post("/admin/login/", login).status_code == 302
    assert visitor.post("/admin/logout/?next=/").status_code == 302
"""
    assert audit_of(audited_project, script) == [
        "audit User 1 signed in: session A.",
        "audit Session A is over: flushed.",
        "audit User 1 signed in: session B.",
        "audit Session B is over: flushed.",
    ]


def test_a_session_that_expired_is_noted_when_a_client_comes_with_it(
    audited_project: Path,
) -> None:
    # The server keeps a record for a minute after its end: the tutorial's idle timeout is two weeks.
    script = """
visitor.force_login(ada)
comes(visitor, seconds=14 * 24 * 60 * 60 + 30)
"""
    assert audit_of(audited_project, script) == [
        "audit User 1 signed in: session A.",
        "audit Session A is over: idle.",
    ]


def test_a_session_that_the_server_has_removed_is_not_noted(audited_project: Path) -> None:
    script = """
visitor.force_login(ada)
comes(visitor, seconds=60 * 60 + 90)
"""
    assert audit_of(audited_project, script) == ["audit User 1 signed in: session A."]
