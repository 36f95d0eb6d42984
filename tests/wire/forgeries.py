"""Cookies that a site never handed out; most are made of some that it did."""

from __future__ import annotations

import base64
import random
import string
from collections.abc import Callable, Iterator, Sequence

from django_multisession.core import keys
from django_multisession.core.secret import MacKey

ALPHABET = string.ascii_letters + string.digits + "-_"
RANDOM_LENGTH = 22
TAG_LENGTH = keys.LENGTH - RANDOM_LENGTH
#: What a browser may send, what only a program sends, and what no header can hold.
ODD = "\0\r\n\t ;,\"'\\%+/=.~äßé\xff\u0130\u212a\u2028\U0001f36a\ud800"
ANOTHER_SITES_SIGNING_KEY = keys.derive(b"another site's SECRET_KEY")

Forge = Callable[["_Forger", str], str]


class _Forger:
    def __init__(self, valid: Sequence[str], seed: int) -> None:
        self.valid = valid
        self.random = random.Random(seed)

    def character(self, among: str = ALPHABET) -> str:
        return self.random.choice(among)

    def word(self, length: int, among: str = ALPHABET) -> str:
        return "".join(self.random.choices(among, k=length))

    def other(self, key: str) -> str:
        return self.random.choice([valid for valid in self.valid if valid != key])

    def changed(self, key: str, at: range, among: str = ALPHABET) -> str:
        """Put another character in one place of *at*."""
        place = self.random.choice(at)
        return key[:place] + self.character(among.replace(key[place], "")) + key[place + 1 :]


def _with_another_character(forger: _Forger, key: str) -> str:
    return forger.changed(key, range(keys.LENGTH))


def _with_another_tag_character(forger: _Forger, key: str) -> str:
    return forger.changed(key, range(RANDOM_LENGTH, keys.LENGTH))


def _with_one_bit_flipped(forger: _Forger, key: str) -> str:
    place, bit = forger.random.randrange(keys.LENGTH), 1 << forger.random.randrange(8)
    return key[:place] + chr(ord(key[place]) ^ bit) + key[place + 1 :]


def _with_an_odd_character(forger: _Forger, key: str) -> str:
    return forger.changed(key, range(keys.LENGTH), ODD)


def _with_another_case(forger: _Forger, key: str) -> str:
    return forger.random.choice([key.upper(), key.lower(), key.swapcase()])


def _with_two_places_swapped(forger: _Forger, key: str) -> str:
    one, two = sorted(forger.random.sample(range(keys.LENGTH), 2))
    return key[:one] + key[two] + key[one + 1 : two] + key[one] + key[two + 1 :]


def _with_another_keys_tag(forger: _Forger, key: str) -> str:
    return key[:RANDOM_LENGTH] + forger.other(key)[RANDOM_LENGTH:]


def _with_a_made_up_tag(forger: _Forger, key: str) -> str:
    return key[:RANDOM_LENGTH] + forger.word(TAG_LENGTH)


def _with_another_sites_tag(forger: _Forger, key: str) -> str:
    random_part = forger.random.choice([key[:RANDOM_LENGTH], forger.word(RANDOM_LENGTH)])
    return signed(random_part, ANOTHER_SITES_SIGNING_KEY)


def _cut_short(forger: _Forger, key: str) -> str:
    return key[: forger.random.randrange(keys.LENGTH)]


def _cut_at_the_front(forger: _Forger, key: str) -> str:
    return key[forger.random.randrange(1, keys.LENGTH) :]


def _made_longer(forger: _Forger, key: str) -> str:
    more = forger.word(forger.random.randrange(1, 9), ALPHABET + ODD)
    return forger.random.choice([key + more, more + key, key + key, key + "=", key + "\n"])


def _turned(forger: _Forger, key: str) -> str:
    by = forger.random.randrange(1, keys.LENGTH)
    return forger.random.choice([key[::-1], key[by:] + key[:by]])


def _encoded(forger: _Forger, key: str) -> str:
    encoded = base64.b64encode(key.encode()).decode()
    return forger.random.choice([encoded, encoded[: keys.LENGTH], key.encode().hex(), f'"{key}"'])


def _like_djangos_own(forger: _Forger, key: str) -> str:
    return forger.word(32, string.ascii_lowercase + string.digits)


def _made_up(forger: _Forger, key: str) -> str:
    return forger.word(keys.LENGTH)


def _nonsense(forger: _Forger, key: str) -> str:
    length = forger.random.choice([0, 1, 7, 8, 39, 41, forger.random.randrange(200), 5000])
    return forger.word(length, ALPHABET + ODD)


MUTATIONS: Sequence[Forge] = (
    _with_another_character,
    _with_another_tag_character,
    _with_one_bit_flipped,
    _with_an_odd_character,
    _with_another_case,
    _with_two_places_swapped,
    _with_another_keys_tag,
    _with_a_made_up_tag,
    _with_another_sites_tag,
    _cut_short,
    _cut_at_the_front,
    _made_longer,
    _turned,
    _encoded,
)
INVENTIONS: Sequence[Forge] = (_like_djangos_own, _made_up, _nonsense)
#: The part of all forgeries that are mutations of a valid key.
MUTATED = 0.9


def signed(random_part: str, signing_key: MacKey) -> str:
    """Return the session key of *random_part* at the site that has *signing_key*."""
    tag = keys._tag(random_part.encode(), signing_key, b"")
    return random_part + tag.decode()


def forged_keys(valid: Sequence[str], count: int, seed: int) -> Iterator[str]:
    """Make *count* keys, none of them *valid*; the same ones for the same seed."""
    forger = _Forger(valid, seed)
    genuine = frozenset(valid)
    made = 0
    while made < count:
        forges = MUTATIONS if forger.random.random() < MUTATED else INVENTIONS
        forged = forger.random.choice(forges)(forger, forger.random.choice(valid))
        # Two equal characters swapped are nothing new.
        if forged not in genuine:
            made += 1
            yield forged
