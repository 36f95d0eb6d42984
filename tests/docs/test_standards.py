"""Each test that the tables of the standards name is there, and the settings shown keep the limits."""

from __future__ import annotations

import re
from pathlib import Path

from django_multisession.testing.rows import for_each
from tests.docs.pages import ROOT, code, rows_of, text_of

PAGE = "reference/standards.md"
TABLES = len(re.findall(r"^\|[-|]+\n", text_of(PAGE), re.MULTILINE))
ROWS = [row for table in range(TABLES) for row in rows_of(text_of(PAGE), table) if len(row) == 4]

#: Every requirement of the chapter.
CHAPTER_7 = [
    *("7.1.1", "7.1.2", "7.1.3", "7.2.1", "7.2.2", "7.2.3", "7.2.4", "7.3.1", "7.3.2", "7.4.1"),
    *("7.4.2", "7.4.3", "7.4.4", "7.4.5", "7.5.1", "7.5.2", "7.5.3", "7.6.1", "7.6.2"),
]


def names_in(directory: Path) -> set[str]:
    return {
        name
        for path in directory.rglob("*.py")
        for name in re.findall(r"def (test_\w+)\(", path.read_text(encoding="utf-8"))
    }


def test_each_test_that_is_named_is_there() -> None:
    there = names_in(ROOT / "tests") | names_in(ROOT / "django_multisession/testing")
    named = {code(test) for _requirement, _how, test, _job in ROWS if test != "none"}
    assert len(named) > 25
    assert named <= there, named - there


def test_each_requirement_of_the_chapter_has_a_row() -> None:
    numbers = [row[0].partition(" ")[0] for row in ROWS]
    assert [number for number in numbers if number.startswith("7.")] == CHAPTER_7


@for_each("row", ROWS)
def test_a_requirement_without_a_test_is_the_sites_job(row: list[str]) -> None:
    _requirement, _how, test, job = row
    assert job or test != "none"
