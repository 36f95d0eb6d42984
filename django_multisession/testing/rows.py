"""Tables of rows that one test goes through."""

from __future__ import annotations

import functools
import inspect
import reprlib
from collections.abc import Callable, Iterable
from typing import Any

import pytest

Test = Callable[..., None]


def for_each(
    names: str | tuple[str, ...], rows: Iterable[Any], ids: Iterable[str] | None = None
) -> Callable[[Test], Test]:
    """Run a test for each of *rows* and count it as one: for rows that need no fixture of their own.

    It reads like ``pytest.mark.parametrize``, and costs a set-up for all rows where that costs one for
    each. Every row runs, and the error of one that fails names it.

    Args:
        names: Of the argument, or of the arguments.
        rows: A value for each name, in a tuple if there are several; ``pytest.param`` too.
        ids: A name for each row whose values don't show which row it is.

    Raises:
        ValueError: There is no row.
    """
    arguments = (names,) if isinstance(names, str) else names
    given = list(rows)
    if not given:
        raise ValueError(f"a table of {names} must have a row")
    table = [dict(zip(arguments, _values_of(row, len(arguments)), strict=True)) for row in given]
    labels = [getattr(row, "id", None) for row in given] if ids is None else list(ids)

    def decorate(test: Test) -> Test:
        @functools.wraps(test)
        def run(*args: Any, **kwargs: Any) -> None:
            failures: list[Exception] = []
            for row, label in zip(table, labels, strict=True):
                try:
                    try:
                        test(*args, **kwargs, **row)
                    except pytest.fail.Exception as failed:
                        # Of pytest.raises() and others; a group takes no error of its kind.
                        raise AssertionError(str(failed)) from failed
                except Exception as error:  # noqa: BLE001  (raised below)
                    error.add_note(f"In the row {label or reprlib.repr(row)}")
                    failures.append(error)
            if len(failures) == 1:
                raise failures[0]
            if failures:
                raise ExceptionGroup(f"{len(failures)} of {len(table)} rows failed", failures)

        signature = inspect.signature(test)
        rest = [each for name, each in signature.parameters.items() if name not in arguments]
        # pytest reads it, and looks for no fixture of a row's name.
        run.__signature__ = signature.replace(parameters=rest)  # type: ignore[attr-defined]  # functions take attributes
        return run

    return decorate


def _values_of(row: Any, count: int) -> tuple[Any, ...]:
    values = getattr(row, "values", None)
    if isinstance(values, tuple):  # of pytest.param
        return values
    return (row,) if count == 1 else tuple(row)
