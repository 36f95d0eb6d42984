"""The laws of values: what counts as a change of an entry."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from django_multisession.session.respond import CookieAnswer
from django_multisession.testing.engine.faults import EngineFaultFixtures
from django_multisession.testing.engine.fixtures import USER_ID, Open, saved, stored
from django_multisession.testing.engine.serializers import (
    Basket,
    GzipSerializer,
    NonceSerializer,
    ObjectSerializer,
    Plain,
    serialized_by,
)
from django_multisession.testing.rows import for_each
from django_multisession.testing.verbs import DriverVerbs

KEEP, SET = CookieAnswer.KEEP, CookieAnswer.SET


class EngineValueLaws(EngineFaultFixtures):
    """Values are compared as values, never as freshly serialized bytes."""

    # Serializers that return other bytes for the same values

    @pytest.fixture(params=[NonceSerializer, GzipSerializer], ids=["nonce", "gzip"])
    def unequal_bytes(self, request: pytest.FixtureRequest) -> Iterator[None]:
        """Use a serializer that returns other bytes each time."""
        with serialized_by(request.param):
            yield

    def test_overlaps_of_a_logged_in_visitor_merge_whatever_bytes_a_serializer_returns(
        self, unequal_bytes: None, open_session: Open
    ) -> None:
        key = saved(open_session, a=0, b=0, **{USER_ID: "7"}).key
        first, second = open_session(key), open_session(key)
        first["a"], second["b"] = 1, 1
        first.save()
        second.save()
        assert open_session(key).entries() == {"a": 1, "b": 1, USER_ID: "7"}

    def test_an_anonymous_visitor_keeps_another_requests_change_whatever_bytes_a_serializer_returns(
        self, unequal_bytes: None, open_session: Open
    ) -> None:
        key = saved(open_session, a=0, b=0).key
        first, second = open_session(key), open_session(key)
        first["a"], second["b"] = 1, 1
        first.save()
        second.save()
        assert open_session(key).entries() == {"a": 1, "b": 1}

    def test_a_page_that_shows_a_list_writes_nothing_back_whatever_bytes_a_serializer_returns(
        self, unequal_bytes: None, open_session: Open, driver: DriverVerbs
    ) -> None:
        first = saved(open_session, cart=["tea"])
        before = stored(driver, first)
        page = open_session(first.key)
        assert page["cart"] == ["tea"]
        assert page.session.modified is False
        assert page.respond() is KEEP
        assert stored(driver, first).revisions == before.revisions

    def test_a_nested_change_is_saved_whatever_bytes_a_serializer_returns(
        self, unequal_bytes: None, open_session: Open
    ) -> None:
        session = open_session(saved(open_session, cart=[["tea"]]).key)
        session["cart"][0].append("ink")
        assert session.respond() is SET
        assert open_session(session.key)["cart"] == [["tea", "ink"]]

    # Objects

    @pytest.mark.parametrize("value", [Basket([1, 2]), Plain(3)], ids=["equal", "no-eq"])
    def test_a_cached_property_that_was_used_is_no_change(
        self, open_session: Open, value: Any
    ) -> None:
        with serialized_by(ObjectSerializer):
            session = open_session(saved(open_session, value=value).key)
            found = session["value"]
            assert found.total == 3 if isinstance(found, Basket) else found.double == 6
            assert session.session.modified is False
            assert session.respond() is KEEP

    def test_a_changed_object_that_compares_by_its_fields_is_saved(
        self, open_session: Open
    ) -> None:
        with serialized_by(ObjectSerializer):
            session = open_session(saved(open_session, value=Basket([1])).key)
            session["value"].prices.append(2)
            assert session.respond() is SET
            assert open_session(session.key)["value"] == Basket([1, 2])

    def test_an_object_without_eq_is_unchanged_unless_it_was_set(self, open_session: Open) -> None:
        with serialized_by(ObjectSerializer):
            session = open_session(saved(open_session, value=Plain(1)).key)
            session["value"].number = 2
            assert session.session.modified is False
            assert session.respond() is KEEP
            assert open_session(session.key)["value"].number == 1

    @pytest.mark.parametrize("told", ["set", "modified"])
    def test_an_object_without_eq_is_saved_if_it_was_set_or_the_session_marked(
        self, open_session: Open, told: str
    ) -> None:
        with serialized_by(ObjectSerializer):
            session = open_session(saved(open_session, value=Plain(1)).key)
            value = session["value"]
            value.number = 2
            if told == "set":
                session["value"] = value
            else:
                session.session.modified = True
            assert session.respond() is SET
            assert open_session(session.key)["value"].number == 2

    def test_an_object_without_eq_that_was_only_read_keeps_another_requests_change(
        self, open_session: Open
    ) -> None:
        with serialized_by(ObjectSerializer):
            key = saved(open_session, value=Plain(1), a=0).key
            first, second = open_session(key), open_session(key)
            assert second["value"].double == 2
            second["a"] = 1
            first["value"] = Plain(5)
            first.save()
            second.save()
            found = open_session(key)
            assert (found["value"].number, found["a"]) == (5, 1)

    # Values that a serializer changes

    def test_an_entry_named_by_a_number_keeps_another_requests_change(
        self, open_session: Open
    ) -> None:
        session = saved(open_session, a=1)
        session[5] = 1  # type: ignore[index]  # what a view may do, and JSON makes text of
        session.save()
        other = open_session(session.key)
        other["5"] = 2
        other.save()
        session["a"] = 3
        session.save()
        assert open_session(session.key).entries() == {"5": 2, "a": 3}

    def test_a_tuple_that_became_a_list_keeps_another_requests_change(
        self, open_session: Open
    ) -> None:
        session = saved(open_session, pair=(1, 2))
        other = open_session(session.key)
        other["pair"] = [3]
        other.save()
        session["a"] = 1
        session.save()
        assert open_session(session.key).entries() == {"pair": [3], "a": 1}

    def test_a_tuple_is_not_another_value_than_the_list_that_is_stored_for_it(
        self, open_session: Open
    ) -> None:
        session = open_session(saved(open_session, pair=(1, 2)).key)
        session["pair"] = (1, 2)
        assert session.session.modified is False
        assert session.respond() is KEEP

    def test_the_order_of_entries_is_not_a_change(self, open_session: Open) -> None:
        session = open_session(saved(open_session, a=1, b=2, c=3).key)
        session["b"] = session.pop("b")
        assert session.session.modified is False
        assert session.respond() is KEEP

    def test_the_order_of_a_nested_dict_is_not_a_change(self, open_session: Open) -> None:
        session = open_session(saved(open_session, filters={"color": 1, "size": 2}).key)
        session["filters"] = {"size": 2, "color": 1}
        assert session.session.modified is False
        assert session.respond() is KEEP

    @for_each(
        ("before", "after"),
        [(1, True), (0, False), (1, 1.0), ([1], [True]), ({"x": 0}, {"x": False})],
        ids=["true", "false", "float", "in-a-list", "in-a-dict"],
    )
    def test_equal_values_of_other_types_are_a_change(
        self, open_session: Open, before: Any, after: Any
    ) -> None:
        session = open_session(saved(open_session, a=before).key)
        session["a"] = after
        assert session.respond() is SET
        assert repr(open_session(session.key)["a"]) == repr(after)
