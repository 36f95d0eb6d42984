"""The outcomes of two requests that overlap on one session: the table, and nothing else.

No other place decides them. `docs/reference/overlapping-requests.md` shows what `as_markdown` makes
of the table, and `InterleavingContract` holds every engine to it.

The request that writes first gets what it gets alone. So the table says what becomes of the second
one, by what the first did. The second is *under way* if it had read the session when the first
wrote. It is *late* if it was sent with the same cookie and began after that. Two requests that write
concurrently come out as one of the two orders.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping


class Action(enum.Enum):
    """What a request does."""

    READ = "read"
    TOUCH = "touch"
    SAVE = "save"
    NESTED = "nested change"
    DELETE_ENTRY = "delete entry"
    CYCLE = "`cycle_key()`"
    LOGIN = "login"
    RELOGIN = "re-login"
    LOGOUT = "logout"
    END = "end from elsewhere"
    PURGE = "expiry and purge"


#: How each is played.
PLAYED: Mapping[Action, str] = {
    Action.READ: "reads two entries",
    Action.TOUCH: "reads two entries; a touch is due for both requests",
    Action.SAVE: "sets an entry of its own and a shared one",
    Action.NESTED: "appends to two shared lists; `union` resolves one",
    Action.DELETE_ENTRY: "deletes two shared entries and one of its own",
    Action.CYCLE: "calls `cycle_key()`",
    Action.LOGIN: "`login()` on an anonymous session, sets an entry",
    Action.RELOGIN: "`login()` of the user logged in already, sets an entry",
    Action.LOGOUT: "calls `flush()`, as `logout()` does",
    Action.END: "another session object calls `delete()` with the key",
    Action.PURGE: "the session expires, and `clear_expired()` runs",
}


class Alone(enum.Enum):
    """What becomes of the cookie of a request that overlaps with none."""

    KEPT = "kept"
    SET = "set"
    NEW = "set, to a new key"
    REMOVED = "removed"
    NONE = "none: not a client's request"


#: Each answers 200.
ALONE: Mapping[Action, Alone] = {
    Action.READ: Alone.KEPT,
    Action.TOUCH: Alone.SET,
    Action.SAVE: Alone.SET,
    Action.NESTED: Alone.SET,
    Action.DELETE_ENTRY: Alone.SET,
    Action.CYCLE: Alone.NEW,
    Action.LOGIN: Alone.NEW,
    Action.RELOGIN: Alone.NEW,
    Action.LOGOUT: Alone.REMOVED,
    Action.END: Alone.NONE,
    Action.PURGE: Alone.NONE,
}


class Deed(enum.Enum):
    """What the first of two requests did, as far as the second is concerned."""

    STAYED = "read, touched or changed it"
    CYCLED = "`cycle_key()`"
    LOGGED_IN = "login, re-login"
    LOGGED_OUT = "logout"
    ENDED = "end from elsewhere"
    EXPIRED = "expiry and purge"


class Fate(enum.Enum):
    """What becomes of the second."""

    BOTH = "both"
    NOTHING = "nothing"
    INTERRUPTED = "400"
    NEW = "new"
    REPLACED = "replaced"
    REMOVED = "removed"


MEANING: Mapping[Fate, str] = {
    Fate.BOTH: "It does what it does alone, on top of what the first left. Both requests' changes are merged. An end also ends the session under the key that `cycle_key()` gave it.",
    Fate.NOTHING: "It answers 200, keeps the cookie, and leaves everything as it is.",
    Fate.INTERRUPTED: "It answers 400 and keeps the cookie. Nothing of it is stored.",
    Fate.NEW: "It answers 200 and sets a new key. The new session holds what this request set and nothing else. A session that the first one logged in stays as it is.",
    Fate.REPLACED: "The same as **new**. The session that the first one gave a new key is ended.",
    Fate.REMOVED: "It answers 200 and removes the cookie, because there is no session behind it.",
}

_B, _N, _I, _S, _E, _R = Fate

#: By what the first did, in the order of `Deed`.
Row = tuple[Fate, Fate, Fate, Fate, Fate, Fate]

#: Both had read the session before one of them wrote.
UNDER_WAY: Mapping[Action, Row] = {
    Action.READ: (_B, _N, _N, _N, _N, _N),
    Action.TOUCH: (_B, _N, _N, _N, _N, _N),
    Action.SAVE: (_B, _I, _I, _I, _I, _I),
    Action.NESTED: (_B, _I, _I, _I, _I, _I),
    Action.DELETE_ENTRY: (_B, _I, _I, _I, _I, _I),
    Action.CYCLE: (_B, _I, _I, _I, _I, _I),
    # A login ends what the session became. It does not end another login: both succeed.
    Action.LOGIN: (_B, _E, _S, _S, _S, _S),
    Action.RELOGIN: (_B, _E, _S, _S, _S, _S),
    # An end follows `cycle_key()` to the new key, and stops at a login. A logout that is older than a
    # tombstone lives can't know whether there was a login: it keeps the cookie.
    Action.LOGOUT: (_B, _B, _N, _B, _B, _N),
    Action.END: (_B, _B, _N, _B, _B, _B),
    Action.PURGE: (_B, _B, _B, _B, _B, _B),
}

#: The second came with the same cookie, and read the session after the first had written.
LATE: Mapping[Action, Row] = {
    Action.READ: (_B, _N, _N, _N, _N, _R),
    Action.TOUCH: (_B, _N, _N, _N, _N, _R),
    # After an end from elsewhere no newer cookie is on its way, and login pages keep state in the
    # session: the first write begins a new one.
    Action.SAVE: (_B, _I, _I, _I, _S, _S),
    Action.NESTED: (_B, _I, _I, _I, _S, _S),
    # It finds nothing that it could delete.
    Action.DELETE_ENTRY: (_B, _N, _N, _N, _N, _R),
    Action.CYCLE: (_B, _I, _I, _I, _S, _S),
    Action.LOGIN: (_B, _E, _S, _S, _S, _S),
    Action.RELOGIN: (_B, _E, _S, _S, _S, _S),
    Action.LOGOUT: (_B, _B, _N, _B, _B, _B),
    Action.END: (_B, _B, _N, _B, _B, _B),
    Action.PURGE: (_B, _B, _B, _B, _B, _B),
}

#: They change nothing.
READING = frozenset({Action.READ, Action.TOUCH})
#: They give the session a new key.
MOVING = frozenset({Action.CYCLE, Action.LOGIN, Action.RELOGIN})
#: They say whose session it is.
LOGINS = frozenset({Action.LOGIN, Action.RELOGIN})
#: They end the session immediately; everything else is stored with the response.
ENDING = frozenset({Action.LOGOUT, Action.END, Action.PURGE})
#: They are not requests of the session's client.
SILENT = frozenset({Action.END, Action.PURGE})

_DEEDS: Mapping[Action, Deed] = {
    Action.CYCLE: Deed.CYCLED,
    Action.LOGIN: Deed.LOGGED_IN,
    Action.RELOGIN: Deed.LOGGED_IN,
    Action.LOGOUT: Deed.LOGGED_OUT,
    Action.END: Deed.ENDED,
    Action.PURGE: Deed.EXPIRED,
}

#: The columns of the page's tables. What stays away is *both* in every row.
_NEW_KEYS = {done.value: done for done in (Deed.CYCLED, Deed.LOGGED_IN)}
_ENDS = {done.value: done for done in (Deed.LOGGED_OUT, Deed.ENDED, Deed.EXPIRED)}


def deed(first: Action) -> Deed:
    """Return what *first* does to the session, as far as a second request is concerned."""
    return _DEEDS.get(first, Deed.STAYED)


def fate(second: Action, done: Deed, *, is_late: bool) -> Fate:
    """Return what becomes of *second*."""
    return (LATE if is_late else UNDER_WAY)[second][list(Deed).index(done)]


def as_markdown() -> str:
    """Return the tables as the reference shows them."""
    actions = [[action.value, PLAYED[action], ALONE[action].value] for action in Action]
    return "\n".join(
        [
            "## What is played\n",
            *_table(["request", "how it is played", "its cookie, alone"], actions),
            "\n## A second request that was under way, after a new key\n",
            *_fates(UNDER_WAY, _NEW_KEYS),
            "\n## A second request that was under way, after an end\n",
            *_fates(UNDER_WAY, _ENDS),
            "\n## A second request that comes late, after a new key\n",
            *_fates(LATE, _NEW_KEYS),
            "\n## A second request that comes late, after an end\n",
            *_fates(LATE, _ENDS),
            "\n## What the words mean\n",
            *(f"- **{fate.value}**: {MEANING[fate]}" for fate in Fate),
            "",
        ]
    )


def _fates(table: Mapping[Action, Row], columns: Mapping[str, Deed]) -> list[str]:
    is_late = table is LATE
    rows = [
        [
            action.value,
            *(fate(action, done, is_late=is_late).value for done in columns.values()),
        ]
        for action in table
        if action is not Action.PURGE
    ]
    return _table(["second request", *columns], rows)


def _table(head: list[str], rows: Iterable[list[str]]) -> list[str]:
    lines = [head, *rows]
    drawn = ["| " + " | ".join(cells) + " |" for cells in lines]
    return [drawn[0], "|" + "---|" * len(head), *drawn[1:]]
