"""The laws of requests that overlap on one session, one interleaving each."""

from __future__ import annotations

import asyncio
import copy

import pytest
from django.contrib.sessions.backends.base import UpdateError
from django.test import override_settings

from django_multisession.store import DriverSessionStore
from django_multisession.testing.engine.fixtures import USER_ID, EngineFixtures, Open, saved
from django_multisession.testing.rows import for_each
from django_multisession.testing.verbs import Clock, Run

OLD_SECRET, NEW_SECRET = "old secret " * 5, "new secret " * 5
ROTATION = {"SECRET_KEY": NEW_SECRET, "SECRET_KEY_FALLBACKS": [OLD_SECRET]}


class EngineOverlapLaws(EngineFixtures):
    """What a request changed is there; what it only read is not written back."""

    def test_saves_of_different_entries_both_stay(self, open_session: Open) -> None:
        key = saved(open_session, a=0, b=0, gone=1, cart=[]).key
        first, second = open_session(key), open_session(key)
        first["a"] = 1
        first["cart"].append("book")
        second["b"] = 2
        second.pop("gone")
        first.save()
        second.save()
        after = {"a": 1, "b": 2, "cart": ["book"]}
        assert open_session(key).entries() == after
        assert second.entries() == after

    def test_a_deletion_is_not_undone_by_another_save(self, open_session: Open) -> None:
        key = saved(open_session, a=0, gone=1).key
        first, second = open_session(key), open_session(key)
        first.pop("gone")
        second["a"] = 2
        first.save()
        second.save()
        assert open_session(key).entries() == {"a": 2}

    def test_a_cleared_session_keeps_nothing_of_another_save(self, open_session: Open) -> None:
        key = saved(open_session, a=0).key
        first, second = open_session(key), open_session(key)
        assert second["a"] == 0
        first["b"] = 1
        second.session.clear()
        first.save()
        second.save()
        assert open_session(key).entries() == {}

    @for_each("is_login", [False, True], ids=["cycle", "login"])
    def test_a_new_key_takes_along_what_another_request_saved(
        self, open_session: Open, *, is_login: bool
    ) -> None:
        key = saved(open_session, cart=[]).key
        writer, cycling = open_session(key), open_session(key)
        cycling.cycle_key()
        if is_login:
            cycling[USER_ID] = "7"
        writer["cart"].append("book")
        writer.save()
        cycling.save()
        assert open_session(cycling.key)["cart"] == ["book"]

    def test_a_reader_writes_nothing_back_while_the_secret_is_rotated(
        self, open_session: Open
    ) -> None:
        with override_settings(SECRET_KEY=OLD_SECRET):
            key = saved(open_session, cart=[]).key
        with override_settings(**ROTATION):
            readers = [open_session(key) for _ in range(12)]
            assert all(reader["cart"] == [] for reader in readers)
            writer = open_session(key)
            writer["cart"].append("book")
            writer.save()
            for reader in readers:
                assert reader.session.modified is True
                reader.save()
        with override_settings(SECRET_KEY=NEW_SECRET):
            assert open_session(writer.key)["cart"] == ["book"]
            assert {reader.key for reader in readers} == {writer.key}

    def test_a_second_login_whose_record_has_ended_is_a_login_still(
        self, open_session: Open
    ) -> None:
        login = {USER_ID: "7", "_auth_user_hash": "x"}
        key = saved(open_session, cart=[1], **login).key
        again = open_session(key)
        again.update({**login, "new": 1})
        open_session(key).flush()
        again.save()
        assert open_session(again.key).entries() == {**login, "new": 1}

    def test_a_login_whose_answer_was_lost_can_be_saved_again(self, open_session: Open) -> None:
        session = open_session(saved(open_session, a=1).key)
        session.cycle_key()
        session[USER_ID] = "7"
        # As it was before the save that will not be heard of.
        again = copy.copy(session.session)
        session.save()
        session.session = again
        session.save()
        assert open_session(session.key)[USER_ID] == "7"

    def test_a_save_long_after_the_last_one_finds_out_about_a_login_elsewhere(
        self, open_session: Open, clock: Clock
    ) -> None:
        slow = open_session(saved(open_session, a=1).key)
        slow["a"] = 2
        slow.save()
        login = open_session(slow.key)
        login[USER_ID] = "7"
        login.save()
        clock.advance(2)
        assert slow.session.modified is True
        with pytest.raises(UpdateError):
            slow.save()

    def test_a_poll_finds_out_about_a_login_elsewhere(self, open_session: Open) -> None:
        poll = open_session(saved(open_session, a=1).key)
        poll.session.counts_as_use = False
        assert poll["a"] == 1
        login = open_session(poll.key)
        login[USER_ID] = "7"
        login.save()
        with pytest.raises(UpdateError):
            poll.save()

    def test_two_coroutines_that_first_use_a_session_lose_nothing(
        self, open_session: Open, session_store: type[DriverSessionStore], run: Run | None
    ) -> None:
        key = saved(open_session, a=0, b=0).key
        if run is None:
            return

        async def use_side_by_side() -> None:
            session = session_store(key)
            await asyncio.gather(
                session.aset("a", 1), session.aget("c"), session.aset("b", 2), session.aget("a")
            )
            await session.asave()

        run(use_side_by_side())
        assert open_session(key).entries() == {"a": 1, "b": 2}
