"""The pages of the documentation, and the code blocks in them."""

from __future__ import annotations

import ast
import dataclasses
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PATHS = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
#: The path of each page inside the repository.
PAGES = {path.relative_to(ROOT).as_posix(): path for path in PATHS}

_FENCE = re.compile(r"^```(?P<language>[^\n`]+)?\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)
_HEADING = re.compile(r"^## (.+)$", re.MULTILINE)
#: A block's first line may say which file it is or belongs to: ``# shop/views.py, at the end``.
_FILE = re.compile(
    r"^(?:#|\{#|//|<!--|;) (?P<path>/[\w./-]+|[\w./-]+\.\w+)(?P<where>, at the end)?\b"
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A fenced block of code.

    Attributes:
        page: Path of its page inside the repository.
        line: Where it begins there.
        section: The heading above it.
        language: What its fence says: ``python``, ``console``.
        text: The code.
    """

    page: str
    line: int
    section: str
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def file(self) -> str:
        """The file that the block's first line names; empty if it names none."""
        found = _FILE.match(self.text)
        return found["path"] if found else ""

    @property
    def is_appended(self) -> bool:
        """Does the block go to the end of its file, and is not the whole of it?"""
        found = _FILE.match(self.text)
        return bool(found and found["where"])

    @property
    def commands(self) -> list[str]:
        """The commands of a ``console`` block."""
        joined = self.text.replace("\\\n", "")
        lines = [line.strip() for line in joined.splitlines()]
        return [line for line in lines if line and not line.startswith("#")]

    @property
    def kind(self) -> str:
        """What a ``python`` block is: ``settings``, ``views``, ``tests`` or other ``code``.

        ``# settings.py`` and ``# views.py`` say it; without such a line it is seen."""
        tree = ast.parse(self.text, filename=str(self))
        defined = [
            node
            for node in tree.body
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        ]
        if self.file in {"settings.py", "views.py"}:
            return self.file.removesuffix(".py")
        if self.file:
            return "code"
        if any(node.name.lower().startswith("test") for node in defined):
            return "tests"
        if not defined:
            return "settings" if _assigns_settings_only(tree) else "code"
        return "views" if all(map(_takes_a_request, defined)) else "code"


def blocks_of(page: str) -> list[Block]:
    """Return the blocks of *page*, in order."""
    text = PAGES[page].read_text()
    headings = [(found.start(), found[1]) for found in _HEADING.finditer(text)]
    return [
        Block(
            page=page,
            line=text.count("\n", 0, found.start()) + 1,
            section=next((name for at, name in reversed(headings) if at < found.start()), ""),
            language=(found["language"] or "").strip(),
            text=found["text"],
        )
        for found in _FENCE.finditer(text)
        # Sphinx's own: a table of contents.
        if not (found["language"] or "").startswith("{")
    ]


def blocks(language: str = "", kind: str = "") -> list[Block]:
    """Return every page's blocks in *language*, of *kind*."""
    return [
        block
        for page in PAGES
        for block in blocks_of(page)
        if language in ("", block.language)
        if not kind or (block.language == "python" and block.kind == kind)
    ]


def block_of(page: str, file: str) -> Block:
    """Return the one block of *page* that says it is *file*."""
    found = [block for block in blocks_of(page) if block.file == file]
    assert len(found) == 1, f"{page} has {len(found)} blocks that are {file}"
    return found[0]


def text_of(page: str) -> str:
    """Return *page*, a path below ``docs``."""
    return (DOCS / page).read_text(encoding="utf-8")


def changed(source: str, diff: str) -> str:
    """Return *source*, a file, after the changes that a ``diff`` block shows.

    A line is added after the one above it; below a comment, at the end."""
    lines = source.splitlines()
    at = len(lines)
    for line in diff.splitlines():
        match line[:1], line[1:]:
            case "+", new:
                lines.insert(at, new)
                at += 1
            case "-", old:
                at = index_of(old, lines)
                del lines[at]
            case " ", shown:
                is_comment = shown.lstrip().startswith("#")
                at = len(lines) if is_comment else index_of(shown, lines) + 1
    return "\n".join([*lines, ""])


def index_of(shown: str, lines: list[str]) -> int:
    """Return where the line *shown* is; startproject quotes it otherwise without a formatter."""
    (at,) = (at for at, line in enumerate(lines) if line.replace("'", '"') == shown)
    return at


def section_of(page: str, *headings: str) -> str:
    """Return what stands in *page* under a heading, or one inside of another, up to the next."""
    text = text_of(page)
    for heading in headings:
        level = heading.partition(" ")[0]
        found = re.search(
            rf"^{re.escape(heading)}\n(.*?)(?=^#{{1,{len(level)}}} |\Z)",
            # A comment in a block of code is no heading.
            _FENCE.sub(lambda block: block[0].replace("\n#", "\n-"), text),
            re.DOTALL | re.MULTILINE,
        )
        assert found is not None, heading
        text = text[found.start(1) : found.end(1)]
    return text


def rows_of(text: str, table: int = 0) -> list[list[str]]:
    """Return the cells of a table, without its head."""
    tables = re.findall(r"^\|.*\n\|[-|]+\n((?:\|.*\n)+)", text, re.MULTILINE)
    split = re.compile(r"(?<!\\)\|")
    return [
        [cell.strip().replace("\\|", "|") for cell in split.split(line.strip()[1:-1])]
        for line in tables[table].splitlines()
    ]


def code(cell: str) -> str:
    """Return what *cell* has between its first backquotes."""
    found = re.search(r"`([^`]*)`", cell)
    assert found is not None, cell
    return found[1]


def _assigns_settings_only(tree: ast.Module) -> bool:
    return all(
        isinstance(node, ast.Import | ast.ImportFrom)
        or (isinstance(node, ast.Assign) and all(map(_is_setting, node.targets)))
        for node in tree.body
    )


def _is_setting(target: ast.expr) -> bool:
    while isinstance(target, ast.Subscript):
        target = target.value
    return isinstance(target, ast.Name) and target.id.isupper()


def _takes_a_request(node: ast.stmt) -> bool:
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and [
        argument.arg for argument in node.args.args[:1]
    ] == ["request"]
