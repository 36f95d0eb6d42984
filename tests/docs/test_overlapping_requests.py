"""What is shown of two requests' changes comes out as the page says."""

from __future__ import annotations

import sys
import types
from typing import Any

import pytest
from django.test import override_settings

from django_multisession.engines.memory import SessionStore
from django_multisession.resolvers import ABSENT
from django_multisession.testing.rows import for_each
from tests.docs.pages import Block, block_of, blocks_of
from tests.docs.test_shown_settings import execute

PAGE = "docs/explanation/overlapping-requests.md"
MODULE = "shop/resolvers.py"


def runs(block: Block) -> bool:
    return (block.page, block.file) == (PAGE, MODULE)


def resolvers_shown() -> dict[str, str]:
    """Return what the page sets, and its own resolver beside it."""
    block = next(
        block for block in blocks_of(PAGE) if "MULTISESSION_CONFLICT_RESOLVERS" in block.text
    )
    shown: dict[str, str] = execute(block, {})["MULTISESSION_CONFLICT_RESOLVERS"]
    return shown | {"chapter": "shop.resolvers.furthest"}


@pytest.fixture
def resolvers(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The resolvers of the page, importable as it says."""
    module = types.ModuleType("shop.resolvers")
    exec(block_of(PAGE, MODULE).text, module.__dict__)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return resolvers_shown()


def overlapped(name: str, base: Any, theirs: Any, mine: Any) -> Any:
    """Return what is stored of one entry that was *base* and that two requests changed at once."""
    session = SessionStore()
    session["other"] = True
    change(session, name, base)
    session.save()
    requests = [SessionStore(session.session_key) for _ in range(2)]
    for request in requests:
        assert request.get("other")
    for request, value in zip(requests, (theirs, mine), strict=True):
        change(request, name, value)
        request.save()
    return SessionStore(session.session_key).get(name, ABSENT)


def change(session: SessionStore, name: str, value: Any) -> None:
    if value is ABSENT:
        session.pop(name, None)
    else:
        session[name] = value


@for_each(
    ("name", "base", "theirs", "mine", "stored"),
    [
        ("cart", ["tea"], ["tea", "cake"], ["tea", "milk"], ["tea", "cake", "milk"]),
        ("cart", ["tea"], ["tea", "cake"], ["cake"], ["cake"]),
        ("cart", ["tea"], ["tea", "cake"], ["tea", "cake", "milk"], ["tea", "cake", "milk"]),
        ("cart", {"tea": [1]}, {"tea": [1, 2]}, {"tea": [1, 3]}, {"tea": [1, 2, 3]}),
        ("cart", "tea", "tea, cake", "tea, milk", "tea, milk"),
        ("pages_seen", 3, 4, 5, 6),
        ("pages_seen", ABSENT, 1, 2, 3),
        ("language", "en", "de", "fr", "de"),
        ("chapter", 3, 7, 5, 7),
        ("chapter", 3, ABSENT, 5, 5),
        ("without", ["tea"], ["tea", "cake"], ["tea", "milk"], ["tea", "milk"]),
        ("without", 1, 2, ABSENT, ABSENT),
    ],
)
def test_two_changes_of_one_entry_become_what_the_page_says(
    name: str, base: Any, theirs: Any, mine: Any, stored: Any, resolvers: dict[str, str]
) -> None:
    with override_settings(MULTISESSION_CONFLICT_RESOLVERS=resolvers):
        assert overlapped(name, base, theirs, mine) == stored


def test_a_resolver_that_returns_absent_deletes_the_entry(
    resolvers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["shop.resolvers"], "furthest", lambda *_sides: ABSENT)
    with override_settings(MULTISESSION_CONFLICT_RESOLVERS=resolvers):
        assert overlapped("chapter", 1, 2, 3) is ABSENT


def test_what_a_resolver_raises_names_the_entry_and_stores_nothing(
    resolvers: dict[str, str],
) -> None:
    with override_settings(MULTISESSION_CONFLICT_RESOLVERS=resolvers):
        session = SessionStore()
        session["chapter"] = 1
        session.save()
        one, other = SessionStore(session.session_key), SessionStore(session.session_key)
        assert one["chapter"] == other["chapter"] == 1
        one["chapter"], other["chapter"] = 2, "appendix"
        one.save()
        with pytest.raises(TypeError) as caught:
            other.save()
        assert "'chapter'" in caught.value.__notes__[0]
        assert SessionStore(session.session_key)["chapter"] == 2
