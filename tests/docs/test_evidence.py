"""The code and the tests that the explanations name as their evidence exist."""

from __future__ import annotations

import functools
import importlib
import operator
import re
from pathlib import Path

import django_multisession
from django_multisession.testing.rows import for_each
from tests.docs.pages import ROOT, rows_of, section_of, text_of

PACKAGE = Path(django_multisession.__file__).parent

NAMED = re.compile(r"`(\w[\w.]*:[\w.]+)`")
NAMED_TESTS = re.compile(r"`(test_\w+)`")
DEFINED_TESTS = re.compile(r"^\s*(?:async )?def (test_\w+)", re.MULTILINE)
EVIDENCE = "contributing/evidence.md"
NAMING_PAGES = ("explanation/architecture.md", EVIDENCE)


@functools.cache
def names_of_tests() -> frozenset[str]:
    paths = [*(ROOT / "tests").rglob("*.py"), *(PACKAGE / "testing").rglob("*.py")]
    return frozenset(
        name for path in paths for name in DEFINED_TESTS.findall(path.read_text(encoding="utf-8"))
    )


@for_each("page", NAMING_PAGES)
def test_every_test_that_a_page_names_exists(page: str) -> None:
    named = set(NAMED_TESTS.findall(text_of(page)))
    assert named
    assert named - names_of_tests() == set()


def test_everything_in_the_code_that_the_evidence_names_is_there() -> None:
    named = set(NAMED.findall(section_of(EVIDENCE, "## Security")))
    assert len(named) > 20
    for name in named:
        module, _, path = name.partition(":")
        operator.attrgetter(path)(importlib.import_module(f"django_multisession.{module}"))


@for_each(
    ("page", "title", "columns"),
    [("security", "Security", 3), ("what-stock-django-does", "What stock Django does", 4)],
)
def test_every_row_has_its_line_of_evidence(page: str, title: str, columns: int) -> None:
    sections = text_of(f"explanation/{page}.md").split("\n## ")
    evidence = section_of(EVIDENCE, f"## {title}")
    tables = {
        section.partition("\n")[0]: rows_of(section) for section in sections if "\n|---" in section
    }
    assert len(tables) > 4
    lists = dict(re.findall(r"^\*\*(.*)\*\*\n\n((?:\d+\. .*\n)+)", evidence, re.MULTILINE))
    assert list(lists) == list(tables)
    for heading, rows in tables.items():
        lines = re.findall(r"^(\d+)\. (.*): (`test_.*)$", lists[heading], re.MULTILINE)
        assert all(len(row) == columns and all(row) for row in rows)
        assert [row[0] for row in rows] == [number for number, _where, _tests in lines]
        for _number, where, tests in lines:
            assert NAMED.search(where)
            assert NAMED_TESTS.search(tests)
