"""Requests as automata: the real code, run once for each thing that can happen to it.

A request knows the store only by the answers it gets. So what it does next is a function of its
verbs and those answers, and is computed once, however many interleavings lead there. The nodes here
form a tree of local histories, and the product of two trees is explored without any code being run.
"""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import enum
from typing import Any, NamedTuple

from django_multisession.exceptions import StoreUnavailable
from tests.exhaustive import site
from tests.exhaustive.store import Numbers, is_timed
from tests.exhaustive.verbs import VERBS, Actor, Ghost, respond

RESPOND = "respond"


class Fault(enum.Enum):
    """What a call gets in place of its answer."""

    LOST = "lost"
    CANCELED = "canceled"


class Wait(enum.Enum):
    """What a task waits for, if not for a call."""

    VERB = "the choice of its next verb"
    TURN = "its turn, which is free"
    BLOCKED = "its turn, which another task has"


#: What a task is given: a verb's name (None: no more), an answer's number or a fault. For a turn, None.
Input = str | int | Fault | None
#: The verbs of each task; one task unless the request is a gather.
Program = tuple[tuple[str, ...], ...]
#: A task, what it was given, and when.
Step = tuple[int, Input, float]

_KNOWN_ERRORS = (
    *("SessionEnded", "StoreUnavailable", "CreateError", "CancelledError"),
    "SessionLimitReached",
)


@dataclasses.dataclass(frozen=True, slots=True)
class Event:
    """A verb that is over: its result, or what it raised; and the ghost before and after it."""

    verb: str
    before: Ghost
    ghost: Ghost
    error: str = ""
    result: Any = None


@dataclasses.dataclass(slots=True)
class Node:
    """Where a request is.

    Attributes:
        waits: For each task the number of the call it waits for, a `Wait`, or None where it is over.
        ghosts: For each task what the request had done when the task made its call.
        way: How it got here from the root.
        live: The request itself, where it still stands here; the first step from here takes it.
    """

    waits: tuple[int | Wait | None, ...]
    ghosts: tuple[Ghost, ...]
    way: tuple[Step, ...]
    live: Run | None


class Run:
    """One request, running: coroutines that are driven by hand."""

    def __init__(self, name: str, keys: tuple[str, ...], tasks: int) -> None:
        site.let_run(name, 0, 0.0)
        self.actor = Actor(name, keys)
        self.made = site.tokens.made
        self.events: list[Event] = []
        self.ghosts = [Ghost()] * tasks
        self.contexts = [contextvars.copy_context() for _ in range(tasks)]
        self.coroutines = [self._task() for _ in range(tasks)]
        self.waits: list[Any] = [
            context.run(coroutine.send, None)
            for context, coroutine in zip(self.contexts, self.coroutines, strict=True)
        ]

    async def _task(self) -> None:
        while (name := await site.Suspension(Wait.VERB)) is not None:
            before, result, error = self.actor.ghost, None, ""
            try:
                if name == RESPOND:
                    result = await respond(self.actor)
                else:
                    result = await VERBS[name](self.actor)
                self.actor.note(did=self.actor.ghost.did | {name})
            except (Exception, asyncio.CancelledError) as raised:  # noqa: BLE001  (the laws judge it)
                error = _name_of(raised)
            self.events.append(Event(name, before, self.actor.ghost, error, result))
            if name == RESPOND:
                return

    def go_on(self, task: int, given: Any, seconds: float) -> tuple[Event, ...]:
        """Let *task* run until it waits again."""
        coroutine, context = self.coroutines[task], self.contexts[task]
        site.let_run(self.actor.name, self.made, seconds)
        try:
            if given is Fault.LOST:
                wait = context.run(coroutine.throw, StoreUnavailable("No answer."))
            elif given is Fault.CANCELED:
                wait = context.run(coroutine.throw, asyncio.CancelledError())
            else:
                wait = context.run(coroutine.send, given)
        except StopIteration:
            wait = None
        self.waits[task], self.ghosts[task] = wait, self.actor.ghost
        self.made = site.tokens.made
        events, self.events = tuple(self.events), []
        return events

    def close(self) -> None:
        """End the request where it stands, each task in its own context."""
        for coroutine, context in zip(self.coroutines, self.contexts, strict=True):
            context.run(coroutine.close)


def _name_of(error: BaseException) -> str:
    names = {kind.__name__ for kind in type(error).__mro__}
    known = (name for name in _KNOWN_ERRORS if name in names)
    return next(known, f"{type(error).__name__}: {error}")


class Automaton:
    """The tree of what one request may do; *calls* and *answers* are shared with the store."""

    def __init__(
        self, name: str, keys: tuple[str, ...], tasks: int, calls: Numbers, answers: Numbers
    ) -> None:
        self.name = name
        self._start = (name, keys, tasks)
        self._calls, self._answers = calls, answers
        self._edges: dict[tuple[int, int, Input, float], int] = {}
        self.nodes: list[Node] = []
        #: For each node the verbs that ended on the way to it from the node before.
        self.events: list[tuple[Event, ...]] = []
        self.steps = 0
        self._add(Run(*self._start), (), ())

    def go_on(self, node: int, task: int, given: Input, seconds: float) -> int:
        """Return the node after *task* of *node* was *given* something."""
        edge = (node, task, given, seconds)
        found = self._edges.get(edge)
        if found is None:
            found = self._edges[edge] = self._run(self.nodes[node], (task, given, seconds))
        return found

    def close(self) -> None:
        """End every request that stands at a node."""
        for node in self.nodes:
            if node.live is not None:
                node.live.close()
                node.live = None

    def _run(self, node: Node, step: Step) -> int:
        run, node.live = node.live or self._replay(node), None
        events = self._give(run, step)
        return self._add(run, (*node.way, step), events)

    def _replay(self, node: Node) -> Run:
        run = Run(*self._start)
        for step in node.way:
            self._give(run, step)
        if self._waits(run) != node.waits:
            raise AssertionError("A request differs when it runs again: state is shared or random.")
        return run

    def _give(self, run: Run, step: Step) -> tuple[Event, ...]:
        self.steps += 1
        task, given, seconds = step
        answer = self._answers.values[given] if isinstance(given, int) else given
        return run.go_on(task, answer, seconds)

    def _add(self, run: Run, way: tuple[Step, ...], events: tuple[Event, ...]) -> int:
        self.nodes.append(Node(self._waits(run), tuple(run.ghosts), way, run))
        self.events.append(events)
        return len(self.nodes) - 1

    def _waits(self, run: Run) -> tuple[int | Wait | None, ...]:
        return tuple(map(self._wait, run.waits))

    def _wait(self, wait: Any) -> int | Wait | None:
        if wait is None or isinstance(wait, Wait):
            return wait
        if isinstance(wait, site.Lock):
            return Wait.BLOCKED if wait.is_held else Wait.TURN
        return self._calls.number(wait)


class Choice(NamedTuple):
    """What may happen to a task: its *call* is carried out, or its *answer* or its turn comes."""

    task: int
    call: int | None = None
    answer: int | None = None


@dataclasses.dataclass(slots=True)
class Place:
    """Where a request is in its program.

    Attributes:
        node: Its node in the automaton.
        positions: The next verb of each task.
        answers: For each task the answer that is under way to it.
        choices: What may happen next.
        queue: Tasks that wait for their turn.
        is_stuck: Does a task wait for what no choice brings?
        is_timed: Is a call under way during which no time passes?
    """

    node: int
    positions: tuple[int, ...]
    answers: tuple[int | None, ...]
    choices: tuple[Choice, ...]
    queue: tuple[int, ...]
    is_stuck: bool
    is_timed: bool


class Request:
    """A request that runs a program: its verbs are chosen by the program, not by the search.

    Attributes:
        places: Place 0 is the start.
        first_nodes: The nodes on the way there.
        reads_only: Is there no verb in the program that may write?
    """

    def __init__(self, automaton: Automaton, program: Program, calls: Numbers) -> None:
        self.automaton, self.program = automaton, program
        self.reads_only = {verb for task in program for verb in task} <= {
            "read",
            "poll",
            "list_all",
        }
        self.places: list[Place] = []
        self._calls = calls
        self._numbers: dict[Any, int] = {}
        self._edges: dict[tuple[int, int, Input, float], tuple[int, tuple[int, ...]]] = {}
        tasks = len(program)
        _start, self.first_nodes = self._choose_verbs(0, (0,) * tasks, (None,) * tasks, 0.0)

    def go_on(
        self, place: int, task: int, given: Input, seconds: float
    ) -> tuple[int, tuple[int, ...]]:
        """Return the place after *task* was *given* something, and the nodes on the way there."""
        edge = (place, task, given, seconds)
        found = self._edges.get(edge)
        if found is None:
            found = self._edges[edge] = self._go_on(self.places[place], task, given, seconds)
        return found

    def hold(self, number: int, task: int, answer: int) -> int:
        """Return the place where *answer* is under way to *task*."""
        place = self.places[number]
        answers = (*place.answers[:task], answer, *place.answers[task + 1 :])
        return self._number(place.node, place.positions, answers)

    def _go_on(
        self, place: Place, task: int, given: Input, seconds: float
    ) -> tuple[int, tuple[int, ...]]:
        node = self.automaton.go_on(place.node, task, given, seconds)
        answers = (*place.answers[:task], None, *place.answers[task + 1 :])
        number, nodes = self._choose_verbs(node, place.positions, answers, seconds)
        return number, (node, *nodes)

    def _choose_verbs(
        self, node: int, positions: tuple[int, ...], answers: tuple[int | None, ...], seconds: float
    ) -> tuple[int, tuple[int, ...]]:
        """Choose verbs until each task waits for a call, waits for its turn, or is over."""
        nodes = []
        while (choice := self._next_verb(node, positions)) is not None:
            task, verb = choice
            node = self.automaton.go_on(node, task, verb, seconds)
            positions = (*positions[:task], positions[task] + 1, *positions[task + 1 :])
            nodes.append(node)
        return self._number(node, positions, answers), tuple(nodes)

    def _next_verb(self, node: int, positions: tuple[int, ...]) -> tuple[int, str | None] | None:
        """Return a task that waits for a verb, and which: the response comes when all are over."""
        waits = self.automaton.nodes[node].waits
        for task, wait in enumerate(waits):
            if wait is not Wait.VERB:
                continue
            if positions[task] < len(self.program[task]):
                return task, self.program[task][positions[task]]
            if task:
                return task, None
            if all(other is None for other in waits[1:]):
                return task, RESPOND
        return None

    def _number(
        self, node: int, positions: tuple[int, ...], answers: tuple[int | None, ...]
    ) -> int:
        key = (node, positions, answers)
        found = self._numbers.get(key)
        if found is None:
            found = self._numbers[key] = len(self.places)
            self.places.append(self._place(*key))
        return found

    def _place(
        self, node: int, positions: tuple[int, ...], answers: tuple[int | None, ...]
    ) -> Place:
        waits = self.automaton.nodes[node].waits
        choices = tuple(
            Choice(task)
            if wait is Wait.TURN
            else Choice(task, wait if answer is None else None, answer)
            for task, (wait, answer) in enumerate(zip(waits, answers, strict=True))
            if isinstance(wait, int) or wait is Wait.TURN
        )
        queue = tuple(i for i, wait in enumerate(waits) if wait in (Wait.TURN, Wait.BLOCKED))
        is_stuck = not choices and any(wait is not None for wait in waits)
        has_timed = any(
            is_timed(self._calls.values[wait]) for wait in waits if isinstance(wait, int)
        )
        return Place(node, positions, answers, choices, queue, is_stuck, has_timed)
