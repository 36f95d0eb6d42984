"""What may become of two requests that overlap on one session: the table, and nothing else.

It is the only place where that is decided. `docs/reference/overlapping-requests.md` shows what
`as_markdown` makes of it, and `InterleavingContract` holds every engine to it.

Whoever writes first gets what it would get alone. So the table says what becomes of the second, by
what the first had done: under way when the first wrote, or late, which is sent with the same cookie
and begins after that. Two that write at once come out as one of the two orders.
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
    Action.TOUCH: "the same, a minute after the last use: a touch is due, for the other request too",
    Action.SAVE: "sets an entry of its own, and one that every save sets",
    Action.NESTED: "appends to two lists that the other may append to as well; `union` resolves one",
    Action.DELETE_ENTRY: "deletes two entries that the other may delete or set as well, and one of its own",
    Action.CYCLE: "calls `cycle_key()`",
    Action.LOGIN: "logs a user in, as `login()` does, on an anonymous session, and sets an entry",
    Action.RELOGIN: "logs the user in who is logged in already, and sets an entry",
    Action.LOGOUT: "calls `flush()`, as `logout()` does",
    Action.END: "another session object calls `delete()` with the session's key",
    Action.PURGE: "the session expires, and `clear_expired()` runs",
}


class Alone(enum.Enum):
    """What becomes of the cookie of a request that no other one disturbs."""

    KEPT = "kept"
    SET = "set"
    NEW = "set, to a new key"
    REMOVED = "removed"
    NONE = "none: no client's request"


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
    MOVED = "`cycle_key()`, login, re-login"
    ENDED = "ended it"
    EXPIRED = "it expired, purge"


class Fate(enum.Enum):
    """What becomes of the second."""

    BOTH = "both"
    NOTHING = "nothing"
    INTERRUPTED = "400"
    ANEW = "anew"
    MISSED = "missed"
    REMOVED = "removed"


MEANING: Mapping[Fate, str] = {
    Fate.BOTH: "It does what it would do alone, upon what the first has left: 200. Under way, both requests' changes are merged.",
    Fate.NOTHING: "200, and the cookie is kept. It changed nothing, and leaves everything as it is.",
    Fate.INTERRUPTED: "400, and the cookie is kept. Nothing of it is stored.",
    Fate.ANEW: "200, and a cookie with a new key: a new session, which holds what this request set and nothing else.",
    Fate.MISSED: "200. What is there now is another session, and stays as it is. A logout's cookie is removed.",
    Fate.REMOVED: "200, and the cookie is removed: there is no session behind it.",
}

_B, _N, _I, _A, _M, _R = Fate

#: By what the first did, in the order of `Deed`.
Row = tuple[Fate, Fate, Fate, Fate]

#: Both had read the session before one of them wrote.
UNDER_WAY: Mapping[Action, Row] = {
    Action.READ: (_B, _N, _N, _N),
    Action.TOUCH: (_B, _N, _N, _N),
    Action.SAVE: (_B, _I, _I, _I),
    Action.NESTED: (_B, _I, _I, _I),
    Action.DELETE_ENTRY: (_B, _I, _I, _I),
    Action.CYCLE: (_B, _I, _I, _I),
    Action.LOGIN: (_B, _A, _A, _A),
    Action.RELOGIN: (_B, _A, _A, _A),
    Action.LOGOUT: (_B, _M, _B, _B),
    Action.END: (_B, _M, _B, _B),
    Action.PURGE: (_B, _B, _B, _B),
}

#: The second came with the same cookie, and read the session after the first had written.
LATE: Mapping[Action, Row] = {
    Action.READ: (_B, _N, _N, _R),
    Action.TOUCH: (_B, _N, _N, _R),
    Action.SAVE: (_B, _I, _I, _A),
    Action.NESTED: (_B, _I, _I, _A),
    Action.DELETE_ENTRY: (_B, _N, _N, _R),
    Action.CYCLE: (_B, _I, _I, _A),
    Action.LOGIN: (_B, _A, _A, _A),
    Action.RELOGIN: (_B, _A, _A, _A),
    Action.LOGOUT: (_B, _M, _B, _B),
    Action.END: (_B, _M, _B, _B),
    Action.PURGE: (_B, _B, _B, _B),
}

#: They change nothing.
READING = frozenset({Action.READ, Action.TOUCH})
#: They use the session, and leave it under its key.
USING = READING | {Action.SAVE, Action.NESTED, Action.DELETE_ENTRY}
#: They give the session a new key, to which the old one does not lead.
MOVING = frozenset({Action.CYCLE, Action.LOGIN, Action.RELOGIN})
#: They say whose session it is.
LOGINS = frozenset({Action.LOGIN, Action.RELOGIN})
#: They end the session, and do that at once; everything else is stored with the response.
ENDING = frozenset({Action.LOGOUT, Action.END, Action.PURGE})
#: They are no requests of the session's client.
SILENT = frozenset({Action.END, Action.PURGE})


def deed(first: Action) -> Deed:
    """Return what *first* does to the session, as far as a second request is concerned."""
    if first in USING:
        return Deed.STAYED
    if first in MOVING:
        return Deed.MOVED
    return Deed.EXPIRED if first is Action.PURGE else Deed.ENDED


def fate(second: Action, done: Deed, *, is_late: bool) -> Fate:
    """Return what becomes of *second*."""
    return (LATE if is_late else UNDER_WAY)[second][list(Deed).index(done)]


def as_markdown() -> str:
    """Return the tables as the reference shows them."""
    actions = [[action.value, PLAYED[action], ALONE[action].value] for action in Action]
    meanings = [[f"**{fate.value}**", MEANING[fate]] for fate in Fate]
    return "\n".join(
        [
            "## What is played\n",
            *_table(["the request", "is played so", "its cookie, alone"], actions),
            "\n## A second request that was under way\n",
            *_table(["the second", *(done.value for done in Deed)], _rows(UNDER_WAY)),
            "\n## A second request that comes late\n",
            *_table(["the second", *(done.value for done in Deed)], _rows(LATE)),
            "\n## What the words mean\n",
            *_table(["word", "what becomes of the second"], meanings),
            "",
        ]
    )


def _rows(table: Mapping[Action, Row]) -> list[list[str]]:
    return [[action.value, *(fate.value for fate in row)] for action, row in table.items()]


def _table(head: list[str], rows: Iterable[list[str]]) -> list[str]:
    lines = [head, *rows]
    drawn = ["| " + " | ".join(cells) + " |" for cells in lines]
    return [drawn[0], "|" + "---|" * len(head), *drawn[1:]]
