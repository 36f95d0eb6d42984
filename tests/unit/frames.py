"""What an error reporter shows of an exception: an error mail, and one that walks containers."""

from __future__ import annotations

import copy
import dataclasses
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from django.views.debug import ExceptionReporter

import django_multisession

PACKAGE = str(Path(django_multisession.__file__).parent)


def shown(error: BaseException) -> str:
    """Return what reporters show of *error*: the mail, and the package's locals piece by piece.

    The frames of a test and of pytest are left out: they hold what the test looks for.
    """
    lines: list[str] = []
    for each in _chain(error):
        lines += [str(each), repr(each), *map(str, getattr(each, "__notes__", ()))]
        own = [frame for frame in _frames(each.__traceback__) if _is_own(frame)]
        for frame in own:
            for name, value in frame.f_locals.items():
                lines += [f"{name} = {piece}" for piece in _pieces(value)]
    return "\n".join(lines)


def mail(error: BaseException) -> str:
    """Return the mail that Django sends of *error*, as text and as HTML.

    Without a test's frames, and without the settings, which Django cleans by their names alone.
    """
    own = error.__traceback__
    while own is not None and not _is_own(own.tb_frame):
        own = own.tb_next
    reporter = ExceptionReporter(None, type(error), error, own, is_email=True)
    # Django keeps one for all reports.
    own_filter: Any = copy.copy(reporter.filter)
    own_filter.get_safe_settings = dict
    reporter.filter = own_filter
    return reporter.get_traceback_text() + reporter.get_traceback_html()


def caught(call: Any, *expected: type[BaseException]) -> BaseException:
    """Return what *call* raises."""
    try:
        call()
    except expected:
        error = sys.exc_info()[1]
        assert error is not None
        return error
    # Not an AssertionError: a test that is expected to fail has to fail for its own reason.
    raise LookupError("nothing was raised")


def _chain(error: BaseException) -> Iterator[BaseException]:
    following: BaseException | None = error
    while following is not None:
        yield following
        hidden = following.__suppress_context__
        following = following.__cause__ or (None if hidden else following.__context__)


def _frames(traceback: TracebackType | None) -> Iterator[Any]:
    while traceback is not None:
        yield traceback.tb_frame
        traceback = traceback.tb_next


def _is_own(frame: Any) -> bool:
    return str(frame.f_code.co_filename).startswith(PACKAGE)


def _pieces(value: Any, depth: int = 0) -> Iterator[str]:
    yield repr(value)
    if depth > 6:
        return
    if isinstance(value, Mapping):
        # Also one whose repr hides it: a reporter may not ask for that.
        for name in list(value):
            yield from _pieces(name, depth + 1)
            found = dict.get(value, name) if isinstance(value, dict) else value[name]
            yield from _pieces(found, depth + 1)
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            yield from _pieces(item, depth + 1)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        # As their own repr does.
        for field in dataclasses.fields(value):
            if field.repr:
                yield from _pieces(getattr(value, field.name, None), depth + 1)
