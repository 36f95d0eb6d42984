"""Laws of every two requests, whatever the table says: a wrong cell must not hide a revival."""

from __future__ import annotations

from collections.abc import Iterator

from django_multisession.testing.interleaving.model import (
    KEPT,
    NAMES,
    NEW_OWNERS,
    OK,
    OWNER,
    SET,
    Outcome,
    Pair,
)
from django_multisession.testing.interleaving.table import ENDING, LOGINS, MOVING, Action


def broken_invariants(pair: Pair, found: Outcome) -> Iterator[str]:
    """Yield each law that what *pair* left breaks."""
    yield from _broken_by_the_store(pair, found)
    for position, name in enumerate(NAMES):
        reply, action, other = (
            found.replies[position],
            pair.actions[position],
            pair.actions[1 - position],
        )
        if reply.status != OK and reply.cookie != KEPT:
            yield f"{name} was interrupted and got a cookie"
        if reply.status != OK and action in LOGINS:
            yield f"the login of {name} failed"
        if other in ENDING | MOVING:
            continue
        if reply.cookie == SET and reply.leads_to is None:
            yield f"the cookie of {name} leads nowhere"
        if reply.status == OK:
            yield from _lost_changes(name, action, found)


def _broken_by_the_store(pair: Pair, found: Outcome) -> Iterator[str]:
    # No request changes the entry "before": what holds it is the session that both came with.
    same = [content for content in found.live if content.has("before")]
    is_ended = not ENDING.isdisjoint(pair.actions)
    if len(same) > 1:
        yield "the session is there twice"
    has_login = not LOGINS.isdisjoint(pair.actions)
    # An end stops at a login: what the login made is another session. Time ends that one too.
    if same and is_ended and not (has_login and Action.PURGE not in pair.actions):
        yield "an ended session is alive"
    # A login ends what `cycle_key()` made of the session that the login came with.
    is_replaced = has_login and Action.CYCLE in pair.actions
    if not same and not is_ended and not is_replaced:
        yield "the session is gone, and no request ended it"
    if found.is_old_key_live and is_ended:
        yield "the old key of an ended session is alive"
    owners = {pair.owner}
    for name, action, reply in zip(NAMES, pair.actions, found.replies, strict=True):
        if action in LOGINS and reply.status == OK:
            owners.add(NEW_OWNERS[name] if action is Action.LOGIN else OWNER)
    if not owners.issuperset(content.owner for content in found.live if content.owner):
        yield "a session belongs to a user who did not log in"


def _lost_changes(name: str, action: Action, found: Outcome) -> Iterator[str]:
    """Yield a change that *name* was told is stored, and that is nowhere."""
    marks = {
        Action.SAVE: f"saved by {name}",
        Action.LOGIN: f"greeting of {name}",
        Action.RELOGIN: f"greeting of {name}",
    }
    mark = marks.get(action)
    if mark is not None and not any(content.has(mark) for content in found.live):
        yield f"what {name} changed is lost"
    if action is Action.DELETE_ENTRY and any(c.has(f"gone by {name}") for c in found.live):
        yield f"what {name} deleted is back"
    if action is Action.NESTED and not any(f'"{name}"' in c.entries for c in found.live):
        yield f"what {name} appended is lost"
