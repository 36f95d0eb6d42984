from __future__ import annotations

import base64
import hashlib
import hmac
import random
import re
import string
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_multisession.core import keys
from django_multisession.core.secret import MacKey
from django_multisession.testing.rows import for_each

CURRENT, FALLBACK, OTHERS = (keys.derive(secret) for secret in (b"now", b"before", b"elsewhere"))

URL_SAFE = string.ascii_letters + string.digits + "-_"
#: Characters that look like URL-safe ones, that case folding or int() would take for some, or that
#: line-based parsers drop.
LOOK_ALIKES = (
    "\u0430\u0435\u043e\u0410\u212a\u017f\u0131\uff11\uff21\u0661\u2010\u2013\u203f\U0001d7d8"
    "\u200b\u200d\ufeff\u0301\u00a0\u0085\u2028\x00\n\r\t\x0b\x0c\x1c \ud800\udfff+/=%;,\"'"
)
ENDINGS = ("\n", "\r\n", "\r", "\x00", " ", "\u2028", "=", "==", "\ud800", "; Path=/", "\n\n")

Mutation = Callable[[random.Random, str], str]


def flip(chance: random.Random, key: str) -> str:
    at = chance.randrange(len(key))
    return key[:at] + chr(ord(key[at]) ^ (1 << chance.randrange(8))) + key[at + 1 :]


def substitute(chance: random.Random, key: str) -> str:
    at = chance.randrange(len(key))
    return key[:at] + chance.choice(URL_SAFE + LOOK_ALIKES) + key[at + 1 :]


def insert(chance: random.Random, key: str) -> str:
    at = chance.randrange(len(key) + 1)
    return key[:at] + chance.choice(URL_SAFE + LOOK_ALIKES) + key[at:]


def delete(chance: random.Random, key: str) -> str:
    at = chance.randrange(len(key))
    return key[:at] + key[at + 1 :]


def swap(chance: random.Random, key: str) -> str:
    characters = list(key)
    one, other = (chance.randrange(len(key)) for _ in range(2))
    characters[one], characters[other] = characters[other], characters[one]
    return "".join(characters)


def change_case(chance: random.Random, key: str) -> str:
    at = chance.randrange(len(key))
    return chance.choice((key.upper(), key.lower(), key[:at] + key[at:].swapcase()))


def end_otherwise(chance: random.Random, key: str) -> str:
    ending = chance.choice(ENDINGS)
    return chance.choice((key + ending, ending + key, key[: -len(ending)] + ending))


def cut_or_repeat(chance: random.Random, key: str) -> str:
    at = chance.randrange(len(key))
    return chance.choice((key[:at], key[at:], key + key[at:], key[at:] + key[:at], key * 2))


def make_up(chance: random.Random, _key: str) -> str:
    alphabet = chance.choice((URL_SAFE, LOOK_ALIKES, URL_SAFE + LOOK_ALIKES))
    length = chance.choice((0, 1, 21, 22, 39, 40, 40, 40, 41, 400))
    return "".join(chance.choices(alphabet, k=length))


MUTATIONS: tuple[Mutation, ...] = (
    flip,
    substitute,
    insert,
    delete,
    swap,
    change_case,
    end_otherwise,
    cut_or_repeat,
    make_up,
)


def tag_of(random_part: str, secret: bytes, namespace: bytes = b"") -> str:
    """Return the tag as the module's docstring says it is made."""
    signing_key = hmac.new(secret, b"django_multisession.session_key.1", hashlib.sha256).digest()
    digest = hmac.new(signing_key, random_part.encode() + namespace, hashlib.sha256).digest()
    return base64.b64encode(digest, altchars=b"-_").decode()[:18]


def test_a_key_is_40_url_safe_characters() -> None:
    for _ in range(200):
        assert re.fullmatch(r"[A-Za-z0-9_-]{40}", keys.make([CURRENT]).session_key)


def test_a_key_is_22_random_characters_and_18_of_their_tag() -> None:
    session_key = keys.make([CURRENT]).session_key
    assert session_key[22:] == tag_of(session_key[:22], b"now")


def test_keys_are_unique_in_their_random_part() -> None:
    assert len({keys.make([CURRENT]).session_key[:22] for _ in range(10_000)}) == 10_000


def test_every_random_character_varies_over_the_whole_alphabet() -> None:
    made = [keys.make([CURRENT]).session_key[:22] for _ in range(3_000)]
    # 132 bits need all of the 64 characters in each of the 22 places; one is missing somewhere
    # by chance once in 10**17 runs.
    assert all(set(column) == set(URL_SAFE) for column in zip(*made, strict=True))


def test_a_made_key_verifies_to_itself() -> None:
    made = keys.make([CURRENT, FALLBACK])
    assert keys.verify(made.session_key, [CURRENT, FALLBACK]) == made
    assert made.by_fallback is False


@given(random_part=st.text(URL_SAFE, min_size=22, max_size=22), secret=st.binary(max_size=80))
def test_the_key_depends_on_random_part_and_secret_alone(random_part: str, secret: bytes) -> None:
    session_key = random_part + tag_of(random_part, secret)
    verified = keys.verify(session_key, [keys.derive(secret)])
    assert verified is not None
    assert verified.session_key == session_key


def test_the_storage_key_is_128_bits_of_the_sha256_of_the_random_part_in_hex() -> None:
    made = keys.make([CURRENT])
    digest = hashlib.sha256(made.session_key[:22].encode()).hexdigest()
    assert made.storage_key == digest[:32]
    # A record's signature relies on it: no two of them differ in length.
    assert len(made.storage_key) == keys.STORAGE_KEY_LENGTH == 32


def test_keys_made_by_earlier_releases_verify() -> None:
    # Pinned: another derivation would end every session of every site that upgrades.
    verified = keys.verify("abcdefghijklmnopqrstuv3p0TeD-j-F2jfG9gXl", [keys.derive(b"secret")])
    assert verified is not None
    assert verified.storage_key == "f69f9b70d1c9a5442258ca76f8b0a7a4"


def test_a_key_of_a_fallback_is_signed_again_and_stays_where_it_is_stored() -> None:
    old = keys.make([FALLBACK])
    verified = keys.verify(old.session_key, [CURRENT, FALLBACK])
    assert verified is not None
    assert verified.by_fallback is True
    assert verified.storage_key == old.storage_key
    assert verified.session_key != old.session_key
    assert verified.session_key == old.session_key[:22] + tag_of(old.session_key[:22], b"now")


def test_a_key_that_was_signed_again_no_longer_needs_the_fallback() -> None:
    resigned = keys.verify(keys.make([FALLBACK]).session_key, [CURRENT, FALLBACK])
    assert resigned is not None
    again = keys.verify(resigned.session_key, [CURRENT])
    assert again is not None
    assert again.by_fallback is False


def test_any_of_several_fallbacks_verifies() -> None:
    verified = keys.verify(keys.make([OTHERS]).session_key, [CURRENT, FALLBACK, OTHERS])
    assert verified is not None
    assert verified.by_fallback is True


def test_a_key_under_current_and_fallback_alike_needs_no_new_signature() -> None:
    verified = keys.verify(keys.make([CURRENT]).session_key, [CURRENT, CURRENT])
    assert verified is not None
    assert verified.by_fallback is False


def test_a_key_of_another_secret_is_refused() -> None:
    assert keys.verify(keys.make([OTHERS]).session_key, [CURRENT, FALLBACK]) is None


def test_no_signing_key_verifies_nothing() -> None:
    assert keys.verify(keys.make([CURRENT]).session_key, []) is None


def test_the_secret_itself_signs_no_keys() -> None:
    assert keys.derive(b"now") != b"now"
    assert keys.verify(keys.make([MacKey(b"now")]).session_key, [CURRENT]) is None


# Namespaces


@given(namespace=st.binary(max_size=20))
def test_the_tag_covers_the_namespace(namespace: bytes) -> None:
    made = keys.make([CURRENT], namespace)
    assert made.session_key[22:] == tag_of(made.session_key[:22], b"now", namespace)
    assert keys.verify(made.session_key, [CURRENT], namespace) == made


@given(one=st.binary(max_size=20), other=st.binary(max_size=20))
def test_a_key_of_another_namespace_is_refused(one: bytes, other: bytes) -> None:
    found = keys.verify(keys.make([CURRENT], one).session_key, [CURRENT], other)
    assert (found is not None) is (one == other)


def test_a_key_that_is_signed_again_stays_in_its_namespace() -> None:
    old = keys.make([FALLBACK], b"shop")
    verified = keys.verify(old.session_key, [CURRENT, FALLBACK], b"shop")
    assert verified is not None
    assert verified.by_fallback is True
    assert verified.storage_key == old.storage_key
    assert keys.verify(verified.session_key, [CURRENT], b"shop") is not None
    assert keys.verify(verified.session_key, [CURRENT]) is None
    assert keys.verify(old.session_key, [CURRENT, FALLBACK]) is None


# Refused


@for_each("session_key", [None, 12345, b"x" * 40, ["x"] * 40, 1.5, object()])
def test_what_is_no_text_is_refused_without_an_error(session_key: object) -> None:
    assert keys.verify(session_key, [CURRENT]) is None


@for_each("at", range(40))
def test_a_key_changed_in_one_character_is_refused(at: int) -> None:
    session_key = keys.make([CURRENT]).session_key
    accepted = {
        character
        for character in URL_SAFE + LOOK_ALIKES
        if keys.verify(session_key[:at] + character + session_key[at + 1 :], [CURRENT])
    }
    assert accepted == {session_key[at]}


def test_the_tag_of_one_key_does_not_fit_another() -> None:
    one, other = (keys.make([CURRENT]).session_key for _ in range(2))
    assert keys.verify(one[:22] + other[22:], [CURRENT]) is None


@given(st.text(st.characters(exclude_categories=())))
def test_arbitrary_text_is_refused_without_an_error(text: str) -> None:
    assert keys.verify(text, [CURRENT, FALLBACK]) is None


def test_of_100_000_fuzzed_keys_none_is_accepted() -> None:
    chance = random.Random(20260101)
    signing_keys = [CURRENT, FALLBACK]
    valid = [keys.make([chance.choice(signing_keys)]).session_key for _ in range(1_000)]
    known = set(valid)
    accepted, of_full_length = [], 0
    for _ in range(100_000):
        fuzzed = chance.choice(valid)
        for _ in range(chance.choice((1, 1, 1, 2, 3))):
            fuzzed = chance.choice(MUTATIONS)(chance, fuzzed or "x")
        of_full_length += len(fuzzed) == keys.LENGTH
        if keys.verify(fuzzed, signing_keys) is not None and fuzzed not in known:
            accepted.append(fuzzed)
    assert accepted == []
    # The length check alone must not have answered for the tag.
    assert of_full_length > 30_000


def test_no_repr_shows_the_key() -> None:
    made = keys.make([CURRENT])
    resigned = keys.verify(made.session_key, [FALLBACK, CURRENT])
    # A tuple is walked through by error reporters, whatever its own repr shows.
    assert not isinstance(made, tuple)
    for shown in (repr(made), str(made), f"{made}", repr([resigned])):
        assert made.session_key not in shown
        assert made.session_key[:22] not in shown
        assert made.session_key[22:] not in shown


def test_a_verified_key_cannot_be_changed() -> None:
    made = keys.make([CURRENT])
    with pytest.raises(AttributeError):
        made.session_key = "x"  # type: ignore[misc]  # that is what is tried
