from __future__ import annotations

import json
import pickle
import random
import tracemalloc
import zlib
from typing import Any

import pytest
from django.contrib.sessions.serializers import JSONSerializer
from hypothesis import given
from hypothesis import strategies as st

from django_multisession.core import payloads
from django_multisession.exceptions import (
    BadPayload,
    EntryNotSerializable,
    MultisessionError,
    SessionTooLarge,
)
from django_multisession.testing.rows import for_each

JSON = JSONSerializer()
SECRET = "hunter2"

_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
entries_of_json = st.dictionaries(st.text(), _values, max_size=6)

DEFLATED = b"\x01" + zlib.compress(b'{"cart":"' + b"many things " * 200 + b'"}')


class Pickle:
    """A site's own ``SESSION_SERIALIZER``."""

    def dumps(self, obj: Any) -> bytes:
        return pickle.dumps(obj)

    def loads(self, data: bytes) -> Any:
        return pickle.loads(data)


class OneEntryOnly:
    """Takes every entry, and never two of them."""

    def dumps(self, obj: Any) -> bytes:
        if len(obj) > 1:
            raise OverflowError(SECRET)
        return b"{}"

    def loads(self, data: bytes) -> Any:
        raise OverflowError(SECRET)


def bomb(mebibytes: int) -> bytes:
    """Return a body that inflates to so many *mebibytes* of zeros."""
    deflater = zlib.compressobj(9)
    head = deflater.compress(b"") + deflater.flush(zlib.Z_FULL_FLUSH)
    # After a full flush nothing refers to what was before, so a block can be repeated.
    block = deflater.compress(bytes(1024 * 1024)) + deflater.flush(zlib.Z_FULL_FLUSH)
    return b"\x01" + head + block * mebibytes + deflater.flush()


@given(entries_of_json)
def test_entries_survive_the_way_to_a_body_and_back(entries: dict[str, Any]) -> None:
    body = payloads.compress(payloads.serialize(entries, JSON))
    assert payloads.deserialize(payloads.decompress(body), JSON) == entries


@given(entries_of_json | st.dictionaries(st.text(), st.floats() | st.tuples(st.integers())))
def test_compact_json_writes_what_djangos_serializer_writes(entries: dict[str, Any]) -> None:
    written = payloads.CompactJSON().dumps(entries)
    assert written == JSON.dumps(entries)
    assert repr(payloads.CompactJSON().loads(written)) == repr(JSON.loads(written))


@for_each("padded", [b' {"a":1}', b'{"a":1}\n', b'\t{ "a" : 1 }\r\n'])
def test_compact_json_reads_what_another_json_serializer_wrote(padded: bytes) -> None:
    assert payloads.CompactJSON().loads(padded) == {"a": 1}


@given(st.binary() | st.sampled_from([b"{}{}", b"", b"{", b"\xef\xbb\xbf{}", b"{'a':1}"]))
def test_compact_json_refuses_what_djangos_serializer_refuses(damaged: bytes) -> None:
    def outcome(serializer: payloads.Serializer) -> str:
        try:
            return repr(serializer.loads(damaged))
        except ValueError as error:
            return str(error)

    assert outcome(payloads.CompactJSON()) == outcome(JSON)


@given(st.dictionaries(st.text(), st.binary() | st.tuples(st.integers(), st.text())))
def test_another_serializer_decides_what_an_entry_may_be(entries: dict[str, Any]) -> None:
    body = payloads.compress(payloads.serialize(entries, Pickle()))
    assert payloads.deserialize(payloads.decompress(body), Pickle()) == entries


@given(st.binary() | st.binary().map(lambda part: part * 200))
def test_what_is_compressed_is_decompressed(serialized: bytes) -> None:
    assert payloads.decompress(payloads.compress(serialized)) == serialized


@given(st.binary() | st.binary().map(lambda part: part * 200))
def test_compression_costs_one_byte_at_most(serialized: bytes) -> None:
    assert len(payloads.compress(serialized)) <= len(serialized) + 1


def test_a_short_body_is_stored_as_it_is() -> None:
    serialized = b"a" * (payloads.COMPRESSION_THRESHOLD - 1)
    assert payloads.compress(serialized) == b"\x00" + serialized


def test_a_body_from_the_threshold_on_is_deflated() -> None:
    serialized = b"a" * payloads.COMPRESSION_THRESHOLD
    body = payloads.compress(serialized)
    assert body[:1] == b"\x01"
    assert zlib.decompress(body[1:]) == serialized


def test_a_body_that_does_not_get_shorter_is_stored_as_it_is() -> None:
    serialized = random.Random(1).randbytes(4 * payloads.COMPRESSION_THRESHOLD)
    assert len(zlib.compress(serialized)) >= len(serialized)
    assert payloads.compress(serialized) == b"\x00" + serialized


def test_a_body_may_inflate_to_the_limit_and_not_to_a_byte_more() -> None:
    at_limit = b"\x01" + zlib.compress(bytes(payloads.INFLATED_LIMIT))
    above = b"\x01" + zlib.compress(bytes(payloads.INFLATED_LIMIT + 1))
    assert len(payloads.decompress(at_limit)) == payloads.INFLATED_LIMIT
    with pytest.raises(BadPayload):
        payloads.decompress(above)


def test_a_zip_bomb_is_refused_before_it_takes_memory() -> None:
    payload = bomb(mebibytes=4096)
    assert len(payload) < payloads.INFLATED_LIMIT
    tracemalloc.start()
    try:
        with pytest.raises(BadPayload):
            payloads.decompress(payload)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # What was inflated until the limit, its growing buffer, and the input once more.
    assert peak < 4 * payloads.INFLATED_LIMIT


def test_the_bomb_above_is_no_broken_stream() -> None:
    # Or it would be refused for that, whatever its size.
    inflated = zlib.decompressobj().decompress(bomb(64)[1:], 2 * payloads.INFLATED_LIMIT)
    assert inflated == bytes(2 * payloads.INFLATED_LIMIT)


def test_a_deflated_body_cut_short_at_any_length_is_refused() -> None:
    for length in range(1, len(DEFLATED)):
        with pytest.raises(BadPayload):
            payloads.decompress(DEFLATED[:length])


def test_a_deflated_body_with_a_bit_flipped_never_inflates_to_something_else() -> None:
    serialized = payloads.decompress(DEFLATED)
    refused = 0
    for at in range(8, len(DEFLATED) * 8):
        flipped = bytearray(DEFLATED)
        flipped[at // 8] ^= 1 << at % 8
        try:
            # The bits that fill up the last block's byte mean nothing.
            assert payloads.decompress(bytes(flipped)) == serialized
        except BadPayload:
            refused += 1
    assert refused >= (len(DEFLATED) - 2) * 8


@for_each("garbage", [b"\x00", b"garbage", DEFLATED[1:]], ids=["a NUL", "text", "another stream"])
def test_a_deflated_body_with_something_behind_it_is_refused(garbage: bytes) -> None:
    with pytest.raises(BadPayload):
        payloads.decompress(DEFLATED + garbage)


@for_each("body", [b"", *(bytes([kind]) + DEFLATED[1:] for kind in range(2, 256))])
def test_a_body_of_unknown_compression_is_refused(body: bytes) -> None:
    with pytest.raises(BadPayload, match=r"^unknown compression$"):
        payloads.decompress(body)


@for_each("deflated", [b"", b"x", zlib.compress(b"x")[2:], b'{"a":1}'])
def test_what_is_no_deflate_stream_is_refused(deflated: bytes) -> None:
    with pytest.raises(BadPayload):
        payloads.decompress(b"\x01" + deflated)


@for_each(
    ("serialized", "found"),
    [(b"[]", "list"), (b"null", "NoneType"), (b"1", "int"), (b'"a"', "str"), (b"true", "bool")],
)
def test_what_is_no_dict_is_no_session(serialized: bytes, found: str) -> None:
    with pytest.raises(BadPayload, match=rf"^expected a dict of entries \(got {found}\)$"):
        payloads.deserialize(serialized, JSON)


@for_each(
    "serialized",
    [b"", b"{", b'{"a"', b"\xff\xfe", b'{"a":1}x', b'{"a":' * 100_000, b"\x80\x04", b"\x00"],
)
def test_what_the_serializer_cannot_read_is_no_session(serialized: bytes) -> None:
    with pytest.raises(BadPayload, match=r"^the serializer cannot read it \(\w+\)$"):
        payloads.deserialize(serialized, JSON)


def test_whatever_a_serializer_raises_is_no_session() -> None:
    with pytest.raises(BadPayload) as caught:
        payloads.deserialize(b"{}", OneEntryOnly())
    assert str(caught.value) == "the serializer cannot read it (OverflowError)"


def test_an_entry_that_cannot_be_serialized_is_named() -> None:
    with pytest.raises(EntryNotSerializable) as caught:
        payloads.serialize({"name": "Ada", "basket": {"a": object()}}, JSON)
    assert str(caught.value) == (
        "Session entry 'basket' must be something that SESSION_SERIALIZER can take "
        "(got dict: TypeError)."
    )


def test_an_entry_that_cannot_be_serialized_is_a_type_error() -> None:
    # What Django's own stores raise for it.
    with pytest.raises(TypeError):
        payloads.serialize({"a": object()}, JSON)


def test_an_entry_that_holds_itself_is_named() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(EntryNotSerializable, match=r"'endless'.*\(got list: ValueError\)"):
        payloads.serialize({"endless": endless}, JSON)


def test_entries_that_only_together_cannot_be_serialized_are_all_named() -> None:
    with pytest.raises(EntryNotSerializable) as caught:
        payloads.serialize({"a": 1, "b": 2}, OneEntryOnly())
    assert "(all of them together)" in str(caught.value)


def limited(entries: dict[str, Any], max_size: int) -> None:
    payloads.require_size(payloads.serialize(entries, JSON), entries, JSON, max_size)


def test_a_session_may_have_the_greatest_size_and_not_a_byte_more() -> None:
    entries = {"note": "x" * 50}
    size = len(json.dumps(entries, separators=(",", ":")))
    serialized = payloads.serialize(entries, JSON)
    payloads.require_size(serialized, entries, JSON, size)
    with pytest.raises(SessionTooLarge):
        payloads.require_size(serialized, entries, JSON, size - 1)


def test_a_session_that_is_too_large_names_its_biggest_entries_and_the_sizes() -> None:
    entries = {"small": 1, "history": "x" * 2000, "cart": "y" * 500}
    with pytest.raises(SessionTooLarge) as caught:
        limited(entries, 1024)
    size = len(json.dumps(entries, separators=(",", ":")))
    assert str(caught.value) == (
        f"A session must be at most 1024 bytes, MULTISESSION_MAX_SIZE (got {size}). Its biggest "
        "entries are 'history' with 2014 bytes, 'cart' with 511 bytes, 'small' with 11 bytes."
    )


def test_the_size_counts_before_compression() -> None:
    # Or what fits would depend on what it holds, and inflating on its writer.
    with pytest.raises(SessionTooLarge):
        limited({"zeros": "0" * 5000}, 4000)


def failing_calls() -> dict[str, Any]:
    class Secretive:
        def __repr__(self) -> str:
            return SECRET

    return {
        "unserializable": lambda: payloads.serialize({"a": Secretive(), "b": SECRET}, JSON),
        "together": lambda: payloads.serialize({"a": 1, "b": SECRET}, OneEntryOnly()),
        "too large": lambda: limited({"a": SECRET * 200}, 1024),
        "unreadable": lambda: payloads.deserialize(f'{{"a":"{SECRET}'.encode(), JSON),
        "raises": lambda: payloads.deserialize(b"{}", OneEntryOnly()),
        "no dict": lambda: payloads.deserialize(f'"{SECRET}"'.encode(), JSON),
        "unknown": lambda: payloads.decompress(SECRET.encode()),
        "no deflate": lambda: payloads.decompress(b"\x01" + SECRET.encode()),
    }


@for_each("name", list(failing_calls()))
def test_no_message_holds_a_value(name: str) -> None:
    with pytest.raises(MultisessionError) as caught:
        failing_calls()[name]()
    assert SECRET not in f"{caught.value} {caught.value!r}"


def test_serializing_changes_nothing() -> None:
    entries = {"a": [1, {"b": 2}]}
    payloads.serialize(entries, JSON)
    assert entries == {"a": [1, {"b": 2}]}
