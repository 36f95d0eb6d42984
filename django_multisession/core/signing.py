"""Sign payloads: whoever can write to the store cannot make, move or lengthen a session.

A signed payload is one byte of envelope version, a 32-byte HMAC-SHA256 tag and the body. The tag
covers the version, the body and the `Binding`: a record copied under another key, or given another
start, deadline, idle age or owner in the store, doesn't open (CVE-2011-4136: session data in a
shared cache). An older copy put back under its own key does open; nothing in the record can tell.

Other versions (encryption) get other numbers; a failure is terminal and never falls back to a
weaker form (CVE-2026-39324).
"""

from __future__ import annotations

import dataclasses
import hmac
from collections.abc import Sequence
from datetime import datetime

from django_multisession.core.records import Record, to_milliseconds
from django_multisession.core.secret import SecretBytes
from django_multisession.exceptions import BadPayload

_SIGNED = b"\x01"
_TAG_LENGTH = 32
_PURPOSE = b"django_multisession.seal.1"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """What a payload is signed for: facts that stand beside it in the store, in clear."""

    storage_key: str
    created_at: datetime
    began_at: datetime
    idle_age: int | None
    hard_deadline_at: datetime | None
    user_id: str | None

    @classmethod
    def of(cls, storage_key: str, record: Record) -> Binding:
        """Return what the payload of *record* must be signed for, if it belongs under *storage_key*."""
        return cls(
            storage_key=storage_key,
            created_at=record.created_at,
            began_at=record.began_at,
            idle_age=record.idle_age,
            hard_deadline_at=record.hard_deadline_at,
            user_id=record.user_id,
        )

    def to_bytes(self) -> bytes:
        """Return the facts as bytes, each behind its length: two bindings never read the same."""
        facts = (
            self.storage_key,
            str(to_milliseconds(self.created_at)),
            str(to_milliseconds(self.began_at)),
            None if self.idle_age is None else str(self.idle_age),
            None if self.hard_deadline_at is None else str(to_milliseconds(self.hard_deadline_at)),
            self.user_id,
        )
        return b"".join(map(_length_prefixed, facts))


def derive(secret: bytes) -> SecretBytes:
    """Derive from *secret* (``SECRET_KEY``) the key that signs payloads and nothing else."""
    return SecretBytes(hmac.digest(secret, _PURPOSE, "sha256"))


def sign(body: bytes, binding: Binding, record_keys: Sequence[bytes]) -> bytes:
    """Return *body* signed for *binding* with the first of *record_keys*."""
    return _SIGNED + _tag(body, binding, record_keys[0]) + body


def verify(payload: bytes, binding: Binding, record_keys: Sequence[bytes]) -> tuple[bytes, bool]:
    """Return the body of *payload*, and whether a fallback and not the current key had signed it.

    Raises:
        BadPayload: *payload* is cut short, of an unknown version, or not signed for *binding* by
            any of *record_keys*.
    """
    version, tag, body = payload[:1], payload[1 : 1 + _TAG_LENGTH], payload[1 + _TAG_LENGTH :]
    if version != _SIGNED:
        raise BadPayload("unknown envelope version")
    for index, record_key in enumerate(record_keys):
        if hmac.compare_digest(tag, _tag(body, binding, record_key)):
            return body, index > 0
    raise BadPayload("the signature doesn't fit the record")


def _tag(body: bytes, binding: Binding, record_key: bytes) -> bytes:
    return hmac.digest(record_key, _SIGNED + binding.to_bytes() + body, "sha256")


def _length_prefixed(fact: str | None) -> bytes:
    if fact is None:
        return b"-"
    encoded = fact.encode("utf-8", "surrogatepass")
    return b"%d:%b" % (len(encoded), encoded)
