"""The laws of periodic cycling: a new key now and then, and nobody is lost on the way to it."""

from __future__ import annotations

from typing import Any

from django.test import override_settings

from django_multisession.drivers.base import Driver
from django_multisession.records import Retired
from django_multisession.testing.engine_cycling_fixtures import (
    AFTER,
    GRACE,
    KEEP,
    SET,
    EngineCyclingFixtures,
    cycling,
)
from django_multisession.testing.engine_fixtures import (
    Open,
    saved,
    storage_key,
    stored,
)
from django_multisession.testing.verbs import Clock


class EngineCyclingLaws(EngineCyclingFixtures):
    """The client is told its new key until it comes with it; the old one is good until then."""

    def test_a_key_is_kept_until_it_is_old_enough(self, open_session: Open, clock: Clock) -> None:
        with cycling:
            key = saved(open_session, a=1).key
            clock.advance(AFTER - 1)
            reader = open_session(key)
            assert reader["a"] == 1
            reader.respond()
            assert reader.key == key

    def test_no_key_is_cycled_unless_the_site_says_so(
        self, open_session: Open, clock: Clock
    ) -> None:
        key = saved(open_session, a=1).key
        clock.advance(86400)
        reader = open_session(key)
        assert reader["a"] == 1
        reader.respond()
        assert reader.key == key

    def test_a_poll_gets_no_new_key(self, open_session: Open, clock: Clock) -> None:
        with cycling:
            key = saved(open_session, a=1).key
            clock.advance(AFTER)
            poll = open_session(key)
            poll.session.counts_as_use = False
            assert poll["a"] == 1
            assert poll.respond() is KEEP
            assert poll.key == key

    def test_a_cycle_moves_no_deadline(
        self, open_session: Open, driver: Driver, clock: Clock
    ) -> None:
        with cycling:
            session = saved(open_session, a=1)
            before = stored(driver, session)
            clock.advance(AFTER)
            session = open_session(session.key)
            session["a"] = 2
            session.save()
        after = stored(driver, session)
        assert after.keyed_at == clock.now
        assert (after.began_at, after.created_at) == (before.began_at, before.created_at)
        assert after.hard_deadline_at == before.hard_deadline_at

    def test_a_client_that_lost_the_response_goes_on_and_is_told_again(
        self, open_session: Open, cycled: tuple[str, str], clock: Clock
    ) -> None:
        old, new = cycled
        for _ in range(3):
            clock.advance(AFTER * 2)
            again = open_session(old)
            assert again["a"] == 1
            assert again.respond() is SET
            assert again.key == new

    def test_what_a_client_that_lost_the_response_changes_is_saved(
        self, open_session: Open, cycled: tuple[str, str]
    ) -> None:
        old, new = cycled
        again = open_session(old)
        again["b"] = 2
        assert again.respond() is SET
        assert open_session(new).entries() == {"a": 1, "b": 2}

    def test_the_old_key_is_good_for_a_grace_period_after_the_new_one_was_seen(
        self, open_session: Open, cycled: tuple[str, str], clock: Clock
    ) -> None:
        old, new = cycled
        clock.advance(10)
        self.come_with(open_session, new)
        clock.advance(GRACE - 1)
        other_tab = open_session(old)
        assert other_tab["a"] == 1
        assert other_tab.key == new

    def test_the_old_key_is_no_session_after_the_grace_period(
        self,
        open_session: Open,
        cycled: tuple[str, str],
        late_keys: list[dict[str, Any]],
        clock: Clock,
    ) -> None:
        old, new = cycled
        self.come_with(open_session, new)
        clock.advance(GRACE)
        late = open_session(old)
        assert late.entries() == {}
        # A slow response must not remove the cookie with the new key.
        assert late.respond() is KEEP
        assert open_session(new).entries() == {"a": 1}
        assert late_keys == [
            {
                "storage_key": storage_key(old),
                "current_storage_key": storage_key(new),
                "is_ended": False,
            }
        ]

    def test_the_use_of_a_late_key_may_end_the_session(
        self,
        open_session: Open,
        cycled: tuple[str, str],
        late_keys: list[dict[str, Any]],
        clock: Clock,
    ) -> None:
        old, new = cycled
        self.come_with(open_session, new)
        clock.advance(GRACE)
        with override_settings(MULTISESSION_ON_LATE_KEY="end"):
            assert open_session(old).entries() == {}
        assert open_session(new).entries() == {}
        assert [event["is_ended"] for event in late_keys] == [True]

    def test_a_key_of_two_cycles_ago_is_late(
        self,
        open_session: Open,
        cycled: tuple[str, str],
        late_keys: list[dict[str, Any]],
        clock: Clock,
    ) -> None:
        old, new = cycled
        self.come_with(open_session, new)
        clock.advance(AFTER)
        newest = self.come_with(open_session, new)
        assert newest not in (old, new)
        assert open_session(old).entries() == {}
        assert [event["current_storage_key"] for event in late_keys] == [storage_key(newest)]

    def test_a_request_that_saves_again_is_not_the_client_with_its_new_key(
        self, open_session: Open, clock: Clock
    ) -> None:
        with cycling:
            key = saved(open_session, a=1).key
            clock.advance(AFTER)
            session = open_session(key)
            for value in (2, 3):
                session["a"] = value
                session.save()
            clock.advance(GRACE * 2)
            assert open_session(key)["a"] == 3

    def test_a_request_that_overlapped_a_cycle_is_not_the_client_with_its_new_key(
        self, open_session: Open, clock: Clock
    ) -> None:
        with cycling:
            key = saved(open_session, a=1).key
            slow = open_session(key)
            slow["b"] = 2
            clock.advance(AFTER)
            self.come_with(open_session, key)
            slow.respond()
            clock.advance(GRACE * 2)
            assert open_session(key).entries() == {"a": 1, "b": 2}

    def test_two_cycles_at_once_leave_one_live_session(
        self, open_session: Open, driver: Driver, clock: Clock
    ) -> None:
        with cycling:
            key = saved(open_session, a=1, b=1).key
            clock.advance(AFTER)
            first, second = open_session(key), open_session(key)
            first["a"], second["b"] = 2, 2
            assert [first.respond(), second.respond()] == [SET, SET]
            assert first.key == second.key != key
            assert open_session(first.key).entries() == {"a": 2, "b": 2}
            assert isinstance(driver.get(storage_key(key)), Retired)

    def test_a_reader_that_overlaps_a_cycle_is_not_interrupted(
        self, open_session: Open, clock: Clock
    ) -> None:
        with cycling:
            key = saved(open_session, a=1).key
            slow = open_session(key)
            assert slow["a"] == 1
            clock.advance(AFTER)
            new = self.come_with(open_session, key)
            assert slow.respond() is SET
            assert slow.key == new

    def test_a_request_that_takes_longer_than_the_grace_period_is_saved(
        self, open_session: Open, late_keys: list[dict[str, Any]], clock: Clock
    ) -> None:
        with cycling:
            key = saved(open_session, a=1).key
            slow = open_session(key)
            slow["b"] = 2
            clock.advance(AFTER)
            new = self.come_with(open_session, self.come_with(open_session, key))
            clock.advance(GRACE * 2)
            assert slow.respond() is SET
            assert slow.key == new
            assert open_session(new).entries() == {"a": 1, "b": 2}
            assert late_keys == []
