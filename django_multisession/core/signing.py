"""Sign records, so that a writer in the store can't make, move or lengthen a session.

The tag (HMAC-SHA256) covers the storage key, the namespace and the record from its revision on: a
record copied under another key or to another site, or given another start, deadline, idle age, owner
or lineage in the store, doesn't open (CVE-2011-4136: session data in a shared cache). Not covered are
the last use and the end that follows from it, which a touch moves. An older copy put back under its
own key does open, because nothing in the record distinguishes it.

A failure is terminal and never falls back to a weaker form (CVE-2026-39324).
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping

from django_multisession.core.errors import BadPayload, OutageKind, StoreUnavailable
from django_multisession.core.records import (
    RECORD_HEAD,
    SIGNED_FROM,
    Facts,
    Record,
    assemble,
    encode_signed,
)
from django_multisession.core.secret import MacKey, SecretBytes

_PURPOSE = b"django_multisession.record.1"
_ID_LENGTH = 4

#: Key by its id, the current one first, then the fallbacks.
RecordKeys = Mapping[bytes, MacKey]


def derive(secret: bytes) -> MacKey:
    """Derive from *secret* (``SECRET_KEY``) the key that signs records and nothing else."""
    return MacKey(hmac.digest(secret, _PURPOSE, "sha256"))


def by_id(record_keys: tuple[MacKey, ...]) -> RecordKeys:
    """Return each of *record_keys* under its id, which reveals nothing of it."""
    return {key.digest(b"id")[:_ID_LENGTH]: key for key in record_keys}


def binding(namespace: str) -> bytes:
    """Return what is signed of *namespace* and of the record's kind and version."""
    encoded = namespace.encode("utf-8", "surrogatepass")
    return b"%d:%b%b" % (len(encoded), encoded, RECORD_HEAD)


def sign(
    facts: Facts,
    payload: bytes,
    storage_key: str,
    binding: bytes,
    record_keys: RecordKeys,
    before: Record | None = None,
    revision: bytes | None = None,
) -> Record:
    """Return the record of *facts* and *payload* under *storage_key*, written over *before*.

    The write's *revision* is drawn, unless it's given.
    """
    for key_id, record_key in record_keys.items():
        # An error page shows what frames hold.
        signed = SecretBytes(encode_signed(facts, payload, key_id, before, revision))
        tag = record_key.digest(storage_key.encode() + binding + signed)
        return assemble(facts, tag, signed)
    raise ValueError("there is no key to sign a record with")


def verify(record: Record, storage_key: str, binding: bytes, record_keys: RecordKeys) -> MacKey:
    """Return the key that signed *record* for *storage_key*.

    Raises:
        BadPayload: None did, or not for this place.
        StoreUnavailable: A key that this process doesn't know did: a deployment changes
            ``SECRET_KEY``, and its new part writes what its old part can't read.
    """
    record_key = record_keys.get(record.key_id)
    if record_key is None:
        raise StoreUnavailable(
            "A session record was signed by a key that this process doesn't know. Is a new "
            "SECRET_KEY deployed that is not in SECRET_KEY_FALLBACKS everywhere yet?",
            OutageKind.UNKNOWN_FORMAT,
        )
    tag = record_key.digest(storage_key.encode() + binding + record.raw[SIGNED_FROM:])
    if not hmac.compare_digest(record.signature, tag):
        raise BadPayload("the signature doesn't fit the record")
    return record_key


def is_current(record: Record, record_keys: RecordKeys) -> bool:
    """Was *record* signed by the current key, and not by a fallback?"""
    return next(iter(record_keys), b"") == record.key_id
