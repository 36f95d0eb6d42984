"""An encrypted value opens whole, under its own context and key, or it is an answer that it doesn't."""

from __future__ import annotations

import hmac

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import assume, given
from hypothesis import strategies as st

from django_multisession.core.encryption import (
    OVERHEAD,
    Decrypted,
    Refusal,
    Ring,
    context,
    decrypt,
    derive,
    encrypt,
    id_of,
    ring_of,
)
from django_multisession.core.secret import SecretBytes
from django_multisession.testing.rows import for_each

CURRENT, FALLBACK = derive(b"now"), derive(b"before")
RING, BEFORE, BOTH = ring_of((CURRENT,)), ring_of((FALLBACK,)), ring_of((CURRENT, FALLBACK))
COOKIE = context(b"cookie", b"sessionid")
VALUE = SecretBytes(b'{"cart":[1,2,3]}')


@given(st.binary(max_size=200))
def test_a_value_opens_as_it_was_encrypted(value: bytes) -> None:
    encrypted = encrypt(value, RING, COOKIE)
    assert decrypt(encrypted, RING, COOKIE) == Decrypted(SecretBytes(value), is_current=True)
    assert len(encrypted) == len(value) + OVERHEAD


def test_equal_values_are_encrypted_to_different_ones() -> None:
    assert len({encrypt(VALUE, RING, COOKIE) for _ in range(100)}) == 100


def test_a_value_is_encrypted_by_aes_256_gcm_under_a_subkey_of_its_context() -> None:
    encrypted = encrypt(VALUE, RING, COOKIE)
    head, salt, nonce, rest = encrypted[:5], encrypted[5:17], encrypted[17:29], encrypted[29:]
    master = hmac.digest(b"now", b"django_multisession.encryption.1", "sha256")
    subkey = hmac.digest(master, b"6:cookie9:sessionid" + salt, "sha256")
    assert AESGCM(subkey).decrypt(nonce, rest, head) == VALUE
    with pytest.raises(InvalidTag):
        AESGCM(master).decrypt(nonce, rest, head)


def test_no_byte_of_an_encrypted_value_can_be_changed_added_or_taken() -> None:
    encrypted = encrypt(VALUE, RING, COOKIE)
    for at in range(len(encrypted)):
        for bit in (1, 0x80):
            changed = bytearray(encrypted)
            changed[at] ^= bit
            assert isinstance(decrypt(bytes(changed), RING, COOKIE), Refusal)
        assert isinstance(decrypt(encrypted[:at], RING, COOKIE), Refusal)
    assert decrypt(encrypted + b"\0", RING, COOKIE) is Refusal.DAMAGED


@given(st.binary(max_size=100))
def test_what_was_never_encrypted_is_refused(value: bytes) -> None:
    assert isinstance(decrypt(value, BOTH, COOKIE), Refusal)


parts = st.lists(st.binary(max_size=4), max_size=3)


@given(parts, parts)
def test_a_value_opens_under_no_other_context(one: list[bytes], other: list[bytes]) -> None:
    assume(one != other)
    assert context(*one) != context(*other)
    assert decrypt(encrypt(VALUE, RING, context(*one)), RING, context(*other)) is Refusal.DAMAGED


def test_a_fallback_opens_what_it_encrypted_and_encrypts_nothing() -> None:
    encrypted = encrypt(VALUE, BEFORE, COOKIE)
    assert decrypt(encrypted, BOTH, COOKIE) == Decrypted(VALUE, is_current=False)
    assert decrypt(encrypt(VALUE, BOTH, COOKIE), RING, COOKIE) == Decrypted(VALUE, is_current=True)


def test_what_an_unknown_or_a_removed_key_encrypted_is_told_apart() -> None:
    encrypted = encrypt(VALUE, BEFORE, COOKIE)
    assert decrypt(encrypted, RING, COOKIE) is Refusal.UNKNOWN_KEY
    assert BEFORE.writes is not None
    removed = Ring({BEFORE.writes: None, **RING.keys}, RING.writes)
    assert decrypt(encrypted, removed, COOKIE) is Refusal.REMOVED_KEY


def test_another_key_under_the_same_id_opens_nothing() -> None:
    name = id_of("2026-11")
    encrypted = encrypt(VALUE, Ring({name: CURRENT}, name), COOKIE)
    assert decrypt(encrypted, Ring({name: FALLBACK}, name), COOKIE) is Refusal.DAMAGED


@for_each("ring", [ring_of(()), Ring(RING.keys, None), Ring({b"gone": None}, b"gone")])
def test_nothing_is_encrypted_without_a_key_that_writes(ring: Ring) -> None:
    with pytest.raises(ValueError, match="no key"):
        encrypt(VALUE, ring, COOKIE)


def test_no_text_of_a_ring_or_of_a_decrypted_value_holds_them() -> None:
    found = decrypt(encrypt(VALUE, RING, COOKIE), RING, COOKIE)
    assert "cart" not in f"{found!r} {found}"
    assert bytes(CURRENT).hex() not in f"{RING!r}"
    assert repr(bytes(CURRENT)) not in f"{RING!r}"
