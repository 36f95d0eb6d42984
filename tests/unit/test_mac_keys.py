from __future__ import annotations

import copy
import hmac
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_multisession.core.secret import MacKey, SecretBytes


@given(key=st.binary(max_size=64), message=st.binary(max_size=300))
def test_a_digest_is_the_standard_librarys(key: bytes, message: bytes) -> None:
    prepared = MacKey(key)
    for _ in range(2):
        assert prepared.digest(message) == hmac.digest(key, message, "sha256")


def test_a_key_longer_than_a_block_is_refused() -> None:
    # RFC 2104 would have it hashed first; ours are digests.
    with pytest.raises(ValueError, match=r"at most 64 bytes \(got 65\)"):
        MacKey(bytes(65))


def test_a_key_is_bytes_that_do_not_show_themselves() -> None:
    key = MacKey(b"hunter2")
    assert isinstance(key, SecretBytes)
    assert key == b"hunter2"
    assert "hunter2" not in f"{key!r} {key} {vars(key)}"


def test_a_copy_signs_as_the_key_does() -> None:
    key = MacKey(b"hunter2")
    for each in (copy.copy(key), copy.deepcopy(key), pickle.loads(pickle.dumps(key))):
        assert each.digest(b"message") == key.digest(b"message")
