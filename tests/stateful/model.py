"""What sessions are, written down a second time: no serializer, no signatures, no server.

A `Model` is the store and the clock. A `Request` is what one request knows of its session. Keys are
those that the real store gave. The model decides when there must be a new one, and is given it.
"""

from __future__ import annotations

import copy
import dataclasses
import enum
from typing import Any

USER = "_auth_user_id"
IDLE, ABSOLUTE, TOUCH = 600, 3600, 60


class Answer(enum.Enum):
    """What a response does with the cookie, or that it is a 400."""

    KEEP = "keep"
    SET = "set"
    REMOVE = "remove"
    INTERRUPTED = "interrupted"


@dataclasses.dataclass(slots=True)
class Live:
    """A stored session; times in seconds."""

    entries: dict[str, Any]
    began: float
    touched: float
    version: int

    def is_live(self, now: float) -> bool:
        return now < self.ends

    @property
    def ends(self) -> float:
        return min(self.touched + IDLE, self.began + ABSOLUTE)


@dataclasses.dataclass(slots=True)
class Ended:
    """The tombstone that an end or a move leaves, from *at* on.

    Attributes:
        at: When that was.
        reason: ``"left"``, ``"ended"`` (from elsewhere), ``"moved"`` or ``"login"``.
        successor: The key under which the session, or the login, is now.
    """

    at: float
    reason: str
    successor: str | None = None

    @property
    def ends(self) -> float:
        return self.at


@dataclasses.dataclass(slots=True)
class After:
    """What a request knows of the end of its session.

    Attributes:
        key: The key that the request came with: a later end begins there.
        place: The key under which the end stopped: a claim begins there.
        found: The tombstone that the request met; None if it met nothing.
        allows_write: May any write begin a session in its place? A login always may.
    """

    key: str
    place: str
    found: Ended | None
    allows_write: bool


@dataclasses.dataclass(slots=True)
class Request:
    """One request's view; *base* is what it read under the key *base_key*."""

    key: str | None
    came_at: float
    standing: str = "unread"
    entries: dict[str, Any] | None = None
    base: Live | None = None
    base_key: str = ""
    is_modified: bool = False
    set_user: bool = False
    is_cleared: bool = False
    after: After | None = None

    @property
    def is_login(self) -> bool:
        """Does it log a user in? A user who was removed again is none."""
        return self.set_user and self.entries is not None and USER in self.entries

    @property
    def is_moving(self) -> bool:
        return self.key is not None and (self.base is None or self.key != self.base_key)

    @property
    def mine(self) -> dict[str, Any]:
        assert self.entries is not None
        return self.entries

    @property
    def is_changed(self) -> bool:
        if self.base is None:
            return self.is_modified
        if self.entries is None:
            return False
        return self.is_moving or self.is_login or self.entries != self.base.entries


class Interrupted(Exception):  # noqa: N818  (as `SessionEnded`)
    """The session of a request that changed it was ended."""


class Model:
    """The store, and what every verb does to it and to a request.

    Args:
        purges: Does ``clear_expired()`` remove records, or does the server by itself, later?
        follows_clock: Is the server's clock the driven one, so that it removes what is over for a
            minute? Another server's clock stands nearly still meanwhile.
        tombstone_seconds: After how many by the driven clock no tombstone is found any more, where
            records stay until they are purged.
    """

    def __init__(
        self, *, purges: bool, follows_clock: bool, tombstone_seconds: float = float("inf")
    ) -> None:
        self.now = 0.0
        self.purges = purges
        self.follows_clock = follows_clock
        self.tombstone_seconds = tombstone_seconds
        self.stored: dict[str, Live | Ended] = {}
        self._versions = 0

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
        for key, found in list(self.stored.items()):
            is_left = isinstance(found, Ended) and found.ends + self.tombstone_seconds < self.now
            if is_left or (self.follows_clock and found.ends + 60 <= self.now):
                del self.stored[key]

    # Looking

    def find(self, key: str) -> Live | Ended | None:
        """Return what lies under *key*; None also for what has expired."""
        found = self.stored.get(key)
        return None if isinstance(found, Live) and not found.is_live(self.now) else found

    def seen_by(self, key: str) -> dict[str, Any]:
        """Return what a client that comes with *key* sees."""
        found = self.find(key)
        return found.entries if isinstance(found, Live) else {}

    # The verbs of a request

    def read(self, request: Request) -> None:
        if request.entries is None:
            if request.key is None:
                request.entries = {}
            else:
                self._ensure_read(request)

    def _ensure_read(self, request: Request) -> None:
        if request.standing == "unread":
            entries = self._take_up(request)
            if request.entries is None:
                request.entries = entries

    def _take_up(self, request: Request) -> dict[str, Any]:
        found = self.find(request.key) if request.key else None
        if isinstance(found, Live):
            request.standing = "stored"
            request.base_key = request.key or ""
            request.base = copy.deepcopy(found)
            return copy.deepcopy(found.entries)
        if request.key and (found is not None or self._is_late(request)):
            is_from_elsewhere = found is not None and found.reason == "ended"
            allows_write = is_from_elsewhere and not self._is_late(request)
            request.standing = "ended"
            request.after = After(request.key, request.key, found, allows_write)
        else:
            request.standing, request.key = "new", None
        return {}

    def _is_late(self, request: Request) -> bool:
        """Is it older than a tombstone lives, so that a missing session may have moved?"""
        return self.now - request.came_at >= 60

    def put(self, request: Request, name: str, value: Any) -> None:
        self.read(request)
        request.mine[name] = value
        request.is_modified = True

    def pop(self, request: Request, name: str) -> None:
        self.read(request)
        if name in request.mine:
            del request.mine[name]
            request.is_modified = True

    def append(self, request: Request, name: str, value: Any) -> None:
        """Change a list in place."""
        self.read(request)
        request.mine[name].append(value)

    def clear(self, request: Request) -> None:
        request.entries = {}
        request.is_cleared = request.is_modified = True

    def gives_key(self, request: Request) -> None:
        """Prepare for a new key by ``cycle_key()``."""
        self._ensure_read(request)
        self._forget_end(request)

    def _forget_end(self, request: Request) -> None:
        if request.standing == "ended":
            request.standing = "new"
        request.is_modified = True

    def notes_login(self, request: Request) -> bool:
        """Prepare for a user to be set; return whether the session gets a new key for it."""
        self._ensure_read(request)
        request.set_user = True
        is_due = request.standing == "ended" or (
            request.standing == "stored" and not request.is_moving
        )
        if is_due:
            self._forget_end(request)
        return is_due

    def flush(self, request: Request) -> None:
        key = self._known_key(request)
        was_live = request.base is not None and request.base.is_live(self.now)
        self.clear(request)
        request.base, request.key, request.standing, request.set_user = None, None, "new", False
        if key is None:
            request.after = None
            return
        place, found, is_made = self._end(key, "left")
        is_current = (was_live and is_made) or not self._is_late(request)
        is_taken_over = found is not None and found.reason == "login"
        request.after = After(key, place, found, is_current and not is_taken_over)
        if not request.after.allows_write:
            # A newer login's cookie may be the client's: this one's response leaves it alone.
            request.key, request.standing, request.is_modified = key, "ended", False

    def _known_key(self, request: Request) -> str | None:
        if request.base is not None:
            return request.base_key
        if request.after is not None:
            return request.after.key
        return request.key if request.standing == "unread" else None

    # What happens elsewhere

    def end(self, key: str) -> None:
        """End the session under *key* from elsewhere, or what a new key made of it."""
        self._end(key, "ended")

    def _end(self, key: str, reason: str) -> tuple[str, Ended | None, bool]:
        """Return where the line of *key* ends, the tombstone there, and whether it was left now."""
        found = self.stored.get(key)
        while isinstance(found, Ended) and found.reason == "moved" and found.successor:
            key = found.successor
            found = self.stored.get(key)
        if isinstance(found, Live):
            left = self.stored[key] = Ended(self.now, reason)
            return key, left, True
        return key, found, False

    def purge(self) -> None:
        if self.purges:
            for key, found in list(self.stored.items()):
                if isinstance(found, Live) and found.ends < self.now - 60:
                    del self.stored[key]

    # The response

    def respond(self, request: Request, key_now: Any) -> Answer:
        """Save, and say what the cookie does.

        Args:
            request: Its request.
            key_now: Returns the key that the real session has now: the new one, where there is one.
        """
        if request.standing == "unread" and request.is_changed:
            self._ensure_read(request)
        is_changed = request.is_changed
        after = request.after
        if request.standing == "ended" and not (after and after.allows_write and is_changed):
            return Answer.INTERRUPTED if is_changed else Answer.KEEP
        if request.key is None and not request.entries:
            return Answer.REMOVE
        if not (is_changed or self._has_work(request)):
            return Answer.KEEP
        try:
            self._save(request, key_now)
        except Interrupted:
            return Answer.INTERRUPTED if is_changed else Answer.KEEP
        return Answer.SET

    def _has_work(self, request: Request) -> bool:
        if request.base is None or request.entries is None:
            return False
        return self.now - request.base.touched >= TOUCH

    def _save(self, request: Request, key_now: Any) -> None:
        if request.base is None:
            after = request.after
            if after is not None and not (after.allows_write or request.is_login):
                raise Interrupted
            self._add(request, key_now)
            return
        while True:
            found = self.stored.get(request.base_key)
            is_there = isinstance(found, Live) and found.is_live(self.now)
            if not request.is_changed:
                self._confirm(request)
                return
            if is_there and isinstance(found, Live):
                if found.version == request.base.version:
                    self._write(request, found, key_now)
                    return
                self._merge(request, found)
                continue
            if not (request.is_moving and request.is_login):
                raise Interrupted
            before = request.base.entries
            request.entries = {
                name: value
                for name, value in request.mine.items()
                if name not in before or before[name] != value or name.startswith("_auth_")
            }
            request.base = None
            left = found if isinstance(found, Ended) else None
            request.after = After(request.base_key, request.base_key, left, allows_write=False)
            self._add(request, key_now)
            return

    def _add(self, request: Request, key_now: Any) -> None:
        place = self._claim(request)
        request.key = key_now()
        if place is not None:
            reason = "login" if request.is_login else "moved"
            self.stored[place] = Ended(self.now, reason, request.key)
        self._versions += 1
        self.stored[request.key or ""] = Live(
            entries=copy.deepcopy(request.mine),
            began=self.now,
            touched=self.now,
            version=self._versions,
        )

    def _claim(self, request: Request) -> str | None:
        """Return the key where the new session takes the place of what its own session became.

        Raises:
            Interrupted: Another session did that before, and this one isn't a login.
        """
        if request.after is None:
            return None
        place, found = request.after.place, request.after.found
        if found is not None and found.successor is None:
            # Another request may have claimed it meanwhile, or its minute may be over.
            left = self.stored.get(place)
            found = left if isinstance(left, Ended) else None
        line: Live | Ended | None = found
        while isinstance(line, Ended) and line.successor:
            if not request.is_login:
                raise Interrupted
            if line.reason == "login":
                return None  # two logins of one client both succeed
            place = line.successor
            line = self.find(place)
        return place if line is not None else None

    def _write(self, request: Request, found: Live, key_now: Any) -> None:
        self._versions += 1
        new = Live(
            entries=copy.deepcopy(request.mine),
            began=self.now if request.is_login else found.began,
            touched=max(found.touched, self.now),
            version=self._versions,
        )
        if request.is_moving:
            request.key = key_now()
            reason = "login" if request.is_login else "moved"
            self.stored[request.base_key] = Ended(self.now, reason, request.key)
        self.stored[request.key or ""] = new

    def _confirm(self, request: Request) -> None:
        found = self.find(request.base_key)
        if not isinstance(found, Live):
            raise Interrupted
        found.touched = max(found.touched, self.now)

    def _merge(self, request: Request, theirs: Live) -> None:
        assert request.base is not None
        base, mine = request.base.entries, request.mine
        has_same_owner = request.base.began == theirs.began and base.get(
            USER
        ) == theirs.entries.get(USER)
        if not (request.is_login or has_same_owner):
            raise Interrupted
        if not request.is_cleared:
            made = dict(theirs.entries)
            for name in {**base, **mine}:
                if name not in mine:
                    made.pop(name, None)
                elif name not in base or base[name] != mine[name]:
                    made[name] = mine[name]
            if request.is_login and USER in mine:
                made[USER] = mine[USER]
            mine.clear()
            mine.update(copy.deepcopy(made))
        request.base = copy.deepcopy(theirs)
