"""Tables of rows that one test goes through."""

from __future__ import annotations

import functools
import inspect
import reprlib
from collections.abc import Callable, Iterable
from typing import Any

Test = Callable[..., None]


def for_each(names: str | tuple[str, ...], rows: Iterable[Any]) -> Callable[[Test], Test]:
    """Run a test for each of *rows* and count it as one: for rows that need no fixture of their own.

    It reads like ``pytest.mark.parametrize``, and costs a set-up for all rows where that costs one for
    each. Every row runs, and the error of one that fails names it.

    Args:
        names: Of the argument, or of the arguments.
        rows: A value for each name, in a tuple if there are several; ``pytest.param`` too.

    Raises:
        ValueError: There is no row.
    """
    arguments = (names,) if isinstance(names, str) else names
    table = [_values_of(row, len(arguments)) for row in rows]
    if not table:
        raise ValueError(f"a table of {names} must have a row")

    def decorate(test: Test) -> Test:
        @functools.wraps(test)
        def run(*args: Any, **kwargs: Any) -> None:
            failures: list[Exception] = []
            for row in table:
                named = dict(zip(arguments, row, strict=True))
                try:
                    test(*args, **kwargs, **named)
                except Exception as error:  # noqa: BLE001  (raised below)
                    error.add_note(f"In the row {reprlib.repr(named)}")
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
