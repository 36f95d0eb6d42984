"""What two overlapping requests leave, by the table: a model of one session without a store."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from django_multisession.testing.interleaving.table import (
    ALONE,
    ENDING,
    LOGINS,
    MOVING,
    READING,
    Action,
    Alone,
    Deed,
    Fate,
    deed,
    fate,
)

#: The two requests; what each stores bears its name.
NAMES = ("A", "B")
#: The user at the beginning, unless one of the requests logs a user in.
OWNER = "1"
#: The users that log in.
NEW_OWNERS = {"A": "2", "B": "3"}

#: What is in the session at the beginning. No request changes ``before``: a session that holds it
#: is the one that both requests came with.
ENTRIES: Mapping[str, Any] = {
    "before": True,
    "same": "of no request",
    "gone": 1,
    "gone by A": 1,
    "gone by B": 1,
    "cart": [],
    "wishes": [],
}
#: Entries of which a resolver unites both requests' values.
UNITED = frozenset({"wishes"})

KEPT, SET, REMOVED = "kept", "set", "removed"
OK, INTERRUPTED = 200, 400

Changes = dict[str, Any]


class _Deleted:
    """Marks an entry that a request deletes."""


@dataclasses.dataclass(frozen=True, slots=True)
class Content:
    """What a session holds. Comparable; its entries are JSON."""

    owner: str | None
    entries: str

    @classmethod
    def of(cls, owner: str | None, entries: Mapping[str, Any]) -> Content:
        """Return the content of a session of *owner* with *entries*, without Django's own."""
        shown = {
            name: sorted(value) if name in UNITED else value
            for name, value in entries.items()
            if not name.startswith("_")
        }
        return cls(owner, json.dumps(shown, sort_keys=True))

    def has(self, name: str) -> bool:
        """Is there an entry *name*?"""
        return name in json.loads(self.entries)


@dataclasses.dataclass(frozen=True, slots=True)
class Reply:
    """What a client got.

    Attributes:
        status: HTTP status.
        cookie: ``"kept"``, ``"set"`` or ``"removed"``.
        leads_to: What a cookie that was set leads to in the end; None if it leads nowhere.
    """

    status: int
    cookie: str
    leads_to: Content | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """What two requests leave.

    Attributes:
        replies: A's and B's.
        live: Every live record of the store.
        old_key_leads_to: What the cookie that both came with leads to.
        is_old_key_live: Does a live record lie under the old key itself?
    """

    replies: tuple[Reply, Reply]
    live: tuple[Content, ...]
    old_key_leads_to: Content | None
    is_old_key_live: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Pair:
    """Two requests, A's action and B's, and what is so because of them."""

    actions: tuple[Action, Action]

    def __str__(self) -> str:
        return " and ".join(action.value for action in self.actions)

    @property
    def owner(self) -> str | None:
        """The user at the beginning: none where a request logs a user in."""
        return None if Action.LOGIN in self.actions else OWNER

    @property
    def is_touch_due(self) -> bool:
        """Is the last use so long ago that it is noted again?"""
        return Action.TOUCH in self.actions

    def outcome(
        self, first: int, *, is_late: bool, has_touches_interrupted: bool = False
    ) -> Outcome:
        """Return what the table says.

        Args:
            first: Which of the two writes first: 0 or 1.
            is_late: Does the other one read the session only after that?
            has_touches_interrupted: As under Django's middleware, where a touch that meets an
                ended session is a 400.
        """
        second = 1 - first
        action, done = self.actions[second], deed(self.actions[first])
        becomes = fate(action, done, is_late=is_late)
        is_touch_due = self.is_touch_due or done is Deed.EXPIRED
        is_interrupted = (
            has_touches_interrupted
            and is_touch_due
            and becomes is Fate.NOTHING
            and action in READING
            and not is_late
        )
        if is_interrupted:
            becomes = Fate.INTERRUPTED
        model = _Model(self)
        replies = [_Answer(OK, KEPT)] * 2
        replies[first] = model.play_alone(self.actions[first], NAMES[first])
        replies[second] = model.play_second(
            self.actions[second], NAMES[second], becomes, is_late=is_late
        )
        return Outcome(
            replies=(model.told(replies[0]), model.told(replies[1])),
            live=tuple(sorted(model.live.values(), key=repr)),
            old_key_leads_to=model.follow(0),
            is_old_key_live=0 in model.live,
        )


@dataclasses.dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    cookie: str
    key: int | None = None


class _Model:
    """Sessions by numbered keys; 0 is the one that both requests came with."""

    def __init__(self, pair: Pair) -> None:
        self._pair = pair
        self._entries: dict[int, dict[str, Any]] = {0: dict(ENTRIES)}
        self._owners: dict[int, str | None] = {0: pair.owner}
        self._last_key = 0
        self._is_touch_due = pair.is_touch_due

    @property
    def live(self) -> dict[int, Content]:
        return {
            key: Content.of(self._owners[key], entries) for key, entries in self._entries.items()
        }

    def follow(self, key: int) -> Content | None:
        return self.live.get(key)

    def told(self, answer: _Answer) -> Reply:
        leads_to = None if answer.key is None else self.follow(answer.key)
        return Reply(answer.status, answer.cookie, leads_to)

    def play_alone(self, action: Action, name: str) -> _Answer:
        return self._do(action, name, self._entries.get(0, {}))

    def play_second(self, action: Action, name: str, becomes: Fate, *, is_late: bool) -> _Answer:
        match becomes:
            case Fate.BOTH:
                seen = self._entries.get(0, {}) if is_late else dict(ENTRIES)
                # The first one's use was noted, and a late one sees that.
                self._is_touch_due = self._is_touch_due and not is_late
                return self._do(action, name, seen)
            case Fate.NOTHING:
                return _Answer(OK, KEPT)
            case Fate.INTERRUPTED:
                return _Answer(INTERRUPTED, KEPT)
            case Fate.REMOVED:
                return _Answer(OK, REMOVED)
            case Fate.NEW | Fate.REPLACED:
                if becomes is Fate.REPLACED:
                    self._entries.pop(self._last_key)
                new = self._new_key()
                owner = self._owner(action, name) if action in LOGINS else None
                self._entries[new], self._owners[new] = {}, owner
                self._change(new, changes(action, name, {} if is_late else dict(ENTRIES)))
                return _Answer(OK, SET, new)

    def _do(self, action: Action, name: str, seen: Mapping[str, Any]) -> _Answer:
        key = 0
        if action in ENDING:
            # The last key is the one to which `cycle_key()` led, if the first request called it.
            self._entries.pop(self._last_key, None)
            if action is Action.PURGE:
                # So much time passes that every session expires.
                self._entries.clear()
            return _Answer(OK, REMOVED if ALONE[action] is Alone.REMOVED else KEPT)
        self._change(key, changes(action, name, seen))
        if action in LOGINS:
            self._owners[key] = self._owner(action, name)
        if action in MOVING:
            key = self._move(key)
        is_told = action not in READING or self._is_touch_due
        return _Answer(OK, SET, key) if is_told else _Answer(OK, KEPT)

    def _change(self, key: int, changed: Changes) -> None:
        entries = self._entries[key]
        for name, value in changed.items():
            if value is _Deleted:
                entries.pop(name, None)
            elif name in UNITED:
                entries[name] = [*{*entries.get(name, []), *value}]
            else:
                entries[name] = value

    def _move(self, key: int) -> int:
        new = self._new_key()
        self._entries[new], self._owners[new] = self._entries.pop(key), self._owners[key]
        return new

    def _new_key(self) -> int:
        self._last_key += 1
        return self._last_key

    def _owner(self, action: Action, name: str) -> str:
        return NEW_OWNERS[name] if action is Action.LOGIN else OWNER


def changes(action: Action, name: str, seen: Mapping[str, Any]) -> Changes:
    """Return what the request *name* changes in the entries that it has *seen*."""
    match action:
        case Action.SAVE:
            return {"same": name, f"saved by {name}": True}
        case Action.NESTED:
            return {entry: [*seen.get(entry, []), name] for entry in ("cart", "wishes")}
        case Action.DELETE_ENTRY:
            deleted = ("same", "gone", f"gone by {name}")
            return {entry: _Deleted for entry in deleted if entry in seen}
        case Action.LOGIN | Action.RELOGIN:
            return {f"greeting of {name}": True}
        case _:
            return {}
