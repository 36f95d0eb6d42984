"""The laws of what ends a session between two of its keys, and of what leads nowhere."""

from __future__ import annotations

import pytest
from django.contrib.sessions.backends.base import UpdateError

from django_multisession.drivers.base import Driver
from django_multisession.records import Record, Retired
from django_multisession.testing.driver_fixtures import make_key
from django_multisession.testing.engine_cycling_fixtures import (
    AFTER,
    KEEP,
    REMOVE,
    EngineCyclingFixtures,
    cycling,
)
from django_multisession.testing.engine_fixtures import (
    USER_ID,
    Open,
    saved,
    storage_key,
    stored,
)
from django_multisession.testing.verbs import Clock


class EngineCyclingEndLaws(EngineCyclingFixtures):
    """Ended by one key is ended by both, and a login leaves no way from the old ones."""

    @pytest.mark.parametrize("by", ["old", "new"])
    @pytest.mark.parametrize("how", ["flush", "delete"])
    def test_a_session_that_is_ended_by_either_key_is_ended_under_both(
        self, open_session: Open, cycled: tuple[str, str], by: str, how: str
    ) -> None:
        old, new = cycled
        key = {"old": old, "new": new}[by]
        if how == "flush":
            open_session(key).flush()
        else:
            open_session().delete(key)
        assert open_session(new).entries() == {}
        assert open_session(old).entries() == {}

    def test_a_logout_that_overlaps_a_cycle_ends_the_session(
        self, open_session: Open, clock: Clock
    ) -> None:
        with cycling:
            key = saved(open_session, a=1).key
            leaving = open_session(key)
            assert leaving["a"] == 1
            clock.advance(AFTER)
            new = self.come_with(open_session, key)
            leaving.flush()
            assert leaving.respond() is REMOVE
            for ended in (key, new):
                assert open_session(ended).entries() == {}

    def test_a_cycle_that_overlaps_a_logout_revives_nothing(
        self, open_session: Open, clock: Clock
    ) -> None:
        with cycling:
            key = saved(open_session, a=1).key
            clock.advance(AFTER)
            reader = open_session(key)
            assert reader["a"] == 1
            open_session(key).flush()
            assert reader.respond() is KEEP
            assert open_session(reader.key).entries() == {}

    def test_nothing_leads_from_the_old_key_to_a_login(
        self, open_session: Open, driver: Driver, cycled: tuple[str, str]
    ) -> None:
        old, new = cycled
        login = open_session(new)
        login.cycle_key()
        login[USER_ID] = "7"
        login.save()
        for ended in (old, new):
            assert open_session(ended).entries() == {}
        assert driver.get(storage_key(new)) == Retired(stored(driver, login).revision)

    def test_a_login_by_a_client_that_lost_the_response_ends_both_keys(
        self, open_session: Open, cycled: tuple[str, str]
    ) -> None:
        login = open_session(cycled[0])
        login.cycle_key()
        login[USER_ID] = "7"
        login.save()
        for ended in cycled:
            assert open_session(ended).entries() == {}
        assert open_session(login.key).entries() == {"a": 1, USER_ID: "7"}

    def test_a_save_that_a_login_overtook_is_interrupted_under_the_old_key_too(
        self, open_session: Open, cycled: tuple[str, str]
    ) -> None:
        old, new = cycled
        stale = open_session(old)
        stale["a"] = 2
        login = open_session(new)
        login[USER_ID] = "7"
        login.save()
        with pytest.raises(UpdateError):
            stale.save()

    def test_who_has_a_dump_of_the_store_has_no_key(
        self, open_session: Open, driver: Driver, cycled: tuple[str, str]
    ) -> None:
        left, record = (driver.get(storage_key(key)) for key in cycled)
        assert isinstance(left, Retired)
        assert isinstance(record, Record)
        shown = left.forward + record.payload + repr((left, record)).encode()
        for key in cycled:
            assert key[:22].encode() not in shown

    def test_a_forward_under_another_key_leads_nowhere(
        self, open_session: Open, driver: Driver, cycled: tuple[str, str], clock: Clock
    ) -> None:
        # As by somebody who can write to the store, and wants a cookie of his to lead elsewhere.
        left, mine = driver.get(storage_key(cycled[0])), saved(open_session, a="mine")
        assert isinstance(left, Retired)
        record = stored(driver, mine)
        driver.move(
            storage_key(mine.key), make_key(), record, record.revision, clock.now, left.forward
        )
        assert open_session(mine.key).entries() == {}
