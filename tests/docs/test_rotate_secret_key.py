"""The three deployments of the how-to: at none of them is anybody logged out."""

from __future__ import annotations

from typing import Any

from django.test import override_settings

from django_multisession.engines.memory import SessionStore
from django_multisession.testing.rows import for_each
from tests.docs.pages import Block, blocks_of
from tests.docs.test_shown_settings import execute

PAGE = "docs/howto/rotate-secret-key.md"
BEFORE = {"SECRET_KEY": "the old key", "SECRET_KEY_FALLBACKS": []}


def runs(block: Block) -> bool:
    return block.page == PAGE and block.language == "python"


STEPS: list[dict[str, Any]] = [BEFORE]
for _block in filter(runs, blocks_of(PAGE)):
    STEPS.append(execute(_block, STEPS[-1]))


def visit(key: str | None, settings: dict[str, Any]) -> tuple[str | None, str | None]:
    """Read the session *key* at a process with *settings*; return its user and the new cookie."""
    with override_settings(**settings):
        session = SessionStore(key)
        name = session.get("name")
        if session.modified:
            session.save()
        return name, session.session_key


@for_each("number", [1, 2, 3])
def test_processes_before_and_after_a_step_accept_each_others_cookies(number: int) -> None:
    before, after = STEPS[number - 1 : number + 1]
    for one, other in ((before, after), (after, before)):
        with override_settings(**one):
            session = SessionStore()
            session["name"] = "ada"
            session.save()
        key = session.session_key
        # What was not visited during step 2 ends with step 3.
        if (number, one) == (3, before):
            _, key = visit(key, before)
        for settings in (other, one, other):
            name, key = visit(key, settings)
            assert name == "ada"


def test_without_step_1_a_process_that_was_not_deployed_yet_logs_out() -> None:
    with override_settings(**STEPS[2]):
        session = SessionStore()
        session["name"] = "ada"
        session.save()
    assert visit(session.session_key, BEFORE) == (None, None)


def test_there_are_three_steps() -> None:
    assert len(STEPS) == 4
    assert STEPS[1]["SECRET_KEY_FALLBACKS"] == [STEPS[2]["SECRET_KEY"]]
