"""The house's words: no page, docstring or message of the rebuilt middle uses a banned one."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import django_multisession
from tests.docs.pages import DOCS

PACKAGE = Path(django_multisession.__file__).parent

#: Calques, and idioms that readers of English take for another meaning.
BANNED = (
    r"anew|amid|besides|beforehand|mends?|mended|in vain|without a word|goes by",
    r"nobody|somebody|everybody|shall|for ever|at once",
    # The field's words: a seal is authenticated encryption.
    r"seals?|sealed|sealing|unseals?|retired records?",
)
#: A reader is "you"; the package has a name.
BANNED_IN_PAGES = (r"we|us|our|ours|whoever",)

#: To grow: a page is added when it was rewritten by the style guide.
PAGES = [
    "changelog.md",
    "explanation/architecture.md",
    "explanation/design-notes.md",
    "explanation/limits.md",
    "explanation/overlapping-requests.md",
    "explanation/security.md",
    "explanation/sync-and-async.md",
    "explanation/under-djangos-middleware.md",
    "howto/separate-tenants.md",
    "howto/upgrade.md",
    "howto/write-a-driver.md",
    "reference/driver-contract.md",
    "reference/engines.md",
    "reference/exceptions.md",
    "reference/glossary.md",
    "reference/middleware.md",
    "reference/signals.md",
]
#: To grow likewise.
PACKAGES = ("core", "engines", "session", "settings", "settings/rules")
MODULES = [
    "drivers/options.py",
    "drivers/redis/checks.py",
    "engine.py",
    "exceptions.py",
    "signals.py",
    *sorted(
        path.relative_to(PACKAGE).as_posix()
        for name in PACKAGES
        for path in PACKAGE.glob(f"{name}/*.py")
    ),
]

MOST_COLUMNS, MOST_ROWS = 4, 12
#: Tables whose rows a test compares with the code one by one.
LONG_TABLES = {"explanation/under-djangos-middleware.md", "reference/middleware.md"}


def banned_in(text: str, *patterns: str) -> list[str]:
    """Return every banned word of *text*."""
    return re.findall(rf"\b(?:{'|'.join(patterns)})\b", text, re.IGNORECASE)


def prose_of(page: str) -> str:
    """Return what *page* says, without code: names and output are quoted as they are."""
    text = re.sub(r"^```.*?^```$", "", (DOCS / page).read_text(), flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"`[^`\n]*`", "", text)


def texts_of(module: str) -> Iterator[str]:
    """Yield the docstrings and the other strings of *module*."""
    for node in ast.walk(ast.parse((PACKAGE / module).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


@pytest.mark.parametrize("page", PAGES)
def test_no_page_that_was_rewritten_uses_a_banned_word(page: str) -> None:
    assert banned_in(prose_of(page), *BANNED, *BANNED_IN_PAGES) == []


@pytest.mark.parametrize("module", MODULES)
def test_no_docstring_and_no_message_of_a_rewritten_module_uses_a_banned_word(module: str) -> None:
    assert [word for text in texts_of(module) for word in banned_in(text, *BANNED)] == []


@pytest.mark.parametrize("page", sorted({*PAGES} - LONG_TABLES))
def test_a_table_has_at_most_four_columns_and_twelve_rows(page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        rows = table.splitlines()
        assert len(re.findall(r"(?<!\\)\|", rows[0])) - 1 <= MOST_COLUMNS, rows[0]
        assert len(rows) - 2 <= MOST_ROWS, rows[0]
