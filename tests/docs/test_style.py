"""The house's words: no page, docstring, comment or message uses a banned one."""

from __future__ import annotations

import io
import re
import tokenize
from pathlib import Path

import django_multisession
from django_multisession.testing.rows import for_each
from tests.docs.pages import DOCS, PAGES, ROOT, rows_of

PACKAGE = Path(django_multisession.__file__).parent
SHOP = ROOT / "testproject/shop/templates"

#: Calques, and idioms that readers of English take for another meaning.
BANNED = (
    r"anew|amid|besides|beforehand|mends?|mended|in vain|without a word|goes by",
    r"nobody|somebody|everybody|shall|for ever|at once",
    # The field's words: a seal is authenticated encryption.
    r"seals?|sealed|sealing|unseals?|retired records?",
)
#: A reader is "you", and the package has a name. Code reports, logs, raises, sends and receives.
BANNED_IN_PAGES = (r"we|us|our|ours|whoever", r"tells?|told|hears?|heard")

#: Where a sentence begins: a paragraph, an item of a list, behind another sentence.
BEGINNING = r"(?:^(?:[-*] |\d+\. )?|(?<=[.!?] ))"
#: Sentences that hide their actor, deny with "is no", or hold a second sentence.
TWISTED = {
    "opens without an actor": rf"{BEGINNING}(?:Who|What|That which|Of the two|One that)\b.*",
    "is no": r"(?<!here )\b(?:is|are|was|were) no (?!one\b|longer\b|more\b|later\b).*",
    "semicolon": r".*; .*",
}

#: To shrink: modules that are to be rewritten, and then have to leave this list.
OLD_MODULES = {
    "testing/driver/race_contract.py",
    "testing/engine/contract.py",
}
MODULES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))

MOST_COLUMNS, MOST_ROWS = 4, 12
#: Tables whose rows a test compares with the code one by one, and what was measured.
LONG_TABLES = {
    "docs/contributing/faults.md",
    "docs/explanation/under-djangos-middleware.md",
    "docs/reference/middleware.md",
    "docs/reference/overlapping-requests.md",
}
#: Pages that a visitor reads first, and how many words they may have.
MOST_WORDS = {"README.md": 450, "docs/index.md": 400}
MOST_WORDS_IN_A_CELL = 10


def banned_in(text: str, *patterns: str) -> list[str]:
    """Return every banned word of *text*."""
    return re.findall(rf"\b(?:{'|'.join(patterns)})\b", text, re.IGNORECASE)


def prose_of(page: str) -> str:
    """Return what *page* says, without code: names and output are quoted as they are."""
    text = re.sub(r"^```.*?^```$", "", PAGES[page].read_text(), flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"`[^`\n]*`", "X", text)


def sentences_of(page: str) -> str:
    """Return the prose of *page* without headings, tables and the targets of links."""
    text = re.sub(r"^(?:#|\||<).*$", "", prose_of(page), flags=re.MULTILINE)
    return re.sub(r"\]\([^)]*\)", "]", text)


def words_of(module: str) -> str:
    """Return the docstrings, the other strings and the comments of *module*."""
    source = io.StringIO((PACKAGE / module).read_text(encoding="utf-8"))
    spoken = {tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", -1)}
    tokens = tokenize.generate_tokens(source.readline)
    return "\n".join(token.string for token in tokens if token.type in spoken)


@for_each("page", PAGES)
def test_no_page_uses_a_banned_word(page: str) -> None:
    assert banned_in(prose_of(page), *BANNED, *BANNED_IN_PAGES) == []


@for_each("page", PAGES)
def test_no_sentence_of_a_page_is_twisted(page: str) -> None:
    text = sentences_of(page)
    found = {kind: re.findall(pattern, text, re.MULTILINE) for kind, pattern in TWISTED.items()}
    assert {kind: sentences for kind, sentences in found.items() if sentences} == {}


@for_each("template", sorted(SHOP.rglob("*.html")))
def test_no_page_of_the_demonstration_uses_a_banned_word(template: Path) -> None:
    said = re.sub(r"\{%.*?%\}|\{#.*?#\}", "", template.read_text(encoding="utf-8"), flags=re.DOTALL)
    notes = re.findall(r'note="([^"]*)"', template.read_text(encoding="utf-8"))
    assert banned_in(" ".join([said, *notes]), *BANNED, *BANNED_IN_PAGES) == []


@for_each("module", sorted({*MODULES} - OLD_MODULES))
def test_no_docstring_comment_or_message_uses_a_banned_word(module: str) -> None:
    assert banned_in(words_of(module), *BANNED) == []


@for_each("module", sorted(OLD_MODULES))
def test_a_module_that_was_rewritten_leaves_the_list(module: str) -> None:
    assert module in MODULES
    assert banned_in(words_of(module), *BANNED) != []


@for_each("page", sorted({*PAGES} - LONG_TABLES))
def test_a_table_has_at_most_four_columns_and_twelve_rows(page: str) -> None:
    text = PAGES[page].read_text(encoding="utf-8")
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        rows = table.splitlines()
        assert len(re.findall(r"(?<!\\)\|", rows[0])) - 1 <= MOST_COLUMNS, rows[0]
        assert len(rows) - 2 <= MOST_ROWS, rows[0]


@for_each("page", MOST_WORDS)
def test_a_page_that_is_read_first_is_short(page: str) -> None:
    assert len(sentences_of(page).split()) <= MOST_WORDS[page]


def test_a_cell_of_the_readme_is_short() -> None:
    text = PAGES["README.md"].read_text(encoding="utf-8")
    cells = [cell for table in (0, 1) for row in rows_of(text, table) for cell in row]
    assert max(len(cell.split()) for cell in cells) <= MOST_WORDS_IN_A_CELL


@for_each(
    "sentence",
    [
        "Who has the old cookie can follow.",
        "It ends. What is left stays.",
        "- One that is late is lost.",
        "A cookie is no proof.",
        "It is saved; the cookie stays.",
    ],
)
def test_a_twisted_sentence_is_noticed(sentence: str) -> None:
    assert any(re.search(pattern, sentence, re.MULTILINE) for pattern in TWISTED.values())


def test_the_documentation_is_looked_at_as_a_whole() -> None:
    assert {*DOCS.rglob("*.md")} < {*PAGES.values()}
