"""Which sessions end at the limit, and who has a seat."""

from __future__ import annotations

import itertools
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from django_multisession.core import limits
from django_multisession.core.limits import DENY, LEAST_USED, OLDEST, SEAT_MS, Seat
from django_multisession.core.records import NEVER, SLACK_MS, Facts, Record, assemble, encode_signed
from django_multisession.core.secret import SecretBytes
from django_multisession.settings.conf import AT_LIMIT_CHOICES
from django_multisession.testing.rows import for_each

NOW = 1_767_268_800_000


def session(name: str, began: int, used: int | None = None) -> Record:
    """Return a session that began, and was last used, so many milliseconds after `NOW`."""
    touched = NOW + (began if used is None else used)
    facts = Facts(
        NOW + began, NOW + began, touched, 60_000, NEVER, b"7", NEVER, name.encode().rjust(12)
    )
    return assemble(facts, bytes(32), encode_signed(facts, b"signed", b"key1"))


def ended(listed: list[Record], own: Record, most: int, at_limit: str) -> set[str]:
    found = limits.excess(listed, own, most, at_limit, NOW)
    return {series.decode().strip() for series in found}


A, B, C, D = (session(name, began) for name, began in zip("abcd", (1, 2, 2, 4), strict=True))


def test_the_policies_are_those_of_the_setting() -> None:
    assert {OLDEST, LEAST_USED, DENY} == set(AT_LIMIT_CHOICES)


@for_each("at_limit", [OLDEST, LEAST_USED])
def test_nothing_ends_below_the_limit(at_limit: str) -> None:
    assert ended([A, B, C], C, 3, at_limit) == set()
    assert ended([], C, 3, at_limit) == set()


def test_the_oldest_end_and_of_one_moment_those_of_a_lower_series() -> None:
    assert ended([B, D, A, C], D, 2, OLDEST) == {"a", "b"}
    assert ended([B, D, A, C], D, 1, OLDEST) == {"a", "b", "c"}


def test_a_login_ends_itself_where_as_many_are_newer() -> None:
    assert ended([A, B, C, D], A, 2, OLDEST) == {"a", "b"}


def test_the_least_used_end() -> None:
    used = session("a", -SEAT_MS - 3, used=3000)
    others = [session(name, -SEAT_MS) for name in "bc"]
    assert ended([used, *others, D], D, 2, LEAST_USED) == {"b", "c"}


def test_a_new_login_is_spared_by_sessions_that_are_used_at_that_moment() -> None:
    used = session("a", -SEAT_MS, used=3000)
    assert ended([used, B, D], D, 1, LEAST_USED) == {"a", "b"}


def test_concurrent_logins_spare_each_other_whatever_last_uses_they_see() -> None:
    older = [session(name, -SEAT_MS, used) for name, used in (("x", 1), ("y", 2))]
    used_since = [session("x", -SEAT_MS, 3000), older[1]]
    assert ended([*older, A], A, 2, LEAST_USED) == {"x"}
    # The other one finds the same session used since: together they leave the newest two.
    assert ended([*used_since, A, D], D, 2, LEAST_USED) == {"x", "y"}


def test_a_session_that_a_clock_ahead_began_is_not_the_newest() -> None:
    ahead = session("x", SLACK_MS + 10_000)
    assert ended([ahead, C, D], D, 2, OLDEST) == {"x"}
    assert limits.beginning(NOW, [ahead]) == NOW


def test_a_login_begins_later_than_the_sessions_that_it_finds() -> None:
    assert limits.beginning(NOW, []) == NOW
    assert limits.beginning(NOW, [session("x", -5)]) == NOW
    assert limits.beginning(NOW, [session("x", -5), session("y", SLACK_MS)]) == NOW + SLACK_MS + 1


times = st.lists(st.integers(0, 3), min_size=1, max_size=6)


@given(times, st.integers(1, 4), st.sampled_from([OLDEST, LEAST_USED]), st.randoms())
def test_logins_in_any_order_leave_the_limit(
    began: list[int], most: int, at_limit: str, random: Any
) -> None:
    """Each is stored, and looks later; what it ends is gone for those that look after it."""
    logins = [session(chr(97 + number), each) for number, each in enumerate(began)]
    turns = [(login, act) for login in logins for act in ("store", "look", "end")]
    random.shuffle(turns)
    order: dict[bytes, list[str]] = {login.series: ["store", "look", "end"] for login in logins}
    live: dict[bytes, Record] = {}
    meant: dict[bytes, set[bytes]] = {}
    for login, _ in turns:
        act = order[login.series].pop(0)
        if act == "store":
            live[login.series] = login
        elif act == "look":
            meant[login.series] = limits.excess(list(live.values()), login, most, at_limit, NOW)
        else:
            for series in meant[login.series]:
                live.pop(series, None)
    newest = sorted(logins, key=lambda each: (each.began_ms, each.series))[-most:]
    assert set(live) == {each.series for each in newest}


def test_seats_are_read_as_they_were_written() -> None:
    seats = (Seat(b"a" * 12, NOW), Seat(b"b" * 12, 0))
    assert limits.decode(limits.encode(seats)) == seats
    assert limits.decode(limits.encode(())) == ()


@for_each("payload", [b"", b"x", b"{}", b"seat"])
def test_what_holds_no_seats_holds_none(payload: bytes) -> None:
    assert limits.decode(SecretBytes(payload)) == ()


def test_a_seat_is_held_for_a_minute_by_any_clock() -> None:
    ages = (0, SEAT_MS - 1, SEAT_MS, 1 - SEAT_MS, -SEAT_MS)
    held = limits.held([Seat(b"a" * 12, NOW - age) for age in ages], NOW)
    assert [NOW - seat.taken_ms for seat in held] == [0, SEAT_MS - 1, 1 - SEAT_MS]


def test_a_session_and_its_seat_count_once() -> None:
    seats = [Seat(b"a", NOW), Seat(b"b", NOW)]
    assert limits.is_full(seats, {b"b", b"c"}, 3)
    assert not limits.is_full(seats, {b"b", b"c"}, 4)


@for_each("value", [0, -1, True, 2.0, "2", None, b"2", [2]])
def test_what_is_no_number_of_sessions_is_no_limit(value: object) -> None:
    assert not limits.is_limit(value)


def test_users_and_tenants_have_seats_of_their_own() -> None:
    places = [
        limits.place_of(user, namespace)
        for user, namespace in itertools.product((b"1", b"11"), (b"", b"1"))
    ]
    assert len(set(places)) == len(places)
