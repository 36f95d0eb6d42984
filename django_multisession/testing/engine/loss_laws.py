"""The laws of lost answers and rolled-back servers: no acknowledged change is lost or made twice."""

from __future__ import annotations

import asyncio

import pytest
from django.test import override_settings

from django_multisession.exceptions import StoreUnavailable
from django_multisession.session.respond import CookieAnswer
from django_multisession.testing.engine.faults import (
    EngineFaultFixtures,
    FaultyDriver,
    answer_of,
)
from django_multisession.testing.engine.fixtures import USER_ID, Open, saved, storage_key
from django_multisession.testing.verbs import Run, SessionVerbs

SUMMED = override_settings(
    MULTISESSION_CONFLICT_RESOLVERS={"n": "django_multisession.resolvers.sum_of_changes"}
)
NO_ANSWER = (StoreUnavailable, KeyboardInterrupt, asyncio.CancelledError)


class EngineLossLaws(EngineFaultFixtures):
    """A step that got no answer leaves a session that is right whether it was carried out or not."""

    # A server that fell back

    def test_a_change_that_a_failover_lost_is_merged_again(
        self, open_faulty: Open, faulty: FaultyDriver
    ) -> None:
        session = saved(open_faulty, stock=1)
        older = faulty.stored(storage_key(session.key))
        session["stock"] = 2
        session.save()
        faulty.roll_back(storage_key(session.key), older)
        session["other"] = "x"
        session.save()
        assert open_faulty(session.key).entries() == {"stock": 2, "other": "x"}

    def test_a_change_that_a_failover_lost_is_merged_with_what_another_request_saved_since(
        self, open_faulty: Open, faulty: FaultyDriver
    ) -> None:
        session = saved(open_faulty, stock=1, seen=0)
        older = faulty.stored(storage_key(session.key))
        session["stock"] = 2
        session.save()
        faulty.roll_back(storage_key(session.key), older)
        other = open_faulty(session.key)
        other["seen"] = 1
        other.save()
        session["other"] = "x"
        session.save()
        assert open_faulty(session.key).entries() == {"stock": 2, "seen": 1, "other": "x"}

    def test_a_logout_ends_what_a_failover_brought_back_under_an_earlier_key(
        self, open_faulty: Open, faulty: FaultyDriver
    ) -> None:
        session = saved(open_faulty, a=1)
        key, older = session.key, faulty.stored(storage_key(session.key))
        session.cycle_key()
        session.save()
        faulty.forget(storage_key(session.key))
        faulty.roll_back(storage_key(key), older)
        session.flush()
        assert open_faulty(key).entries() == {}

    # Adds

    def test_an_add_whose_answer_did_not_arrive_is_not_made_twice(
        self, open_faulty: Open, faulty: FaultyDriver, no_answer: BaseException
    ) -> None:
        session = _added_without_answer(open_faulty, faulty, no_answer)
        session["b"] = 2
        session.save()
        assert faulty.live_added() == [storage_key(session.key)]
        assert open_faulty(session.key).entries() == {"a": 1, "b": 2}

    def test_a_logout_ends_a_session_whose_add_got_no_answer(
        self, open_faulty: Open, faulty: FaultyDriver, no_answer: BaseException
    ) -> None:
        session = _added_without_answer(open_faulty, faulty, no_answer)
        session.flush()
        assert faulty.live_added() == []
        assert answer_of(session) is not CookieAnswer.SET

    def test_a_login_whose_add_got_no_answer_is_stored_once_and_ends_with_its_logout(
        self, open_faulty: Open, faulty: FaultyDriver, no_answer: BaseException
    ) -> None:
        session = open_faulty(saved(open_faulty, a=1).key)
        assert session.get("a") == 1
        session.flush()
        session.cycle_key()
        session[USER_ID] = "7"
        faulty.lose_answer("write", no_answer)
        with pytest.raises(NO_ANSWER):
            session.save()
        session.save()
        assert len(faulty.live_added()) == 1
        session.flush()
        assert faulty.live_added() == []

    def test_a_create_whose_answer_did_not_arrive_leaves_one_session_at_most(
        self, open_faulty: Open, faulty: FaultyDriver, no_answer: BaseException
    ) -> None:
        session = open_faulty()
        faulty.lose_answer("write", no_answer)
        with pytest.raises(NO_ANSWER):
            session.create()
        session.create()
        assert faulty.live_added() == [storage_key(session.key)]

    # Deletes

    def test_a_logout_whose_answer_did_not_arrive_sets_no_cookie(
        self, open_faulty: Open, faulty: FaultyDriver, no_answer: BaseException
    ) -> None:
        session = open_faulty(saved(open_faulty, a=1).key)
        assert session.get("a") == 1
        faulty.lose_answer("delete", no_answer)
        with pytest.raises(NO_ANSWER):
            session.flush()
        assert answer_of(session) is not CookieAnswer.SET
        assert faulty.live_added() == []

    def test_a_logout_of_a_new_session_whose_answer_did_not_arrive_sets_no_cookie(
        self, open_faulty: Open, faulty: FaultyDriver, run: Run | None
    ) -> None:
        session = open_faulty()
        session.create()
        cut_off = KeyboardInterrupt() if run is None else asyncio.CancelledError()
        faulty.lose_answer("delete", cut_off)
        with pytest.raises(NO_ANSWER):
            session.flush()
        assert answer_of(session) is not CookieAnswer.SET

    def test_a_logout_whose_answer_did_not_arrive_can_be_made_again(
        self, open_faulty: Open, faulty: FaultyDriver, no_answer: BaseException
    ) -> None:
        session = open_faulty(saved(open_faulty, a=1).key)
        key = session.key
        assert session.get("a") == 1
        faulty.lose_answer("delete", no_answer)
        with pytest.raises(NO_ANSWER):
            session.flush()
        open_faulty(key).flush()
        assert open_faulty().exists(key) is False

    @pytest.mark.parametrize("begin", ["create", "save"])
    def test_a_session_that_its_own_request_deleted_sets_no_cookie(
        self, open_session: Open, begin: str
    ) -> None:
        session = open_session()
        if begin == "create":
            session.create()
        else:
            session["a"] = 1
            session.save()
        session.delete()
        assert answer_of(session) is not CookieAnswer.SET

    # Moves and replaces

    @pytest.mark.parametrize("then", ["save", "flush"])
    def test_a_login_whose_move_got_no_answer_is_one_session(
        self, open_faulty: Open, faulty: FaultyDriver, no_answer: BaseException, then: str
    ) -> None:
        session = open_faulty(saved(open_faulty, a=1).key)
        session.cycle_key()
        session[USER_ID] = "7"
        faulty.lose_answer("write", no_answer)
        with pytest.raises(NO_ANSWER):
            session.save()
        if then == "flush":
            session.flush()
            assert faulty.live_added() == []
            return
        session["b"] = 2
        session.save()
        assert faulty.live_added() == [storage_key(session.key)]
        assert open_faulty(session.key).entries() == {"a": 1, "b": 2, USER_ID: "7"}

    def test_a_save_whose_answer_did_not_arrive_is_known_by_its_revision(
        self, open_faulty: Open, faulty: FaultyDriver, no_answer: BaseException
    ) -> None:
        with SUMMED:
            session = open_faulty(saved(open_faulty, n=1).key)
            session["n"] = 2
            faulty.lose_answer("write", no_answer)
            with pytest.raises(NO_ANSWER):
                session.save()
            session.save()
            assert open_faulty(session.key).entries() == {"n": 2}

    def test_what_another_request_added_to_an_unacknowledged_save_counts_once(
        self, open_faulty: Open, faulty: FaultyDriver, no_answer: BaseException
    ) -> None:
        with SUMMED:
            session = open_faulty(saved(open_faulty, n=1).key)
            session["n"] = 2
            faulty.lose_answer("write", no_answer)
            with pytest.raises(NO_ANSWER):
                session.save()
            other = open_faulty(session.key)
            other["n"] += 10
            other.save()
            session["n"] += 100
            session.save()
            assert open_faulty(session.key).entries() == {"n": 112}

    # Changes of one entry by two requests

    def test_two_equal_increments_are_both_counted(self, open_session: Open) -> None:
        with SUMMED:
            key = saved(open_session, n=10).key
            first, second = open_session(key), open_session(key)
            for session in (first, second):
                session["n"] += 1
            first.save()
            second.save()
            assert open_session(key).entries() == {"n": 12}

    def test_an_entry_that_both_requests_deleted_is_gone(self, open_session: Open) -> None:
        with SUMMED:
            key = saved(open_session, n=10).key
            first, second = open_session(key), open_session(key)
            for session in (first, second):
                session.pop("n")
            first.save()
            second.save()
            assert open_session(key).entries() == {}

    # Damage

    def test_a_login_whose_record_cannot_be_opened_any_more_is_stored_all_the_same(
        self, open_faulty: Open, faulty: FaultyDriver
    ) -> None:
        session, other = saved(open_faulty, a=1), saved(open_faulty, b=2)
        login = open_faulty(session.key)
        login.cycle_key()
        login[USER_ID] = "7"
        # Another session's record, which does not open under this key.
        faulty.roll_back(storage_key(session.key), faulty.stored(storage_key(other.key)))
        login.save()
        assert open_faulty(login.key).get(USER_ID) == "7"


def _added_without_answer(
    open_faulty: Open, faulty: FaultyDriver, no_answer: BaseException
) -> SessionVerbs:
    session = open_faulty()
    session["a"] = 1
    faulty.lose_answer("write", no_answer)
    with pytest.raises(NO_ANSWER):
        session.save()
    return session
