"""Session entries ↔ the body that `signing` signs: serialize, then compress what is worth it."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from typing import Any, Protocol

from django_multisession.core import encryption
from django_multisession.core.encryption import Ring
from django_multisession.core.errors import (
    BadPayload,
    EntryNotSerializable,
    OutageKind,
    SessionTooLarge,
    StoreUnavailable,
)
from django_multisession.core.secret import SecretBytes

_PLAIN = b"\x00"
_DEFLATED = b"\x01"
#: What an encrypted body begins with. It isn't deflated: its length would tell what it holds (CRIME).
ENCRYPTED = b"\x02"

#: Bodies shorter than this are stored as they are: deflating them costs time and saves no packet.
COMPRESSION_THRESHOLD = 1024

#: How many entries an error names of a session that is too large.
BIGGEST_NAMED = 3

#: What inflating may yield at most, in bytes. Larger than any ``MULTISESSION_MAX_SIZE``, so that
#: lowering the setting leaves stored sessions readable; bounded, because bytes lie (zip bombs).
INFLATED_LIMIT = 16 * 1024 * 1024


class Serializer(Protocol):
    """What ``SESSION_SERIALIZER`` names."""

    def dumps(self, obj: Any, /) -> bytes:
        """Return *obj* as bytes."""

    def loads(self, data: bytes, /) -> Any:
        """Return what `dumps` was given."""


class CompactJSON:
    """What Django's ``JSONSerializer`` does, with an encoder and a decoder that are made once."""

    def dumps(self, obj: Any, /) -> bytes:
        """See Serializer.dumps()."""
        return _encode(obj).encode("latin-1")

    def loads(self, data: bytes, /) -> Any:
        """See Serializer.loads()."""
        text = data.decode("latin-1")
        try:
            value, end = _decode(text)
        except ValueError:
            end = None
        # Other serializers of the site may have put white space around it.
        return value if end == len(text) else json.loads(text)


_encode = json.JSONEncoder(separators=(",", ":")).encode
_decode = json.JSONDecoder().raw_decode


def serialize(entries: Mapping[str, Any], serializer: Serializer) -> bytes:
    """Return *entries* as bytes.

    Raises:
        EntryNotSerializable: The serializer cannot take one of the entries.
    """
    try:
        serialized = serializer.dumps(dict(entries))
    except Exception:  # noqa: BLE001  (whatever a serializer raises)
        serialized = None
    # Raised out here: the frames behind the serializer's own error hold the entries, and an error
    # page shows what frames hold. So does this frame, until it lets go of them.
    if serialized is None:
        refusal = _not_serializable(entries, serializer)
        del entries
        raise refusal
    return serialized


def require_size(
    serialized: bytes,
    entries: Mapping[str, Any],
    serializer: Serializer,
    max_size: int,
    reason: str = "MULTISESSION_MAX_SIZE",
) -> None:
    """Refuse *entries* that take more than *max_size* bytes as *serialized*.

    Raises:
        SessionTooLarge: They do; names the biggest, and the *reason* for the limit.
    """
    size = len(serialized)
    if size <= max_size:
        return
    refusal = too_large(size, f"{max_size} bytes, {reason}", entries, serializer)
    # An error page shows what frames hold.
    del serialized, entries
    raise refusal


def too_large(
    size: int, limit: str, entries: Mapping[str, Any], serializer: Serializer
) -> SessionTooLarge:
    """Return the refusal of *entries*, whose *size* is above *limit*; it names the biggest."""
    sizes = {name: len(serializer.dumps({name: value})) for name, value in entries.items()}
    biggest = sorted(sizes, key=sizes.__getitem__, reverse=True)[:BIGGEST_NAMED]
    named = ", ".join(f"{name!r} with {sizes[name]} bytes" for name in biggest)
    return SessionTooLarge(
        f"A session must be at most {limit} (got {size}). "
        f"Its biggest {'entry is' if len(biggest) == 1 else 'entries are'} {named}."
    )


def deserialize(serialized: bytes, serializer: Serializer) -> dict[str, Any]:
    """Return the entries in *serialized*.

    Raises:
        BadPayload: The serializer cannot read it, or reads something other than a dict.
    """
    try:
        entries = serializer.loads(serialized)
    except Exception as error:
        # Whatever a serializer raises (pickle: anything at all), the site must not fall over it.
        raise BadPayload(f"the serializer cannot read it ({type(error).__name__})") from error
    if not isinstance(entries, dict):
        raise BadPayload(f"expected a dict of entries (got {type(entries).__name__})")
    return entries


def plain(serialized: bytes) -> bytes:
    """Return *serialized* as a body that isn't deflated, whatever its length."""
    return _PLAIN + serialized


def compress(serialized: bytes) -> bytes:
    """Return *serialized* as a body: deflated if that is worth it, behind a byte that says so."""
    if len(serialized) >= COMPRESSION_THRESHOLD:
        deflated = zlib.compress(serialized)
        if len(deflated) < len(serialized):
            return _DEFLATED + deflated
    return _PLAIN + serialized


def decompress(body: bytes) -> bytes:
    """Return what `compress` was given.

    Raises:
        BadPayload: *body* was not made by `compress`, or inflates to more than `INFLATED_LIMIT`.
    """
    kind, rest = body[:1], body[1:]
    if kind == _PLAIN:
        return rest
    if kind != _DEFLATED:
        raise BadPayload("unknown compression")
    inflater = zlib.decompressobj()
    try:
        serialized = inflater.decompress(rest, INFLATED_LIMIT)
    except zlib.error as error:
        raise BadPayload("it does not inflate") from error
    if not inflater.eof or inflater.unused_data:
        raise BadPayload("it is cut short, has something behind it, or inflates to too much")
    return serialized


def encrypt(serialized: bytes, ring: Ring, context: bytes) -> bytes:
    """Return *serialized* as a body that only the key of *ring* that writes opens, for *context*."""
    return ENCRYPTED + encryption.encrypt(serialized, ring, context)


def decrypt(body: bytes, ring: Ring, context: bytes) -> SecretBytes:
    """Return what `encrypt` was given.

    Raises:
        BadPayload: *body* was changed, or made for another context, or its key was removed.
        StoreUnavailable: A key that this process doesn't know encrypted it.
    """
    found = encryption.decrypt(body[len(ENCRYPTED) :], ring, context)
    if isinstance(found, encryption.Decrypted):
        return found.value
    if found is encryption.Refusal.UNKNOWN_KEY:
        # To call it no session would log its client out.
        raise StoreUnavailable(
            "A session record was encrypted by a key that this process doesn't know. Is it in "
            "MULTISESSION_ENCRYPTION_KEYS everywhere yet? Set a key that was removed to None.",
            OutageKind.UNKNOWN_FORMAT,
        )
    raise BadPayload(found.value)


def _not_serializable(entries: Mapping[str, Any], serializer: Serializer) -> EntryNotSerializable:
    culprit = "(all of them together)"
    for name, value in entries.items():
        try:
            serializer.dumps({name: value})
        except Exception as error:  # noqa: BLE001  (whatever a serializer raises)
            culprit = f"{name!r}"
            found = f"{type(value).__name__}: {type(error).__name__}"
            break
    else:
        found = "no single one is at fault"
    return EntryNotSerializable(
        f"Session entry {culprit} must be something that SESSION_SERIALIZER can take (got {found})."
    )
