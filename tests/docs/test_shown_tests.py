"""The tests that the pages show pass, and fail where what they test is broken."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.docs.pages import Block, blocks_of
from tests.docs.project import TESTING, run_in
from tests.docs.test_tutorial import PAGE as TUTORIAL

WRITING = "docs/howto/write-a-driver.md"
PYTEST = ("-q", "-p", "no:cacheprovider", "-p", "no:randomly")


def runs(block: Block) -> bool:
    if block.page == WRITING:
        return block.language in {"python", "console"}
    return block.page == TESTING and block.language in {"python", "console"}


def passed(run: subprocess.CompletedProcess[str]) -> int:
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    count = re.search(r"(\d+) passed|Ran (\d+) tests", run.stdout + run.stderr)
    assert count is not None
    return int(count[1] or count[2])


@pytest.mark.long
def test_a_driver_written_as_shown_holds_the_contracts(tmp_path: Path) -> None:
    shown: dict[str, list[str]] = {}
    for block in blocks_of(WRITING):
        if block.language == "python":
            shown.setdefault(block.file, []).append(block.text)
    # A site has it; the laws have settings of their own.
    assert shown.pop("settings.py")
    assert shown.keys() == {"filesessions.py", "test_filesessions.py", "test_settings.py"}
    for name, texts in shown.items():
        (tmp_path / name).write_text("\n\n".join(texts))
    (command,) = [
        command
        for block in blocks_of(WRITING)
        if block.language == "console"
        for command in block.commands
    ]
    # Without the environment's settings: the command has to say which.
    options = (*PYTEST, "-rp")
    run = run_in(tmp_path, *command.split(), *options, DJANGO_SETTINGS_MODULE="no.such.settings")
    assert passed(run)
    # How many laws there are changes with them; each contract shown has some that pass.
    (tests,) = shown["test_filesessions.py"]
    classes = re.findall(r"^class (\w+)", tests, re.MULTILINE)
    assert {*re.findall(r"^PASSED \S+?::(\w+)::", run.stdout, re.MULTILINE)} == {*classes}


#: Which views the tutorial's project has → the page's test file that is for the other ones.
NOT_FOR = {"sync": "shop/test_async_views.py", "async": "shop/test_views.py"}


def shown(views: str) -> list[Block]:
    """Return the files that somebody with such *views* takes from the page."""
    files = [block for block in blocks_of(TESTING) if block.language == "python"]
    assert {block.file for block in files} > {*NOT_FOR.values()}
    return [block for block in files if block.file != NOT_FOR[views]]


@pytest.fixture(params=[pytest.param("sync", marks=pytest.mark.release), "async"])
def views(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


@pytest.fixture
def tested_project(project: Path, views: str) -> Path:
    """The tutorial's project with the test files of the page that go with its views."""
    versions = [block for block in blocks_of(TUTORIAL) if block.file == "shop/views.py"]
    assert ["async def" in block.text for block in versions] == [False, True]
    (project / "shop/views.py").write_text(versions[views == "async"].text)
    for block in shown(views):
        (project / block.file).write_text(block.text)
    return project


def commands() -> list[str]:
    return [
        command
        for block in blocks_of(TESTING)
        if block.language == "console"
        for command in block.commands
    ]


@pytest.mark.long
@pytest.mark.parametrize("command", commands())
def test_the_tests_shown_pass(command: str, tested_project: Path, views: str) -> None:
    # Without the environment's settings: the command has to say which.
    run = run_in(tested_project, *command.split(), DJANGO_SETTINGS_MODULE="mysite.settings")
    assert passed(run) == sum(block.text.count("def test_") for block in shown(views))


@pytest.mark.long
@pytest.mark.parametrize(
    ("fault", "instead", "failing"),
    [
        ('setdefault("cart", [])', 'get("cart", [])', "test_a_thing_is_put_into_the_cart"),
        ('get("cart", [])', 'get("basket", [])', "test_a_cart_that_is_there_already_is_shown"),
    ],
)
def test_the_tests_shown_notice_a_broken_site(
    fault: str, instead: str, failing: str, tested_project: Path
) -> None:
    file = tested_project / "shop/views.py"
    assert fault in file.read_text()
    file.write_text(file.read_text().replace(fault, instead, 1))
    run = run_in(tested_project, *commands()[-1].split())
    assert run.returncode == 1
    assert re.search(rf"^FAILED .*::{failing}\b", run.stdout, re.MULTILINE)
