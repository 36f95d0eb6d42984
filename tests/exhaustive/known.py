"""Findings that are documented limits: no code can keep these laws there.

A finding without a row here is a bug. A row that is no finding any more is out of date.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator

from tests.exhaustive.bounds import Bound, Finding, is_within, parsed
from tests.exhaustive.explore import Budget

NOTHING, FAULT, CLOCK, ROLLBACK = Budget(), Budget(faults=1), Budget(clocks=1), Budget(rollbacks=1)
_LOGINS = ("login", "login_other", "login_by_hand")
_ENDS = ("kill", "logout", "login_other")
#: Verbs after which create() takes along what was read.
_READ = ("read", "set_a", "set_b", "nested", "remove", "add", "save", "must_create", "reload")
_MOVES = ("cycle", "authenticate", "end_others", *(f"{verb},create" for verb in _READ))

#: Verbs after which a record isn't the one that another request read.
_CHANGES = (
    *(*_LOGINS, "logout", "kill", "delete", "set_a", "set_b", "nested", "remove", "add"),
    *("cycle", "create", "clear", "undone_login", "undone_logout", "undone_login_and_save"),
)

_LIVES = "I1 {} was acknowledged and … lives"
_ALIVE = "I1 the ended session … is alive at the end"
_REMOVED = "I3 a response removes the cookie of a newer login (it logged out)"
_REMOVED_BY_CLEAR = "I3 a response removes the cookie of a newer login"
_LOST = "I2 respond was acknowledged and … = … reached no record"
_ANONYMOUS = "I3 a response sets a cookie over a newer login's, to a session without a user"


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """A documented limit, a law, and a smallest program tuple that breaks it for that reason.

    Attributes:
        limit: Why, as the documentation has it.
        law: The signature of the law.
        programs: See `bounds.parsed`.
        needs: What has to go wrong.
        sessions: How many sessions the client has cookies of.
        is_listed: Does another engine have to list the sessions?
    """

    limit: str
    law: str
    programs: str
    needs: Budget = NOTHING
    sessions: int = 1
    is_listed: bool = False

    def is_within(self, bound: Bound) -> bool:
        """May what has to go wrong go wrong within *bound*?"""
        has_budget = all(a <= b for a, b in zip(self.needs, bound.budget, strict=True))
        return (
            has_budget and self.sessions == sum(bound.cookies) and self.is_listed <= bound.is_listed
        )

    def explains(self, finding: Finding, bound: Bound) -> bool:
        """Is *finding* of *bound* this one, or a bigger one for the same reason?"""
        is_same = self.law == finding.law and self.is_within(bound)
        return is_same and is_within(parsed(self.programs), finding.programs)


def _rows() -> Iterator[Row]:
    limit = "An end by a key that is older than a tombstone finds nothing: revoke by user instead."
    for end in _ENDS:
        for move in _MOVES:
            yield Row(limit, f"{_LIVES.format(end)} under another key", f"{move} | {end}", CLOCK)
            yield Row(limit, _ALIVE, f"{move} | {end}", CLOCK)
    limit = "A failover between two hops of an end undoes the move that the end follows."
    for end in _ENDS:
        for move in ("cycle", "create"):
            yield Row(limit, _LIVES.format(end), f"{move} | {end}", ROLLBACK)
            yield Row(limit, _ALIVE, f"{move} | {end}", ROLLBACK)
    limit = "A logout that responds later than a login that came after it removes its cookie."
    for login in _LOGINS:
        yield Row(limit, _REMOVED, f"logout,kill | {login}")
        yield Row(limit, _REMOVED, f"create,logout | {login}", FAULT)
        yield Row(limit, _REMOVED, f"logout | {login}", sessions=2)
        yield Row(limit, _REMOVED_BY_CLEAR, f"login_other,clear | {login}", sessions=2)
        yield Row(limit, _REMOVED, f"create,logout | {login}", CLOCK)
    limit = "Of two live sessions of one client a login claims the place of one, not of both."
    for login in _LOGINS:
        for verb in ("set_a", "set_b", "nested", "add", "cycle", "save"):
            yield Row(limit, _ANONYMOUS, f"logout,{verb} | {login}", sessions=2)
    limit = "Of two logins of one client the last response decides, whatever became of its own."
    for first, second in itertools.product(_LOGINS, _LOGINS):
        yield Row(limit, _REMOVED, f"{first},save,logout | {second}")
        yield Row(limit, _ANONYMOUS, f"{first},save,clear | {second}")
    limit = "A response that is more than a minute late sets the cookie of its own session."
    for login in _LOGINS:
        yield Row(limit, _ANONYMOUS, f"create | {login}", Budget(faults=1, clocks=1))
        yield Row(limit, _ANONYMOUS, f"create,kill | {login}", CLOCK)
        yield Row(limit, _ANONYMOUS, f"create,reload | {login}", CLOCK)


def _rows_of_a_users_sessions() -> Iterator[Row]:
    limit = "A logout that responds later than a login that came after it removes its cookie."
    for login, verb in itertools.product(_LOGINS, ("list_all", "end_all", "end_one")):
        yield Row(limit, _REMOVED, f"logout,{verb} | {login}")
    limit = "A response that is more than a minute late sets the cookie of its own session."
    for verb, other in itertools.product(
        ("list_all", "end_all"), ("end_all,login", "login,end_all")
    ):
        yield Row(limit, _ANONYMOUS, f"cycle,{verb} | {other}", CLOCK)


def _rows_of_rolled_back_transactions() -> Iterator[Row]:
    limit = "A logout that a rollback undid ends no session that has moved to another key since."
    yield Row(limit, f"{_LIVES.format('respond')} under another key", "cycle | undone_logout")
    yield Row(limit, _ALIVE, "cycle | undone_logout")
    limit = "A logout that responds later than a login that came after it removes its cookie."
    for login in (*_LOGINS, "undone_login", "undone_login_and_save"):
        yield Row(limit, _REMOVED_BY_CLEAR, f"{login} | undone_logout")
    limit = "A login that was saved and undone is lost where the session was changed meanwhile."
    for change in _CHANGES:
        yield Row(limit, _LOST, f"{change} | undone_login_and_save")


def _rows_of_listed_sessions() -> Iterator[Row]:
    limit = "A logout that responds later than a login that came after it removes its cookie."
    for login in _LOGINS:
        # It takes longer where it ends a card too.
        yield Row(limit, _REMOVED, f"{login} | logout", is_listed=True)
    limit = "A session whose card wasn't moved is in no list a minute later, and ends with its next use."
    for move, when in itertools.product(("cycle", "end_others"), ("end_all", "at the end")):
        law = f"I8 a session that was there when its user's were ended lives: {when}"
        yield Row(limit, law, f"{move} | end_all", Budget(faults=1, clocks=1), is_listed=True)


ROWS = (
    *_rows(),
    *_rows_of_a_users_sessions(),
    *_rows_of_listed_sessions(),
    *_rows_of_rolled_back_transactions(),
)


def new_findings(bound: Bound, findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings that no row explains."""
    return [each for each in findings if not any(row.explains(each, bound) for row in ROWS)]


def stale_rows(bound: Bound, findings: Iterable[Finding]) -> Iterator[Row]:
    """Yield the rows that *bound* must have found, and did not."""
    found, searched = list(findings), {frozenset(programs) for programs in bound.programs()}
    for row in ROWS:
        programs = parsed(row.programs)
        is_judged = row.is_within(bound) and row.law.startswith(bound.laws)
        is_searched = is_judged and frozenset(programs) in searched
        is_found = any(row.law == f.law and is_within(f.programs, programs) for f in found)
        if is_searched and not is_found:
            yield row
