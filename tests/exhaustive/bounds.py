"""Bounds: which tuples of programs are searched, and how much may go wrong in each schedule."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import gc
import itertools
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tests.exhaustive import site
from tests.exhaustive.explore import Budget, Programs, Scene
from tests.exhaustive.requests import Program
from tests.exhaustive.verbs import ALL, CORE, OF_USER, UNDONE, VERBS

Task = tuple[str, ...]
NOTHING_WRONG = Budget()

#: Verbs that do nothing with the store once the session is read, and commute with one another.
_LOCAL = ("add", "nested", "remove", "set_a", "set_b")
#: Verbs that read first by themselves: a read before one of them is no other program.
_READERS = {*_LOCAL, "login", "login_other", "login_by_hand", "cycle"}
_IDEMPOTENT = {"read", "clear", "poll", "cycle"}
#: Verbs in which two tasks of one request get into each other's way.
GATHERED = ("read", "set_a", "nested", "login", "logout", "cycle", "save", "reload")
GATHERED_BESIDE = ("set_a", "login", "logout", "cycle", "save", "reload")
#: What meets an authentication.
AUTHENTICATION = ("authenticate", "set_a", "cycle", "logout", "kill", "delete", "create", "poll")
LOGINS = ("login", "login_other", "login_by_hand")
#: Verbs that get into the way of an end of a user's sessions.
BESIDE_OF_USER = ("set_a", "login", "login_other", "logout", "cycle", "save", *OF_USER)
#: Verbs with a login that is under way while a user's sessions are ended.
UNDER_WAY = ("login", "cycle", "list_all", "end_all", "end_others")
#: What meets a list whose records another engine has. A read that a minute passes before is a noted use.
LISTED = ("read", "login", "logout", "cycle", "list_all", "end_all", "end_others")
#: What meets a login beside the limit of its user's sessions.
LIMITED = ("login", "login_elsewhere", "login_other", "logout", "cycle", "read", *OF_USER)
#: Those of them that change most, for bounds in which all are too many.
BESIDE_LIMITED = ("login", "login_elsewhere", "logout", "cycle", "end_all")
#: Those with which a login is tried again.
SAVED_LIMITED = ("login", "login_elsewhere", "logout", "save", "end_others")


@dataclasses.dataclass(frozen=True, slots=True)
class Bound:
    """A set of program tuples, and the budget of each.

    Attributes:
        name: What the command and the tests call it.
        shape: For each request the most verbs of each of its tasks.
        verbs: What programs are made of.
        budget: See `Budget`.
        users: Whose session the requests come with: None for an anonymous one.
        cookies: For each cookie that the requests send whether a session lies there.
        settings: Settings that differ from those of every other bound.
        laws: What the laws begin with that hold with these settings.
        is_listed: Does another engine list the sessions?
    """

    name: str
    shape: tuple[tuple[int, ...], ...]
    verbs: tuple[str, ...] = ALL
    budget: Budget = NOTHING_WRONG
    users: tuple[str | None, ...] = (None, "1")
    cookies: tuple[bool, ...] = (True,)
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    laws: tuple[str, ...] = ("I",)
    is_listed: bool = False

    def programs(self) -> Iterator[Programs]:
        """Yield the program tuples, small ones first; equal requests in one order only."""
        for count in range(1, len(self.shape) + 1):
            yield from self._programs(self.shape[:count])

    def _programs(self, shape: tuple[tuple[int, ...], ...]) -> Iterator[Programs]:
        is_same_shape = [one == two for one, two in itertools.pairwise(shape)]
        for choice in itertools.product(*(list(self._requests(sizes)) for sizes in shape)):
            pairs = zip(is_same_shape, itertools.pairwise(choice), strict=True)
            if all(not is_same or _size(one) <= _size(two) for is_same, (one, two) in pairs):
                yield choice

    def _requests(self, sizes: tuple[int, ...]) -> Iterator[Program]:
        choices = itertools.product(*(list(tasks(size, self.verbs)) for size in sizes))
        for choice in choices:
            in_order = itertools.pairwise(choice)
            if len(set(sizes)) > 1 or all(_task_size(a) <= _task_size(b) for a, b in in_order):
                yield choice


def _task_size(task: Task) -> tuple[int, Task]:
    return len(task), task


def _size(program: Program) -> tuple[tuple[int, Task], ...]:
    return tuple(map(_task_size, program))


def tasks(most: int, verbs: tuple[str, ...]) -> Iterator[Task]:
    """Yield every task of at most so many verbs that does something else than a smaller one."""
    for size in range(1, most + 1):
        yield from filter(_is_normal, itertools.product(verbs, repeat=size))


def _is_normal(task: Task) -> bool:
    return not any(_is_redundant(first, second) for first, second in itertools.pairwise(task))


def _is_redundant(first: str, second: str) -> bool:
    """Does a task do the same in another order, or without one of these?"""
    if first in _LOCAL and second in _LOCAL:
        return first > second or first == second != "add"
    return (
        (first == "read" and second in _READERS)
        or first == second in _IDEMPOTENT
        # A request of another browser isn't one of this client's.
        or second in ("poll", "login_elsewhere")
    )


# Findings


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """A smallest program tuple that breaks a law, and a shortest schedule for it."""

    law: str
    programs: Programs
    user: str | None
    schedule: tuple[str, ...]

    def __str__(self) -> str:
        who = f"user {self.user}" if self.user else "anonymous"
        return f"    {text_of(self.programs)} ({who}): {'; '.join(self.schedule)}"


@dataclasses.dataclass(slots=True)
class Result:
    """What a bound found, and how much there was to search."""

    findings: list[Finding] = dataclasses.field(default_factory=list)
    tuples: int = 0
    states: int = 0
    transitions: int = 0
    steps: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        return (
            f"{self.seconds:.1f} s: {self.tuples} program tuples, {self.states} states, "
            f"{self.transitions} transitions, {self.steps} steps of the code"
        )


def summary(findings: Iterable[Finding], most: int = 3) -> str:
    """Return *findings* by law, the schedules of the smallest few of each."""
    lines = []
    by_law = collections.defaultdict(list)
    for finding in findings:
        by_law[finding.law].append(finding)
    for law, found in sorted(by_law.items()):
        found.sort(key=lambda each: (len(text_of(each.programs).split(",")), len(each.schedule)))
        lines += [f"{law} ({len(found)} smallest program tuples)", *map(str, found[:most])]
        if rest := "; ".join(text_of(each.programs) for each in found[most:]):
            lines.append(f"    also: {rest}")
    return "\n".join(lines)


def search(bound: Bound) -> Result:
    """Search every program tuple of *bound*."""
    result, began = Result(), time.perf_counter()
    with site.controlled(is_listed=bound.is_listed, **bound.settings), _without_collections():
        for user in bound.users:
            always = "SESSION_SAVE_EVERY_REQUEST" in bound.settings
            scene = Scene(user, bound.cookies, may_store_unchanged=always)
            for programs in bound.programs():
                report = scene.explore(programs, bound.budget)
                result.tuples += 1
                result.states += report.states
                result.transitions += report.transitions
                broken = {
                    law: schedule
                    for law, schedule in report.broken.items()
                    if law.startswith(bound.laws)
                }
                _add_smallest(result.findings, programs, user, broken)
            result.steps += scene.steps
            scene.close()
    result.seconds = time.perf_counter() - began
    return result


@contextlib.contextmanager
def _without_collections() -> Iterator[None]:
    """Collect no cycles: a search keeps a million objects, and looking through them takes a third."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _add_smallest(
    findings: list[Finding], programs: Programs, user: str | None, broken: Mapping[str, list[str]]
) -> None:
    for law, schedule in broken.items():
        finding = Finding(signature(law), programs, user, tuple(schedule))
        if not any(
            known.law == finding.law and is_within(known.programs, programs) for known in findings
        ):
            findings.append(finding)


def signature(law: str) -> str:
    """Return *law* without its values: this identifies a finding."""
    return re.sub(r"'[^']*'|\[[^]]*\]|\b\d+\b|\bNone\b", "…", law)


def is_within(small: Programs, big: Programs) -> bool:
    """Is *small* what is left of *big* without some requests and verbs?"""
    return any(
        all(map(_is_request_within, small, order))
        for order in itertools.permutations(big, len(small))
    )


def _is_request_within(small: Program, big: Program) -> bool:
    return len(small) == len(big) and all(map(_is_task_within, small, big))


def _is_task_within(small: Task, big: Task) -> bool:
    rest = iter(big)
    return all(verb in rest for verb in small)


# Program tuples as text: "cycle,save + set_a | logout"


def text_of(programs: Programs) -> str:
    """Return *programs* as text: requests between |, tasks of a gather between +, verbs by comma."""
    return " | ".join(" + ".join(",".join(task) for task in request) for request in programs)


def parsed(text: str) -> Programs:
    """Return the program tuple that *text* stands for; see `text_of`."""
    return tuple(tuple(_verbs(task) for task in request.split("+")) for request in text.split("|"))


def _verbs(text: str) -> Task:
    verbs = tuple(text.strip().split(","))
    if unknown := set(verbs) - set(VERBS):
        raise ValueError(f"There is no verb {', '.join(sorted(unknown))} in {text!r}.")
    return verbs


def explore_one(
    programs: Programs,
    user: str | None,
    budget: Budget,
    cookies: tuple[bool, ...] = (True,),
    *,
    is_listed: bool = False,
    **settings: Any,
) -> list[Finding]:
    """Search one program tuple."""
    with site.controlled(is_listed=is_listed, **settings):
        scene = Scene(user, cookies)
        report = scene.explore(programs, budget)
        scene.close()
    return [
        Finding(signature(law), programs, user, tuple(schedule))
        for law, schedule in report.broken.items()
    ]


# What CI searches


def _limited(
    name: str,
    shape: tuple[tuple[int, ...], ...],
    at_limit: str,
    most: int,
    budget: Budget = NOTHING_WRONG,
    verbs: tuple[str, ...] = LIMITED,
    *,
    is_listed: bool = False,
) -> Bound:
    settings = {"MULTISESSION_MAX_SESSIONS": most, "MULTISESSION_AT_LIMIT": at_limit}
    return Bound(name, shape, verbs, budget, settings=settings, is_listed=is_listed)


#: A few seconds each.
SHORT = (
    Bound("one-verb", ((1,), (1,)), budget=Budget(faults=2)),
    Bound("authentication", ((1,), (1,)), AUTHENTICATION, Budget(1, 1), ("1",)),
    Bound("authentication-login", ((1,), (1,)), ("authenticate", *LOGINS), Budget(1), ("1",)),
    Bound("undone", ((1,), (1,)), (*ALL, *UNDONE)),
    _limited("limit-deny", ((1,), (1,)), "deny", 1),
)
#: A minute of processor time each at most, in most cases a few seconds.
LONG = (
    Bound(
        "limit-key-kept",
        ((1,), (1,)),
        LIMITED,
        settings={"MULTISESSION_MAX_SESSIONS": 1, "MULTISESSION_ALWAYS_CYCLE_ON_LOGIN": False},
        laws=("I9",),
    ),
    _limited("limit-oldest", ((1,), (1,)), "oldest", 1),
    _limited("limit-deny-of-two", ((1,), (1,)), "deny", 2),
    _limited("limit-least-used", ((1,), (1,)), "least_used", 2),
    Bound("gather", ((2, 2),), GATHERED),
    Bound("gather-faults", ((2, 1),), GATHERED, Budget(faults=1)),
    Bound("listed", ((1,), (1,)), LISTED, Budget(clocks=1), is_listed=True),
    Bound(
        "listed-key-kept",
        ((1,), (1,)),
        (*LISTED, "login_other", "become_other", "forget_user"),
        settings={"MULTISESSION_ALWAYS_CYCLE_ON_LOGIN": False},
        laws=("I8",),
        is_listed=True,
    ),
    Bound("of-user", ((1,), (1,)), (*CORE, *OF_USER), Budget(clocks=1)),
    Bound("of-user-faults", ((1,), (1,)), (*CORE, *OF_USER), Budget(faults=1)),
    Bound(
        "of-user-key-kept",
        ((1,), (1,)),
        (*CORE, "become_other", "forget_user", *OF_USER),
        settings={"MULTISESSION_ALWAYS_CYCLE_ON_LOGIN": False},
        laws=("I8",),
    ),
    _limited("listed-limit-deny", ((1,), (1,)), "deny", 1, is_listed=True),
    _limited("limit-oldest-faults", ((1,), (1,)), "oldest", 1, Budget(faults=1)),
    Bound("listed-faults", ((1,), (1,)), LISTED, Budget(faults=1), is_listed=True),
    Bound("one-verb-rollbacks", ((1,), (1,)), budget=Budget(rollbacks=1)),
    Bound("two-verbs", ((2,), (1,)), CORE, Budget(faults=1)),
    Bound("three-requests", ((1,), (1,), (1,))),
)
#: By command, before a release: half an hour.
BY_COMMAND = (
    _limited(
        "listed-limit-oldest", ((1,), (1,)), "oldest", 1, verbs=BESIDE_LIMITED, is_listed=True
    ),
    Bound("of-user-mishaps", ((1,), (1,)), (*CORE, *OF_USER), Budget(faults=1, clocks=1)),
    _limited("limit-oldest-mishaps", ((1,), (1,)), "oldest", 1, Budget(faults=1, clocks=1)),
    _limited("limit-least-used-mishaps", ((1,), (1,)), "least_used", 2, Budget(faults=1, clocks=1)),
    _limited("limit-deny-mishaps", ((1,), (1,)), "deny", 1, Budget(faults=1, clocks=1)),
    Bound(
        "listed-mishaps",
        ((1,), (1,)),
        (*LISTED, "end_one"),
        Budget(faults=1, clocks=1),
        is_listed=True,
    ),
    Bound("one-verb-mishaps", ((1,), (1,)), budget=Budget(faults=1, clocks=1, rollbacks=1)),
    Bound("two-verbs-faults", ((2,), (1,)), budget=Budget(faults=1)),
    Bound("two-verbs-clock", ((2,), (1,)), budget=Budget(clocks=1)),
    Bound("two-by-two", ((2,), (2,))),
    Bound("two-by-two-faults", ((2,), (2,)), CORE, Budget(faults=1)),
    Bound("three-verbs", ((3,), (1,)), CORE),
    Bound("three-verbs-faults", ((3,),), CORE, Budget(faults=1)),
    Bound("three-by-two", ((3,), (2,)), CORE),
    Bound("gather-beside", ((2, 1), (1,)), GATHERED_BESIDE),
    Bound("gather-of-three", ((1, 1, 1),), GATHERED),
    Bound("gone-cookie-first", ((1,), (1,)), CORE, Budget(faults=1), cookies=(False, True)),
    Bound("of-user-two-verbs", ((2,), (1,)), BESIDE_OF_USER, Budget(clocks=1)),
    Bound("of-user-two-by-two", ((2,), (2,)), UNDER_WAY, Budget(clocks=1)),
    Bound("of-user-three-requests", ((1,), (1,), (1,)), BESIDE_OF_USER),
    Bound(
        "listed-under-way",
        ((2,), (2,)),
        ("login", "list_all", "end_all"),
        Budget(clocks=1),
        is_listed=True,
    ),
    _limited("limit-oldest-two-verbs", ((2,), (1,)), "oldest", 1, Budget(faults=1), SAVED_LIMITED),
    _limited("limit-deny-two-verbs", ((2,), (1,)), "deny", 1, Budget(faults=1), SAVED_LIMITED),
    _limited("limit-deny-three-requests", ((1,), (1,), (1,)), "deny", 1, verbs=BESIDE_LIMITED),
    Bound("two-cookies", ((2,), (1,)), CORE, cookies=(True, True)),
    Bound("two-cookies-faults", ((1,), (1,)), CORE, Budget(faults=1), cookies=(True, True)),
    Bound(
        "anonymous-outages",
        ((1,), (1,)),
        budget=Budget(faults=1),
        settings={"MULTISESSION_ON_OUTAGE": "anonymous"},
    ),
    Bound(
        "save-every-request",
        ((1,), (1,)),
        budget=Budget(faults=1),
        settings={"SESSION_SAVE_EVERY_REQUEST": True},
    ),
)
BOUNDS = {bound.name: bound for bound in (*SHORT, *LONG, *BY_COMMAND)}
