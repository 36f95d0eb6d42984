"""What a request may do, each a verb by name, with what the laws must know of it (`Ghost`).

Every value is written once and names its writer, so that a law knows whose value it finds.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from django_multisession.core.records import to_milliseconds
from django_multisession.exceptions import SessionLimitReached
from django_multisession.session import index, of_user
from django_multisession.session.steps import Steps
from tests.exhaustive import site
from tests.exhaustive.site import SessionStore

USER, MARK = "_auth_user_id", "_auth_mark"
#: Entries of the session that all requests come with; "x" is changed by none of them.
START_ENTRIES: dict[str, Any] = {"x": "0", "a": "0", "b": "0", "d": "0", "l": ["0"], "n": 0}
#: The first bit of each request's part of the counter.
FIRST_BITS = {"A": 0, "B": 8, "C": 16}


@dataclasses.dataclass(frozen=True, slots=True)
class Ghost:
    """What a request did, apart from the session's own idea of it.

    Attributes:
        own: Every (entry, value) it gave; the value of a deleted one is None.
        last: The last value of each entry, since its session began.
        marks: The logins it made.
        added: How often it added to the counter.
        is_cleared: Did it drop every entry it had read?
        is_cycled: Did it ask for a new key?
        authenticated_ms: When it authenticated the user of its session again; 0 for never.
        did: Names of the verbs that ended without an error.
        ending: The user whose sessions it ends now.
        spared: The public id of its own session, which that end spares.
        is_ending: Does it end a session now?
        is_elsewhere: Does it come from another browser than the other requests?
    """

    own: frozenset[tuple[str, Any]] = frozenset()
    last: tuple[tuple[str, Any], ...] = ()
    marks: tuple[str, ...] = ()
    added: int = 0
    is_cleared: bool = False
    is_cycled: bool = False
    authenticated_ms: int = 0
    did: frozenset[str] = frozenset()
    ending: str | None = None
    spared: bytes | None = None
    is_ending: bool = False
    is_elsewhere: bool = False

    def gave(self, name: str, value: Any) -> Ghost:
        last = dict(self.last) | {name: value}
        return self.but(own=self.own | {(name, value)}, last=tuple(sorted(last.items())))

    def but(self, **changes: Any) -> Ghost:
        return dataclasses.replace(self, **changes)

    def flushed(self) -> Ghost:
        return Ghost(
            own=self.own,
            marks=self.marks,
            added=self.added,
            did=self.did | {"flush"},
            is_elsewhere=self.is_elsewhere,
        )


class Actor:
    """One request: its store object, and its ghost."""

    def __init__(self, name: str, keys: tuple[str, ...]) -> None:
        self.name, self.key = name, keys[0]
        self.store = SessionStore(keys[0])
        if keys[1:]:
            self.store.offer_keys(keys[1:])
        self.ghost = Ghost()
        self.values = 0

    def value(self) -> str:
        self.values += 1
        return f"{self.name}{self.values}"

    def note(self, **changes: Any) -> None:
        self.ghost = self.ghost.but(**changes)

    async def set(self, name: str, value: Any) -> None:
        await self.store.aset(name, value)
        self.ghost = self.ghost.gave(name, value)


Verb = Callable[[Actor], Awaitable[Any]]
VERBS: dict[str, Verb] = {}


def verb(function: Verb) -> Verb:
    VERBS[function.__name__] = function
    return function


@verb
async def read(actor: Actor) -> None:
    await actor.store.aget("a")


@verb
async def set_a(actor: Actor) -> None:
    await actor.set("a", actor.value())


@verb
async def set_b(actor: Actor) -> None:
    await actor.set("b", actor.value())


@verb
async def nested(actor: Actor) -> None:
    """Change a list in place: no method of the session is called for it."""
    found = await actor.store.aget("l")
    value = actor.value()
    if found is None:
        await actor.store.aset("l", [value])
    else:
        found.append(value)
    actor.ghost = actor.ghost.gave("l", value)


@verb
async def remove(actor: Actor) -> None:
    if await actor.store.apop("d", None) is not None:
        actor.ghost = actor.ghost.gave("d", None)


@verb
async def add(actor: Actor) -> None:
    """Add a bit of its own to a counter that has a resolver: the sum shows which are in it."""
    bit = 1 << (actor.ghost.added + FIRST_BITS[actor.name])
    actor.note(added=actor.ghost.added + 1)
    await actor.store.aset("n", (await actor.store.aget("n", 0)) + bit)


async def _become(actor: Actor, user: str) -> None:
    mark = actor.value()
    await actor.store.aset(USER, user)
    await actor.store.aset(MARK, mark)
    actor.ghost = actor.ghost.gave(USER, user).gave(MARK, mark)
    actor.note(marks=(*actor.ghost.marks, mark), authenticated_ms=0)


async def _login(actor: Actor, user: str) -> None:
    """Log in as Django's ``login()`` does."""
    if await actor.store.ahas_key(USER):
        if await actor.store.aget(USER) != user:
            await logout(actor)
    else:
        await actor.store.acycle_key()
    await _become(actor, user)


@verb
async def login(actor: Actor) -> None:
    await _login(actor, "1")


@verb
async def login_other(actor: Actor) -> None:
    await _login(actor, "2")


@verb
async def login_elsewhere(actor: Actor) -> None:
    """Log in from another browser, which has no session."""
    actor.store = SessionStore()
    actor.ghost = Ghost(is_elsewhere=True)
    # Time may pass until the login begins.
    await site.SuspendingServer().asend(site.NOTHING)
    await _become(actor, "1")


@verb
async def login_by_hand(actor: Actor) -> None:
    await _become(actor, "1")


@contextlib.contextmanager
def _ending(actor: Actor) -> Iterator[None]:
    actor.note(is_ending=True)
    try:
        yield
    finally:
        actor.note(is_ending=False)


@verb
async def logout(actor: Actor) -> None:
    actor.note(is_cleared=True, last=())
    with _ending(actor):
        await actor.store.aflush()
    actor.ghost = actor.ghost.flushed()


@verb
async def cycle(actor: Actor) -> None:
    await actor.store.acycle_key()
    actor.note(is_cycled=True)


@verb
async def authenticate(actor: Actor) -> None:
    """Note that the user proved again who they are, if there is one."""
    if await actor.store.ahas_key(USER):
        await actor.store.anote_authentication()
        actor.note(is_cycled=True, authenticated_ms=to_milliseconds(site.clock.now()))


@verb
async def create(actor: Actor) -> None:
    if not hasattr(actor.store, "_session_cache"):
        # What was not read is not taken along.
        actor.note(is_cleared=True)
    await actor.store.acreate()


@verb
async def save(actor: Actor) -> None:
    try:
        await actor.store.asave()
    except SessionLimitReached:
        # The session is again what it was before the login.
        last = {name: value for name, value in actor.ghost.last if name not in (USER, MARK)}
        actor.note(last=tuple(sorted(last.items())))
        raise


@verb
async def must_create(actor: Actor) -> None:
    await actor.store.asave(must_create=True)


@verb
async def clear(actor: Actor) -> None:
    # SessionBase has no aclear(): it does no I/O.
    actor.store.clear()
    actor.note(is_cleared=True, last=())


@verb
async def kill(actor: Actor) -> None:
    """End the session that the client came with through another store object."""
    with _ending(actor):
        await SessionStore().adelete(actor.key)


@verb
async def delete(actor: Actor) -> None:
    """End the session through its own object, as Django's ``delete()``: the object goes on."""
    with _ending(actor):
        await actor.store.adelete()


@verb
async def poll(actor: Actor) -> None:
    """Declare that this request is no use."""
    actor.store.counts_as_use = False


@verb
async def reload(actor: Actor) -> None:
    """Call ``load()`` as subclasses and Django's suites do."""
    await actor.store.aload()


async def respond(actor: Actor) -> tuple[str, str | None]:
    """Return what becomes of the cookie, and the session key that it is set to."""
    answer = await actor.store.arespond()
    await site.send_undone()
    return answer.name, actor.store.session_key if answer.name == "SET" else None


@verb
async def forget_user(actor: Actor) -> None:
    """Take the user out of the entries by hand."""
    for name in (USER, MARK):
        if await actor.store.apop(name, None) is not None:
            actor.ghost = actor.ghost.gave(name, None)


# The sessions of a user


#: The user whose sessions an administrator lists and ends.
LISTED = "1"


async def _end(
    actor: Actor, store: SessionStore, steps: Steps[Any], user: str | None = LISTED
) -> Any:
    spared = of_user.series(store._recognized) if store is actor.store else None
    actor.note(ending=user, spared=spared)
    try:
        return await store._arun(steps)
    finally:
        actor.note(ending=None)


@verb
async def become_other(actor: Actor) -> None:
    """Log another user in by hand."""
    await _become(actor, "2")


@verb
async def list_all(actor: Actor) -> None:
    """List the user's sessions, as an administrator."""
    store = SessionStore()
    found = await store._arun(index.find(store._recognized, LISTED))
    assert all(each.record.user_id == LISTED for each in found)


@verb
async def end_all(actor: Actor) -> None:
    """End the user's sessions, as an administrator."""
    store = SessionStore()
    await _end(actor, store, of_user.end_all(store._recognized, LISTED))


@verb
async def end_others(actor: Actor) -> None:
    """End the other sessions of the client's user."""
    user = await actor.store.aget(USER)
    await _end(actor, actor.store, of_user.end_others(actor.store._recognized), user)


@verb
async def end_one(actor: Actor) -> bytes | None:
    """List the user's sessions, and end the one that was used last."""
    store = SessionStore()
    found = await store._arun(index.find(store._recognized, LISTED))
    if not found:
        return None
    series = found[0].record.series
    ending = of_user.end(store._recognized, LISTED, lambda record: record.series == series)
    return series if await _end(actor, store, ending) else None


# In a transaction that is rolled back


@verb
async def undone_save(actor: Actor) -> None:
    async with site.rolled_back():
        value = actor.value()
        await actor.store.aset("a", value)
        await actor.store.asave()
    # What it saved is undone, and the response doesn't save it.
    actor.note(own=actor.ghost.own | {("a", value)}, last=())


@verb
async def undone_logout(actor: Actor) -> None:
    async with site.rolled_back():
        await logout(actor)


@verb
async def undone_login(actor: Actor) -> None:
    async with site.rolled_back():
        await login(actor)


@verb
async def undone_login_and_save(actor: Actor) -> None:
    async with site.rolled_back():
        await login(actor)
        await actor.store.asave()


OF_USER = ("list_all", "end_all", "end_others", "end_one")
UNDONE = ("undone_save", "undone_logout", "undone_login", "undone_login_and_save")
_APART = ("authenticate", "forget_user", "become_other", "login_elsewhere")
#: Verbs of bounds; and those of most requests, for bounds in which all are too many.
ALL = tuple(name for name in VERBS if name not in {*_APART, *OF_USER, *UNDONE})
CORE = tuple(
    name for name in ALL if name not in {"create", "must_create", "kill", "delete", "reload"}
)
