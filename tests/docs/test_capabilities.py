"""The README's table of what each engine can do is made of what its driver declares."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from django_multisession.drivers.base import Capabilities
from django_multisession.engines import NAMES
from tests.docs.pages import PAGES
from tests.test_architecture import DRIVERS, driver_at

#: As the README has it → does a driver of this class have it?
CAPABILITIES: dict[str, Callable[[Any], bool]] = {
    "survives a restart of the server": lambda driver: driver.capabilities.survives_restart,
    "expires by itself": lambda driver: not hasattr(driver, "purge_expired"),
    "conditional saves": lambda driver: driver.capabilities.saves_conditionally,
    "moves a session atomically": lambda driver: driver.capabilities.moves_atomically,
    "native async": lambda driver: driver.capabilities.is_native_async,
    "enumerable": lambda driver: callable(getattr(driver, "records", None)),
    "finds the sessions of a user": lambda driver: hasattr(driver, "of_user"),
}


def table() -> str:
    """Return the table."""
    classes = {path.partition(".")[0]: driver_at(path) for path in DRIVERS}
    # A driver over others has theirs.
    drivers = {name: each for name, each in classes.items() if hasattr(each, "capabilities")}
    rows = ["| capability | engines |", "|---|---|"]
    for text, has in CAPABILITIES.items():
        engines = [f"`{name}`" for name in sorted(drivers) if has(drivers[name])]
        told = "all" if len(engines) == len(drivers) else ", ".join(engines) or "none"
        rows.append(f"| {text} | {told} |")
    return "\n".join(rows)


def test_the_readmes_table_of_capabilities_is_that_of_the_drivers() -> None:
    assert table() in PAGES["README.md"].read_text(encoding="utf-8")


def test_every_engine_has_a_driver_in_the_table() -> None:
    assert {path.partition(".")[0] for path in DRIVERS} == set(NAMES)


def test_every_capability_that_is_declared_is_in_the_table() -> None:
    declared = {field.name for field in dataclasses.fields(Capabilities) if field.type == "bool"}
    shown = {name for has in CAPABILITIES.values() for name in has.__code__.co_names}
    assert declared <= shown
