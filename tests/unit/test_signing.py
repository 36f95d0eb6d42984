from __future__ import annotations

import dataclasses
import hashlib
import hmac
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from django_multisession.core.records import Record, from_milliseconds
from django_multisession.core.signing import Binding, derive, sign, verify
from django_multisession.exceptions import BadPayload

CURRENT, FALLBACK, OTHERS = (derive(secret) for secret in (b"now", b"before", b"elsewhere"))
KEY = hashlib.sha256(b"random part").hexdigest()
BEGAN = datetime(2026, 1, 1, 12, tzinfo=UTC)
BODY = b'\x00{"cart":[1,2,3]}'

BINDING = Binding(
    storage_key=KEY,
    created_at=BEGAN - timedelta(hours=1),
    began_at=BEGAN,
    idle_age=3600,
    hard_deadline_at=BEGAN + timedelta(days=30),
    user_id="7",
)
#: Each fact changed as an attacker who can write to the store would like it, and by the least.
CHANGED: dict[str, list[object]] = {
    "storage_key": [hashlib.sha256(b"another").hexdigest(), KEY.upper(), KEY[:-1], ""],
    "created_at": [BINDING.created_at - timedelta(milliseconds=1), BEGAN],
    "began_at": [BEGAN + timedelta(milliseconds=1), BEGAN + timedelta(days=1)],
    "idle_age": [3601, 36000, 0, -3600, None],
    "hard_deadline_at": [BEGAN + timedelta(days=30, milliseconds=1), None],
    "user_id": ["8", "07", "", "7 ", None],
}

_moments = st.integers(-(10**13), 10**14).map(from_milliseconds)
#: Few characters, and those that lengths and separators are written with: what could be confused.
_texts = st.text("0123:-", max_size=6) | st.text(st.characters(exclude_categories=()), max_size=6)
bindings = st.builds(
    Binding,
    storage_key=_texts,
    created_at=_moments,
    began_at=_moments,
    idle_age=st.none() | st.integers(),
    hard_deadline_at=st.none() | _moments,
    user_id=st.none() | _texts,
)


def read_fact(binding: bytes) -> tuple[bytes | None, bytes]:
    """Return the first fact of *binding* and the rest."""
    if binding[:1] == b"-":
        return None, binding[1:]
    length, _, rest = binding.partition(b":")
    return rest[: int(length)], rest[int(length) :]


def milliseconds(moment: datetime) -> bytes:
    return b"%d" % ((moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1))


@given(body=st.binary(), binding=bindings)
def test_what_is_signed_verifies(body: bytes, binding: Binding) -> None:
    assert verify(sign(body, binding, [CURRENT]), binding, [CURRENT]) == (body, False)


def test_payloads_signed_by_earlier_releases_open() -> None:
    # Pinned: another envelope under the same version would end every session at an upgrade.
    binding = Binding(
        storage_key="abc",
        created_at=from_milliseconds(1767225600000),
        began_at=from_milliseconds(1767225600001),
        idle_age=60,
        hard_deadline_at=None,
        user_id="7",
    )
    payload = bytes.fromhex(
        "0118ea5aa7603515ce782f0bc0479e06070b9141f218b3bca0b195ac711a02df06626f6479"
    )
    assert verify(payload, binding, [derive(b"secret")]) == (b"body", False)


def test_the_tag_is_an_hmac_sha256_over_version_binding_and_body() -> None:
    record_key = hmac.new(b"now", b"django_multisession.seal.1", hashlib.sha256).digest()
    tag = hmac.new(record_key, b"\x01" + BINDING.to_bytes() + BODY, hashlib.sha256).digest()
    assert sign(BODY, BINDING, [CURRENT]) == b"\x01" + tag + BODY


@pytest.mark.parametrize(
    ("fact", "value"), [(fact, value) for fact, values in CHANGED.items() for value in values]
)
def test_a_record_with_another_fact_does_not_open(fact: str, value: object) -> None:
    changed = dataclasses.replace(BINDING, **{fact: value})  # type: ignore[arg-type]  # a table
    with pytest.raises(BadPayload):
        verify(sign(BODY, BINDING, [CURRENT]), changed, [CURRENT])


def test_every_fact_of_a_binding_is_changed_above() -> None:
    assert set(CHANGED) == {field.name for field in dataclasses.fields(Binding)}


def test_a_binding_holds_every_fact_of_a_record_but_those_that_a_touch_or_a_save_moves() -> None:
    of_binding = {field.name for field in dataclasses.fields(Binding)}
    of_record = {field.name for field in dataclasses.fields(Record)}
    assert of_record - of_binding == {"payload", "revisions", "touched_at"}


def test_the_binding_of_a_record_is_made_of_its_facts() -> None:
    record = Record(
        payload=b"",
        revisions=("a",),
        created_at=BINDING.created_at,
        began_at=BINDING.began_at,
        touched_at=BEGAN + timedelta(hours=2),
        idle_age=BINDING.idle_age,
        hard_deadline_at=BINDING.hard_deadline_at,
        user_id=BINDING.user_id,
    )
    assert Binding.of(KEY, record) == BINDING


def test_the_time_zone_of_a_fact_does_not_matter() -> None:
    elsewhere = dataclasses.replace(
        BINDING, began_at=BEGAN.astimezone(timezone(timedelta(hours=5, minutes=45)))
    )
    assert verify(sign(BODY, BINDING, [CURRENT]), elsewhere, [CURRENT]) == (BODY, False)


def test_a_payload_cut_short_at_any_length_does_not_open() -> None:
    payload = sign(BODY, BINDING, [CURRENT])
    for length in range(len(payload)):
        with pytest.raises(BadPayload):
            verify(payload[:length], BINDING, [CURRENT])


def test_a_payload_with_any_bit_flipped_does_not_open() -> None:
    payload = sign(BODY, BINDING, [CURRENT])
    for at in range(len(payload) * 8):
        flipped = bytearray(payload)
        flipped[at // 8] ^= 1 << at % 8
        with pytest.raises(BadPayload):
            verify(bytes(flipped), BINDING, [CURRENT])


def test_a_payload_with_a_byte_more_does_not_open() -> None:
    payload = sign(BODY, BINDING, [CURRENT])
    for longer in (payload + b"\x00", b"\x01" + payload, payload[:33] + b"\x00" + payload[33:]):
        with pytest.raises(BadPayload):
            verify(longer, BINDING, [CURRENT])


@pytest.mark.parametrize("version", [0, 2, 3, 0x31, 0x7B, 0x80, 0xFF])
def test_an_unknown_version_does_not_open(version: int) -> None:
    payload = sign(BODY, BINDING, [CURRENT])
    with pytest.raises(BadPayload, match=r"^unknown envelope version$"):
        verify(bytes([version]) + payload[1:], BINDING, [CURRENT])


def test_the_tag_covers_the_version() -> None:
    # Or a payload of a weaker version to come would open as one of this version.
    record_key = hmac.new(b"now", b"django_multisession.seal.1", hashlib.sha256).digest()
    for version in (b"", b"\x00", b"\x02"):
        tag = hmac.new(record_key, version + BINDING.to_bytes() + BODY, hashlib.sha256).digest()
        with pytest.raises(BadPayload):
            verify(b"\x01" + tag + BODY, BINDING, [CURRENT])


@given(st.binary(max_size=200))
@example(b"")
@example(b"\x01")
@example(b"\x01" + b"\x00" * 32)
def test_arbitrary_bytes_do_not_open(payload: bytes) -> None:
    with pytest.raises(BadPayload):
        verify(payload, BINDING, [CURRENT, FALLBACK])


def test_a_payload_of_another_secret_does_not_open() -> None:
    with pytest.raises(BadPayload):
        verify(sign(BODY, BINDING, [OTHERS]), BINDING, [CURRENT, FALLBACK])


def test_without_a_record_key_nothing_opens() -> None:
    with pytest.raises(BadPayload):
        verify(sign(BODY, BINDING, [CURRENT]), BINDING, [])


def test_a_payload_of_a_fallback_opens_and_says_so() -> None:
    payload = sign(BODY, BINDING, [FALLBACK])
    assert verify(payload, BINDING, [CURRENT, FALLBACK]) == (BODY, True)
    assert verify(payload, BINDING, [FALLBACK, CURRENT]) == (BODY, False)


def test_a_payload_is_signed_with_the_current_key() -> None:
    assert verify(sign(BODY, BINDING, [CURRENT, FALLBACK]), BINDING, [CURRENT]) == (BODY, False)


def test_the_record_key_is_neither_the_secret_nor_the_key_of_session_keys() -> None:
    from django_multisession.core import keys

    assert len({b"now", derive(b"now"), keys.derive(b"now")}) == 3


@given(one=bindings, other=bindings, one_body=_texts, other_body=_texts)
def test_different_bindings_and_bodies_are_different_bytes(
    one: Binding, other: Binding, one_body: str, other_body: str
) -> None:
    bodies = [body.encode("utf-8", "surrogatepass") for body in (one_body, other_body)]
    are_same = (one, bodies[0]) == (other, bodies[1])
    assert (one.to_bytes() + bodies[0] == other.to_bytes() + bodies[1]) is are_same


@given(binding=bindings, body=st.binary(max_size=20))
@example(
    binding=dataclasses.replace(BINDING, storage_key="3:1:-", user_id="1:7", idle_age=None),
    body=b"1:7",
)
def test_the_bytes_of_a_binding_read_back_as_its_facts_and_end_where_the_body_begins(
    binding: Binding, body: bytes
) -> None:
    rest = binding.to_bytes() + body
    facts = []
    for _ in dataclasses.fields(Binding):
        fact, rest = read_fact(rest)
        facts.append(fact)
    hard, user_id = binding.hard_deadline_at, binding.user_id
    assert facts == [
        binding.storage_key.encode("utf-8", "surrogatepass"),
        milliseconds(binding.created_at),
        milliseconds(binding.began_at),
        None if binding.idle_age is None else b"%d" % binding.idle_age,
        None if hard is None else milliseconds(hard),
        None if user_id is None else user_id.encode("utf-8", "surrogatepass"),
    ]
    assert rest == body


def test_no_error_tells_anything_of_the_payload() -> None:
    payload = sign(b"hunter2", BINDING, [OTHERS])
    for shown in (payload, payload[:-1], b"hunter2"):
        with pytest.raises(BadPayload) as caught:
            verify(shown, BINDING, [CURRENT])
        assert "hunter2" not in f"{caught.value!r} {caught.value.__cause__!r}"
        assert KEY not in str(caught.value)
