"""What must hold, as far as the store and the answers to requests show it.

Nothing of the session's inside is asked, so the laws are the same for any code that keeps them.

| law | |
|---|---|
| I1 | An end that was acknowledged is final: the session isn't there afterwards, under no key. |
| I2 | No entry is lost, invented or put back; a saved one reached the store; last use moves on. |
| I3 | No response sets or removes a cookie over a newer login's, or sets one that leads nowhere. |
| I4 | A session is there once, and holds nothing of another user's. |
| I5 | No verb raises without a cause, waits without end, or calls the store without end. |
| I6 | A request that only reads writes nothing. |
| I7 | A login isn't refused. |
| I8 | An end of a user's sessions ends those that were there, and no other user's. A list has each. |
| I9 | The limit of a user's sessions holds, and keeps no one out: see `limit_laws`. |

Of two logins of one client both live, and the last response decides: I3 permits that one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tests.exhaustive.limit_laws import LimitLaws
from tests.exhaustive.requests import RESPOND, Event
from tests.exhaustive.store import (
    READS,
    WRITES,
    Call,
    Commit,
    Content,
    Effect,
    Store,
    storage_key,
)
from tests.exhaustive.verbs import LISTED, MARK, OF_USER, START_ENTRIES, USER, Ghost

Entries = Mapping[str, Any]
#: How long a response may rely on what the store confirmed: it is under way that long anyway.
RESPONSE_SECONDS = 1.0
#: Of the session that the requests come with.
FIRST_MARK = "0"
#: The owner of a session that was not read.
UNKNOWN = "?"
#: Who caused what no request did.
NO_REQUEST = -1
_SAVES = ("save", "must_create", "create", RESPOND)
#: Verbs after which a request that logged in may be interrupted all the same.
_ENDS = {"kill", "delete", "must_create", "create", "flush"}


@dataclasses.dataclass(frozen=True, slots=True)
class Login:
    """A login that reached the store.

    Attributes:
        who: Whose.
        mark: What identifies its session.
        user_id: Its user.
        began_ms: When it began.
        is_elsewhere: Does it come from another browser than the other requests?
    """

    who: int
    mark: str
    user_id: str | None
    began_ms: int
    is_elsewhere: bool


@dataclasses.dataclass(frozen=True, slots=True)
class EndOfUser:
    """An end of all sessions of a user: whose, when it began, and which session it spares."""

    user_id: str
    began_ms: int
    spared: bytes | None


@dataclasses.dataclass(frozen=True, slots=True)
class Seen:
    """What the laws remember of a schedule; it is part of the searched state, so it is small.

    Attributes:
        ended: Identities whose end was acknowledged.
        logins: In the order of their commits.
        known: For each request how many of *logins* were committed before its last call.
        made: (request, entry, value) that reached the store by that request's writes.
        places: (request, storage key) where that request stored the session.
        known_ends: (request, storage key) where that request found or left a tombstone.
        owners: For each request whose session it read first or wrote last, or `UNKNOWN`.
        confirmed: For each request when the store last confirmed its session.
        causes: What may interrupt a request: (request or `NO_REQUEST`, what).
        meant: For each request the public ids, with their user, of the sessions that it has to end.
        begun: For each request its end of a user's sessions that is under way.
        ended_of_user: Those whose end as a user's was acknowledged.
        ends: The acknowledged ends of all sessions of a user.
        listed: For each request the store, and the time, in which a login of it listed sessions last:
            at the first page and at the last.
        filled: Users who had all allowed sessions at some moment.
        denied: Users of whom a login was denied.
        has_rollback: Did the store fall back?
        has_faults: Was an answer lost or a verb canceled, or did the store fall back?
    """

    ended: frozenset[str] = frozenset()
    logins: tuple[Login, ...] = ()
    known: tuple[int, ...] = (0,) * 3
    made: frozenset[tuple[int, str, Any]] = frozenset()
    places: frozenset[tuple[int, str]] = frozenset()
    known_ends: frozenset[tuple[int, str]] = frozenset()
    owners: tuple[str | None, ...] = (UNKNOWN,) * 3
    confirmed: tuple[float, ...] = (0.0,) * 3
    causes: frozenset[tuple[int, str]] = frozenset()
    meant: tuple[frozenset[tuple[bytes, str | None]], ...] = (frozenset(),) * 3
    begun: tuple[EndOfUser | None, ...] = (None,) * 3
    ended_of_user: frozenset[tuple[bytes, str | None]] = frozenset()
    ends: frozenset[EndOfUser] = frozenset()
    listed: tuple[tuple[tuple[int, float], ...], ...] = ((),) * 3
    filled: frozenset[str] = frozenset()
    denied: frozenset[str | None] = frozenset()
    has_rollback: bool = False
    has_faults: bool = False

    def but(self, **changes: Any) -> Seen:
        return dataclasses.replace(self, **changes)

    def newest_of_another(self, who: int) -> Login | None:
        """Return the newest login of its browser that *who* could have met, if another request made it."""
        known = [each for each in self.logins[: self.known[who]] if not each.is_elsewhere]
        return known[-1] if known and known[-1].who != who else None


def owner(entries: Entries) -> str | None:
    """Return whose login *entries* hold; None for an anonymous session."""
    found = entries.get(MARK, entries.get(USER))
    return None if found is None else str(found)


def identity(entries: Entries) -> str | None:
    """Return which session *entries* are: a login's mark, or which anonymous one of the first."""
    if MARK in entries:
        return str(entries[MARK])
    if USER in entries:
        return "by hand"
    return f"anonymous {entries['x']}" if "x" in entries else None


class Laws:
    """Judges calls, answers and ends.

    Args:
        store: What they did.
        first: The sessions that the requests come with.
        may_store_unchanged: May a request that only reads write?
        log_in: Has a further client log in to a state of the store at a time; returns what that
            raised, and the state after it.
    """

    def __init__(
        self,
        store: Store,
        first: tuple[Content, ...],
        *,
        may_store_unchanged: bool,
        log_in: Callable[[int, float], tuple[str, int]],
    ) -> None:
        self._store = store
        self._first_keys = frozenset(content.key for content in first)
        self._first_identities = frozenset(str(identity(content.entries)) for content in first)
        self._is_first_users = any(content.entries.get(USER) == "1" for content in first)
        self._may_store_unchanged = may_store_unchanged
        self._limit = LimitLaws(store, self._first_keys, log_in)

    # A call that the store carried out

    def after_call(
        self,
        seen: Seen,
        who: int,
        call: Call,
        effect: Effect,
        ghost: Ghost,
        seconds: float,
        *,
        before: int,
        reads_only: bool,
    ) -> tuple[Seen, list[str]]:
        """Return *seen* with a call of *who*, and which laws that breaks."""
        broken: list[str] = []
        verb = call[0]
        if reads_only and verb not in READS and not self._may_store_unchanged:
            broken.append(f"I6 a request that only reads calls {verb}")
        if effect.commit is not None:
            commit = self._as_successor(seen, who, effect.commit, ghost)
            broken += _of_commit(seen, who, commit, ghost)
            broken += _of_authentication(commit)
            broken += self._of_owner(commit)
            seen = _with_commit(seen, who, commit, ghost)
        elif effect.read is not None and seen.owners[who] == UNKNOWN and not ghost.is_cleared:
            owners = _with(seen.owners, who, owner(effect.read.entries))
            seen = seen.but(owners=owners)
        elif verb in ("delete", "delete_many") and effect.is_done:
            seen = seen.but(causes=seen.causes | {(who, "end")})
        if ghost.ending is not None:
            broken += [
                f"I8 an end of the sessions of user {ghost.ending!r} ends one of user {each.user_id!r}"
                for each in effect.gone
                if each.user_id != ghost.ending
            ]
        seen, more = self._limit.after_call(seen, who, call, effect, ghost, seconds, before=before)
        broken += more
        if ghost.ending is not None and seen.begun[who] is None:
            # One without a card is of a login that is under way.
            meant = {
                (each.series, each.user_id)
                for each in self._store.with_card(before, seconds)
                if each.user_id == ghost.ending and each.series != ghost.spared
            }
            began = EndOfUser(ghost.ending, self._store.milliseconds(seconds), ghost.spared)
            seen = seen.but(
                meant=_with(seen.meant, who, frozenset(meant)),
                begun=_with(seen.begun, who, began),
            )
        if effect.ended_at is not None:
            seen = seen.but(known_ends=seen.known_ends | {(who, effect.ended_at)})
        confirmed = seen.confirmed
        if effect.is_done and verb in WRITES:
            confirmed = _with(confirmed, who, seconds)
        known = _with(seen.known, who, len(seen.logins))
        return seen.but(known=known, confirmed=confirmed), broken

    def _as_successor(self, seen: Seen, who: int, commit: Commit, ghost: Ghost) -> Commit:
        """Return *commit* as a new session's, where it takes the place of one that was ended.

        A login that found a tombstone ends the session that the tombstone leads to: one that it
        never read. And a request that found a tombstone, or left one, ends the record that a store
        brings back there when it falls back.
        """
        base = commit.base
        if base is None:
            return commit
        is_followed = base.key not in self._first_keys | _own(seen, who)
        is_login = commit.written.entries.get(MARK) in ghost.marks
        if (is_followed and is_login) or (who, base.key) in seen.known_ends:
            return dataclasses.replace(commit, base=None)
        return commit

    def _of_owner(self, commit: Commit) -> Iterator[str]:
        written = commit.written.entries
        if self._is_first_users and written.get(USER) == "2":
            strange = [name for name in ("x", "a", "b", "d", "l") if written.get(name) == "0"]
            if strange:
                yield f"I4 the session of user 2 holds entries {strange} of user 1"

    # What happens to the store

    def after_rollback(self, seen: Seen, state: int, seconds: float) -> Seen:
        """Forget what the store forgot: no session can know of an end or a login that it lost."""
        live = {identity(content.entries) for content in self._store.live(state, seconds)}
        logins = tuple(login for login in seen.logins if login.mark in live)
        return seen.but(
            ended=seen.ended - live,
            logins=logins,
            known=tuple(min(count, len(logins)) for count in seen.known),
            owners=(UNKNOWN,) * 3,
            has_rollback=True,
            has_faults=True,
        )

    # What a request was answered

    def after_event(
        self, seen: Seen, who: int, event: Event, state: int, seconds: float
    ) -> tuple[Seen, list[str]]:
        """Return *seen* with a verb of *who* that is over, and which laws that breaks."""
        if event.error == "SessionLimitReached":
            return self._limit.of_denial(seen, event.before, state, seconds)
        if event.error:
            return seen, list(_of_error(seen, who, event))
        broken: list[str] = []
        ended = seen.ended | self._ended_by(seen, who, event)
        if ended != seen.ended:
            seen = seen.but(ended=ended)
            broken += self._of_end(ended, event.verb, state, seconds)
        if event.verb in OF_USER:
            seen = _with_end_of_user(seen, who, event)
            broken += self._of_ended(seen, event.verb, state, seconds)
        has_flushed = "flush" in event.ghost.did - event.before.did
        if event.verb in _SAVES and not has_flushed:
            broken += _of_saved(seen, who, event)
        if event.verb == RESPOND:
            broken += self._of_clear(seen, who, event, state, seconds)
            broken += self._of_cookie(seen, who, event, state, seconds)
        return seen, broken

    def _ended_by(self, seen: Seen, who: int, event: Event) -> frozenset[str]:
        ghost = event.ghost
        if event.verb == "logout":
            stored = {login.mark for login in seen.logins if login.who == who}
            came_with = frozenset() if ghost.is_elsewhere else self._first_identities
            return came_with | (stored & set(event.before.marks))
        if event.verb == RESPOND and "undone_logout" in ghost.did:
            # It is ended again by then.
            return self._first_identities
        is_flush = event.verb == "login_other" and "flush" in ghost.did and not ghost.is_elsewhere
        is_kill = event.verb == "kill" and not (ghost.is_cycled or ghost.marks)
        return self._first_identities if is_flush or is_kill else frozenset()

    def _of_end(
        self, ended: frozenset[str], verb: str, state: int, seconds: float
    ) -> Iterator[str]:
        for content in self._store.live(state, seconds):
            ident = identity(content.entries)
            if ident in ended:
                where = "" if content.key in self._first_keys else " under another key"
                yield f"I1 {verb} was acknowledged and {ident!r} lives{where}"

    def _of_ended(self, seen: Seen, when: str, state: int, seconds: float) -> Iterator[str]:
        for content in self._store.live(state, seconds):
            # One that has no user any more is none of the user's.
            if (content.series, content.user_id) in seen.ended_of_user:
                yield f"I8 a session that was there when its user's were ended lives: {when}"

    def _of_logins_under_way(self, seen: Seen, state: int, seconds: float) -> Iterator[str]:
        for content in self._store.live(state, seconds):
            if any(
                content.user_id == end.user_id
                and content.authenticated_ms < end.began_ms
                and content.series != end.spared
                for end in seen.ends
            ):
                yield "I8 a login that had begun when its user's sessions were ended lives at the end"

    def _of_clear(
        self, seen: Seen, who: int, event: Event, state: int, seconds: float
    ) -> Iterator[str]:
        is_cleared = event.ghost.is_cleared and "clear" in event.ghost.did
        if seen.has_rollback or not is_cleared:
            return
        places = self._first_keys | _own(seen, who)
        for content in self._store.live(state, seconds):
            # No request sets this entry, so none can have set it since.
            if content.key in places and content.entries.get("x") == "0":
                yield "I2 a request that cleared its session is over, and the entries are still there"

    def _of_cookie(
        self, seen: Seen, who: int, event: Event, state: int, seconds: float
    ) -> Iterator[str]:
        answer, session_key = event.result
        newer = None if event.ghost.is_elsewhere else seen.newest_of_another(who)
        if answer == "REMOVE" and newer is not None:
            why = " (it logged out)" if "logout" in event.ghost.did else ""
            yield f"I3 a response removes the cookie of a newer login{why}"
        if answer != "SET":
            return
        key = storage_key(session_key)
        live = {content.key: content for content in self._store.live(state, seconds)}
        found = live.get(key)
        if found is None:
            is_on_credit = seconds - seen.confirmed[who] < RESPONSE_SECONDS
            if self._limit.is_on and event.ghost.marks and seen.has_faults:
                return  # an outage after a login is stored logs no one out
            if (who, key) in seen.known_ends or not is_on_credit:
                yield "I3 a response sets a cookie that leads nowhere"
        elif found.entries.get(MARK) == FIRST_MARK and (
            found.authenticated_ms < event.ghost.authenticated_ms
        ):
            yield "I8 an authentication was acknowledged, and the session says nothing of it"
        elif newer is not None and identity(found.entries) not in (newer.mark, *event.ghost.marks):
            yield f"I3 a response sets a cookie over a newer login's, to {_kind(found)}"

    # When all requests are over

    def at_end(self, seen: Seen, state: int, seconds: float) -> Iterator[str]:
        """Yield which laws the store breaks when no request is left."""
        yield from self._of_ended(seen, "at the end", state, seconds)
        # A login is stored before it reads the mark, and ends itself.
        yield from self._of_logins_under_way(seen, state, seconds)
        contents = self._store.live(state, seconds)
        if not seen.has_faults and not all(
            self._store.has_list(content, state, seconds) for content in contents
        ):
            yield "I8 no list has a user's session at the end"
        live = [identity(content.entries) for content in contents]
        for ident in sorted({ident for ident in live if ident is not None}):
            if ident in seen.ended:
                yield f"I1 the ended session {ident!r} is alive at the end"
            if live.count(ident) > 1:
                yield f"I4 the session {ident!r} is there {live.count(ident)} times at the end"
        yield from self._limit.at_end(seen, state, seconds)


def _own(seen: Seen, who: int) -> frozenset[str]:
    return frozenset(key for each, key in seen.places if each == who)


def _with_commit(seen: Seen, who: int, commit: Commit, ghost: Ghost) -> Seen:
    written, found = commit.written.entries, _found(commit)
    causes = {(who, "move")} if commit.verb == "move" else set()
    if commit.base is not None and any(written.get(n) != found.get(n) for n in (USER, MARK)):
        causes.add((who, "owner"))
    logins, mark = seen.logins, written.get(MARK)
    if mark in ghost.marks and all(login.mark != mark for login in logins):
        new = commit.written
        login = Login(who, str(mark), new.user_id, new.began_ms, ghost.is_elsewhere)
        logins = (*logins, login)
        causes.add((who, "login"))
    reached = {(who, name, value) for name, value in ghost.own if written.get(name) == value}
    reached |= {(who, name, None) for name in found if name not in written}
    return seen.but(
        logins=logins,
        made=seen.made | reached,
        places=seen.places | {(who, commit.written.key)},
        owners=_with(seen.owners, who, owner(written)),
        causes=seen.causes | causes,
    )


def _with_end_of_user(seen: Seen, who: int, event: Event) -> Seen:
    begun = seen.begun[who]
    is_one = event.verb == "end_one"
    one = set() if event.result is None else {(event.result, LISTED)}
    return seen.but(
        ended_of_user=seen.ended_of_user | (one if is_one else seen.meant[who]),
        ends=seen.ends if is_one or begun is None else seen.ends | {begun},
        meant=_with(seen.meant, who, frozenset()),
        begun=_with(seen.begun, who, None),
    )


def _found(commit: Commit) -> Entries:
    return commit.base.entries if commit.base is not None else {}


def _of_commit(seen: Seen, who: int, commit: Commit, ghost: Ghost) -> Iterator[str]:
    known, base = seen.owners[who], commit.base
    is_login = commit.written.entries.get(MARK) in ghost.marks
    if base is not None and not is_login and owner(base.entries) != known != UNKNOWN:
        yield f"I4 {commit.verb} of a request of {known!r} is over a session of another owner"
    ident = identity(commit.written.entries)
    if ident in seen.ended:
        yield f"I1 {commit.verb} revives the ended session {ident!r}"
    yield from _of_others_entries(seen, commit, ghost)
    yield from _of_own_entries(commit, ghost)
    yield from _of_counter(seen, commit, ghost)
    if commit.base is not None and commit.written.touched_ms < commit.base.touched_ms:
        yield "I2 a save moves the last use back"


def _of_authentication(commit: Commit) -> Iterator[str]:
    base, written = commit.base, commit.written
    is_same = base is not None and base.entries.get(MARK) == written.entries.get(MARK) is not None
    if base is not None and is_same and written.authenticated_ms < base.authenticated_ms:
        yield f"I8 {commit.verb} takes an authentication back"


def _of_others_entries(seen: Seen, commit: Commit, ghost: Ghost) -> Iterator[str]:
    if commit.base is None:
        return
    written, found = commit.written.entries, commit.base.entries
    forgotten = {(name, value) for _who, name, value in seen.made} if seen.has_rollback else set()
    for name in sorted({*written, *found} - {"n"}):
        old, new = found.get(name), written.get(name)
        if old == new or (name, new) in ghost.own or (new is None and ghost.is_cleared):
            continue
        # What the store forgot and this request had read is put back.
        if (name, new) not in forgotten:
            change = f"{name!r} from {old!r} to {new!r}"
            yield f"I2 {commit.verb} by a request changes {change}, which it never gave"


def _of_own_entries(commit: Commit, ghost: Ghost) -> Iterator[str]:
    written = commit.written.entries
    for name, value in ghost.last:
        new = written.get(name)
        if new == value or (commit.base is None and name.startswith("_auth")):
            continue
        is_first = new is not None and START_ENTRIES.get(name) in (new, [new])
        if is_first or (name, new) in ghost.own:
            given = f"after the same request gave it {value!r}"
            yield f"I2 {commit.verb} puts {name!r} back to {new!r}, {given}"


def _of_counter(seen: Seen, commit: Commit, ghost: Ghost) -> Iterator[str]:
    written, found = commit.written.entries, _found(commit)
    if commit.base is None or "n" not in written or seen.has_rollback or ghost.is_cleared:
        return
    before, after = found.get("n") or 0, written["n"]
    # Each bit is one addition: a difference that takes a bit away, or adds one twice, is wrong.
    if after < before or (after - before) & before:
        yield f"I2 the counter goes from {before} to {after}: a part is in it twice or lost"


def _of_saved(seen: Seen, who: int, event: Event) -> Iterator[str]:
    deleted = {name for _who, name, value in seen.made if value is None}
    for name, value in event.before.last:
        # What two requests delete is deleted by one of them.
        is_made = name in deleted if value is None else (who, name, value) in seen.made
        if not is_made:
            yield f"I2 {event.verb} was acknowledged and {name!r} = {value!r} reached no record"


def _of_error(seen: Seen, who: int, event: Event) -> Iterator[str]:
    if event.error == "SessionEnded":
        yield from _of_interruption(seen, who, event)
    elif event.error in ("StoreUnavailable", "CancelledError") and seen.has_faults:
        pass
    elif not (event.error == "CreateError" and event.verb == "must_create"):
        yield f"I5 {event.verb} raises {event.error}"


def _of_interruption(seen: Seen, who: int, event: Event) -> Iterator[str]:
    # Ending the key that a request is about to leave is the move: no reason to interrupt it.
    may_end_itself = not event.ghost.is_cycled or event.ghost.did & {"delete", *OF_USER}
    causes = {
        (by, what) for by, what in seen.causes if by != who or (what == "end" and may_end_itself)
    }
    if not causes:
        if not seen.has_rollback:
            yield "I5 a request is interrupted, and nothing ended or moved its session"
        return
    mark = dict(event.ghost.last).get(MARK)
    is_stored = any(login.mark == mark for login in seen.logins)
    if mark and not is_stored and not event.ghost.did & _ENDS and event.verb in ("save", RESPOND):
        yield "I7 a login is refused"


def _kind(found: Content) -> str:
    ident = identity(found.entries)
    is_anonymous = ident is None or ident.startswith("anonymous")
    return "a session without a user" if is_anonymous else "an older login"


def _with(values: tuple[Any, ...], position: int, value: Any) -> tuple[Any, ...]:
    return (*values[:position], value, *values[position + 1 :])
