"""What `check` says of the keys of encryption at rest, and that it shows none."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from django_multisession.core.encryption import Ring, ring_of_names
from django_multisession.settings import conf
from django_multisession.testing.rows import for_each
from tests.rows import restoring
from tests.unit.checked_site import found, right_site
from tests.unit.frames import caught, mail, shown

if TYPE_CHECKING:
    from pytest_django import Settings

__all__ = ["right_site"]

# Made of pieces: an error mail shows the lines of files.
SECRET = "-".join(["0033", "at-rest"] * 5)
SHORT = "-".join(["0044"] * 3)


def fail() -> str:
    raise PermissionError(SECRET)


@pytest.fixture(autouse=True)
def site(right_site: Settings) -> Settings:
    return right_site


def ring_of(settings: Settings, keys: Any) -> Ring:
    settings.MULTISESSION_ENCRYPTION_KEYS = keys
    return conf.config().encryption


def test_a_key_comes_from_the_setting_a_file_or_a_function(
    settings: Settings, tmp_path: Path
) -> None:
    file = tmp_path / "key"
    file.write_text(f"{SECRET}\n")
    expected = ring_of_names({"a": SECRET.encode()}, "a")
    for given in (SECRET, SECRET.encode(), file, lambda: SECRET, lambda: file):
        assert ring_of(settings, {"a": given}) == expected
    assert found() == []


def test_the_first_key_that_is_there_writes_unless_another_is_named(settings: Settings) -> None:
    keys = {"c": None, "b": SECRET, "a": SECRET + "2"}
    assert ring_of(settings, keys) == ring_of_names(
        {"c": None, "b": SECRET.encode(), "a": (SECRET + "2").encode()}, "b"
    )
    settings.MULTISESSION_ENCRYPTION_WRITES = "a"
    assert ring_of(settings, dict(keys)).writes == ring_of_names({"a": b""}, "a").writes
    settings.MULTISESSION_ENCRYPTION_WRITES = None
    assert ring_of(settings, dict(keys)).writes is None


@for_each(
    ("keys", "says"),
    [
        ([SECRET], "must be a dict of names and keys (got list)"),
        ({1: SECRET}, "must be a dict of names and keys (got dict)"),
        ({"a": SHORT}, f"(got {len(SHORT)} bytes)"),
        ({"a": b""}, "(got 0 bytes)"),
        ({"a": 17}, "(got a int)"),
        ({"a": lambda: None}, "(got a NoneType)"),
        ({"a": fail}, "(got PermissionError)"),
        ({"a": Path("/nowhere/key")}, "(got FileNotFoundError)"),
    ],
)
@restoring
def test_a_wrong_key_is_reported_and_not_shown(settings: Settings, keys: Any, says: str) -> None:
    settings.MULTISESSION_ENCRYPTION_KEYS = keys
    (problem, *others) = found()
    assert others == []
    assert problem.id == "multisession.E050"
    assert says in problem.msg
    error = caught(conf.config, ImproperlyConfigured)
    for secret in (SECRET, SHORT):
        assert secret not in f"{problem.msg}{problem.hint}{shown(error)}{mail(error)}"


@for_each("writes", ["b", SECRET, "", 5, ["a"]])
@restoring
def test_a_name_of_no_key_is_reported_and_not_shown(settings: Settings, writes: Any) -> None:
    settings.MULTISESSION_ENCRYPTION_KEYS = {"a": SECRET, "b": None}
    settings.MULTISESSION_ENCRYPTION_WRITES = writes
    (problem,) = found()
    assert problem.id == "multisession.E051"
    assert "'a' (got another" in problem.msg
    assert SECRET not in problem.msg


def test_without_the_library_the_extra_is_named(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from django_multisession.core import encryption

    settings.MULTISESSION_ENCRYPTION_KEYS = {"a": SECRET}
    encryption._library.cache_clear()
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers.aead", None)
    (problem,) = found()
    assert (problem.id, problem.hint) == (
        "multisession.E050",
        "Install django-multisession[encryption].",
    )


def test_no_repr_holds_a_key(settings: Settings) -> None:
    ring_of(settings, {"a": SECRET})
    assert SECRET not in repr(conf.config())
