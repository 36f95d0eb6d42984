"""Every schedule of a few requests, breadth first: the first that breaks a law is a shortest one.

A schedule is a sequence of calls that the store carries out, with what goes wrong with each, and of
what happens to the store and the clock in between. States that are equal are searched once.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from django_multisession.core.records import Record
from django_multisession.drivers.listed.cards import make_card, place_of
from django_multisession.drivers.memory import Command
from django_multisession.exceptions import SessionEnded, SessionLimitReached
from django_multisession.settings.conf import config
from tests.exhaustive import site
from tests.exhaustive.laws import NO_REQUEST, Laws, Seen
from tests.exhaustive.requests import Automaton, Choice, Fault, Input, Program, Request
from tests.exhaustive.site import LISTING
from tests.exhaustive.store import FORGED, VICTIM, Numbers, Store, storage_key, text_of
from tests.exhaustive.verbs import MARK, START_ENTRIES, USER

NAMES = ("A", "B", "C")
#: More steps of one request than any correct one takes within the bounds; twice as many where a list
#: asks two engines.
MOST_STEPS = 40
#: What the clock may do, and by how many seconds.
TIMES = (("a minute passes", site.MINUTE), ("the idle timeout passes", site.LONG))

Programs = tuple[Program, ...]


class Budget(NamedTuple):
    """How much may go wrong in one schedule, or how much did.

    Attributes:
        faults: Calls whose answer is lost or whose verb is canceled, before or after the store acts.
        clocks: Times that a minute passes, or the session's idle timeout.
        rollbacks: Times that the store falls back by one write.
    """

    faults: int = 0
    clocks: int = 0
    rollbacks: int = 0


class State(NamedTuple):
    """One state of everything, by numbers.

    Attributes:
        places: The place of each request.
        store: What is stored.
        past: What was before the last write, where the store may fall back.
        seconds: The time.
        seen: What the laws remember.
        spent: What went wrong.
    """

    places: tuple[int, ...]
    store: int
    past: int | None
    seconds: float
    seen: int
    spent: Budget


#: A call's number or a text, the request, its task, and what goes wrong with the call.
Label = tuple[int | str, int, int, str]
#: What may happen, where it leads (None: no further), and which laws it breaks.
Move = tuple[Label, State | None, list[str]]


@dataclasses.dataclass(slots=True)
class Report:
    """What a search found; *broken* has for each law a shortest schedule."""

    states: int = 0
    transitions: int = 0
    broken: dict[str, list[str]] = dataclasses.field(default_factory=dict)


class Scene:
    """Stored sessions, the requests that come with their cookies, and all that was computed of them.

    Args:
        user: Whose sessions they are; None for anonymous ones.
        cookies: For each cookie that the requests send whether a session lies there.
        may_store_unchanged: May a request that only reads write?
    """

    def __init__(
        self,
        user: str | None,
        cookies: tuple[bool, ...] = (True,),
        *,
        may_store_unchanged: bool = False,
    ) -> None:
        self.calls, self.answers, self.seen = Numbers(), Numbers(), Numbers()
        self.store = Store(self.calls, self.answers)
        self.first = 0
        self.keys = tuple(self._cookie(user, number, cookies) for number in range(len(cookies)))
        if config().max_sessions is not None:
            self.first = self._ask(self.first, "add", FORGED, self._record())[1]
        contents = self.store.live(self.first, 0.0)
        if self.store.is_listed:
            self.first = self._with_forged_cards()
        self.laws = Laws(
            self.store,
            contents,
            may_store_unchanged=may_store_unchanged,
            log_in=functools.cache(self._log_in),
        )
        self._automata: dict[tuple[int, int], Automaton] = {}
        self._requests: dict[tuple[int, Program], Request] = {}
        self._carried_out: dict[Any, tuple[int, int, int, list[str]]] = {}
        self._judged: dict[Any, tuple[int, list[str]]] = {}
        self._faulty: dict[int, int] = {}

    def _cookie(self, user: str | None, number: int, cookies: tuple[bool, ...]) -> str:
        """Return the key of a new session, which is stored unless its cookie leads nowhere."""
        is_main = number == cookies.index(True)
        entries = START_ENTRIES if is_main else {"x": str(number + 1), "a": "0"}
        if user is not None:
            entries = entries | {USER: user, MARK: "0" if is_main else f"0{number}"}
        key, state = self._stored("ST"[number], entries, self.first, 0.0)
        if cookies[number]:
            self.first = state
        return key

    def _stored(
        self, name: str, entries: dict[str, Any], state: int, seconds: float
    ) -> tuple[str, int]:
        """Return the key of a new session with *entries*, and the store that holds it beside *state*."""
        site.let_run(name, 0, seconds)
        session = site.SessionStore()

        async def make() -> None:
            await session.aupdate(entries)
            await session.asave()

        steps = make()
        call = steps.send(None)
        while True:
            answer, state = self.store.do(state, self.calls.number(call), seconds)
            try:
                call = steps.send(self.answers.values[answer])
            except StopIteration:
                return str(session.session_key), state

    def _log_in(self, state: int, seconds: float) -> tuple[str, int]:
        """Have a further client log in; return the name of what that raises, and the store after it."""
        try:
            _key, after = self._stored("P", {USER: "1", MARK: "probe"}, state, seconds)
        except (SessionLimitReached, SessionEnded) as error:
            return type(error).__name__, state
        return "", after

    def _record(self) -> Record:
        """Return a record of the user, for a forger: it is signed for a place where it won't lie."""
        _key, state = self._stored("F", {USER: "1"}, 0, 0.0)
        (found,) = self.store.live(state, 0.0)
        record: Record = self._ask(state, "get", found.key)[0]
        return record

    def _with_forged_cards(self) -> int:
        """Return the first store with two cards of the user: of another's session, and of none."""
        forger, entries = self._record(), {USER: VICTIM, MARK: "victim"}
        session_key, state = self._stored("G", entries, self.first, 0.0)
        key = storage_key(session_key)
        card, state = self._ask(state, f"{LISTING}get", place_of(key))
        forged = make_card(key, forger)
        _, state = self._ask(state, f"{LISTING}replace", place_of(key), forged, card, 0)
        return self._ask(state, f"{LISTING}add", place_of(FORGED), make_card(FORGED, forger))[1]

    def _ask(self, state: int, verb: str, *arguments: Any) -> tuple[Any, int]:
        """Return the answer to a call at the beginning, and the store after it."""
        answer, after = self.store.do(state, self.calls.number(Command(verb, arguments)), 0.0)
        return self.answers.values[answer], after

    def request(self, who: int, program: Program) -> Request:
        """Return request number *who* with *program*."""
        found = self._requests.get((who, program))
        if found is None:
            automaton = self._automaton(who, len(program))
            found = self._requests[who, program] = Request(automaton, program, self.calls)
        return found

    def _automaton(self, who: int, tasks: int) -> Automaton:
        found = self._automata.get((who, tasks))
        if found is None:
            found = Automaton(NAMES[who], self.keys, tasks, self.calls, self.answers)
            self._automata[who, tasks] = found
        return found

    def explore(self, programs: Programs, budget: Budget) -> Report:
        """Search every schedule of *programs* within *budget*."""
        return _Search(self, programs, budget).run()

    @property
    def steps(self) -> int:
        """How many steps the real code took."""
        return sum(automaton.steps for automaton in self._automata.values())

    def close(self) -> None:
        """End every request that stands somewhere."""
        for automaton in self._automata.values():
            automaton.close()

    # What the store does, and what the laws say of it: each computed once

    def carry_out(
        self, state: State, who: int, request: Request, node: int, task: int, call: int
    ) -> tuple[int, int, int, list[str]]:
        """Return the answer, the store and what is seen after *call*, and which laws it breaks."""
        tasks = len(request.program)
        key = (who, tasks, node, task, state.store, state.seconds, state.seen, request.reads_only)
        found = self._carried_out.get(key)
        if found is None:
            found = self._carried_out[key] = self._carry_out(state, who, request, node, task, call)
        return found

    def _carry_out(
        self, state: State, who: int, request: Request, node: int, task: int, call: int
    ) -> tuple[int, int, int, list[str]]:
        answer, store = self.store.do(state.store, call, state.seconds)
        verb = self.calls.values[call]
        seen, broken = self.laws.after_call(
            self.seen.values[state.seen],
            who,
            verb,
            self.store.effect(verb, answer, state.store, store, state.seconds),
            request.automaton.nodes[node].ghosts[task],
            state.seconds,
            before=state.store,
            reads_only=request.reads_only,
        )
        return answer, store, self.seen.number(seen), broken

    def judge_events(
        self, seen: int, who: int, request: Request, node: int, store: int, seconds: float
    ) -> tuple[int, list[str]]:
        """Return what is seen after the verbs that ended at *node*, and which laws they break."""
        key = (who, len(request.program), node, seen, store, seconds)
        found = self._judged.get(key)
        if found is None:
            noted, broken = self.seen.values[seen], []
            for event in request.automaton.events[node]:
                noted, more = self.laws.after_event(noted, who, event, store, seconds)
                broken += more
            found = self._judged[key] = self.seen.number(noted), broken
        return found

    def faulty(self, seen: int) -> int:
        """Return what is seen when something went wrong as well."""
        found = self._faulty.get(seen)
        if found is None:
            noted = self.seen.values[seen].but(has_faults=True)
            found = self._faulty[seen] = self.seen.number(noted)
        return found


class _Search:
    def __init__(self, scene: Scene, programs: Programs, budget: Budget) -> None:
        self.scene, self.budget = scene, budget
        self.requests = [scene.request(who, program) for who, program in enumerate(programs)]
        self.report = Report()
        self.parents: dict[State, tuple[State, Label] | None] = {}
        self.most_steps = MOST_STEPS * (2 if scene.store.is_listed else 1)

    def run(self) -> Report:
        start = self._start()
        todo, parents, report = collections.deque([start]), self.parents, self.report
        parents[start] = None
        while todo:
            state = todo.popleft()
            report.states += 1
            for label, after, broken in self._moves(state):
                report.transitions += 1
                for law in broken:
                    if law not in report.broken:
                        report.broken[law] = self._schedule(state, label)
                if after is not None and after not in parents:
                    parents[after] = (state, label)
                    todo.append(after)
        return report

    def _start(self) -> State:
        places, seen = (0,) * len(self.requests), self.scene.seen.number(Seen())
        state = State(places, self.scene.first, None, 0.0, seen, Budget())
        for who, request in enumerate(self.requests):
            # Verbs that need no call are over already.
            state, broken = self._judge(state, who, request.first_nodes)
            self.report.broken |= {law: ["start"] for law in broken}
        return state

    def _moves(self, state: State) -> Iterator[Move]:
        is_over = True
        for who, (request, number) in enumerate(zip(self.requests, state.places, strict=True)):
            for choice in request.places[number].choices:
                is_over = False
                if choice.call is None:
                    what = "its turn" if choice.answer is None else "its answer"
                    after, broken = self._give(state, who, choice.task, choice.answer)
                    yield (what, who, choice.task, ""), after, broken
                else:
                    yield from self._call(state, who, choice, choice.call)
            if state.spent.faults < self.budget.faults:
                for task in request.places[number].queue:
                    after, broken = self._give(self._with_fault(state), who, task, Fault.CANCELED)
                    yield ("its turn", who, task, " [canceled before]"), after, broken
        if is_over:
            yield from self._end(state)
        else:
            yield from self._times(state)
            yield from self._rollbacks(state)

    def _call(self, state: State, who: int, choice: Choice, call: int) -> Iterator[Move]:
        task, request = choice.task, self.requests[who]
        place = request.places[state.places[who]]
        if len(request.automaton.nodes[place.node].way) > self.most_steps:
            yield (call, who, task, ""), None, ["I5 a request calls the store without end"]
            return
        scene, (places, store, past, seconds, _seen, spent) = self.scene, state
        answer, new_store, new_seen, broken = scene.carry_out(
            state, who, request, place.node, task, call
        )
        is_write = new_store != store
        if is_write and self.budget.rollbacks and scene.calls.values[call][0] != "touch":
            past = store
        done = State(places, new_store, past, seconds, new_seen, spent)
        if sum(other.call is not None or other.answer is not None for other in place.choices) > 1:
            # Answers to the tasks of one request arrive in any order.
            held = request.hold(places[who], task, answer)
            yield (call, who, task, ""), self._at(done, who, held, new_seen), broken
        else:
            after, more = self._give(done, who, task, answer)
            yield (call, who, task, ""), after, [*broken, *more] if more else broken
        if spent.faults < self.budget.faults:
            yield from self._faults(state, done if is_write else None, who, task, call, broken)

    def _faults(
        self, state: State, done: State | None, who: int, task: int, call: int, broken: list[str]
    ) -> Iterator[Move]:
        """Lose the answer of *call* or cancel its verb, before or after the store has *done* it."""
        for fault in Fault:
            after, more = self._give(self._with_fault(state), who, task, fault)
            yield (call, who, task, f" [{fault.value} before]"), after, more
            if done is not None:
                after, more = self._give(self._with_fault(done), who, task, fault)
                yield (call, who, task, f" [{fault.value} after]"), after, [*broken, *more]

    def _with_fault(self, state: State) -> State:
        places, store, past, seconds, seen, (faults, clocks, rollbacks) = state
        spent = Budget(faults + 1, clocks, rollbacks)
        return State(places, store, past, seconds, self.scene.faulty(seen), spent)

    def _give(self, state: State, who: int, task: int, given: Input) -> tuple[State, list[str]]:
        """Let *task* go on with what it is *given*, and on to its next call."""
        place, nodes = self.requests[who].go_on(state.places[who], task, given, state.seconds)
        return self._judge(self._at(state, who, place, state.seen), who, nodes)

    def _judge(self, state: State, who: int, nodes: Iterable[int]) -> tuple[State, list[str]]:
        """Note the verbs of *who* that ended at *nodes*, and return which laws they break."""
        request, seen = self.requests[who], state.seen
        broken: list[str] = []
        for node in nodes:
            if request.automaton.events[node]:
                seen, more = self.scene.judge_events(
                    seen, who, request, node, state.store, state.seconds
                )
                broken += more
        return (state if seen == state.seen else state._replace(seen=seen)), broken

    def _at(self, state: State, who: int, place: int, seen: int) -> State:
        places, store, past, seconds, _seen, spent = state
        places = (*places[:who], place, *places[who + 1 :])
        return State(places, store, past, seconds, seen, spent)

    def _times(self, state: State) -> Iterator[Move]:
        faults, clocks, rollbacks = state.spent
        # A call takes two seconds at most: no time passes while one that names the time is under way.
        if clocks >= self.budget.clocks or self._is_timed(state):
            return
        spent = Budget(faults, clocks + 1, rollbacks)
        noted = self.scene.seen.values[state.seen]
        seen = self.scene.seen.number(noted.but(causes=noted.causes | {(NO_REQUEST, "clock")}))
        for name, more in TIMES:
            after = state._replace(seconds=state.seconds + more, seen=seen, spent=spent)
            yield (name, NO_REQUEST, 0, ""), after, []

    def _is_timed(self, state: State) -> bool:
        places = zip(self.requests, state.places, strict=True)
        return any(request.places[number].is_timed for request, number in places)

    def _rollbacks(self, state: State) -> Iterator[Move]:
        faults, clocks, rollbacks = state.spent
        if state.past is None or rollbacks >= self.budget.rollbacks:
            return
        scene = self.scene
        noted = scene.laws.after_rollback(scene.seen.values[state.seen], state.past, state.seconds)
        spent = Budget(faults, clocks, rollbacks + 1)
        after = state._replace(
            store=state.past, past=None, seen=scene.seen.number(noted), spent=spent
        )
        yield ("the store falls back by a write", NO_REQUEST, 0, ""), after, []

    def _end(self, state: State) -> Iterator[Move]:
        seen = self.scene.seen.values[state.seen]
        broken = list(self.scene.laws.at_end(seen, state.store, state.seconds))
        places = zip(self.requests, state.places, strict=True)
        if any(request.places[number].is_stuck for request, number in places):
            broken.append("I5 a request waits for itself without end")
        if broken:
            yield ("end", NO_REQUEST, 0, ""), None, broken

    # How it came about

    def _schedule(self, state: State, label: Label) -> list[str]:
        schedule = [self._text_of(label)]
        while (parent := self.parents[state]) is not None:
            state, label = parent
            schedule.append(self._text_of(label))
        return schedule[::-1]

    def _text_of(self, label: Label) -> str:
        what, who, task, fault = label
        text = what if isinstance(what, str) else text_of(self.scene.calls.values[what])
        if who == NO_REQUEST:
            return text
        name = NAMES[who] + (str(task + 1) if len(self.requests[who].program) > 1 else "")
        return f"{name}: {text}{fault}"
