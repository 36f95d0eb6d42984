"""What each rule of the protocol is for: without it, some schedule breaks a law.

A mutation replaces a piece of a function's source; the programs show it soonest. A text that isn't
there any more, or a mutation that no schedule notices, fails the test.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from types import CodeType, FunctionType
from typing import Any

from tests.exhaustive.explore import Budget

NOTHING_WRONG = Budget()
FAULT, CLOCK, ROLLBACK = Budget(faults=1), Budget(clocks=1), Budget(rollbacks=1)
OLDEST, LEAST_USED, DENY = (
    {"MULTISESSION_MAX_SESSIONS": 1, "MULTISESSION_AT_LIMIT": policy}
    for policy in ("oldest", "least_used", "deny")
)
TWO = {"MULTISESSION_MAX_SESSIONS": 2}


@dataclasses.dataclass(frozen=True, slots=True)
class Mutation:
    """A rule of the protocol, removed.

    Attributes:
        rule: What it says; R1 to R13 are those of the protocol.
        function: Where it is kept: ``module:name`` below ``django_multisession.session``, or
            ``package.module:name`` below ``django_multisession``.
        old: The text that keeps it.
        new: What stands there instead.
        programs: The smallest program tuple that shows what it is for.
        user: Whose session the requests come with.
        budget: What has to go wrong.
        cookies: For each cookie that the requests send whether a session lies there.
        settings: Settings that differ.
        is_listed: Does another engine list the sessions?
    """

    rule: str
    function: str
    old: str
    new: str
    programs: str
    user: str | None = None
    budget: Budget = NOTHING_WRONG
    cookies: tuple[bool, ...] = (True,)
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    is_listed: bool = False

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Run with the rule removed: wherever the function was imported."""
        function = self._function()
        code = function.__code__
        function.__code__ = self._mutated(function)
        try:
            yield
        finally:
            function.__code__ = code

    def _function(self) -> FunctionType:
        module, _, name = self.function.partition(":")
        place = module if "." in module else f"session.{module}"
        found: Any = importlib.import_module(f"django_multisession.{place}")
        for part in name.split("."):
            found = inspect.getattr_static(found, part)
        found = found.fget if isinstance(found, property) else found
        function = inspect.unwrap(found)
        assert isinstance(function, FunctionType)
        return function

    def _mutated(self, function: FunctionType) -> CodeType:
        source = textwrap.dedent(inspect.getsource(function))
        if source.count(self.old) != 1:
            raise AssertionError(f"{self.function} has {self.old!r} {source.count(self.old)} times")
        lines = source.replace(self.old, self.new).splitlines()
        while lines[0].startswith("@"):
            del lines[0]
        module = "\n".join(["from __future__ import annotations", *lines])
        made: dict[str, FunctionType] = {}
        exec(compile(module, f"<{self.rule}>", "exec"), function.__globals__ | {}, made)
        return made[function.__name__].__code__


MUTATIONS = (
    Mutation(
        "R1: an end follows a move",
        "line:end",
        'if found.reason is not Reason.MOVED or found.successor in ("", spared):',
        "if True:",
        "cycle | logout",
    ),
    Mutation(
        "R1: an end stops at a login",
        "line:end",
        'found.reason is not Reason.MOVED or found.successor in ("", spared)',
        'found.successor in ("", spared)',
        "login | logout",
    ),
    Mutation(
        "R1: an end ends the session of every cookie",
        "end:_known_keys",
        "*stored.others",
        "",
        "read,logout",
        cookies=(True, True),
    ),
    Mutation(
        "R1: no further cookie is read where a newer one is on its way",
        "read:_look",
        "if _leads_elsewhere(found, others):",
        "if False:",
        "set_a | login",
        cookies=(True, True),
    ),
    Mutation(
        "An authentication is stored with the save",
        "save:compose",
        "authenticated = later_authentication(authenticated, session.authenticated_ms, now)",
        "pass",
        "authenticate",
        "1",
        CLOCK,
    ),
    Mutation(
        "R2: a logout that meets a newer login keeps the cookie",
        "end:_end_own",
        " and not first.met_login",
        "",
        "login | logout",
    ),
    Mutation(
        "R2: a late logout that finds nothing keeps the cookie",
        "end:_end_own",
        "not session.is_late or",
        "True or",
        "login | logout",
        budget=CLOCK,
    ),
    Mutation(
        "R2: a late request that finds nothing keeps the cookie",
        "read:_look",
        "ended is None and session.is_late",
        "False",
        "login | read",
        budget=CLOCK,
    ),
    Mutation(
        "R3: the successor of an ended session claims its tombstone",
        "save:_place",
        "after.tombstone if after else None",
        "None",
        "logout,set_a | login",
    ),
    Mutation(
        "R3: a refused claim interrupts a write",
        "save:_place",
        "if not sent.is_login:",
        "if False:",
        "logout,set_a | login",
    ),
    Mutation(
        "R4: a login ends what its session became",
        "save:_place",
        "if base.reason is not Reason.MOVED:",
        "if True:",
        "create | login",
        budget=FAULT,
    ),
    Mutation(
        "R4: what it leaves there says that it was a login",
        "state:Sent.left",
        "Reason.LOGIN if self.is_login else Reason.MOVED",
        "Reason.MOVED",
        "cycle | login | logout",
    ),
    Mutation(
        "R5: an ended session keeps the key that the client came with",
        "end:_known_keys",
        "return (ended.key, *ended.others)",
        "return ()",
        "read,logout | cycle",
    ),
    Mutation(
        "R5: a new session after an ended one keeps that key too",
        "end:_known_keys",
        "() if new.after is None else (new.after.key, *new.after.others)",
        "()",
        "login,logout | cycle",
    ),
    Mutation(
        "R6: create() moves a live session",
        "end:create",
        "give_new_key(session)\n            yield from update(session)\n            return",
        "session.state = New()",
        "create,logout",
    ),
    Mutation(
        "R6: save(must_create=True) on a live session is an error",
        "save:save",
        "if must_create and not stored.is_moving:\n                raise CreateError",
        "if must_create:\n                session.state = New()\n                return (yield from add(session))",
        "must_create,set_a",
    ),
    Mutation(
        "R7: ending the key that a session is about to leave is the move",
        "end:delete",
        "if state.is_moving and place == key.storage_key:",
        "if False:",
        "cycle,kill",
    ),
    Mutation(
        "R7: ending the key that a session has left ends only that key",
        "end:delete",
        "elif _has_left(other, state, key):",
        "elif False:",
        "save,kill | kill",
    ),
    Mutation(
        "R8: a login is one as long as its user is in the entries",
        "state:Session.is_login",
        "USER_ID_ENTRY in entries.written and USER_ID_ENTRY in entries",
        "USER_ID_ENTRY in entries.written",
        "login,forget_user | login",
    ),
    Mutation(
        "R9: a login takes nothing from another user's record",
        "save:_merged",
        "merging.user_id(theirs) not in",
        "None not in",
        "clear | login_other",
        user="1",
        budget=ROLLBACK,
    ),
    Mutation(
        "R10: an add is noted before it is sent",
        "save:_add_under",
        "(sent, *state.sent)",
        "()",
        "login_other,save",
        user="1",
        budget=FAULT,
    ),
    Mutation(
        "R10: a write is noted before it is sent",
        "save:_write",
        "state.sending(sent)",
        "state",
        "login,save",
        budget=FAULT,
    ),
    Mutation(
        "R10: an end is noted before it is sent",
        "end:_end_own",
        "session.state = Unreachable(own, session.came_at, snapshot)",
        "session.state",
        "create,logout",
        budget=FAULT,
    ),
    Mutation(
        "R12: the verbs of one object take turns",
        "turns:Turn.aenter",
        "await lock.acquire()",
        "lock = asyncio.Lock(); await lock.acquire()",
        "read,logout + set_a,save",
    ),
    Mutation(
        "R13: no cookie is set on credit for longer than a response takes",
        "read:_is_fresh",
        "abs(now - at) < RESPONSE_TIME_MS",
        "True",
        "poll,create,kill | logout",
        budget=CLOCK,
    ),
    Mutation(
        "R13: delete() of the own session ends it",
        "end:delete_own",
        "session.state = ended._replace(allows_write=False)",
        "pass",
        "delete,read",
    ),
    Mutation(
        "A conflict is merged from the newest ancestor of what is found",
        "state:Stored.ancestor_of",
        "next((each for each in known if found.holds(each.record)), self.snapshot)",
        "self.snapshot",
        "set_a,save,set_b",
        budget=ROLLBACK,
    ),
    Mutation(
        "R10: an end ends what an add without an answer may have stored",
        "end:_known_keys",
        "*(sent.composed.key for sent in new.sent)",
        "",
        "login_other,save,logout",
        user="1",
        budget=FAULT,
    ),
    Mutation(
        "A write over another owner's session is interrupted",
        "save:_take_over",
        "session.is_login or",
        "True or",
        "clear | set_a",
        user="1",
    ),
    Mutation(
        "A conflict keeps the entries of both requests",
        "save:_merged",
        "merging.merged(before, theirs, changes, config().resolvers)",
        "merging.replaced(before, theirs, session.own_entries().plain())",
        "set_a | set_b",
    ),
    Mutation(
        "an end of a user's sessions ends the listed ones",
        "of_user:end",
        "if is_to_end(each.record, number)",
        "if False",
        "end_all",
        user="1",
    ),
    Mutation(
        "an end of a user's sessions is marked for logins that are under way",
        "of_user:end_all_but",
        "marked_at = yield from mark(session, user_id, own)",
        "marked_at = 0",
        "login,list_all | list_all,end_all",
        budget=CLOCK,
    ),
    Mutation(
        "a login that began before the mark ends itself",
        "save:_heed",
        "user is None",
        "True",
        "login,list_all | list_all,end_all",
        budget=CLOCK,
    ),
    Mutation(
        "an end of a user's sessions leaves what another user took over",
        "index:end_listed",
        ", user_id=user_id",
        "",
        "end_all | become_other",
        user="1",
        settings={"MULTISESSION_ALWAYS_CYCLE_ON_LOGIN": False},
    ),
    Mutation(
        "a login beyond the limit looks again for a session that moved while it looked",
        "limit:_end_excess",
        "not excess and (number or len(found) < most)",
        "not excess",
        "cycle | login_elsewhere",
        user="1",
        settings=OLDEST,
    ),
    Mutation(
        "a login that may be denied looks again for a session that moved while it looked",
        "limit:_take_seat",
        "is_sure = number > 0 and live == before",
        "is_sure = True",
        "cycle | login_elsewhere",
        user="1",
        settings=DENY,
    ),
    Mutation(
        "a login that may be denied looks again for a session that a login took the place of",
        "limit:_take_seat",
        "limits.is_full(seats, live | before, most - 1)",
        "limits.is_full(seats, live | before, most - 1) or number",
        "login | login_elsewhere",
        user="1",
        settings=DENY | TWO,
    ),
    Mutation(
        "a login that takes the place of a session takes no seat",
        "limit:admit",
        "_replaced(session, user_id) is None",
        "True",
        "login",
        user="1",
        settings=DENY,
    ),
    Mutation(
        "a login gives its seat back",
        "limit:settle",
        "yield from _leave_seat(session, user_id, admission)",
        "pass",
        "login_elsewhere | end_all",
        settings=DENY,
    ),
    Mutation(
        "a login that was ended with all others gives its seat back",
        "save:update",
        "yield from limit.leave(session, sent)",
        "pass",
        "login | read,end_all",
        budget=CLOCK,
        settings=DENY,
    ),
    Mutation(
        "a login whose session ended meanwhile is admitted again",
        "save:_meet_end",
        "yield from limit.leave(session)",
        "pass",
        "login | login",
        user="1",
        settings=DENY,
    ),
    Mutation(
        "a login that is tried again after its session ended is another session",
        "save:_look_for_added",
        "yield from limit.leave(session)",
        "pass",
        "login_elsewhere,save | end_one",
        budget=FAULT,
        settings=OLDEST,
    ),
    Mutation(
        "a seat counts",
        "core.limits:is_full",
        "*(seat.series for seat in seats)",
        "",
        "login_elsewhere | login_elsewhere",
        settings=DENY,
    ),
    Mutation(
        "a seat counts for a minute",
        "core.limits:held",
        "abs(now - seat.taken_ms) < SEAT_MS",
        "True",
        "login_elsewhere",
        budget=FAULT,
        settings=DENY,
    ),
    Mutation(
        "a record that this site didn't sign doesn't count",
        "index:_opened",
        "entries = site.loads(site.open_listed(record, place))",
        "entries = {}",
        "login_elsewhere",
        settings=DENY,
    ),
    Mutation(
        "the newest logins stay",
        "core.limits:excess",
        "reverse=True",
        "reverse=False",
        "login_elsewhere",
        user="1",
        settings=OLDEST,
    ),
    Mutation(
        "the session whose login is the oldest ends",
        "core.limits:excess",
        "key=began if at_limit == OLDEST else used",
        "key=used",
        "read | login_elsewhere",
        user="1",
        budget=CLOCK,
        cookies=(True, True),
        settings=OLDEST | TWO,
    ),
    Mutation(
        "the least used session ends",
        "core.limits:excess",
        "key=began if at_limit == OLDEST else used",
        "key=began",
        "read | login_elsewhere",
        user="1",
        budget=CLOCK,
        cookies=(True, True),
        settings=LEAST_USED | TWO,
    ),
    Mutation(
        "a login begins later than the sessions that it finds",
        "core.limits:beginning",
        "record.began_ms + 1",
        "record.began_ms",
        "login_elsewhere",
        user="1",
        settings=OLDEST,
    ),
    Mutation(
        "a login that as many newer ones displace ends itself",
        "limit:_end_excess",
        "if own.series in excess:",
        "if False:",
        "login_elsewhere | login_elsewhere",
        settings=OLDEST,
    ),
    Mutation(
        "where logins keep the key, a login ends only what it found",
        "limit:_end_excess",
        "if not config().cycle_on_login:",
        "if False:",
        "login | login_elsewhere",
        user="1",
        settings=OLDEST | {"MULTISESSION_ALWAYS_CYCLE_ON_LOGIN": False},
    ),
    Mutation(
        "a record is written before its card",
        "drivers.listed.driver:ListedDriver._move",
        "answer = yield from writing",
        "early = yield from self._keep(new_key, record, None, note); return (yield from writing), early",
        "login,list_all | list_all,end_all",
        budget=CLOCK,
        is_listed=True,
    ),
    Mutation(
        "a login reads the mark with its card's write",
        "drivers.listed.listing:Listing._noting",
        "if note is None:",
        "if True:",
        "login,list_all | list_all,end_all",
        budget=CLOCK,
        is_listed=True,
    ),
    Mutation(
        "a record is ended before its card",
        "drivers.listed.driver:ListedDriver.delete",
        "found = yield from",
        "yield from self._listing.end([key], left); found = yield from",
        "logout | end_all",
        user="1",
        budget=Budget(faults=1, clocks=1),
        is_listed=True,
    ),
    Mutation(
        "a list follows a session whose card hasn't moved yet",
        "drivers.listed.driver:StoredListedDriver._listed",
        "is_key(each.successor)",
        "False",
        "cycle | end_all",
        user="1",
        is_listed=True,
    ),
    Mutation(
        "a list finds a login whose card hasn't moved yet",
        "drivers.listed.driver:StoredListedDriver._listed",
        "isinstance(each, Tombstone)",
        "isinstance(each, Tombstone) and each.reason.name == 'MOVED'",
        "login | login_elsewhere",
        user="1",
        settings=DENY,
        is_listed=True,
    ),
    Mutation(
        "a record says whose its session is, and not its card",
        "drivers.listed.driver:StoredListedDriver._listed",
        " and is_meant(each)",
        "",
        "list_all",
        is_listed=True,
    ),
    Mutation(
        "the card of the newest record stays",
        "drivers.listed.listing:Listing._keep",
        "range(MOST_TRIES)",
        "range(1)",
        "become_other | login",
        user="1",
        settings={"MULTISESSION_ALWAYS_CYCLE_ON_LOGIN": False},
        is_listed=True,
    ),
)
