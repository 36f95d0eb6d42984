"""A test that goes through a table is as strict as a test for each row."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import pytest
from django.conf import settings as site_settings

from django_multisession.testing.rows import for_each
from tests.rows import restoring

if TYPE_CHECKING:
    from pytest_django import Settings


def test_every_row_runs_and_each_one_that_fails_is_named() -> None:
    seen = []

    @for_each("number", [1, 2, 3])
    def check(number: int) -> None:
        seen.append(number)
        assert number == 2

    with pytest.raises(ExceptionGroup, match="2 of 3 rows failed") as caught:
        check()
    assert seen == [1, 2, 3]
    notes = [each.__notes__ for each in caught.value.exceptions]
    assert notes == [["In the row {'number': 1}"], ["In the row {'number': 3}"]]


def test_a_row_is_named_by_its_id() -> None:
    @for_each("number", [1, 2], ids=["one", "two"])
    def by_ids(number: int) -> None:
        assert number == 1

    @for_each("number", [pytest.param(1, id="one"), pytest.param(2, id="two")])
    def by_parameters(number: int) -> None:
        assert number == 1

    for check in (by_ids, by_parameters):
        with pytest.raises(AssertionError) as caught:
            check()
        assert caught.value.__notes__ == ["In the row two"]


def test_a_failure_of_pytests_own_is_named_too() -> None:
    @for_each("number", [1, 2])
    def check(number: int) -> None:
        with pytest.raises(ZeroDivisionError):
            assert 1 // (number - 1)

    with pytest.raises(AssertionError, match="DID NOT RAISE") as caught:
        check()
    assert caught.value.__notes__ == ["In the row {'number': 2}"]


def test_a_table_without_rows_is_refused() -> None:
    with pytest.raises(ValueError, match="must have a row"):
        for_each("number", [])


def test_pytest_sees_the_fixtures_and_not_the_rows() -> None:
    @for_each(("first", "second"), [(1, 2)])
    @for_each("third", [3])
    @restoring
    def check(first: int, second: int, third: int, settings: Settings) -> None:
        raise NotImplementedError

    assert list(inspect.signature(check).parameters) == ["settings"]


def test_a_row_leaves_no_setting_and_no_patch_to_the_next(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.SESSION_COOKIE_NAME = "before"
    found = []

    @for_each("number", [1, 2])
    @restoring
    def check(number: int, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
        found.append((site_settings.SESSION_COOKIE_NAME, hasattr(site_settings, "SECRET_KEY")))
        settings.SESSION_COOKIE_NAME = f"row{number}"
        del settings.SECRET_KEY
        monkeypatch.setattr(inspect, "number", number, raising=False)
        assert settings.SESSION_COOKIE_NAME == site_settings.SESSION_COOKIE_NAME == f"row{number}"

    check(settings=settings, monkeypatch=monkeypatch)
    assert found == [("before", True)] * 2
    assert site_settings.SESSION_COOKIE_NAME == "before"
    assert not hasattr(inspect, "number")
