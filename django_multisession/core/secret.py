"""Values that do not show themselves: error reporters show the locals of every frame."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, Self, TypeVar

_Error = TypeVar("_Error", bound=BaseException)

_BLOCK = 64
_INNER_PAD = bytes(byte ^ 0x36 for byte in range(256))
_OUTER_PAD = bytes(byte ^ 0x5C for byte in range(256))


class SecretBytes(bytes):
    """Bytes of a key. No text that is made of them holds them."""

    __slots__ = ()

    def __repr__(self) -> str:
        """Return how many there are."""
        return f"<{len(self)} secret bytes>"

    # That of bytes does not ask the subclass.
    __str__ = __repr__


class SecretText(str):
    """A secret as text. No repr holds it."""

    __slots__ = ()

    def __repr__(self) -> str:
        """Return how long it is."""
        return f"<{len(self)} secret characters>"


class MacKey(SecretBytes):
    """A key of HMAC-SHA256, prepared: what depends on the key alone is computed once.

    RFC 2104, section 4, describes it. `hmac.digest` computes it for every message, which costs more
    than the messages that are signed here.
    """

    _inner: Any
    _outer: Any

    def __new__(cls, key: bytes) -> Self:
        """Prepare *key*, of at most a block of SHA-256 (64 bytes).

        Raises:
            ValueError: It is longer.
        """
        if len(key) > _BLOCK:
            raise ValueError(f"a key must be at most {_BLOCK} bytes (got {len(key)})")
        made = super().__new__(cls, key)
        made._inner = hashlib.sha256(key.ljust(_BLOCK, b"\0").translate(_INNER_PAD))
        made._outer = hashlib.sha256(key.ljust(_BLOCK, b"\0").translate(_OUTER_PAD))
        return made

    def digest(self, message: bytes) -> bytes:
        """Return the HMAC-SHA256 of *message*."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(message)
        outer.update(inner.digest())
        tag: bytes = outer.digest()
        return tag

    def __reduce__(self) -> tuple[type[Self], tuple[bytes]]:
        """Have a copy prepare itself."""
        return type(self), (bytes(bytearray(self)),)


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


def without_frames(error: _Error) -> _Error:
    """Return *error* without the frames that it passed, and without what it was raised from.

    They are those of code that is given a secret as it is. Raise it after the handler, not in it.
    """
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)
