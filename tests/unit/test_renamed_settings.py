"""An old name in the settings of a site is reported with the new one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from django_multisession.engines.redis import SessionStore
from django_multisession.settings import conf
from django_multisession.settings.rules.renames import RENAMED
from django_multisession.testing.rows import for_each
from tests.docs.pages import rows_of, section_of
from tests.rows import restoring
from tests.unit.checked_site import found, right_site

if TYPE_CHECKING:
    from pytest_django import Settings

__all__ = ["right_site"]

UPGRADE = "project/upgrading.md"


@for_each("old", RENAMED)
@restoring
def test_an_old_name_of_a_setting_is_told_with_the_new_one(right_site: Settings, old: str) -> None:
    setattr(right_site, old, None)
    (message,) = found()
    assert message.id == "multisession.E014"
    assert message.hint == f"Rename it to {RENAMED[old]}."
    assert RENAMED[old] in conf.site().our_settings


@for_each(
    ("options", "renamed"),
    [
        ({"ALIAS": "sessions"}, [("ALIAS", "CACHE_ALIAS")]),
        (
            {"ALIAS": "sessions", "PREFIX": "s:"},
            [("ALIAS", "CACHE_ALIAS"), ("PREFIX", "KEY_PREFIX")],
        ),
        ({"URL": "redis://x", "PREFIX": "s:", "socket_timeout": 1}, [("PREFIX", "KEY_PREFIX")]),
    ],
)
@restoring
def test_an_old_name_of_an_option_is_told_with_the_new_one(
    right_site: Settings, options: dict[str, object], renamed: list[tuple[str, str]]
) -> None:
    right_site.MULTISESSION_REDIS = options
    messages = found()
    assert {message.id for message in messages} == {"multisession.E036"}
    for message, (old, new) in zip(messages, renamed, strict=True):
        assert str(message.msg).endswith(f"(got {old}).")
        assert message.hint == f"Rename it to {new}."


def test_the_upgrade_page_has_every_old_name() -> None:
    rows = rows_of(section_of(UPGRADE, "### New names"))
    documented = {tuple(re.findall(r"`(\w+)", " ".join(row[:2]))) for row in rows}
    keys = SessionStore.engine.keys
    assert keys is not None
    assert documented >= {*RENAMED.items(), *keys.renamed.items()}
