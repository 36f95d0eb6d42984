"""The dict behind ``request.session``: remembers what was written and what was handed out.

Django sees ``session["cart"] = [...]`` and misses ``session["cart"].append(...)``. Here a value that
can change in place is compared with the stored one when the session is asked whether it changed. A
page that reads plain values (strings, numbers) pays nothing for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Self

from django_multisession.core.secret import SecretEntries
from django_multisession.core.values import ABSENT, PLAIN_TYPES, is_same, is_same_plain

_NOT_GIVEN = object()
_SURE_TYPES = PLAIN_TYPES | {type(ABSENT)}


class Entries(dict[str, Any]):
    """Entries of one session, as a request reads and changes them.

    Attributes:
        clock: Grows with every write, so that a save knows which writes it covers.
        written: Name → when it was last set or deleted, since the last acknowledged save.
        handed_out: Names of values that can change in place and may be held by code.
        replaced: Name → the plain value (or its absence) that the first write since then replaced.
        cleared_at: When `cleared` made this, until a save has stored it.
    """

    __slots__ = ("cleared_at", "clock", "handed_out", "replaced", "written")

    def __init__(self, entries: Mapping[str, Any] | Iterable[tuple[str, Any]] = ()) -> None:
        super().__init__(entries)
        self.clock = 0
        self.written: dict[str, int] = {}
        self.handed_out: set[str] = set()
        self.replaced: dict[str, Any] = {}
        self.cleared_at: int | None = None

    @classmethod
    def cleared(cls) -> Entries:
        """Return no entries, in place of every stored one."""
        entries = cls()
        entries.clock = entries.cleared_at = 1
        return entries

    def go_on_from(self, earlier: Entries) -> None:
        """Count later than *earlier*: a save of those covers no write of these."""
        self.clock += earlier.clock + 1
        self.written = dict.fromkeys(self.written, self.clock)
        if self.cleared_at is not None:
            self.cleared_at = self.clock

    @property
    def has_writes(self) -> bool:
        """Was an entry set or deleted since the last acknowledged save?"""
        return bool(self.written) or self.cleared_at is not None

    @property
    def touched(self) -> set[str]:
        """Names of the entries that were written or handed out: no other one can have changed."""
        return {*self.written, *self.handed_out}

    @property
    def is_surely_changed(self) -> bool:
        """Was a plain value replaced by another one? False means that a closer look is needed."""
        for name, before in self.replaced.items():
            now = dict.get(self, name, ABSENT)
            if (
                now is not before
                and type(now) in _SURE_TYPES
                and type(name) is str
                and not is_same_plain(now, before)
            ):
                return True
        return False

    def has_nested_change(self, stored: Mapping[str, Any]) -> bool:
        """Did a value change in place since it was *stored*?"""
        return any(
            not is_same(stored.get(name, _NOT_GIVEN), super(Entries, self).get(name, _NOT_GIVEN))
            for name in self.handed_out
            if name not in self.written
        )

    def note_saved(self, clock: int) -> None:
        """Count every write until *clock* as saved; values that can change stay watched."""
        self.replaced.clear()
        for name, written_at in list(self.written.items()):
            if written_at <= clock:
                del self.written[name]
                if type(dict.get(self, name)) not in PLAIN_TYPES:
                    self.handed_out.add(name)
        if self.cleared_at is not None and self.cleared_at <= clock:
            self.cleared_at = None

    def plain(self) -> SecretEntries:
        """Return a copy that watches nothing."""
        return SecretEntries(self)

    def take(self, entries: Mapping[str, Any]) -> None:
        """Hold *entries* from now on, in place: code may hold this dict. No write is noted."""
        self.replaced.clear()
        super().clear()
        super().update(entries)
        self.handed_out &= self.keys()

    def __reduce__(self) -> Any:
        """Restore what was noted before any entry is set."""
        state = {name: getattr(self, name) for name in self.__slots__}
        return _restored, (dict(self), state)

    def __repr__(self) -> str:
        """Return how many there are: error pages show the reprs of locals."""
        return f"<{len(self)} session entries>"

    # Reading

    def __getitem__(self, name: str) -> Any:
        value = super().__getitem__(name)
        if type(value) not in PLAIN_TYPES:
            self.handed_out.add(name)
        return value

    def get(self, name: str, default: Any = None) -> Any:
        """See dict.get()."""
        value = super().get(name, _NOT_GIVEN)
        if value is _NOT_GIVEN:
            return default
        if type(value) not in PLAIN_TYPES:
            self.handed_out.add(name)
        return value

    def values(self) -> Any:
        """See dict.values()."""
        self._hand_out_all()
        return super().values()

    def items(self) -> Any:
        """See dict.items()."""
        self._hand_out_all()
        return super().items()

    def _hand_out_all(self) -> None:
        self.handed_out.update(
            name for name, value in super().items() if type(value) not in PLAIN_TYPES
        )

    # Writing

    # An entry changes first and is noted then: what a save of another thread finds in between is
    # saved once more, and not taken for saved.

    def _note_write(self, name: str, before: Any) -> None:
        """Note that *name* was set or deleted; *before* is what it was."""
        self.clock += 1
        if name not in self.written and type(before) in _SURE_TYPES:
            self.replaced[name] = before
        self.written[name] = self.clock

    def __setitem__(self, name: str, value: Any) -> None:
        before = super().get(name, ABSENT)
        super().__setitem__(name, value)
        self._note_write(name, before)

    def __delitem__(self, name: str) -> None:
        before = super().get(name, ABSENT)
        super().__delitem__(name)
        self._note_write(name, before)

    def pop(self, name: str, *default: Any) -> Any:
        """See dict.pop()."""
        is_there, before = name in self, super().get(name, ABSENT)
        value = super().pop(name, *default)
        if is_there:
            self._note_write(name, before)
        return value

    def popitem(self) -> tuple[str, Any]:
        """See dict.popitem()."""
        name, value = super().popitem()
        self._note_write(name, value)
        return name, value

    def setdefault(self, name: str, default: Any = None) -> Any:
        """See dict.setdefault()."""
        if name not in self:
            self[name] = default
        return self[name]

    def update(self, *others: Any, **more: Any) -> None:
        """See dict.update()."""
        given = dict(*others, **more)
        if not self and not self.written:
            # A new session's first entries: noted at one stroke.
            super().update(given)
            self.clock += 1
            self.written.update(dict.fromkeys(given, self.clock))
            self.replaced.update(dict.fromkeys(given, ABSENT))
            return
        before = {name: dict.get(self, name, ABSENT) for name in given}
        super().update(given)
        for name, value in before.items():
            self._note_write(name, value)

    def __ior__(self, other: Any) -> Self:  # type: ignore[override,misc]  # dict's own overloads
        self.update(other)
        return self

    def clear(self) -> None:
        """See dict.clear()."""
        for name in list(self):
            del self[name]


def _restored(entries: dict[str, Any], state: dict[str, Any]) -> Entries:
    restored = Entries(entries)
    for name, value in state.items():
        setattr(restored, name, value)
    return restored
