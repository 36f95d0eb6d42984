"""The store: the project's memory server as a value, each of its steps remembered.

Only this module and `site` know the driver contract and its records.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

from django_multisession.core import keys, limits, marks, payloads, signing
from django_multisession.core.records import (
    Outcome,
    Record,
    Stored,
    Tombstone,
    decode,
    to_milliseconds,
)
from django_multisession.drivers.base import Page
from django_multisession.drivers.listed.cards import place_of
from django_multisession.drivers.listed.driver import ListedDriver
from django_multisession.drivers.memory import Command, Slot
from django_multisession.settings.conf import config
from tests.exhaustive.site import LISTING, SNAPSHOT, Server, SessionStore, clock

#: Verbs that leave entries, keys and tombstones as they are. A use that is noted writes a card.
READS = frozenset(
    {"get", "get_many", "of_user", "touch", SNAPSHOT}
    | {LISTING + verb for verb in ("get", "of_user", "touch", "add", "replace")}
)
#: Verbs that list the sessions of a user.
LISTS = frozenset({"of_user", "get_many", f"{LISTING}of_user"})
#: Verbs that name the time, and whose success confirms the caller's session.
WRITES = frozenset({"add", "replace", "move", "touch"})
_COMMITS = frozenset({"add", "replace", "move"})
_ENDS = frozenset({"delete", "delete_many", "retire"})
_OF_CARD = frozenset(LISTING + verb for verb in ("get", "delete", "withdraw"))
_OF_LIMIT = frozenset({"of_user", "get_many", "delete_many", "retire"})

#: Where the marks lie that a user's sessions were ended, as the first arguments of a call.
MARK_PLACES = {(marks.place_of(user, b""),) for user in (b"1", b"2")}
#: Where a record lies that names a user and that this site didn't sign for that place.
#: A list that begins at its front reaches it after some of the others.
FORGED = "8" * 32
#: A user for whose session a forger left a card of another user.
VICTIM = "3"
#: Places under which no session lies: of marks, of the seats of logins, and the forged one.
OTHER_PLACES = {*MARK_PLACES, *((limits.place_of(user, b""),) for user in (b"1", b"2")), (FORGED,)}

#: A driver's verb and its arguments: equal calls of equal records are one.
Call = Command


class Numbers:
    """Values by number: what is compared and hashed a million times is an int."""

    def __init__(self) -> None:
        self._numbers: dict[Any, int] = {}
        self.values: list[Any] = []

    def number(self, value: Any) -> int:
        found = self._numbers.get(value)
        if found is None:
            found = self._numbers[value] = len(self.values)
            self.values.append(value)
        return found


@dataclasses.dataclass(frozen=True, slots=True)
class Content:
    """A live record as the laws see it: a list among its entries is its last item."""

    key: str
    entries: Mapping[str, Any]
    touched_ms: int
    began_ms: int
    series: bytes
    user_id: str | None
    authenticated_ms: int


@dataclasses.dataclass(frozen=True, slots=True)
class Commit:
    """What a call stored, and over what; *base* is None for a session that was added."""

    verb: str
    written: Content
    base: Content | None


@dataclasses.dataclass(frozen=True, slots=True)
class Effect:
    """What a call did.

    Attributes:
        commit: What it stored.
        read: What a `get` found.
        is_done: Did the store answer that it did what it was asked to do?
        ended_at: The key under which its caller knows now that a session was ended or moved.
        gone: The sessions that it ended: they were live before it and aren't any more.
    """

    commit: Commit | None
    read: Content | None
    is_done: bool
    ended_at: str | None
    gone: tuple[Content, ...] = ()


Slots = frozenset[tuple[str, Slot]]


class Kept(NamedTuple):
    """What is stored.

    Attributes:
        main: By the engine of the sessions.
        listing: By the engine that lists them, if that is another one.
    """

    main: Slots
    listing: Slots = frozenset()


class Store:
    """States of the store by number; 0 is the empty one."""

    def __init__(self, calls: Numbers, answers: Numbers) -> None:
        self._calls, self._answers = calls, answers
        self._states = Numbers()
        self._states.number(Kept(frozenset()))
        self._server = Server()
        self._steps: dict[tuple[int, int, float], tuple[int, int]] = {}
        self.is_listed = isinstance(SessionStore.driver, ListedDriver)
        self._live: dict[tuple[int, float], tuple[Content, ...]] = {}
        self._cards_of: dict[tuple[int, float], dict[str, Record]] = {}
        self._entries: dict[tuple[str, bytes], dict[str, Any]] = {}

    def do(self, state: int, call: int, seconds: float) -> tuple[int, int]:
        """Return the answer's number and the state after *call*."""
        step = (state, call, seconds)
        found = self._steps.get(step)
        if found is None:
            found = self._steps[step] = self._do(state, self._calls.values[call], seconds)
        return found

    def _do(self, state: int, call: Call, seconds: float) -> tuple[int, int]:
        clock.seconds = seconds
        before: Kept = self._states.values[state]
        if call.verb == SNAPSHOT:
            return self._answers.number(before.main), state
        engine = "listing" if call.verb.startswith(LISTING) else "main"
        server = self._server
        server.slots = collections.OrderedDict(getattr(before, engine))
        answer = server.send(call._replace(verb=call.verb.removeprefix(LISTING)))
        kept = frozenset(item for item in server.slots.items() if item[1].gone_at > seconds)
        after = before._replace(**{engine: kept})
        return self._answers.number(_frozen(answer)), self._states.number(after)

    def effect(self, call: Call, answer: int, before: int, after: int, seconds: float) -> Effect:
        """Return what *call* did, which was given *answer*."""
        verb, arguments = call
        value = self._answers.values[answer]
        if verb.startswith(LISTING) or arguments[:1] in OTHER_PLACES:
            return Effect(None, None, False, None)
        gone = self._gone(before, after, seconds) if verb in _ENDS else ()
        if verb == "delete_many":
            return Effect(None, None, True in value, None, gone)
        is_done = value is True or getattr(value, "outcome", None) is Outcome.SAVED
        is_stored = is_done and verb in _COMMITS and before != after
        is_end = verb == "delete" and value is True
        is_ended = is_end or isinstance(getattr(value, "stored", value), Tombstone)
        return Effect(
            self._commit(verb, arguments, before, after) if is_stored else None,
            self._content(arguments[0], value) if isinstance(value, Record) else None,
            is_done,
            arguments[0] if is_ended else None,
            gone,
        )

    def _gone(self, before: int, after: int, seconds: float) -> tuple[Content, ...]:
        left = {each.series for each in self.live(after, seconds)}
        return tuple(each for each in self.live(before, seconds) if each.series not in left)

    def _commit(
        self, verb: str, arguments: tuple[Any, ...], before: int, after: int
    ) -> Commit | None:
        written = self._at(after, arguments[1] if verb == "move" else arguments[0])
        base = None if verb == "add" else self._at(before, arguments[0])
        return Commit(verb, written, base) if written is not None else None

    def live(self, state: int, seconds: float) -> tuple[Content, ...]:
        """Return what a session could be read from at that time."""
        found = self._live.get((state, seconds))
        if found is None:
            clock.seconds = seconds
            now = to_milliseconds(clock.now())
            found = self._live[state, seconds] = tuple(
                self._content(key, stored)
                for key, slot in self._states.values[state].main
                if (key,) not in OTHER_PLACES
                and isinstance(stored := _decoded(slot.raw), Record)
                and stored.is_live(now)
                and slot.gone_at > seconds
            )
        return found

    def with_card(self, state: int, seconds: float) -> tuple[Content, ...]:
        """Return the live sessions that have a card, which may lie where they moved from.

        If no other engine lists them, these are all live sessions.
        """
        live = self.live(state, seconds)
        if not self.is_listed:
            return live
        cards = self._cards(state, seconds).values()
        listed = {(card.series, card.user_id) for card in cards}
        return tuple(each for each in live if (each.series, each.user_id) in listed)

    def has_list(self, content: Content, state: int, seconds: float) -> bool:
        """Does the list of its user hold the live session *content*?

        An anonymous session isn't in any, and the card of the victim's session was forged.
        """
        if not self.is_listed or content.user_id in (None, VICTIM):
            return True
        card = self._cards(state, seconds).get(place_of(content.key))
        return card is not None and (card.series, card.user_id) == (content.series, content.user_id)

    def _cards(self, state: int, seconds: float) -> dict[str, Record]:
        found = self._cards_of.get((state, seconds))
        if found is None:
            now = self.milliseconds(seconds)
            found = self._cards_of[state, seconds] = {
                place: stored
                for place, slot in self._states.values[state].listing
                if isinstance(stored := _decoded(slot.raw), Record) and stored.is_live(now)
            }
        return found

    def milliseconds(self, seconds: float) -> int:
        """Return that time as records have it."""
        clock.seconds = seconds
        return to_milliseconds(clock.now())

    def _at(self, state: int, key: str) -> Content | None:
        for place, slot in self._states.values[state].main:
            if place == key and isinstance(stored := _decoded(slot.raw), Record):
                return self._content(key, stored)
        return None

    def _content(self, key: str, record: Record) -> Content:
        place = (key, record.raw)
        entries = self._entries.get(place)
        if entries is None:
            entries = self._entries[place] = _entries(key, record)
        return Content(
            key,
            entries,
            record.touched_ms,
            record.began_ms,
            record.series,
            record.user_id,
            record.authenticated_ms,
        )


def _frozen(answer: Any) -> Any:
    """Return *answer* such that it can be a number's value."""
    if isinstance(answer, Page):
        return Page(tuple(answer.records), answer.cursor)  # type: ignore[arg-type]  # for a hash
    return tuple(answer) if isinstance(answer, list) else answer


@functools.cache
def _decoded(raw: bytes) -> Stored:
    return decode(raw)


def _entries(key: str, record: Record) -> dict[str, Any]:
    signing.verify(record, key, signing.binding(config().namespace), config().record_keys)
    loaded = payloads.deserialize(payloads.decompress(record.payload), SessionStore().serializer())
    return {name: value[-1] if isinstance(value, list) else value for name, value in loaded.items()}


@functools.cache
def storage_key(session_key: str) -> str:
    """Return where the session of a cookie lies; "" for a key that this site did not sign."""
    verified = keys.verify(session_key, config().signing_keys)
    return verified.storage_key if verified else ""


def is_timed(call: Call) -> bool:
    """Does *call* name the time, or follow such a call immediately, as the look for a mark does?

    So do the commands on a card beside a write. Beside a limit the commands of a login do, from its list
    on to the end of the sessions beyond it.
    """
    verb = call.verb.removeprefix(LISTING)
    is_of_limit = verb in _OF_LIMIT and config().max_sessions is not None
    is_of_card = call.verb in _OF_CARD
    return is_of_limit or is_of_card or verb in WRITES or call.arguments[:1] in MARK_PLACES


def text_of(call: Call) -> str:
    """Return *call* as a schedule names it."""
    verb, arguments = call
    places = [key[:4] for key in arguments[: 2 if verb == "move" else 1] if isinstance(key, str)]
    return f"{verb} {'→'.join(places)}"
