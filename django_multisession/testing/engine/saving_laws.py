"""The laws of an engine's saves and ends."""

from __future__ import annotations

import pytest
from django.contrib.sessions.backends.base import CreateError, UpdateError
from django.test import override_settings

from django_multisession.core.records import Reason, Tombstone
from django_multisession.exceptions import EntryNotSerializable, SessionTooLarge
from django_multisession.testing.engine.fixtures import (
    USER_ID,
    EngineFixtures,
    Open,
    saved,
    storage_key,
    stored,
)
from django_multisession.testing.rows import for_each
from django_multisession.testing.verbs import Clock, DriverVerbs


class EngineSavingLaws(EngineFixtures):
    """What is stored, and what nothing may bring back."""

    # Saving

    def test_what_was_saved_is_there_for_the_next_request(self, open_session: Open) -> None:
        session = saved(open_session, cart=[1, {"two": 2}], name="Zoë")
        assert open_session(session.key).entries() == {"cart": [1, {"two": 2}], "name": "Zoë"}

    def test_a_new_session_is_not_stored_before_it_is_saved(
        self, open_session: Open, driver: DriverVerbs
    ) -> None:
        session = open_session()
        session["a"] = 1
        assert session.key is None

    def test_an_explicit_save_stores_an_empty_session(self, open_session: Open) -> None:
        session = open_session()
        session.save()
        assert open_session().exists(session.key) is True

    def test_a_change_is_saved(self, open_session: Open) -> None:
        key = saved(open_session, a=1, b=2, c=3).key
        session = open_session(key)
        session["a"] = 10
        session.pop("b")
        session.save()
        assert open_session(key).entries() == {"a": 10, "c": 3}

    def test_a_nested_change_is_seen_and_saved(self, open_session: Open) -> None:
        key = saved(open_session, cart=[]).key
        session = open_session(key)
        session["cart"].append("shoes")
        assert session.session.modified is True
        session.save()
        assert open_session(key)["cart"] == ["shoes"]

    def test_an_equal_value_is_no_change(self, open_session: Open, driver: DriverVerbs) -> None:
        first = saved(open_session, a=1, b=[1])
        session = open_session(first.key)
        session["a"] = 1
        session["b"] = [1]
        assert session.session.modified is False
        before = stored(driver, first)
        session.save()
        assert stored(driver, first).revisions == before.revisions

    def test_true_is_not_one(self, open_session: Open) -> None:
        key = saved(open_session, a=1).key
        session = open_session(key)
        session["a"] = True
        session.save()
        assert open_session(key)["a"] is True

    def test_a_read_session_is_not_modified(self, open_session: Open) -> None:
        session = open_session(saved(open_session, a=1, cart=[1]).key)
        assert (session["a"], session["cart"]) == (1, [1])
        assert session.session.modified is False

    def test_clear_replaces_everything_without_reading(self, open_session: Open) -> None:
        key = saved(open_session, a=1).key
        session = open_session(key)
        session.session.clear()
        session["b"] = 2
        session.save()
        assert open_session(key).entries() == {"b": 2}

    def test_a_second_load_does_not_move_what_a_save_compares_with(
        self, open_session: Open
    ) -> None:
        key = saved(open_session, a=1).key
        mine, theirs = open_session(key), open_session(key)
        mine["a"] = 2
        theirs["b"] = 3
        theirs.save()
        assert mine.load() == {"a": 1, "b": 3}
        assert mine.entries() == {"a": 2}

    def test_of_two_saves_the_later_wins(self, open_session: Open) -> None:
        key = saved(open_session, a=0).key
        first, second = open_session(key), open_session(key)
        first["a"] = 1
        second["a"] = 2
        first.save()
        second.save()
        assert open_session(key)["a"] == 2

    def test_what_load_returns_is_the_callers(self, open_session: Open) -> None:
        session = open_session(saved(open_session, a=1).key)
        loaded = session.load()
        loaded["b"] = 2
        assert session.entries() == {"a": 1}

    def test_a_dropped_cache_is_read_again_and_saves_nothing(self, open_session: Open) -> None:
        session = open_session(saved(open_session, a=1).key)
        assert session["a"] == 1
        del session.session._session_cache  # noqa: SLF001  (as Django's own tests do)
        assert session.session.modified is False
        session.save()
        assert open_session(session.key).entries() == {"a": 1}

    def test_popping_what_is_missing_changes_nothing_and_hides_nothing(
        self, open_session: Open, clock: Clock
    ) -> None:
        key = saved(open_session, cart=[]).key
        clock.advance(60)
        session = open_session(key)
        assert session.pop("flash", None) is None
        assert session.session.modified is True
        session["cart"].append("book")
        session.save()
        assert open_session(key)["cart"] == ["book"]

    def test_a_lowered_limit_leaves_stored_sessions_in_use(
        self, open_session: Open, clock: Clock
    ) -> None:
        key = saved(open_session, novel="x" * 2000).key
        clock.advance(60)
        with override_settings(MULTISESSION_MAX_SIZE=1024):
            session = open_session(key)
            assert session["novel"] == "x" * 2000
            session.save()
            session["more"] = 1
            with pytest.raises(SessionTooLarge):
                session.save()

    def test_save_with_must_create_refuses_a_stored_key(self, open_session: Open) -> None:
        session = saved(open_session, a=1)
        with pytest.raises(CreateError):
            session.save(must_create=True)

    def test_an_entry_that_cannot_be_serialized_is_named(self, open_session: Open) -> None:
        session = saved(open_session, a=1)
        session["culprit"] = object()
        with pytest.raises(EntryNotSerializable, match="'culprit'"):
            session.save()

    def test_a_session_over_the_limit_names_its_biggest_entry(self, open_session: Open) -> None:
        session = saved(open_session, a=1)
        session["novel"] = "x" * 3000
        with (
            override_settings(MULTISESSION_MAX_SIZE=2048),
            pytest.raises(SessionTooLarge, match="'novel' with 30"),
        ):
            session.save()
        assert open_session(session.key).entries() == {"a": 1}

    # Ending

    def test_a_flushed_session_is_gone(self, open_session: Open, driver: DriverVerbs) -> None:
        session = saved(open_session, a=1)
        key = session.key
        session.flush()
        assert session.key is None
        assert session.session.is_empty()
        assert open_session().exists(key) is False
        left = driver.get(storage_key(key))
        assert isinstance(left, Tombstone)
        assert left.reason is Reason.LEFT

    def test_a_save_never_revives_an_ended_session(
        self, open_session: Open, driver: DriverVerbs
    ) -> None:
        key = saved(open_session, a=1).key
        late = open_session(key)
        late["a"] = 2
        open_session(key).flush()
        for _ in range(2):
            with pytest.raises(UpdateError):
                late.save()
        left = driver.get(storage_key(key))
        assert isinstance(left, Tombstone)
        assert left.reason is Reason.LEFT

    def test_a_save_that_changes_nothing_tells_of_the_end(self, open_session: Open) -> None:
        key = saved(open_session, a=1).key
        late = open_session(key)
        assert late["a"] == 1
        open_session(key).flush()
        with pytest.raises(UpdateError):
            late.save()

    def test_an_ended_session_is_empty_and_keeps_its_cookie(self, open_session: Open) -> None:
        key = saved(open_session, a=1).key
        open_session(key).flush()
        late = open_session(key)
        assert late.entries() == {}
        # Django's middleware deletes the cookie of an empty session, and with it a new login's.
        assert late.session.is_empty() is False
        assert late.session.modified is False

    @for_each("verb", ["save", "create"])
    def test_an_ended_session_cannot_be_written_again(self, open_session: Open, verb: str) -> None:
        key = saved(open_session, a=1).key
        open_session(key).flush()
        late = open_session(key)
        if verb == "save":
            late["a"] = 2
        with pytest.raises(UpdateError):
            getattr(late, verb)()

    def test_an_ended_device_can_log_in_at_once(self, open_session: Open) -> None:
        key = saved(open_session, a=1).key
        open_session(key).flush()
        late = open_session(key)
        late.cycle_key()
        late[USER_ID] = "7"
        late.save()
        assert late.key != key
        assert open_session(late.key).entries() == {USER_ID: "7"}

    def test_delete_ends_another_session(self, open_session: Open) -> None:
        mine, other = saved(open_session, a=1), saved(open_session, b=2)
        mine.delete(other.key)
        assert open_session().exists(other.key) is False
        assert open_session().exists(mine.key) is True
