"""The dict behind ``request.session``: remembers which mutable values it handed out.

Django sees ``session["cart"] = [...]`` and misses ``session["cart"].append(...)``. Here a mutable
value is serialized when it is first handed out, and again when somebody asks whether the session
changed. A page that reads plain values (strings, numbers) pays nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_PLAIN_TYPES = (str, int, float, bool, bytes, type(None))


class Entries(dict[str, Any]):
    """Entries as loaded from a store.

    Args:
        entries: Name → value.
        fingerprint: Serializes one entry; equal bytes mean that nothing changed.
    """

    def __init__(
        self, entries: dict[str, Any], fingerprint: Callable[[dict[str, Any]], bytes]
    ) -> None:
        super().__init__(entries)
        self._fingerprint = fingerprint
        self._handed_out: dict[str, bytes | None] = {}

    def has_nested_change(self) -> bool:
        """Did a mutable value change after it was handed out?

        A value that cannot be serialized counts as changed: the save tells the reason.
        """
        return any(
            before is None or self._fingerprint_of(name) != before
            for name, before in self._handed_out.items()
        )

    def rebase(self) -> None:
        """Count every change until now as saved; what was handed out stays watched."""
        self._handed_out = {
            name: self._fingerprint_of(name) for name in self._handed_out if name in self
        }

    def __repr__(self) -> str:
        """Tell how many there are: error pages show the reprs of locals."""
        return f"<{len(self)} session entries>"

    def __getitem__(self, name: str) -> Any:
        value = super().__getitem__(name)
        if not isinstance(value, _PLAIN_TYPES):
            self._watch(name)
        return value

    def get(self, name: str, default: Any = None) -> Any:
        """See dict.get()."""
        return self[name] if name in self else default  # noqa: SIM401  (it would call itself)

    def values(self) -> Any:
        """See dict.values()."""
        self._watch_all()
        return super().values()

    def items(self) -> Any:
        """See dict.items()."""
        self._watch_all()
        return super().items()

    def _watch_all(self) -> None:
        for name in self:
            self[name]

    def _watch(self, name: str) -> None:
        if name not in self._handed_out:
            self._handed_out[name] = self._fingerprint_of(name)

    def _fingerprint_of(self, name: str) -> bytes | None:
        """Return None for a value that cannot be serialized: changed, and the save tells why."""
        try:
            return self._fingerprint({name: super().__getitem__(name)})
        except Exception:  # noqa: BLE001  (whatever a serializer raises)
            return None
