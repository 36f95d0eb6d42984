"""The documentation is true: its code runs, its links lead somewhere, its lists are complete."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.http import JsonResponse
from django.test import RequestFactory, override_settings

from django_multisession import conf
from django_multisession.engines.memory import SessionStore

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

NAMES = {path.relative_to(ROOT).as_posix(): path for path in PAGES}
SETTINGS_PAGES = ["README.md", "docs/reference/settings.md"]
VIEW_PAGES = ["docs/explanation/expiry.md"]
TEST_PAGES = ["docs/howto/write-a-driver.md"]


def python_blocks(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", NAMES[page].read_text(), re.DOTALL | re.MULTILINE)


def test_every_page_with_python_is_run_by_one_of_these_tests() -> None:
    with_python = {page for page in NAMES if python_blocks(page)}
    assert with_python == {*SETTINGS_PAGES, *VIEW_PAGES, *TEST_PAGES}


@pytest.mark.parametrize("page", SETTINGS_PAGES)
def test_the_settings_shown_are_right(page: str) -> None:
    for block in python_blocks(page):
        shown: dict[str, Any] = {"INSTALLED_APPS": []}
        exec(block, shown)
        settings = {name: value for name, value in shown.items() if name.isupper()}
        with override_settings(**settings):
            assert conf.problems() == []


@pytest.mark.parametrize("page", VIEW_PAGES)
def test_the_views_shown_answer(page: str) -> None:
    for block in python_blocks(page):
        shown: dict[str, Any] = {"JsonResponse": JsonResponse}
        exec(block, shown)
        views = [value for name, value in shown.items() if getattr(value, "__code__", None)]
        assert len(views) == 1
        request = RequestFactory().get("/")
        request.session = SessionStore()
        request.session["unread"] = 3
        request.session.save()
        assert views[0](request).status_code == 200


@pytest.mark.parametrize("page", TEST_PAGES)
def test_the_tests_shown_pass(page: str, tmp_path: Path) -> None:
    file = tmp_path / "test_shown.py"
    file.write_text("\n\n".join(python_blocks(page)))
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(file)],
        cwd=ROOT,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-3000:]
    passed = re.search(r"(\d+) passed", run.stdout)
    assert passed is not None
    assert int(passed.group(1)) > 200


@pytest.mark.parametrize("page", sorted(NAMES))
def test_every_link_leads_to_a_file(page: str) -> None:
    path = NAMES[page]
    links = re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", path.read_text())
    missing = [
        link for link in links if "://" not in link and not (path.parent / link).resolve().is_file()
    ]
    assert missing == []


def test_the_readme_is_short() -> None:
    assert len(NAMES["README.md"].read_text().splitlines()) <= 150


def test_every_setting_is_in_the_reference() -> None:
    source = (ROOT / "django_multisession/conf.py").read_text()
    known = set(re.findall(r'"(MULTISESSION_[A-Z_]+[A-Z])"', source))
    documented = set(
        re.findall(r"`(MULTISESSION_[A-Z_]+)`", NAMES["docs/reference/settings.md"].read_text())
    )
    assert known == documented


def test_every_check_is_in_the_reference() -> None:
    sources = (ROOT / "django_multisession").rglob("*.py")
    known = {
        number
        for source in sources
        for number in re.findall(r'"(?:multisession\.)?([EW]\d{3})"', source.read_text())
    }
    documented = re.findall(
        r"^\| `multisession\.(.*?)`", NAMES["docs/reference/checks.md"].read_text(), re.MULTILINE
    )
    assert sorted(known) == sorted(documented)


def test_ci_runs_the_readmes_commands() -> None:
    commands = re.findall(r"^python3 -m venv .*", NAMES["README.md"].read_text(), re.MULTILINE)
    assert [command.split(".venv/bin/")[-1].split()[0] for command in commands] == [
        "python",
        "pytest",
    ]
    ci = (ROOT / ".ci/run").read_text()
    assert "of_readme pytest" in ci
    assert "of_readme 'manage.py demo'" in ci
