"""Nothing that was changed in the store opens, but what a touch changes."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from django_multisession.core import keys, records, signing
from django_multisession.core.records import (
    NEVER,
    SIGNED_FROM,
    Facts,
    Record,
    Unreadable,
    decode,
    touched,
)
from django_multisession.core.secret import SecretBytes
from django_multisession.core.signing import binding, by_id, derive, is_current, sign, verify
from django_multisession.exceptions import BadPayload, OutageKind, StoreUnavailable
from django_multisession.testing.rows import for_each
from django_multisession.testing.stored_records import changed, facts_of, next_write

CURRENT, FALLBACK, OTHERS = (derive(secret) for secret in (b"now", b"before", b"elsewhere"))
KEYS = by_id((CURRENT,))
BOTH = by_id((CURRENT, FALLBACK))
KEY = hashlib.sha256(b"random part").hexdigest()[:32]
OTHER_KEY = hashlib.sha256(b"another").hexdigest()[:32]
SITE = binding("")
NOW, MINUTE, DAY = 1_767_268_800_000, 60_000, 86_400_000
BODY = b'\x00{"cart":[1,2,3]}'
FACTS = Facts(
    created_ms=NOW - MINUTE,
    began_ms=NOW,
    touched_ms=NOW,
    idle_ms=60 * MINUTE,
    deadline_ms=NOW + 30 * DAY,
    user=b"7",
    authenticated_ms=NOW,
    series=b"twelve bytes",
)
#: Each fact changed as an attacker who can write to the store would like it, and by the least.
CHANGED: dict[str, list[object]] = {
    "created_ms": [FACTS.created_ms - 1, NOW],
    "began_ms": [NOW + 1, NOW + DAY],
    "idle_ms": [FACTS.idle_ms + 1, 10 * FACTS.idle_ms, 0, -FACTS.idle_ms, NEVER],
    "deadline_ms": [FACTS.deadline_ms + 1, FACTS.deadline_ms + DAY, NEVER],
    "user": [b"8", b"07", b"", b"7 ", None],
    "authenticated_ms": [NOW + 1, NOW + DAY, NEVER],
    "series": [bytes(12), b"twelve byteS"],
}

namespaces = st.text("0123:-", max_size=6) | st.text(
    st.characters(exclude_categories=()), max_size=6
)
storage_keys = st.text("0123456789abcdef", min_size=32, max_size=32)
ages_ms = st.just(NEVER) | st.integers(-(10**15), 10**15)
facts = st.builds(
    Facts,
    created_ms=st.integers(0, 10**13),
    began_ms=st.integers(0, 10**13),
    touched_ms=st.integers(0, 10**13),
    idle_ms=ages_ms,
    deadline_ms=st.just(NEVER) | st.integers(0, 10**13),
    user=st.none() | st.binary(max_size=10),
    authenticated_ms=st.just(NEVER) | st.integers(0, 10**13),
    series=st.binary(min_size=12, max_size=12),
)


def signed(given_facts: Facts = FACTS, body: bytes = BODY, **others: Any) -> Record:
    arguments = {"storage_key": KEY, "binding": SITE, "record_keys": KEYS, **others}
    return sign(given_facts, body, **arguments)


def opens(record: Record, **others: Any) -> bool:
    """Does *record* open where it was stored?"""
    arguments = {"storage_key": KEY, "binding": SITE, "record_keys": KEYS, **others}
    try:
        verify(record, **arguments)
    except BadPayload:
        return False
    return True


def record_of(raw: bytes) -> Record:
    record = decode(raw)
    assert isinstance(record, Record)
    return record


RECORD = signed()
RAW = bytes(RECORD.raw)


@given(given_facts=facts, body=st.binary(max_size=100), key=storage_keys, namespace=namespaces)
def test_what_is_signed_opens_as_it_is_stored(
    given_facts: Facts, body: bytes, key: str, namespace: str
) -> None:
    place = {"storage_key": key, "binding": binding(namespace), "record_keys": KEYS}
    found = record_of(bytes(signed(given_facts, body, **place).raw))
    assert opens(found, **place)
    assert (facts_of(found), found.payload) == (given_facts, body)


def test_a_record_names_the_write_that_it_went_over() -> None:
    later = signed(before=RECORD)
    assert later.holds(RECORD)
    assert opens(later)


def test_the_tag_is_an_hmac_sha256_over_place_namespace_version_and_record() -> None:
    record_key = hmac.new(b"now", b"django_multisession.record.1", hashlib.sha256).digest()
    for namespace, encoded in (("", b"0:"), ("shop", b"4:shop"), ("ä", b"2:\xc3\xa4")):
        record = signed(binding=binding(namespace))
        message = KEY.encode() + encoded + b"\xd5\x01\x01" + record.raw[51:]
        assert record.signature == hmac.new(record_key, message, hashlib.sha256).digest()


def test_a_keys_id_is_made_of_the_key_alone() -> None:
    record_key = hmac.new(b"now", b"django_multisession.record.1", hashlib.sha256).digest()
    assert RECORD.key_id == hmac.new(record_key, b"id", hashlib.sha256).digest()[:4]
    assert list(BOTH.values()) == [CURRENT, FALLBACK]
    assert len(by_id((CURRENT, CURRENT))) == 1


def test_a_record_that_was_signed_by_an_earlier_release_opens() -> None:
    # Pinned: another signature under the same version would end every session at an upgrade.
    raw = bytes.fromhex(
        "d501010000019b796ec0600000019b796dd600"
        "d34fbafb73900bfce0a2393210a9abfa45149de4eab1c7542c476a9c587d4a70"
        "aaaaaaaaaaaaaaaabbbbbbbbbbbbbbbb00000000000000000000000000000000"
        "0000003e160a326a0000019b7936e7800000019b796dd6000020000000000000000000000000ea60"
        "0000019b796dd60073657269657320696430313200000002"
        "34327061796c6f6164"
    )
    place = {"binding": binding("shop"), "record_keys": by_id((derive(b"secret"),))}
    assert opens(record_of(raw), storage_key="0123456789abcdef" * 2, **place)


# Changed in the store


@for_each(
    ("fact", "value"), [(fact, value) for fact, values in CHANGED.items() for value in values]
)
def test_a_record_with_another_fact_does_not_open(fact: str, value: object) -> None:
    assert not opens(record_of(bytes(changed(RECORD, **{fact: value}).raw)))


def test_every_fact_but_the_last_use_is_changed_above() -> None:
    assert set(Facts._fields) - set(CHANGED) == {"touched_ms"}


def test_a_record_with_another_payload_or_lineage_does_not_open() -> None:
    assert opens(changed(RECORD))
    assert not opens(changed(RECORD, payload=BODY + b" "))
    assert not opens(changed(RECORD, payload=b""))
    # The signature of what it was written over.
    assert not opens(next_write(RECORD))


@given(st.integers(0, 10**13))
def test_a_touched_record_opens(touched_ms: int) -> None:
    assert opens(touched(RECORD, touched_ms))


def test_a_record_with_any_bit_flipped_does_not_open() -> None:
    """Nor is it anybody's other record.

    A flipped version is a newer release's, a flipped key id another deployment's: these are outages,
    so that no client is logged out. A flipped end or last use doesn't fit the other one.
    """
    how: dict[str, set[int]] = {"unreadable": set(), "refused": set(), "unknown": set()}
    for bit in range(len(RAW) * 8):
        flipped = bytearray(RAW)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            record = record_of(bytes(flipped))
            verify(record, KEY, SITE, KEYS)
        except Unreadable:
            how["unreadable"].add(bit // 8)
        except BadPayload:
            how["refused"].add(bit // 8)
        except StoreUnavailable as error:
            kind = error.kind
            how["unknown" if kind is OutageKind.UNKNOWN_FORMAT else "other"].add(bit // 8)
        else:
            pytest.fail(f"bit {bit} may be flipped")
    key_id = set(range(87, 91))
    assert how["unknown"] == {1} | key_id
    # Mark, an older version, kind; end and last use; what the end follows from; lengths.
    ends = set(range(3, 19)) | set(range(107, 123))
    lengths = set(range(83, 87)) | set(range(143, 147))
    assert how["unreadable"] <= {0, 1, 2} | ends | lengths
    assert how["unreadable"] >= {0, 1, 2} | set(range(3, 19))
    assert how["refused"] >= set(range(19, len(RAW))) - key_id - ends - lengths


def test_a_last_use_and_an_end_that_fit_are_a_touch() -> None:
    later = (NOW + MINUTE).to_bytes(8, "big")
    ends = (NOW + MINUTE + FACTS.idle_ms).to_bytes(8, "big")
    assert opens(record_of(RAW[:3] + ends + later + RAW[19:]))


def test_no_touch_lengthens_a_record_past_its_deadline() -> None:
    used = touched(RECORD, FACTS.deadline_ms + 10 * DAY)
    assert used.ends_ms == FACTS.deadline_ms


def test_a_record_cut_short_at_any_length_does_not_open() -> None:
    for length in range(len(RAW)):
        try:
            record = record_of(RAW[:length])
        except Unreadable:
            continue
        assert not opens(record)


def test_a_record_with_a_byte_more_does_not_open() -> None:
    for longer in (RAW + b"\x00", RAW[:143] + b"\x00" + RAW[143:]):
        assert not opens(record_of(longer))


def test_the_tag_covers_kind_and_version() -> None:
    # Or a record of a weaker version to come would open as one of this version.
    for head in (b"", b"\xd5\x00\x01", b"\xd5\x02\x01", b"\xd5\x01\x02"):
        tag = hmac.digest(CURRENT, KEY.encode() + b"0:" + head + RAW[SIGNED_FROM:], "sha256")
        assert not opens(record_of(RAW[:19] + tag + RAW[51:]))
    assert SITE.endswith(records.RECORD_HEAD)


def test_the_signature_of_another_record_does_not_fit() -> None:
    other = signed(body=b"other")
    assert not opens(record_of(RAW[:19] + other.signature + RAW[51:]))


@for_each("signature", [bytes(32), b"\xff" * 32])
def test_a_record_without_a_signature_does_not_open(signature: bytes) -> None:
    assert not opens(record_of(RAW[:19] + signature + RAW[51:]))


# In another place


@for_each("storage_key", [OTHER_KEY, KEY.upper(), KEY[:-1], ""])
def test_a_record_under_another_storage_key_does_not_open(storage_key: str) -> None:
    assert not opens(RECORD, storage_key=storage_key)


@given(namespaces)
def test_a_record_of_another_namespace_does_not_open(namespace: str) -> None:
    assume(namespace)
    assert not opens(RECORD, binding=binding(namespace))
    assert not opens(signed(binding=binding(namespace)))


@given(one=namespaces, other=namespaces, tail=st.binary(max_size=4))
def test_different_namespaces_are_never_the_same_bytes(one: str, other: str, tail: bytes) -> None:
    # Whatever follows: neither may begin with the other.
    if one != other:
        assert not (binding(one) + tail).startswith(binding(other))


# Keys


def test_a_record_of_a_fallback_opens_and_is_not_current() -> None:
    of_fallback = signed(record_keys=by_id((FALLBACK,)))
    assert verify(of_fallback, KEY, SITE, BOTH) == FALLBACK
    assert not is_current(of_fallback, BOTH)
    assert is_current(of_fallback, by_id((FALLBACK, CURRENT)))


def test_a_record_is_signed_with_the_current_key() -> None:
    record = signed(record_keys=BOTH)
    assert is_current(record, BOTH)
    assert verify(record, KEY, SITE, KEYS) == CURRENT


@for_each("record_keys", [by_id((OTHERS,)), {}], ids=["others", "none"])
def test_a_record_of_an_unknown_key_is_an_outage_and_no_missing_record(
    record_keys: signing.RecordKeys,
) -> None:
    # A deployment that changes SECRET_KEY must not log out whom its new part logged in.
    with pytest.raises(StoreUnavailable, match="SECRET_KEY_FALLBACKS") as caught:
        verify(RECORD, KEY, SITE, record_keys)
    assert caught.value.kind is OutageKind.UNKNOWN_FORMAT
    assert not is_current(RECORD, record_keys)


def test_a_record_that_names_a_key_that_did_not_sign_it_does_not_open() -> None:
    fallback_id = next(iter(by_id((FALLBACK,))))
    assert not opens(record_of(RAW[:87] + fallback_id + RAW[91:]), record_keys=BOTH)


def test_an_id_that_two_keys_share_opens_nothing_for_the_other_key() -> None:
    assert not opens(RECORD, record_keys={RECORD.key_id: OTHERS})


def test_without_a_key_nothing_is_signed() -> None:
    with pytest.raises(ValueError, match=r"^there is no key to sign a record with$"):
        signed(record_keys={})


def test_the_record_key_is_neither_the_secret_nor_the_key_of_session_keys() -> None:
    assert len({b"now", derive(b"now"), keys.derive(b"now")}) == 3
    assert isinstance(derive(b"now"), SecretBytes)


def test_no_error_tells_anything_of_the_payload() -> None:
    record = signed(body=b"hunter2")
    for place in (
        {"storage_key": OTHER_KEY, "record_keys": KEYS},
        {"storage_key": KEY, "record_keys": by_id((OTHERS,))},
    ):
        with pytest.raises((BadPayload, StoreUnavailable)) as caught:
            verify(record, binding=SITE, **place)  # type: ignore[arg-type]  # a table
        assert "hunter2" not in f"{caught.value!r} {caught.value.__cause__!r}"
        assert KEY not in str(caught.value)
