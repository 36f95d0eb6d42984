"""Values that do not show themselves: error reporters show the locals of every frame."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


class SecretBytes(bytes):
    """Bytes of a key. No text that is made of them holds them."""

    __slots__ = ()

    def __repr__(self) -> str:
        """Return how many there are."""
        return f"<{len(self)} secret bytes>"

    # That of bytes does not ask the subclass.
    __str__ = __repr__


class SecretEntries(dict[str, Any]):
    """Entries of a session. No text that is made of them holds them."""

    __slots__ = ()

    def __repr__(self) -> str:
        """Return how many there are."""
        return f"<{len(self)} session entries>"

    __str__ = __repr__


class SecretOptions(Mapping[str, Any]):
    """Options of a client. No text that is made of them holds a value, such as a password."""

    __slots__ = ("_options",)

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        self._options = dict(options or {})

    def __getitem__(self, name: str) -> Any:
        return self._options[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._options)

    def __len__(self) -> int:
        return len(self._options)

    def __repr__(self) -> str:
        """Return how many there are."""
        return f"<{len(self)} options>"
